"""The labeler's pages by their plain forms: what happens, the rows after, and who may not."""

from __future__ import annotations

import json
import re
import uuid

import pytest
from django.test import Client

from annotation.models import Assignment, AssignmentStatus, Demonstration, Ranking, Task, TaskState
from annotation.services.guidelines import guideline_publish
from tests.frontend.scene import Scene, make_scene

JSON = {"Accept": "application/json"}


def start(client: Client, scene: Scene, kind: str = "") -> Assignment:
    """Press the button, and return the assignment whose page it leads to."""
    response = client.post(f"/p/{scene.project.slug}/label/", {"kind": kind})
    assert response.status_code == 302
    return Assignment.objects.get(id=response.url.rstrip("/").rsplit("/", 1)[1])


def address(scene: Scene, assignment: Assignment, tail: str = "") -> str:
    return f"/p/{scene.project.slug}/label/{assignment.id}/{tail}"


def hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, name
    return found[1]


def form_of(client: Client, url: str) -> dict[str, str]:
    page = client.get(url).content.decode()
    return {name: hidden(page, name) for name in ("submission_id", "started_at")} | {"active_seconds": "41.5"}


def ranked(ranks: list[int], ratings: list[int], **more: object) -> dict[str, object]:
    form: dict[str, object] = dict(more)
    for position, (rank, rating) in enumerate(zip(ranks, ratings, strict=True)):
        form |= {f"rank-{position}": str(rank), f"rating-{position}": str(rating)}
    return form


# --- Start ---------------------------------------------------------------------------------------------------------


def test_looking_takes_no_task_and_pressing_takes_one(as_, scene):
    client = as_(scene.alice)
    page = client.get(f"/p/{scene.project.slug}/label/").content.decode()
    assert "Start labeling" in page and not Assignment.objects.exists()
    assignment = start(client, scene)
    assert assignment.labeler == scene.member(scene.alice) and assignment.status == AssignmentStatus.LEASED


def test_pressing_again_leads_to_the_task_in_hand(as_, scene):
    client = as_(scene.alice)
    assert start(client, scene) == start(client, scene)
    assert "Continue" in client.get(f"/p/{scene.project.slug}/label/").content.decode()


def test_two_labelers_get_two_tasks(scene):
    alice, bob = Client(), Client()
    alice.force_login(scene.alice)
    bob.force_login(scene.bob)
    assert start(alice, scene).task != start(bob, scene).task


def test_one_may_ask_for_one_kind_only(as_, scene):
    client = as_(scene.alice)
    first = start(client, scene, "ranking")
    assert first.task.kind == "ranking"
    client.post(address(scene, first), ranked([1, 2, 3, 4], [7, 5, 3, 1]) | form_of(client, address(scene, first)))
    assert Assignment.objects.get(status=AssignmentStatus.LEASED).task.kind == "ranking"


def test_the_kind_that_one_asked_for_holds_until_one_asks_for_each(as_, scene):
    client, page = as_(scene.alice), f"/p/{scene.project.slug}/label/"
    first = start(client, scene, "ranking")
    assert "You chose: Only rank answers." in client.get(page).content.decode()
    client.post(page)  # Continue
    client.post(address(scene, first), ranked([1, 2, 3, 4], [7, 5, 3, 1]) | form_of(client, address(scene, first)))
    assert Assignment.objects.get(status=AssignmentStatus.LEASED).task.kind == "ranking"
    start(client, scene, "")
    assert "You chose" not in client.get(page).content.decode()


def test_where_the_kind_that_one_asked_for_runs_out_the_start_page_offers_the_others(as_, scene):
    client, page = as_(scene.alice), f"/p/{scene.project.slug}/label/"
    Task.objects.filter(kind="ranking").update(state=TaskState.WITHDRAWN)
    response = client.post(page, {"kind": "ranking"}, follow=True)
    assert "There are no more tasks of the kind that you chose." in response.content.decode()
    assert start(client, scene).task.kind == "demonstration"


def test_what_one_asked_for_in_one_project_holds_in_that_alone(as_, scene):
    client = as_(scene.alice)
    client.post(f"/p/{scene.project.slug}/label/", {"kind": "ranking"})
    assert list(client.session["label_kinds"]) == [str(scene.member(scene.alice).id)]


