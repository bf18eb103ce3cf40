"""One step of ours in a process of its own, as a worker does it: import, freeze, look for leaks, export, draw pages.

python -m benchmarks.data.ours '{"step": "import", ...}'. The environment says which database. Times are of the step
alone; peak memory is all that the process ever held, Python and Django included, as a worker's is.
"""

from __future__ import annotations

import importlib
import os
import resource
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django

from benchmarks.training.process import child_main, resident

Spec = dict[str, Any]
Record = dict[str, Any]
PAGE_TIMES = 5


class Clock:
    """Wall and processor seconds of a stretch of work, the processes that it started included; of PostgreSQL's process
    apart, where that runs on this machine."""

    def __init__(self) -> None:
        self.server, self.cpu = server_seconds(), processor_seconds()
        self.began = time.perf_counter()

    def record(self) -> Record:
        found = {
            "seconds": round(time.perf_counter() - self.began, 3),
            "cpu_seconds": round(processor_seconds() - self.cpu, 3),
            "peak_mb": round(resident("VmHWM"), 1),
        }
        if self.server is not None and (now := server_seconds()) is not None:
            found["server_cpu_seconds"] = round(now - self.server, 3)
        return found


def server_seconds() -> float | None:
    """Processor seconds of the database's process that serves this connection."""
    from django.db import connection

    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def processor_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(item.ru_utime + item.ru_stime for item in used)


# --- Steps ------------------------------------------------------------------------------------------


def prepare(spec: Spec) -> Record:
    """The tables, and who works in them."""
    from django.core.management import call_command

    from annotation.services.accounts import user_create

    call_command("migrate", verbosity=0)
    user_create(username="bench", is_superuser=True)
    return {}


def import_file(spec: Spec) -> Record:
    """A staged file into a project of its own, from the claim to the last transaction."""
    from annotation.models import ImportBatch
    from annotation.services.import_claims import import_claim
    from annotation.services.importing import import_run
    from annotation.services.imports import import_stage, import_start
    from annotation.staging import blocks_of_path

    path = Path(spec["path"])
    project = project_named(spec["project"])
    staging = Clock()
    batch = import_stage(
        project=project,
        kind=spec["kind"],
        blocks=blocks_of_path(path),
        filename=path.name,
        pool={"rankings": "rm", "demonstrations": "sft", "prompts": "ppo"}[spec["kind"]],
        source="benchmark",
        by=user(),
    )
    staged = staging.record()["seconds"]
    import_start(batch=batch, by=user())
    fence = import_claim(worker="bench")
    assert fence is not None
    phases: dict[str, float] = {}

    def tell(now: ImportBatch) -> None:
        phases[now.phase] = time.perf_counter()

    clock = Clock()
    import_run(fence=fence, tell=tell)
    record = clock.record()
    ended = time.perf_counter()
    batch.refresh_from_db()
    if batch.state != "succeeded" or batch.added != spec["rows"]:
        raise RuntimeError(f"the import {batch.state}: {batch.message} {batch.added} of {spec['rows']} rows")
    return {
        **record,
        "stage_seconds": staged,
        "check_seconds": round(phases["check"] - clock.began, 3),
        "write_seconds": round(phases["write"] - phases["check"], 3),
        "show_seconds": round(ended - phases["write"], 3),
        "reader_peak_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, 1),
        "file_mb": round(path.stat().st_size / 2**20, 1),
    }


def freeze(spec: Spec) -> Record:
    """The query's answer: which rows a snapshot would hold, then the snapshot itself without its leak check."""
    from training.selectors.snapshots import snapshot_preview
    from training.services.snapshots import snapshot_build

    project = project_named(spec["project"])
    counting = Clock()
    snapshot_preview(project, spec["kind"], {})
    counted = counting.record()["seconds"]
    clock = Clock()
    snapshot = snapshot_build(project=project, kind=spec["kind"], query={}, by=user(), name=spec["kind"])
    record = clock.record()
    if sum(snapshot.counts.values()) != spec["rows"]:
        raise RuntimeError(f"the snapshot has {snapshot.counts}, not {spec['rows']} rows")
    return {**record, "preview_seconds": counted, "file_mb": round(snapshot.artifact.size / 2**20, 1)}


def leaks(spec: Spec) -> Record:
    """Prompts in train against the held-out ones, as the worker's job does it, its facts left out."""
    from training.models import LeakCheck
    from training.services.leaks import check_run

    snapshot = newest_snapshot(spec)
    clock = Clock()
    with largest_aside() as aside:
        check_run(snapshot)
    record = clock.record()
    check = LeakCheck.objects.get(snapshot=snapshot)
    held_out = sum(rows for split, rows in snapshot.counts.items() if split != "train")
    return {**record, "disk_mb": round(aside["mb"], 1), "held_out": held_out, "found": check.total}


