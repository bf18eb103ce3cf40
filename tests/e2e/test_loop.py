"""Once round the loop in a browser, against real workers: each role in turn does by hand what the role is for."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Download, Page, expect

from annotation.models import Demonstration, Membership, Prompt, Ranking, Response
from annotation.services.sign_in import sign_in_link_create
from tests.conftest import WAIT_SECONDS, LiveProcesses, wait_for
from tests.e2e.board import board, drag, middle, name_of, on_board, rate_all
from tests.e2e.town import (
    PROMPTS_TO_RANK,
    SEEDED_DEMONSTRATIONS,
    WRITTEN_BY_HAND,
    corpus_text,
    furnish,
    let_rank_the_rest,
)
from tests.frontend.scene import Scene, make_scene
from training.models import Run, RunState, Snapshot

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("live-runs"),
]

RANKED = PROMPTS_TO_RANK - 1  # one stays in the labeler's hand: submitting leads to the next
TINY_MODEL = {"hidden_size": 32, "layers": 2, "heads": 2, "context_length": 128, "vocab_size": 300}
BRIEF = {"learning_rate": 0.002, "epochs": 3, "max_steps": 3, "eval_every": 0}
PPO = {
    "total_updates": 2,
    "rollouts_per_update": 8,
    "minibatch_size": 4,
    "max_new_tokens": 8,
    "learning_rate": 0.0001,
    "eval_every": 0,
    "sample_every": 1,
}


@pytest.fixture
def scene(transactional_db: None, settings: Any) -> Scene:
    settings.RUN_THREADS = 1
    made = make_scene(demonstrations=0, rankings=0, name="Town")
    furnish(made)
    return made


@dataclass
class Visit:
    """One person's browser, signed in."""

    page: Page
    slug: str

    def go(self, path: str) -> None:
        answer = self.page.goto(f"/p/{self.slug}/{path}")
        assert answer is not None and answer.status == 200, (path, answer and answer.status)

    def press(self, name: str, role: Any = "button") -> None:
        self.page.get_by_role(role, name=name, exact=True).click()

    def said(self, text: str) -> None:
        expect(self.page.locator("main, #notices").get_by_text(text).first).to_be_visible()


@pytest.fixture
def visit(open_browser: Callable[..., Page], scene: Scene) -> Callable[..., Visit]:
    """`visit(user)`: a browser of their own, signed in by a one-time link as a person would use it."""

    def sign_in(user: Any, address: str = "") -> Visit:
        page = open_browser()
        page.goto(address or f"/sign-in/{sign_in_link_create(user=user)}/")
        page.get_by_role("button", name="Sign in", exact=True).click()
        expect(page.locator("header").get_by_text(user.username)).to_be_visible()
        return Visit(page, scene.project.slug)

    return sign_in


def test_once_round_the_loop(visit: Callable[..., Visit], scene: Scene, live_processes: LiveProcesses) -> None:
    live_processes.workers()
    admin = visit(scene.ada)
    upload_a_corpus(admin)
    pretrain_and_watch(admin)
    hand_out_a_prompt(admin)
    lena, link = bring_in(admin, "lena")
    labeler = visit(lena.user, link)
    write_the_demonstration(labeler)
    carry_out(admin, "Train SFT", **BRIEF, sample_every=0)
    carry_out(admin, "Sample answers", max_new_tokens=8)
    assert Response.objects.filter(model__isnull=False).count() == 4 * PROMPTS_TO_RANK
    rank_by_mouse(labeler)
    rank_by_keyboard(labeler)
    assert let_rank_the_rest(scene.member(scene.bob)) == RANKED - 2
    carry_out(admin, "Train RM", **BRIEF)
    run_ppo_and_look_at_it(admin)
    cancel_a_run(admin)
    researcher = visit(scene.rob)
    export_demonstrations(researcher)
    export_rankings(researcher, lena.pseudonym)
    reviewer = visit(scene.rita)
    read_labels_under_pseudonyms(reviewer, lena)
    publish_guidelines(reviewer, labeler)
    find_nothing_as_a_stranger(visit(scene.sam), scene)


# --- The admin -----------------------------------------------------------------------------------------------------


