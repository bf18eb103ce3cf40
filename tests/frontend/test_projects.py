"""A project's own pages: making one, its settings, its guidelines' editor, its audit log."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from annotation.models import AuditEvent, Guideline, Membership, Project, User
from annotation.services.accounts import project_create
from annotation.services.guidelines import guideline_publish
from tests.factories import RunFactory
from tests.frontend.scene import Scene

As = Callable[[User], Client]
NUMBERS = {
    "responses_per_prompt": 4,
    "validation_percent": 5,
    "test_percent": 5,
}


def page(scene: Scene, name: str, *args: object) -> str:
    return reverse(f"frontend:{name}", args=[scene.project.slug, *args])


def test_only_the_owner_of_the_installation_makes_projects(scene: Scene, as_: As) -> None:
    url = reverse("frontend:project_new")
    assert as_(scene.ada).get(url).status_code == 404
    assert as_(scene.ada).post(url, {"name": "Mine"}).status_code == 404
    User.objects.filter(pk=scene.ada.pk).update(is_superuser=True)
    scene.ada.refresh_from_db()
    assert as_(scene.ada).get(url).status_code == 200
    form = {"name": "Support bot"} | NUMBERS
    response = as_(scene.ada).post(url, form)
    made = Project.objects.get(name="Support bot")
    assert response["Location"] == reverse("frontend:prompts", args=[made.slug])
    assert Membership.objects.get(project=made, user=scene.ada).role == "admin"


def test_the_shares_that_are_held_out_are_chosen_when_a_project_is_made(scene: Scene, as_: As) -> None:
    User.objects.filter(pk=scene.ada.pk).update(is_superuser=True)
    scene.ada.refresh_from_db()
    client, url = as_(scene.ada), reverse("frontend:project_new")
    form = {"responses_per_prompt": 4}
    client.post(url, {**form, "name": "Few", "validation_percent": 15, "test_percent": 0})
    client.post(url, {**form, "name": "Usual", "validation_percent": ""})
    shares = Project.objects.filter(name__in=["Few", "Usual"]).order_by("name")
    assert list(shares.values_list("validation_percent", "test_percent")) == [(15, 0), (5, 5)]
    response = client.post(url, {**form, "name": "All", "test_percent": 46})
    assert response.status_code == 422 and not Project.objects.filter(name="All").exists()


def test_a_project_with_a_number_out_of_range_is_refused_in_words(scene: Scene, as_: As) -> None:
    User.objects.filter(pk=scene.ada.pk).update(is_superuser=True)
    scene.ada.refresh_from_db()
    form = {"name": "Odd"} | NUMBERS | {"responses_per_prompt": 40}
    response = as_(scene.ada).post(reverse("frontend:project_new"), form)
    assert response.status_code == 422
    assert "from 2 to 16" in response.content.decode()
    assert not Project.objects.filter(name="Odd").exists()


@pytest.mark.parametrize("name", ["settings", "people", "audit", "guideline_edit", "prompts", "tokens"])
def test_a_stranger_finds_nothing(scene: Scene, as_: As, name: str) -> None:
    assert as_(scene.sam).get(page(scene, name)).status_code == 404


@pytest.mark.parametrize(
    ("name", "who"),
    [
        ("settings", {"ada"}),
        ("people", {"ada"}),
        ("audit", {"ada"}),
        ("guideline_edit", {"ada", "rita"}),
        ("prompts", {"ada", "rita", "rob"}),
        ("prompts_paste", {"ada"}),
        ("prompts_import", {"ada"}),
        ("tokens", {"ada", "rita", "rob"}),
    ],
)
def test_each_page_opens_for_the_roles_that_may(scene: Scene, as_: As, name: str, who: set[str]) -> None:
    opened = {
        person
        for person in ("alice", "rita", "ada", "rob")
        if as_(getattr(scene, person)).get(page(scene, name)).status_code == 200
    }
    assert opened == who


def test_settings_are_saved_and_written_to_the_log(scene: Scene, as_: As) -> None:
    form = {
        "name": "Tides and winds",
        "description": "New",
        "responses_per_prompt": 9,
    }
    response = as_(scene.ada).post(page(scene, "settings"), form)
    assert response.status_code == 302
    scene.project.refresh_from_db()
    assert (scene.project.name, scene.project.responses_per_prompt) == ("Tides and winds", 9)
    assert AuditEvent.objects.filter(project=scene.project, verb="project.update", actor=scene.ada).exists()


def test_bad_settings_change_nothing_and_the_page_shows_the_project_as_it_is(scene: Scene, as_: As) -> None:
    form = {"name": "", "responses_per_prompt": 40}
    response = as_(scene.ada).post(page(scene, "settings"), form)
    assert response.status_code == 422
    assert "Tides · Plackett</title>" in response.content.decode()
    scene.project.refresh_from_db()
    assert scene.project.name == "Tides"


def test_publishing_guidelines_adds_a_version(scene: Scene, as_: As) -> None:
    response = as_(scene.rita).post(page(scene, "guideline_edit"), {"body": "# Be brief", "based_on": 1})
    assert response.status_code == 302
    versions = list(Guideline.objects.filter(project=scene.project).values_list("version", flat=True))
    assert versions == [2, 1]
    assert Guideline.objects.get(project=scene.project, version=2).created_by == scene.rita


def test_a_version_published_meanwhile_is_not_overwritten_unawares(scene: Scene, as_: As) -> None:
    guideline_publish(project=scene.project, body="# Ada's", by=scene.ada)
    response = as_(scene.rita).post(page(scene, "guideline_edit"), {"body": "# Rita's", "based_on": 1})
    text = response.content.decode()
    assert response.status_code == 422
    assert "Version 2 was published while you wrote" in text and "# Rita" in text
    assert Guideline.objects.filter(project=scene.project).count() == 2
    # Sent again from that page, it is meant.
    assert 'name="based_on" value="2"' in text
    as_(scene.rita).post(page(scene, "guideline_edit"), {"body": "# Rita's", "based_on": 2})
    assert Guideline.objects.get(project=scene.project, version=3).body.startswith("# Rita")


def test_empty_guidelines_are_refused(scene: Scene, as_: As) -> None:
    response = as_(scene.rita).post(page(scene, "guideline_edit"), {"body": "  ", "based_on": 1})
    assert response.status_code == 422
    assert Guideline.objects.filter(project=scene.project).count() == 1


def test_the_preview_is_rendered_and_sanitised(scene: Scene, as_: As) -> None:
    body = "**bold** <script>alert(1)</script>"
    response = as_(scene.rita).post(page(scene, "guideline_preview"), {"body": body})
    text = response.content.decode()
    assert "<strong>bold</strong>" in text and "<script>alert" not in text
    assert as_(scene.alice).post(page(scene, "guideline_preview"), {"body": body}).status_code == 404


def test_the_log_filters_by_verb_and_day(scene: Scene, as_: As) -> None:
    guideline_publish(project=scene.project, body="# Two", by=scene.rita)
    client = as_(scene.ada)
    text = client.get(page(scene, "audit"), {"verb": "guideline."}).content.decode()
    assert "guideline.publish" in text and "member.add" not in text
    text = client.get(page(scene, "audit"), {"until": "2001-01-01"}).content.decode()
    assert "guideline.publish" not in text


def test_the_log_goes_on_over_pages_without_more_queries(
    scene: Scene, as_: As, django_assert_max_num_queries: Callable
) -> None:
    for number in range(120):
        AuditEvent.objects.create(
            project=scene.project, actor_name="x", verb=f"test.{number:03}", target_type="t", target_id="1"
        )
    client = as_(scene.ada)
    with django_assert_max_num_queries(9):
        first = client.get(page(scene, "audit")).context["page"]
    assert first.rows[0].verb == "test.119" and first.newer == ""
    second = client.get(page(scene, "audit") + first.older).context["page"]
    assert second.rows[0].verb == "test.069"
    back = client.get(page(scene, "audit") + second.newer).context["page"]
    assert [event.pk for event in back.rows] == [event.pk for event in first.rows]


def test_home_says_what_waits_in_each_project(scene: Scene, as_: As, django_assert_max_num_queries: Callable) -> None:
    other = project_create(name="Winds", by=scene.ada)
    RunFactory(project=other, state="queued")
    client = as_(scene.ada)
    with django_assert_max_num_queries(7):
        text = client.get(reverse("frontend:home")).content.decode()
    assert "3 prompts wait for an answer" in text and "2 groups of answers wait to be ranked" in text
    assert "1 run goes on" in text
