"""API tokens: shown once, no wider than their owner, dead when revoked, expired or their owner left."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from annotation.models import ApiToken, Membership
from annotation.services.tokens import TokenError, scopes_for, token_create, token_find, token_revoke


def make(member: Membership, *scopes: str, days: int = 30) -> tuple[ApiToken, str]:
    return token_create(membership=member, name="notebook", scopes=scopes, days=days, by=member)


def test_a_token_is_found_by_its_secret_alone(rita: Membership) -> None:
    token, secret = make(rita, "export", "read", "read")
    assert token.scopes == ["export", "read"]
    assert secret.startswith(token.prefix) and len(secret) >= 43
    assert secret not in repr(token.__dict__)
    assert token_find(secret) == token
    assert token_find(secret + "x") is None
    assert token_find("") is None


def test_use_is_noted(rita: Membership) -> None:
    token, secret = make(rita, "read")
    token_find(secret)
    token.refresh_from_db()
    assert token.used_at is not None
    first = token.used_at
    token_find(secret)
    token.refresh_from_db()
    assert token.used_at == first  # a minute has not passed: a busy program is not a write a request


def test_revoked_expired_or_ownerless_tokens_open_nothing(rita: Membership) -> None:
    token, secret = make(rita, "read")
    token_revoke(token=token, by=rita)
    assert token.revoked_at is not None
    assert token_find(secret) is None
    late, secret = make(rita, "read")
    ApiToken.objects.filter(pk=late.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert token_find(secret) is None
    _token, secret = make(rita, "read")
    Membership.objects.filter(pk=rita.pk).update(is_active=False)
    assert token_find(secret) is None


@pytest.mark.parametrize(
    ("scopes", "days", "words"),
    [
        ([], 30, "at least one"),
        (["launch"], 30, "Your role does not allow: launch"),
        (["fly"], 30, "does not allow: fly"),
        (["read"], 0, "lives 1 to 366 days"),
        (["read"], 4000, "lives 1 to 366 days"),
    ],
)
def test_a_wrong_token_is_refused_in_words(rita: Membership, scopes: list[str], days: int, words: str) -> None:
    with pytest.raises(TokenError, match=words):
        make(rita, *scopes, days=days)
    assert not ApiToken.objects.exists()


def test_a_token_needs_a_name(rita: Membership) -> None:
    with pytest.raises(TokenError, match="name"):
        token_create(membership=rita, name=" ", scopes=["read"], days=1, by=rita)


def test_scopes_follow_the_role(alice: Membership, rita: Membership, ada: Membership) -> None:
    assert scopes_for(alice) == ["label"]
    assert scopes_for(rita) == ["read", "export"]
    assert scopes_for(ada) == ["read", "export", "label", "write_prompts", "queue", "review", "forms", "launch"]
