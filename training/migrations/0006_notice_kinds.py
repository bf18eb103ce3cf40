"""A notice more: a run goes on, and something is wrong (a full disk, a damaged checkpoint)."""

from django.db import migrations, models

KINDS = ["succeeded", "failed", "cancelled", "paused", "stuck", "trouble", "webhook_disabled", "test"]


class Migration(migrations.Migration):
    dependencies = [("training", "0005_checkpoint_policy")]

    operations = [
        migrations.RemoveConstraint(model_name="notice", name="notice_kind_known"),
        migrations.AlterField(
            model_name="notice",
            name="kind",
            field=models.CharField(
                choices=[
                    ("succeeded", "A run succeeded"),
                    ("failed", "A run failed"),
                    ("cancelled", "A run was cancelled"),
                    ("paused", "A run is paused and could not save first"),
                    ("stuck", "A run waits and no worker takes it"),
                    ("trouble", "A run goes on, and something is wrong"),
                    ("webhook_disabled", "A webhook was switched off"),
                    ("test", "A test"),
                ],
                max_length=24,
            ),
        ),
        migrations.AddConstraint(
            model_name="notice",
            constraint=models.CheckConstraint(condition=models.Q(kind__in=KINDS), name="notice_kind_known"),
        ),
    ]
