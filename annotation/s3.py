"""An S3-compatible object store as Django's default storage (`annotation.store` says what is kept in it).

Loaded only where STORE_URL names one; needs requirements-s3.txt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.utils.translation import gettext as _
from storages.backends.s3 import S3Storage

from annotation.store import BLOCK, FileStoreError, StoreAway

NOT_FOUND = {"404", "NoSuchKey", "NotFound"}
CONNECT_SECONDS, READ_SECONDS = 3, 10
PIECES = TransferConfig(multipart_threshold=64 << 20, multipart_chunksize=64 << 20, max_concurrency=4)
WHOLE = TransferConfig(multipart_threshold=4 << 30, multipart_chunksize=1 << 30)  # a copy of less is one request


class ObjectStore(S3Storage):
    """Our own verbs beside those of a Django storage: streams, sizes, and errors that say whether to try again."""

    def __init__(self, *, path_style: bool = False, **options: Any) -> None:
        # Checksums that only Amazon knows are left out: other servers refuse them, and everything is verified by its
        # own hash when it is fetched.
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"total_max_attempts": 2, "mode": "standard"},
            signature_version="s3v4",
            s3={"addressing_style": "path" if path_style else "auto"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        super().__init__(client_config=config, file_overwrite=True, **options)

    def full(self, name: str) -> str:
        return f"{self.location}/{name}" if self.location else name

    def read(self, name: str, start: int = 0) -> Iterator[bytes]:
        """The object's bytes from `start` on. Raises FileStoreError where there is none, StoreAway."""
        with answering(name):
            part = {"Range": f"bytes={start}-"} if start else {}
            body = self.bucket.Object(self.full(name)).get(**part)["Body"]
            try:
                yield from body.iter_chunks(BLOCK)
            finally:
                body.close()

    def write(self, name: str, path: Path, tick: Callable[[], object]) -> None:
        with answering(name):
            self.bucket.Object(self.full(name)).upload_file(str(path), Config=PIECES, Callback=lambda _bytes: tick())

    def write_bytes(self, name: str, content: bytes) -> None:
        with answering(name):
            self.bucket.Object(self.full(name)).put(Body=content)

    def size_of(self, name: str) -> int | None:
        try:
            with answering(name):
                return int(self.bucket.Object(self.full(name)).content_length)
        except FileStoreError:
            return None

    def names_below(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        """(name, when it was written) of each object whose name begins so."""
        with answering(prefix):
            skipped = len(self.full(""))
            for found in self.bucket.objects.filter(Prefix=self.full(prefix)):
                yield found.key[skipped:], found.last_modified

    def remove_name(self, name: str) -> None:
        """One at a time: not every server can do many at once."""
        with answering(name):
            self.bucket.Object(self.full(name)).delete()

    def copy_name(self, source: str, target: str) -> None:
        with answering(source):
            self.bucket.copy({"Bucket": self.bucket_name, "Key": self.full(source)}, self.full(target), Config=WHOLE)


@contextmanager
def answering(name: str) -> Iterator[None]:
    """FileStoreError for an object that is not there, StoreAway for all else that goes wrong with the store."""
    try:
        yield
    except ClientError as error:
        if code_of(error) in NOT_FOUND:
            raise FileStoreError(
                _("%(name)s is gone from the file store. Restore it from a backup.") % {"name": name}
            ) from error
        raise StoreAway(f"{code_of(error)}") from error
    except Boto3Error as error:  # an upload's; it holds its cause as text
        raise StoreAway(type(error.__context__ or error).__name__) from error
    except BotoCoreError as error:
        raise StoreAway(type(error).__name__) from error


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "an unknown error"))[:80]
