"""Checkpoints from the worker's side: which are kept, when old ones go, and what a damaged one leads to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models import F
from django.test import Client

from annotation.models import Membership
from tests.training.conftest import make_run
from tests.training.labels import demonstrations
from tests.training.test_supervisor import carry_out
from training import files, launcher, supervisor
from training.models import Checkpoint, Run, RunLine, Snapshot
from training.rlhf.config import config_from_dict
from training.rlhf.errors import DataError
from training.rlhf.workspace import Workspace
from training.services.claims import Fence, LeaseLost, run_claim
from training.services.recording import superfluous
from training.services.runs import run_create
from training.services.snapshots import snapshot_build
from training.tasks import sweep

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _prompt_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "WRITE_SECONDS", 0.1)


def steps(run: Run) -> list[tuple[int, int]]:
    return sorted(run.checkpoints.values_list("attempt", "step"))


def folders(run: Run, attempt: int = 1) -> list[str]:
    return sorted(path.name for path in (files.attempt_folder(run.pk, attempt) / "checkpoints").iterdir())


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncated, flipped])
def test_a_damaged_newest_checkpoint_is_found_by_its_hash_and_the_one_before_is_used(
    run: Run, ada: Membership, fake_core: Any, damage: Callable[[Path], None]
) -> None:
    fake_core("started", "steps:2", "checkpoint", "steps:2", "checkpoint", "kill:9")
    carry_out()
    damage(files.checkpoint_path(Checkpoint.objects.get(run=run, step=4)) / "state.json")
    fake_core("started", "steps:1", "model")
    claimed = run_claim(queue="gpu", worker="w")
    assert claimed is not None
    launcher.lay_out(claimed)
    given = json.loads((files.attempt_folder(run.pk, 2) / "run.json").read_text())
    assert given["resume"]["path"].endswith("step_00000002")
    assert "hash differs" in Checkpoint.objects.get(run=run, step=4).problem


def test_the_page_says_which_checkpoint_was_passed_over(run: Run, ada: Membership, fake_core: Any) -> None:
    fake_core("started", "steps:2", "checkpoint", "steps:2", "checkpoint", "kill:9")
    carry_out()
    flipped(files.checkpoint_path(Checkpoint.objects.get(run=run, step=4)) / "state.json")
    fake_core("started", "steps:1", "fail:data")
    carry_out()
    client = Client()
    client.force_login(ada.user)
    html = client.get(f"/p/{run.project.slug}/runs/{run.pk}/").content.decode()
    assert "The checkpoint at step 4 is gone or damaged; the one at step 2 is used." in html


def test_with_no_usable_checkpoint_the_run_begins_anew_and_says_so(run: Run, fake_core: Any) -> None:
    fake_core("started", "steps:2", "checkpoint", "kill:9")
    carry_out()
    files.remove(files.checkpoint_path(Checkpoint.objects.get(run=run)))
    fake_core("started", "steps:1", "model")
    after = carry_out()
    assert (after.state, after.step) == ("succeeded", 1)
    assert RunLine.objects.filter(run=run, text__contains="no other is there, so the run begins anew").exists()


def test_old_checkpoints_go_once_newer_ones_are_registered(run: Run, fake_core: Any) -> None:
    words = ["steps:1", "checkpoint", "sleep:0.4"] * 4
    fake_core("started", *words, "fail:data")
    carry_out()
    assert steps(run) == [(1, 3), (1, 4)]
    assert folders(run) == ["step_00000003", "step_00000004"]


def test_nothing_is_deleted_while_the_newer_ones_cannot_be_registered(
    run: Run, fake_core: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database takes the first two at most, and then no more until the core is dead."""
    real = supervisor.run_record

    def away(*, fence: Fence, events: Any) -> None:
        if any(event.kind == "checkpoint" and event.step > 2 for event in events):
            assert folders(run)[:2] == ["step_00000001", "step_00000002"]
            raise LeaseLost if any(event.step >= 4 for event in events) else OperationalError("away")
        real(fence=fence, events=events)

    monkeypatch.setattr(supervisor, "run_record", away)
    words = ["steps:1", "checkpoint", "sleep:0.4"] * 4
    fake_core("started", *words, "hang")
    carry_out()
    assert set(steps(run)) <= {(1, 1), (1, 2)}
    assert folders(run) == ["step_00000001", "step_00000002", "step_00000003", "step_00000004"]


