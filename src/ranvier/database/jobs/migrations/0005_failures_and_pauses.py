"""Failures are counted by fingerprint, a task version can be paused in a lab, and events are for people too."""

import uuid

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0004_cancellation"),
        ("people", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Pause",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("json", models.JSONField(blank=True, help_text="Structured data, formatted in a user-defined way", null=True)),
                ("task", models.CharField(help_text="Name of the task", max_length=128)),
                ("version", models.CharField(blank=True, default="", max_length=64)),
                ("fingerprint", models.CharField(help_text="Of the failures", max_length=64)),
                ("failures", models.PositiveIntegerField(help_text="Sessions in a row that failed so")),
                ("reason", models.TextField(help_text="What a task says that is held by it")),
                ("created", models.DateTimeField(default=django.utils.timezone.now)),
                ("lifted", models.DateTimeField(blank=True, null=True)),
                ("lifted_by", models.CharField(blank=True, default="", max_length=150)),
            ],
            options={
                "ordering": ["-created"],
            },
        ),
        migrations.CreateModel(
            name="Failure",
            fields=[],
            options={
                "proxy": True,
                "indexes": [],
                "constraints": [],
            },
            bases=("jobs.attempt",),
        ),
        migrations.AddField(
            model_name="attempt",
            name="version",
            field=models.CharField(blank=True, default="", help_text="Of the task", max_length=64),
        ),
        migrations.AlterField(
            model_name="event",
            name="kind",
            field=models.CharField(
                choices=[
                    ("session.registered", "Registered"),
                    ("session.ready", "Ready"),
                    ("task.returned", "Returned"),
                    ("session.requested", "Requested"),
                    ("session.cancelled", "Cancelled"),
                    ("task.failed", "Failed"),
                    ("task.paused", "Paused"),
                    ("task.abandoned", "Abandoned"),
                ],
                max_length=32,
            ),
        ),
        migrations.AddIndex(
            model_name="attempt",
            index=models.Index(fields=["fingerprint", "finished"], name="jobs_attemp_fingerp_3b4546_idx"),
        ),
        migrations.AddIndex(
            model_name="attempt",
            index=models.Index(fields=["version", "finished"], name="jobs_attemp_version_98dedd_idx"),
        ),
        migrations.AddField(
            model_name="pause",
            name="lab",
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="pauses", to="people.lab"),
        ),
        migrations.AddConstraint(
            model_name="pause",
            constraint=models.UniqueConstraint(
                condition=models.Q(("lifted", None)), fields=("lab", "task", "version"), name="one_pause_at_a_time"
            ),
        ),
    ]
