"""Comparing two models and correcting one's answers: the lead's page, the labeler's page, and the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from annotation.models import Assignment, Demonstration, Ranking, Task, User
from tests.factories import ModelFactory, PromptFactory, ResponseFactory
from tests.frontend.scene import Scene
from training.models import Model

As = Callable[[User], Client]


@pytest.fixture
def models(scene: Scene) -> list[Model]:
    models = [ModelFactory(project=scene.project, name=name) for name in ("first-policy", "second-policy")]
    for prompt in PromptFactory.create_batch(2, project=scene.project):
        for model in models:
            ResponseFactory(prompt=prompt, model=model)
    return models


def hand_out(as_: As, scene: Scene, models: list[Model], **more: Any) -> Any:
    form = {"first": models[0].pk, "second": models[1].pk, "limit": 10} | more
    return as_(scene.rita).post(f"/p/{scene.project.slug}/queue/comparisons/", form)


def test_a_lead_hands_comparisons_out_and_reads_what_came_of_them(as_: As, scene: Scene, models: list[Model]) -> None:
    assert hand_out(as_, scene, models).status_code == 302
    assert Task.objects.filter(kind="comparison").count() == 2
    client = as_(scene.alice)
    client.post(f"/p/{scene.project.slug}/label/", {"kind": "comparison"})
    assignment = Assignment.objects.get()
    page = client.get(f"/p/{scene.project.slug}/label/{assignment.pk}/").content.decode()
    assert "Compare the two answers" in page and "first-policy" not in page and str(models[0].pk) not in page
    refused = client.post(f"/p/{scene.project.slug}/label/{assignment.pk}/", {})
    assert refused.status_code == 422 and "Say which answer is better" in refused.content.decode()
    client.post(f"/p/{scene.project.slug}/label/{assignment.pk}/", {"choice": "b"})
    ranks = Ranking.objects.get().ranked_responses.order_by("position").values_list("rank", flat=True)
    assert list(ranks) == [2, 1]
    again = client.get(f"/p/{scene.project.slug}/label/{assignment.pk}/").content.decode()
    assert 'value="b" checked' in again
    report = as_(scene.rita).get(f"/p/{scene.project.slug}/queue/comparisons/").content.decode()
    assert "first-policy" in report and ("100.0 %" in report or "0.0 %" in report)


def test_a_half_made_choice_is_a_draft(as_: As, scene: Scene, models: list[Model]) -> None:
    hand_out(as_, scene, models)
    client = as_(scene.alice)
    client.post(f"/p/{scene.project.slug}/label/", {"kind": "comparison"})
    assignment = Assignment.objects.get()
    client.post(f"/p/{scene.project.slug}/label/{assignment.pk}/draft/", {"choice": "tie", "text": "no"})
    assignment.refresh_from_db()
    assert assignment.draft == {"choice": "tie"}
    assert 'value="tie" checked' in client.get(f"/p/{scene.project.slug}/label/{assignment.pk}/").content.decode()


def test_a_model_is_not_compared_with_itself_nor_with_anothers(as_: As, scene: Scene, models: list[Model]) -> None:
    response = hand_out(as_, scene, models, second=models[0].pk)
    assert response.status_code == 422 and "not compared with itself" in response.content.decode()
    assert hand_out(as_, scene, models, second=ModelFactory().pk).status_code == 422
    assert not Task.objects.filter(kind="comparison").exists()


def test_a_program_hands_out_compares_and_reads(as_: As, scene: Scene, models: list[Model]) -> None:
    url, json = f"/api/v1/projects/{scene.project.slug}", {"content_type": "application/json"}
    asked = {"first": str(models[0].pk), "second": str(models[1].pk)}
    assert as_(scene.rita).post(f"{url}/comparisons/", asked, **json).json() == {"tasks": 2}
    unknown = as_(scene.rita).post(f"{url}/comparisons/", asked | {"second": str(ModelFactory().pk)}, **json)
    assert unknown.status_code == 400
    Task.objects.exclude(kind="comparison").update(state="withdrawn")
    task = as_(scene.alice).post(f"{url}/tasks/next/").json()
    assert task["kind"] == "comparison" and len(task["responses"]) == 2
    items = [{"response_id": row["id"], "rank": rank} for row, rank in zip(task["responses"], (1, 1), strict=True)]
    label = {"submission_id": task["id"], "started_at": "2026-01-01T00:00:00Z", "active_seconds": 1, "items": items}
    assert as_(scene.alice).post(f"{url}/assignments/{task['id']}/submit/", label, **json).status_code == 201
    (result,) = as_(scene.rita).get(f"{url}/comparisons/").json()["results"]
    assert (result["ties"], result["first_wins"], result["second_wins"], result["win_rate"]) == (1, 0, 0, 0.5)


# --- Corrections -----------------------------------------------------------------------------------


def test_an_answer_is_corrected_from_what_the_model_wrote(as_: As, scene: Scene, models: list[Model]) -> None:
    url = f"/p/{scene.project.slug}"
    form = {"model": models[0].pk, "limit": 1}
    page = as_(scene.rita).post(f"{url}/queue/corrections/", form, follow=True).content.decode()
    assert "1 new task corrects its answers." in page
    client = as_(scene.alice)
    client.post(f"{url}/label/", {"kind": "correction"})
    assignment = Assignment.objects.get()
    original = assignment.task.responses.get()
    address = f"{url}/label/{assignment.pk}/"
    page = client.get(address).content.decode()
    assert "Correct the answer" in page and f">\n{original.text}</textarea>" in page and "first-policy" not in page
    refused = client.post(address, {"text": original.text})
    assert refused.status_code == 422 and "changed nothing" in refused.content.decode()
    client.post(address, {"text": "Quite another answer."})
    label = Demonstration.objects.get()
    assert (label.response.text, label.corrects) == ("Quite another answer.", original)
    assert "Quite another answer.</textarea>" in client.get(address).content.decode()


def test_corrections_of_nothing_are_refused_in_words(as_: As, scene: Scene, models: list[Model]) -> None:
    idle = ModelFactory(project=scene.project)
    for form in ({"model": idle.pk, "limit": 1}, {"model": ModelFactory().pk, "limit": 1}, {"limit": 0}):
        page = as_(scene.rita).post(f"/p/{scene.project.slug}/queue/corrections/", form, follow=True).content.decode()
        assert "notice-error" in page
    assert not Task.objects.filter(kind="correction").exists()


def test_a_program_hands_out_and_submits_a_correction(as_: As, scene: Scene, models: list[Model]) -> None:
    url, json = f"/api/v1/projects/{scene.project.slug}", {"content_type": "application/json"}
    asked = {"model": str(models[0].pk)}
    assert as_(scene.rita).post(f"{url}/corrections/", asked, **json).json() == {"tasks": 2}
    Task.objects.exclude(kind="correction").update(state="withdrawn")
    task = as_(scene.alice).post(f"{url}/tasks/next/").json()
    assert (task["kind"], len(task["responses"])) == ("correction", 1)
    label = {"submission_id": task["id"], "started_at": "2026-01-01T00:00:00Z", "active_seconds": 1, "text": "Better."}
    assert as_(scene.alice).post(f"{url}/assignments/{task['id']}/submit/", label, **json).status_code == 201
    assert Demonstration.objects.get().corrects_id is not None
