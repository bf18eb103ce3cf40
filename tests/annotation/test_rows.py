"""Canonical rows: what they hold, which are chosen, and at what cost."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from annotation.models import Assignment, Demonstration, Membership, Project, Prompt, Ranking, Task
from annotation.selectors.labels import label_counts
from annotation.selectors.rows import (
    QueryProblem,
    demonstration_row,
    demonstration_rows,
    demonstrations_with_all,
    prompt_row,
    prompt_rows,
    query_of,
    ranking_row,
    ranking_rows,
    rankings_with_all,
)
from annotation.services.accounts import simulated_labeler
from annotation.services.labels import RankedItem, demonstration_submit, ranking_submit
from tests.factories import (
    ModelFactory,
    PromptFactory,
    RankingTaskFactory,
    ResponseFactory,
    RoundFactory,
    TaskFactory,
    lease,
)


def write(labeler: Membership, text: str = "an answer") -> Demonstration:
    return demonstration_submit(
        assignment=lease(labeler, "demonstration"),
        text=text,
        submission_id=uuid.uuid4(),
        started_at=None,
        active_seconds=1,
        by=labeler,
    )


def rank(labeler: Membership, ranks: list[int] | None = None) -> Ranking:
    assignment = lease(labeler, "ranking")
    order = assignment.presented_order
    return ranking_submit(
        assignment=assignment,
        items=[
            RankedItem(response_id=uuid.UUID(key), rank=place, rating=5, flags=["expresses_opinion"])
            for key, place in zip(order, ranks or range(1, len(order) + 1), strict=True)
        ],
        submission_id=uuid.uuid4(),
        started_at=None,
        active_seconds=1.5,
        by=labeler,
    )


def test_a_demonstration_row(project: Project, alice: Membership) -> None:
    prompt = PromptFactory(project=project, text="Why?", category="chat", language="zh")
    TaskFactory(prompt=prompt)
    label = write(alice, "Because.")
    [row] = demonstration_rows(project)
    assert row == {
        "id": str(label.pk),
        "prompt": [{"role": "user", "content": "Why?"}],
        "completion": [{"role": "assistant", "content": "Because."}],
        "category": "chat",
        "language": "zh",
        "labeler": alice.pseudonym,
        "guideline_version": 1,
        "form_version": None,
        "origin": "human",
        "revision": 1,
        "split": "train",
        "pool": "sft",
    }


def test_rows_that_are_read_by_columns_are_those_of_the_objects(project: Project, alice: Membership) -> None:
    """A page of the API has the objects, a snapshot reads a million; both say the same."""
    TaskFactory(prompt__project=project)
    RankingTaskFactory(prompt__project=project)
    write(alice), rank(alice)
    assert list(ranking_rows(project)) == [ranking_row(label) for label in rankings_with_all(project)]
    assert list(demonstration_rows(project)) == [demonstration_row(label) for label in demonstrations_with_all(project)]
    assert list(prompt_rows(project)) == [prompt_row(prompt) for prompt in Prompt.objects.order_by("id")]


def test_a_ranking_row(project: Project, alice: Membership, bob: Membership) -> None:
    prompt = PromptFactory(project=project, pool="rm")
    model = ModelFactory(project=project)
    answers = [
        ResponseFactory(prompt=prompt, text="by bob", author=bob),
        ResponseFactory(prompt=prompt, text="by a model", model=model, decoding={"temperature": 0.7}),
        ResponseFactory(prompt=prompt, text="also", model=model),
    ]
    task = RankingTaskFactory(prompt=prompt, answers=answers, round=RoundFactory(project=project, number=3))
    label = rank(alice, [2, 1, 1])
    [row] = ranking_rows(project)
    assert list(row) == [
        "id", "prompt", "prompt_fields", "completions", "ranks", "presented_order", "labeler", "guideline_version",
        "form_version", "rating_scale", "purpose", "origin", "counts", "started_at", "submitted_at", "active_seconds",
        "language", "batch", "round", "revision", "split", "pool",
    ]  # fmt: skip
    by_text = {item["content"]: item for item in row["completions"]}
    assert by_text["by a model"] == {
        "id": str(answers[1].pk),
        "content": "by a model",
        "author": "model",
        "model": str(model.pk),
        "decoding": {"temperature": 0.7},
        "ratings": {"overall": 5},
        "flags": ["expresses_opinion"],
    }
    assert (by_text["by bob"]["author"], by_text["by bob"]["model"]) == ("human", None)
    places = {str(item.response_id): item.rank for item in label.ranked_responses.all()}
    assert row["ranks"] == [places[item["id"]] for item in row["completions"]]
    assert row["presented_order"] == Assignment.objects.get(task=task).presented_order
    assert (row["round"], row["form_version"], row["counts"], row["batch"]) == (3, 1, True, None)


def test_answers_stand_in_one_order_whoever_ranked_them(project: Project, alice: Membership, bob: Membership) -> None:
    RankingTaskFactory(prompt__project=project, overlap=2, answers=6)
    rank(alice), rank(bob)
    first, second = ranking_rows(project)
    assert [item["id"] for item in first["completions"]] == [item["id"] for item in second["completions"]]


def test_no_name_of_a_person_is_in_any_row(project: Project, alice: Membership) -> None:
    TaskFactory(prompt__project=project)
    RankingTaskFactory(prompt__project=project)
    write(alice), rank(alice)
    assert alice.user is not None
    written = json.dumps([*demonstration_rows(project), *ranking_rows(project), *prompt_rows(project)])
    assert "alice" not in written
    assert str(alice.user.pk) not in written and str(alice.pk) not in written


def test_only_current_revisions_of_this_project(project: Project, alice: Membership) -> None:
    TaskFactory(prompt__project=project)
    assignment = write(alice, "one").assignment
    demonstration_submit(
        assignment=assignment,
        text="two",
        submission_id=uuid.uuid4(),
        started_at=None,
        active_seconds=1,
        by=alice,
    )
    TaskFactory()
    [row] = demonstration_rows(project)
    assert (row["completion"][0]["content"], row["revision"]) == ("two", 2)


@pytest.fixture
def varied(project: Project, alice: Membership, bob: Membership) -> Project:
    """Three demonstrations: by alice in the chat category, simulated in Chinese, late and not counting."""
    TaskFactory(prompt=PromptFactory(project=project, category="chat", pool="sft", split="validation"))
    write(alice, "chat")
    TaskFactory(prompt=PromptFactory(project=project, language="zh", pool="rm"))
    write(simulated_labeler(project=project, number=1), "simulated")
    TaskFactory(prompt=PromptFactory(project=project, pool="ppo"))
    late = lease(alice)
    Assignment.objects.filter(pk=late.pk).update(status="expired", slot=None)
    Task.objects.filter(pk=late.task_id).update(open_slots=0)
    demonstration_submit(
        assignment=late, text="late", submission_id=uuid.uuid4(), started_at=None, active_seconds=1, by=alice
    )
    return project


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (None, {"chat", "simulated"}),
        ({"extras": True}, {"chat", "simulated", "late"}),
        ({"origins": ["human"]}, {"chat"}),
        ({"origins": "simulated"}, {"simulated"}),
        ({"categories": ["chat"]}, {"chat"}),
        ({"languages": ["zh"], "pools": ["rm"]}, {"simulated"}),
        ({"languages": ["zh"], "pools": ["sft"]}, set()),
        ({"splits": ["validation"]}, {"chat"}),
        ({"purpose": "eval"}, set()),
        ({"purpose": "", "ties": "drop", "tie_policy": "half"}, {"chat", "simulated"}),
        ({"pools": [], "categories": None, "overlap": "latest"}, {"chat", "simulated"}),
        ({"since": "2020-01-01", "until": "2020-02-01"}, set()),
        ({"since": "2020-01-01"}, {"chat", "simulated"}),
        ({"until": timezone.now() + timedelta(days=1)}, {"chat", "simulated"}),
    ],
)
def test_a_query_chooses(varied: Project, query: Any, expected: set[str]) -> None:
    assert {row["completion"][0]["content"] for row in demonstration_rows(varied, query)} == expected


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"colour": "red"}, "no filter colour"),
        ({"pools": ["ocean"]}, "pools is 'ocean'; it must be one of sft, rm, ppo, eval"),
        ({"origins": "elves"}, "human, simulated, imported"),
        ({"overlap": "some"}, "all, latest"),
        ({"purpose": "fun"}, "train, eval"),
        ({"since": "yesterday"}, "2026-01-31"),
        ({"since": "2026-13-45"}, "2026-01-31"),
    ],
)
def test_a_query_for_what_does_not_exist_is_refused_in_words(query: dict[str, Any], words: str) -> None:
    with pytest.raises(QueryProblem, match=words):
        query_of(query)


def test_the_latest_of_several_labels(project: Project, alice: Membership, bob: Membership) -> None:
    RankingTaskFactory(prompt__project=project, overlap=2)
    rank(alice)
    latest = rank(bob)
    assert len(list(ranking_rows(project))) == 2
    assert [row["id"] for row in ranking_rows(project, {"overlap": "latest"})] == [str(latest.pk)]
    Ranking.objects.update(submitted_at=timezone.now())
    assert len(list(ranking_rows(project, {"overlap": "latest"}))) == 1


def test_rankings_for_evaluation_stay_out_of_training(project: Project, alice: Membership) -> None:
    RankingTaskFactory(prompt__project=project, purpose="eval")
    rank(alice)
    assert not list(ranking_rows(project))
    assert len(list(ranking_rows(project, {"purpose": "eval"}))) == 1


def test_withdrawn_prompts_are_not_handed_to_training(project: Project) -> None:
    kept = PromptFactory(project=project)
    PromptFactory(project=project, withdrawn_at=timezone.now())
    PromptFactory()
    assert [row["id"] for row in prompt_rows(project)] == [str(kept.pk)]
    fields = ["id", "prompt", "category", "language", "group", "source", "style", "split", "pool"]
    assert list(next(prompt_rows(project))) == fields


@pytest.mark.parametrize("rows", [demonstration_rows, ranking_rows, prompt_rows])
def test_queries_do_not_grow_with_the_rows(project: Project, alice: Membership, rows: Callable[..., Any]) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert list(rows(project))
        return sum("SELECT" in query["sql"] for query in captured)

    def label() -> None:
        TaskFactory(prompt__project=project)
        RankingTaskFactory(prompt__project=project)
        write(alice), rank(alice)

    label()
    few = queries()
    for _ in range(6):
        label()
    assert queries() == few <= 3  # the labels, the answers of a chunk of rankings, and each form once
    assert label_counts(project) == {"demonstrations": {"human": 7}, "rankings": {"human": 7}}
