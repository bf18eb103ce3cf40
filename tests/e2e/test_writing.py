"""Nothing written is lost, however the network, the session or the browser fail; and answers are read well: by touch,
in a narrow window, with formulas and code, one against another."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from annotation.models import Assignment, Demonstration, Prompt, Ranking, Response
from annotation.services.prompt_writing import prompt_tasks_create
from tests.conftest import wait_for
from tests.e2e.axe import assert_accessible
from tests.e2e.board import board, middle, on_board
from tests.e2e.conftest import session_cookie
from tests.frontend.scene import Scene, make_scene

pytestmark = pytest.mark.django_db(transaction=True)

COPIES = "Object.keys(localStorage).filter(key => key.startsWith('plackett:draft'))"
HERE = "Not saved: no connection; kept in this browser"
LONG = "A sentence about rivers, neither short nor of great interest. " * 40
RICH = [
    "The area is $\\pi r^2$:\n\n$$\n\\int_0^r 2 \\pi t \\, dt\n$$\n\n"
    "```python\ndef area(r):\n    return 3.14 * r ** 2  # about\n```\n\n" + LONG,
    "The area is $\\pi r^2$ or $\\href{javascript:alert(1)}{x}$ or $\\frac{$, **注意：**约等于 3.14 r²。\n\n"
    "| r | area |\n|---|--:|\n| 1 | 3.14 |\n\n" + LONG,
]


@pytest.fixture
def scene(transactional_db: None) -> Scene:
    return make_scene()


def start(page: Page, scene: Scene, kind: str) -> None:
    page.goto(f"/p/{scene.project.slug}/label/")
    page.get_by_role("button", name=kind).click()
    expect(page.locator(".task-form")).to_be_visible()
    page.wait_for_load_state()  # its scripts too, before anybody goes offline


def test_what_is_written_and_submitted_offline_is_submitted_once(open_browser, scene):
    page = open_browser(scene.alice)
    start(page, scene, "Only write demonstrations")
    page.context.set_offline(True)
    page.locator("#text").fill("Written on a train.")
    expect(page.locator("#save-state")).to_have_text(HERE)
    expect(page.locator("#save-live")).to_have_text(HERE)
    page.locator("#submit").click()
    expect(page.locator("#send-problem")).to_contain_text("the server cannot be reached")
    page.goto("about:blank")  # the browser is closed and opened again
    page.context.set_offline(False)
    page.goto(f"/p/{scene.project.slug}/label/")
    page.locator("#kept-here a").click()
    expect(page.locator("#text")).to_have_value("Written on a train.")
    expect(page.locator("#unsent")).to_contain_text("kept here and not submitted yet")
    expect(page.locator("#save-state")).to_have_text(re.compile("Saved"))
    assert page.evaluate(COPIES) != []  # that it was submitted is not saved on the server
    assert_accessible(page)
    lost = []

    def lose(route):  # the server has it, and the browser does not hear of it
        lost.append(route.fetch())
        route.abort()

    address = page.url
    page.route(address, lambda route: lose(route) if route.request.method == "POST" else route.continue_())
    page.get_by_role("button", name="Submit it now").click()
    expect(page.locator("#send-problem")).to_be_visible()
    page.locator("#submit").click()
    expect(page.locator("#send-problem")).to_be_visible()
    page.unroute(address)
    assert len(lost) == 2 and Demonstration.objects.get().response.text == "Written on a train."
    page.reload()
    expect(page.locator("#submit")).to_have_text("Save as a new revision")
    expect(page.locator("#unsent")).to_be_hidden()
    assert Demonstration.objects.count() == 1 and page.evaluate(COPIES) == []


def test_what_one_wrote_is_found_again_by_them_and_read_by_nobody_else(open_browser, scene, live_server):
    page = open_browser(scene.alice)
    start(page, scene, "Only write demonstrations")
    task = page.url
    page.context.clear_cookies(name="sessionid")
    page.locator("#text").fill("Only for the lead.")
    expect(page.locator("#save-state")).to_have_text("Not saved: you are signed out; kept in this browser")
    wait_for(lambda: "lead" not in page.evaluate("JSON.stringify(localStorage)"), what="the copy to be sealed")
    page.context.add_cookies([session_cookie(scene.bob, live_server.url)])
    page.goto(f"/p/{scene.project.slug}/label/")
    expect(page.locator("#kept-here")).to_be_hidden()
    assert "lead" not in page.evaluate("JSON.stringify(localStorage)") and len(page.evaluate(COPIES)) == 1
    page.goto("about:blank")
    page.context.add_cookies([session_cookie(scene.alice, live_server.url)])
    page.goto(task)
    expect(page.locator("#text")).to_have_value("Only for the lead.")
    expect(page.locator("#save-state")).to_have_text(re.compile("Saved"))
    assert Assignment.objects.get(task__kind="demonstration").draft["text"] == "Only for the lead."
    # Typing on without a rest is saved all the same, and what is on its way goes along at sign-out.
    page.clock.install()
    page.clock.pause_at(datetime.now(UTC) + timedelta(minutes=1))  # from here on time passes only where it says so
    for _piece in range(4):
        page.locator("#text").press_sequentially(" more")
        page.clock.run_for(700)
    wait_for(lambda: "more" in Assignment.objects.get(task__kind="demonstration").draft["text"], seconds=15)
    page.clock.resume()
    page.locator("#text").press_sequentially(" at last")
    page.locator("details.menu summary").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(re.compile("/sign-in/"))
    assert Assignment.objects.get(task__kind="demonstration").draft["text"].endswith(" at last")
    assert page.evaluate(COPIES) == []


def test_answers_are_read_with_formulas_and_code_and_against_each_other(open_browser, scene):
    for response, text in zip(Response.objects.order_by("id"), RICH * 4, strict=False):
        Response.objects.filter(pk=response.pk).update(text=text)
    Prompt.objects.filter(pool="rm").update(messages=[{"role": "user", "content": LONG}])
    page = open_browser(scene.alice)
    start(page, scene, "Only rank answers")
    expect(page.locator(".answer .katex").first).to_be_visible()
    assert page.locator(".answer pre .k").count() and not page.locator(".answer a").count()
    assert set(page.locator(".math-unread").all_inner_texts()) == {"\\frac{"}  # what KaTeX can't read stays as it is
    formulas = page.locator(".math-inline:not(.math-unread), .math-display")
    drawn = formulas.evaluate_all("nodes => nodes.map(node => node.querySelector('annotation').textContent)")
    written = {"\\pi r^2", "\\int_0^r 2 \\pi t \\, dt", "\\href{javascript:alert(1)}{x}"}
    assert set(drawn) == written  # each once, from what was written
    page.keyboard.press("d")
    expect(page.locator("#difference-first")).to_be_focused()
    letters = page.locator(".answer").evaluate_all(
        "nodes => nodes.map(node => [node.dataset.letter, node.dataset.source])"
    )
    first = letters[0][1]
    other = next(position for position, (_letter, text) in enumerate(letters) if text != first)
    page.locator("#difference-second").select_option(str(other))
    expect(page.locator("#differences [role=status]")).to_contain_text("differences. Struck through: only in A.")
    assert page.locator("#differences ins").count() and page.locator("#differences del").count()
    assert page.locator("#differences ins").first.get_attribute("data-says").startswith("only in ")
    expect(page.locator("#save-state")).to_have_text("Nothing to save yet")  # looking changes no label
    assert_accessible(page)
    page.get_by_role("button", name="Stacked").click()
    expect(page.locator(".answers")).to_have_attribute("data-layout", "stacked")
    page.set_viewport_size({"width": 640, "height": 450})  # 1280 by 900 at 200 %
    page.locator("#answer-3 .scale label").last.scroll_into_view_if_needed()
    turn = page.locator(".context .turn").first.bounding_box()
    assert turn is not None and 0 <= turn["y"] < 200  # the conversation is in view still
    for card in page.locator(".answer-text").all():
        assert card.evaluate("text => text.scrollHeight <= text.clientHeight + 1")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.reload()
    expect(page.locator(".answers")).to_have_attribute("data-layout", "stacked")
    assert_accessible(page)


def test_everything_is_done_by_touch(open_browser, scene):
    page = open_browser(scene.alice, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.goto(f"/p/{scene.project.slug}/label/")
    page.get_by_role("button", name="Only rank answers").tap()
    expect(page.locator(".board-row")).to_have_count(4)
    small = page.locator(
        "main button:visible, main summary:visible, main select:visible, main label.choice:visible, .scale span"
    )
    too_low = "nodes => nodes.filter(node => node.getBoundingClientRect().height < 43.5).map(node => node.outerHTML)"
    assert small.evaluate_all(too_low) == []
    assert page.locator(".board-buttons button").evaluate_all(too_low.replace("height", "width")) == []
    for position in range(4):
        page.locator(f"#answer-{position} .scale label").nth(4).tap()
    page.get_by_role("button", name="Move answer B up").tap()
    assert board(page) == ["B", "A", "C", "D"]
    page.locator("#board").scroll_into_view_if_needed()
    touch_drag(page, "D", *middle(page.locator(".board-gap").first))
    assert board(page) == ["D", "B", "A", "C"]
    page.locator("#submit").tap()
    expect(page.get_by_text("Your label has been saved.")).to_be_visible()
    assert [row.rank for row in Ranking.objects.get().ranked_responses.order_by("position")] == [3, 2, 4, 1]


def touch_drag(page: Page, letter: str, to_x: float, to_y: float) -> None:
    """A finger rests on the grip, then moves: as the browser's own touch events, not as a mouse."""
    client = page.context.new_cdp_session(page)
    x, y = middle(on_board(page, letter).locator(".grip"))

    def send(kind: str, *points: tuple[float, float]) -> None:
        touches = [{"x": px, "y": py} for px, py in points]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    send("touchStart", (x, y))
    page.wait_for_timeout(250)  # longer than the rest that tells dragging from scrolling
    for step in range(1, 9):
        send("touchMove", (x + (to_x - x) * step / 8, y + (to_y - y) * step / 8))
        page.wait_for_timeout(40)
    page.wait_for_timeout(250)
    send("touchEnd")
    expect(page.locator(".board-dragging")).to_have_count(0)


