from django.apps import AppConfig


class TrainingConfig(AppConfig):
    name = "training"
    verbose_name = "What machines make of it: snapshots, runs, models"
