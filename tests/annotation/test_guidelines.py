from __future__ import annotations

from uuid import uuid4

import pytest
from django.utils import timezone

from annotation.errors import PlackettError
from annotation.models import AuditEvent, Guideline, GuidelineAcknowledgement, Membership, Project
from annotation.selectors.guidelines import (
    form_current,
    guideline_known,
    guideline_to_acknowledge,
    guidelines_current,
)
from annotation.services.accounts import simulated_labeler
from annotation.services.guidelines import (
    GuidelineError,
    GuidelinesChanged,
    guideline_acknowledge,
    guideline_publish,
)
from annotation.services.labels import demonstration_submit
from annotation.services.queue import assignment_next, draft_save
from tests.factories import ProjectFactory, TaskFactory, lease


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


# --- Acknowledged before one goes on --------------------------------------------------------------


def test_a_change_is_acknowledged_before_the_next_task(alice: Membership, bob: Membership, ada: Membership) -> None:
    project = alice.project
    TaskFactory.create_batch(3, prompt__project=project)
    assert guideline_to_acknowledge(alice) is None  # what was there when she joined is what she was shown
    held = lease(alice)
    draft_save(assignment=held, draft={"text": "half"})
    changed = guideline_publish(project=project, body="New rules.", by=ada)
    assert guideline_to_acknowledge(alice) == changed and guideline_known(alice) == Guideline.objects.get(version=1)
    with pytest.raises(GuidelinesChanged, match="version 2") as refusal:
        assignment_next(labeler=alice)
    assert refusal.value.version == 2
    guideline_acknowledge(labeler=alice, version=2)
    guideline_acknowledge(labeler=alice, version=2)
    assert guideline_known(alice) == changed
    again = lease(alice)
    assert again == held and again.draft == {"text": "half"}
    event = AuditEvent.objects.get(verb="guideline.acknowledge")
    assert (event.actor, event.detail) == (alice.user, {"version": 2})
    assert guideline_to_acknowledge(bob) == changed  # each for themselves
    assert guideline_to_acknowledge(ada) is None  # she wrote it


def test_only_the_version_in_force_can_be_acknowledged(alice: Membership, ada: Membership) -> None:
    guideline_publish(project=alice.project, body="Second.", by=ada)
    guideline_publish(project=alice.project, body="Third.", by=ada)
    for version in (1, 2, 4):
        with pytest.raises(GuidelineError, match="not the ones in force"):
            guideline_acknowledge(labeler=alice, version=version)
    assert not GuidelineAcknowledgement.objects.exists()


def test_a_label_in_hand_is_kept_and_says_what_its_labeler_had_read(alice: Membership, ada: Membership) -> None:
    TaskFactory(prompt__project=alice.project)
    held = lease(alice)
    began = timezone.now()
    guideline_publish(project=alice.project, body="New rules.", by=ada)

    def submit(text: str) -> int:
        label = demonstration_submit(
            assignment=held, text=text, submission_id=uuid4(), started_at=began, active_seconds=1, by=alice
        )
        assert label.guideline is not None
        return label.guideline.version

    assert submit("under the old rules") == 1
    guideline_acknowledge(labeler=alice, version=2)
    assert submit("under the new ones") == 2


def test_programs_have_nothing_to_read(project: Project, ada: Membership) -> None:
    TaskFactory(prompt__project=project)
    labeler = simulated_labeler(project=project, number=1)
    guideline_publish(project=project, body="New rules.", by=ada)
    assert assignment_next(labeler=labeler) is not None
