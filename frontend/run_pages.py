"""What a run's page shows, gathered from its rows: the page and its live fragments draw from the same place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Max
from django.http import Http404
from django.urls import reverse
from django.utils import timezone

from annotation.models import Response
from annotation.roles import Capability
from frontend.access import NOTHING_HERE, ProjectAccess
from frontend.queue_page import blockers_of, readable_projects
from frontend.run_words import describe, duration_words, seconds_left, state_words
from training.models import Attempt, Model, Run, RunInput, RunLine, RunState, Stage
from training.selectors.checkpoints import OFFERS, checkpoints_of, differences
from training.selectors.lineage import children_of
from training.selectors.runs import lines_of, sample_steps, samples_of
from training.selectors.workers import Queued, waits_of
from training.services.loop import LABELS as INPUT_LABELS

LINES_SHOWN = 200
SAMPLE_STEPS_SHOWN = 40
ATTEMPTS_SHOWN = 20
SAMPLED_AT_ONCE = frozenset({Stage.SAMPLE})  # a step is a batch of prompts there, and the model stays the same
TRAINS = frozenset({Stage.PRETRAIN, Stage.SFT, Stage.REWARD, Stage.PPO, Stage.DPO, Stage.RLOO})
# When a person is offered what; the service has the last word.
ACTIONS: dict[str, frozenset[RunState]] = {
    "cancel": frozenset({RunState.QUEUED, RunState.RUNNING, RunState.PAUSING, RunState.PAUSED}),
    "pause": frozenset({RunState.QUEUED, RunState.RUNNING}),
    "resume": frozenset({RunState.PAUSED}),
    "retry": frozenset({RunState.FAILED}),
}
HEADLINES = (
    "loss/train",
    "loss/validation",
    "perplexity/validation",
    "accuracy/validation",
    "rewards/margin",
    "win_rate",
    "objective/score",
    "objective/kl",
    "validation/kl",
    "response/length",
    "tokens_per_second",
)


def run_for(access: ProjectAccess, run_id: UUID) -> Run:
    found = (
        Run.objects.select_related("created_by", "round", "project", "cloned_from")
        .filter(project=access.project, id=run_id)
        .first()
    )
    if found is None:
        raise Http404(NOTHING_HERE)
    return found


def live_context(access: ProjectAccess, run: Run) -> dict[str, Any]:
    """What changes while the run goes on."""
    attempts = list(Attempt.objects.filter(run=run).order_by("-number")[:ATTEMPTS_SHOWN])
    now = timezone.now()
    left = seconds_left(run, attempts[0].started_at, attempts[0].resumed_from, now) if attempts else None
    took = (run.ended_at or now) - run.started_at if run.started_at else None
    queued = waits_of([run]).get(run.pk)
    readable = readable_projects(access.user) if queued and queued.wait.runs else set()
    return {
        "run": run,
        "etag": live_etag(run, queued),
        "queued": queued,
        "blockers": blockers_of(queued.wait, readable)[0] if queued else [],
        "saved_step": last_saved_step(run),
        "grace": settings.RUN_STOP_SECONDS,
        "over": run.is_over,
        "said": state_words(run),
        "percent": round(100 * run.step / run.total_steps) if run.total_steps else 0,
        "left": duration_words(left) if left is not None else "",
        "took": duration_words(took.total_seconds()) if took else "",
        "headlines": headlines(run.latest_metrics),
        "attempts": attempts,
        "lines": lines_of(run, limit=LINES_SHOWN),
        "actions": actions_of(access, run),
        "made": Model.objects.filter(run=run).first(),
        "has_report": run.stage == Stage.EVALUATE and run.state == RunState.SUCCEEDED,
        "answers": Response.objects.filter(run=run).count() if run.stage == Stage.SAMPLE else 0,
    }


def headlines(metrics: dict[str, float]) -> list[tuple[str, str]]:
    """The handful of figures that say how the run is doing, with their intervals where they have one."""
    return [(name, with_interval(metrics, name)) for name in HEADLINES if metrics.get(name) is not None]


def with_interval(metrics: Mapping[str, float], name: str) -> str:
    """0.82 (0.74–0.88), where the core measured an interval; else the figure alone."""
    low, high = metrics.get(f"{name}/low"), metrics.get(f"{name}/high")
    value = figure(metrics[name])
    return value if low is None or high is None else f"{value} ({figure(low)}–{figure(high)})"


def figure(value: float) -> str:
    """A number with as many digits as a person reads."""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if size < 1 else f"{value:.2f}"


def actions_of(access: ProjectAccess, run: Run) -> set[str]:
    """What this person may do to the run in its present state."""
    if not access.can(Capability.LAUNCH):
        return set()
    return {action for action, states in ACTIONS.items() if run.state in states}


def last_saved_step(run: Run) -> int | None:
    """The step that it would go on from if it were stopped now; None before the first checkpoint."""
    return run.checkpoints.filter(set_aside=False).aggregate(step=Max("step"))["step"]


def live_etag(run: Run, queued: Queued | None = None) -> str:
    """A name for what the live fragment shows; the same name, the same fragment."""
    latest = RunLine.objects.filter(run=run).aggregate(latest=Max("id"))["latest"]
    wait = [queued.position, queued.wait.words] if queued else []
    told = [run.state, run.attempt, run.step, run.total_steps, run.phase, run.message, run.latest_metrics]
    parts = [*told, latest, last_saved_step(run), wait]
    return digest(parts)


def digest(parts: Sequence[Any]) -> str:
    return sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]


def samples_context(run: Run, wanted: str) -> dict[str, Any]:
    """What the model answered at one step, beside what it answered to the same prompts at the first.

    Where the model does not change while it answers, there is one list of all.
    """
    steps = sample_steps(run)
    if run.stage in SAMPLED_AT_ONCE:
        rows = sorted(samples_of(run), key=lambda row: (row.step, row.index))
        return {
            "run": run,
            "steps": steps[-1:],
            "shown": steps[-1] if steps else None,
            "at_once": True,
            "pairs": [(row, None) for row in rows],
            "follows": True,
            "over": run.is_over,
        }
    shown = int(wanted) if wanted.isdigit() and int(wanted) in steps else (steps[-1] if steps else None)
    first = steps[0] if steps else None
    rows = samples_of(run, [shown]) if shown is not None else []
    earliest = samples_of(run, [first]) if first is not None and first != shown else []
    before = {json.dumps(row.prompt): row for row in earliest}
    return {
        "run": run,
        "steps": thinned(steps, SAMPLE_STEPS_SHOWN),
        "shown": shown,
        "first": first,
        "pairs": [(row, before.get(json.dumps(row.prompt))) for row in rows],
        "follows": not wanted,
        "over": run.is_over,
    }


def thinned(steps: list[int], most: int) -> list[int]:
    """At most so many steps, the first and the last among them."""
    if len(steps) <= most:
        return steps
    gap = (len(steps) - 1) / (most - 1)
    return [steps[round(place * gap)] for place in range(most)]


def still_context(run: Run, slug: str) -> dict[str, Any]:
    """What stays as it is: configuration, inputs, family."""
    inputs = list(RunInput.objects.filter(run=run).select_related("snapshot", "model"))
    names = {item.name: str(item.snapshot or item.model) for item in inputs}
    return {
        "sentences": describe(run, names),
        "inputs": [
            (INPUT_LABELS.get(item.name, item.name), item.snapshot or item.model, input_url(slug, item))
            for item in inputs
        ],
        "config_json": json.dumps({"stage": run.stage, "seed": run.seed, "config": run.config}, indent=2),
        "numerics": run.numerics,
        "parents": parents_of(inputs),
        "children": children_of(run),
        "has_curves": run.stage in TRAINS,
        "checkpoints": checkpoints_of(run),
        "offer": OFFERS.get(RunState(run.state), ""),
        "differences": differences(run),
    }


def input_url(slug: str, item: RunInput) -> str:
    if item.model_id:
        return reverse("frontend:model", args=[slug, item.model_id])
    return reverse("frontend:snapshot", args=[slug, item.snapshot_id])


def parents_of(inputs: Sequence[RunInput]) -> list[Run]:
    """The runs that made the models that this run reads."""
    ids = {item.model.run_id for item in inputs if item.model and item.model.run_id}
    return list(Run.objects.filter(id__in=ids))


def latest_config(project_id: UUID, stage: str) -> dict[str, Any]:
    """The settings of the project's latest run of this stage: what its people found worth asking for."""
    run = Run.objects.filter(project_id=project_id, stage=stage).order_by("-created_at", "-id").first()
    return dict(run.config) if run else {}
