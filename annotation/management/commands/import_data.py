"""`manage.py import_data FILE --project SLUG --kind KIND --source NAME`: a file that lies here, by the same job as an
upload. It prints how far it is, and ends with 0 where all came in, 1 where it was refused or failed."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotation.errors import PlackettError
from annotation.formats import FORMATS
from annotation.models import ImportBatch, ImportKind, ImportState, Pool, Project, User
from annotation.selectors.imports import import_preview, import_progress, import_rejections
from annotation.services.imports import import_stage, import_start, import_work_here
from annotation.staging import blocks_of_path, forget

SHOWN = 20
TELL_SECONDS = 1.0
POOLS = {"prompts": Pool.SFT, "demonstrations": Pool.SFT, "rankings": Pool.RM, "answers": Pool.RM}


class Command(BaseCommand):
    help = "Import prompts, demonstrations, rankings, or answers to be ranked, from a file on this machine."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="JSONL, a JSON list, CSV or Parquet; also .gz, .zst")
        parser.add_argument("--project", required=True, help="its slug, as in its address")
        parser.add_argument("--kind", required=True, choices=ImportKind.values)
        parser.add_argument("--source", required=True, help="where the data is from; kept")
        parser.add_argument(
            "--pool", choices=Pool.values, help="for rows that name none (sft, or rm for what is ranked)"
        )
        parser.add_argument("--format", default="", choices=["", *(found.name for found in FORMATS)])
        parser.add_argument(
            "--map", action="append", default=[], metavar="FIELD=COLUMN", help="once a column; prompt=question"
        )
        parser.add_argument("--licence", default="")
        parser.add_argument("--consent", default="")
        parser.add_argument("--good-lines", action="store_true", help="import the good lines even if others are bad")
        parser.add_argument("--by", help="the username of whoever imports, for the audit log")
        parser.add_argument(
            "--preview", action="store_true", help="show the first rows as they will be, import nothing"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            batch = self.staged(options)
            if options["preview"]:
                self.show_preview(batch)
                return
            batch = import_work_here(batch=import_start(batch=batch, by=batch.created_by), tell=Teller(self))
        except PlackettError as problem:
            raise CommandError(problem.message) from None
        except OSError as error:
            raise CommandError(f"{options['file']} can't be read: {error.strerror or error}.") from None
        self.report(batch)
        if batch.state != ImportState.SUCCEEDED:
            sys.exit(1)

    def staged(self, options: dict[str, Any]) -> ImportBatch:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project {options['project']!r}.")
        by = User.objects.filter(username=options["by"]).first() if options["by"] else None
        if options["by"] and by is None:
            raise CommandError(f"There is nobody named {options['by']!r}.")
        return import_stage(
            project=project,
            kind=options["kind"],
            blocks=blocks_of_path(options["file"]),
            filename=options["file"].name,
            pool=options["pool"] or POOLS[options["kind"]],
            source=options["source"],
            licence=options["licence"],
            consent=options["consent"],
            format=options["format"],
            mapping=mapping_of(options["map"]),
            accept_bad_lines=options["good_lines"],
            by=by,
        )

    def show_preview(self, batch: ImportBatch) -> None:
        """Show the first rows, and keep nothing."""
        from annotation.api_imports import preview_row

        preview = import_preview(batch)
        batch.delete()
        forget(batch.sha256)
        if preview.problem:
            raise CommandError(preview.problem)
        self.stdout.write(f"format: {preview.format}\ncolumns: {', '.join(preview.columns)}")
        for line, record in preview.records:
            self.stdout.write(json.dumps(preview_row(line, record), ensure_ascii=False))
        for line, problem in preview.rejected[:SHOWN]:
            self.stdout.write(f"line {line}: {problem}")

    def report(self, batch: ImportBatch) -> None:
        words = f"{batch.get_state_display()}: {batch.added:,} added, {batch.known:,} here already, "
        self.stdout.write(f"{words}{batch.rejected_count:,} bad lines.")
        if batch.message:
            self.stdout.write(batch.message)
        for bad in import_rejections(batch)[:SHOWN]:
            self.stdout.write(f"line {bad.line}: {bad.problem}")
        if batch.rejected_count > SHOWN:
            self.stdout.write(f"... and {batch.rejected_count - SHOWN:,} more, on the import's page.")
        if batch.state == ImportState.REFUSED:
            self.stdout.write("Nothing was changed. Mend the lines, or give --good-lines to import the others.")


class Teller:
    """Prints how far the import is, once a second."""

    def __init__(self, command: BaseCommand) -> None:
        self.command, self.told_at = command, 0.0

    def __call__(self, batch: ImportBatch) -> None:
        if time.monotonic() - self.told_at < TELL_SECONDS:
            return
        self.told_at = time.monotonic()
        if batch.state in (ImportState.STAGED, ImportState.QUEUED):
            self.command.stdout.write("waiting for another import of this project")
            return
        progress = import_progress(batch)
        words = [f"{batch.phase or 'reading'}: {batch.position:,} rows"]
        if progress.fraction is not None:
            words.append(f"{progress.fraction:.0%}")
        if progress.rows_a_second:
            words.append(f"{progress.rows_a_second:,.0f} rows/s")
        if progress.seconds_left is not None:
            words.append(f"about {progress.seconds_left:,.0f} s left")
        self.command.stdout.write(", ".join(words))


def mapping_of(pairs: list[str]) -> dict[str, Any]:
    """`prompt=question` and the like; a field that comes again has several columns."""
    mapping: dict[str, Any] = {}
    for pair in pairs:
        name, equals, column = pair.partition("=")
        if not equals:
            raise CommandError(f"--map {pair} must be FIELD=COLUMN, such as prompt=question.")
        if name in mapping:
            mapping[name] = [*(mapping[name] if isinstance(mapping[name], list) else [mapping[name]]), column]
        else:
            mapping[name] = column
    return mapping
