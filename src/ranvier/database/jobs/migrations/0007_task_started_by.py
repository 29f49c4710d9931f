from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0006_task_qc")]

    operations = [
        migrations.AddField(
            model_name="task",
            name="started_by",
            field=models.CharField(blank=True, default="", help_text="Who set it Started without an attempt, and where", max_length=255),
        )
    ]
