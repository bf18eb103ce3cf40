"""Signing in and out, the one-time link, projects, the profile, language and theme."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from annotation.models import SignInLink
from annotation.services.sign_in import sign_in_link_create
from frontend.throttle import FAILURES_PER_NAME
from tests.frontend.scene import PASSWORD

SIGN_IN = "/sign-in/"


def signed_in_as(client: Client) -> str | None:
    return client.session.get("_auth_user_id")


def test_the_right_password_signs_in_and_goes_on_where_one_wanted_to(client, scene):
    wanted = f"/p/{scene.project.slug}/guidelines/"
    response = client.post(SIGN_IN, {"username": "alice", "password": PASSWORD, "next": wanted})
    assert response.status_code == 302 and response.url == wanted
    assert signed_in_as(client) == str(scene.alice.pk)


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example", "javascript:alert(1)"])
def test_signing_in_never_leads_to_another_site(client, scene, elsewhere):
    response = client.post(SIGN_IN, {"username": "alice", "password": PASSWORD, "next": elsewhere})
    assert response.url == "/"


def test_a_wrong_password_gets_a_sentence_and_nobody_in(client, scene):
    response = client.post(SIGN_IN, {"username": "alice", "password": "wrong"})
    assert response.status_code == 422
    assert "do not belong together" in response.content.decode()
    assert signed_in_as(client) is None


def test_guessing_is_slowed_down_even_when_the_guess_comes_right(client, scene):
    for _ in range(FAILURES_PER_NAME):
        client.post(SIGN_IN, {"username": "alice", "password": "wrong"})
    response = client.post(SIGN_IN, {"username": "ALICE ", "password": PASSWORD})
    assert response.status_code == 429 and "five minutes" in response.content.decode()
    assert signed_in_as(client) is None
    assert client.post(SIGN_IN, {"username": "bob", "password": PASSWORD}).status_code == 302


def test_a_link_is_used_by_the_button_and_not_by_looking(client, scene):
    address = f"/sign-in/{sign_in_link_create(user=scene.alice)}/"
    assert client.get(address).status_code == 200
    assert SignInLink.objects.get().used_at is None and signed_in_as(client) is None
    assert client.post(address).status_code == 302
    assert signed_in_as(client) == str(scene.alice.pk)


def test_a_link_works_once(client, scene):
    address = f"/sign-in/{sign_in_link_create(user=scene.alice)}/"
    client.post(address)
    other = Client()
    response = other.post(address)
    assert response.status_code == 410 and "used before or is too old" in response.content.decode()
    assert signed_in_as(other) is None


def test_signing_out_wants_a_post(as_, scene):
    client = as_(scene.alice)
    assert client.get("/sign-out/").status_code == 405
    client.post("/sign-out/")
    assert signed_in_as(client) is None


def test_one_project_opens_by_itself_and_where_the_work_is(as_, scene):
    client = as_(scene.alice)
    assert client.get("/").url == f"/p/{scene.project.slug}/"
    assert client.get(f"/p/{scene.project.slug}/").url == f"/p/{scene.project.slug}/label/"


def test_a_stranger_sees_no_project_and_gets_404_in_it(as_, scene):
    client = as_(scene.sam)
    assert "not in a project yet" in client.get("/").content.decode()
    assert client.get(f"/p/{scene.project.slug}/").status_code == 404


def test_a_visitor_is_sent_to_sign_in_and_back(client, scene):
    response = client.get(f"/p/{scene.project.slug}/label/")
    assert response.status_code == 302 and response.url.startswith(f"/sign-in/?next=/p/{scene.project.slug}/label/")


def test_the_profile_saves_name_language_and_theme(as_, scene):
    client = as_(scene.alice)
    response = client.post("/me/", {"first_name": "Alice", "language": "zh-hans", "theme": "dark"}, follow=True)
    scene.alice.refresh_from_db()
    assert (scene.alice.first_name, scene.alice.language, scene.alice.theme) == ("Alice", "zh-hans", "dark")
    page = response.content.decode()
    assert 'lang="zh-Hans"' in page and 'data-theme="dark"' in page


def test_a_new_password_keeps_one_signed_in_and_works(as_, scene):
    client = as_(scene.alice)
    new = "a much longer phrase 9"
    form = {"old_password": PASSWORD, "new_password1": new, "new_password2": new, "change_password": "yes"}
    assert client.post("/me/", form).status_code == 302
    assert signed_in_as(client) == str(scene.alice.pk)
    assert Client().login(username="alice", password=new)


def test_a_wrong_old_password_changes_nothing(as_, scene):
    form = {"old_password": "no", "new_password1": "x" * 12, "new_password2": "x" * 12, "change_password": "yes"}
    assert as_(scene.alice).post("/me/", form).status_code == 422
    assert Client().login(username="alice", password=PASSWORD)


def test_language_and_theme_switch_without_an_account(client, db):
    client.post(reverse("frontend:language"), {"language": "zh-hans", "next": SIGN_IN})
    client.post(reverse("frontend:theme"), {"theme": "dark", "next": SIGN_IN})
    page = client.get(SIGN_IN).content.decode()
    assert 'lang="zh-Hans"' in page and 'data-theme="dark"' in page


def test_the_switches_are_remembered_with_the_account(as_, scene):
    client = as_(scene.alice)
    client.post(reverse("frontend:language"), {"language": "zh-hans"})
    client.post(reverse("frontend:theme"), {"theme": "light"})
    scene.alice.refresh_from_db()
    assert (scene.alice.language, scene.alice.theme) == ("zh-hans", "light")
    fresh = Client()
    response = fresh.post(SIGN_IN, {"username": "alice", "password": PASSWORD})
    assert response.cookies["django_language"].value == "zh-hans"
    assert response.cookies["plackett_theme"].value == "light"


@pytest.mark.parametrize(
    ("url", "name", "value"), [("/me/language/", "language", "xx"), ("/me/theme/", "theme", "pink")]
)
def test_an_unknown_choice_changes_nothing(client, db, url, name, value):
    response = client.post(url, {name: value})
    assert response.status_code == 302 and not response.cookies


def test_the_layout_of_answers_is_remembered_with_the_account(as_, scene):
    client = as_(scene.alice)
    for layout, status, kept in (("stacked", 204, "stacked"), ("upside down", 422, "stacked"), ("side", 204, "side")):
        assert client.post("/me/layout/", {"layout": layout}).status_code == status
        scene.alice.refresh_from_db()
        assert scene.alice.answers_layout == kept


def test_nobody_has_no_layout_to_keep(client, db):
    assert client.post("/me/layout/", {"layout": "stacked"}).status_code == 302


def test_an_error_page_is_ours_and_says_a_way_on(client, db):
    response = client.get("/nothing/here/")
    assert response.status_code == 404
    assert "There is nothing at this address" in response.content.decode()


def test_the_error_page_needs_neither_request_nor_database(rf):
    from frontend.views.errors import server_error

    response = server_error(rf.get("/"))
    assert response.status_code == 500 and "Something broke on our side" in response.content.decode()
