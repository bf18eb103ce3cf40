"""Workers tell of themselves here: who they are, when they were last seen; and people drain them."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from datetime import timedelta

from django.db import transaction
from django.db.models import Value
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from annotation.services import audit
from annotation.services.audit import Actor, account_of
from training import machine
from training.errors import RunError
from training.models import Drain, DrainHow, Run, RunState, Worker, node_of
from training.selectors.workers import IDLE_SECONDS, free_slots, workers_there
from training.services.wake import wake_after_commit

SEEN_SECONDS = 10.0  # how often a worker says that it is there
DRAIN_SECONDS = 2.0  # how often it asks whether it is drained
FORGET_DAYS = 2

__all__ = ["DRAIN_SECONDS", "IDLE_SECONDS", "SEEN_SECONDS"]


def worker_seen(*, name: str, queues: Sequence[str], slots: int) -> None:
    """Say that this worker is there, and how its machine is doing."""
    whole, used = machine.memory()
    gpus = machine.gpus() if "default" not in queues else []
    lively = {
        "seen_at": Now(),
        "memory_bytes": whole,
        "memory_used_bytes": used,
        "gpu_memory_bytes": sum(gpu.memory_bytes for gpu in gpus),
        "gpu_memory_used_bytes": sum(gpu.used_bytes for gpu in gpus),
    }
    Worker.objects.update_or_create(
        name=name,
        defaults=lively,
        create_defaults=lively
        | {
            "node": node_of(name),
            "host": socket.gethostname()[:120],
            "queues": ",".join(queues)[:200],
            "slots": slots,
            "device": machine.device_name(gpus)[:120],
            "threads": machine.usable_cores(),
            "version": machine.version(),
            "started_at": Now(),
        },
    )


def worker_gone(*, name: str) -> None:
    Worker.objects.filter(name=name).delete()


def forget_old_workers() -> None:
    Worker.objects.filter(seen_at__lt=Now() - Value(timedelta(days=FORGET_DAYS))).delete()


def queues_to_wake() -> list[str]:
    """Queues with waiting runs and a worker that is there, has a free slot and is not drained."""
    waiting = set(Run.objects.filter(state=RunState.QUEUED).values_list("queue", flat=True).distinct())
    if not waiting:
        return []
    there = workers_there()
    return sorted(queue for queue in waiting if free_slots(there, queue))


@transaction.atomic
def worker_drain(*, node: str, how: str, by: Actor, why: str = "") -> Drain:
    """Let a node take nothing new, until `worker_undrain`; draining twice changes the how. Raises RunError."""
    if how not in DrainHow.values:
        raise RunError(_("Say what becomes of the runs that it has: finish, or hand_back."))
    if not Worker.objects.filter(node=node).exists() and not Drain.objects.filter(node=node).exists():
        raise RunError(_("No worker of this name was seen lately."))
    drain, _made = Drain.objects.update_or_create(
        node=node, defaults={"how": how, "by": account_of(by), "why": why.strip()[:200]}
    )
    audit.record(project=None, by=by, verb="worker.drain", target=drain, node=node, how=how, why=drain.why)
    return drain


@transaction.atomic
def worker_undrain(*, node: str, by: Actor) -> None:
    """Let a node take runs again. Doing it twice is doing it once."""
    drain = Drain.objects.filter(node=node).first()
    if drain is None:
        return
    audit.record(project=None, by=by, verb="worker.undrain", target=drain, node=node)
    drain.delete()
    for queue in sorted({name for worker in Worker.objects.filter(node=node) for name in worker.queue_names}):
        wake_after_commit(queue)


def drained_how(name: str) -> str:
    """How this worker's node is drained; empty where it is not."""
    return Drain.objects.filter(node=node_of(name)).values_list("how", flat=True).first() or ""
