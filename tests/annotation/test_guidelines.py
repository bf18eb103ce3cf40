from __future__ import annotations

import pytest

from annotation.errors import PlackettError
from annotation.models import Guideline, Membership, Project
from annotation.selectors.guidelines import form_current, guidelines_current
from annotation.services.guidelines import guideline_publish
from tests.factories import ProjectFactory


def test_each_change_is_a_version_and_the_same_text_is_none(project: Project, ada: Membership) -> None:
    second = guideline_publish(project=project, body="Be brief.\r\nBe kind.", by=ada)
    assert (second.version, second.body, second.created_by) == (2, "Be brief.\nBe kind.", ada.user)
    assert guideline_publish(project=project, body="Be brief.\nBe kind.", by=ada) == second
    assert guidelines_current(project) == second
    assert Guideline.objects.filter(project=project).count() == 2


def test_versions_count_by_project(project: Project, ada: Membership) -> None:
    guideline_publish(project=ProjectFactory(), body="Other.", by=ada)
    assert guideline_publish(project=project, body="Ours.", by=ada).version == 2


@pytest.mark.parametrize("body", ["", "  \n", "a\0b", "x" * 100_001])
def test_what_cannot_be_published_is_refused(project: Project, ada: Membership, body: str) -> None:
    with pytest.raises(PlackettError):
        guideline_publish(project=project, body=body, by=ada)
    assert Guideline.objects.filter(project=project).count() == 1


def test_the_form_in_force(project: Project) -> None:
    assert form_current(project).version == 1
    assert form_current(project, "demonstration").version == 0  # none yet: the default, unsaved
