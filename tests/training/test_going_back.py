"""Going on from a chosen checkpoint; a copy of a cancelled run; what a copy does otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from annotation.models import Membership
from tests.factories import ArtifactFactory
from tests.training.conftest import make_run, walk_to
from training import files
from training.errors import RunError
from training.files import FileStoreError
from training.launcher import newest_checkpoint
from training.models import Checkpoint, Run, Snapshot
from training.selectors.checkpoints import checkpoints_of, differences
from training.services.checkpoints import run_copy_from, run_go_on_from
from training.services.claims import run_claim


def saved(run: Run, step: int, attempt: int = 1) -> Checkpoint:
    """A checkpoint with files of its own, registered."""
    checkpoint = Checkpoint(run=run, attempt=attempt, step=step)
    path = files.checkpoint_path(checkpoint)
    path.mkdir(parents=True)
    (path / "state.bin").write_text(f"{run.pk} {attempt} {step}")
    sha256 = files.folder_hash(path)
    checkpoint.artifact = ArtifactFactory(
        kind="checkpoint", sha256=sha256, size=files.size_of(path), storage_key=sha256
    )
    checkpoint.save()
    return checkpoint


@pytest.mark.parametrize("state", ["failed", "paused"])
def test_a_run_goes_on_from_the_checkpoint_that_was_chosen(run: Run, ada: Membership, state: str) -> None:
    walk_to(run, state)
    first, middle, last = (saved(run, step) for step in (10, 20, 30))
    after = run_go_on_from(run=run, checkpoint=middle, by=ada)
    assert (after.state, after.step, after.reason) == ("queued", 20, "")
    assert newest_checkpoint(run)[0] == middle
    assert files.checkpoint_path(last).is_dir()  # set aside, not gone
    (files.checkpoint_path(middle) / "state.bin").write_text("damaged since")
    assert newest_checkpoint(run)[0] == first  # never one from the time that was given up
    assert [row.newest for row in checkpoints_of(run)] == [False, True, False]


def test_one_that_was_set_aside_may_be_chosen_after_all(run: Run, ada: Membership) -> None:
    walk_to(run, "failed")
    first, last = saved(run, 10), saved(run, 30)
    run_go_on_from(run=run, checkpoint=first, by=ada)
    run_claim(queue="gpu", worker="w")
    run.refresh_from_db()
    assert run.attempt == 2
    Run.objects.filter(pk=run.pk).update(state="pausing")
    Run.objects.filter(pk=run.pk).update(state="paused", lease_until=None)
    run.refresh_from_db()
    run_go_on_from(run=run, checkpoint=last, by=ada)
    assert newest_checkpoint(run)[0] == last


@pytest.mark.parametrize("state", ["queued", "running", "pausing", "cancelling", "succeeded", "cancelled"])
def test_elsewhere_it_is_refused_in_words(run: Run, ada: Membership, state: str) -> None:
    walk_to(run, state)
    checkpoint = saved(run, 10)
    with pytest.raises(RunError, match="can't be done"):
        run_go_on_from(run=run, checkpoint=checkpoint, by=ada)
    if state != "cancelled":
        with pytest.raises(RunError, match="only a cancelled run"):
            run_copy_from(run=run, checkpoint=checkpoint, by=ada)


def test_a_damaged_checkpoint_is_not_gone_back_to(run: Run, ada: Membership) -> None:
    walk_to(run, "failed")
    checkpoint = saved(run, 10)
    (files.checkpoint_path(checkpoint) / "state.bin").write_text("other bytes")
    with pytest.raises(FileStoreError, match="step 10"):
        run_go_on_from(run=run, checkpoint=checkpoint, by=ada)
    run.refresh_from_db()
    assert run.state == "failed"


def test_a_cancelled_run_stays_over_and_a_copy_begins_where_it_was(run: Run, ada: Membership) -> None:
    walk_to(run, "cancelled")
    checkpoint = saved(run, 10)
    copy = run_copy_from(run=run, checkpoint=checkpoint, by=ada)
    run.refresh_from_db()
    assert run.state == "cancelled"
    assert (copy.cloned_from, copy.config_hash, copy.seed) == (run, run.config_hash, run.seed)
    found, unusable = newest_checkpoint(copy)
    assert found is not None and (found.step, found.attempt, unusable) == (10, 0, [])
    assert differences(copy) == []
    folder = files.run_folder(run.pk)
    files.remove(folder)  # the old run may be deleted: the copy has its own name for the files
    assert newest_checkpoint(copy)[0] == found
    assert isinstance(folder, Path)


def test_a_copy_says_what_it_does_otherwise(run: Run, corpus: Snapshot, ada: Membership) -> None:
    copy = make_run(corpus, ada, config={"batch_size": 8, "learning_rate": 0.5}, seed=3, cloned_from=run)
    named = {(item.kind, item.name, item.before, item.after) for item in differences(copy)}
    assert ("config", "batch_size", 4, 8) in named and ("seed", "seed", 0, 3) in named
    assert {item.name for item in differences(copy)} == {"batch_size", "learning_rate", "seed"}
    default = make_run(corpus, ada, config={"weight_decay": differences_default()}, cloned_from=run)
    assert differences(default) == []  # a default that is spelled out is no difference


def differences_default() -> float:
    from training.rlhf.config import schema

    return next(item["default"] for item in schema("pretrain") if item["name"] == "weight_decay")
