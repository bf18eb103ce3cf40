"""Erasure: what of a person is where, that it goes, and that nothing is built on what held it."""

from __future__ import annotations

from typing import Any

import pytest

from annotation.models import (
    AuditEvent,
    Demonstration,
    LabelComment,
    Membership,
    Project,
    QuestionMessage,
    RankedResponse,
    Ranking,
    Response,
)
from annotation.services.feedback import label_comment, question_ask
from tests.factories import ModelFactory, PromptFactory, RankingTaskFactory, ResponseFactory, RunFactory, lease
from tests.training.labels import demonstrate, rank
from training import files
from training.errors import RunError, SnapshotError
from training.models import LeakPair, Model, RunInput, Snapshot
from training.selectors.snapshots import snapshot_rows
from training.selectors.traces import traces_of
from training.services.erasure import person_erase, person_pseudonymise, snapshot_erase
from training.services.runs import run_create
from training.services.snapshots import snapshot_build

WHY = "They asked to be forgotten."


@pytest.fixture
def made(project: Project, alice: Membership, bob: Membership, ada: Membership) -> dict[str, Any]:
    """Alice wrote an answer that bob ranked among others; both are frozen, and a model was made of her snapshot."""
    demonstrate(PromptFactory(project=project, text="Why?"), alice, "Because alice says so.")
    prompt = PromptFactory(project=project, pool="rm")
    answers = [ResponseFactory(prompt=prompt, text=text) for text in ("One.", "Two.")]
    answers.append(ResponseFactory(prompt=prompt, text="By alice.", author=alice))
    RankingTaskFactory(prompt=prompt, answers=answers)
    rank(lease(bob, "ranking"), lambda response: len(response.text))
    snapshots = [snapshot_build(project=project, kind=kind, by=ada) for kind in ("demonstrations", "rankings")]
    run = RunFactory(project=project, stage="sft")
    RunInput.objects.create(run=run, name="train", snapshot=snapshots[0])
    model = ModelFactory(project=project, run=run, name="sft-1")
    child_run = RunFactory(project=project, stage="ppo")
    RunInput.objects.create(run=child_run, name="policy", model=model)
    child = ModelFactory(project=project, run=child_run, name="ppo-1")
    return {"snapshots": snapshots, "models": [model, child]}


def test_what_of_a_person_is_where(made: dict[str, Any], alice: Membership, bob: Membership) -> None:
    traces = traces_of(alice)
    assert (traces.demonstrations, traces.rankings, traces.ranked_by_others) == (1, 0, 1)
    assert {snapshot.pk for snapshot in traces.snapshots} == {snapshot.pk for snapshot in made["snapshots"]}
    assert traces.models == made["models"]
    assert [snapshot.kind for snapshot in traces_of(bob).snapshots] == ["rankings"]


def test_erased_work_is_gone_everywhere_and_nothing_is_built_on_it(
    made: dict[str, Any], alice: Membership, ada: Membership, django_capture_on_commit_callbacks: Any
) -> None:
    old = alice.pseudonym
    paths = [files.path_of(snapshot.artifact) for snapshot in made["snapshots"]]
    with django_capture_on_commit_callbacks(execute=True):
        erased = person_erase(member=alice, why=WHY, by=ada)
    assert len(erased) == 2 and not any(path.exists() for path in paths)
    assert not Demonstration.objects.exists()
    assert not Response.objects.filter(text__icontains="alice").exists()
    assert RankedResponse.objects.count() == 2 and Ranking.objects.count() == 1  # bob's, without her answer
    alice.refresh_from_db()
    assert alice.pseudonym != old
    snapshot = Snapshot.objects.get(pk=made["snapshots"][0].pk)
    assert snapshot.erased_at and snapshot.erased_why == WHY and snapshot.manifest["counts"]
    with pytest.raises(SnapshotError, match="was erased"):
        snapshot_rows(snapshot, "train")
    inputs = {"train": snapshot, "policy": ModelFactory(project=alice.project)}
    with pytest.raises(RunError, match="was erased: its files are gone"):
        run_create(project=alice.project, stage="sft", config={}, inputs=inputs, by=ada)
    rankings = snapshot_build(project=alice.project, kind="rankings", by=ada)
    for model in Model.objects.filter(name__in=["sft-1", "ppo-1"]):
        with pytest.raises(RunError, match="which was erased"):
            run_create(
                project=alice.project, stage="reward", config={}, inputs={"train": rankings, "policy": model}, by=ada
            )
    prompts = snapshot_build(project=alice.project, kind="prompts", by=ada)
    measured = {"prompts": prompts, "policy": Model.objects.get(name="ppo-1")}  # looking at it trains nothing
    run_create(project=alice.project, stage="sample", config={}, inputs=measured, by=ada)
    said = AuditEvent.objects.filter(verb="snapshot.erase")
    assert [event.detail["models_to_rebuild"] for event in said if event.target_id == str(snapshot.pk)] == [
        ["sft-1", "ppo-1"]
    ]
    assert AuditEvent.objects.get(verb="person.erase").detail["demonstrations"] == 1


def test_what_a_person_asked_and_was_told_goes_too(made: dict[str, Any], alice: Membership, ada: Membership) -> None:
    label = Demonstration.objects.get()
    question_ask(assignment=label.assignment, body="Is alice right?", by=alice)
    label_comment(assignment=label.assignment, body="Well said, alice.", returns=False, by=ada)
    person_erase(member=alice, why=WHY, by=ada)
    assert not QuestionMessage.objects.exists() and not LabelComment.objects.exists()


def test_a_ranking_that_is_left_with_one_answer_goes_too(
    project: Project, alice: Membership, bob: Membership, ada: Membership
) -> None:
    prompt = PromptFactory(project=project, pool="rm")
    answers = [ResponseFactory(prompt=prompt, text="One."), ResponseFactory(prompt=prompt, text="Hers.", author=alice)]
    task = RankingTaskFactory(prompt=prompt, answers=answers)
    rank(lease(bob, "ranking"), lambda response: len(response.text))
    person_erase(member=alice, why=WHY, by=ada)
    task.refresh_from_db()
    assert not Ranking.objects.exists() and task.state == "withdrawn"


def test_another_pseudonym_keeps_the_labels_and_names_what_holds_the_old_one(
    made: dict[str, Any], alice: Membership, ada: Membership
) -> None:
    old = alice.pseudonym
    held = person_pseudonymise(member=alice, why=WHY, by=ada)
    alice.refresh_from_db()
    assert alice.pseudonym != old and Demonstration.objects.count() == 1
    assert {snapshot.pk for snapshot in held} == {snapshot.pk for snapshot in made["snapshots"]}
    anew = snapshot_build(project=alice.project, kind="demonstrations", by=ada)
    assert [row["labeler"] for row in snapshot_rows(anew, "train")] == [alice.pseudonym]


def test_an_erasure_says_why_and_happens_once(made: dict[str, Any], ada: Membership) -> None:
    snapshot = made["snapshots"][0]
    with pytest.raises(SnapshotError, match="Say in a sentence why"):
        snapshot_erase(snapshot=snapshot, why="because", by=ada)
    first = snapshot_erase(snapshot=snapshot, why=WHY, by=ada)
    assert snapshot_erase(snapshot=snapshot, why="Another reason altogether.", by=ada).erased_why == first.erased_why
    assert AuditEvent.objects.filter(verb="snapshot.erase").count() == 1
    assert not LeakPair.objects.exists()
