"""Labelers as their browsers are to the server: the next task's page, drafts while they think, the submit.

What a browser keeps (style sheets, scripts) is not fetched again and again here either. What frontend/static's task.js
does on trouble is done here: a draft that failed goes with the next one, a submit that was not answered is the same
submission when it is sent again, until there is an answer.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.labeling.figures import DraftAtStop, Timings
from benchmarks.labeling.wire import Answer, Broken, Browser

DRAFT_EVERY_SECONDS = 3.0  # of thought; and one at least, as of a labeler who is quick
AGAIN_SECONDS = 1.0  # until somebody presses the button again that had no answer
AT_MOST_AGAIN = 90
OLD_SECONDS = 3.0
CSRF = "b" * 32
JSON = {"Accept": "application/json", "X-CSRFToken": CSRF}
HIDDEN = re.compile(rb'name="(submission_id|started_at|active_seconds)" value="([^"]*)"')
FORM = re.compile(rb'id="task-form" action="([^"]*)"')
SAVED = re.compile(rb'data-saved-at="([^"]*)"')
ANSWER = re.compile(rb'<article class="card answer')
Fields = dict[str, str]


class Trouble(Exception):
    """An answer that a labeler should not get."""


@dataclass
class Session:
    """What all labelers of one run share: where, how, until when, and what is noted."""

    host: str
    port: int
    slug: str
    think_s: float
    keeps_trying: bool = False
    """Under faults: whatever fails is tried again, as people do."""
    timings: Timings = field(default_factory=Timings)
    measures: bool = False
    """Whether the warm-up is over."""
    ends: bool = False
    labels: int = 0
    labels_measured: int = 0
    most_labels: int = 0
    """Stop when so many are made in the measured time; 0: when told to."""
    idle: int = 0
    """Labelers for whom there was no task left."""
    sent: list[str] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    troubles: Counter[str] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)
    drafts_older: int = 0
    """Pages that came with an older draft than the server had said it has."""

    def note(self, operation: str, seconds: float) -> None:
        if self.measures:
            self.timings.note(operation, seconds)

    def labeled(self) -> None:
        self.labels += 1
        if self.measures:
            self.labels_measured += 1
            if self.most_labels and self.labels_measured >= self.most_labels:
                self.ends = True

    @property
    def errors(self) -> int:
        return sum(self.troubles.values())


@dataclass
class Page:
    """A ranking task's page, as far as its form is concerned."""

    url: str
    action: str
    fields: Fields
    answers: int
    saved_at: str = ""
    """The server's word for its newest draft, which the next one is written upon."""

    @property
    def assignment(self) -> str:
        return self.url.rstrip("/").rsplit("/", 1)[-1]


