"""What keeps tasks from a labeler: the lead's limits, the labeler's own opt-outs; and the words that say so."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from annotation.models import Assignment, AuditEvent, Membership, Project, Task
from annotation.selectors.limits import labelers_today, left_today
from annotation.selectors.nothing import reasons_for_nothing
from annotation.selectors.queue import waiting_for
from annotation.services.limits import (
    LimitError,
    declined_topics_set,
    language_codes,
    member_limits_set,
    prompt_topics_set,
)
from annotation.services.queue import assignment_next
from annotation.services.queue_settings import QueueSettingsError, kind_settings_update, queue_policy_update
from annotation.services.tasks import demonstration_tasks_create
from tests.annotation.test_queue import submit
from tests.factories import MembershipFactory, PromptFactory, RankingTaskFactory, ResponseFactory, TaskFactory, lease


def only_reason(labeler: Membership) -> str:
    assert assignment_next(labeler=labeler) is None
    (reason,) = reasons_for_nothing(labeler)
    return reason


# --- A day's limit ---------------------------------------------------------------------------------


def test_a_days_limit_stops_new_tasks_and_lets_the_one_in_hand_be_finished(
    project: Project, ada: Membership, alice: Membership, bob: Membership
) -> None:
    TaskFactory.create_batch(4, prompt__project=project)
    member_limits_set(membership=alice, daily_limit=2, languages=[], by=ada)
    submit(lease(alice))
    held = lease(alice)
    Assignment.objects.filter(pk=held.pk).update(status="expired", slot=None)
    Task.objects.filter(pk=held.task_id).update(open_slots=1)
    submit(lease(alice))
    assert left_today(alice) == 0 and waiting_for(alice)["demonstration"] == 0
    assert "the 2 tasks" in only_reason(alice)
    assert lease(bob).task.kind == "demonstration"


def test_yesterdays_labels_do_not_count(project: Project, ada: Membership, alice: Membership) -> None:
    TaskFactory.create_batch(2, prompt__project=project)
    member_limits_set(membership=alice, daily_limit=1, languages=[], by=ada)
    submit(lease(alice))
    Assignment.objects.update(ended_at=timezone.now() - timedelta(days=1, minutes=1))
    assert left_today(alice) == 1
    assert lease(alice)


def test_a_labelers_own_limit_comes_before_the_projects(
    project: Project, ada: Membership, alice: Membership, bob: Membership
) -> None:
    queue_policy_update(project=project, daily_limit=1, by=ada)
    member_limits_set(membership=alice, daily_limit=5, languages=[], by=ada)
    assert (left_today(alice), left_today(bob)) == (5, 1)
    queue_policy_update(project=project, daily_limit=None, by=ada)
    assert left_today(bob) is None
    with pytest.raises(QueueSettingsError, match="from 1"):
        queue_policy_update(project=project, daily_limit=0, by=ada)


def test_who_labels_today_is_listed_in_one_query(project: Project, alice: Membership, rita: Membership) -> None:
    TaskFactory.create_batch(2, prompt__project=project)
    submit(lease(alice))
    MembershipFactory(project=project, is_active=False)
    with CaptureQueriesContext(connection) as captured:
        assert list(labelers_today(project)) == [(alice, 1)]
    assert len(captured) == 1


# --- Languages -------------------------------------------------------------------------------------


def test_a_labeler_gets_tasks_in_their_languages_alone(project: Project, ada: Membership, alice: Membership) -> None:
    prompts = [PromptFactory(project=project, language=language) for language in ("en", "zh", "de")]
    demonstration_tasks_create(project=project, prompts=prompts, by=ada)
    member_limits_set(membership=alice, daily_limit=None, languages=["zh", "fr"], by=ada)
    assert waiting_for(alice)["demonstration"] == 1
    assignment = lease(alice)
    assert assignment.task.prompt.language == "zh"
    submit(assignment)
    assert "languages that you don't work in" in only_reason(alice)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"daily_limit": 0, "languages": []}, "from 1 to 10000"),
        ({"daily_limit": None, "languages": ["english please"]}, "no language code"),
    ],
)
def test_limits_that_cannot_be_are_refused(
    ada: Membership, alice: Membership, limits: dict[str, object], words: str
) -> None:
    with pytest.raises(LimitError, match=words):
        member_limits_set(membership=alice, by=ada, **limits)
    alice.refresh_from_db()
    assert (alice.daily_limit, alice.languages) == (None, [])


def test_limits_are_audited(ada: Membership, alice: Membership) -> None:
    member_limits_set(membership=alice, daily_limit=3, languages=["zh", "en", "en"], by=ada)
    event = AuditEvent.objects.get(verb="member.limits")
    assert (event.actor, event.detail) == (ada.user, {"daily_limit": 3, "languages": ["en", "zh"]})
    assert language_codes(" en, zh-Hans；de ") == ["en", "zh-Hans", "de"]


# --- Topics ----------------------------------------------------------------------------------------


def test_nobody_gets_a_topic_that_they_opted_out_of(
    project: Project, ada: Membership, alice: Membership, bob: Membership
) -> None:
    task = TaskFactory(prompt__project=project)
    prompt_topics_set(prompt=task.prompt, topics=["violence", "politics"], by=ada)
    declined_topics_set(membership=alice, topics=["religion", "violence"])
    assert waiting_for(alice)["demonstration"] == 0
    assert "topics that you opted out of" in only_reason(alice)
    declined_topics_set(membership=alice, topics=["religion"])
    assert waiting_for(alice)["demonstration"] == 1
    declined_topics_set(membership=bob, topics=["violence"])
    prompt_topics_set(prompt=task.prompt, topics=["politics"], by=ada)
    assert lease(bob).task == task
    assert [row.topic for row in task.prompt.topics.all()] == ["politics"]


def test_the_log_says_that_somebody_opted_out_and_not_of_what(alice: Membership) -> None:
    declined_topics_set(membership=alice, topics=["sexual"])
    assert AuditEvent.objects.get(verb="member.decline_topics").detail == {}
    with pytest.raises(LimitError, match="no topic"):
        declined_topics_set(membership=alice, topics=["mondays"])


# --- Why there is nothing --------------------------------------------------------------------------


def test_an_empty_queue_has_no_reason_of_ones_own(alice: Membership) -> None:
    assert reasons_for_nothing(alice) == []


def test_what_others_have_in_hand_is_said(project: Project, alice: Membership, bob: Membership) -> None:
    TaskFactory(prompt__project=project)
    lease(bob)
    assert "Others are working" in only_reason(alice)


def test_a_kind_that_is_not_handed_out_is_said(project: Project, ada: Membership, alice: Membership) -> None:
    TaskFactory(prompt__project=project)
    kind_settings_update(project=project, kind="demonstration", weight=0, by=ada)
    assert waiting_for(alice)["demonstration"] == 0
    assert "another kind" in only_reason(alice)


def test_an_answer_of_ones_own_is_said(project: Project, alice: Membership) -> None:
    prompt = PromptFactory(project=project)
    RankingTaskFactory(
        prompt=prompt, answers=[ResponseFactory(prompt=prompt, author=alice), ResponseFactory(prompt=prompt)]
    )
    assert "an answer of yours" in only_reason(alice)


def test_two_hurdles_at_once_are_not_blamed_on_one(project: Project, ada: Membership, alice: Membership) -> None:
    task = TaskFactory(prompt__project=project, prompt__language="de")
    prompt_topics_set(prompt=task.prompt, topics=["health"], by=ada)
    declined_topics_set(membership=alice, topics=["health"])
    member_limits_set(membership=alice, daily_limit=None, languages=["en"], by=ada)
    assert reasons_for_nothing(alice) == []
