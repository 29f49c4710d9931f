"""A subject is not deleted while it has sessions."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("actions", "0002_initial"), ("subjects", "0001_initial")]

    operations = [
        migrations.AlterField(
            model_name="session",
            name="subject",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="%(app_label)s_%(class)ss", to="subjects.subject"
            ),
        ),
    ]
