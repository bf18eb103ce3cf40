"""A file over HTTP, whole or the part that is asked for, so that a download that broke off goes on where it was.

One range at a time (RFC 9110, section 14); several in one request, or units other than bytes, get the whole file, as
the standard allows. `If-Range` with another tag gets the whole file too: parts of two files must not be joined.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils.http import content_disposition_header

PIECE = 1 << 16
RANGE = re.compile(r"bytes=(\d*)-(\d*)$")


def file_response(request: HttpRequest, path: Path, *, name: str, etag: str, content_type: str) -> HttpResponse:
    """200 with the file, 206 with a part of it, 304 where the caller has it, or 416 for a part that is not there."""
    size, tag = path.stat().st_size, f'"{etag}"'
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": tag,
        "Cache-Control": "private, no-transform",
        "Content-Disposition": content_disposition_header(True, name) or "attachment",
        "X-Content-Type-Options": "nosniff",
    }
    if tag in [part.strip() for part in request.headers.get("If-None-Match", "").split(",")]:
        return HttpResponse(status=304, headers={"ETag": tag})
    part = asked_part(request, size, tag)
    if part is None:
        return HttpResponse(status=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    first, last = part
    status = 206 if is_range(request, tag) and size else 200
    if status == 206:
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    headers["Content-Length"] = str(last - first + 1)
    content = () if request.method == "HEAD" else pieces(path, first, last - first + 1)
    return StreamingHttpResponse(content, status=status, content_type=content_type, headers=headers)  # type: ignore[return-value]


def is_range(request: HttpRequest, tag: str) -> bool:
    """Whether a part is asked for, and of the file that is here."""
    found = RANGE.match(request.headers.get("Range", "").strip())
    return found is not None and any(found.groups()) and request.headers.get("If-Range", tag) == tag


def asked_part(request: HttpRequest, size: int, tag: str) -> tuple[int, int] | None:
    """(first byte, last byte); None for a part behind the end."""
    if not is_range(request, tag) or size == 0:
        return 0, size - 1
    begin, end = RANGE.match(request.headers["Range"].strip()).groups()  # type: ignore[union-attr]
    if not begin:  # the last so many bytes
        return (max(0, size - int(end)), size - 1) if int(end) else None
    first, last = int(begin), min(int(end) if end else size - 1, size - 1)
    return (first, last) if first <= last else None


def pieces(path: Path, first: int, length: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(first)
        while length > 0 and (piece := file.read(min(PIECE, length))):
            length -= len(piece)
            yield piece
