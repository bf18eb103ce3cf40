"""HTTP/1.1 as one browser speaks it to one host, light on the processor: a connection kept open, and cookies.

Standard library only. The load should come from the server that is measured, not from the client beside it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

ANSWER_SECONDS = 60.0
FORM = "application/x-www-form-urlencoded"


class Broken(Exception):
    """The connection ended before the answer came: the server may have done what it was asked, or not."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 400


@dataclass
class Browser:
    """One person's browser. Asks one thing at a time."""

    host: str
    port: int
    cookies: dict[str, str] = field(default_factory=dict)
    resent: int = 0
    """Requests sent again since the server had closed the connection while nothing was on its way."""
    _reader: asyncio.StreamReader | None = None
    _writer: asyncio.StreamWriter | None = None
    _used: bool = False

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return await self.ask("GET", path, b"", headers or {})

    async def post(
        self, path: str, form: Mapping[str, object] | bytes, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Post a form, or a body that is one already (its Content-Type is in `headers`)."""
        body = form if isinstance(form, bytes) else urlencode(form, doseq=True).encode()
        return await self.ask("POST", path, body, {"Content-Type": FORM} | dict(headers or {}))

    async def ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send a request and wait for its answer. Raises Broken.

        As browsers do, one that finds its kept connection closed is sent once more on a new one.
        """
        request = self._request(method, path, body, headers)
        began = time.perf_counter()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                try:
                    status, found, content = await self._exchange(request)
                except Broken:
                    if not self._used:
                        raise
                    self.close()
                    self.resent += 1
                    status, found, content = await self._exchange(request)
        except TimeoutError:
            self.close()
            raise Broken("no answer in time") from None
        except Broken:
            self.close()
            raise
        if found.get("connection", "").lower() == "close":
            self.close()
        return Answer(status, found, content, time.perf_counter() - began)

    def _request(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}:{self.port}", "Accept-Language: en"]
        if self.cookies:
            lines.append("Cookie: " + "; ".join(f"{name}={value}" for name, value in self.cookies.items()))
        if body or method != "GET":
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    async def _exchange(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        try:
            if self._writer is None:
                self._used = False
                self._reader, self._writer = await asyncio.open_connection(self.host, self.port, limit=2**20)
            assert self._reader is not None
            self._writer.write(request)
            head = await self._reader.readuntil(b"\r\n\r\n")
            self._used = False  # from the first byte on, an answer that breaks off is not asked for again
            status, headers = self._head(head)
            body = await self._body(self._reader, headers, status)
            self._used = True
            return status, headers, body
        except (OSError, asyncio.IncompleteReadError, ValueError) as problem:
            raise Broken(f"{type(problem).__name__}: {problem}") from None

    def _head(self, head: bytes) -> tuple[int, dict[str, str]]:
        first, *lines = head.decode("latin-1").split("\r\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _colon, value = line.partition(":")
            if name.lower() == "set-cookie":
                self._keep_cookie(value.strip())
            elif name:
                headers[name.lower()] = value.strip()
        return int(first.split(" ", 2)[1]), headers

    def _keep_cookie(self, text: str) -> None:
        pair, *attributes = text.split(";")
        name, _equals, value = pair.partition("=")
        if any(part.strip().lower() == "max-age=0" for part in attributes):
            self.cookies.pop(name.strip(), None)
        else:
            self.cookies[name.strip()] = value.strip()

    async def _body(self, reader: asyncio.StreamReader, headers: Mapping[str, str], status: int) -> bytes:
        if "content-length" in headers:
            return await reader.readexactly(int(headers["content-length"]))
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return await self._chunks(reader)
        return b"" if status in {204, 304} else await reader.read()

    async def _chunks(self, reader: asyncio.StreamReader) -> bytes:
        parts = []
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
        return b"".join(parts)

    def close(self) -> None:
        """Let the connection go; the next request opens another."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None
        self._used = False

    def cut(self) -> None:
        """As when the network goes: whatever is on its way, in whichever direction, never arrives whole."""
        if self._writer is not None:
            self._used = False  # and is not sent again by itself
            self._writer.transport.abort()