def test_an_empty_queue_says_so_and_what_fills_it(as_, db):
    scene = make_scene(demonstrations=0, rankings=0)
    client = as_(scene.alice)
    assert "No task for you now" in client.get(f"/p/{scene.project.slug}/label/").content.decode()
    response = client.post(f"/p/{scene.project.slug}/label/")
    assert response.url == f"/p/{scene.project.slug}/label/"


# --- Demonstrations ------------------------------------------------------------------------------------------------


def test_a_demonstration_is_written_and_the_next_task_comes(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "demonstration")
    page = client.get(address(scene, assignment)).content.decode()
    assert assignment.task.prompt.text in page and "How to label" in page
    form = form_of(client, address(scene, assignment)) | {"text": "  It rises and falls.  "}
    response = client.post(address(scene, assignment), form)
    label = Demonstration.objects.get()
    assert "rises and falls" in label.response.text and label.labeler == scene.member(scene.alice)
    assert label.active_seconds == 41.5 and label.submission_id == uuid.UUID(form["submission_id"])
    assert label.started_at <= label.submitted_at
    following = Assignment.objects.get(status=AssignmentStatus.LEASED)
    assert response.url == address(scene, following) and following.task != assignment.task


def test_an_empty_demonstration_is_refused_in_words_and_changes_nothing(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "demonstration")
    response = client.post(address(scene, assignment), {"text": "  "})
    assert response.status_code == 422 and "notice-error" in response.content.decode()
    assert not Demonstration.objects.exists()


def test_submitting_twice_makes_one_label(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "demonstration")
    form = form_of(client, address(scene, assignment)) | {"text": "Once."}
    for _ in range(2):
        assert client.post(address(scene, assignment), form).status_code == 302
    assert Demonstration.objects.count() == 1


def test_the_same_form_with_other_words_is_kept_as_an_edit(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "demonstration")
    form = form_of(client, address(scene, assignment))
    client.post(address(scene, assignment), form | {"text": "First."})
    client.post(address(scene, assignment), form | {"text": "Second."})
    current = Demonstration.objects.get(is_current=True)
    assert (current.revision, current.response.text) == (2, "Second.")


def test_going_back_finds_the_label_and_changes_it_as_a_revision(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "demonstration")
    client.post(address(scene, assignment), form_of(client, address(scene, assignment)) | {"text": "First thought."})
    response = client.get(address(scene, assignment))
    assert "no-store" in response.headers["Cache-Control"]
    page = response.content.decode()
    assert "First thought." in page and "Save as a new revision" in page
    form = form_of(client, address(scene, assignment)) | {"text": "Second thought.", "editing": "yes"}
    assert client.post(address(scene, assignment), form).url == f"/p/{scene.project.slug}/history/"
    assert [label.response.text for label in Demonstration.objects.order_by("revision")] == [
        "First thought.",
        "Second thought.",
    ]
    assert Demonstration.objects.get(is_current=True).revision == 2


def test_a_late_submit_is_kept(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "demonstration")
    Assignment.objects.filter(id=assignment.id).update(status="expired", slot=None)
    page = client.get(address(scene, assignment)).content.decode()
    assert "The time for this task ran out" in page
    client.post(address(scene, assignment), form_of(client, address(scene, assignment)) | {"text": "Late."})
    assert Demonstration.objects.get().response.text == "Late."


def test_what_a_broken_browser_sends_for_its_clock_costs_no_label(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "demonstration")
    form = {"text": "Here.", "submission_id": "x", "started_at": "yesterday", "active_seconds": "NaN"}
    assert client.post(address(scene, assignment), form).status_code == 302
    label = Demonstration.objects.get()
    assert label.started_at == assignment.assigned_at and label.active_seconds == 0


# --- Drafts, heartbeat, skip ---------------------------------------------------------------------------------------


def test_a_draft_is_saved_and_shown_again(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "demonstration")
    response = client.post(address(scene, assignment, "draft/"), {"text": "Half a th", "evil": "x"}, headers=JSON)
    assert response.status_code == 200 and "saved_at" in response.json()
    assignment.refresh_from_db()
    assert assignment.draft == {"text": "Half a th"}
    page = client.get(address(scene, assignment)).content.decode()
    assert "Half a th" in page and "Restored as saved at" in page


