"""Two models compared blind: which tasks are made, that nothing of it trains, and what is known afterwards."""

from __future__ import annotations

import uuid

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from annotation.models import Assignment, Membership, Project, Prompt, Ranking, Response, Task
from annotation.selectors.comparisons import comparison_results
from annotation.selectors.rows import ranking_rows
from annotation.services.comparisons import comparison_tasks_create
from annotation.services.labels import RankedItem, ranking_submit
from annotation.services.queue import assignment_next
from annotation.services.tasks import TaskError, ranking_tasks_create
from tests.factories import MembershipFactory, ModelFactory, PromptFactory, ResponseFactory, lease
from training.models import Model


@pytest.fixture
def models(project: Project) -> tuple[Model, Model]:
    old, new = ModelFactory(project=project), ModelFactory(project=project)
    return old, new


def answered(prompt: Prompt, models: tuple[Model, Model]) -> list[Response]:
    return [ResponseFactory(prompt=prompt, model=model) for model in models]


def choose(assignment: Assignment, winner: Model | None) -> Ranking:
    """Say that this model's answer is better, or with None that both are equally good."""
    models = dict(assignment.task.responses.values_list("pk", "model"))
    items = [
        RankedItem(response_id=key, rank=1 if winner is None or models[key] == winner.pk else 2)
        for key in map(uuid.UUID, assignment.presented_order)
    ]
    return ranking_submit(
        assignment=assignment,
        items=items,
        submission_id=uuid.uuid4(),
        started_at=None,
        active_seconds=1,
        by=assignment.labeler,
    )


def test_prompts_that_both_answered_are_compared_once(
    project: Project, ada: Membership, models: tuple[Model, Model]
) -> None:
    old, new = models
    prompt, half, same = PromptFactory.create_batch(3, project=project)
    answered(prompt, models)
    latest = answered(prompt, models)
    ResponseFactory(prompt=half, model=old)
    for model in models:
        ResponseFactory(prompt=same, model=model, text="the same")
    assert comparison_tasks_create(project=project, first=old.pk, second=new.pk, by=ada) == 1
    assert comparison_tasks_create(project=project, first=new.pk, second=old.pk, by=ada) == 0
    task = Task.objects.get()
    assert (task.kind, task.prompt, task.purpose, task.overlap) == ("comparison", prompt, "eval", 1)
    assert set(task.responses.all()) == set(latest)
    with pytest.raises(TaskError, match="itself"):
        comparison_tasks_create(project=project, first=old.pk, second=old.pk, by=ada)


def test_a_model_that_answered_nothing_is_named(project: Project, ada: Membership, models: tuple[Model, Model]) -> None:
    with pytest.raises(TaskError, match="answered nothing"):
        comparison_tasks_create(project=project, first=models[0].pk, second=models[1].pk, by=ada)


def test_the_limit_is_kept(project: Project, ada: Membership, models: tuple[Model, Model]) -> None:
    for prompt in PromptFactory.create_batch(3, project=project):
        answered(prompt, models)
    assert comparison_tasks_create(project=project, first=models[0].pk, second=models[1].pk, by=ada, limit=2) == 2


def test_the_same_two_answers_may_be_ranked_for_training_as_well(
    project: Project, ada: Membership, models: tuple[Model, Model]
) -> None:
    group = answered(PromptFactory(project=project), models)
    assert comparison_tasks_create(project=project, first=models[0].pk, second=models[1].pk, by=ada) == 1
    assert ranking_tasks_create(project=project, groups=[group], by=ada) == 1
    assert ranking_tasks_create(project=project, groups=[group], by=ada, purpose="eval") == 1


def test_a_comparison_never_becomes_training_data(
    project: Project, ada: Membership, alice: Membership, models: tuple[Model, Model]
) -> None:
    answered(PromptFactory(project=project), models)
    comparison_tasks_create(project=project, first=models[0].pk, second=models[1].pk, by=ada)
    label = choose(lease(alice, "comparison"), models[1])
    assert label.purpose == "eval"
    assert list(ranking_rows(project)) == []
    assert len(list(ranking_rows(project, {"purpose": "eval"}))) == 1
    with pytest.raises(IntegrityError), transaction.atomic():
        Task.objects.filter(kind="comparison").update(purpose="train")


def test_nobody_compares_an_answer_they_wrote(project: Project, alice: Membership, bob: Membership) -> None:
    from annotation.models import TaskResponse

    prompt = PromptFactory(project=project)
    task = Task.objects.create(project=project, prompt=prompt, kind="comparison", purpose="eval", open_slots=1)
    for answer in (ResponseFactory(prompt=prompt, author=alice), ResponseFactory(prompt=prompt)):
        TaskResponse.objects.create(task=task, response=answer)
    assert assignment_next(labeler=alice) is None
    assert lease(bob).task == task


def test_wins_losses_and_ties_by_hand(project: Project, ada: Membership, models: tuple[Model, Model]) -> None:
    old, new = models
    for prompt in PromptFactory.create_batch(4, project=project):
        answered(prompt, models)
    comparison_tasks_create(project=project, first=old.pk, second=new.pk, by=ada)
    labeler = MembershipFactory(project=project)
    for winner in (new, new, None, old):
        label = choose(lease(labeler, "comparison"), winner)
    choose(label.assignment, new)  # thought better of: the revision replaces the label
    with CaptureQueriesContext(connection) as captured:
        (result,) = comparison_results(project)
    assert len(captured) == 1
    wins = {result.first: result.first_wins, result.second: result.second_wins}
    assert (wins[new.pk], wins[old.pk], result.ties, result.compared) == (3, 0, 1, 4)
    assert result.percent == (87.5 if result.first == new.pk else 12.5)
