"""How the queue does: worked examples of the figures, and that reading them costs the same on large tables."""

from __future__ import annotations

import statistics
import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from annotation.models import Demonstration, Membership, Project
from annotation.pace import days_left, pace, quantile
from annotation.selectors.health import DAYS_SHOWN, KindHealth, queue_health
from annotation.services.labels import demonstration_submit
from annotation.services.queue_settings import kind_settings_update
from tests.factories import MembershipFactory, RankingTaskFactory, TaskFactory, lease

# --- Pure ------------------------------------------------------------------------------------------


def test_quantiles_by_hand() -> None:
    assert quantile([], 0.5) is None
    assert quantile([7], 0.9) == 7
    assert quantile([4, 1, 3, 2], 0.5) == 2.5
    assert quantile(range(11), 0.9) == 9


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_the_median_is_the_median(values: list[float]) -> None:
    assert quantile(values, 0.5) == pytest.approx(statistics.median(values))


def test_pace_is_the_mean_of_a_week_or_since_the_first_day() -> None:
    assert pace([0] * 7 + [7, 0, 0, 0, 0, 0, 0]) == 7 / 7
    assert pace([9] + [0] * 6 + [0, 0, 0, 0, 0, 6, 8]) == 14 / 7  # begun long ago: idle days count
    assert pace([0] * 12 + [6, 8]) == 14 / 2  # begun yesterday
    assert pace([5] + [0] * 13) == pace([]) == pace([0] * 14) == 0


def test_days_left_by_hand() -> None:
    assert [days_left(21, 10.0), days_left(20, 10.0), days_left(0, 0.0), days_left(-5, 1.0)] == [3, 2, 0, 0]
    assert days_left(1, 0.0) is None


# --- On the tables ---------------------------------------------------------------------------------


def health_of(project: Project, kind: str = "demonstration") -> KindHealth:
    _days, kinds = queue_health(project)
    return next(row for row in kinds if row.kind == kind)


def submit(labeler: Membership, seconds: float, days_ago: int = 0) -> Demonstration:
    assignment = lease(labeler, "demonstration")
    label = demonstration_submit(
        assignment=assignment,
        text="an answer",
        submission_id=uuid.uuid4(),
        started_at=None,
        active_seconds=seconds,
        by=labeler,
    )
    moment = timezone.now() - timedelta(days=days_ago)
    Demonstration.objects.filter(pk=label.pk).update(submitted_at=moment)
    return label


def test_the_figures_of_a_project(project: Project, ada: Membership, alice: Membership, bob: Membership) -> None:
    TaskFactory.create_batch(5, prompt__project=project, prompt__category="chat", overlap=2)
    TaskFactory.create_batch(2, prompt__project=project, prompt__category="rewrite")
    TaskFactory(prompt__project=project, state="withdrawn")
    RankingTaskFactory(prompt__project=project)
    for seconds, days_ago in ((10, 1), (30, 0), (20, 0)):
        submit(alice, seconds, days_ago)
    lease(bob, "demonstration")
    found = health_of(project)
    assert found.a_day == [0] * (DAYS_SHOWN - 2) + [1, 2] and found.pace == 1.5
    assert (found.median_seconds, found.p90_seconds) == (20, 28)
    assert (found.waiting, found.in_work, found.labels) == (8, 1, 3)
    assert sum(found.backlog.values()) == 8 and set(found.backlog) <= {"chat", "rewrite"}
    assert found.days_left == 6  # nine labels at one and a half a day
    kind_settings_update(project=project, kind="demonstration", target_labels=100, by=ada)
    assert health_of(project).days_left == 65  # 97 more
    ranking = health_of(project, "ranking")
    assert (ranking.waiting, ranking.median_seconds, ranking.days_left) == (1, None, None)


@pytest.mark.parametrize("origin", ["imported", "simulated"])
def test_edits_and_labels_that_nobody_made_here_are_no_pace(project: Project, alice: Membership, origin: str) -> None:
    TaskFactory.create_batch(2, prompt__project=project)
    label = submit(alice, 10)
    demonstration_submit(
        assignment=label.assignment,
        text="better",
        submission_id=uuid.uuid4(),
        started_at=None,
        active_seconds=900,
        by=alice,
    )
    other = submit(alice, 10_000)
    Demonstration.objects.filter(pk=other.pk).update(origin=origin)
    found = health_of(project)
    assert (found.a_day[-1], found.median_seconds) == (1, 10)


def test_another_projects_queue_is_not_counted(project: Project, alice: Membership) -> None:
    TaskFactory(prompt__project=project)
    submit(alice, 5)
    other = MembershipFactory().project
    assert health_of(other).a_day[-1] == 0 and health_of(other).waiting == 0


def test_the_page_costs_the_same_whatever_there_is(project: Project, alice: Membership) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            queue_health(project)
        return len(captured)

    few = queries()
    TaskFactory.create_batch(20, prompt__project=project)
    for _ in range(10):
        submit(alice, 1)
    assert queries() == few <= 9
