"""Making tasks, once each."""

from __future__ import annotations

import pytest

from annotation.models import Membership, Project, Response, Task, TaskResponse
from annotation.services.prompts import prompt_withdraw
from annotation.services.queue_settings import kind_settings_update
from annotation.services.responses import ResponseError, responses_add
from annotation.services.tasks import (
    TaskError,
    demonstration_tasks_create,
    ranking_tasks_create,
    sampled_groups,
)
from tests.factories import ModelFactory, PromptFactory, ResponseFactory, RoundFactory, RunFactory


def test_a_prompt_is_written_for_once(project: Project, ada: Membership) -> None:
    kind_settings_update(project=project, kind="demonstration", overlap=2, by=ada)
    prompts = PromptFactory.create_batch(3, project=project)
    assert demonstration_tasks_create(project=project, prompts=prompts[:2], by=ada) == 2
    assert demonstration_tasks_create(project=project, prompts=prompts, by=ada, priority=5) == 1
    task = Task.objects.get(prompt=prompts[0])
    assert (task.kind, task.overlap, task.open_slots, task.purpose, task.priority) == (
        "demonstration",
        2,
        2,
        "train",
        0,
    )


def test_eval_prompts_make_eval_tasks(project: Project) -> None:
    prompt = PromptFactory(project=project, pool="eval")
    demonstration_tasks_create(project=project, prompts=[prompt], by=None)
    ranking_tasks_create(project=project, groups=[ResponseFactory.create_batch(2, prompt=prompt)], by=None)
    assert set(Task.objects.values_list("purpose", flat=True)) == {"eval"}


def test_withdrawn_prompts_get_no_task(project: Project, ada: Membership) -> None:
    prompt = prompt_withdraw(prompt=PromptFactory(project=project), by=ada)
    assert demonstration_tasks_create(project=project, prompts=[prompt], by=ada) == 0
    assert ranking_tasks_create(project=project, groups=[ResponseFactory.create_batch(2, prompt=prompt)], by=ada) == 0


def test_a_group_is_ranked_once_in_whatever_order_it_comes(project: Project, ada: Membership) -> None:
    turn = RoundFactory(project=project)
    group = ResponseFactory.create_batch(4, prompt=PromptFactory(project=project))
    assert ranking_tasks_create(project=project, groups=[group, group[::-1]], by=ada, round=turn, overlap=3) == 1
    assert ranking_tasks_create(project=project, groups=[group[::-1]], by=ada) == 0
    task = Task.objects.get()
    assert set(task.responses.all()) == set(group)
    assert (task.overlap, task.open_slots, task.round) == (3, 3, turn)
    # The same answers for another purpose are another task; fewer of them as well.
    assert ranking_tasks_create(project=project, groups=[group], by=ada, purpose="eval") == 1
    assert ranking_tasks_create(project=project, groups=[group[:3]], by=ada) == 1


def test_equal_texts_are_shown_once_and_nothing_to_rank_is_no_task(project: Project) -> None:
    prompt = PromptFactory(project=project)
    first, twin, other = (ResponseFactory(prompt=prompt, text=text) for text in ("yes", "yes", "no"))
    assert ranking_tasks_create(project=project, groups=[[first, twin]], by=None) == 0
    assert ranking_tasks_create(project=project, groups=[[first, twin, other]], by=None) == 1
    assert [row.response for row in TaskResponse.objects.order_by("id")] == [first, other]


def test_a_group_answers_one_prompt_of_the_project(project: Project) -> None:
    prompt = PromptFactory(project=project)
    mixed = [ResponseFactory(prompt=prompt), ResponseFactory(prompt=PromptFactory(project=project))]
    foreign = ResponseFactory.create_batch(2)
    for group in (mixed, foreign):
        with pytest.raises(TaskError, match="one prompt"):
            ranking_tasks_create(project=project, groups=[group], by=None)
    with pytest.raises(TaskError, match="at most 16"):
        ranking_tasks_create(project=project, groups=[ResponseFactory.create_batch(17, prompt=prompt)], by=None)
    with pytest.raises(TaskError, match="another project"):
        demonstration_tasks_create(project=project, prompts=[foreign[0].prompt], by=None)
    assert not Task.objects.exists()


def test_a_sampling_run_is_taken_in_once(project: Project) -> None:
    run, model = RunFactory(project=project), ModelFactory(project=project)
    prompts = PromptFactory.create_batch(2, project=project)
    rows = [
        {
            "prompt_id": str(prompt.pk),
            "index": index,
            "text": f"answer {index}\0\ud800",
            "tokens": 3,
            "ended": True,
            "logprob": -1.5,
            "seed": 7,
            "decoding": {"temperature": 1.0},
        }
        for prompt in prompts
        for index in range(3)
    ]
    assert responses_add(run=run, model=model, rows=rows[:4]) == 4
    assert responses_add(run=run, model=model, rows=rows) == 2
    assert responses_add(run=run, model=model, rows=iter(rows)) == 0
    answer = Response.objects.get(prompt=prompts[0], index=1)
    assert (answer.origin, answer.model, answer.run, answer.tokens, answer.ended) == ("model", model, run, 3, True)
    assert answer.text == "answer 1\ufffd?"
    assert answer.decoding == {"temperature": 1.0, "seed": 7}
    groups = list(sampled_groups(run, 2))
    assert [[answer.index for answer in group] for group in groups] == [[0, 1], [0, 1]]


def test_answers_to_strangers_prompts_are_refused(project: Project) -> None:
    row = {"prompt_id": str(PromptFactory().pk), "index": 0, "text": "x"}
    with pytest.raises(ResponseError, match="not in this project"):
        responses_add(run=RunFactory(project=project), model=ModelFactory(project=project), rows=[row])
