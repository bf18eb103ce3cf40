"""Files as they are sent, plain or packed with gzip or zstd, as one stream of bytes with a limit. Pure."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import IO, Protocol

import zstandard
from django.utils.translation import gettext as _

from annotation.errors import ImportProblem

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
BLOCK = 65_536
MOST_TIMES = 200  # text packs to a tenth, at best a hundredth, of its size; a bomb to a thousandth
ALLOWED_ANYWAY = 16 * 2**20
MOST_BYTES = 64 * 2**30  # what comes out of one packed file, whatever went in
WINDOW = 128 * 2**20  # memory that a zstd file may ask for
DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError)


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


def unpacked(file: IO[bytes]) -> io.BufferedReader:
    """The file from where it stands, unpacked where it is packed.

    Raises: ImportProblem, also while it is read: where it is damaged, or grows beyond what text does.
    """
    sent = Stream(file)
    packed: io.BufferedReader = io.BufferedReader(sent, BLOCK)
    first = packed.peek(4)[:4]
    if first.startswith(GZIP):
        source: Readable = gzip.GzipFile(fileobj=packed)
    elif first == ZSTD:
        source = ZstdText(packed)
    else:
        return packed
    return io.BufferedReader(Unpacked(source, sent), BLOCK)


class ZstdText:
    """A file of zstd frames, unpacked piece by piece: zstandard's own reader takes a file that breaks off for whole."""

    PIECE = 512  # bytes fed at once: a block of 4 may unpack to 128 kB, so at most 16 MB come of it

    def __init__(self, packed: IO[bytes]) -> None:
        self.packed, self.ready = packed, b""
        self.frame = self.next_frame()
        self.begun = False

    def next_frame(self) -> zstandard.ZstdDecompressionObj:
        return zstandard.ZstdDecompressor(max_window_size=WINDOW).decompressobj()

    def read(self, size: int = -1, /) -> bytes:
        while not self.ready:
            piece = self.packed.read(self.PIECE)
            if not piece:
                if self.begun:
                    raise EOFError
                return b""
            while piece:
                self.begun = True
                self.ready += self.frame.decompress(piece)
                piece = self.frame.unused_data if self.frame.eof else b""
                if self.frame.eof:
                    self.frame, self.begun = self.next_frame(), False
        block, self.ready = self.ready[:size], self.ready[size:]
        return block


class Stream(io.RawIOBase):
    """Anything that can be read, as a stream that counts what was taken from it."""

    def __init__(self, source: Readable) -> None:
        self.source, self.taken = source, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # it is given a writable buffer
        block = self.block(len(buffer))
        self.taken += len(block)
        buffer[: len(block)] = block
        return len(block)

    def block(self, size: int) -> bytes:
        return self.source.read(size)


class Unpacked(Stream):
    """What comes out of a packed file, as long as it stays in proportion to what went in."""

    def __init__(self, source: Readable, sent: Stream) -> None:
        super().__init__(source)
        self.sent = sent

    def block(self, size: int) -> bytes:
        try:
            block = self.source.read(size)
        except DAMAGED:
            raise ImportProblem(_("The file is damaged: it can't be unpacked to its end. Pack it again.")) from None
        if self.taken > ALLOWED_ANYWAY + MOST_TIMES * self.sent.taken:
            raise ImportProblem(
                _("The file unpacks to more than %(times)s times its size, which text does not. Unpack it first.")
                % {"times": MOST_TIMES}
            )
        if self.taken > MOST_BYTES:
            raise ImportProblem(
                _("The file unpacks to more than %(limit)s GB. Split it into several.") % {"limit": MOST_BYTES >> 30}
            )
        return block
