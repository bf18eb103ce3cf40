"""The ranking form's own fields, partial orders, questions and changed guidelines in a browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from annotation.models import Question, Ranking
from annotation.services.feedback import question_answer
from annotation.services.forms import form_publish
from annotation.services.guidelines import guideline_publish
from tests.e2e.axe import assert_accessible
from tests.e2e.board import board, drag, middle, name_of
from tests.frontend.scene import Scene, make_scene

pytestmark = pytest.mark.django_db(transaction=True)

FIELDS = {
    "rating": {"minimum": 1, "maximum": 10},
    "flags": ["hallucination"],
    "prompt_fields": [
        {"key": "ambiguous"},
        {"key": "audience", "label": "For whom?", "type": "choice", "choices": ["a child", "an expert"]},
        {"key": "note", "label": "What else?", "type": "text"},
    ],
    "allow_partial": True,
}


@pytest.fixture
def scene(transactional_db: None) -> Scene:
    made = make_scene(demonstrations=0)
    form_publish(project=made.project, fields=FIELDS, based_on=1, by=made.ada)
    return made


def test_answers_are_left_unranked_by_key_and_by_mouse_and_the_prompt_has_fields_of_its_own(open_browser, scene):
    page = open_browser(scene.alice, color_scheme="dark", locale="zh-CN")
    page.goto(f"/p/{scene.project.slug}/label/")
    page.locator("form button.button-primary").click()
    expect(page.locator(".board-row")).to_have_count(4)
    shelf = page.locator(".board-shelf .board-row")
    name_of(page, "A").press("Delete")
    expect(shelf).to_have_count(1)
    expect(name_of(page, "A")).to_be_focused()
    drag(page, "D", *middle(page.locator(".board-shelf")))
    expect(shelf).to_have_count(2)
    assert board(page)[:2] == ["B", "C"]
    page.locator("#answer-1").press("7")
    page.locator("#answer-2").press("0")  # 10
    page.locator("[name=field-ambiguous]").check()
    page.locator("[name=field-audience]").select_option("a child")
    page.locator("[name=field-note]").fill("短")
    expect(page.locator(".contradictions")).to_be_visible()
    name_of(page, "C").press("1")
    name_of(page, "C").press("Alt+ArrowUp")
    expect(page.locator("#save-state")).to_have_attribute("data-tone", "good")
    page.reload()
    expect(shelf).to_have_count(2)  # what was left unranked stays so
    expect(page.locator("[name=field-note]")).to_have_value("短")
    assert_accessible(page)
    name_of(page, "D").press("3")
    name_of(page, "D").press("0")
    page.locator("#submit").click()
    expect(page.locator(".notice-success")).to_be_visible()
    label = Ranking.objects.get()
    rows = label.ranked_responses.order_by("position")
    assert [(row.rank, row.rating) for row in rows] == [(None, None), (2, 7), (1, 10), (None, None)]
    assert label.prompt_fields == {"ambiguous": True, "audience": "a child", "note": "短"}


def test_without_ties_a_rank_is_taken_and_two_are_ranked_at_least(open_browser, scene):
    form_publish(project=scene.project, fields=FIELDS | {"allow_ties": False}, based_on=2, by=scene.ada)
    page = open_browser(scene.alice)
    rank_first(page, scene)
    name_of(page, "D").press("1")
    drag(page, "C", *middle(name_of(page, "A")))  # onto another: before or after it, never with it
    assert board(page)[0] == "D" and all(len(tier) == 1 for tier in board(page))
    for letter in "ABC":
        name_of(page, letter).press("0")
    page.locator("#answer-3").press("4")
    page.locator("#submit").click()
    expect(page.locator("#send-problem")).to_have_text("Rank at least two answers.")
    assert not Ranking.objects.exists()


def rank_first(page, scene):
    page.goto(f"/p/{scene.project.slug}/label/")
    page.get_by_role("button", name="Start labeling").click()
    expect(page.locator(".board-row")).to_have_count(4)


def test_a_question_is_asked_from_the_task_and_what_changed_is_read_before_going_on(open_browser, scene):
    page = open_browser(scene.alice)
    rank_first(page, scene)
    name_of(page, "C").press("1")
    page.get_by_role("group").filter(has_text="Ask the lead").get_by_text("Ask the lead").click()
    page.get_by_label("Your question").fill("Which rivers count?")
    page.get_by_role("button", name="Send the question").click()
    expect(page.get_by_text("Your question has been sent.")).to_be_visible()
    assert sorted(board(page)[0]) == ["A", "C"]  # nothing of the form is lost
    assert not Ranking.objects.exists()
    expect(page.locator("#save-state")).to_have_text(re.compile("Saved"))
    question_answer(question=Question.objects.get(), body="Those in Europe.", by=scene.rita)
    guideline_publish(project=scene.project, body="# How to label\n\nRivers of Europe only.", by=scene.ada)
    task = page.url
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("The guidelines have changed")
    expect(page.locator(".document-changes ins").last).to_contain_text("Rivers of Europe only.")
    assert_accessible(page)
    page.get_by_role("button", name="I have read this").click()
    expect(page).to_have_url(task)
    expect(page.locator("#question")).to_contain_text("Those in Europe.")
    assert sorted(board(page)[0]) == ["A", "C"]
    assert_accessible(page)
    page.goto(f"/p/{scene.project.slug}/history/")
    assert_accessible(page)
