"""What a file's rows say, kept between an import's two passes, so that nobody reads and checks the file again.

On the file store's own disk, without a name: it is gone with its process, whatever ends that. An import that another
process takes up, or that says more than `MOST_BYTES`, reads its file again instead.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings

from annotation.records import Record

MOST_BYTES = 4 * 2**30
Good = list[tuple[int, Record]]
Block = tuple[int, int, Good]
"""(rows read, bytes of the file read by then, the good ones with their lines)"""


class Spool:
    """Blocks of records in their order; to be closed."""

    def __init__(self) -> None:
        aside = Path(settings.FILES_DIR) / "aside"
        aside.mkdir(parents=True, exist_ok=True)
        self.file: Any = tempfile.TemporaryFile(dir=aside, buffering=1 << 20)  # noqa: SIM115 (closed by `close`)
        self.is_whole = True
        """Whether it holds every row from the file's first on."""

    def add(self, block: Block) -> None:
        if not self.is_whole:
            return
        pickle.dump(block, self.file, pickle.HIGHEST_PROTOCOL)
        if self.file.tell() > MOST_BYTES:
            self.drop()

    def drop(self) -> None:
        """Hold nothing any more."""
        self.is_whole = False
        self.file.close()

    def blocks(self) -> Iterator[Block]:
        self.file.seek(0)
        while True:
            try:
                yield pickle.load(self.file)  # by this very process, into a file that nobody else can open
            except EOFError:
                return

    def close(self) -> None:
        self.file.close()
