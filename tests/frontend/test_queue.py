"""The lead's pages about the queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.test import Client

from annotation.models import AuditEvent, TaskKind, User
from annotation.selectors.queue_settings import kind_settings
from tests.frontend.scene import Scene

As = Callable[[User], Client]
DEFAULTS = {"overlap": 1, "sampled_percent": 0, "sampled_overlap": 1}


def address(scene: Scene, tail: str = "policy/") -> str:
    return f"/p/{scene.project.slug}/queue/{tail}"


def form(**changes: Any) -> dict[str, Any]:
    """The policy form as it stands, with changes such as `ranking__overlap=3`."""
    filled = {f"{kind}-{name}": value for kind in TaskKind.values for name, value in DEFAULTS.items()}
    return filled | {name.replace("__", "-"): value for name, value in changes.items()}


def test_a_reviewer_reads_and_changes_how_many_labels_tasks_want(as_: As, scene: Scene) -> None:
    client = as_(scene.rita)
    changed = form(ranking__overlap=2, ranking__sampled_percent=10, ranking__sampled_overlap=5)
    assert client.post(address(scene), changed).url == address(scene)
    page = client.get(address(scene)).content.decode()
    assert 'name="ranking-sampled_overlap" value="5"' in page and "have been saved" in page
    settings = kind_settings(scene.project)
    assert settings["ranking"].labels_wanted == (2, 10, 5) and settings["demonstration"].labels_wanted == (1, 0, 1)
    assert AuditEvent.objects.get(verb="queue.kind_settings").actor == scene.rita


def test_a_number_out_of_range_is_named_and_nothing_changes(as_: As, scene: Scene) -> None:
    response = as_(scene.ada).post(address(scene), form(ranking__overlap=3, demonstration__overlap=0))
    assert response.status_code == 422
    page = response.content.decode()
    assert 'aria-invalid="true"' in page and 'name="ranking-overlap" value="3"' in page
    assert kind_settings(scene.project)["ranking"].overlap == 1