def upload_a_corpus(admin: Visit) -> None:
    admin.go("loop/")
    admin.press("Upload a corpus", role="link")
    admin.page.get_by_label("Name").fill("Town papers")
    upload = {"name": "town.txt", "mimeType": "text/plain", "buffer": corpus_text().encode()}
    admin.page.get_by_label("File").set_input_files(upload)  # type: ignore[arg-type]  # a TypedDict
    admin.press("Add the corpus")
    admin.said("The corpus is there.")


def launch(admin: Visit, button: str, **settings: object) -> Run:
    """From the Loop page: press the stage's button, fill in the form, launch."""
    admin.go("loop/")
    admin.press(button, role="link")
    admin.page.get_by_text("More settings").click()
    for name, value in settings.items():
        admin.page.locator(f"#id_setting-{name}").fill(str(value))
    admin.press("Launch")
    expect(admin.page.locator("#live")).to_be_visible()
    return Run.objects.get(id=admin.page.url.rstrip("/").rsplit("/", 1)[1])


def expect_state(page: Page, words: str) -> None:
    """The run's page says so by itself; why it says something else is the failure's message."""

    def over() -> bool:
        page.wait_for_timeout(200)
        return page.locator("#live .chip").first.inner_text() in {"Succeeded", "Failed", "Cancelled"}

    wait_for(over, what=f"the page to say {words}")
    assert page.locator("#live .chip").first.inner_text() == words, page.locator("#live").inner_text()


@contextmanager
def without_reload(page: Page) -> Iterator[None]:
    page.evaluate("window.stillTheSamePage = true")
    yield
    assert page.evaluate("window.stillTheSamePage"), "the page was loaded anew"


def carry_out(admin: Visit, button: str, **settings: object) -> Run:
    run = launch(admin, button, **settings)
    expect_state(admin.page, "Succeeded")
    run.refresh_from_db()
    assert run.config == settings | ({"samples_per_prompt": 4} if run.stage == "sample" else {})
    return run


def pretrain_and_watch(admin: Visit) -> None:
    page = admin.page
    run = launch(admin, "Pretrain", **TINY_MODEL, batch_size=8, epochs=60, max_steps=60, eval_every=20, sample_every=20)
    with without_reload(page):
        progress = page.locator("#live progress")
        expect(progress).to_be_visible(timeout=1000 * WAIT_SECONDS)
        expect_state(page, "Succeeded")
        expect(progress).to_have_attribute("value", "60")
        expect(page.locator("#curves canvas").first).to_be_visible()
        assert ink_of(page) > 200, "an empty picture"
        expect(page.locator("#samples article").first).to_be_visible()
        steps = page.get_by_role("navigation", name="Steps at which it was asked")
        expect(steps.get_by_role("link")).to_have_count(3)
        expect(page.locator("#live .stat", has_text="perplexity/validation")).to_be_visible()
        expect(page.get_by_role("button", name="Cancel the run")).to_have_count(0)
    admin.press("base-1", role="link")
    expect(page.get_by_role("heading", level=1)).to_have_text("base-1")
    run.refresh_from_db()
    assert run.state == RunState.SUCCEEDED


def ink_of(page: Page) -> int:
    """Pixels of the first curve's canvas that are not background."""
    count = """canvas => {
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        let drawn = 0;
        for (let place = 3; place < data.length; place += 4) drawn += data[place] > 0;
        return drawn;
    }"""
    return int(page.locator("#curves canvas").first.evaluate(count))


def hand_out_a_prompt(admin: Visit) -> None:
    admin.go("prompts/paste/")
    admin.page.get_by_label("Prompts", exact=True).fill(WRITTEN_BY_HAND)
    admin.page.get_by_label("Pool").select_option("sft")
    admin.press("Add them")
    admin.go("loop/")
    admin.press("Hand out 1 prompt")
    admin.said("1 prompt waits for an answer now.")


def bring_in(admin: Visit, username: str) -> tuple[Membership, str]:
    """Make an account for a labeler; the page shows the link that signs them in once."""
    page = admin.page
    admin.go("people/")
    page.get_by_label("Make an account and a one-time sign-in link").check()
    page.get_by_label("User name").fill(username)
    page.get_by_label("Role", exact=True).select_option("labeler")
    admin.press("Add to the project")
    return Membership.objects.get(user__username=username), page.locator("#sign-in-link").input_value()