def test_a_few_shot_prompt_is_written_by_keyboard(open_browser, scene):
    prompt_tasks_create(project=scene.project, style="few_shot", number=2, pool="sft", by=scene.rita)
    page = open_browser(scene.alice)
    start(page, scene, "Only write prompts")
    expect(page.get_by_role("heading", level=1)).to_have_text("Write a prompt")
    expect(page.locator(".pair:visible")).to_have_count(2)
    page.keyboard.press("Tab")
    page.locator("#instruction").fill("Translate into French.")
    for number, (query, answer) in enumerate([("cat", "chat"), ("dog", "chien")]):
        page.locator(f"#query-{number}").fill(query)
        page.locator(f"#answer-{number}").fill(answer)
    page.get_by_role("button", name="One more example").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#query-2")).to_be_focused()
    page.keyboard.type("fish")
    page.locator("#answer-2").fill("poisson")
    expect(page.locator("#save-state")).to_have_text(re.compile("Saved"))
    page.reload()
    expect(page.locator(".pair:visible")).to_have_count(3)
    page.locator("#query").fill("bird")
    page.locator("#category").select_option("Other")
    page.locator("#language").fill("en")
    assert_accessible(page)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Your label has been saved.")).to_be_visible()
    assert len(Prompt.objects.get(source_name="few_shot").messages) == 7
    # The lead's page finds it written.
    lead = open_browser(scene.rita, viewport={"width": 640, "height": 512})
    lead.goto(f"/p/{scene.project.slug}/queue/prompt-writing/")
    expect(lead.get_by_role("row").nth(1)).to_contain_text("Few-shot")
