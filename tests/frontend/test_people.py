"""The people page: who is in, who comes in, roles, pauses, and links that let someone in once."""

from __future__ import annotations

import re
from collections.abc import Callable

from django.test import Client
from django.urls import reverse

from annotation.models import Invitation, Membership, SignInLink, User
from annotation.services.accounts import member_add, user_create
from tests.frontend.scene import Scene

As = Callable[[User], Client]


def people(scene: Scene) -> str:
    return reverse("frontend:people", args=[scene.project.slug])


def member(scene: Scene, user: User, name: str = "member") -> str:
    return reverse(f"frontend:{name}", args=[scene.project.slug, scene.member(user).pk])


def test_the_list_shows_names_and_pseudonyms(scene: Scene, as_: As) -> None:
    text = as_(scene.ada).get(people(scene)).content.decode()
    for user in (scene.alice, scene.rita):
        assert user.username in text and scene.member(user).pseudonym in text


def test_the_number_of_queries_does_not_grow_with_the_members(
    scene: Scene, as_: As, django_assert_num_queries: Callable
) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    client = as_(scene.ada)
    with CaptureQueriesContext(connection) as few:
        client.get(people(scene))
    for number in range(20):
        user = user_create(username=f"extra{number}")
        member_add(project=scene.project, user=user, role="labeler", by=scene.ada)
    with django_assert_num_queries(len(few)):
        client.get(people(scene))


def test_an_existing_account_is_added(scene: Scene, as_: As) -> None:
    form = {"account": "existing", "username": "SAM", "role": "reviewer"}
    assert as_(scene.ada).post(people(scene), form).status_code == 302
    assert scene.member(scene.sam).role == "reviewer"


def test_an_unknown_account_is_refused_in_words(scene: Scene, as_: As) -> None:
    form = {"account": "existing", "username": "nobody", "role": "labeler"}
    response = as_(scene.ada).post(people(scene), form)
    assert response.status_code == 422
    assert "There is no account of this name" in response.content.decode()


def test_a_new_account_gets_a_link_that_is_shown_once_and_lets_in_once(scene: Scene, as_: As, client: Client) -> None:
    form = {"account": "new", "username": "newt", "role": "labeler"}
    response = as_(scene.ada).post(people(scene), form)
    link = response.context["link"]
    assert response.status_code == 200 and link in response.content.decode()
    newt = User.objects.get(username="newt")
    assert not newt.has_usable_password() and scene.member(newt).role == "labeler"
    assert link not in as_(scene.ada).get(people(scene)).content.decode()
    stranger = Client()
    assert stranger.post(link).status_code == 302
    assert stranger.get(reverse("frontend:guidelines", args=[scene.project.slug])).status_code == 200
    assert Client().post(link).status_code == 410


def test_a_taken_name_is_not_made_twice(scene: Scene, as_: As) -> None:
    before = User.objects.count()
    response = as_(scene.ada).post(people(scene), {"account": "new", "username": "Alice", "role": "labeler"})
    assert response.status_code == 422
    assert User.objects.count() == before


def test_someone_who_is_in_already_is_not_added_again(scene: Scene, as_: As) -> None:
    response = as_(scene.ada).post(people(scene), {"account": "existing", "username": "bob", "role": "admin"})
    assert response.status_code == 422 and "member already" in response.content.decode()
    assert scene.member(scene.bob).role == "labeler"


def test_a_role_is_changed(scene: Scene, as_: As) -> None:
    as_(scene.ada).post(member(scene, scene.bob), {"role": "researcher"})
    assert scene.member(scene.bob).role == "researcher"
    as_(scene.ada).post(member(scene, scene.bob), {"role": "king"})
    assert scene.member(scene.bob).role == "researcher"


def test_a_paused_member_is_out_until_let_in_again(scene: Scene, as_: As) -> None:
    guidelines = reverse("frontend:guidelines", args=[scene.project.slug])
    as_(scene.ada).post(member(scene, scene.bob), {"active": "no"})
    assert as_(scene.bob).get(guidelines).status_code == 404
    as_(scene.ada).post(member(scene, scene.bob), {"active": "yes"})
    assert as_(scene.bob).get(guidelines).status_code == 200


def test_the_last_admin_stays(scene: Scene, as_: As) -> None:
    client = as_(scene.ada)
    response = client.post(member(scene, scene.ada), {"role": "labeler"}, follow=True)
    assert "only admin" in response.content.decode()
    client.post(member(scene, scene.ada), {"active": "no"})
    ada = scene.member(scene.ada)
    assert ada.role == "admin" and ada.is_active


def test_only_admins_touch_members(scene: Scene, as_: As) -> None:
    for who in (scene.alice, scene.rita, scene.rob, scene.sam):
        assert as_(who).post(member(scene, scene.bob), {"role": "admin"}).status_code == 404
        assert as_(who).post(people(scene), {}).status_code == 404
    assert scene.member(scene.bob).role == "labeler"