def test_a_rankings_draft_brings_back_ratings_ranks_and_flags(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "ranking")
    draft = {"rating-1": "6", "rank-1": "2", "flags-1": ["hallucination", "contains_sexual"], "touched": "yes"}
    client.post(address(scene, assignment, "draft/"), draft, headers=JSON)
    page = client.get(address(scene, assignment)).content.decode()
    assert re.search(r'name="rating-1" value="6" checked', page)
    assert re.search(r'name="flags-1" value="hallucination" checked', page)
    assert not re.search(r'name="flags-0" value="hallucination" checked', page)
    assert '<option value="2" selected>' in page


def test_a_heartbeat_extends_the_lease_and_says_when_it_is_gone(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "demonstration")
    before = assignment.lease_until
    assert client.post(address(scene, assignment, "heartbeat/"), headers=JSON).status_code == 200
    assignment.refresh_from_db()
    assert assignment.lease_until > before
    Assignment.objects.filter(id=assignment.id).update(status="skipped", slot=None)
    response = client.post(address(scene, assignment, "heartbeat/"), headers=JSON)
    assert response.status_code == 409 and response.json()["problem"]


def test_a_script_that_was_signed_out_is_told_so(scene, as_):
    client = as_(scene.alice)
    assignment = start(client, scene, "demonstration")
    response = Client().post(address(scene, assignment, "draft/"), {"text": "x"}, headers=JSON)
    assert response.status_code == 401 and "signed out" in response.json()["problem"]


def test_the_script_gets_the_next_address_or_what_is_wrong(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "demonstration")
    refused = client.post(address(scene, assignment), {"text": ""}, headers=JSON)
    assert refused.status_code == 422 and json.loads(refused.content)["problem"]
    done = client.post(address(scene, assignment), {"text": "Yes."}, headers=JSON)
    assert done.json()["next"].startswith(f"/p/{scene.project.slug}/label/")


def test_skipping_wants_a_reason_and_leads_on(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "demonstration")
    refused = client.post(address(scene, assignment, "skip/"), {"reason": "", "note": ""})
    assert refused.status_code == 422 and "Choose why" in refused.content.decode()
    response = client.post(address(scene, assignment, "skip/"), {"reason": "unclear", "note": "Which tide?"})
    assignment.refresh_from_db()
    assert (assignment.status, assignment.skip_reason, assignment.skip_note) == ("skipped", "unclear", "Which tide?")
    assert response.url != address(scene, assignment)


# --- Ranking -------------------------------------------------------------------------------------------------------


def test_a_ranking_is_submitted_in_the_order_shown(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "ranking")
    form = form_of(client, address(scene, assignment)) | ranked([2, 1, 2, 3], [5, 7, 5, 2])
    form["flags-3"] = ["fails_to_follow"]
    assert client.post(address(scene, assignment), form).status_code == 302
    rows = list(Ranking.objects.get().ranked_responses.order_by("position"))
    assert [str(row.response_id) for row in rows] == assignment.presented_order
    assert [row.rank for row in rows] == [2, 1, 2, 3] and [row.rating for row in rows] == [5, 7, 5, 2]
    assert rows[3].flags == ["fails_to_follow"] and rows[0].flags == []


def test_what_is_missing_in_a_ranking_is_named_and_the_rest_is_kept(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "ranking")
    form = ranked([1, 2, 3, 4], [5, 5, 5, 5])
    form |= {"rating-2": "", "rank-0": "", "rating-3": "9"}
    response = client.post(address(scene, assignment), form)
    page = response.content.decode()
    assert response.status_code == 422 and not Ranking.objects.exists()
    for words in ("Rate answer C", "Give answer A a rank", "Rate answer D"):
        assert words in page
    assert re.search(r'name="rating-0" value="5" checked', page)


def test_the_page_hides_who_wrote_an_answer(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "ranking")
    page = client.get(address(scene, assignment)).content.decode()
    for response in assignment.task.responses.all():
        assert str(response.id) not in page
    assert "judge-17" not in page


