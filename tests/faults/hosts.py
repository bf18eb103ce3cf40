"""Hosts that share nothing: two workers, each in a network namespace and with a folder of its own.

Three namespaces: a hub, where PostgreSQL, Redis, the object store, the web server and the worker of jobs are, and two
hosts that reach the hub alone. Neither sees the other's folder, or the hub's. Nothing is made outside the namespaces.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from config import processes
from tests.faults.servers import Server, end_with_parent
from tests.faults.stack import Stack, cores_below

HUB = "10.231.0.1"
HOSTS = ("a", "b")
NETWORK_VARIABLE = "FAULTS_NETWORK"

# In a host's own mount namespace: the other folders are covered, and the host gets its own name.
BEGIN = 'hostname "$1" && mount -t tmpfs none "$2" && mount -t tmpfs none "$3" && shift 3 && exec "$@"'


def lacking() -> str:
    """Why it can't be done here; empty where it can."""
    if sys.platform != "linux" or os.getuid() != 0:
        return "network namespaces need Linux and root"
    missing = [name for name in ("ip", "unshare", "mount") if not shutil.which(name)]
    if missing:
        return f"{' and '.join(missing)} not found: apt install iproute2 util-linux"
    name = f"plk{os.getpid()}-try"
    if ip("netns", "add", name, check=False):
        return "this system lets us make no network namespaces"
    ip("netns", "del", name)
    return ""


def ip(*words: str, check: bool = True) -> int:
    command = ["ip", *words]
    return subprocess.run(command, check=check, stderr=None if check else subprocess.DEVNULL).returncode


class Network:
    """The namespaces, made by a process that stays outside: from inside they could not be removed."""

    def __init__(self) -> None:
        self.name = f"plk{os.getpid()}"

    def __enter__(self) -> Network:
        hub = self.space("hub")
        ip("netns", "add", hub)
        ip("-n", hub, "link", "set", "lo", "up")
        ip("-n", hub, "addr", "add", f"{HUB}/32", "dev", "lo")
        for number, host in enumerate(HOSTS, start=1):
            space, there, here = self.space(host), self.link(host), "uplink"
            ip("netns", "add", space)
            ip("-n", hub, "link", "add", there, "type", "veth", "peer", "name", here, "netns", space)
            ip("-n", hub, "addr", "add", f"10.231.{number}.1/24", "dev", there)
            ip("-n", hub, "link", "set", there, "up")
            ip("-n", space, "link", "set", "lo", "up")
            ip("-n", space, "addr", "add", f"10.231.{number}.2/24", "dev", here)
            ip("-n", space, "link", "set", here, "up")
            ip("-n", space, "route", "add", "default", "via", f"10.231.{number}.1")
        return self

    def __exit__(self, *_: object) -> None:
        for name in ("hub", *HOSTS):
            ip("netns", "del", self.space(name), check=False)

    def space(self, name: str) -> str:
        return f"{self.name}-{name}"

    def link(self, host: str) -> str:
        return f"{self.name}{host}"

    def run_inside(self, command: list[str], folder: Path) -> int:
        """Carry the command out in the hub."""
        inside = subprocess.Popen(
            ["ip", "netns", "exec", self.space("hub"), *command],
            cwd=folder,
            env=os.environ | {NETWORK_VARIABLE: self.name},
            preexec_fn=end_with_parent(signal.SIGTERM),
        )
        try:
            return inside.wait()
        except BaseException:
            inside.terminate()
            inside.wait()
            raise


class HostStack(Stack):
    """The processes of an installation, with two GPU workers, each on a host of its own."""

    def __init__(self, data: Path, variables: dict[str, str], lifeline: int, servers: list[Server]) -> None:
        super().__init__(data, variables, lifeline, servers)
        self.network = os.environ[NETWORK_VARIABLE]
        self.folders = {host: data.parent / f"host-{host}" for host in HOSTS}
        del self.commands["gpu"]
        for host in HOSTS:
            self.folders[host].mkdir()
            self.commands[host] = self.on_host(host)

    def on_host(self, host: str) -> list[str]:
        covered = [str(self.data), *(str(folder) for name, folder in self.folders.items() if name != host)]
        enter = ["ip", "netns", "exec", f"{self.network}-{host}", "unshare", "--uts", "--mount"]
        worker = processes.worker_command("gpu", pool="threads", concurrency=1)
        return [*enter, "sh", "-c", BEGIN, "sh", f"host-{host}", *covered, *worker]

    def start(self, name: str, **more: str) -> None:
        own = {"PLACKETT_DATA": str(self.folders[name])} if name in self.folders else {}
        super().start(name, **own, **more)

    def log(self, name: str) -> Path:
        return self.data.parent / f"{name}.log"

    def cores(self, run_id: UUID | None = None) -> list[int]:
        return [pid for folder in self.folders.values() for pid in cores_below(folder / "files" / "runs", run_id)]

    def cut_off(self, host: str) -> None:
        """From one moment to the next no packet comes through any more, in neither direction, and no refusal either."""
        ip("link", "set", f"{self.network}{host}", "down")

    def mend(self, host: str) -> None:
        ip("link", "set", f"{self.network}{host}", "up")

    def end(self) -> None:
        for host in HOSTS:
            with suppress(subprocess.CalledProcessError):
                self.mend(host)
        super().end()
