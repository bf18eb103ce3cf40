"""The labeler's pages in a browser: writing, ranking by mouse and by keyboard, and what must survive a bad network."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from annotation.models import Assignment, Demonstration, Ranking
from annotation.services.comparisons import comparison_tasks_create
from annotation.services.corrections import correction_tasks_create
from annotation.services.invitations import invitation_create
from tests.e2e.axe import assert_accessible
from tests.e2e.board import board, drag, middle, name_of, on_board, rate_all
from tests.e2e.newcomer import Newcomer
from tests.factories import ModelFactory, PromptFactory, ResponseFactory
from tests.frontend.scene import Scene, make_scene

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def scene(transactional_db: None) -> Scene:
    return make_scene()


def start(page: Page, scene: Scene, kind: str) -> None:
    page.goto(f"/p/{scene.project.slug}/label/")
    page.get_by_role("button", name=kind).click()
    page.wait_for_load_state()


def write(page: Page, scene: Scene) -> None:
    start(page, scene, "Only write demonstrations")
    expect(page.get_by_role("heading", level=1)).to_have_text("Write the answer")


def rank(page: Page, scene: Scene) -> None:
    start(page, scene, "Only rank answers")
    expect(page.locator(".board-row")).to_have_count(4)


# --- Writing -------------------------------------------------------------------------------------------------------


def test_a_demonstration_is_saved_while_it_is_written_and_submitted_by_a_key(open_browser, scene):
    page = open_browser(scene.alice)
    write(page, scene)
    page.locator("#text").press_sequentially("The tide rises ")
    expect(page.locator("#save-state")).to_have_text("Saving…")
    expect(page.locator("#save-state")).to_have_text(re.compile(r"Saved \d\d:\d\d"))
    expect(page.locator("#word-count")).to_have_text("3 words")
    page.reload()
    expect(page.locator("#text")).to_have_value("The tide rises ")
    page.locator("#text").fill("The tide rises and falls.")
    page.locator("#text").press("Control+Enter")
    expect(page.get_by_text("Your label has been saved.")).to_be_visible()
    expect(page.locator("#text")).to_have_value("")
    assert Demonstration.objects.get().response.text == "The tide rises and falls."
    assert Demonstration.objects.get().active_seconds > 0


def test_the_writing_box_grows(open_browser, scene):
    page = open_browser(scene.alice)
    write(page, scene)
    before = page.locator("#text").bounding_box()["height"]
    page.locator("#text").fill("line\n" * 40)
    after = page.locator("#text").bounding_box()["height"]
    assert after > before + 300
    assert page.locator("#text").evaluate("box => box.scrollHeight <= box.clientHeight + 2")


def test_clicking_submit_twice_makes_one_label(open_browser, scene):
    page = open_browser(scene.alice)
    write(page, scene)
    page.locator("#text").fill("Once.")
    page.locator("#submit").dblclick()
    expect(page.get_by_text("Your label has been saved.")).to_be_visible()
    assert Demonstration.objects.count() == 1


def test_going_back_shows_what_was_submitted(open_browser, scene):
    page = open_browser(scene.alice)
    write(page, scene)
    page.locator("#text").fill("Now or never.")
    page.locator("#submit").click()
    expect(page.get_by_text("Your label has been saved.")).to_be_visible()
    page.go_back()
    expect(page.locator("#text")).to_have_value("Now or never.")
    expect(page.locator("#submit")).to_have_text("Save as a new revision")
    page.locator("#text").fill("Now.")
    page.locator("#submit").click()
    expect(page).to_have_url(re.compile("/history/$"))
    assert [row.response.text for row in Demonstration.objects.order_by("revision")] == ["Now or never.", "Now."]


def test_losing_the_network_loses_nothing(open_browser, scene):
    page = open_browser(scene.alice)
    write(page, scene)
    page.context.set_offline(True)
    page.locator("#text").fill("Written on a train.")
    expect(page.locator("#save-state")).to_have_text("Not saved: no connection; kept in this browser")
    page.locator("#submit").click()
    expect(page.locator("#send-problem")).to_contain_text("the server cannot be reached")
    expect(page.locator("#text")).to_have_value("Written on a train.")
    assert not Demonstration.objects.exists()
    page.context.set_offline(False)
    page.locator("#submit").click()
    expect(page.get_by_text("Your label has been saved.")).to_be_visible()
    assert Demonstration.objects.get().response.text == "Written on a train."


def test_a_server_that_fails_for_a_while_loses_nothing(open_browser, scene):
    """What a proxy says while a web process is being killed and started."""
    page = open_browser(scene.alice)
    write(page, scene)

    def fail(route):
        if route.request.method == "POST":
            route.fulfill(status=503, body="Bad gateway")
        else:
            route.continue_()

    page.route("**/*", fail)
    page.locator("#text").fill("Written while it was down.")
    expect(page.locator("#save-state")).to_have_text("Not saved: the server has a problem; kept in this browser")
    page.locator("#submit").click()
    expect(page.locator("#send-problem")).to_contain_text("the server had a problem")
    assert not Demonstration.objects.exists()
    page.unroute("**/*", fail)
    expect(page.locator("#save-state")).to_have_text(re.compile("Saved"))  # it tries again by itself
    page.locator("#submit").click()
    expect(page.get_by_text("Your label has been saved.")).to_be_visible()
    assert Demonstration.objects.get().response.text == "Written while it was down."


def test_an_answer_that_got_lost_on_the_way_back_makes_one_label(open_browser, scene):
    """The server has the label, the browser never hears of it: sending again adds nothing."""
    page = open_browser(scene.alice)
    write(page, scene)
    page.locator("#text").fill("Heard twice.")
    expect(page.locator("#save-state")).to_have_text(re.compile("Saved"))
    lost = []

    def lose(route):
        if route.request.method == "POST" and not lost:
            lost.append(route.fetch())
            route.abort()
        else:
            route.continue_()

    page.route(page.url, lose)
    page.locator("#submit").click()
    expect(page.locator("#send-problem")).to_be_visible()
    assert Demonstration.objects.count() == 1
    page.locator("#submit").click()
    expect(page.get_by_text("Your label has been saved.")).to_be_visible()
    assert Demonstration.objects.count() == 1


def test_what_the_server_never_got_is_restored_from_the_browser(open_browser, scene):
    page = open_browser(scene.alice)
    write(page, scene)
    page.route("**/draft/", lambda route: route.abort())
    page.locator("#text").fill("Only here.")
    expect(page.locator("#save-state")).to_have_text("Not saved: no connection; kept in this browser")
    page.unroute("**/draft/")
    assert Assignment.objects.get().draft == {}
    page.reload()
    expect(page.locator("#text")).to_have_value("Only here.")
    expect(page.locator("#save-state")).to_have_text(re.compile("Saved"))
    assert Assignment.objects.get().draft["text"] == "Only here."
    assert page.evaluate("Object.keys(localStorage).filter(key => key.startsWith('plackett:draft'))") == []


def test_a_browser_whose_clock_is_behind_restores_its_newer_words(open_browser, scene):
    page = open_browser(scene.alice)
    page.clock.install(time=datetime.now(UTC) - timedelta(hours=3))
    write(page, scene)
    page.locator("#text").fill("Older words.")
    expect(page.locator("#save-state")).to_have_text(re.compile("Saved"))
    page.route("**/draft/", lambda route: route.abort())
    page.locator("#text").fill("Newer words.")
    expect(page.locator("#save-state")).to_have_text("Not saved: no connection; kept in this browser")
    page.unroute("**/draft/")
    assert Assignment.objects.get().draft["text"] == "Older words."
    page.reload()
    expect(page.locator("#text")).to_have_value("Newer words.")


def test_of_two_versions_neither_replaces_the_other_unseen(open_browser, scene):
    page = open_browser(scene.alice)
    write(page, scene)
    page.route("**/draft/", lambda route: route.abort())
    page.locator("#text").fill("On the old laptop.")
    expect(page.locator("#save-state")).to_have_text("Not saved: no connection; kept in this browser")
    elsewhere = open_browser(scene.alice)
    elsewhere.goto(page.url)
    elsewhere.locator("#text").fill("On the new one.")
    expect(elsewhere.locator("#save-state")).to_have_text(re.compile("Saved"))
    page.reload()
    expect(page.locator("#text")).to_have_value("On the new one.")
    versions = page.locator("#versions")
    expect(versions).to_contain_text(re.compile("In the form: the one saved on the server, .* \\(newer\\). Put aside"))
    versions.get_by_role("button", name="Put the other one into the form").click()
    expect(page.locator("#text")).to_have_value("On the old laptop.")
    page.unroute("**/draft/")
    expect(page.locator("#save-state")).to_have_text(re.compile("Saved"))
    page.reload()  # neither is lost before one of them is thrown away
    expect(versions.locator("pre")).to_have_text("On the new one.")
    versions.get_by_role("button", name="Keep what is in the form").click()
    expect(versions).to_be_hidden()
    page.reload()
    expect(page.locator("#text")).to_have_value("On the old laptop.")
    expect(versions).to_be_hidden()


def test_a_lost_lease_is_said_and_the_label_is_kept(open_browser, scene, settings):
    settings.LABEL_LEASE_SECONDS = 8
    page = open_browser(scene.alice)
    write(page, scene)
    page.locator("#text").fill("Slowly")
    Assignment.objects.update(status="skipped", slot=None)
    expect(page.locator("#lease-lost")).to_be_visible()
    page.locator("#submit").click()
    expect(page.get_by_text("Your label has been saved.")).to_be_visible()
    assert Demonstration.objects.get().response.text == "Slowly"


def test_time_without_a_key_or_a_pointer_is_not_work(open_browser, scene):
    page = open_browser(scene.alice)
    page.clock.install()
    write(page, scene)
    page.locator("#text").press_sequentially("a")
    page.clock.run_for(10 * 60 * 1000)
    counted = float(page.locator("[name=active_seconds]").input_value())
    assert 30 <= counted <= 65


def test_skipping_asks_why_and_leads_on(open_browser, scene):
    page = open_browser(scene.alice)
    write(page, scene)
    first = page.url
    page.get_by_role("button", name="Skip…").click()
    dialog = page.get_by_role("dialog", name="Skip this task")
    dialog.get_by_label("The prompt is too unclear").check()
    dialog.get_by_label("Note (optional)").fill("Which one?")
    dialog.get_by_role("button", name="Skip it").click()
    expect(page.get_by_text("Skipped.")).to_be_visible()
    assert page.url != first
    assert Assignment.objects.get(status="skipped").skip_note == "Which one?"


# --- Ranking -------------------------------------------------------------------------------------------------------


def test_ranking_by_keyboard_alone(open_browser, scene):
    page = open_browser(scene.alice)
    rank(page, scene)
    for rating in ("7", "4", "4", "1"):
        page.keyboard.press("n")
        page.keyboard.press(rating)
    page.keyboard.press("f")
    page.keyboard.press("Space")
    page.keyboard.press("Escape")
    page.locator("#answer-3").focus()
    page.keyboard.press("r")
    expect(name_of(page, "A")).to_be_focused()
    page.keyboard.press("3")
    assert board(page) == ["B", "AC", "D"]
    expect(page.locator("#announcer")).to_have_text("Answer A: rank 3, tied with C.")
    expect(name_of(page, "A")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(name_of(page, "C")).to_be_focused()
    page.keyboard.press("1")
    assert board(page) == ["C", "B", "A", "D"]
    page.keyboard.press("2")
    assert board(page) == ["BC", "A", "D"]
    name_of(page, "D").focus()
    page.keyboard.press("Alt+ArrowUp")
    assert board(page) == ["BC", "D", "A"]
    page.keyboard.press("=")
    assert board(page) == ["BCD", "A"]
    page.keyboard.press("Alt+ArrowDown")
    assert board(page) == ["BC", "D", "A"]
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Your label has been saved.")).to_be_visible()
    rows = list(Ranking.objects.get().ranked_responses.order_by("position"))
    assert [row.rank for row in rows] == [3, 1, 1, 2]
    assert [row.rating for row in rows] == [7, 4, 4, 1]
    assert rows[3].flags == ["fails_to_follow"]


def test_ranking_by_dragging(open_browser, scene):
    page = open_browser(scene.alice)
    rank(page, scene)
    drag(page, "D", *middle(page.locator(".board-gap").first))
    assert board(page) == ["D", "A", "B", "C"]
    drag(page, "C", *middle(on_board(page, "A")))
    assert board(page) == ["D", "AC", "B"] or board(page) == ["D", "CA", "B"]
    rate_all(page)
    page.locator("#submit").click()
    expect(page.get_by_text("Your label has been saved.")).to_be_visible()
    assert [row.rank for row in Ranking.objects.get().ranked_responses.order_by("position")] == [2, 3, 2, 1]


def test_an_answer_that_is_dropped_beside_the_board_is_not_lost(open_browser, scene):
    """Lists of before the last move used to catch it, and it was in none: the label lacked a rank."""
    page = open_browser(scene.alice)
    rank(page, scene)
    drag(page, "D", *middle(page.locator(".board-gap").first))
    for letter, x, y in (("C", 0.5, -10), ("B", 0.5, -60), ("A", 0.5, -200), ("D", -0.5, 40), ("C", 0.5, 400)):
        box = page.locator("#board").bounding_box()
        drag(page, letter, box["x"] + x * box["width"], max(15, box["y"] + y))
        assert sorted("".join(board(page))) == ["A", "B", "C", "D"], f"{letter} was dropped at {x}, {y}"
    rate_all(page)
    page.locator("#submit").click()
    expect(page.get_by_text("Your label has been saved.")).to_be_visible()
    assert all(row.rank for row in Ranking.objects.get().ranked_responses.all())


def test_what_came_without_a_rank_is_last_and_tied_with_nobody(open_browser, scene):
    page = open_browser(scene.alice)
    rank(page, scene)
    draft = {"rank-0": "1", "rank-1": "", "rank-2": "2", "rank-3": "3", "touched": "yes"}
    Assignment.objects.update(draft=draft)
    page.reload()
    assert board(page) == ["A", "C", "D", "B"]


def test_ranking_by_the_buttons(open_browser, scene):
    page = open_browser(scene.alice)
    rank(page, scene)
    page.get_by_role("button", name="Move answer B up").click()
    assert board(page) == ["B", "A", "C", "D"]
    page.get_by_role("button", name="Tie answer D with the one above").click()
    assert board(page) == ["B", "A", "CD"]
    page.get_by_role("button", name="Move answer C down").click()
    assert board(page) == ["B", "A", "D", "C"]
    expect(page.get_by_role("button", name="Move answer B up")).to_be_disabled()


def test_an_order_that_nobody_touched_is_asked_about(open_browser, scene):
    page = open_browser(scene.alice)
    rank(page, scene)
    rate_all(page)
    page.locator("#submit").click()
    dialog = page.get_by_role("dialog", name="You have not changed the order")
    expect(dialog).to_contain_text("A > B > C > D")
    dialog.get_by_role("button", name="Let me rank them").click()
    assert not Ranking.objects.exists()
    page.locator("#submit").click()
    page.get_by_role("button", name="Yes, submit this order").click()
    expect(page.get_by_text("Your label has been saved.")).to_be_visible()
    assert [row.rank for row in Ranking.objects.get().ranked_responses.order_by("position")] == [1, 2, 3, 4]


def test_a_rank_against_the_ratings_is_pointed_out(open_browser, scene):
    page = open_browser(scene.alice)
    rank(page, scene)
    page.locator("#answer-0 .scale label").nth(1).click()
    page.locator("#answer-1 .scale label").nth(5).click()
    hint = page.locator(".contradictions")
    expect(hint).to_have_text("A is ranked above B, but rated lower (2 against 6).")
    name_of(page, "B").press("1")
    expect(hint).to_be_hidden()


def test_a_half_done_ranking_comes_back(open_browser, scene):
    page = open_browser(scene.alice)
    rank(page, scene)
    page.locator("#answer-2 .scale label").nth(6).click()
    name_of(page, "C").press("1")
    expect(page.locator("#save-state")).to_have_text(re.compile("Saved"))
    page.reload()
    assert sorted(board(page)[0]) == ["A", "C"]
    expect(page.locator("#answer-2 input[value='7']")).to_be_checked()


def test_what_is_missing_is_named_by_the_browser_before_anything_is_sent(open_browser, scene):
    page = open_browser(scene.alice)
    rank(page, scene)
    name_of(page, "B").press("1")
    page.locator("#submit").click()
    assert page.locator("input:invalid").count() > 0
    assert not Ranking.objects.exists()


def test_the_answers_stand_side_by_side_or_stacked(open_browser, scene):
    page = open_browser(scene.alice)
    rank(page, scene)

    def tops() -> set[float]:
        return {page.locator(f"#answer-{position}").bounding_box()["y"] for position in (0, 1)}

    assert len(tops()) == 1
    page.get_by_role("button", name="Stacked").click()
    assert len(tops()) == 2
    page.reload()
    assert len(tops()) == 2


def test_no_answer_is_cut_off_and_the_conversation_stays_in_view(open_browser, scene):
    page = open_browser(scene.alice)
    rank(page, scene)
    for card in page.locator(".answer-text").all():
        assert card.evaluate("text => text.scrollHeight <= text.clientHeight + 1")
    page.locator("#answer-3").scroll_into_view_if_needed()
    page.mouse.wheel(0, 4000)
    page.wait_for_timeout(200)
    assert page.locator(".context .turn").first.bounding_box()["y"] >= 0


def test_without_script_the_plain_form_ranks(open_browser, scene):
    page = open_browser(scene.alice, java_script_enabled=False)
    start(page, scene, "Only rank answers")
    for position, chosen in enumerate(("2", "1", "2", "3")):
        page.locator(f"#rank-{position}").select_option(chosen)
        page.locator(f"#answer-{position} .scale label").nth(3).click()
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text("Your label has been saved.")).to_be_visible()
    assert [row.rank for row in Ranking.objects.get().ranked_responses.order_by("position")] == [2, 1, 2, 3]


def test_keys_are_listed_and_the_single_ones_can_be_switched_off(open_browser, scene):
    page = open_browser(scene.alice)
    rank(page, scene)
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys")
    expect(dialog).to_contain_text("the same rank twice is a tie")
    dialog.get_by_label("Use single keys").uncheck()
    dialog.get_by_role("button", name="Close").click()
    page.keyboard.press("?")
    expect(dialog).to_be_hidden()


# --- Comparing two models ------------------------------------------------------------------------------------------


def test_two_answers_are_compared_by_keys(open_browser, scene):
    models = ModelFactory.create_batch(2, project=scene.project)
    for prompt in PromptFactory.create_batch(2, project=scene.project):
        for model in models:
            ResponseFactory(prompt=prompt, model=model)
    comparison_tasks_create(project=scene.project, first=models[0].pk, second=models[1].pk, by=scene.ada)
    page = open_browser(scene.alice)
    start(page, scene, "Only compare pairs")
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare the two answers")
    page.keyboard.press("3")
    expect(page.get_by_label("B is better")).to_be_checked()
    expect(page.locator("#save-state")).to_have_text(re.compile("Saved"))
    assert_accessible(page)
    page.reload()
    expect(page.get_by_label("B is better")).to_be_checked()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Your label has been saved.")).to_be_visible()
    assert [row.rank for row in Ranking.objects.get().ranked_responses.order_by("position")] == [2, 1]


def test_a_correction_shows_what_it_changes_while_it_is_written(open_browser, scene):
    model = ModelFactory(project=scene.project)
    for prompt in PromptFactory.create_batch(2, project=scene.project):
        ResponseFactory(prompt=prompt, model=model, text="The tide rises twice a day.\n\n潮汐每天一次。")
    correction_tasks_create(project=scene.project, model=model.pk, by=scene.ada)
    page = open_browser(scene.alice)
    start(page, scene, "Only correct answers")
    expect(page.get_by_role("heading", level=1)).to_have_text("Correct the answer")
    expect(page.locator(".difference")).to_have_text("Nothing is changed yet.")
    page.locator("#text").fill("The tide rises and falls twice a day.\n\n潮汐每天两次。")
    expect(page.locator(".difference ins")).to_have_text(["and falls ", "两"])
    expect(page.locator(".difference del")).to_have_text(["一"])
    assert_accessible(page)
    page.locator("#text").press("Control+Enter")
    expect(page.get_by_text("Your label has been saved.")).to_be_visible()
    label = Demonstration.objects.get()
    assert label.response.text.endswith("两次。") and label.corrects.model == model


# --- Coming in -----------------------------------------------------------------------------------------------------


def test_from_an_invitation_to_the_first_ranking(open_browser, scene):
    """Someone new needs the link, a name, a password and the page itself; everything by keyboard."""
    _invitation, token = invitation_create(project=scene.project, role="labeler", days=1, max_uses=1, by=scene.ada)
    page = open_browser()
    page.goto(f"/join/{token}/")
    expect(page.get_by_role("heading", level=1)).to_have_text("You are invited to Tides")
    assert_accessible(page)
    page.get_by_label("User name").fill("lin")
    page.get_by_label("Password").fill("a long enough phrase")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Welcome to Tides.")).to_be_visible()
    page.get_by_role("button", name="Only rank answers").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".board-row")).to_have_count(4)
    for rating in "7531":
        page.keyboard.press("n")
        page.keyboard.press(rating)
    page.keyboard.press("r")
    page.keyboard.press("1")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Your label has been saved.")).to_be_visible()
    label = Ranking.objects.get()
    assert label.labeler.user.username == "lin"
    assert [row.rating for row in label.ranked_responses.order_by("position")] == [7, 5, 3, 1]


def test_someone_new_ranks_within_two_minutes_by_mouse(open_browser, scene):
    """Reckoned (see `newcomer`): all words read, each act decided on; the pages' own seconds are a few more."""
    _invitation, token = invitation_create(project=scene.project, role="labeler", days=1, max_uses=1, by=scene.ada)
    page = open_browser()
    page.goto(f"/join/{token}/")
    someone = Newcomer(page)
    someone.read()
    someone.write("User name", "lin")
    someone.write("Password", "a long enough phrase")
    someone.click(page.get_by_role("button", name="Join the project"))
    expect(page.get_by_text("Welcome to Tides.")).to_be_visible()
    someone.read()
    someone.click(page.get_by_role("button", name="Only rank answers"))
    expect(page.locator(".board-row")).to_have_count(4)
    someone.read()
    for position, rating in enumerate((5, 7, 3, 1)):
        someone.click(page.locator(f"#answer-{position} .scale label").nth(rating - 1))
    someone.click(page.get_by_role("button", name="Move answer B up"))
    someone.click(page.locator("#submit"))
    expect(page.get_by_text("Your label has been saved.")).to_be_visible()
    assert someone.seconds < 115, f"{someone.seconds:.0f} s"


