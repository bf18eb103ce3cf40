"""Questions, comments, returns and changed guidelines by their pages: who sees what, and that no writing is lost."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from annotation.models import Assignment, Demonstration, GuidelineAcknowledgement, LabelComment, Question
from annotation.services.feedback import question_answer, question_ask
from annotation.services.guidelines import guideline_publish
from annotation.services.labels import demonstration_submit
from tests.frontend.scene import Scene
from tests.frontend.test_labeling import JSON, address, form_of, start


def page(scene: Scene, tail: str) -> str:
    return f"/p/{scene.project.slug}/{tail}"


@pytest.fixture
def labeled(scene: Scene) -> Assignment:
    """A label by alice."""
    from tests.factories import lease

    assignment = lease(scene.member(scene.alice), "demonstration")
    demonstration_submit(
        assignment=assignment,
        text="It rises.",
        submission_id=uuid.uuid4(),
        started_at=None,
        active_seconds=1,
        by=assignment.labeler,
    )
    return assignment


# --- Questions --------------------------------------------------------------------------------------------------------


def test_without_script_a_question_takes_the_draft_along(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "demonstration")
    form = form_of(client, address(scene, assignment)) | {"text": "Half of it", "question": "Which *tide*?"}
    assert client.post(address(scene, assignment, "question/"), form).status_code == 302
    html = client.get(address(scene, assignment)).content.decode()
    assert "Half of it" in html and "Which <em>tide</em>?" in html and "Your question has been sent" in html
    assignment.refresh_from_db()
    assert assignment.draft["text"] == "Half of it" and "question" not in assignment.draft
    refused = client.post(address(scene, assignment, "question/"), form | {"question": " "}, follow=True)
    assert "is empty" in refused.content.decode() and Question.objects.get().messages.count() == 1


def test_by_script_only_the_thread_is_drawn_anew(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "demonstration")
    client.post(address(scene, assignment, "draft/"), {"text": "Half", "question": "<b>Why</b>?"}, headers=JSON)
    url, by_script = address(scene, assignment, "question/"), {"HX-Request": "true"}
    answer = client.post(url, {"question": "<b>Why</b>?"}, headers=by_script)
    html = answer.content.decode()
    assert answer.status_code == 200 and html.lstrip().startswith("<details") and "&lt;b&gt;Why" in html
    assignment.refresh_from_db()
    assert assignment.draft == {"text": "Half"}  # what was sent is no draft any more, and the rest stays
    refused = client.post(url, {"question": ""}, headers=by_script)
    assert refused.status_code == 422 and "is empty" in refused.content.decode()


def test_a_question_left_in_the_form_goes_with_the_label_or_stays_in_the_draft(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "demonstration")
    form = form_of(client, address(scene, assignment)) | {"text": "An answer.", "question": "Was that right?"}
    client.post(address(scene, assignment, "draft/"), form, headers=JSON)
    assert "Was that right?" in client.get(address(scene, assignment)).content.decode()
    assert client.post(address(scene, assignment), form).status_code == 302
    assert Demonstration.objects.count() == 1
    assert Question.objects.get().messages.get().body == "Was that right?"


def test_a_lead_finds_the_question_answers_and_resolves_it(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "demonstration")
    question = question_ask(assignment=assignment, body="Which tide?", by=scene.member(scene.alice))
    client = as_(scene.rita)
    shown = client.get(page(scene, "questions/")).content.decode()
    pseudonym = scene.member(scene.alice).pseudonym
    assert 'class="tab-count">1<' in shown and pseudonym in shown and "alice" not in shown
    url = page(scene, f"questions/{question.pk}/")
    thread = client.get(url).content.decode()
    assert "Which tide?" in thread and assignment.task.prompt.text in thread and "alice" not in thread
    assert client.post(url, {"decision": "answer", "body": ""}).status_code == 422
    assert client.post(url, {"decision": "answer", "body": "The spring tide."}).status_code == 302
    assert "The spring tide." not in client.get(page(scene, "questions/")).content.decode()
    assert "The spring tide." in client.get(page(scene, "questions/?state=")).content.decode()
    client.post(url, {"decision": "resolve", "body": "Closed, then."})
    question.refresh_from_db()
    assert question.state == "resolved" and question.messages.count() == 3  # what was written is sent all the same


def test_the_labeler_is_told_of_an_answer_and_nobody_else_is(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "demonstration")
    question = question_ask(assignment=assignment, body="Which tide?", by=scene.member(scene.alice))
    question_answer(question=question, body="The spring tide.", by=scene.rita)
    history = client.get(page(scene, "history/")).content.decode()
    assert 'class="tab-count">1<' in history and "The spring tide." in history and "rita" not in history
    task = client.get(address(scene, assignment)).content.decode()
    assert "The spring tide." in task and "rita" not in task
    assert "tab-count" not in client.get(page(scene, "history/")).content.decode()  # seen
    other = as_(scene.bob)
    assert other.get(address(scene, assignment)).status_code == 404
    theirs = other.get(page(scene, "history/")).content.decode()
    assert "spring tide" not in theirs and "tab-count" not in theirs


# --- Comments and returns ---------------------------------------------------------------------------------------------


def test_a_reviewer_returns_a_label_and_its_labeler_edits_it(as_, scene, labeled):
    client = as_(scene.rita)
    prompt = page(scene, f"prompts/{labeled.task.prompt_id}/")
    assert "Return to the labeler" in client.get(prompt).content.decode()
    comment = page(scene, f"labels/{labeled.pk}/comment/")
    answer = client.post(comment, {"decision": "return", "body": "Say **which** tide."}, follow=True)
    html = answer.content.decode()
    assert "returned to its labeler" in html and "Return to the labeler" not in html
    taken = client.post(comment, {"decision": "take_back"}, follow=True).content.decode()
    assert "has been taken back" in taken and "Return to the labeler" in taken
    client.post(comment, {"decision": "return", "body": "Say **which** tide, please."})
    client = as_(scene.alice)
    history = client.get(page(scene, "history/")).content.decode()
    assert (
        "Returned to you" in history and "Say <strong>which</strong> tide, please." in history and "rita" not in history
    )
    task = client.get(address(scene, labeled)).content.decode()
    assert "A reviewer returned this label to you" in task and "It rises." in task
    form = form_of(client, address(scene, labeled)) | {"text": "The spring tide rises.", "editing": "yes"}
    assert client.post(address(scene, labeled), form).status_code == 302
    assert not LabelComment.objects.filter(closed_at=None).exists()
    assert [label.response.text for label in Demonstration.objects.order_by("revision")] == [
        "It rises.",
        "The spring tide rises.",
    ]
    assert "What a reviewer said" in client.get(address(scene, labeled)).content.decode()


def test_a_comment_alone_returns_nothing_and_an_empty_one_is_refused(as_, scene, labeled):
    client = as_(scene.rita)
    comment = page(scene, f"labels/{labeled.pk}/comment/")
    assert "is empty" in client.post(comment, {"decision": "comment", "body": " "}, follow=True).content.decode()
    client.post(comment, {"decision": "comment", "body": "Well said."})
    assert not LabelComment.objects.get().returns
    client = as_(scene.alice)
    assert 'class="tab-count">1<' in client.get(page(scene, "label/")).content.decode()
    assert "Well said." in client.get(address(scene, labeled)).content.decode()


def test_the_history_costs_the_same_however_much_was_said(as_, scene, labeled, django_assert_num_queries: Any):
    client = as_(scene.alice)

    def queries() -> int:
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        with CaptureQueriesContext(connection) as captured:
            assert client.get(page(scene, "history/")).status_code == 200
        return len(captured)

    from annotation.services.feedback import label_comment
    from tests.factories import lease

    label_comment(assignment=labeled, body="Well.", returns=True, by=scene.rita)
    question_ask(assignment=labeled, body="Why?", by=labeled.labeler)
    before = queries()
    for _ in range(2):
        more = lease(scene.member(scene.alice), "demonstration")
        demonstration_submit(
            assignment=more, text="x", submission_id=uuid.uuid4(), started_at=None, active_seconds=1, by=more.labeler
        )
        question_ask(assignment=more, body="Why?", by=more.labeler)
        label_comment(assignment=more, body="Well.", returns=True, by=scene.rita)
    assert queries() == before


# --- Guidelines that changed ------------------------------------------------------------------------------------------


def test_changed_guidelines_come_between_and_the_draft_waits(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "demonstration")
    form = form_of(client, address(scene, assignment)) | {"text": "Half of it"}
    client.post(address(scene, assignment, "draft/"), form, headers=JSON)
    body = scene.project.guidelines.get().body + "\n- Never use the word <b>nice</b>.\n"
    guideline_publish(project=scene.project, body=body, by=scene.ada)
    read = page(scene, "guidelines/read/")
    assert client.get(address(scene, assignment)).url == read
    assert client.post(page(scene, "label/")).url == read
    html = client.get(read).content.decode()
    assert "you have read version 1" in html
    assert "<ins>" in html and "Never use the word &lt;b&gt;nice" in html
    assert (
        client.post(address(scene, assignment, "draft/"), form | {"text": "Half of it, more"}, headers=JSON).status_code
        == 200
    )
    assert client.post(read, {"version": "1"}).status_code == 422
    assert client.post(read, {"version": "2"}).url == address(scene, assignment)
    assert "Half of it, more" in client.get(address(scene, assignment)).content.decode()
    assert GuidelineAcknowledgement.objects.get().guideline.version == 2
    assert client.get(read).url == page(scene, "guidelines/")  # nothing to read any more


def test_what_is_submitted_meanwhile_is_taken_and_then_the_change_is_shown(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "demonstration")
    form = form_of(client, address(scene, assignment)) | {"text": "Done."}
    guideline_publish(project=scene.project, body="New rules.", by=scene.ada)
    answer = client.post(address(scene, assignment), form, headers=JSON)
    assert answer.status_code == 200 and answer.json()["next"] == page(scene, "guidelines/read/")
    assert Demonstration.objects.get().guideline.version == 1


def test_the_first_start_is_below_the_guidelines_and_is_kept(as_, scene):
    client = as_(scene.alice)
    html = client.get(page(scene, "label/")).content.decode()
    assert "By starting you say that you have read the guidelines, version 1." in html and "How to label" in html
    client.post(page(scene, "label/"), {"guideline_version": "1"})
    assert GuidelineAcknowledgement.objects.get().membership == scene.member(scene.alice)
