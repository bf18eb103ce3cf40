"""POST to an address that somebody typed in, without letting it reach what is inside.

The host is resolved once; every address it resolves to must be a public one (or in a network that the settings name);
the connection goes to the address that was checked, not to the name again. Redirects are not followed, the whole
exchange has a time limit, and no more of the answer is read than a line for the log. No Django in here.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

CONNECT_SECONDS = 5.0
WHOLE_SECONDS = 15.0
ANSWER_BYTES = 4096
LONGEST_URL = 500
# Ways to write an IPv4 address inside an IPv6 one; what is inside is what is reached.
NAT64 = ipaddress.ip_network("64:ff9b::/96")
V4_COMPATIBLE = ipaddress.ip_network("::/96")


class TargetRefused(Exception):
    """An address that nothing is sent to. `code` says why, for a sentence in the reader's language."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


class SendFailed(Exception):
    """The request did not go through: no connection, no answer in time, or nonsense for an answer."""


@dataclass(frozen=True)
class Target:
    scheme: str
    host: str
    port: int
    path: str
    addresses: tuple[str, ...]
    """What the host resolved to, each checked."""

    @property
    def host_header(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == {"https": 443, "http": 80}[self.scheme] else f"{name}:{self.port}"


@dataclass(frozen=True)
class Answer:
    status: int
    text: str


def target_of(url: str, allowed: Sequence[Network] = ()) -> Target:
    """Take the URL apart and check where it leads. Raises TargetRefused."""
    if len(url) > LONGEST_URL or not url.isprintable() or " " in url or not url.isascii():
        raise TargetRefused("malformed")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise TargetRefused("malformed") from None
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise TargetRefused("scheme")
    if parts.username is not None or parts.password is not None:
        raise TargetRefused("userinfo")
    if port == 0:
        raise TargetRefused("malformed")
    port = port or {"https": 443, "http": 80}[parts.scheme]
    host = parts.hostname.rstrip(".")
    addresses = resolve(host, port)
    inside = [address for address in addresses if not is_public(address)]
    if any(not is_in(address, allowed) for address in inside):
        raise TargetRefused("private")
    if parts.scheme == "http" and not all(is_in(address, allowed) for address in addresses):
        raise TargetRefused("plain")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port, path, tuple(str(address) for address in addresses))


def resolve(host: str, port: int) -> list[Address]:
    """Every address of the host, as the system's own resolver reads it: 2130706433 and 0177.1 are 127.0.0.1 to it."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError):
        raise TargetRefused("unknown_host") from None
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not addresses:
        raise TargetRefused("unknown_host")
    return list(dict.fromkeys(addresses))


def unwrapped(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one that only wraps it."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
    if inner is None and (address in NAT64 or (address in V4_COMPATIBLE and int(address) > 1)):
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address


def is_public(address: Address) -> bool:
    """Whether it is reached over the internet: no private, loopback, link-local, shared or reserved network."""
    inner = unwrapped(address)
    return inner.is_global and not inner.is_multicast and not inner.is_reserved and not inner.is_unspecified


def is_in(address: Address, networks: Sequence[Network]) -> bool:
    inner = unwrapped(address)
    return any(inner.version == network.version and inner in network for network in networks)


class PinnedConnection(http.client.HTTPConnection):
    """A connection to the addresses that were checked, whatever the name resolves to by now."""

    def __init__(self, target: Target) -> None:
        super().__init__(target.host, target.port, timeout=CONNECT_SECONDS)
        self.target = target

    def connect(self) -> None:
        self.sock = connect_first(self.target)
        if self.target.scheme == "https":
            context = ssl.create_default_context()
            self.sock = context.wrap_socket(self.sock, server_hostname=self.target.host)


def connect_first(target: Target) -> socket.socket:
    problem: OSError | None = None
    for address in target.addresses[:4]:
        try:
            return socket.create_connection((address, target.port), timeout=CONNECT_SECONDS)
        except OSError as error:
            problem = error
    raise problem or OSError("no address to connect to")


def post(target: Target, body: bytes, headers: Mapping[str, str], whole_seconds: float = WHOLE_SECONDS) -> Answer:
    """Send the body, and give the status with the beginning of the answer. Raises SendFailed."""
    connection = PinnedConnection(target)
    late = threading.Event()

    def cut() -> None:
        """A server that answers one byte at a time never runs into a socket's timeout, but into this."""
        late.set()
        if connection.sock:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    clock = threading.Timer(whole_seconds, cut)
    clock.daemon = True
    clock.start()
    try:
        sent = {"Host": target.host_header, "Connection": "close", "Accept-Encoding": "identity", **headers}
        connection.request("POST", target.path, body=body, headers=sent)
        response = connection.getresponse()
        text = response.read(ANSWER_BYTES).decode("utf-8", "replace")
        if late.is_set():  # cut off, what was read so far looks like an end
            raise SendFailed("no whole answer in time")
        return Answer(response.status, text)
    except (OSError, http.client.HTTPException, ValueError) as error:
        words = "no whole answer in time" if late.is_set() else str(error)[:200] or type(error).__name__
        raise SendFailed(words) from error
    finally:
        clock.cancel()
        connection.close()
