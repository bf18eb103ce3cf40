"""API tokens: made within one's role, shown once, revoked by their owner alone."""

from __future__ import annotations

from collections.abc import Callable

from django.test import Client
from django.urls import reverse

from annotation.models import ApiToken, User
from annotation.services.tokens import token_create, token_find
from tests.frontend.scene import Scene

As = Callable[[User], Client]


def tokens(scene: Scene) -> str:
    return reverse("frontend:tokens", args=[scene.project.slug])


def test_a_token_is_shown_once_and_works(scene: Scene, as_: As) -> None:
    response = as_(scene.rob).post(tokens(scene), {"name": "notebook", "scopes": ["read", "export"], "days": 30})
    secret = response.context["secret"]
    assert response.status_code == 200 and secret in response.content.decode()
    found = token_find(secret)
    assert found is not None and found.membership == scene.member(scene.rob) and found.scopes == ["export", "read"]
    assert secret not in as_(scene.rob).get(tokens(scene)).content.decode()


def test_no_scope_beyond_the_role(scene: Scene, as_: As) -> None:
    response = as_(scene.rob).post(tokens(scene), {"name": "n", "scopes": ["launch"], "days": 30})
    assert response.status_code == 422
    assert not ApiToken.objects.exists()
    assert 'value="launch"' not in as_(scene.rob).get(tokens(scene)).content.decode()
    assert 'value="launch"' in as_(scene.ada).get(tokens(scene)).content.decode()


def test_a_token_without_scope_or_with_too_long_a_life_is_refused(scene: Scene, as_: As) -> None:
    for form in ({"name": "n", "days": 30}, {"name": "n", "scopes": ["read"], "days": 4000}):
        assert as_(scene.rob).post(tokens(scene), form).status_code == 422
    assert not ApiToken.objects.exists()


def test_one_sees_and_revokes_ones_own_only(scene: Scene, as_: As) -> None:
    member = scene.member(scene.rob)
    token, secret = token_create(membership=member, name="robs", scopes=["read"], days=3, by=scene.rob)
    url = reverse("frontend:token_revoke", args=[scene.project.slug, token.pk])
    assert "robs" not in as_(scene.ada).get(tokens(scene)).content.decode()
    assert as_(scene.ada).post(url).status_code == 404
    assert token_find(secret) is not None
    assert as_(scene.rob).post(url).status_code == 302
    assert token_find(secret) is None


def test_labelers_and_strangers_have_none(scene: Scene, as_: As) -> None:
    for who in (scene.alice, scene.sam):
        assert as_(who).get(tokens(scene)).status_code == 404
