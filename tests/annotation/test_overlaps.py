"""How many labels a task wants: drawn once, the same everywhere, in about the share that was asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.models import AuditEvent, KindSettings, Membership, Project, Task
from annotation.overlaps import Overlap, overlap_of
from annotation.selectors.queue_settings import kind_settings
from annotation.services.queue_settings import QueueSettingsError, kind_settings_update
from annotation.services.tasks import demonstration_tasks_create, ranking_tasks_create
from tests.factories import ProjectFactory, PromptFactory, ResponseFactory

SHARE = Overlap(usual=1, percent=10, sampled=3)


def drawn(overlap: Overlap, count: int = 2000, *, salt: str = "salt", kind: str = "ranking") -> list[int]:
    return [overlap_of(overlap, salt=salt, kind=kind, key=f"group {number}") for number in range(count)]


@given(st.text(), st.text(), st.integers(1, 100), st.integers(0, 100), st.integers(1, 100))
def test_a_task_is_drawn_once(salt: str, key: str, usual: int, percent: int, sampled: int) -> None:
    overlap = Overlap(usual, percent, sampled)
    wanted = overlap_of(overlap, salt=salt, kind="ranking", key=key)
    assert wanted == overlap_of(overlap, salt=salt, kind="ranking", key=key) in {usual, sampled}
    if percent in (0, 100):
        assert wanted == (sampled if percent else usual)


def test_about_a_tenth_gets_three_labels() -> None:
    assert 1600 < drawn(SHARE, 20_000).count(1) - 16_200 < 2000  # 18 000, five standard deviations are 212


def test_a_larger_share_keeps_the_sample_and_adds_to_it() -> None:
    narrow, wide = drawn(SHARE), drawn(SHARE._replace(percent=30))
    assert all(after == 3 for before, after in zip(narrow, wide, strict=True) if before == 3)
    assert wide.count(3) > narrow.count(3)


def test_projects_and_kinds_sample_different_tasks() -> None:
    assert drawn(SHARE) != drawn(SHARE, salt="another") != drawn(SHARE, kind="demonstration") != drawn(SHARE)


def test_tasks_are_made_with_the_overlap_of_their_kind_and_share(project: Project, ada: Membership) -> None:
    kind_settings_update(project=project, kind="ranking", overlap=2, sampled_percent=50, sampled_overlap=5, by=ada)
    prompts = PromptFactory.create_batch(20, project=project)
    groups = [ResponseFactory.create_batch(2, prompt=prompt) for prompt in prompts]
    assert ranking_tasks_create(project=project, groups=groups, by=ada) == 20
    assert demonstration_tasks_create(project=project, prompts=prompts, by=ada) == 20
    ranking = Task.objects.filter(kind="ranking")
    assert set(ranking.values_list("overlap", "open_slots")) == {(2, 2), (5, 5)}
    assert set(Task.objects.filter(kind="demonstration").values_list("overlap", flat=True)) == {1}
    first = {task.group_key: task.overlap for task in ranking}
    ranking.delete()  # made again, in a process of another day, the same tasks are drawn
    ranking_tasks_create(project=project, groups=groups[::-1], by=ada)
    assert {task.group_key: task.overlap for task in ranking.all()} == first
    assert set(first.values()) == {2, 5}


def test_an_overlap_asked_for_in_the_call_is_for_all(project: Project, ada: Membership) -> None:
    kind_settings_update(project=project, kind="demonstration", sampled_percent=100, sampled_overlap=5, by=ada)
    demonstration_tasks_create(project=project, prompts=[PromptFactory(project=project)], overlap=2, by=ada)
    assert Task.objects.get().overlap == 2


def test_settings_are_of_one_project_and_audited_when_they_change(project: Project, ada: Membership) -> None:
    for _ in range(2):
        kind_settings_update(project=project, kind="ranking", overlap=3, sampled_percent=0, by=ada)
    assert KindSettings.objects.count() == 1
    assert kind_settings(project)["ranking"].labels_wanted == Overlap(3, 0, 1)
    assert kind_settings(ProjectFactory())["ranking"].labels_wanted == Overlap()
    event = AuditEvent.objects.get(verb="queue.kind_settings")
    assert (event.actor, event.detail) == (ada.user, {"kind": "ranking", "overlap": 3})


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("poem", {"overlap": 1}, "no kind of task named poem"),
        ("ranking", {"overlap": 0}, "from 1 to 100"),
        ("ranking", {"sampled_percent": 101}, "from 0 to 100"),
        ("ranking", {"overlap": 2, "sampled_overlap": 101}, "from 1 to 100"),
    ],
)
def test_settings_that_cannot_be_change_nothing(
    project: Project, ada: Membership, kind: str, changes: dict[str, int], words: str
) -> None:
    with pytest.raises(QueueSettingsError, match=words):
        kind_settings_update(project=project, kind=kind, by=ada, **changes)
    assert not KindSettings.objects.exists()
