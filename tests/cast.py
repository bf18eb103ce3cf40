"""The cast: alice labels, bob labels too, rex reviews, rita researches, ada is admin; sam is a stranger here."""

from __future__ import annotations

import pytest

from annotation.models import Membership, Project, User
from annotation.roles import Role
from tests.factories import MembershipFactory, ProjectFactory, UserFactory


@pytest.fixture
def project(db: None) -> Project:
    return ProjectFactory(name="Answers", slug="answers")


def member(project: Project, username: str, role: Role) -> Membership:
    return MembershipFactory(project=project, user=UserFactory(username=username), role=role)


@pytest.fixture
def alice(project: Project) -> Membership:
    return member(project, "alice", Role.LABELER)


@pytest.fixture
def bob(project: Project) -> Membership:
    return member(project, "bob", Role.LABELER)


@pytest.fixture
def rex(project: Project) -> Membership:
    return member(project, "rex", Role.REVIEWER)


@pytest.fixture
def rita(project: Project) -> Membership:
    return member(project, "rita", Role.RESEARCHER)


@pytest.fixture
def ada(project: Project) -> Membership:
    return member(project, "ada", Role.ADMIN)


@pytest.fixture
def sam(project: Project) -> User:
    """An account that is in another project, and not in this one."""
    return MembershipFactory(user=UserFactory(username="sam"), role=Role.ADMIN).user
