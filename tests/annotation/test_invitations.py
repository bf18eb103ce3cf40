"""Invitations let in whom they should, as often as they should, and leave a trace."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from annotation.models import ApiToken, Assignment, AuditEvent, Demonstration, Invitation, Membership, Project, User
from annotation.services import accounts
from annotation.services.invitations import (
    InvitationError,
    invitation_accept,
    invitation_accept_as_new,
    invitation_create,
    invitation_find,
    invitation_revoke,
)
from annotation.services.queue import NotYours, assignment_heartbeat
from annotation.services.tokens import token_create, token_find
from tests.annotation.races import together
from tests.annotation.test_queue import consistent, submit
from tests.factories import MembershipFactory, ProjectFactory, TaskFactory, UserFactory, lease

PASSWORD = "correct horse battery"


def invite(project: Project, by: Membership, **more: object) -> tuple[Invitation, str]:
    return invitation_create(**{"project": project, "role": "labeler", "days": 7, "max_uses": 1, "by": by} | more)


def test_a_link_lets_one_in_and_then_nobody(project: Project, ada: Membership) -> None:
    invitation, token = invite(project, ada)
    assert token not in str(invitation.__dict__)
    membership = invitation_accept_as_new(token=token, username="lin", password=PASSWORD, language="zh-hans")
    assert (membership.project, membership.role, membership.user.language) == (project, "labeler", "zh-hans")
    assert membership.user.check_password(PASSWORD)
    with pytest.raises(InvitationError, match="used up"):
        invitation_accept_as_new(token=token, username="max", password=PASSWORD)
    assert not User.objects.filter(username="max").exists()
    verbs = AuditEvent.objects.filter(project=project).order_by("id").values_list("verb", "actor_name")
    assert list(verbs) == [("invitation.create", "ada"), ("member.join", "lin")]


def test_an_account_that_is_here_joins_and_opening_it_twice_uses_nothing_up(project: Project, ada: Membership) -> None:
    invitation, token = invite(project, ada, role="reviewer", max_uses=2)
    user = UserFactory()
    first = invitation_accept(token=token, user=user)
    assert invitation_accept(token=token, user=user) == first and first.role == "reviewer"
    assert invitation_accept(token=token, user=ada.user) == ada and ada.role == "admin"
    invitation.refresh_from_db()
    assert invitation.uses == 1


def test_what_is_revoked_expired_or_made_up_lets_nobody_in(project: Project, ada: Membership) -> None:
    invitation, token = invite(project, ada)
    invitation_revoke(invitation=invitation, by=ada)
    late, expired = invite(project, ada)
    Invitation.objects.filter(pk=late.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    for secret, words in ((token, "withdrawn"), (expired, "expired"), ("abc", "not an invitation")):
        with pytest.raises(InvitationError, match=words):
            invitation_find(secret)
        with pytest.raises(InvitationError, match=words):
            invitation_accept(token=secret, user=UserFactory())
    assert Membership.objects.filter(project=project).count() == 1
    invitation_revoke(invitation=invitation, by=ada)
    assert AuditEvent.objects.filter(verb="invitation.revoke").count() == 1


def test_whoever_was_taken_out_does_not_come_back_by_a_link(project: Project, ada: Membership) -> None:
    gone = MembershipFactory(project=project, is_active=False)
    _invitation, token = invite(project, ada)
    with pytest.raises(InvitationError, match="taken out"):
        invitation_accept(token=token, user=gone.user)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"role": "admin"}, "Nobody becomes an admin"),
        ({"role": "king"}, "Nobody becomes"),
        ({"days": 0}, "1 to 90 days"),
        ({"max_uses": 501}, "1 to 500 people"),
    ],
)
def test_invitations_that_cannot_be_are_refused(
    project: Project, ada: Membership, asked: dict[str, object], words: str
) -> None:
    with pytest.raises(InvitationError, match=words):
        invite(project, ada, **asked)


def test_the_database_knows_no_admins_link(project: Project, ada: Membership) -> None:
    invitation, _token = invite(project, ada)
    for wrong in ({"role": "admin"}, {"uses": 2}):
        with pytest.raises(IntegrityError), transaction.atomic():
            Invitation.objects.filter(pk=invitation.pk).update(**wrong)


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_eight_people_at_once_and_room_for_three() -> None:
    project = ProjectFactory()
    admin = MembershipFactory(project=project, role="admin")
    invitation, token = invite(project, admin, max_uses=3)
    users = UserFactory.create_batch(8)

    def come_in(user: User) -> bool:
        try:
            return bool(invitation_accept(token=token, user=user))
        except InvitationError:
            return False

    with ThreadPoolExecutor(8) as threads:
        let_in = together(threads, [lambda user=user: come_in(user) for user in users])
    assert sorted(let_in) == [False] * 5 + [True] * 3
    invitation.refresh_from_db()
    assert invitation.uses == 3 == Membership.objects.filter(project=project, role="labeler").count()


# --- Pausing and removing --------------------------------------------------------------------------


def test_what_a_removed_person_made_stays_and_what_they_held_goes_on(
    project: Project, ada: Membership, alice: Membership, bob: Membership
) -> None:
    tasks = TaskFactory.create_batch(2, prompt__project=project)
    submit(lease(alice))
    held = lease(alice)
    _token, secret = token_create(
        membership=MembershipFactory(project=project, role="reviewer"), name="x", scopes=["read"], days=1, by=ada
    )
    accounts.member_remove(membership=alice, by=ada)
    alice.refresh_from_db()
    assert alice.removed_at and not alice.is_active
    assert Demonstration.objects.get().labeler == alice
    assert lease(bob).task == held.task and all(consistent(task) for task in tasks)
    assert token_find(secret) is not None, "another's token"
    with pytest.raises(NotYours):
        submit(Assignment.objects.get(pk=held.pk))


def test_a_removed_persons_tokens_are_revoked(project: Project, ada: Membership, rex: Membership) -> None:
    _token, secret = token_create(membership=rex, name="x", scopes=["read"], days=1, by=rex.user)
    accounts.member_remove(membership=rex, by=ada)
    accounts.member_set_active(membership=rex, active=True, by=ada)
    rex.refresh_from_db()
    assert rex.is_active and rex.removed_at is None
    assert token_find(secret) is None and ApiToken.objects.get().revoked_at


def test_a_paused_person_finds_their_draft_again(project: Project, ada: Membership, alice: Membership) -> None:
    TaskFactory(prompt__project=project)
    held = lease(alice)
    Assignment.objects.filter(pk=held.pk).update(draft={"text": "half"})
    accounts.member_set_active(membership=alice, active=False, by=ada)
    held.refresh_from_db()
    assert (held.status, held.slot, held.task.open_slots) == ("expired", None, 1)
    accounts.member_set_active(membership=alice, active=True, by=ada)
    assert lease(alice).draft == {"text": "half"}
    assert assignment_heartbeat(assignment=held)


def test_the_last_admin_is_not_removed(ada: Membership) -> None:
    with pytest.raises(accounts.AccountError, match="only admin"):
        accounts.member_remove(membership=ada, by=ada)
