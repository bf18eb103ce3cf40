"""A year of work to look at: many runs of many steps, each with its curves, samples, log and attempts.

One run of each kind is written by the product's own code, event by event; the others are copied from it in SQL.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

from benchmarks.runs.ground import Ground

SFT_METRICS = ("loss/train", "learning_rate", "grad_norm", "tokens_per_second")
PPO_METRICS = (
    *("objective/score", "objective/kl", "objective/reward", "objective/entropy", "response/length"),
    *("policy/loss", "policy/clipfrac", "policy/approx_kl", "policy/entropy", "policy/ratio", "value/loss"),
    *("value/clipfrac", "value/explained", "loss/train", "learning_rate", "grad_norm", "tokens_per_second"),
    *("validation/score", "validation/kl", "seconds/rollout"),
)
KINDS = {"sft": SFT_METRICS, "ppo": PPO_METRICS}
PPO_IN = 10  # one run in so many
QUEUED_IN = 4
SAMPLE_EVERY, SAMPLES = 500, 4
CHECKPOINT_EVERY = 50
BATCH = 500
COPIED = {
    "training_metricchunk": ("attempt", "first_step", "last_step", "level", "columns"),
    "training_runsample": ("attempt", "step", '"index"', "prompt", "response", "score", "tokens", "ended"),
    "training_runline": ("attempt", "level", "text", "created_at"),
}


def fill(ground: Ground, runs: int, steps: int) -> dict[str, Any]:
    """So many runs of so many steps; {what: the run whose page shows it}."""
    templates = {stage: template(ground, stage, steps) for stage in KINDS}
    interrupted = template(ground, "ppo", steps, attempts=3)
    copies = list(rows_of(ground, runs - len(templates) - 1, steps))
    insert(copies)
    for stage, run in templates.items():
        copy_told(run, [one for one in copies if one.stage == stage])
    analyse()
    return {
        "an SFT run": templates["sft"],
        "a PPO run of three attempts": interrupted,
        "a run that waits to go on": next(one for one in copies if one.state == "queued"),
    }


def template(ground: Ground, stage: str, steps: int, attempts: int = 1) -> Any:
    """One run as the worker writes it, which goes on still."""
    from training.models import Run
    from training.services.claims import Fence, run_claim, run_hand_back
    from training.services.recording import run_record

    run = Run.objects.create(**columns_of(ground, stage, -attempts, steps), queue="template")
    began = 0
    for number in range(1, attempts + 1):
        end = number * steps // attempts
        assert run_claim(queue="template", worker="gpu@bench:1")
        fence = Fence(run.pk, number)
        for events in batches(stage, began, end, steps):
            run_record(fence=fence, events=events)
        began = end - CHECKPOINT_EVERY  # the next attempt does the last ones again
        if end < steps:
            run_hand_back(fence=fence, message="Stopped, checkpoint saved.")
    run.refresh_from_db()
    return run


def columns_of(ground: Ground, stage: str, number: int, steps: int) -> dict[str, Any]:
    return {
        **{"project": ground.project, "stage": stage, "name": f"{stage}-{number}", "created_by": ground.owner},
        **{"config": {"learning_rate": 1e-5}, "config_hash": f"{number % 16**8:064x}", "step": 0, "total_steps": steps},
    }


def batches(stage: str, began: int, end: int, total: int) -> Iterator[list[Any]]:
    """The events of these steps, as they come in a second or so."""
    from training.events import Event

    numbers = random.Random(f"{stage}/{began}")
    versions = {"torch": "2.9", "transformers": "5.0"}
    started = {"resumed_from": began, "total_steps": total, "device": "cpu", "versions": versions}
    batch = [Event("started", started)]
    for step in range(began + 1, end + 1):
        values = {name: math.exp(-step / total) * (1 + 0.1 * numbers.random()) for name in KINDS[stage]}
        if step % 50 == 0:
            values["loss/validation"] = math.exp(-step / total) * (1 + 0.1 * numbers.random())
        batch.append(Event("metrics", {"step": step, "metrics": values}))
        if step % SAMPLE_EVERY == 0:
            batch += [sample(step, number) for number in range(SAMPLES)]
            batch.append(Event("note", {"message": f"Evaluated at step {step}."}))
        if len(batch) >= BATCH:
            yield batch
            batch = []
    yield batch


def sample(step: int, number: int) -> Any:
    from training.events import Event

    prompt = [{"role": "user", "content": f"What is near the small town, and what is number {number}?"}]
    fields = {"step": step, "prompt": prompt, "response": "The red boat lies there. " * 12, "score": 0.5, "tokens": 70}
    return Event("sample", fields)


def rows_of(ground: Ground, count: int, steps: int) -> Iterator[Any]:
    """Most succeeded; one in four waits, paused on its way and queued again; some failed."""
    from django.utils import timezone

    from training.models import ENDED, Run

    now = timezone.now()
    for number in range(1, count + 1):
        stage = "ppo" if number % PPO_IN == 0 else "sft"
        state = "queued" if number % QUEUED_IN == 1 else "failed" if number % 7 == 0 else "succeeded"
        values = columns_of(ground, stage, number, steps) | {
            **{"state": state, "attempt": 1, "step": steps, "started_at": now, "place": float(number)},
            **{"ended_at": now if state in ENDED else None, "priority": number % 3},
            "latest_metrics": dict.fromkeys(KINDS[stage], 0.5),
        }
        yield Run(**values)


def insert(runs: list[Any]) -> None:
    from training.models import Attempt, Run

    Run.objects.bulk_create(runs, batch_size=200)
    attempts = [
        Attempt(run=run, number=1, worker="gpu@bench:1", outcome="finished", versions={"torch": "2.9"}) for run in runs
    ]
    Attempt.objects.bulk_create(attempts, batch_size=500)


def copy_told(source: Any, runs: list[Any]) -> None:
    """Give these runs what the source told in its one attempt, by one statement a table and a run."""
    from django.db import connection, transaction

    for table, names in COPIED.items():
        listed = ", ".join(names)
        statement = f"INSERT INTO {table} (run_id, {listed}) SELECT %s, {listed} FROM {table} WHERE run_id = %s"
        with transaction.atomic(), connection.cursor() as cursor:
            for run in runs:
                cursor.execute(statement, [key(run), key(source)])


def key(run: Any) -> Any:
    from django.db import connection

    return run.pk if connection.features.has_native_uuid_field else run.pk.hex


def analyse() -> None:
    """What the database's own housekeeping does within a minute of such growth."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
