"""What people do with runs: create, cancel, pause, resume, retry.

A worker's side is in `claims`, `recording` and `publishing`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from annotation.models import Project
from annotation.services import audit
from annotation.services.audit import Actor, account_of
from training.canonical import canonical_json
from training.errors import RunError, config_words
from training.inputs import STAGE_INPUTS, TRAINED_ON, Wanted, rows_read
from training.machine import usable_cores
from training.models import ENDED, Model, Queue, Round, Run, RunInput, RunState, Snapshot, Stage
from training.rlhf.config import ConfigError, config_from_dict, numerics_from_dict
from training.selectors.lineage import erased_behind
from training.services import transitions
from training.services.leaks import refuse_leaks
from training.services.snapshots import is_for_evaluation
from training.services.transitions import change
from training.services.wake import wake_after_commit

Inputs = Mapping[str, Snapshot | Model]

MEASURING = frozenset({Stage.SAMPLE, Stage.EVALUATE})  # stages that train nothing
NAME_PREFIX = {Stage.PRETRAIN: "base", Stage.EVALUATE: "evaluation", Stage.SAMPLE: "answers"}


@transaction.atomic
def run_create(
    *,
    project: Project,
    stage: str,
    config: Mapping[str, Any],
    inputs: Inputs,
    by: Actor | None,
    name: str | None = None,
    seed: int = 0,
    round: Round | None = None,
    priority: int = 0,
    numerics: Mapping[str, Any] | None = None,
    then: Mapping[str, Any] | None = None,
    queue: str = Queue.GPU,
    cloned_from: Run | None = None,
) -> Run:
    """Put a run in the queue. Raises RunError in words for a config or inputs that the stage can't use."""
    full_config = check_config(stage, config)
    check_inputs(project, stage, inputs)
    Project.objects.select_for_update().get(pk=project.pk)  # one name at a time
    fixed = fix_numerics(numerics or {})
    run = Run.objects.create(
        project=project,
        round=round,
        stage=stage,
        name=free_name(project, stage, name),
        config=dict(config),
        config_hash=config_hash(stage, full_config, seed, fixed, inputs),
        seed=check_seed(seed),
        numerics=fixed,
        queue=queue,
        priority=priority,
        then=dict(then or {}),
        cloned_from=cloned_from,
        created_by=account_of(by),
    )
    RunInput.objects.bulk_create(input_row(run, item, value) for item, value in inputs.items())
    copied = {"cloned_from": str(cloned_from.pk)} if cloned_from else {}
    audit.record(project=project, by=by, verb="run.create", target=run, stage=stage, name=run.name, **copied)
    wake_after_commit(queue)
    return run