# --- Every page ------------------------------------------------------------------------------------


def test_every_page_is_accessible(open_browser, scene):
    slug = scene.project.slug
    visitor = open_browser()
    visitor.goto("/sign-in/")
    assert_accessible(visitor)
    page = open_browser(scene.alice)
    for address in (f"/p/{slug}/label/", f"/p/{slug}/guidelines/", f"/p/{slug}/history/", "/me/", "/?all", "/nothing/"):
        page.goto(address)
        assert_accessible(page)
    rank(page, scene)
    page.locator("#answer-0 .flags summary").click()
    page.locator("#answer-0 .scale label").nth(1).click()
    page.locator("#answer-1 .scale label").nth(5).click()
    name_of(page, "D").press("3")
    assert_accessible(page)
    page.get_by_role("button", name="Skip…").click()
    assert_accessible(page)
    other = open_browser(scene.bob)
    write(other, scene)
    other.locator("#text").fill("Some words.")
    assert_accessible(other)
    other.locator("#text").press("Control+Enter")
    expect(other.get_by_text("Your label has been saved.")).to_be_visible()
    other.goto(f"/p/{slug}/history/")
    assert_accessible(other)
    other.get_by_role("row").nth(1).get_by_role("link").click()
    assert_accessible(other)


@pytest.mark.parametrize("width", [640, 320])
def test_pages_reflow_at_200_and_400_percent(open_browser, scene, width):
    """A window of 1280 px at 200 % is 640 CSS pixels wide, at 400 % 320: nothing may need sideways scrolling."""
    page = open_browser(scene.alice, viewport={"width": width, "height": 512})

    def fits() -> bool:
        return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    for address in ("/me/", f"/p/{scene.project.slug}/label/", f"/p/{scene.project.slug}/guidelines/"):
        page.goto(address)
        assert fits(), address
    rank(page, scene)
    assert fits()
