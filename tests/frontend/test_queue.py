"""The lead's pages about the queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.test import Client

from annotation.models import AuditEvent, Task, TaskKind, User
from annotation.policy import INSTRUCTGPT_QUOTAS
from annotation.selectors.queue_settings import kind_settings, queue_policy
from annotation.services.queue import assignment_skip
from annotation.services.queue_settings import kind_settings_update, queue_policy_update
from tests.factories import lease
from tests.frontend.scene import Scene

As = Callable[[User], Client]
DEFAULTS = {"weight": 1, "overlap": 1, "sampled_percent": 0, "sampled_overlap": 1, "target_labels": ""}


def address(scene: Scene, tail: str = "policy/") -> str:
    return f"/p/{scene.project.slug}/queue/{tail}"


def form(**changes: Any) -> dict[str, Any]:
    """The policy form as it stands, with changes such as `ranking__overlap=3`."""
    filled = {f"{kind}-{name}": value for kind in TaskKind.values for name, value in DEFAULTS.items()}
    filled |= {f"quota-{category}": share for category, share in INSTRUCTGPT_QUOTAS.items()} | {"review_after_skips": 3}
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


def test_quotas_and_weights_are_changed_and_what_is_lacking_is_shown(as_: As, scene: Scene) -> None:
    client = as_(scene.ada)
    changed = form(demonstration__weight=4, quota__generation=0, quota__other=60) | {"uncertain_first": "on"}
    assert client.post(address(scene), changed).status_code == 302
    row = queue_policy(scene.project)
    assert row.uncertain_first and "generation" not in row.quotas and row.quotas["other"] == 60
    assert kind_settings(scene.project)["demonstration"].weight == 4
    lease(scene.member(scene.alice))
    page = client.get(address(scene)).content.decode()
    assert 'name="quota-other" value="60.0"' in page and "100.0 %" in page
    assert AuditEvent.objects.filter(verb="queue.policy").count() == 1


def test_a_wrong_quota_is_named_beside_its_field(as_: As, scene: Scene) -> None:
    response = as_(scene.ada).post(address(scene), form(quota__chat=101))
    assert response.status_code == 422 and 'id="id_quota-chat_error"' in response.content.decode()
    assert queue_policy(scene.project).pk is None


def test_what_is_skipped_often_is_decided_by_a_reviewer(as_: As, scene: Scene) -> None:
    queue_policy_update(project=scene.project, review_after_skips=1, by=scene.ada)
    labeler = scene.member(scene.alice)
    tasks = []
    for note in ("Which tide?", "Is this a joke?"):
        assignment = lease(labeler)
        assignment_skip(assignment=assignment, reason="unclear", note=note, by=labeler)
        tasks.append(assignment.task)
    client = as_(scene.rita)
    page = client.get(address(scene, "review/")).content.decode()
    assert "Which tide?" in page and "too unclear" in page and labeler.pseudonym in page and "alice" not in page
    assert client.post(address(scene, f"review/{tasks[0].pk}/"), {"decision": "put_back"}).status_code == 302
    client.post(address(scene, f"review/{tasks[1].pk}/"), {"decision": "withdraw"})
    assert [Task.objects.get(pk=task.pk).state for task in tasks] == ["open", "withdrawn"]
    page = client.get(address(scene, "review/")).content.decode()
    assert "Nothing was skipped often" in page


def test_a_program_reads_and_changes_the_policy(as_: As, scene: Scene) -> None:
    client, url = as_(scene.rita), f"/api/v1/projects/{scene.project.slug}/queue/policy/"
    kinds = [{"kind": "ranking", "weight": 5, "sampled_percent": 10, "sampled_overlap": 3}]
    answer = client.patch(url, {"kinds": kinds, "quotas": {"chat": 1}}, content_type="application/json")
    assert answer.status_code == 200 and answer.json() == client.get(url).json()
    found = {row["kind"]: row for row in answer.json()["kinds"]}
    assert (
        found["ranking"] == kinds[0] | {"overlap": 1, "target_labels": None} and found["demonstration"]["weight"] == 1
    )
    assert answer.json()["quotas"] == {"chat": 1.0} and answer.json()["review_after_skips"] == 3
    refused = client.patch(url, {"kinds": kinds, "quotas": {"poems": 1}}, content_type="application/json")
    assert refused.status_code == 400 and "no category poems" in refused.json()["detail"]


def test_a_program_sends_a_reward_models_scores(as_: As, scene: Scene) -> None:
    task = Task.objects.filter(kind="ranking").first()
    scores = {str(response.pk): place / 10 for place, response in enumerate(task.responses.all())}
    url = f"/api/v1/projects/{scene.project.slug}/queue/scores/"
    assert as_(scene.rita).post(url, {"scores": scores}, content_type="application/json").json() == {"tasks": 1}
    task.refresh_from_db()
    assert 0.9 < task.uncertainty < 1
    wrong = as_(scene.rita).post(url, {"scores": {"x": 1}}, content_type="application/json")
    assert wrong.status_code == 400


# --- Limits ----------------------------------------------------------------------------------------


def test_a_lead_sets_a_labelers_limits(as_: As, scene: Scene) -> None:
    client, alice = as_(scene.rita), scene.member(scene.alice)
    page = client.get(address(scene, "limits/")).content.decode()
    assert alice.pseudonym in page and "alice" not in page
    assert scene.member(scene.rob).pseudonym not in page, "a researcher labels nothing"
    assert page.count("limits-form") == 4
    client.post(address(scene, f"limits/{alice.pk}/"), {"daily_limit": "7", "languages": "en, zh-Hans"})
    alice.refresh_from_db()
    assert (alice.daily_limit, alice.languages) == (7, ["en", "zh-Hans"])
    page = client.post(address(scene, f"limits/{alice.pk}/"), {"daily_limit": "0"}, follow=True).content.decode()
    assert "notice-error" in page and 'value="7"' in page
    assert "alice" in as_(scene.ada).get(address(scene, "limits/")).content.decode()


def test_a_labeler_opts_out_and_is_told_why_nothing_comes(as_: As, scene: Scene) -> None:
    Task.objects.exclude(pk=Task.objects.filter(kind="demonstration")[0].pk).update(state="withdrawn")
    prompt = Task.objects.get(state="open").prompt
    url = f"/p/{scene.project.slug}"
    as_(scene.rita).post(f"{url}/prompts/{prompt.pk}/topics/", {"topics": ["politics"]})
    assert "Politics" in as_(scene.rita).get(f"{url}/prompts/{prompt.pk}/").content.decode()
    client = as_(scene.alice)
    assert client.post(f"{url}/topics/", {"topics": ["politics"]}).url == f"{url}/label/"
    assert 'value="politics" id="id_topics_6" checked' in client.get(f"{url}/topics/").content.decode()
    page = client.get(f"{url}/label/").content.decode()
    assert "No task for you now" in page and "topics that you opted out of" in page
    assert client.post(f"{url}/topics/", {"topics": ["mondays"]}).status_code == 422


# --- The overview ----------------------------------------------------------------------------------


def test_the_lead_sees_backlog_pace_and_target(as_: As, scene: Scene) -> None:
    kind_settings_update(project=scene.project, kind="ranking", target_labels=1234, by=scene.ada)
    page = as_(scene.rita).get(address(scene, "")).content.decode()
    assert "Days to 1,234 labels" in page and "Days until none is left" in page and "no labels in the last week" in page
    answer = as_(scene.rita).get(f"/api/v1/projects/{scene.project.slug}/queue/").json()
    kinds = {row["kind"]: row for row in answer["kinds"]}
    assert len(answer["days"]) == 14
    assert kinds["demonstration"]["waiting"] == 3 and kinds["demonstration"]["backlog"] == {"other": 3}
    assert kinds["ranking"] | {"backlog": {}, "a_day": []} == {
        "kind": "ranking",
        "waiting": 2,
        "in_work": 0,
        "labels": 0,
        "backlog": {},
        "a_day": [],
        "pace": 0,
        "median_seconds": None,
        "p90_seconds": None,
        "target_labels": 1234,
        "days_left": None,
    }
