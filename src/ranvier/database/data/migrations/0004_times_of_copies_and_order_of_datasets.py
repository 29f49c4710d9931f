from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("data", "0003_notices_and_downloads")]

    operations = [
        migrations.AddField("filerecord", "auto_datetime", models.DateTimeField(auto_now=True, verbose_name="last updated")),
        migrations.AddIndex("dataset", models.Index(fields=["collection", "name", "-created_datetime"], name="datasets_in_order")),
    ]
