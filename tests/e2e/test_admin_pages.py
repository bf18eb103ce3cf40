"""The admin's, the researcher's and the reviewer's pages: accessible in both themes, in both languages, in a narrow
window, and silent in the console. The runs and models are rows with real files behind them, made without training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Locator, Page, expect

from annotation.models import Assignment, Prompt, Question
from annotation.selectors.forms import form_current
from annotation.services.feedback import label_comment, question_ask
from annotation.services.forms import form_publish
from annotation.services.guidelines import guideline_publish
from annotation.services.queue import assignment_skip
from annotation.services.queue_settings import queue_policy_update
from annotation.tasks import import_work
from tests.e2e.axe import assert_accessible
from tests.e2e.town import furnish
from tests.factories import ArtifactFactory, lease
from tests.frontend.scene import Scene, make_scene
from tests.training.conftest import walk_to
from tests.training.labels import rank_everything
from tests.training.test_models import put
from training.models import Attempt, Checkpoint, MetricChunk, NoticeKind, Run, RunLine, RunSample, RunState, Webhook
from training.services.models import model_register_folder
from training.services.notices import notice_of_change
from training.services.runs import run_create
from training.services.snapshots import corpus_add, snapshot_build
from training.services.webhooks import webhook_test
from training.services.workers import worker_seen

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(600)]

STEPS = 12
WIDE, NARROW = {"width": 1400, "height": 900}, {"width": 640, "height": 512}
PLAIN = (
    *("loop/", "runs/", "models/", "models/register/", "snapshots/", "snapshots/new/", "snapshots/corpus/"),
    *("prompts/", "prompts/paste/", "prompts/import/", "people/", "tokens/", "audit/", "settings/"),
    *("queue/", "queue/policy/", "queue/review/", "queue/limits/", "queue/comparisons/"),
    *("queue/prompt-writing/",),
    *("people/invitations/", "topics/", "runs/queue/", "notices/webhooks/"),
    *("../../workers/", "../../notices/", "../../me/notices/"),
    *("guidelines/", "guidelines/edit/", "form/", "form/edit/", "questions/", "label/", "history/"),
    *(f"runs/new/{stage}/" for stage in ("pretrain", "sft", "sample", "reward", "ppo", "evaluate")),
)
EMPTY = (
    *("loop/", "runs/", "models/", "snapshots/", "prompts/", "label/", "history/", "queue/", "queue/review/"),
    *("questions/", "form/"),
)
OF_RESEARCHER = (
    "loop/",
    "runs/",
    "models/",
    "snapshots/",
    "snapshots/new/",
    "prompts/",
    "tokens/",
    "guidelines/",
    "form/",
)
OF_REVIEWER = (
    *("loop/", "runs/", "snapshots/", "prompts/", "guidelines/", "guidelines/edit/", "label/", "tokens/"),
    *("queue/", "queue/policy/", "queue/review/", "queue/limits/", "queue/comparisons/"),
    *("form/", "form/edit/", "questions/", "history/"),
    *("queue/prompt-writing/",),
)


@pytest.fixture
def scene(transactional_db: None, settings: Any, tmp_path: Path) -> Scene:
    settings.MODELS_DIR = tmp_path / "models"
    settings.MODELS_DIR.mkdir()
    made = make_scene(demonstrations=2, rankings=2)
    furnish(made)
    rank_everything(made.member(made.bob), lambda response: len(response.text))
    queue_policy_update(project=made.project, review_after_skips=1, by=made.ada)
    skipped = lease(made.member(made.alice), "demonstration")
    assignment_skip(assignment=skipped, reason="unclear", note="Which tide?", by=skipped.labeler)
    question_ask(assignment=skipped, body="Which *tide* is meant?", by=skipped.labeler)
    labeled = Assignment.objects.filter(labeler=made.member(made.bob), status="submitted")[0]
    label_comment(assignment=labeled, body="The **second** answer makes something up.", returns=True, by=made.ada)
    fields = form_current(made.project).fields | {
        "own_flags": [{"key": "too_long", "label": "Too long"}],
        "prompt_fields": [{"key": "ambiguous"}, {"key": "note", "label": "What else?", "type": "text"}],
    }
    form_publish(project=made.project, fields=fields, based_on=1, by=made.ada)
    return made


@pytest.fixture
def addresses(scene: Scene, settings: Any) -> list[str]:
    """Every page below the project, with one of each thing that has a page of its own."""
    project, ada = scene.project, scene.ada
    put(settings.MODELS_DIR)
    put(settings.MODELS_DIR, "another")
    model = model_register_folder(project=project, folder_name="tiny", by=ada)
    corpus = corpus_add(project=project, name="Papers", texts=["A town.", "A river."] * 20, by=ada)
    demonstrations = snapshot_build(project=project, kind="demonstrations", by=ada)
    rankings = snapshot_build(project=project, kind="rankings", by=ada)
    waiting = run_create(project=project, stage="pretrain", config={}, inputs={"train": corpus}, by=ada)
    inputs = {"train": demonstrations, "policy": model}
    going = in_the_middle(run_create(project=project, stage="sft", config={}, inputs=inputs, by=ada))
    failed = run_create(project=project, stage="sft", config={"epochs": 3}, inputs=inputs, by=ada)
    walk_to(failed, RunState.FAILED)
    Run.objects.filter(pk=failed.pk).update(message="The loss is not a number.")
    notice_of_change(run=failed, kind=NoticeKind.FAILED, why="The loss is not a number.")
    hook = Webhook.objects.create(project=project, url="https://example.org/hook", kinds=["failed"], salt="s")
    webhook_test(webhook=hook, by=ada)
    worker_seen(name="gpu@here:1", queues=["gpu"], slots=1)
    prompts = [Prompt.objects.filter(project=project, pool=pool)[0] for pool in ("sft", "rm")]
    return [
        *PLAIN,
        *(f"runs/{run.pk}/" for run in (waiting, going, failed)),
        f"runs/{going.pk}/figures/",
        f"questions/{Question.objects.get(project=project).pk}/",
        f"runs/{failed.pk}/delete/",
        f"runs/{waiting.pk}/delete/",
        f"notices/webhooks/{hook.pk}/",
        f"models/{model.pk}/",
        *(f"snapshots/{snapshot.pk}/" for snapshot in (corpus, demonstrations, rankings)),
        *(f"prompts/{prompt.pk}/" for prompt in prompts),
    ]


def in_the_middle(run: Run) -> Run:
    """The run as it stands after some steps on a worker: figures, samples, a log, a checkpoint."""
    now = timezone.now()
    steps = list(range(1, STEPS + 1))
    Run.objects.filter(pk=run.pk).update(
        state=RunState.RUNNING,
        attempt=1,
        step=STEPS,
        total_steps=2 * STEPS,
        started_at=now,
        phase="validating",
        worker="gpu@here:1",
        lease_until=now + timedelta(hours=1),
        latest_metrics={"loss/train": 0.5, "loss/validation": 0.7},
        data_report=[{"split": "train", "kept": 10, "filtered": 1, "reasons": {"prompt longer than the context": 1}}],
    )
    Attempt.objects.create(run=run, number=1, worker="gpu@here:1", started_at=now)
    columns = {"step": steps, "loss/train": [2 / step for step in steps], "loss/validation": [0.7] * STEPS}
    MetricChunk.objects.create(run=run, attempt=1, first_step=1, last_step=STEPS, columns=columns)
    question = [{"role": "user", "content": "Why?"}]
    for step in (1, STEPS):
        RunSample.objects.create(
            run=run, attempt=1, step=step, index=0, prompt=question, response=f"Because of {step}.", score=step / 10
        )
    RunLine.objects.create(run=run, attempt=1, text="Started on cpu.")
    Checkpoint.objects.create(run=run, attempt=1, step=STEPS, artifact=ArtifactFactory(kind="checkpoint"))
    run.refresh_from_db()
    return run


def settled(page: Page) -> None:
    """What the page fetches by itself is there: curves, the preview's counts."""
    if page.locator("#curves").count():
        expect(page.locator("#curves canvas, #curves > p:visible").first).to_be_visible()
    if page.locator("#preview[aria-live]").count() and page.url.endswith("/snapshots/new/"):
        expect(page.locator("#preview .stat").first).to_be_visible()


