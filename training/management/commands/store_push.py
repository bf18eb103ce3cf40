"""`manage.py store_push`: bring what is in this host's folder into the object store, once, when moving to one."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotation import store
from annotation.errors import PlackettError
from training.services.pushing import push_everything


class Command(BaseCommand):
    help = "Bring snapshots, models, checkpoints and files to import from PLACKETT_FILES into the store of STORE_URL."

    def handle(self, *args: Any, **options: Any) -> None:
        if not store.is_remote():
            raise CommandError("STORE_URL is not set, so there is no object store to bring anything to.")
        try:
            done, missing = push_everything()
        except PlackettError as error:
            raise CommandError(f"{error.message} Run it again: it goes on where it was.") from error
        self.stdout.write(f"{done} are in the store.")
        for key in missing:
            self.stdout.write(f"{key} is not in the folder, nor in the store.")