def facts(spec: Spec) -> Record:
    """What the snapshot's page draws, counted once from its files."""
    from training.services.facts import facts_for

    snapshot = newest_snapshot(spec)
    clock = Clock()
    facts_for(snapshot)
    return clock.record()


def export(spec: Spec) -> Record:
    """One split in a format and a file type, or the folder with its card: from the claim to the job's end."""
    from training import files
    from training.jobs import carry_out
    from training.models import Job
    from training.services.exports import export_create
    from training.services.jobs import job_claim

    snapshot = newest_snapshot(spec)
    asked = {"format": spec["format"], "container": spec["container"], "split": spec["split"]}
    export_create(snapshot=snapshot, by=user(), **asked)
    job = job_claim()
    assert job is not None
    clock = Clock()
    carry_out(job)
    record = clock.record()
    job = Job.objects.get(pk=job.pk)
    if job.state != "succeeded":
        raise RuntimeError(f"the export {job.state}: {job.message}")
    files.remove(files.job_folder(job.pk))
    read = sum(snapshot.counts[split] for split in job.result["rows"])
    lines = sum(job.result["rows"].values())
    return {**record, "rows": read, "lines": lines, "file_mb": round(job.result["size"] / 2**20, 1)}


def pages(spec: Spec) -> Record:
    """Seconds that each page takes to be answered: the first time, and the median of some more."""
    from django.test import Client
    from django.urls import reverse

    client = Client()
    client.force_login(user())
    snapshot = newest_snapshot(spec)
    found = {}
    for name, (view, more, query) in addresses(spec, snapshot).items():
        address = reverse(f"frontend:{view}", args=[snapshot.project.slug, *more])
        took = [seconds_of(client, address, query) for _ in range(1 + PAGE_TIMES)]
        found[name] = {"first": round(took[0], 3), "seconds": round(statistics.median(took[1:]), 3)}
    return {"pages": found, "peak_mb": round(resident("VmHWM"), 1)}


def addresses(spec: Spec, snapshot: Any) -> dict[str, tuple[str, tuple[Any, ...], dict[str, str]]]:
    """{what it is called: (view, arguments, query)}"""
    from annotation.models import Ranking

    labels = Ranking.objects.filter(project=snapshot.project).select_related("labeler").order_by("pk")
    middle = labels[spec["rows"] // 2]
    listed = ("data_labels", ("rankings",))
    return {
        "labels": (*listed, {}),
        "labels, from the middle": (*listed, {"before": str(middle.pk)}),
        "labels by a labeler": (*listed, {"labeler": middle.labeler.pseudonym}),
        "labels of a category": (*listed, {"category": "rewrite"}),
        "labels with a flag": (*listed, {"flag": "hallucination"}),
        "labels by text, found": (*listed, {"text": "ka"}),
        "labels by text, rare": (*listed, {"text": f"-{spec['rows'] - 2})"}),
        "labels by text, not there": (*listed, {"text": "nowhere to be found"}),
        "a label": ("data_label", ("rankings", middle.pk), {}),
        "snapshots": ("snapshots", (), {}),
        "a snapshot": ("snapshot", (snapshot.pk,), {}),
    }


def seconds_of(client: Any, address: str, query: dict[str, str]) -> float:
    began = time.perf_counter()
    answer = client.get(address, query)
    if answer.status_code != 200:
        raise RuntimeError(f"{address} answered {answer.status_code}")
    return time.perf_counter() - began


# --- What the steps share -----------------------------------------------------------------------------


def user() -> Any:
    from annotation.models import User

    return User.objects.get(username="bench")


def project_named(name: str) -> Any:
    from annotation.models import Project
    from annotation.services.accounts import project_create

    return Project.objects.filter(slug=name).first() or project_create(
        name=name, slug=name, by=user(), split_salt="benchmark"
    )


def newest_snapshot(spec: Spec) -> Any:
    from training.models import Snapshot

    found = Snapshot.objects.select_related("artifact", "project").filter(project__slug=spec["project"])
    return found.filter(kind=spec["kind"]).latest("created_at")


@contextmanager
def largest_aside() -> Iterator[dict[str, float]]:
    """The most that lay in the file store's room for unfinished things meanwhile, in MB."""
    from training.files import root, size_of

    found, done = {"mb": 0.0}, threading.Event()

    def look() -> None:
        while not done.wait(0.2):
            try:
                found["mb"] = max(found["mb"], size_of(root() / "aside") / 2**20)
            except FileNotFoundError:
                continue

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()


STEPS: dict[str, Callable[[Spec], Record]] = {
    "prepare": prepare,
    "import": import_file,
    "snapshot": freeze,
    "leaks": leaks,
    "facts": facts,
    "export": export,
    "pages": pages,
}


def measure(spec: Spec) -> Record:
    importlib.import_module("config.celery")
    django.setup()
    for tasks in ("annotation.tasks", "training.tasks"):
        importlib.import_module(tasks)
    return STEPS[spec["step"]](spec)


if __name__ == "__main__":
    child_main(measure)