def check_config(stage: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The stage's whole config, defaults filled in. Raises RunError."""
    try:
        return asdict(config_from_dict(stage, config))
    except ConfigError as error:
        raise RunError(_("The settings can't be used: %(error)s.") % {"error": config_words(error)}) from None


def fix_numerics(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Choose once what changes the bits, so that a resumed run computes as it began."""
    threads = settings.RUN_THREADS or usable_cores()
    try:
        return asdict(numerics_from_dict({"device": "auto", "threads": threads, **asked}))
    except ConfigError as error:
        raise RunError(_("The numerics can't be used: %(error)s.") % {"error": config_words(error)}) from None


def check_seed(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise RunError(_("The seed must be a whole number from 0 to 2^63 - 1, got %(seed)s.") % {"seed": repr(seed)})
    return seed


def check_inputs(project: Project, stage: str, inputs: Inputs) -> None:
    wanted = STAGE_INPUTS[stage]
    for name in inputs:
        if name not in wanted:
            raise RunError(
                _("The stage %(stage)s has no input %(name)s; it reads %(known)s.")
                % {"stage": stage, "name": repr(name), "known": ", ".join(wanted)}
            )
    for name, want in wanted.items():
        if name in inputs:
            check_input(project, name, want, inputs[name])
            if isinstance(inputs[name], Snapshot) or stage not in MEASURING:
                refuse_erased(inputs[name])
        elif want.required:
            raise RunError(
                _("The stage %(stage)s needs the input %(name)s: %(wanted)s.")
                % {"stage": stage, "name": repr(name), "wanted": want.words}
            )
    if stage == Stage.EVALUATE and not {"policy", "reward_model"} & set(inputs):
        raise RunError(_("An evaluation needs a policy or a reward model."))
    check_tokenizers({name: value for name, value in inputs.items() if isinstance(value, Model)})


def check_input(project: Project, name: str, want: Wanted, value: Snapshot | Model) -> None:
    if value.project_id != project.pk:
        raise RunError(_("The input %(name)s belongs to another project.") % {"name": repr(name)})
    if isinstance(value, Model) != want.is_model or value.kind != want.kind:
        raise RunError(
            _("The input %(name)s must be %(wanted)s; %(chosen)s is not.")
            % {"name": repr(name), "wanted": want.words, "chosen": value.name}
        )
    if isinstance(value, Snapshot) and name in TRAINED_ON:
        refuse_leaks(value)
    if isinstance(value, Snapshot) and name in TRAINED_ON and is_for_evaluation(value):
        raise RunError(
            _("%(snapshot)s holds labels that are for evaluation only, so nothing may be trained on it.")
            % {"snapshot": value.name}
        )
    if isinstance(value, Snapshot) and not rows_read(name, value.counts):
        raise RunError(
            _("The snapshot %(snapshot)s has no rows for the input %(name)s.")
            % {"snapshot": value.name, "name": repr(name)}
        )


def refuse_erased(value: Snapshot | Model) -> None:
    """Raise RunError for data that was erased, and for a model that was made of it."""
    if isinstance(value, Snapshot):
        if value.erased_at:
            raise RunError(
                _("%(snapshot)s was erased: its files are gone. Build a new snapshot.") % {"snapshot": value.name}
            )
        return
    if erased := erased_behind(value):
        raise RunError(
            _("%(model)s was trained on %(snapshot)s, which was erased. Train it anew, from what is left.")
            % {"model": value.name, "snapshot": erased[0].name}
        )


def check_tokenizers(models: Mapping[str, Model]) -> None:
    """Models that read each other's tokens must share a vocabulary. Raises RunError."""
    known = {name: model.card.get("vocabulary_sha256") for name, model in models.items()}
    hashes = {name: value for name, value in known.items() if value}
    first = next(iter(hashes), None)
    for name, value in hashes.items():
        if first and value != hashes[first]:
            raise RunError(
                _(
                    "%(one)s and %(other)s have different vocabularies, so one can't read the other's tokens. "
                    "Choose models that descend from the same base model."
                )
                % {"one": models[name].name, "other": models[first].name}
            )


def config_hash(stage: str, config: Mapping[str, Any], seed: int, numerics: Mapping[str, Any], inputs: Inputs) -> str:
    """Hash of everything that decides the result: two runs with the same one compute the same."""
    content = {
        "stage": stage,
        "config": dict(config),
        "seed": seed,
        "numerics": dict(numerics),
        "inputs": {
            name: value.sha256 if isinstance(value, Snapshot) else value.artifact.sha256
            for name, value in inputs.items()
        },
    }
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def free_name(project: Project, stage: str, name: str | None) -> str:
    """The name given, or the stage's next: sft-1, sft-2 ..."""
    if name and name.strip():
        return name.strip()[:120]
    prefix = NAME_PREFIX.get(Stage(stage), stage)
    taken = set(Run.objects.filter(project=project, stage=stage).values_list("name", flat=True))
    taken |= set(Model.objects.filter(project=project).values_list("name", flat=True))
    number = 1
    while f"{prefix}-{number}" in taken:
        number += 1
    return f"{prefix}-{number}"


def input_row(run: Run, name: str, value: Snapshot | Model) -> RunInput:
    if isinstance(value, Snapshot):
        return RunInput(run=run, name=name, snapshot=value)
    return RunInput(run=run, name=name, model=value)


def input_model(run: Run, name: str) -> Model:
    found = run.inputs.select_related("model__artifact").get(name=name).model
    assert found is not None
    return found


@transaction.atomic
def run_cancel(*, run: Run, by: Actor | None, why: str = "") -> Run:
    """Stop it and drop what is not in a checkpoint. Cancelling twice is cancelling once."""
    for transition in (transitions.CANCEL_WAITING, transitions.ASK_TO_CANCEL):
        if change(run.pk, transition, by=by, why=why):
            return read(run)
    return refuse_unless(read(run), RunState.CANCELLING, RunState.CANCELLED)


@transaction.atomic
def run_pause(*, run: Run, by: Actor | None) -> Run:
    """Save a checkpoint and stop, to go on later."""
    for transition in (transitions.PAUSE_WAITING, transitions.ASK_TO_PAUSE):
        if change(run.pk, transition, by=by):
            return read(run)
    return refuse_unless(read(run), RunState.PAUSING, RunState.PAUSED)


@transaction.atomic
def run_resume(*, run: Run, by: Actor | None) -> Run:
    if change(run.pk, transitions.RESUME, by=by, message=""):
        wake_after_commit(run.queue)
        return read(run)
    return refuse_unless(read(run), RunState.QUEUED, RunState.RUNNING)


@transaction.atomic
def run_retry(*, run: Run, by: Actor | None) -> Run:
    """Put a failed run back in the queue; it goes on from its newest checkpoint, with its losses forgotten."""
    cleared: dict[str, Any] = {"ended_at": None, "reason": "", "message": "", "lost_count": 0}
    if change(run.pk, transitions.RETRY, by=by, **cleared):
        wake_after_commit(run.queue)
        return read(run)
    return refuse_unless(read(run), RunState.QUEUED, RunState.RUNNING)


def read(run: Run) -> Run:
    return Run.objects.select_related("project").get(pk=run.pk)


def refuse_unless(run: Run, *fine: RunState) -> Run:
    """The run, if it is already where it was to go. Raises RunError."""
    if run.state in fine:
        return run
    words = {"run": run.name, "state": run.get_state_display().lower()}
    if run.state in ENDED:
        raise RunError(_("%(run)s is %(state)s, so this can't be done any more.") % words)
    raise RunError(_("%(run)s is %(state)s, so this can't be done now.") % words)
