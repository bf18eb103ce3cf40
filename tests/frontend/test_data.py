"""Labels to look at: the list with its filters, and one label beside everyone else's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotation.models import Ranking, Task, User
from annotation.selectors.forms import form_current
from annotation.services.forms import form_publish
from tests.frontend.scene import Scene, add_ranking_tasks
from tests.training.labels import rank_everything

As = Callable[[User], Client]


@pytest.fixture
def ranked(scene: Scene) -> Scene:
    """Both groups ranked by alice and by bob, who disagree."""
    Task.objects.filter(kind="ranking").update(overlap=2, open_slots=2)
    rank_everything(scene.member(scene.alice), lambda response: len(response.text))
    rank_everything(scene.member(scene.bob), lambda response: -len(response.text))
    return scene


def rows(scene: Scene, client: Client, kind: str = "rankings", **asked: str) -> list[Ranking]:
    answer = client.get(reverse("frontend:data_labels", args=[scene.project.slug, kind]), asked)
    assert answer.status_code == 200
    return list(answer.context["page"].rows)


def test_labels_are_found_by_who_made_them_and_by_the_prompt(ranked: Scene, as_: As) -> None:
    client, alice = as_(ranked.rita), ranked.member(ranked.alice)
    assert len(rows(ranked, client)) == 4
    assert {label.labeler for label in rows(ranked, client, labeler=alice.pseudonym)} == {alice}
    assert {label.prompt.text for label in rows(ranked, client, text="rivers")} == {"Name three rivers of Europe."}
    assert rows(ranked, client, flag="hallucination") == [] == rows(ranked, client, origin="imported")
    assert len(rows(ranked, client, origin="nonsense", category="nonsense")) == 4
    assert rows(ranked, client, "demonstrations") == []
    assert client.get(reverse("frontend:data_labels", args=[ranked.project.slug, "dreams"])).status_code == 404


def test_a_label_stands_beside_what_everyone_said(ranked: Scene, as_: As) -> None:
    label = Ranking.objects.filter(labeler=ranked.member(ranked.alice)).earliest("id")
    url = reverse("frontend:data_label", args=[ranked.project.slug, "rankings", label.pk])
    answer = as_(ranked.rita).get(url)
    text = answer.content.decode()
    for person in (ranked.alice, ranked.bob):
        assert ranked.member(person).pseudonym in text and f">{person.username}<" not in text
    said = [[item["rank"] for item in row["said"]] for row in answer.context["answers"]]
    assert all(sorted(pair) in ([1, 4], [2, 3]) for pair in said) and len(said) == 4


def test_flags_and_ratings_are_told_in_the_words_and_on_the_scale_of_their_form(ranked: Scene, as_: As) -> None:
    own = [{"key": "too_long", "label": "Goes on and on"}]
    fields = form_current(ranked.project).fields | {"own_flags": own, "rating": {"minimum": 1, "maximum": 5}}
    form = form_publish(project=ranked.project, fields=fields, based_on=1, by=ranked.ada)
    label = Ranking.objects.filter(labeler=ranked.member(ranked.alice)).earliest("id")
    Ranking.objects.filter(pk=label.pk).update(form=form)
    label.ranked_responses.update(rating=4, flags=["too_long", "hallucination"])
    client = as_(ranked.rita)
    beside = client.get(reverse("frontend:data_label", args=[ranked.project.slug, "rankings", label.pk]))
    alone = client.get(reverse("frontend:prompt", args=[ranked.project.slug, label.prompt_id]))
    for text in (beside.content.decode(), alone.content.decode()):
        assert "Goes on and on; Makes something up" in text
    assert "4/5" in beside.content.decode()


def test_the_list_asks_as_much_for_many_as_for_few(ranked: Scene, as_: As, django_assert_num_queries: Callable) -> None:
    client = as_(ranked.rita)
    with CaptureQueriesContext(connection) as few:
        rows(ranked, client)
    add_ranking_tasks(ranked, [f"Name sea number {number}." for number in range(4)])
    rank_everything(ranked.member(ranked.alice), lambda response: len(response.text))
    with django_assert_num_queries(len(few)):
        assert len(rows(ranked, client)) == 8