def errors_of(page: Page) -> list[str]:
    """What the console says that is an error, from now on."""
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
    return found


def walk(page: Page, slug: str, paths: Iterable[str], look: Callable[[Page], None]) -> None:
    """Look at each page, and tell of all that are wrong, not of the first alone."""
    wrong = errors_of(page)
    for path in paths:
        answer = page.goto(f"/p/{slug}/{path}")
        assert answer is not None and answer.status == 200, (path, answer and answer.status)
        settled(page)
        try:
            look(page)
        except AssertionError as problem:
            wrong.append(str(problem))
    assert not wrong, "\n".join(wrong)


def unfold(page: Page) -> None:
    """Open what can be opened, the outer before the inner."""
    page.evaluate("""() => {
        for (const summary of document.querySelectorAll("main details:not([open]) > summary"))
            if (summary.checkVisibility()) summary.parentElement.open = true;
    }""")


def look(page: Page, *, only_words: bool = False) -> None:
    """Everything unfolded, nothing is inaccessible; at 200 % in a window of 1280 px, nothing is cut off."""
    unfold(page)
    assert_accessible(page, only_words=only_words)
    page.set_viewport_size(NARROW)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= NARROW["width"], (page.url, width)
    page.set_viewport_size(WIDE)


def look_at_words(page: Page) -> None:
    """The same in another language: what that can break."""
    look(page, only_words=True)


