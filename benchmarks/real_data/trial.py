"""The trial as a person at the dashboard does it: a project, two imports, a corpus, four runs, four measurements.

Everything goes through pages and their forms. Only what has no form is asked of the API: freezing held-out prompts,
evaluations by the inputs' ids, and the counts that the pages show in words.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from benchmarks.real_data.dashboard import Dashboard, DashboardError, Fields, Page
from benchmarks.real_data.recipe import Config, Recipe

RUN_SECONDS = 3 * 3600.0
IMPORT_SECONDS = 900.0
COUNTS = ("added", "known", "rejected_count")
Run = dict[str, Any]


class Trial:
    """One project at one installation."""

    def __init__(self, dashboard: Dashboard, recipe: Recipe, seed: int, say: Callable[[str], None]) -> None:
        self.dashboard, self.recipe, self.seed, self.say = dashboard, recipe, seed, say
        self.project = ""
        self.seconds: dict[str, float] = {}

    def path(self, rest: str) -> str:
        return f"/p/{self.project}/{rest}"

    def api(self, rest: str, content: Any = None) -> Any:
        return self.dashboard.api(f"/projects/{self.project}/{rest}", content)

    # --- Data ------------------------------------------------------------------------------------

    def make_project(self) -> None:
        held_out = {
            "validation_percent": str(self.recipe.validation_percent),
            "test_percent": str(self.recipe.test_percent),
        }
        page = self.dashboard.send("/projects/new/", "slug", {"name": "Real data", **held_out})
        self.project = page.url.split("/p/")[1].split("/")[0]

    def import_file(self, kind: str, pool: str, source: str, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """Import rows three times: strictly, then the good lines alone, then again. What became of them each time.

        A file without a bad line is in after the first time.
        """
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        found: dict[str, Any] = {"rows": content.count(b"\n")}
        batch = self.bring_in(kind, pool, source, content, accept_bad_lines=False)
        if batch["state"] == "refused":
            found["refused_whole"] = True
            found["labels_after_refusal"] = self.labels(kind)
            batch = self.bring_in(kind, pool, source, content, accept_bad_lines=True)
        found |= {name: batch[name] for name in COUNTS}
        found["problems"] = problems(self.api(f"imports/{batch['id']}/bad-lines/?limit=1000")["results"])
        again = self.bring_in(kind, pool, source, content, accept_bad_lines=True)
        found["again"] = {name: again[name] for name in COUNTS}
        return found

    def bring_in(self, kind: str, pool: str, source: str, content: bytes, *, accept_bad_lines: bool) -> dict[str, Any]:
        """Send a file, start it on the page that shows what it will be, and wait until it is over."""
        fields = {"kind": kind, "pool": pool, "source": source, "licence": "Apache-2.0"}
        files = {"file": (f"{kind}.jsonl", content)}
        page = self.dashboard.send(self.path("prompts/import/"), "source", fields, files)
        batch_id = page.url.rstrip("/").rsplit("/", 1)[1]
        reading = {"do": "start", "accept_bad_lines": "on" if accept_bad_lines else None}
        shown = self.path(f"prompts/imports/{batch_id}/")
        self.dashboard.send(shown, "format", reading, to=f"{shown}start/")
        deadline = time.monotonic() + IMPORT_SECONDS
        while True:
            batch: dict[str, Any] = self.api(f"imports/{batch_id}/")
            if batch["state"] not in ("staged", "queued", "running"):
                return batch
            if time.monotonic() > deadline:
                raise DashboardError(f"the import {batch_id} is still {batch['state']}")
            time.sleep(0.2)

    def labels(self, kind: str) -> int:
        """How many labels the project has, at most a page full: enough to tell none from some."""
        return len(self.api(f"{kind}/?limit=5")["results"])

    def add_corpus(self, texts: Iterable[str]) -> dict[str, Any]:
        content = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts).encode()
        files = {"file": ("documentation.jsonl", content)}
        fields = {"name": "Documentation of Python and its packages"}
        page = self.dashboard.send(self.path("snapshots/corpus/"), "name", fields, files)
        snapshot = self.snapshot(page)
        return {"id": snapshot["id"], "bytes": len(content), "documents": snapshot["counts"]}

    def freeze_prompts(self) -> dict[str, Any]:
        """PPO's prompts, frozen in the form: those of both pools. (No import fills a third one here.)"""
        fields: Fields = {"kind": "prompts", "name": "Prompts of both pools", "pools": ["sft", "rm"]}
        return self.snapshot(self.dashboard.send(self.path("snapshots/new/"), "kind", fields))

    def snapshot(self, page: Page) -> dict[str, Any]:
        snapshot_id = page.url.rstrip("/").rsplit("/", 1)[1]
        found: dict[str, Any] = self.api(f"snapshots/{snapshot_id}/")
        return found

    def rows_of(self, snapshot_id: str, split: str) -> list[dict[str, Any]]:
        """A file of a snapshot, downloaded as the page offers it."""
        text = self.dashboard.get(self.path(f"snapshots/{snapshot_id}/{split}/canonical/")).text
        return [json.loads(line) for line in text.split("\n") if line.strip()]

    # --- Runs ------------------------------------------------------------------------------------

    def launch(self, stage: str, config: Config, inputs: Mapping[str, str] | None = None) -> Run:
        """Fill in the stage's launch form, send it, and wait for the run on its live page."""
        fields = {f"setting-{name}": str(value) for name, value in config.items()}
        fields |= {f"input-{name}": value for name, value in (inputs or {}).items()}
        fields["seed"] = str(self.seed)
        page = self.dashboard.send(self.path(f"runs/new/{stage}/"), "seed", fields)
        return self.wait(page.url.rstrip("/").rsplit("/", 1)[1], stage)

    def evaluate(self, name: str, inputs: Mapping[str, str]) -> dict[str, Any]:
        """An evaluation by the inputs' ids; its whole report."""
        asked = {"stage": "evaluate", "config": self.recipe.evaluate, "inputs": dict(inputs), "seed": self.seed}
        run = self.wait(self.api("runs/", asked)["id"], f"evaluate {name}")
        report: dict[str, Any] = self.dashboard.get(self.path(f"runs/{run['id']}/report.json")).json()
        return report | {"data": run["data_report"]}

    def wait(self, run_id: str, name: str) -> Run:
        started = time.monotonic()
        run = self.dashboard.wait_for_run(self.project, run_id, self.say, RUN_SECONDS)
        self.seconds[name] = round(time.monotonic() - started, 1)
        return run

    def curve(self, run: Run, names: Iterable[str]) -> dict[str, list[tuple[int, float]]]:
        """The (step, value) points of some metrics of a run."""
        found = self.api(f"runs/{run['id']}/metrics/?points=1000")
        return {
            name: [
                (step, value)
                for step, value in zip(found["step"], found["metrics"].get(name, []), strict=False)
                if value is not None
            ]
            for name in names
        }


def problems(rejected: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The bad lines by what is wrong with them: how many, and the first few."""
    by_words: dict[str, list[int]] = {}
    for bad in rejected:
        by_words.setdefault(str(bad["problem"]), []).append(int(bad["line"]))
    return [{"problem": words, "count": len(lines), "first": lines[:5]} for words, lines in by_words.items()]
