"""Labelers who work by API, on Plackett or on Label Studio: the next task, its label, and so on without thought.

Both sides send what the system's own documentation asks for, with a session as a browser has it.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from benchmarks.labeling.figures import Timings
from benchmarks.labeling.labelers import CSRF
from benchmarks.labeling.wire import Answer, Broken, Browser

JSON = {"Content-Type": "application/json", "Accept": "application/json"}
TOKEN = re.compile(rb'name="csrfmiddlewaretoken" value="([^"]+)"')
Task = dict[str, Any]


@dataclass
class Work:
    """What the labelers of one side share."""

    timings: Timings = field(default_factory=Timings)
    measures: bool = False
    ends: bool = False
    labels: int = 0
    acknowledged: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    troubles: Counter[str] = field(default_factory=Counter)

    def note(self, operation: str, seconds: float) -> None:
        if self.measures:
            self.timings.note(operation, seconds)


class System(Protocol):
    """How one system is asked. A label's answer may hold the next task as `next`."""

    async def next_task(self, browser: Browser) -> Answer: ...
    async def submit(self, browser: Browser, task: Task, draw: random.Random, work: Work) -> Answer: ...


class Plackett:
    def __init__(self, slug: str, *, in_one: bool) -> None:
        """in_one: have the next task with the label's answer, instead of asking for it apart."""
        self.base = f"/api/v1/projects/{slug}"
        self.headers = JSON | {"X-CSRFToken": CSRF}
        self.query = "?next=true" if in_one else ""

    async def next_task(self, browser: Browser) -> Answer:
        return await browser.post(f"{self.base}/tasks/next/", b"", self.headers)

    async def submit(self, browser: Browser, task: Task, draw: random.Random, work: Work) -> Answer:
        answers = task["responses"]
        ranks = draw.sample(range(1, len(answers) + 1), len(answers))
        items = [
            {"response_id": answer["id"], "rank": rank, "rating": 8 - rank}
            for answer, rank in zip(answers, ranks, strict=True)
        ]
        key = str(uuid.UUID(int=draw.getrandbits(128), version=4))
        work.sent.append(key)
        body = {
            "submission_id": key,
            "started_at": datetime.now(UTC).isoformat(),
            "active_seconds": 5.0,
            "items": items,
        }
        path = f"{self.base}/assignments/{task['id']}/submit/{self.query}"
        answer = await browser.post(path, json.dumps(body).encode(), self.headers)
        if answer.status == 201:
            work.acknowledged.append(key)
        return answer


class LabelStudio:
    def __init__(self, project: int) -> None:
        self.project = project

    def headers(self, browser: Browser) -> Mapping[str, str]:
        return JSON | {"X-CSRFToken": browser.cookies.get("csrftoken", "")}

    async def next_task(self, browser: Browser) -> Answer:
        return await browser.get(f"/api/projects/{self.project}/next", self.headers(browser))

    async def submit(self, browser: Browser, task: Task, draw: random.Random, work: Work) -> Answer:
        order = [item["id"] for item in task["data"]["items"]]
        draw.shuffle(order)
        value = {"from_name": "rank", "to_name": "answers", "type": "ranker", "value": {"ranker": order}}
        body = {"result": [value | {"id": f"r{draw.getrandbits(32):08x}"}], "lead_time": 5.0, "project": self.project}
        path = f"/api/tasks/{task['id']}/annotations/?project={self.project}"
        answer = await browser.post(path, json.dumps(body).encode(), self.headers(browser))
        if answer.status == 201:
            key = str(json.loads(answer.body)["id"])
            work.sent.append(key)
            work.acknowledged.append(key)
        return answer


async def sign_in(browser: Browser, email: str, password: str) -> None:
    """Sign in at Label Studio's form."""
    page = await browser.get("/user/login/")
    token = TOKEN.search(page.body)
    form = {"email": email, "password": password, "csrfmiddlewaretoken": token[1].decode() if token else ""}
    answer = await browser.post("/user/login/", form)
    if answer.status != 302:
        raise SystemExit(f"Label Studio does not let {email} in: status {answer.status}")


async def label(system: System, browser: Browser, work: Work, seed: int) -> None:
    """One labeler: ends when told to, or when there is no task left."""
    draw = random.Random(seed)
    task: Task | None = None
    while not work.ends:
        try:
            asked = 0.0
            if task is None:
                found = await system.next_task(browser)
                if found.status in {204, 404}:
                    work.troubles["no task left"] += 1
                    return
                if found.status != 200:
                    raise Broken(f"next: status {found.status}: {found.body[:150]!r}")
                task, asked = json.loads(found.body), found.seconds
                work.note("next", asked)
            done = await system.submit(browser, task, draw, work)
            task = None
            if done.status != 201:
                raise Broken(f"submit: status {done.status}: {done.body[:150]!r}")
            work.note("submit", done.seconds)
            work.note("turn", asked + done.seconds)
            work.labels += work.measures
            task = json.loads(done.body).get("next")
        except Broken as problem:
            work.troubles[str(problem)[:200]] += 1
            await asyncio.sleep(0.2)
    browser.close()
