"""Drafts on the server: kept from each window, never replaced unseen, found again after a lease ran out."""

from __future__ import annotations

from annotation.models import Assignment
from frontend.submissions import draft_key
from tests.frontend.test_labeling import address, start


def save(client, url: str, text: str, tab: str, base: str = ""):
    return client.post(f"{url}draft/", {"text": text, "tab": tab, "base": base})


def test_a_window_goes_on_saving_and_another_does_not_replace_it_unseen(as_, scene):
    client = as_(scene.alice)
    url = address(scene, start(client, scene, "demonstration"))
    seen = save(client, url, "One", "first").json()["saved_at"]
    assert save(client, url, "One two", "first", "").status_code == 200  # its own answer may have got lost
    met = save(client, url, "Other words", "second", seen)
    assert met.status_code == 409 and met.json()["draft"]["text"] == "One two"
    assert Assignment.objects.get().draft["text"] == "One two"
    # Having been told, the other window may go on from there.
    assert save(client, url, "Other words", "second", met.json()["saved_at"]).status_code == 200
    assert save(client, url, "One two three", "first", seen).json()["draft"]["text"] == "Other words"


def test_a_window_opened_later_goes_on_from_what_it_shows(as_, scene):
    client = as_(scene.alice)
    url = address(scene, start(client, scene, "demonstration"))
    seen = save(client, url, "At the office", "first").json()["saved_at"]
    assert save(client, url, "At home", "second", seen).status_code == 200


def test_the_first_draft_is_kept_whatever_its_window_says(as_, scene):
    client = as_(scene.alice)
    url = address(scene, start(client, scene, "demonstration"))
    for base in ("", "nonsense", "2020-01-01T00:00:00+00:00"):
        Assignment.objects.update(draft={}, draft_saved_at=None)
        assert save(client, url, "Words", "first", base).status_code == 200


def test_a_draft_without_a_window_replaces_as_before(as_, scene):
    client = as_(scene.alice)
    url = address(scene, start(client, scene, "demonstration"))
    save(client, url, "One", "first")
    assert client.post(f"{url}draft/", {"text": "By a program"}).status_code == 200
    assert Assignment.objects.get().draft["text"] == "By a program"


def test_a_draft_whose_time_ran_out_is_found_on_the_start_page(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "demonstration")
    save(client, address(scene, assignment), "Half of it", "first")
    page = f"/p/{scene.project.slug}/label/"
    assert "Begun, and not submitted" not in client.get(page).content.decode()
    Assignment.objects.update(status="expired", slot=None)
    shown = client.get(page).content.decode()
    assert "Begun, and not submitted" in shown and address(scene, assignment) in shown


def test_each_account_has_a_key_of_its_own_for_what_its_browser_keeps(as_, scene):
    assert draft_key(scene.alice) != draft_key(scene.bob) and draft_key(scene.alice) == draft_key(scene.alice)
    client = as_(scene.alice)
    response = client.get(address(scene, start(client, scene, "demonstration")))
    assert draft_key(scene.alice) in response.content.decode() and "no-store" in response["Cache-Control"]
