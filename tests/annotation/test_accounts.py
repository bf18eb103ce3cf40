"""Accounts, projects and memberships."""

from __future__ import annotations

import pytest

from annotation.models import AuditEvent, FormVersion, Guideline, Membership, Project, User
from annotation.services import accounts
from annotation.services.accounts import AccountError
from tests.factories import ProjectFactory, UserFactory


@pytest.fixture
def owner(db: None) -> User:
    return UserFactory(username="olga", is_superuser=True)


def test_an_account_without_a_password_can_only_come_by_link(db: None) -> None:
    user = accounts.user_create(username=" carla ")
    assert user.username == "carla"
    assert not user.has_usable_password()
    assert AuditEvent.objects.get().verb == "user.create"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"username": "OLGA"}, "already"),
        ({"username": "no spaces please"}, "valid username"),
        ({"username": ""}, "blank"),
        ({"username": "carla", "password": "short"}, "too short"),
        ({"username": "carla", "email": "nowhere"}, "valid email"),
    ],
)
def test_a_wrong_account_is_refused_in_words(owner: User, fields: dict[str, str], words: str) -> None:
    with pytest.raises(AccountError, match=words):
        accounts.user_create(**fields)
    assert User.objects.count() == 1


def test_a_project_comes_with_its_admin_guidelines_and_form(owner: User) -> None:
    project = accounts.project_create(name="Long answers", by=owner, responses_per_prompt=9, validation_percent=10)
    assert (project.slug, project.responses_per_prompt, project.validation_percent) == ("long-answers", 9, 10)
    assert project.memberships.get().user == owner
    assert project.memberships.get().role == "admin"
    assert Guideline.objects.get(project=project).version == 1
    assert FormVersion.objects.get(project=project).fields["rating"] == {"minimum": 1, "maximum": 7}


def test_projects_of_one_name_get_addresses_of_their_own(owner: User) -> None:
    slugs = [accounts.project_create(name="Same", by=owner).slug for _ in range(3)]
    assert slugs == ["same", "same-2", "same-3"]
    assert accounts.project_create(name="中文", by=owner).slug.startswith("project-")


@pytest.mark.parametrize(
    "fields", [{"name": ""}, {"name": "x", "validation_percent": 46}, {"name": "x", "responses_per_prompt": 1}]
)
def test_a_wrong_project_is_refused(owner: User, fields: dict[str, object]) -> None:
    with pytest.raises(AccountError):
        accounts.project_create(by=owner, **fields)
    assert not Project.objects.exists()


def test_a_slug_that_is_taken_is_refused(owner: User) -> None:
    accounts.project_create(name="One", slug="one", by=owner)
    with pytest.raises(AccountError, match="already exists"):
        accounts.project_create(name="Other", slug="one", by=owner)


def test_settings_change_and_are_audited(project: Project, ada: Membership) -> None:
    accounts.project_update(project=project, by=ada, name="Better answers", responses_per_prompt=2)
    project.refresh_from_db()
    assert (project.name, project.responses_per_prompt) == ("Better answers", 2)
    assert AuditEvent.objects.get(verb="project.update").actor == ada.user


def test_the_splits_of_a_project_never_change(project: Project, ada: Membership) -> None:
    with pytest.raises(TypeError):
        accounts.project_update(project=project, by=ada, split_salt="other")


def test_a_member_is_added_once(project: Project, ada: Membership) -> None:
    user = UserFactory()
    membership = accounts.member_add(project=project, user=user, role="labeler", by=ada)
    assert membership.pseudonym not in {user.username, ""}
    with pytest.raises(AccountError, match="already"):
        accounts.member_add(project=project, user=user, role="labeler", by=ada)
    with pytest.raises(AccountError, match="no role"):
        accounts.member_add(project=project, user=UserFactory(), role="king", by=ada)


def test_who_was_removed_comes_back_as_the_same_member(project: Project, ada: Membership, alice: Membership) -> None:
    accounts.member_set_active(membership=alice, active=False, by=ada)
    assert not alice.can("label")
    assert alice.user is not None
    again = accounts.member_add(project=project, user=alice.user, role="reviewer", by=ada)
    assert (again.pk, again.role, again.is_active) == (alice.pk, "reviewer", True)


def test_a_project_keeps_an_admin(project: Project, ada: Membership, alice: Membership) -> None:
    with pytest.raises(AccountError, match="only admin"):
        accounts.member_set_role(membership=ada, role="labeler", by=ada)
    with pytest.raises(AccountError, match="only admin"):
        accounts.member_set_active(membership=ada, active=False, by=ada)
    accounts.member_set_role(membership=alice, role="admin", by=ada)
    accounts.member_set_role(membership=ada, role="labeler", by=alice)
    ada.refresh_from_db()
    assert ada.role == "labeler"


def test_labelers_without_an_account_are_found_again_by_name(project: Project) -> None:
    judge = accounts.imported_labeler(project=project, name="judge 1 ")
    assert accounts.imported_labeler(project=project, name="judge 1") == judge
    assert accounts.imported_labeler(project=ProjectFactory(), name="judge 1") != judge
    simulated = accounts.simulated_labeler(project=project, number=1)
    assert simulated.is_simulated and not judge.is_simulated
    assert accounts.simulated_labeler(project=project, number=1) == simulated


@pytest.mark.parametrize("name", ["", " ", "x" * 201])
def test_an_imported_labeler_needs_a_name(project: Project, name: str) -> None:
    with pytest.raises(AccountError):
        accounts.imported_labeler(project=project, name=name)


def test_an_imported_labeler_cannot_pass_for_a_simulated_one(project: Project) -> None:
    name = accounts.simulated_labeler(project=project, number=1).imported_name
    with pytest.raises(AccountError, match="taken"):
        accounts.imported_labeler(project=project, name=name)
