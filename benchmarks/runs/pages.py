"""How long pages take that show one of 1,000 runs of 10,000 steps each, over HTTP from the product's web server.

A browser asks for the run's page, and then for its curves as JSON, which are thinned to what a screen shows. Every
request is a whole one: no answer is taken from the browser's cache.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.real_data.dashboard import Dashboard
from benchmarks.runs.figures import figure, percentile
from benchmarks.runs.ground import Ground
from benchmarks.runs.past import fill
from benchmarks.runs.start import signed_in

AIM_MS = 300.0
RUNS, QUICK_RUNS = 1000, 20
STEPS, QUICK_STEPS = 10_000, 2000
TIMES, WARM = 20, 3


def measure(ground: Ground, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    ground.only()
    runs, steps = (QUICK_RUNS, QUICK_STEPS) if options.quick else (RUNS, STEPS)
    shown = fill(ground, runs, steps)
    ground.say(f"{runs} runs of {steps} steps are there")
    ground.only("web")
    person = signed_in(ground)
    for what, path in addresses(ground, shown).items():
        yield one_page(ground, person, what, path) | {"runs": runs, "steps": steps}


def addresses(ground: Ground, shown: dict[str, Any]) -> dict[str, str]:
    project = f"/p/{ground.project.slug}"
    found = {"queue page": f"{project}/runs/queue/", "list of runs": f"{project}/runs/"}
    for what, run in shown.items():
        found[f"page of {what}"] = f"{project}/runs/{run.pk}/"
    for what, run in list(shown.items())[:2]:
        found[f"curves of {what}"] = f"{project}/runs/{run.pk}/metrics.json"
        found[f"live part of {what}"] = f"{project}/runs/{run.pk}/live/"
        found[f"figures of {what} as a table"] = f"{project}/runs/{run.pk}/figures/"
    return found


def one_page(ground: Ground, person: Dashboard, what: str, path: str) -> dict[str, Any]:
    took = []
    for _ in range(WARM + TIMES):
        began = time.monotonic()
        page = person.get(path)
        took.append(1000 * (time.monotonic() - began))
    took = took[WARM:]
    p95 = round(percentile(took, 0.95), 1)
    line = figure("pages", ground.database, what, took, "ms", aim=AIM_MS, digits=1, p95=p95, bytes=len(page.body))
    if path.endswith(".json"):
        line["points"] = max(len(picture["steps"]) for picture in page.json()["pictures"])
    return line | {"met": p95 <= AIM_MS}
