from django.apps import AppConfig
from django.db.models.signals import post_migrate


class TrainingConfig(AppConfig):
    name = "training"
    verbose_name = "What machines make of it: snapshots, runs, models"

    def ready(self) -> None:
        from training.guard import after_migrate

        post_migrate.connect(after_migrate, sender=self, dispatch_uid="training.guard")
