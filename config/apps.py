from django.apps import AppConfig


class Config(AppConfig):
    name = "config"

    def ready(self) -> None:
        # Makes our Celery app the default one, so that shared tasks sent by the web process find the broker.
        from config import celery  # noqa: F401
