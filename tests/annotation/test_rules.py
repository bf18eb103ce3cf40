"""What labelers work under is kept in memory, and is never what it was before."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from annotation.fields import default_ranking_fields
from annotation.models import Membership, Project
from annotation.selectors.rules import Rules, rules_of
from annotation.services.forms import form_publish
from annotation.services.guidelines import guideline_publish
from annotation.services.queue_settings import kind_settings_update, queue_policy_update


def anew(project: Project) -> Project:
    """The project as the next request reads it, in whichever process."""
    return Project.objects.get(pk=project.pk)


def ranking_weight(rules: Rules) -> int:
    return rules.policy.weight("ranking")


def test_they_are_read_once(project: Project, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(3):
        first = rules_of(project)
    with django_assert_num_queries(1):  # the project
        assert rules_of(anew(project)) is first


def test_a_form_a_guideline_and_both_queue_settings_are_there_at_once(project: Project, ada: Membership) -> None:
    before = rules_of(anew(project))
    fields = default_ranking_fields() | {"allow_ties": False}
    form = form_publish(project=anew(project), fields=fields, based_on=1, by=ada)
    assert rules_of(anew(project)).forms == (form, *before.forms)
    guideline = guideline_publish(project=anew(project), body="Be brief.", by=ada)
    assert rules_of(anew(project)).guidelines == (guideline, *before.guidelines)
    kind_settings_update(project=anew(project), kind="ranking", weight=7, by=ada)
    assert ranking_weight(rules_of(anew(project))) == 7
    queue_policy_update(project=anew(project), daily_limit=3, quotas={}, by=ada)
    policy = rules_of(anew(project)).policy
    assert (policy.daily_limit, policy.quotas, policy.weight("ranking")) == (3, {}, 7)


def test_whoever_publishes_sees_it_on_the_project_in_hand(project: Project, ada: Membership) -> None:
    assert ranking_weight(rules_of(project)) == 1
    kind_settings_update(project=project, kind="ranking", weight=5, by=ada)
    assert ranking_weight(rules_of(project)) == 5


def test_what_was_rolled_back_is_not_taken_for_what_came_after(project: Project, ada: Membership) -> None:
    """Counted versions would meet here: the second change would find what is kept of the first."""
    with pytest.raises(RuntimeError), transaction.atomic():
        kind_settings_update(project=anew(project), kind="ranking", weight=5, by=ada)
        assert ranking_weight(rules_of(anew(project))) == 5
        raise RuntimeError
    assert ranking_weight(rules_of(anew(project))) == 1
    kind_settings_update(project=anew(project), kind="ranking", weight=9, by=ada)
    assert ranking_weight(rules_of(anew(project))) == 9


def test_setting_what_is_set_already_reads_nothing_anew(project: Project, ada: Membership) -> None:
    kind_settings_update(project=project, kind="ranking", weight=5, by=ada)
    kept = rules_of(anew(project))
    kind_settings_update(project=anew(project), kind="ranking", weight=5, by=ada)
    assert rules_of(anew(project)) is kept


def test_projects_have_their_own(project: Project, ada: Membership) -> None:
    other = Project.objects.create(slug="other", name="Other")
    kind_settings_update(project=project, kind="ranking", weight=5, by=ada)
    assert (ranking_weight(rules_of(anew(other))), rules_of(other).forms) == (1, ())