def test_a_member_of_another_project_is_out_of_reach(scene: Scene, as_: As) -> None:
    from annotation.services.accounts import project_create

    other = project_create(name="Other", by=scene.sam)
    theirs = Membership.objects.get(project=other, user=scene.sam)
    url = reverse("frontend:member", args=[scene.project.slug, theirs.pk])
    assert as_(scene.ada).post(url, {"role": "labeler"}).status_code == 404
    theirs.refresh_from_db()
    assert theirs.role == "admin"


def test_an_admin_gets_no_key_to_an_account_that_someone_uses(scene: Scene, as_: As) -> None:
    """A sign-in link opens the whole account, all its projects: not a project admin's to give."""
    before = SignInLink.objects.count()
    assert as_(scene.ada).post(member(scene, scene.bob, "member_link")).status_code == 404
    assert SignInLink.objects.count() == before


def test_an_account_that_nobody_used_yet_may_get_a_second_link(scene: Scene, as_: As) -> None:
    as_(scene.ada).post(people(scene), {"account": "new", "username": "newt", "role": "labeler"})
    newt = User.objects.get(username="newt")
    response = as_(scene.ada).post(member(scene, newt, "member_link"))
    assert response.status_code == 200 and "/sign-in/" in response.context["link"]


def test_the_owner_may_give_anyone_a_link(scene: Scene, as_: As) -> None:
    User.objects.filter(pk=scene.ada.pk).update(is_superuser=True)
    scene.ada.refresh_from_db()
    assert as_(scene.ada).post(member(scene, scene.bob, "member_link")).status_code == 200


# --- Invitations, and leaving ----------------------------------------------------------------------


def invitation_link(client: Client, scene: Scene, **form: object) -> str:
    url = reverse("frontend:invitations", args=[scene.project.slug])
    page = client.post(url, {"role": "labeler", "max_uses": 2, "days": 7, "note": "the night shift"} | form)
    found = re.search(r'value="http://testserver(/join/[^"]+)"', page.content.decode())
    assert found, "the link is shown"
    assert "/join/" not in client.get(url).content.decode(), "and only once"
    return found[1]


def test_from_the_link_to_the_first_task(scene: Scene, as_: As) -> None:
    link = invitation_link(as_(scene.ada), scene)
    visitor = Client()
    page = visitor.get(link).content.decode()
    assert "You are invited to Tides" in page and "Labeler" in page
    wrong = visitor.post(link, {"username": "lin", "password": "short"})
    assert wrong.status_code == 422 and "too short" in wrong.content.decode()
    assert not User.objects.filter(username="lin").exists()
    response = visitor.post(link, {"username": "lin", "password": "a long enough phrase"}, follow=True)
    assert response.redirect_chain[-1][0] == f"/p/{scene.project.slug}/label/"
    assert "Start labeling" in response.content.decode() and "Welcome to Tides." in response.content.decode()
    assert scene.member(User.objects.get(username="lin")).role == "labeler"


def test_with_an_account_one_button_joins(scene: Scene, as_: As) -> None:
    link = invitation_link(as_(scene.ada), scene, role="researcher")
    assert f"?next={link}" in Client().get(link).content.decode()
    client = as_(scene.sam)
    assert "signed in as sam" in client.get(link).content.decode()
    assert client.post(link).url == f"/p/{scene.project.slug}/"
    assert scene.member(scene.sam).role == "researcher"


def test_a_withdrawn_invitation_says_so(scene: Scene, as_: As) -> None:
    client = as_(scene.ada)
    link = invitation_link(client, scene)
    invitation = Invitation.objects.get()
    url = reverse("frontend:invitation_withdraw", args=[scene.project.slug, invitation.pk])
    assert client.post(url).status_code == 302
    response = Client().get(link)
    assert response.status_code == 410 and "was withdrawn" in response.content.decode()
    assert "the night shift" in client.get(reverse("frontend:invitations", args=[scene.project.slug])).content.decode()


def test_an_invitation_out_of_range_is_refused(scene: Scene, as_: As) -> None:
    url = reverse("frontend:invitations", args=[scene.project.slug])
    for wrong in ({"role": "admin"}, {"days": 91}, {"max_uses": 0}):
        form = {"role": "labeler", "max_uses": 1, "days": 7} | wrong
        assert as_(scene.ada).post(url, form).status_code == 422
    assert not Invitation.objects.exists()


def test_a_removed_member_is_out_and_their_labels_stay(scene: Scene, as_: As) -> None:
    alice = scene.member(scene.alice)
    url = reverse("frontend:member", args=[scene.project.slug, alice.pk])
    page = as_(scene.ada).post(url, {"remove": "yes"}, follow=True).content.decode()
    assert "alice is no longer in the project" in page and ">removed<" in page
    assert as_(scene.alice).get(f"/p/{scene.project.slug}/label/").status_code == 404
    as_(scene.ada).post(url, {"active": "yes"})
    assert as_(scene.alice).get(f"/p/{scene.project.slug}/label/").status_code == 200
