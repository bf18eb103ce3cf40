"""Parquet files as a stream of JSON lines, read by a process apart (`parquet_rows`). Pure: no table.

What the file asks for (a crash of the library, a page of gigabytes) befalls that process alone, and is said in words.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from django.utils.translation import gettext as _

from annotation.errors import ImportProblem
from annotation.unpacking import Stream

MAGIC = b"PAR1"
READER = Path(__file__).with_name("parquet_rows.py")
MOST_TIMES = 2000  # a column of one repeated text packs to nearly nothing, and is honest
ALLOWED_ANYWAY = 64 * 2**20
WORD_BYTES = 64


class ParquetText(Stream):
    """The rows of a Parquet file as JSON lines. To be closed, which ends the process."""

    def __init__(self, file: IO[bytes]) -> None:
        self.source_file = on_disk(file)
        self.is_copy = self.source_file is not file
        self.size = os.fstat(self.source_file.fileno()).st_size
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(READER)],
            stdin=self.source_file,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        super().__init__(self.process.stdout)

    def block(self, size: int) -> bytes:
        block = self.source.read(size)
        if self.taken + len(block) > ALLOWED_ANYWAY + MOST_TIMES * self.size:
            raise ImportProblem(
                _("The file unpacks to more than %(times)s times its size, which text does not. Unpack it first.")
                % {"times": MOST_TIMES}
            )
        if not block:
            self.check_end()
        return block

    def check_end(self) -> None:
        """Raise ImportProblem where the process did not come to the file's end."""
        assert self.process.stderr is not None
        word = self.process.stderr.read(WORD_BYTES).decode(errors="replace")
        if self.process.wait() != 0:
            raise ImportProblem(words_for(word))

    def close(self) -> None:
        if not self.closed:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdout, self.process.stderr):
                if pipe is not None:
                    pipe.close()
            if self.is_copy:
                self.source_file.close()
        super().close()


def words_for(word: str) -> str:
    known = {
        "footer": _("The Parquet file is cut off, or its footer is damaged. Copy or write it again."),
        "columns": _("The Parquet file has more than 2,000 columns. Write it with those that are needed."),
        "bytes": _(
            "The Parquet file holds bytes that are no text in UTF-8. Write such columns as text, or leave them out."
        ),
        "memory": _(
            "Reading the Parquet file takes more memory than is given to it. Write it with smaller row groups and "
            "pages."
        ),
    }
    return known.get(
        word, _("The Parquet file is damaged, or asks for more memory than is given to it. Write it again.")
    )


def on_disk(file: IO[bytes]) -> IO[bytes]:
    """The file where a process of its own can read it from its beginning: itself, or a copy."""
    file.seek(0)
    try:
        file.fileno()
    except (OSError, io.UnsupportedOperation, AttributeError):
        copy: IO[bytes] = tempfile.NamedTemporaryFile()  # noqa: SIM115 (the reader closes it)
        shutil.copyfileobj(file, copy)
        copy.flush()
        copy.seek(0)
        return copy
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    return file