@dataclass
class Labeler:
    """One labeler at work."""

    session: Session
    cookie: str
    seed: int
    browser: Browser = field(init=False)
    draw: random.Random = field(init=False)
    page: Page | None = None
    version: int = 0
    """Counts the changes of the draft in hand."""
    acknowledged: int = 0
    written: list[tuple[float, int]] = field(default_factory=list)
    submitted_seconds: float | None = None
    """How long the submit took that brought the page which is opened now."""

    def __post_init__(self) -> None:
        self.browser = Browser(self.session.host, self.session.port)
        self.browser.cookies = {"sessionid": self.cookie, "csrftoken": CSRF}
        self.draw = random.Random(self.seed)

    async def work(self) -> None:
        """Label until told to stop; begins within the first time of thought, so that not all begin at once."""
        await asyncio.sleep(self.draw.uniform(0, max(1.0, self.session.think_s)))
        url = await self.start()
        while url and not self.session.ends:
            url = await self.one_task(url)
        self.browser.close()

    async def one_task(self, url: str) -> str | None:
        """Label one task; returns the address of the next, or None where there is none."""
        turned = await self.open(url)
        if turned is None or self.page is None:
            return await self.start()
        fields = await self.think(self.page)
        if fields is None:
            return None
        next_url, seconds = await self.submit(self.page, fields)
        self.page = None
        if next_url is None:
            return await self.start() if not self.session.ends else None
        if next_url.endswith("/label/"):
            self.session.idle += 1
            return None
        self.submitted_seconds = seconds
        return next_url

    # --- The next task -------------------------------------------------------------------------

    async def start(self) -> str | None:
        """Press "Start labeling"; returns the task's address."""
        answer = await self.patiently("start", "POST", f"/p/{self.session.slug}/label/", {"csrfmiddlewaretoken": CSRF})
        if answer is None:
            return None
        if answer.status == 302 and not answer.headers["location"].endswith("/label/"):
            return answer.headers["location"]
        self.session.idle += 1
        return None

    async def open(self, url: str) -> float | None:
        """Read the task's page; returns how long it took."""
        answer = await self.patiently("next", "GET", url)
        if answer is None or answer.status != 200:
            return None
        page = read_page(url, answer.body)
        self.session.note("next", answer.seconds)
        if self.submitted_seconds is not None:
            self.session.note("turn", self.submitted_seconds + answer.seconds)
            self.submitted_seconds = None
        restored = round(float(page.fields["active_seconds"] or 0))
        if self.page is not None and self.page.url == url and restored < self.acknowledged:
            self.session.drafts_older += 1
        self.page, self.version, self.acknowledged, self.written = page, restored, restored, []
        return answer.seconds

    # --- Thought, and drafts during it ---------------------------------------------------------

    async def think(self, page: Page) -> Fields | None:
        """Fill the form in, with drafts meanwhile; None where the work ends before it is full."""
        seconds = self.session.think_s * self.draw.uniform(0.5, 1.5)
        drafts = max(1, round(seconds / DRAFT_EVERY_SECONDS))
        fields = dict(page.fields)
        ranks = self.draw.sample(range(1, page.answers + 1), page.answers)
        for number in range(1, drafts + 1):
            await asyncio.sleep(seconds / (drafts + 1))
            if self.session.ends:
                return None
            fill(fields, ranks, page.answers * number // drafts)
            await self.save(page, fields)
        await asyncio.sleep(seconds / (drafts + 1))
        return None if self.session.ends else fields

    async def save(self, page: Page, fields: Fields) -> None:
        """Send the draft as it stands, its version where time at work stands."""
        self.version += 1
        version = self.version
        self.written.append((time.monotonic(), version))
        fields["active_seconds"] = str(version)
        try:
            written = {**fields, "tab": str(self.seed), "base": page.saved_at}
            answer = await self.browser.post(f"{page.url}draft/", written, JSON)
        except Broken as problem:
            self.failed("draft", str(problem))
            return
        if answer.status != 200:
            self.failed("draft", f"status {answer.status}")
            return
        self.acknowledged, page.saved_at = version, str(json.loads(answer.body)["saved_at"])
        self.session.note("draft", answer.seconds)

    def at_stop(self) -> DraftAtStop | None:
        """What must be on the server when this labeler is cut off now."""
        if self.page is None or not self.version:
            return None
        old = [version for moment, version in self.written if moment < time.monotonic() - OLD_SECONDS]
        return DraftAtStop(self.page.assignment, self.acknowledged, max(old, default=0))

    # --- The submit ----------------------------------------------------------------------------

    async def submit(self, page: Page, fields: Fields) -> tuple[str | None, float]:
        """Submit, again and again where nobody answers; returns the next task's address and the last try's seconds."""
        self.version = 0  # from here on it is no draft any more
        self.session.sent.append(fields["submission_id"])
        path = page.url + page.action
        answer = await self.patiently("submit", "POST", path, fields, JSON)
        if answer is None:
            return None, 0.0
        if answer.status != 200:
            self.failed("submit", f"status {answer.status}: {answer.body[:200]!r}")
            return None, 0.0
        self.session.acknowledged.append(fields["submission_id"])
        self.session.labeled()
        self.session.note("submit", answer.seconds)
        return str(json.loads(answer.body)["next"]), answer.seconds

    # --- Trouble -------------------------------------------------------------------------------

    async def patiently(
        self,
        operation: str,
        method: str,
        path: str,
        form: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer | None:
        """The answer, asked for again where there was none or the server had a problem; None where it never came."""
        for _number in range(AT_MOST_AGAIN if self.session.keeps_trying else 1):
            try:
                asked = self.browser.get(path) if method == "GET" else self.browser.post(path, form or {}, headers)
                answer = await asked
                if answer.status < 500:
                    return answer
                reason = f"status {answer.status}"
            except Broken as problem:
                reason = str(problem)
            self.failed(operation, reason)
            await asyncio.sleep(AGAIN_SECONDS)
        if self.session.keeps_trying:
            self.session.troubles[f"{operation}: never answered"] += 1
        return None

    def failed(self, operation: str, reason: str) -> None:
        """Under faults it is what was asked for; else it is an error."""
        noted = self.session.again if self.session.keeps_trying else self.session.troubles
        noted[f"{operation}: {reason}"[:200]] += 1


def read_page(url: str, body: bytes) -> Page:
    action = FORM.search(body)
    fields = {name.decode(): value.decode() for name, value in HIDDEN.findall(body)}
    if action is None or "submission_id" not in fields:
        raise Trouble(f"{url} is no page of a ranking task")
    saved = SAVED.search(body)
    address = action[1].decode().replace("&amp;", "&")
    return Page(url, address, fields, len(ANSWER.findall(body)), saved[1].decode() if saved else "")


def fill(fields: Fields, ranks: Sequence[int], answers: int) -> None:
    """Rate and rank the first so many answers: the better the rank, the better the rating."""
    fields["touched"] = "yes"
    for place in range(answers):
        fields[f"rating-{place}"] = str(max(1, 8 - ranks[place]))
        fields[f"rank-{place}"] = str(ranks[place])