LANGUAGES = pytest.mark.parametrize(("language", "look"), [("en", look), ("zh-CN", look_at_words)])


@LANGUAGES
def test_every_page_of_an_admin(open_browser, scene, addresses, language, look):
    page = open_browser(scene.ada, locale=language, viewport=WIDE)
    walk(page, scene.project.slug, addresses, look)
    assert page.evaluate("document.documentElement.lang") == {"en": "en", "zh-CN": "zh-Hans"}[language]


@pytest.mark.parametrize(("who", "paths", "language"), [("rob", OF_RESEARCHER, "en"), ("rita", OF_REVIEWER, "zh-CN")])
def test_pages_of_a_researcher_and_a_reviewer(open_browser, scene, who, paths, language):
    page = open_browser(getattr(scene, who), locale=language, viewport=WIDE)
    walk(page, scene.project.slug, paths, look)


def test_pages_with_nothing_on_them_yet(open_browser, transactional_db):
    empty = make_scene(demonstrations=0, rankings=0, name="Bare")
    walk(open_browser(empty.ada), empty.project.slug, EMPTY, look)


def test_a_wide_table_of_the_guidelines_scrolls_by_keyboard(open_browser, scene):
    cells = " | ".join(f"column {number}" for number in range(30))
    guideline_publish(project=scene.project, body=f"| {cells} |\n|{'---|' * 30}\n| {cells} |", by=scene.ada)
    page = open_browser(scene.alice, viewport=NARROW)
    page.goto(f"/p/{scene.project.slug}/guidelines/")
    look(page)
    page.set_viewport_size(NARROW)
    page.locator(".wide-table").focus()
    page.keyboard.press("ArrowRight")
    assert scrolled(page.locator(".wide-table"))


def scrolled(region: Locator) -> bool:
    """Asked from here, again and again: what the page itself polls is text that it evaluates, and the content policy
    forbids that wherever the first look comes too early."""
    deadline = time.monotonic() + 20
    while not region.evaluate("element => element.scrollLeft > 0"):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_forms_with_errors_stay_accessible(open_browser, scene, addresses):
    page = open_browser(scene.ada)
    page.goto(f"/p/{scene.project.slug}/runs/new/sft/")
    page.locator("#id_setting-learning_rate").fill("-1")
    page.get_by_role("button", name="Launch").click()
    expect(page.locator("#id_setting-learning_rate")).to_have_attribute("aria-invalid", "true")
    assert_accessible(page)
    page.goto(f"/p/{scene.project.slug}/prompts/import/")
    upload = {"name": "bad.jsonl", "mimeType": "application/jsonl", "buffer": b'{"prompt": 3}\n{'}
    page.get_by_label("File").set_input_files(upload)
    page.get_by_label("Source").fill("a test")
    page.get_by_role("button", name="Look at it").click()
    expect(page.get_by_role("heading", name="Lines that could not be read so")).to_be_visible()
    page.get_by_text("Which column is which").click()
    assert_accessible(page)
    page.get_by_role("button", name="Import it").click()
    expect(page.get_by_text("A worker takes it as soon as one is free.")).to_be_visible()
    assert_accessible(page)
    import_work()
    expect(page.get_by_role("button", name="Import the good lines alone")).to_be_visible()  # the page went on by itself
    expect(page.get_by_role("region", name="2 bad lines")).to_be_visible()
    assert_accessible(page)


def test_a_file_on_its_way_says_so_with_its_seconds(open_browser, scene):
    page = open_browser(scene.ada)
    page.goto(f"/p/{scene.project.slug}/snapshots/corpus/")
    page.get_by_label("Name").fill("Letters")
    upload = {"name": "letters.txt", "mimeType": "text/plain", "buffer": b"Dear town.\n" * 40}
    page.get_by_label("File").set_input_files(upload)
    page.route("**/snapshots/corpus/", lambda route: route.fulfill(status=204))  # no page comes: this one stays
    page.get_by_role("button", name="Add the corpus").click(no_wait_after=True)
    notice = page.get_by_role("status").filter(has_text="The file is being sent and read.")
    expect(notice).to_contain_text("1 s")
