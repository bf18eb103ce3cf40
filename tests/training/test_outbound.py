"""Where a webhook may lead, and that it leads nowhere else."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training import outbound
from training.outbound import SendFailed, TargetRefused, is_public, post, target_of

LOCAL = [ipaddress.ip_network("127.0.0.0/8")]
INSIDE = [
    "https://127.0.0.1/",
    "https://2130706433/",
    "https://017700000001/",
    "https://0x7f.1/",
    "https://127.1/",
    "https://localhost/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:a00:1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[fe80::1]/",
    "https://[fd00::1]/",
    "https://[::]/",
    "https://0.0.0.0/",
    "https://10.1.2.3/",
    "https://172.16.0.1/",
    "https://192.168.1.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://100.64.0.1/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://127.0.0.1./",
]


@pytest.mark.parametrize("url", INSIDE)
def test_what_is_inside_is_refused_however_it_is_written(url: str) -> None:
    with pytest.raises(TargetRefused) as refusal:
        target_of(url)
    assert refusal.value.code in {"private", "unknown_host"}


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ftp://1.1.1.1/", "scheme"),
        ("//1.1.1.1/", "scheme"),
        ("https:///x", "scheme"),
        ("https://a:b@1.1.1.1/", "userinfo"),
        ("https://1.1.1.1:99999/", "malformed"),
        ("https://1.1.1.1:0/", "malformed"),
        ("https://1.1.1.1/\r\nX: y", "malformed"),
        ("https://1.1.1.1/ x", "malformed"),
        ("https://" + "a" * 600, "malformed"),
        ("http://1.1.1.1/", "plain"),
        ("https://no-such-host.invalid/", "unknown_host"),
    ],
)
def test_what_is_no_address_for_a_webhook_is_refused(url: str, code: str) -> None:
    with pytest.raises(TargetRefused) as refusal:
        target_of(url)
    assert refusal.value.code == code


def test_a_public_address_and_an_allowed_network_are_let_through() -> None:
    target = target_of("https://1.1.1.1:8443/a?b=c")
    assert (target.addresses, target.path, target.host_header) == (("1.1.1.1",), "/a?b=c", "1.1.1.1:8443")
    assert target_of("http://127.0.0.1:80/", LOCAL).host_header == "127.0.0.1"
    with pytest.raises(TargetRefused):
        target_of("http://10.0.0.1/", LOCAL)


@given(st.ip_addresses(v=4))
def test_wrapping_an_address_in_version_six_changes_nothing(inner: ipaddress.IPv4Address) -> None:
    for prefix in ("::ffff:", "64:ff9b::"):
        assert is_public(ipaddress.IPv6Address(f"{prefix}{inner}")) == is_public(inner)
    assert is_public(ipaddress.IPv6Address((0x2002 << 112) | (int(inner) << 80))) == is_public(inner)


def test_a_name_that_leads_inside_and_outside_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(2, 1, 6, "", ("1.1.1.1", 443)), (2, 1, 6, "", ("10.0.0.1", 443))]
    monkeypatch.setattr(outbound.socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(TargetRefused) as refusal:
        target_of("https://rebinding.example/")
    assert refusal.value.code == "private"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    server = socket.create_server(("127.0.0.1", 0))
    yield server
    server.close()


def test_the_connection_goes_to_the_address_that_was_checked(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name changes its mind between check and connect: nobody asks it again."""
    port = listener.getsockname()[1]
    real = socket.getaddrinfo
    monkeypatch.setattr(outbound.socket, "getaddrinfo", lambda *_, **__: real("127.0.0.1", port, proto=6))
    target = target_of(f"http://shifty.example:{port}/", LOCAL)
    asked = []

    def other(host: str, *rest: object, **named: object) -> object:
        asked.append(host)
        return real(host, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(outbound.socket, "getaddrinfo", other)
    thread = threading.Thread(target=answer, args=(listener, b"HTTP/1.1 204 No Content\r\n\r\n"), daemon=True)
    thread.start()
    assert post(target, b"{}", {}).status == 204
    assert asked == ["127.0.0.1"]


def answer(listener: socket.socket, *parts: bytes, pause: float = 0) -> None:
    client, _ = listener.accept()
    with client, suppress(OSError):
        client.recv(65_536)
        for part in parts:
            client.sendall(part)
            threading.Event().wait(pause)


def test_a_server_that_drips_is_cut_off(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    drips = [b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 50]
    threading.Thread(target=answer, args=(listener, *drips), kwargs={"pause": 0.1}, daemon=True).start()
    with pytest.raises(SendFailed, match="in time"):
        post(target_of(f"http://127.0.0.1:{port}/", LOCAL), b"{}", {}, whole_seconds=0.4)


def test_no_more_of_an_answer_is_read_than_a_log_holds(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    head = b"HTTP/1.1 500 No\r\nContent-Length: 10000000\r\n\r\n"
    threading.Thread(target=answer, args=(listener, head, b"x" * 100_000), daemon=True).start()
    found = post(target_of(f"http://127.0.0.1:{port}/", LOCAL), b"{}", {})
    assert (found.status, len(found.text)) == (500, outbound.ANSWER_BYTES)


def test_nonsense_is_a_failure_and_not_a_crash(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    threading.Thread(target=answer, args=(listener, b"\x00\x01garbage\r\n\r\n"), daemon=True).start()
    with pytest.raises(SendFailed):
        post(target_of(f"http://127.0.0.1:{port}/", LOCAL), b"{}", {})