def run_ppo_and_look_at_it(admin: Visit) -> None:
    carry_out(admin, "Run PPO", **PPO)
    page = admin.page
    for name in ("objective/score", "objective/kl", "response/length"):
        expect(page.locator("#live .stat", has_text=name)).to_be_visible()
    expect(page.locator("#samples")).to_contain_text("score")
    family = page.locator("section", has=page.get_by_role("heading", name="Parents"))
    expect(family.get_by_role("link")).to_have_count(2)
    admin.go("loop/")
    expect(page.get_by_role("link", name="ppo-1")).to_be_visible()


def cancel_a_run(admin: Visit) -> None:
    page = admin.page
    # The form begins with the last run's settings, its few steps among them; this one must not end by itself.
    run = launch(admin, "Pretrain", **TINY_MODEL, batch_size=1, epochs=1000, max_steps=1_000_000)
    expect(page.locator("#live progress")).to_be_visible(timeout=1000 * WAIT_SECONDS)
    page.once("dialog", lambda dialog: dialog.dismiss())
    admin.press("Cancel the run")
    page.wait_for_timeout(300)
    run.refresh_from_db()
    assert run.state == RunState.RUNNING, "a question answered with no cancels nothing"
    page.once("dialog", lambda dialog: dialog.accept())
    admin.press("Cancel the run")
    with without_reload(page):
        expect_state(page, "Cancelled")


# --- The labeler ---------------------------------------------------------------------------------------------------


def write_the_demonstration(labeler: Visit) -> None:
    labeler.go("label/")
    labeler.press("Start labeling")
    expect(labeler.page.get_by_text(WRITTEN_BY_HAND)).to_be_visible()
    labeler.page.locator("#text").fill("It is the Fern.")
    labeler.press("Submit")
    labeler.said("Your label has been saved.")
    assert Demonstration.objects.count() == SEEDED_DEMONSTRATIONS + 1


def start_ranking(labeler: Visit) -> None:
    labeler.go("label/")
    labeler.page.get_by_role("button", name=re.compile("Start labeling|Continue")).click()
    expect(labeler.page.locator(".board-row")).to_have_count(4)


def rank_by_mouse(labeler: Visit) -> None:
    start_ranking(labeler)
    page = labeler.page
    rate_all(page)
    drag(page, "D", *middle(page.locator(".board-gap").first))
    drag(page, "C", *middle(on_board(page, "A")))
    assert board(page) in (["D", "AC", "B"], ["D", "CA", "B"]), "as it was dragged"
    labeler.press("Submit")
    labeler.said("Your label has been saved.")


def rank_by_keyboard(labeler: Visit) -> None:
    start_ranking(labeler)
    page = labeler.page
    for rating in ("2", "6", "4", "1"):
        page.keyboard.press("n")
        page.keyboard.press(rating)
    page.keyboard.press("r")
    expect(page.locator(".board-name:focus")).to_have_count(1)
    name_of(page, "B").focus()
    page.keyboard.press("1")
    assert board(page)[0] in {"AB", "BA"}
    page.keyboard.press("Alt+ArrowUp")
    assert board(page) == ["B", "A", "C", "D"]
    page.keyboard.press("Control+Enter")
    labeler.said("Your label has been saved.")


# --- The researcher ------------------------------------------------------------------------------------------------


def build(researcher: Visit, kind: str) -> Snapshot:
    """In the browser: the counts before, the snapshot after, with its hash."""
    researcher.go("snapshots/")
    researcher.press("Build a snapshot", role="link")
    page = researcher.page
    page.get_by_label(kind).check()
    researcher.press("Count")
    counts = page.locator("#preview .stat")
    expect(counts.first).to_be_visible()
    counted = dict(stat.inner_text().lower().split() for stat in counts.all())
    page.get_by_label("Name").fill(f"My {kind.split(',')[0].lower()}")
    researcher.press("Build it")
    researcher.said("The snapshot is there.")
    snapshot = Snapshot.objects.get(id=page.url.rstrip("/").rsplit("/", 1)[1])
    expect(page.get_by_text(snapshot.sha256)).to_be_visible()
    assert counted == {split: str(rows) for split, rows in snapshot.counts.items()}
    return snapshot


def download(researcher: Visit, name: str) -> str:
    with researcher.page.expect_download() as begun:
        researcher.press(name, role="link")
    got: Download = begun.value
    assert got.suggested_filename.endswith(".jsonl")
    return got.path().read_text(encoding="utf-8")


