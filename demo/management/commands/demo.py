"""`manage.py demo --headless`: the demo's loop without a browser, through the same services, queue and workers."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from config import processes
from config.management.commands.up import Up, only_one
from demo.driver import Progress, advance, ensure_demo
from demo.report import demo_report, describe

PATIENCE_SECONDS = 0.7  # each look is some twenty queries, which the training beside it feels


class Command(BaseCommand):
    help = "Train the demo's loop to the end of PPO without a browser, and write what it came to."
    requires_system_checks: list[str] = []  # `migrate` runs them

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--headless", action="store_true", help="required: with a browser, the demo is part of `up`"
        )
        parser.add_argument("--seed", type=int, default=7)
        parser.add_argument("--data", metavar="DIR", help="the folder for the database, files and logs (data)")
        parser.add_argument("--report", metavar="FILE", type=Path, help="where the report goes, as JSON")
        parser.add_argument("--short", action="store_true", help="only run through, in about a minute")

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["headless"]:
            raise CommandError(
                "With a browser the demo is part of `up`: python3 manage.py up. Without: add --headless."
            )
        enter_settings(options["seed"], options["short"])
        data = Path(settings.DATA_DIR)
        with only_one(data):
            HeadlessDemo(data, report=options["report"], out=self.stdout).run()


def enter_settings(seed: int, short: bool) -> None:
    """Start again with the demo's settings in the environment, where this process and its workers all read them."""
    wanted = {"DEMO_HEADLESS": "1", "DEMO_SEED": str(seed), "DEMO_SHORT": "1" if short else "0"}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **wanted})


class HeadlessDemo(Up):
    """`up` without the web server, ending when the loop has."""

    def __init__(self, data: Path, *, report: Path | None, out: Any) -> None:
        super().__init__(data, "127.0.0.1", 0, demo=True, out=out)
        self.report = report

    def run(self) -> None:
        with self.stop_on_signals():
            try:
                self.start()
            finally:
                self.stop()

    def start(self) -> None:
        self.say(f"The demo, with its data in {self.data}")
        processes.end_leftovers(self.data)
        self.start_queue()
        self.migrate()
        self.processes.start(processes.default_worker_service(self.data))
        self.processes.start(processes.gpu_worker_service())
        self.drive()

    def drive(self) -> None:
        started = time.monotonic()
        project = ensure_demo()
        said = ""
        while not self.signals:
            self.processes.watch()
            progress = advance()
            if progress.message and progress.message != said:
                said = progress.message
                self.say(f"  {time.monotonic() - started:5.0f} s  {said}")
            if progress.state == Progress.STOPPED:
                raise CommandError(f"The demo stopped: {progress.message}")
            if progress.state == Progress.DONE:
                return self.write_report(demo_report(project, settings.DEMO_SEED), time.monotonic() - started)
            time.sleep(PATIENCE_SECONDS)
        raise CommandError("The demo was stopped before it was done; start it again to go on from where it was.")

    def write_report(self, report: dict[str, Any], seconds: float) -> None:
        report["seconds"]["in all"] = round(seconds, 1)
        self.say(describe(report))
        if self.report:
            self.report.write_text(json.dumps(report, indent=2) + "\n")
            self.say(f"  written to {self.report}")
