"""Prompts: the list and its filters, pasting, one prompt's page. Importing: test_import_pages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotation.models import Prompt, Ranking, User
from annotation.services.accounts import project_create
from annotation.services.labels import RankedItem, ranking_submit
from annotation.services.queue import assignment_next
from frontend.project_forms.prompts import PastePromptsForm
from tests.factories import ModelFactory, ResponseFactory
from tests.frontend.scene import Scene, add_prompts

As = Callable[[User], Client]


def page(scene: Scene, name: str, *args: object) -> str:
    return reverse(f"frontend:{name}", args=[scene.project.slug, *args])


def shown(response: object) -> list[str]:
    return [prompt.text for prompt in response.context["page"].rows]  # type: ignore[attr-defined]


def test_filters_narrow_the_list(scene: Scene, as_: As) -> None:
    client, url = as_(scene.ada), page(scene, "prompts")
    assert len(shown(client.get(url))) == 5
    assert set(shown(client.get(url, {"pool": "rm"}))) == {
        "Name three rivers of Europe.",
        "What is 12 times 12? Show the steps.",
    }
    assert shown(client.get(url, {"text": "潮汐"})) == ["用一句话介绍潮汐。"]
    assert shown(client.get(url, {"pool": "rm", "text": "tide"})) == []
    assert "No prompt matches" in client.get(url, {"text": "nothing like it"}).content.decode()


def test_a_filter_that_does_not_exist_filters_nothing(scene: Scene, as_: As) -> None:
    assert len(shown(as_(scene.ada).get(page(scene, "prompts"), {"pool": "moon", "before": "x"}))) == 5


def test_an_empty_project_says_what_to_do(scene: Scene, as_: As) -> None:
    empty = empty_project(scene)
    assert "The loop begins with prompts" in as_(scene.ada).get(page(empty, "prompts")).content.decode()


def empty_project(scene: Scene) -> Scene:
    """Another project of the same people."""
    return replace(scene, project=project_create(name="Empty", by=scene.ada))


def test_the_number_of_queries_does_not_grow_with_the_prompts(
    scene: Scene, as_: As, django_assert_num_queries: Callable
) -> None:
    client = as_(scene.ada)
    with CaptureQueriesContext(connection) as few:
        client.get(page(scene, "prompts"))
    add_prompts(scene, [f"Prompt number {number}" for number in range(40)], "sft")
    with django_assert_num_queries(len(few)):
        assert len(shown(client.get(page(scene, "prompts")))) == 45


def test_paging_visits_every_prompt_once(scene: Scene, as_: As) -> None:
    add_prompts(scene, [f"Prompt number {number}" for number in range(120)], "ppo")
    client, url = as_(scene.ada), page(scene, "prompts")
    seen, query = [], "?pool=ppo"
    while query:
        response = client.get(url + query)
        seen += shown(response)
        query = response.context["page"].older
    assert len(seen) == 120 and len(set(seen)) == 120


@pytest.mark.parametrize(
    ("separated_by", "text", "texts"),
    [
        ("line", "one\r\n\r\n two \nthree", ["one", "two", "three"]),
        ("blank", "one\nmore of one\n\n\n  \ntwo", ["one\nmore of one", "two"]),
    ],
)
def test_pasted_text_is_cut_as_asked(separated_by: str, text: str, texts: list[str]) -> None:
    form = PastePromptsForm(
        {"text": text, "separated_by": separated_by, "pool": "sft", "category": "other", "language": "en"}
    )
    assert form.is_valid() and form.texts() == texts


def test_pasting_adds_what_is_new(scene: Scene, as_: As) -> None:
    text = "A new question?\nWrite two sentences about the tide."
    form = {"text": text, "separated_by": "line", "pool": "ppo", "category": "open_qa", "language": "de"}
    response = as_(scene.ada).post(page(scene, "prompts_paste"), form, follow=True)
    assert "1 prompt was added. 1 was here already." in response.content.decode()
    added = Prompt.objects.get(project=scene.project, pool="ppo")
    assert (added.text, added.category, added.language) == ("A new question?", "open_qa", "de")
    assert added.author == scene.member(scene.ada)


def test_a_bad_line_that_was_pasted_is_told(scene: Scene, as_: As) -> None:
    text = "Good one\n" + "x" * 300_000
    form = {"text": text, "separated_by": "line", "pool": "ppo", "category": "other", "language": "en"}
    response = as_(scene.ada).post(page(scene, "prompts_paste"), form)
    assert response.status_code == 422
    assert [bad["line"] for bad in response.context["rejected"]] == [2]


def test_nothing_pasted_is_refused(scene: Scene, as_: As) -> None:
    form = {"text": " \n ", "separated_by": "line", "pool": "ppo", "category": "other", "language": "en"}
    assert as_(scene.ada).post(page(scene, "prompts_paste"), form).status_code == 422


def test_who_may_not_add_does_not(scene: Scene, as_: As) -> None:
    before = Prompt.objects.count()
    for who in (scene.alice, scene.rita, scene.rob, scene.sam):
        form = {"text": "x", "separated_by": "line", "pool": "ppo", "category": "other", "language": "en"}
        assert as_(who).post(page(scene, "prompts_paste"), form).status_code == 404
    assert Prompt.objects.count() == before


def test_a_prompts_page_shows_answers_with_their_models_and_labels_under_pseudonyms(scene: Scene, as_: As) -> None:
    member = scene.member(scene.alice)
    assignment = assignment_next(labeler=member, kind="ranking")
    assert assignment is not None
    items = [
        RankedItem(response_id=response.pk, rank=place, rating=7 - place, flags=[])
        for place, response in enumerate(assignment.task.responses.all(), start=1)
    ]
    ranking_submit(
        assignment=assignment,
        items=items,
        submission_id=uuid4(),
        started_at=timezone.now(),
        active_seconds=10,
        by=member,
    )
    prompt = assignment.task.prompt
    policy = ModelFactory(project=scene.project, name="policy-seven")
    ResponseFactory(prompt=prompt, model=policy, text="The Volga.")
    response = as_(scene.rob).get(page(scene, "prompt", prompt.pk))
    text = response.content.decode()
    assert "policy-seven" in text and "The Volga." in text
    assert member.pseudonym in text and ">alice<" not in text
    [row] = response.context["rankings"]
    assert [item["rank"] for item in row["placed"]] == [1, 2, 3, 4]
    assert Ranking.objects.count() == 1


def test_a_prompt_of_another_project_is_not_there(scene: Scene, as_: As) -> None:
    other = empty_project(scene)
    prompt = Prompt.objects.filter(project=scene.project).first()
    assert prompt is not None
    assert as_(scene.ada).get(page(other, "prompt", prompt.pk)).status_code == 404
    assert as_(scene.alice).get(page(scene, "prompt", prompt.pk)).status_code == 404


def test_a_withdrawn_prompt_leaves_the_list_and_keeps_its_page(scene: Scene, as_: As) -> None:
    prompt = Prompt.objects.filter(project=scene.project, pool="sft").first()
    assert prompt is not None
    assert as_(scene.rita).post(page(scene, "prompt_withdraw", prompt.pk)).status_code == 404
    as_(scene.ada).post(page(scene, "prompt_withdraw", prompt.pk))
    assert prompt.text not in shown(as_(scene.ada).get(page(scene, "prompts")))
    assert "withdrawn" in as_(scene.ada).get(page(scene, "prompt", prompt.pk)).content.decode()