def rows_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def export_demonstrations(researcher: Visit) -> None:
    build(researcher, "Demonstrations, for SFT")
    split = Prompt.objects.get(messages__0__content=WRITTEN_BY_HAND).split
    canonical = rows_of(download(researcher, f"Canonical {split}"))
    written = next(row for row in canonical if row["prompt"][0]["content"] == WRITTEN_BY_HAND)
    label = Demonstration.objects.select_related("labeler").get(id=written["id"])
    assert (written["labeler"], written["origin"], written["revision"]) == (label.labeler.pseudonym, "human", 1)
    pairs = rows_of(download(researcher, f"prompt and completion {split}"))
    assert {
        "prompt": [{"role": "user", "content": WRITTEN_BY_HAND}],
        "completion": [{"role": "assistant", "content": "It is the Fern."}],
    } in pairs
    assert all(set(row) == {"prompt", "completion"} for row in pairs)


def export_rankings(researcher: Visit, labeler: str) -> None:
    snapshot = build(researcher, "Rankings, for a reward model")
    canonical = download(researcher, "Canonical train")
    rows = rows_of(canonical)
    assert len(rows) == RANKED
    assert sorted(sorted(row["ranks"]) for row in rows if row["labeler"] == labeler) == [[1, 2, 2, 3], [1, 2, 3, 4]]
    preferences = rows_of(download(researcher, "prompt, chosen and rejected train"))
    assert all(set(row) == {"prompt", "chosen", "rejected"} for row in preferences)
    assert len(preferences) == sum(ordered_pairs(row["ranks"]) for row in rows)
    assert read_by_api(researcher, f"snapshots/{snapshot.id}/download/?split=train") == canonical


def ordered_pairs(ranks: list[int]) -> int:
    return sum(one < other for one in ranks for other in ranks)


def read_by_api(researcher: Visit, path: str) -> str:
    """Make a token in the browser and read with it, as a program would."""
    page = researcher.page
    researcher.go("tokens/")
    page.get_by_label("Name").fill("notebook")
    for box in page.get_by_role("group", name="What it may do").get_by_role("checkbox").all():
        box.check()
    researcher.press("Make the token")
    secret = page.locator("#token-secret").input_value()
    host = page.evaluate("location.origin")
    asked = urllib.request.Request(
        f"{host}/api/v1/projects/{researcher.slug}/{path}", headers={"Authorization": f"Bearer {secret}"}
    )
    with urllib.request.urlopen(asked, timeout=WAIT_SECONDS) as answer:
        return str(answer.read().decode())


# --- The reviewer and the stranger ---------------------------------------------------------------------------------


def read_labels_under_pseudonyms(reviewer: Visit, labeler: Membership) -> None:
    prompt = Ranking.objects.filter(labeler=labeler)[0].prompt
    reviewer.go("prompts/?pool=rm")
    reviewer.press(prompt.text, role="link")
    labels = reviewer.page.locator("section", has=reviewer.page.get_by_role("heading", name="Labels"))
    expect(labels).to_contain_text(labeler.pseudonym)
    expect(labels.get_by_role("row")).to_have_count(5)
    assert "lena" not in reviewer.page.locator("body").inner_text()


def publish_guidelines(reviewer: Visit, labeler: Visit) -> None:
    reviewer.go("guidelines/")
    reviewer.press("Write a new version", role="link")
    reviewer.page.locator("#id_body").fill("# In this town\n\nBe brief, and be right.")
    reviewer.press("Publish")
    expect(reviewer.page).to_have_url(re.compile("/guidelines/$"))
    labeler.go("guidelines/")
    expect(labeler.page.get_by_role("heading", name="In this town")).to_be_visible()


def find_nothing_as_a_stranger(stranger: Visit, scene: Scene) -> None:
    run, snapshot = Run.objects.first(), Snapshot.objects.first()
    assert run is not None and snapshot is not None
    for path in ("", "loop/", "label/", f"runs/{run.id}/", f"snapshots/{snapshot.id}/", "people/", "guidelines/"):
        answer = stranger.page.goto(f"/p/{scene.project.slug}/{path}")
        assert answer is not None and answer.status == 404, path
        heading = stranger.page.get_by_role("heading", level=1)
        expect(heading).to_have_text("There is nothing at this address")