def test_the_checkpoint_that_an_attempt_started_from_stays(run: Run, fake_core: Any) -> None:
    """Two damaged ones are newer: they count for nothing, and the one that was used is not pushed out."""
    fake_core("started", *["steps:1", "checkpoint"] * 3, "kill:9")
    carry_out()
    assert steps(run) == [(1, 2), (1, 3)]
    flipped(files.checkpoint_path(Checkpoint.objects.get(run=run, step=3)) / "state.json")
    fake_core("started", *["steps:1", "checkpoint", "sleep:0.4"] * 3, "fail:data")
    carry_out()
    assert (1, 2) in steps(run) and (2, 5) in steps(run)
    assert files.checkpoint_path(Checkpoint.objects.get(run=run, attempt=1, step=2)).is_dir()


def made(*values: tuple[int, float | None], problem_at: int = 0) -> list[Checkpoint]:
    return [
        Checkpoint(
            pk=step,
            attempt=1,
            step=step,
            metric="" if value is None else "loss/validation",
            value=value,
            problem="damaged" if step == problem_at else "",
        )
        for step, value in values
    ]


def gone(found: list[Checkpoint], resume: Checkpoint | None = None, **config: Any) -> list[int]:
    return sorted(one.step for one in superfluous(found, "sft", config_from_dict("sft", config), resume))


def test_which_checkpoints_a_run_keeps() -> None:
    found = made((1, 3.0), (2, 1.0), (3, None), (4, 2.0), (5, None))
    assert gone(found) == [1, 3], "the two newest, and the best"
    assert gone(found, keep_checkpoints=1) == [1, 3, 4]
    assert gone(found, keep_checkpoints=1, best_checkpoint="none") == [1, 2, 3, 4]
    assert gone(found, best_checkpoint="highest loss/validation") == [2, 3]
    assert gone(found, resume=found[2]) == [1], "what the attempt started from stays"
    assert gone(made((1, 3.0), (2, 1.0), (3, None), (4, 2.0), (5, None), problem_at=5)) == [1], (
        "a damaged one counts for nothing, and is left to look at"
    )


def test_what_was_set_aside_does_not_push_out_what_the_run_has_reached_since() -> None:
    """Someone went back from step 40 to 10: the ones at 11 and 12 are the run's newest, and those left behind stay."""
    found = made((10, None), (11, None), (12, None), (30, None), (40, None))
    for one in found:
        one.set_aside = one.step >= 30
    assert gone(found, keep_checkpoints=2) == [10]


def test_a_finished_run_s_checkpoints_go_even_if_its_worker_died_in_between(run: Run, fake_core: Any) -> None:
    fake_core("started", "steps:1", "checkpoint", "kill:9")
    carry_out()
    Run.objects.filter(pk=run.pk).update(state="running", attempt=F("attempt") + 1, lease_until="2030-01-01T00:00Z")
    Run.objects.filter(pk=run.pk).update(state="succeeded", lease_until=None, ended_at="2026-01-01T00:00Z")
    sweep()
    assert not Checkpoint.objects.filter(run=run).exists()
    assert not (files.attempt_folder(run.pk, 1) / "checkpoints").exists()


def test_a_parent_model_changed_under_a_run_is_refused_before_the_first_step(
    corpus: Snapshot, ada: Membership, alice: Membership, fake_core: Any
) -> None:
    """One bit of the weights is not what the run was given: by the worker's run.json, and the core's own comparison."""
    make_run(corpus, ada)
    fake_core("started", "steps:3", "model")
    base = carry_out().model
    demonstrations(corpus.project, alice, 4)
    train = snapshot_build(project=corpus.project, kind="demonstrations", by=ada)
    run_create(project=corpus.project, stage="sft", config={}, inputs={"train": train, "policy": base}, by=ada)
    claimed = run_claim(queue="gpu", worker="w")
    assert claimed is not None
    given = json.loads(launcher.lay_out(claimed).run_json.read_text())
    Workspace.open(given).verify_inputs()
    flipped(files.path_of(base.artifact) / "model.safetensors")
    with pytest.raises(DataError, match=r"the input policy at .* its hash differs"):
        Workspace.open(given).verify_inputs()
