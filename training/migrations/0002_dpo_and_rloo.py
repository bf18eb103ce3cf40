from django.db import migrations, models

STAGES = [
    ("pretrain", "Pretrain"),
    ("sft", "SFT"),
    ("reward", "Reward model"),
    ("ppo", "PPO"),
    ("dpo", "DPO"),
    ("rloo", "RLOO"),
    ("sample", "Sample answers"),
    ("evaluate", "Evaluate"),
]


class Migration(migrations.Migration):
    """Two stages more: baselines of PPO."""

    dependencies = [("training", "0001_initial")]

    operations = [
        migrations.RemoveConstraint(model_name="run", name="run_stage_known"),
        migrations.AlterField(model_name="run", name="stage", field=models.CharField(choices=STAGES, max_length=16)),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(("stage__in", [value for value, _ in STAGES])), name="run_stage_known"
            ),
        ),
    ]