def test_each_labeler_sees_the_stored_order_every_time(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "ranking")
    texts = {str(response.id): response.text.split()[0] for response in assignment.task.responses.all()}
    for _ in range(2):
        page = client.get(address(scene, assignment)).content.decode()
        answers = re.findall(r'<div class="prose answer-text"[^>]*>(.*?)</div>', page, re.S)
        for shown, response_id in zip(answers, assignment.presented_order, strict=True):
            assert texts[response_id].strip("*") in shown


def test_a_task_costs_few_queries(as_, scene, django_assert_max_num_queries):
    """What a labeler waits for: the page, a draft, and the submit, which takes the next task too."""
    client = as_(scene.alice)
    for _ in range(2):
        url = address(scene, start(client, scene, "ranking"))
        with django_assert_max_num_queries(13):
            form = form_of(client, url)
        form |= ranked([1, 2, 3, 4], [7, 6, 5, 4])
        with django_assert_max_num_queries(8):
            assert client.post(f"{url}draft/", form, headers=JSON).status_code == 200
        with django_assert_max_num_queries(31):
            assert client.post(url, form, headers=JSON).status_code == 200
    assert Ranking.objects.count() == 2


# --- History, guidelines -------------------------------------------------------------------------------------------


def test_history_lists_ones_own_labels_only(as_, scene):
    client = as_(scene.alice)
    assert "You have no labels yet" in client.get(f"/p/{scene.project.slug}/history/").content.decode()
    assignment = start(client, scene, "demonstration")
    client.post(address(scene, assignment), {"text": "Mine."})
    assert str(assignment.id) in client.get(f"/p/{scene.project.slug}/history/").content.decode()
    bob = Client()
    bob.force_login(scene.bob)
    assert str(assignment.id) not in bob.get(f"/p/{scene.project.slug}/history/").content.decode()


def test_historys_query_count_stays_flat(as_, scene, django_assert_max_num_queries):
    client = as_(scene.alice)
    url = f"/p/{scene.project.slug}/history/"
    counts = []
    for _ in range(3):
        client.post(address(scene, start(client, scene, "demonstration")), {"text": "Mine."})
        with django_assert_max_num_queries(20) as captured:
            client.get(url)
        counts.append(len(captured))
    assert counts[0] == counts[2]


def test_guidelines_show_the_version_in_force_and_the_earlier_ones(as_, scene):
    guideline_publish(project=scene.project, body="# Be brief\n\nVery.", by=scene.ada)
    client = as_(scene.alice)
    url = f"/p/{scene.project.slug}/guidelines/"
    assert "Be brief" in client.get(url).content.decode()
    earlier = client.get(url + "?version=1").content.decode()
    assert "Be brief" not in earlier and "This is an earlier version" in earlier
    assert client.get(url + "?version=9").status_code == 404
    assert client.get(url + "?version=x").status_code == 404


# --- Who may not ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["sam", "rob"])
@pytest.mark.parametrize("page", ["label/", "history/"])
def test_whoever_does_not_label_gets_404(as_, scene, who, page):
    client = as_(getattr(scene, who))
    assert client.get(f"/p/{scene.project.slug}/{page}").status_code == 404
    assert client.post(f"/p/{scene.project.slug}/label/").status_code == 404
    assert not Assignment.objects.exists()


@pytest.mark.parametrize("who", ["bob", "ada", "sam"])
def test_nobody_opens_or_changes_anothers_task(as_, scene, who):
    assignment = start(as_(scene.alice), scene, "demonstration")
    other = Client()
    other.force_login(getattr(scene, who))
    assert other.get(address(scene, assignment)).status_code == 404
    for tail in ("", "draft/", "heartbeat/", "skip/"):
        assert other.post(address(scene, assignment, tail), {"text": "x", "reason": "unclear"}).status_code == 404
    assignment.refresh_from_db()
    assert assignment.draft == {} and assignment.status == AssignmentStatus.LEASED
    assert not Demonstration.objects.exists()


def test_a_task_is_not_found_through_another_project(as_, scene):
    from annotation.services.accounts import member_add, project_create

    assignment = start(as_(scene.alice), scene, "demonstration")
    other = project_create(name="Elsewhere", by=scene.ada)
    member_add(project=other, user=scene.alice, role="labeler", by=scene.ada)
    assert as_(scene.alice).get(f"/p/{other.slug}/label/{assignment.id}/").status_code == 404
