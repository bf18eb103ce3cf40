"""Plackett and Label Studio side by side: the same number of tasks and accounts, each on the database it starts with.

Ours is measured twice: with the next task in the answer to a label, as docs/labeling.md has programs ask, and with a
request of its own for it, as Label Studio's API has it.

Label Studio's community edition has an environment of its own, made once from pins (`requirements.txt`), and runs as
its documentation starts it. Its questions to the network (is there a newer version?) are switched off: they take time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.labeling.figures import Record, Stored, beside, kept
from benchmarks.labeling.labelers import CSRF
from benchmarks.labeling.peer_labelers import LabelStudio, Plackett, System, Work, label, sign_in
from benchmarks.labeling.places import BASE_DIR, Place, place
from benchmarks.labeling.runs import stored_of
from benchmarks.labeling.serving import served
from benchmarks.labeling.texts import answer_text, prompt_text
from benchmarks.labeling.wire import Browser
from benchmarks.real_data.installation import free_port
from benchmarks.training.peer_environment import NoPeer, Peer, peer_python

if TYPE_CHECKING:
    from benchmarks.labeling.plan import Report

LABEL_STUDIO = Peer("Label Studio", Path(__file__).with_name("requirements.txt"), needed_gib=2.0)
ACCOUNTS, K = 8, 4
TASKS = 10_000
PEER, APART = "peer", ", two requests a label"
WARM_SECONDS = 5.0
START_SECONDS = 180.0
IMPORTED_AT_ONCE = 1000
PASSWORD = "not-a-secret-of-anybody"
TIMES_AIM, SHARE_AIM = 10.0, 0.1


def measure(options: argparse.Namespace, report: Report) -> None:
    """Measure each side that is not measured yet, and say how they compare."""
    sides: list[tuple[str, str, str, Callable[[argparse.Namespace], Record]]] = [
        ("ours", PEER, "plackett", partial(ours, in_one=True)),
        ("ours", PEER + APART, "plackett", partial(ours, in_one=False)),
        ("theirs", PEER, "label-studio", theirs),
    ]
    for side, part, system, take in sides:
        if options.side in {side, "both"} and not report.find(part, "sqlite", system):
            report.add({"system": system, "part": part, "database": "sqlite"} | take(options))
    other = report.find(PEER, "sqlite", "label-studio")
    for requests in ("", APART):
        mine = report.find(PEER + requests, "sqlite")
        if mine and other and not report.find(f"beside{requests}", "sqlite"):
            found = beside(mine, other)
            report.add({"part": f"beside{requests}", "database": "sqlite"} | found | {"met": is_met(found)})


def is_met(found: Record) -> bool:
    shares = [found[name] for name in found if name.endswith("_share")]
    return (found["labels_s_times"] or 0) >= TIMES_AIM and all(share <= SHARE_AIM for share in shares)


def tasks_wanted(options: argparse.Namespace) -> int:
    return 500 if options.quick else TASKS


def seconds_wanted(options: argparse.Namespace) -> float:
    return min(options.seconds, 8.0) if options.quick else options.seconds


# --- Ours -------------------------------------------------------------------------------------------------------------


def ours(options: argparse.Namespace, *, in_one: bool) -> Record:
    """in_one: a label and the next task are one request, and only what both take together (`turn`) can be compared."""
    with place("sqlite", "peer", options.folder, "") as there:
        spec = {"answers": K * tasks_wanted(options), "k": K, "overlap": 1, "labelers": ACCOUNTS}
        there.child("seeding", spec | {"people": str(there.people), "seed": options.seed})
        people = json.loads(there.people.read_text())
        with served(there) as server:
            browsers = [
                Browser(server.host, server.port, {"sessionid": person["session"], "csrftoken": CSRF})
                for person in people["labelers"]
            ]
            work, row = asyncio.run(labeled(Plackett(people["slug"], in_one=in_one), browsers, options))
            if in_one:
                row = {name: value for name, value in row.items() if not name.startswith(("next_", "submit_"))}
            return row | {"web_processes": len(server.web_processes())} | outcome(there, work)


def outcome(there: Place, work: Work) -> Record:
    sent = there.folder / "sent.json"
    sent.write_text(json.dumps({"submissions": work.sent, "drafts": []}))
    found = there.child("checking", {"sent": str(sent)})
    return kept(work.sent, work.acknowledged, stored_of(0, found))


async def labeled(system: System, browsers: Sequence[Browser], options: argparse.Namespace) -> tuple[Work, Record]:
    """All accounts at once, for the time that is measured."""
    work = Work()
    tasks = [
        asyncio.create_task(label(system, browser, work, options.seed + number))
        for number, browser in enumerate(browsers)
    ]
    await asyncio.sleep(min(WARM_SECONDS, options.seconds))
    work.measures, began = True, time.monotonic()
    await asyncio.sleep(seconds_wanted(options))
    work.measures, seconds = False, time.monotonic() - began
    work.ends = True
    await asyncio.gather(*tasks)
    row: Record = {"tasks": tasks_wanted(options), "answers": K * tasks_wanted(options), "labelers": len(browsers)}
    row |= {"think_s": 0, "seconds": round(seconds, 1), "labels": work.labels}
    row |= {"labels_s": round(work.labels / seconds, 2), **work.timings.row(), "errors": sum(work.troubles.values())}
    return work, row | ({"troubles": dict(work.troubles.most_common(3))} if work.troubles else {})


# --- Label Studio -----------------------------------------------------------------------------------------------------


def theirs(options: argparse.Namespace) -> Record:
    try:
        python = options.peer_python or peer_python(options.folder, LABEL_STUDIO)
    except NoPeer as problem:
        raise SystemExit(str(problem)) from None
    room = options.folder / "label-studio"
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(parents=True)
    try:
        made = json.loads(set_up(python, room))
        with label_studio(python, room) as port:
            work, row = asyncio.run(signed_in_and_labeled(port, made, options))
        return row | {"version": version_of(python)} | their_outcome(room, work)
    finally:
        shutil.rmtree(room, ignore_errors=True)


def environment(room: Path) -> dict[str, str]:
    kept_of_ours = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept_of_ours | {
        "LABEL_STUDIO_BASE_DATA_DIR": str(room),
        "COLLECT_ANALYTICS": "False",
        "LATEST_VERSION_CHECK": "False",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
    }


def set_up(python: Path, room: Path) -> str:
    spec = json.dumps({"accounts": ACCOUNTS, "password": PASSWORD})
    script = Path(__file__).with_name("peer_setup.py")
    done = subprocess.run(
        [str(python), str(script), spec], env=environment(room), cwd=room, text=True, capture_output=True
    )
    if done.returncode:
        raise SystemExit(f"Label Studio can't be set up: {done.stderr.strip()[-600:]}")
    return done.stdout.splitlines()[-1]


@contextmanager
def label_studio(python: Path, room: Path) -> Iterator[int]:
    """Its own server, as `label-studio start` starts it."""
    port = free_port()
    command = [str(python.with_name("label-studio")), "start", "--no-browser", "--port", str(port)]
    with (room / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment(room), cwd=room, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        try:
            wait_for_health(process, port, room / "server.log")
            yield port
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def wait_for_health(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(urllib.error.URLError, OSError), opener.open(f"http://127.0.0.1:{port}/health", timeout=5):
            return
        time.sleep(0.5)
    raise SystemExit(f"Label Studio did not start: {log.read_text(errors='replace')[-600:]}")


async def signed_in_and_labeled(port: int, made: dict[str, Any], options: argparse.Namespace) -> tuple[Work, Record]:
    browsers = [Browser("127.0.0.1", port) for _email in made["emails"]]
    for browser, email in zip(browsers, made["emails"], strict=True):
        await sign_in(browser, email, PASSWORD)
    system = LabelStudio(made["project"])
    await bring_in(system, browsers[0], tasks_wanted(options), options.seed)
    return await labeled(system, browsers, options)


async def bring_in(system: LabelStudio, browser: Browser, tasks: int, seed: int) -> None:
    """Import tasks with answers of the same length as ours, by its API."""
    draw = random.Random(seed)
    for first in range(0, tasks, IMPORTED_AT_ONCE):
        rows = [their_task(draw, number) for number in range(first, min(first + IMPORTED_AT_ONCE, tasks))]
        path = f"/api/projects/{system.project}/import?commit_to_project=true"
        answer = await browser.post(path, json.dumps(rows).encode(), system.headers(browser))
        if answer.status != 201:
            raise SystemExit(f"Label Studio refuses the tasks: status {answer.status}: {answer.body[:300]!r}")


def their_task(draw: random.Random, number: int) -> dict[str, Any]:
    items = [{"id": f"answer-{place}", "title": "", "body": answer_text(draw)} for place in range(K)]
    return {"prompt": prompt_text(draw, number), "items": items}


def version_of(python: Path) -> str:
    code = "from importlib.metadata import version; print(version('label-studio'))"
    return subprocess.run([str(python), "-c", code], cwd=BASE_DIR, text=True, capture_output=True).stdout.strip()


def their_outcome(room: Path, work: Work) -> Record:
    """The same questions to its tables."""
    with sqlite3.connect(room / "label_studio.sqlite3") as tables:
        ids = {str(key) for (key,) in tables.execute("SELECT id FROM task_completion")}
        many = "SELECT task_id FROM task_completion GROUP BY task_id HAVING count(*) > 1"
        over = tables.execute(f"SELECT count(*) FROM ({many})").fetchone()[0]
    stored = Stored(labels_before=0, labels_after=len(ids), submissions=ids, over_overlap=over)
    return kept(work.sent, work.acknowledged, stored)
