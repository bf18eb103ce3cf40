"""From pressing the button to the first step: the launch form is sent to the web server, as a browser does it."""

from __future__ import annotations

import argparse
import json
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

from benchmarks.real_data.dashboard import Dashboard, form_with
from benchmarks.runs.figures import figure
from benchmarks.runs.ground import Ground

TINY = {"hidden_size": 32, "layers": 1, "heads": 2, "context_length": 64, "vocab_size": 300, "batch_size": 4}
CONFIG = TINY | {"max_steps": 30, "eval_every": 0}


def measure(ground: Ground, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    ground.only("web", "default", "gpu")
    person = signed_in(ground)
    found = [one_start(ground, person) for _ in range(options.runs)]
    words = {
        "answered": "pressing the button to the answer of the page",
        "claimed": "pressing the button to a worker's claim",
        "core": "pressing the button to the core's first word, libraries loaded",
        "stepped": "pressing the button to the first step",
        "seen": "pressing the button to the first step on the page",
    }
    for name, what in words.items():
        yield figure("start", ground.database, what, [one[name] for one in found], "s")


def signed_in(ground: Ground) -> Dashboard:
    from annotation.services.sign_in import sign_in_link_create

    person = Dashboard(f"http://127.0.0.1:{ground.stack.port}")
    person.sign_in(f"/sign-in/{sign_in_link_create(user=ground.owner)}/")
    return person


def one_start(ground: Ground, person: Dashboard) -> dict[str, float]:
    """Seconds from the press to each thing that follows it."""
    from training import files
    from training.models import Attempt, Run

    path = f"/p/{ground.project.slug}/runs/new/pretrain/?defaults"
    form = form_with(person.get(path).text, "setting-hidden_size")
    values = form.values | {f"setting-{name}": [str(value)] for name, value in CONFIG.items()}
    body = urllib.parse.urlencode(values, doseq=True).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Referer": person.address + path}
    pressed = time.time()
    page = person.expect(person.open(path, body, headers), 200)
    answered = time.time()
    run = Run.objects.get(pk=page.url.rstrip("/").rpartition("/")[2])
    ground.until(run, lambda found: found.step > 0 or found.is_over, "at its first step")
    seen = time.time()
    attempt = Attempt.objects.get(run=run)
    events = [json.loads(line) for line in (files.attempt_folder(run.pk, 1) / "events.jsonl").read_text().splitlines()]
    first_step = next(event["time"] for event in events if event["event"] == "metrics")
    ground.until(run, lambda found: found.state == "succeeded", "succeeded")
    return {
        "answered": answered - pressed,
        "claimed": attempt.started_at.timestamp() - pressed,
        "core": events[0]["time"] - pressed,
        "stepped": first_step - pressed,
        "seen": seen - pressed,
    }
