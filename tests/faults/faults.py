"""The faults: what is done to a run, and what must hold afterwards."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from config.celery import app
from tests.faults.patience import patiently, state_of
from tests.faults.servers import S3, PostgreSQL, Redis, until
from tests.faults.stack import LEASE_SECONDS
from tests.faults.world import STAGES, World, check, hold, seconds_of
from training.models import ENDED, Attempt, Checkpoint, MetricChunk, Run, Worker

TARGETS = ("core", "worker", "core and worker", "web server", "everything")
MOST_KILLS_A_RUN = 5
CLOCK_SECONDS = 7 * 60


@dataclass
class Scene:
    """Where a fault happens."""

    world: World
    redis: Redis
    postgresql: PostgreSQL | None
    random: random.Random
    short: bool
    s3: S3 | None = None

    @property
    def outage_seconds(self) -> float:
        """How long a server is away: longer than a lease in any case."""
        return 10.0 if self.short else 60.0


@dataclass(frozen=True)
class Fault:
    name: str
    holds: str
    """What must hold, for the table."""

    do: Callable[[Scene, int], int]
    """Do it so many times at most; returns how often it was done."""

    short: int = 1
    long: int = 3
    at_once: int = 1
    """How many times one run can bear."""

    stores: tuple[str, ...] = ("postgresql",)
    stage: str = "pretrain"


# Kills


def kill_stage(stage: str, target: str) -> Callable[[Scene, int], int]:
    return lambda scene, times: kill(scene, stage, target, times)


def kill(scene: Scene, stage: str, target: str, times: int) -> int:
    """Kill at random moments of one run, which must end as if nothing had been; returns how often it was hit."""
    world = scene.world
    run, done, attempt = world.launch(stage), 0, 0
    while done < times:
        found = world.until_running(run, after_attempt=attempt)
        if found.state in ENDED:
            break
        time.sleep(scene.random.uniform(0.0, world.seconds_left(found)))
        found = state_of(run)
        if found.state in ENDED:
            break  # it was over before the moment came
        if hit(scene, target, found):
            done += 1
        attempt = found.attempt if target != "web server" else 0
    world.until_ended(run)
    check(world, run)
    if not done:  # the machine is faster than when the undisturbed run was timed
        world.seconds[stage] = min(world.seconds[stage], seconds_of(state_of(run)))
    if target == "web server":
        until(world.stack.web_answers, "the web server to be back")
    return done


def hit(scene: Scene, target: str, run: Run) -> bool:
    stack = scene.world.stack
    if target == "everything":
        stack.kill_everything(run.pk)
    elif target == "web server":
        stack.kill("web")
    elif target == "worker":
        stack.kill("gpu")
    elif target == "core":
        return stack.kill_core(run.pk)
    else:
        found = stack.kill_core(run.pk)
        stack.kill("gpu")
        return found
    return True


# What stands around a run


def midway(scene: Scene) -> Run:
    """A pretraining run that has taken some steps."""
    run = scene.world.launch("pretrain")
    return scene.world.until_step(run, scene.random.randrange(10, 100))


def ended_well(scene: Scene, *runs: Run, attempts: int | None = None) -> int:
    for run in runs:
        scene.world.until_ended(run)
        check(scene.world, run, attempts=attempts)
    return 1


def redis_flushed(scene: Scene, times: int) -> int:
    running = midway(scene)
    waiting = scene.world.launch("pretrain")
    scene.redis.client().flushall()
    return ended_well(scene, running, waiting, attempts=1)


def redis_restarted(scene: Scene, times: int) -> int:
    running = midway(scene)
    scene.redis.kill()
    scene.redis.start()
    return ended_well(scene, running, attempts=1)


def redis_unreachable(scene: Scene, times: int) -> int:
    running = midway(scene)
    with scene.redis.unreachable():
        time.sleep(scene.outage_seconds)
    return ended_well(scene, running, attempts=1)


def redis_full(scene: Scene, times: int) -> int:
    running = midway(scene)
    with scene.redis.full():
        waiting = scene.world.launch("pretrain")  # must be kept, though nobody can be woken for it
        time.sleep(scene.outage_seconds)
    return ended_well(scene, running, waiting)


def postgresql_restarted(scene: Scene, times: int) -> int:
    assert scene.postgresql is not None
    run = midway(scene)
    scene.postgresql.restart()
    return ended_well(scene, run)


def postgresql_unreachable(scene: Scene, times: int) -> int:
    assert scene.postgresql is not None
    run = midway(scene)
    with scene.postgresql.unreachable():
        time.sleep(scene.outage_seconds)
    return ended_well(scene, run)


def sqlite_locked(scene: Scene, times: int) -> int:
    from django.conf import settings

    run = midway(scene)
    lock = sqlite3.connect(settings.DATABASES["default"]["NAME"], timeout=60, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    time.sleep(10.0 if scene.short else 30.0)
    lock.execute("ROLLBACK")
    lock.close()
    return ended_well(scene, run)


def messages_in_disorder(scene: Scene, times: int) -> int:
    """Each message twice, some late, some before their runs are there, some for runs that are over."""
    send(3)
    runs = []
    for delay in (3, 0):
        runs.append(scene.world.launch("pretrain"))
        send(2, countdown=delay)
    ended_well(scene, *runs, attempts=1)
    send(3)
    claims = patiently(lambda: Attempt.objects.filter(run__in=runs).count())
    hold(claims == len(runs), f"{len(runs)} runs were claimed {claims} times")
    return 1


def send(number: int, **options: Any) -> None:
    for _ in range(number):
        app.send_task("training.tasks.work", args=["gpu"], queue="gpu", **options)


# Workers


def deploy(scene: Scene, times: int) -> int:
    """SIGTERM: the run is handed back with its checkpoint, and the next worker goes on; no loss is counted."""
    run = midway(scene)
    process = scene.world.stack.running["gpu"]
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    scene.world.until_ended(run)
    check(scene.world, run, lost=0)
    return 1


def frozen_worker(scene: Scene, times: int) -> int:
    """It loses its run to another worker, comes back, and finds that it may write nothing and that its core is gone."""
    stack = scene.world.stack
    run = midway(scene)
    old = stack.freeze("gpu")
    stack.start("gpu")
    began = time.monotonic()
    until(lambda: not running_core(scene, run, attempt=1), "the frozen worker's core to end by itself", 30)
    alone = time.monotonic() - began
    scene.world.until_ended(run)
    before = written(run)
    os.killpg(old.pid, signal.SIGCONT)
    time.sleep(LEASE_SECONDS)
    check(scene.world, run)
    hold(written(run) == before, "what came back has written to a run that it had lost")
    hold(alone < 3 * LEASE_SECONDS, f"its core went on for {alone:.0f} s")
    stack.frozen.remove(old)
    old.terminate()
    old.wait(60)
    return 1


def running_core(scene: Scene, run: Run, attempt: int) -> bool:
    room = f"/attempts/{attempt}/"
    for pid in scene.world.stack.cores(run.pk):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as stream:
                if room.encode() in stream.read():
                    return True
        except OSError:
            continue
    return False


def written(run: Run) -> tuple[Any, ...]:
    """What a lost attempt might have changed."""
    found = patiently(lambda: Run.objects.filter(pk=run.pk).values_list("state", "attempt", "step", "output_id").get())
    chunks = patiently(lambda: list(MetricChunk.objects.filter(run=run).values_list("attempt", "last_step")))
    attempts = patiently(lambda: list(run.attempts.values_list("number", "outcome")))
    return (found, sorted(chunks), attempts)


def clock_off(seconds: int) -> Callable[[Scene, int], int]:
    """A worker whose clock is minutes off keeps its lease, and hears the messages."""

    def do(scene: Scene, times: int) -> int:
        stack = scene.world.stack
        stack.kill("gpu")
        stack.start("gpu", FAULTS_CLOCK_SECONDS=str(seconds))
        host = f":{stack.running['gpu'].pid}"
        until(lambda: patiently(lambda: Worker.objects.filter(name__endswith=host).exists()), "the worker to be there")
        ended_well(scene, scene.world.launch("pretrain"), attempts=1)  # it is idle, and must be woken
        stack.kill("gpu")
        stack.keep_alive()
        return 1

    return do


# Hosts that share nothing but PostgreSQL, Redis and the object store


def host_cut_off(stage: str) -> Callable[[Scene, int], int]:
    """No packet comes or goes any more for the host that has the run; the other one goes on from what is stored."""

    def do(scene: Scene, times: int) -> int:
        world, stack = scene.world, scene.world.stack
        run = world.launch(stage)
        found = world.wait(run, lambda found: found.state in ENDED or stored(run), "with a checkpoint in the store")
        time.sleep(scene.random.uniform(0.0, world.seconds[stage] / 3))
        found = state_of(run)
        if found.state in ENDED:
            return 0  # it was over before the moment came
        host = host_of(found.worker)
        stack.cut_off(host)
        world.until_ended(run)
        hold(not running_core(scene, run, attempt=found.attempt), "the core of the host that was cut off goes on")
        before = written(run)
        stack.mend(host)
        time.sleep(2 * LEASE_SECONDS)
        check(world, run)
        hold(written(run) == before, "the host that came back has written to a run that it had lost")
        first, *later = patiently(lambda: list(run.attempts.order_by("number").values_list("worker", "resumed_from")))
        hold(host_of(later[-1][0]) != host, f"it was not the other host that went on: {first}, {later}")
        hold(later[0][1] > 0, "it began anew, with a checkpoint in the store")
        ended_well(scene, world.launch(stage))  # both are there again
        return 1

    return do


def stored(run: Run) -> bool:
    return patiently(lambda: Checkpoint.objects.filter(run=run).exists())


def host_of(worker: str) -> str:
    """gpu@host-a:123 is on the host a."""
    return worker.partition("@host-")[2].partition(":")[0]


def store_unreachable(scene: Scene, times: int) -> int:
    assert scene.s3 is not None
    run = midway(scene)
    with scene.s3.unreachable():
        time.sleep(scene.outage_seconds)
    return ended_well(scene, run, attempts=1)


def store_restarted(scene: Scene, times: int) -> int:
    """Down while one run goes on, and while another waits for it to begin."""
    assert scene.s3 is not None
    running = midway(scene)
    scene.s3.kill()
    waiting = scene.world.launch("pretrain")
    time.sleep(scene.outage_seconds / 2)
    scene.s3.start()
    return ended_well(scene, running, waiting, attempts=1)


SAME = "the same weights, bit for bit; metrics and samples without gap or double; nothing left running"


def kills(stage: str) -> list[Fault]:
    """Ten times a target and stage in the long form; in the short form each stage is hit by one or two."""
    place = STAGES.index(stage)
    short = {TARGETS[place], TARGETS[0] if stage == "ppo" else TARGETS[place]}
    return [
        Fault(
            f"kill -9 of {target}, {stage}",
            SAME,
            kill_stage(stage, target),
            short=int(target in short),
            long=10,
            at_once=MOST_KILLS_A_RUN,
            stage=stage,
        )
        for target in TARGETS
    ]


KILLS = [fault for stage in STAGES for fault in kills(stage)]
AROUND = [
    Fault("Redis flushed", f"{SAME}; one attempt", redis_flushed),
    Fault("Redis killed and restarted empty", f"{SAME}; one attempt", redis_restarted),
    Fault("Redis unreachable", f"{SAME}; one attempt", redis_unreachable),
    Fault("Redis at its memory limit", f"{SAME}; a run launched meanwhile is kept", redis_full),
    Fault("PostgreSQL restarted", SAME, postgresql_restarted),
    Fault("PostgreSQL unreachable", SAME, postgresql_unreachable),
    Fault("messages twice, late, out of order", "each run ran once", messages_in_disorder),
    Fault("SIGTERM to the worker", f"{SAME}; no loss counted", deploy),
    Fault("a worker frozen for longer than its lease", f"{SAME}; it wrote nothing more, its core ended", frozen_worker),
    Fault("a worker's clock 7 minutes ahead", f"{SAME}; one attempt", clock_off(CLOCK_SECONDS)),
    Fault("a worker's clock 7 minutes behind", f"{SAME}; one attempt", clock_off(-CLOCK_SECONDS), short=0),
]
ON_SQLITE = [
    Fault("SQLite's write lock held", SAME, sqlite_locked, stores=("sqlite",)),
    Fault(
        "kill -9 of everything, on SQLite", SAME, kill_stage("pretrain", "everything"), long=10, at_once=5,
        stores=("sqlite",),
    ),
]  # fmt: skip
HOSTS_APART = [
    *(
        Fault(f"a host cut off, {stage}", f"{SAME}; the other host went on from a stored checkpoint",
              host_cut_off(stage), short=int(stage == "pretrain"), stage=stage)
        for stage in STAGES
    ),
    Fault("the object store unreachable", f"{SAME}; one attempt", store_unreachable),
    Fault("the object store killed and restarted", f"{SAME}; one attempt each", store_restarted),
]  # fmt: skip
ALL = [*KILLS, *AROUND, *ON_SQLITE, *HOSTS_APART]
