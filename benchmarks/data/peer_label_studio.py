"""Label Studio with its own server and SQLite, driven by its API: tasks with a ranker's annotation in, and out again.

It is what a researcher would do with it: one POST of the rows, one GET of the export. Memory is the server's.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

from benchmarks.data import ground
from benchmarks.real_data.installation import free_port

EMAIL, PASSWORD = "bench@example.com", "a password of the benchmark"
CONFIG = """<View><Text name="prompt" value="$prompt"/><List name="answers" value="$items" title="Answers"/>
<Ranker name="rank" toName="answers"/></View>"""
START_SECONDS = 300.0
REQUEST_SECONDS = 900.0
POST_ROWS = 1000
TOKEN = re.compile(rb'name="csrfmiddlewaretoken" value="([^"]+)"')


class PeerFailed(RuntimeError):
    """Label Studio did not do what was asked; the message says what it said."""


def measured(python: Path, folder: Path, rows: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(what, file type, record) of an import of so many rankings and of their export as JSON."""
    tasks = [task(row) for row in ground.rankings(rows, 11)]
    with server(python, folder) as site:
        about = {"rows": rows, "version": site.version}
        project = site.call("/api/projects/", {"title": "bench", "label_config": CONFIG})["id"]
        began = time.perf_counter()
        for start in range(0, rows, POST_ROWS):
            site.call(f"/api/projects/{project}/import", tasks[start : start + POST_ROWS])
        seconds = time.perf_counter() - began
        yield "import", "json", about | {"seconds": round(seconds, 3), "peak_mb": site.peak_mb()}
        began = time.perf_counter()
        found = site.get(f"/api/projects/{project}/export?exportType=JSON&download_all_tasks=true")
        seconds = time.perf_counter() - began
        exported = json.loads(found)
        if len(exported) != rows or not exported[0].get("annotations"):
            raise PeerFailed(f"the export has {len(exported)} tasks of {rows}, or no annotations")
        record = {"seconds": round(seconds, 3), "peak_mb": site.peak_mb(), "file_mb": round(len(found) / 2**20, 1)}
        yield "export", "json", about | record


def task(row: dict[str, Any]) -> dict[str, Any]:
    items = [{"id": str(place), "body": answer["content"]} for place, answer in enumerate(row["completions"])]
    order = sorted(range(len(items)), key=lambda place: row["ranks"][place])
    value = {"ranker": [items[place]["id"] for place in order]}
    result = {"from_name": "rank", "to_name": "answers", "type": "ranker", "value": value}
    return {
        "data": {"prompt": row["prompt"], "items": items, "labeler": row["labeler"], "category": row["category"]},
        "annotations": [{"result": [result], "lead_time": row["active_seconds"]}],
    }


class Site:
    """A signed-in session with a running Label Studio."""

    def __init__(self, address: str, process: subprocess.Popen[bytes]) -> None:
        self.address, self.process = address, process
        self.cookies = CookieJar()
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.cookies)
        )
        self.version = ""

    def wait(self) -> None:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self.process.poll() is None:
            try:
                self.version = json.loads(self.get("/api/version", seconds=5))["release"]
                return
            except (urllib.error.URLError, OSError, PeerFailed):
                time.sleep(0.5)
        raise PeerFailed("Label Studio did not start")

    def sign_in(self) -> None:
        found = TOKEN.search(self.get("/user/login/"))
        if found is None:
            raise PeerFailed("its sign-in page has no form")
        form = {"email": EMAIL, "password": PASSWORD, "csrfmiddlewaretoken": found[1].decode()}
        self.open("/user/login/", urllib.parse.urlencode(form).encode(), "application/x-www-form-urlencoded")

    def call(self, path: str, content: Any) -> Any:
        return json.loads(self.open(path, json.dumps(content).encode(), "application/json"))

    def get(self, path: str, seconds: float = REQUEST_SECONDS) -> bytes:
        return self.open(path, None, "", seconds)

    def open(self, path: str, body: bytes | None, content_type: str, seconds: float = REQUEST_SECONDS) -> bytes:
        headers = {"Content-Type": content_type, "Referer": self.address} if body is not None else {}
        for cookie in self.cookies:
            if cookie.name == "csrftoken" and cookie.value:
                headers["X-CSRFToken"] = cookie.value
        request = urllib.request.Request(self.address + path, data=body, headers=headers)
        try:
            with self.opener.open(request, timeout=seconds) as answer:
                found: bytes = answer.read()
                return found
        except urllib.error.HTTPError as problem:
            raise PeerFailed(f"{path} answered {problem.code}: {problem.read()[:300]!r}") from None

    def peak_mb(self) -> float:
        """The highest resident size of the server's processes, together."""
        return round(sum(peak_kib(pid) for pid in group_of(self.process.pid)) / 1024, 1)


def group_of(leader: int) -> list[int]:
    """The processes of a group; where the system does not tell, its leader alone."""
    found = [int(path.name) for path in Path("/proc").glob("[0-9]*") if group_id(int(path.name)) == leader]
    return found or [leader]


def group_id(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def peak_kib(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+)", text)
    return int(found[1]) if found else 0


@contextmanager
def server(python: Path, folder: Path) -> Iterator[Site]:
    data, port = folder / "label-studio", free_port()
    data.mkdir()
    program = python.with_name("label-studio")
    command = [str(program), "start", "--no-browser", "--port", str(port), "--data-dir", str(data)]
    command += ["--username", EMAIL, "--password", PASSWORD, "--log-level", "ERROR"]
    # `manage.py` names our settings, which Label Studio would take for its own.
    inherited = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    environment = inherited | {"LABEL_STUDIO_BASE_DATA_DIR": str(data), "COLLECT_ANALYTICS": "0", "SENTRY_DSN": ""}
    with (folder / "label-studio.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )
        try:
            site = Site(f"http://127.0.0.1:{port}", process)
            site.wait()
            site.sign_in()
            yield site
        except (PeerFailed, urllib.error.URLError, OSError) as problem:
            said = (folder / "label-studio.log").read_text(errors="replace").strip().splitlines()
            print("\n".join(said[-10:]), file=sys.stderr)
            raise PeerFailed(f"Label Studio: {problem}") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
