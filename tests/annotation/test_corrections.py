"""Corrections: from a model's answer to a demonstration that says what it was made from."""

from __future__ import annotations

import uuid

import pytest

from annotation.models import Assignment, Demonstration, Membership, Project, Response, Task
from annotation.selectors.rows import demonstration_rows
from annotation.services.corrections import correction_tasks_create
from annotation.services.labels import LabelError, demonstration_submit
from annotation.services.prompts import prompt_withdraw
from annotation.services.queue import assignment_next
from annotation.services.tasks import TaskError, ranking_tasks_create
from tests.factories import ModelFactory, PromptFactory, ResponseFactory, lease


def correct(assignment: Assignment, text: str) -> Demonstration:
    return demonstration_submit(
        assignment=assignment,
        text=text,
        submission_id=uuid.uuid4(),
        started_at=None,
        active_seconds=1,
        by=assignment.labeler,
    )


def test_a_models_latest_answers_become_tasks_once(project: Project, ada: Membership) -> None:
    model, prompt = ModelFactory(project=project), PromptFactory(project=project)
    _old, new = (ResponseFactory(prompt=prompt, model=model) for _ in range(2))
    ResponseFactory(prompt=PromptFactory(project=project), model=model, text="")
    gone = ResponseFactory(prompt=PromptFactory(project=project), model=model)
    prompt_withdraw(prompt=gone.prompt, by=ada)
    for made in (1, 0):
        assert correction_tasks_create(project=project, model=model.pk, by=ada) == made
    task = Task.objects.get()
    assert (task.kind, task.prompt, list(task.responses.all())) == ("correction", prompt, [new])
    with pytest.raises(TaskError, match="answered nothing"):
        correction_tasks_create(project=project, model=ModelFactory(project=project).pk, by=ada)


def test_the_limit_is_kept(project: Project, ada: Membership) -> None:
    model = ModelFactory(project=project)
    for prompt in PromptFactory.create_batch(3, project=project):
        ResponseFactory(prompt=prompt, model=model)
    assert correction_tasks_create(project=project, model=model.pk, by=ada, limit=2) == 2


def test_a_correction_is_a_demonstration_and_a_new_answer(project: Project, ada: Membership, alice: Membership) -> None:
    original = ResponseFactory(prompt=PromptFactory(project=project), text="It rises.")
    correction_tasks_create(project=project, model=original.model_id, by=ada)
    assignment = lease(alice, "correction")
    assert assignment.presented_order == [str(original.pk)]
    label = correct(assignment, "It rises and falls.")
    assert (label.corrects, label.response.author, label.response.origin) == (original, alice, "human")
    assert [row["completion"][0]["content"] for row in demonstration_rows(project)] == ["It rises and falls."]
    assert set(Response.objects.filter(prompt=original.prompt)) == {original, label.response}
    # The new answer can be ranked against the old one, though not by who wrote it.
    assert ranking_tasks_create(project=project, groups=[[original, label.response]], by=ada) == 1
    assert assignment_next(labeler=alice) is None
    original.refresh_from_db()
    assert original.text == "It rises."


def test_a_correction_that_changes_nothing_is_refused(project: Project, ada: Membership, alice: Membership) -> None:
    original = ResponseFactory(prompt=PromptFactory(project=project), text="It rises.")
    correction_tasks_create(project=project, model=original.model_id, by=ada)
    with pytest.raises(LabelError, match="changed nothing"):
        correct(lease(alice, "correction"), "It rises.")
    assert not Demonstration.objects.exists()


def test_nobody_corrects_what_they_wrote(project: Project, alice: Membership, bob: Membership) -> None:
    prompt = PromptFactory(project=project)
    task = Task.objects.create(project=project, prompt=prompt, kind="correction", open_slots=1)
    task.task_responses.create(response=ResponseFactory(prompt=prompt, author=alice))
    assert assignment_next(labeler=alice) is None
    assert lease(bob).task == task
