from django.db import migrations, models


class Migration(migrations.Migration):
    """A checkpoint knows the metric that the best is chosen by, and why it was passed over."""

    dependencies = [("training", "0004_runs_control")]

    operations = [
        migrations.AddField(
            model_name="checkpoint",
            name="metric",
            field=models.CharField(
                blank=True, default="", help_text="By which the best one is chosen", max_length=120
            ),
        ),
        migrations.AddField(
            model_name="checkpoint",
            name="value",
            field=models.FloatField(blank=True, help_text="Of that metric at this step", null=True),
        ),
        migrations.AddField(
            model_name="checkpoint",
            name="problem",
            field=models.CharField(
                blank=True,
                default="",
                help_text="Why it was passed over when it was to be resumed from",
                max_length=200,
            ),
        ),
        migrations.AlterField(
            model_name="run",
            name="reason",
            field=models.CharField(
                blank=True,
                default="",
                help_text="Why it failed: data, config, numerics, memory, disk, crash, lost",
                max_length=24,
            ),
        ),
    ]
