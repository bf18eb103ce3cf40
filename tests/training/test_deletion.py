"""What goes with a run, what forbids that it goes, and what stays."""

from __future__ import annotations

import uuid

import pytest
from django.utils import timezone

from annotation.models import AuditEvent, Membership, Response, Task
from annotation.services.labels import RankedItem, ranking_submit
from tests.factories import (
    ArtifactFactory,
    ModelFactory,
    PromptFactory,
    RankingTaskFactory,
    ResponseFactory,
    RoundFactory,
    RunFactory,
    lease,
)
from training import files
from training.errors import RunError
from training.models import Artifact, Checkpoint, Model, Notice, Run, RunInput
from training.selectors.dependents import dependents_of
from training.services.deletion import run_delete


@pytest.fixture
def over(ada: Membership) -> Run:
    return RunFactory(project=ada.project, stage="sample", name="answers-1", state="succeeded", ended_at=timezone.now())


def answers(run: Run, count: int = 4) -> Task:
    """A ranking task of answers that the run gave."""
    prompt = PromptFactory(project=run.project)
    model = ModelFactory(project=run.project)
    given = [ResponseFactory(prompt=prompt, run=run, model=model, index=number) for number in range(count)]
    return RankingTaskFactory(prompt=prompt, answers=given)


def test_a_run_goes_with_its_answers_and_their_tasks(
    over: Run, ada: Membership, django_capture_on_commit_callbacks: object
) -> None:
    task = answers(over)
    RoundFactory(project=over.project, sampling_run=over)
    checkpoint = Checkpoint.objects.create(run=over, attempt=1, step=1, artifact=ArtifactFactory(kind="checkpoint"))
    path = files.checkpoint_path(checkpoint)
    path.mkdir(parents=True)
    (path / "state.bin").write_text("state")
    shared = ModelFactory(project=over.project, run=over, source="")
    (files.path_of(shared.artifact)).mkdir(parents=True)
    found = dependents_of(over)
    assert (found.responses, found.tasks, found.checkpoints, found.may_go) == (4, 1, 1, True)
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        run_delete(run=over, name=" answers-1 ", by=ada)
    assert not Run.objects.filter(pk=over.pk).exists() and not Task.objects.filter(pk=task.pk).exists()
    assert not Response.objects.filter(run=over.pk).exists() and not Model.objects.filter(name=shared.name).exists()
    assert not files.run_folder(over.pk).exists() and not files.path_of(shared.artifact).exists()
    assert list((files.root() / "aside").rglob("state.bin"))  # aside for a day
    files.clear_aside(older_than_seconds=-1)
    assert not list((files.root() / "aside").glob("*"))
    row = AuditEvent.objects.get(verb="run.delete")
    assert (row.detail["name"], row.detail["responses"], row.actor_name) == ("answers-1", 4, "ada")


def test_the_name_has_to_be_typed(over: Run, ada: Membership) -> None:
    with pytest.raises(RunError, match="answers-1"):
        run_delete(run=over, name="answers-2", by=ada)
    assert Run.objects.filter(pk=over.pk).exists()


def test_labels_are_never_deleted_so_their_run_stays(over: Run, ada: Membership, alice: Membership) -> None:
    task = answers(over)
    assignment = lease(alice, "ranking")
    assert "in a labeler's hands" in " ".join(item.words for item in dependents_of(over).obstacles)
    items = [
        RankedItem(response_id=response.pk, rank=number, rating=4, flags=[])
        for number, response in enumerate(task.responses.all(), start=1)
    ]
    ranking_submit(
        assignment=assignment,
        items=items,
        submission_id=uuid.uuid4(),
        started_at=None,
        active_seconds=1,
        by=alice,
    )
    with pytest.raises(RunError, match="1 label depends on its answers, and labels are never deleted"):
        run_delete(run=over, name="answers-1", by=ada)
    assert Response.objects.filter(run=over).count() == 4


def test_a_run_whose_model_another_run_read_stays(over: Run, ada: Membership) -> None:
    model = ModelFactory(project=over.project, run=over, source="")
    child = RunFactory(project=over.project, name="ppo-7", state="failed", ended_at=timezone.now())
    RunInput.objects.create(run=child, name="policy", model=model)
    [obstacle] = dependents_of(over).obstacles
    assert obstacle.runs == (child,) and "Delete that run first" in obstacle.words
    run_delete(run=child, name="ppo-7", by=ada)
    run_delete(run=over, name="answers-1", by=ada)
    assert not Run.objects.exists()


def test_a_run_that_is_not_over_stays(ada: Membership) -> None:
    run = RunFactory(project=ada.project, name="sft-1")
    with pytest.raises(RunError, match="Cancel it first"):
        run_delete(run=run, name="sft-1", by=ada)


def test_bytes_that_another_run_made_too_stay(over: Run, ada: Membership) -> None:
    shared = ArtifactFactory(kind="model")
    ModelFactory(project=over.project, run=over, source="", artifact=shared)
    ModelFactory(project=over.project, artifact=shared)
    run_delete(run=over, name="answers-1", by=ada)
    assert Artifact.objects.filter(pk=shared.pk).exists()


def test_its_notices_stay_without_it(over: Run, ada: Membership) -> None:
    Notice.objects.create(project=over.project, run=over, kind="succeeded", key="k", detail={"run": "answers-1"})
    run_delete(run=over, name="answers-1", by=ada)
    assert Notice.objects.get(key="k").run is None
