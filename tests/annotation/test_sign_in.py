"""Sign-in links: once, within their time, and only digests are stored."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.utils import timezone

from annotation.models import Membership, Project, SignInLink, User
from annotation.services.sign_in import SignInError, sign_in_link_create, sign_in_link_use, sign_in_links
from tests.annotation.races import together
from tests.factories import UserFactory


def test_a_link_signs_its_person_in_once(alice: Membership) -> None:
    assert alice.user is not None
    token = sign_in_link_create(user=alice.user)
    assert sign_in_link_use(token) == alice.user
    with pytest.raises(SignInError, match="used before or is too old"):
        sign_in_link_use(token)


def test_the_database_does_not_know_the_token(alice: Membership) -> None:
    assert alice.user is not None
    token = sign_in_link_create(user=alice.user)
    link = SignInLink.objects.get()
    assert len(token) >= 43  # 32 random bytes
    assert token not in repr(link.__dict__)
    assert timezone.now() + timedelta(hours=23) < link.expires_at < timezone.now() + timedelta(hours=25)


@pytest.mark.parametrize("token", ["", "nonsense", "\ud800", "x" * 10_000])
def test_a_made_up_token_signs_nobody_in(db: None, token: str) -> None:
    with pytest.raises(SignInError):
        sign_in_link_use(token)


def test_an_old_link_signs_nobody_in(alice: Membership) -> None:
    assert alice.user is not None
    token = sign_in_link_create(user=alice.user, lifetime=timedelta(seconds=-1))
    with pytest.raises(SignInError):
        sign_in_link_use(token)


def test_a_closed_account_is_not_signed_in(alice: Membership) -> None:
    assert alice.user is not None
    token = sign_in_link_create(user=alice.user)
    User.objects.update(is_active=False)
    with pytest.raises(SignInError):
        sign_in_link_use(token)


@pytest.mark.services
def test_of_two_who_hold_a_link_one_gets_in(transactional_db: None) -> None:
    token = sign_in_link_create(user=UserFactory())

    def use() -> bool:
        try:
            return bool(sign_in_link_use(token))
        except SignInError:
            return False

    uses: list[Callable[[], bool]] = [use] * 6
    with ThreadPoolExecutor(6) as threads:
        assert sum(together(threads, uses)) == 1


def test_the_demo_has_a_link_for_each_role(
    project: Project, alice: Membership, bob: Membership, ada: Membership
) -> None:
    Project.objects.update(is_demo=True)
    links = sign_in_links()
    assert [role for role, _ in links] == ["labeler", "admin"]
    addresses = dict(links)
    assert sign_in_link_use(addresses["labeler"].split("/")[2]) == alice.user
    assert dict(sign_in_links())["labeler"] != addresses["labeler"]  # anew at each start


def test_without_a_demo_the_owner_gets_a_link_and_is_made_once(db: None) -> None:
    UserFactory(username="owner")  # somebody has the name, and owns nothing
    for _ in range(2):
        [(role, address)] = sign_in_links()
        assert role == "owner"
        assert sign_in_link_use(address.split("/")[2]).is_superuser
    assert User.objects.filter(is_superuser=True).count() == 1
