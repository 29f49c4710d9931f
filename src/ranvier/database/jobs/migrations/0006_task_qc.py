from django.db import migrations, models


def from_last_attempts(apps, schema_editor):
    """Give tasks that were done before the outcome of their last attempt's QC."""
    attempts = apps.get_model("jobs", "Attempt").objects.filter(number=models.F("task__attempt"), qc__isnull=False)
    for task, qc in attempts.values_list("task", "qc"):
        apps.get_model("jobs", "Task").objects.filter(pk=task).update(qc=(qc or {}).get("outcome", ""))


class Migration(migrations.Migration):
    dependencies = [("jobs", "0005_failures_and_pauses")]

    operations = [
        migrations.AddField(
            model_name="task",
            name="qc",
            field=models.CharField(
                blank=True, default="", help_text="Outcome of the last run's QC; empty where it judged nothing", max_length=16
            ),
        ),
        migrations.RunPython(from_last_attempts, migrations.RunPython.noop),
    ]
