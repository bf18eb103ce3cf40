"""A Parquet file on standard input as JSON lines on standard output. A program of its own, not to be imported.

Whoever wrote the file decides what reading it asks for: pages that claim gigabytes, or bytes that crash a native
library. So it is read in a process apart, whose memory the system limits; the importer sees lines, or a word on the
error stream.
"""

import json
import os
import resource
import sys
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import IO, Any

MEMORY_BYTES = 3 * 2**30  # of address space, of which the library's own code and pools take most
ROOM_BYTES = 128 * 2**20  # for what the file asks for: row groups of any size are read page by page, a page at once
FOOTER_BYTES = 32 * 2**20
BATCH_BYTES, BATCH_ROWS = 4 * 2**20, 512


def plain(value: object) -> object:
    """What JSON has no word for."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() and abs(value) < 2**53 else float(value)
    if isinstance(value, bytes):
        return value.decode()
    return str(value)


def without_nan(value: object) -> object:
    """A number that is none is a missing one, as the libraries that write such files mean it."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    if isinstance(value, dict):
        return {name: without_nan(item) for name, item in value.items()}
    return value


def line_of(row: dict[str, Any]) -> str:
    try:
        return json.dumps(row, default=plain, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(without_nan(row), default=plain, ensure_ascii=False)


def footer_is_sane() -> bool:
    size = os.fstat(0).st_size
    if size < 12:
        return False
    os.lseek(0, size - 8, os.SEEK_SET)
    end = os.read(0, 8)
    os.lseek(0, 0, os.SEEK_SET)
    return end[4:] == b"PAR1" and 0 < int.from_bytes(end[:4], "little") <= min(FOOTER_BYTES, size - 12)


def main() -> int:
    if not footer_is_sane():
        return said("footer")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
    import pyarrow as pa
    import pyarrow.parquet as pq

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    keep_to_room()
    try:
        return write_rows(pq, os.fdopen(0, "rb", closefd=False))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except MemoryError:
        return said("memory")
    except UnicodeDecodeError:
        return said("bytes")
    except (pa.ArrowException, OSError, ValueError, OverflowError, TypeError, RecursionError):
        return said("damaged")


def keep_to_room() -> None:
    """Let this process take so much beyond what it holds by now; where the system does not tell, MEMORY_BYTES holds."""
    try:
        with open("/proc/self/status") as status:
            held = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData:"))
    except (OSError, StopIteration):
        return
    resource.setrlimit(resource.RLIMIT_DATA, (held + ROOM_BYTES, held + ROOM_BYTES))


def write_rows(pq: Any, file: IO[bytes]) -> int:
    parquet = pq.ParquetFile(
        file,
        buffer_size=65_536,
        pre_buffer=False,
        thrift_string_size_limit=FOOTER_BYTES,
        thrift_container_size_limit=1_000_000,
    )
    about = parquet.metadata
    if about.num_columns > 2000:
        return said("columns")
    out = open(1, "w", encoding="utf-8", errors="surrogatepass", closefd=False)  # noqa: SIM115 (flushed at the end)
    for group in range(about.num_row_groups):
        found = about.row_group(group)
        average = max(1, found.total_byte_size // max(1, found.num_rows))
        rows = max(1, min(BATCH_ROWS, BATCH_BYTES // average))
        for batch in parquet.iter_batches(batch_size=rows, row_groups=[group], use_threads=False):
            for row in batch.to_pylist():
                out.write(line_of(row))
                out.write("\n")
    out.flush()
    return 0


def said(word: str) -> int:
    sys.stderr.write(word)
    return 3


if __name__ == "__main__":
    sys.exit(main())
