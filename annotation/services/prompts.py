"""Adding prompts: cleaned, known ones recognised, split by group, all in few queries whatever their number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from annotation.conversations import ConversationProblem, Message, clean_messages, clean_text, content_hash
from annotation.errors import PlackettError
from annotation.fields import Category
from annotation.ids import uuid7
from annotation.models import ImportBatch, Membership, Pool, Project, Prompt, PromptSource, Task, TaskState
from annotation.services import audit
from annotation.services.audit import Actor
from annotation.services.bulk_rows import Values, insert_rows
from annotation.splits import split_of

CHUNK = 1000
POOLS, CATEGORIES = frozenset(Pool.values), frozenset(Category.values)
LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")


class PromptError(PlackettError):
    """A prompt that can't be added as asked."""


@dataclass(frozen=True, kw_only=True)
class PromptRow:
    """A prompt as it comes from a form, a file or a program."""

    messages: Any
    category: str = Category.OTHER
    language: str = "en"
    group: str = ""
    """Author, organisation or cluster of near-duplicates; a group shares one split. Empty: alone in its group."""
    source_name: str = ""
    source_id: str = ""
    pool: str = ""
    """Overrules the pool of the call."""
    author: Membership | None = None
    line: int | None = None
    """Where it stood in its file."""
    is_clean: bool = False
    """Whether the messages and the fields were cleaned and checked already (`annotation.records`)."""


@dataclass(frozen=True)
class Rejected:
    line: int
    problem: str

    def as_dict(self) -> dict[str, Any]:
        return {"line": self.line, "problem": self.problem}


@dataclass
class AddReport:
    """What became of the rows: `prompt_ids` has one entry a row, None where it was rejected."""

    added: int = 0
    known: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    prompt_ids: list[UUID | None] = field(default_factory=list)
    made: set[UUID] = field(default_factory=set)
    """Those that were not there before: nothing in any table speaks of them yet."""


@transaction.atomic
def prompts_add(
    *,
    project: Project,
    rows: Iterable[PromptRow],
    pool: str,
    source: str,
    by: Actor | None,
    batch: ImportBatch | None = None,
) -> AddReport:
    """Add the prompts that are not there yet; say which were known and which can't be added, and why.

    Those of an import (`batch`) are hidden until it shows them.
    """
    if pool not in Pool.values:
        raise PromptError(
            _("There is no pool %(pool)s. Choose one of: %(known)s.") % {"pool": pool, "known": ", ".join(Pool.values)}
        )
    if source not in PromptSource.values:
        raise PromptError(
            _("There is no source %(source)s. Choose one of: %(known)s.")
            % {"source": source, "known": ", ".join(PromptSource.values)}
        )
    report = AddReport()
    for chunk in chunks(enumerate(rows, start=1)):
        add_chunk(project, chunk, pool, source, batch, report)
    if report.added and batch is None:
        audit.record(project=project, by=by, verb="prompts.add", target=project, added=report.added, pool=pool)
    return report


def add_chunk(
    project: Project,
    chunk: list[tuple[int, PromptRow]],
    pool: str,
    source: str,
    batch: ImportBatch | None,
    report: AddReport,
) -> None:
    made: list[Values | None] = []
    for number, row in chunk:
        try:
            made.append(prompt_values(project, row, pool, source, batch))
        except (ConversationProblem, PromptError) as problem:
            made.append(None)
            report.rejected.append(Rejected(row.line or number, problem.message))
    by_hash, by_source = known_prompts(project, [prompt for prompt in made if prompt is not None])
    fresh: dict[str, Values] = {}
    revived: set[UUID] = set()
    for (number, row), prompt in zip(chunk, made, strict=True):
        if prompt is None:
            report.prompt_ids.append(None)
            continue
        digest, source_key = prompt["content_hash"], (prompt["source_name"], prompt["source_id"])
        if digest in fresh:
            report.known += 1
            report.prompt_ids.append(fresh[digest]["id"])
        elif known := by_hash.get(digest):
            if known.pk not in revived and was_hidden(known, batch):
                revived.add(known.pk)
                report.added += 1
            else:
                report.known += 1
            report.prompt_ids.append(known.pk)
        elif prompt["source_id"] and source_key in by_source:
            taken = f"a prompt with the id {prompt['source_id']} is here already, with another text; change the id"
            report.rejected.append(Rejected(row.line or number, taken))
            report.prompt_ids.append(None)
        else:
            fresh[digest] = prompt
            if prompt["source_id"]:
                by_source.add(source_key)
            report.prompt_ids.append(prompt["id"])
    revive(revived, batch)
    insert_fresh(project, list(fresh.values()), report)


def insert_fresh(project: Project, prompts: list[Values], report: AddReport) -> None:
    """Insert, and where another process inserted the same text meanwhile, take its row for ours."""
    try:
        with transaction.atomic():
            insert_rows(Prompt, prompts)
    except IntegrityError:
        insert_or_take(project, prompts, report)
    else:
        report.added += len(prompts)
        report.made.update(prompt["id"] for prompt in prompts)


def insert_or_take(project: Project, prompts: list[Values], report: AddReport) -> None:
    Prompt.objects.bulk_create([Prompt(**prompt) for prompt in prompts], ignore_conflicts=True)
    hashes = [prompt["content_hash"] for prompt in prompts]
    stored = dict(Prompt.objects.filter(project=project, content_hash__in=hashes).values_list("content_hash", "pk"))
    replaced = {
        prompt["id"]: stored.get(prompt["content_hash"])
        for prompt in prompts
        if stored.get(prompt["content_hash"]) != prompt["id"]
    }
    report.added += len(prompts) - len(replaced)
    report.known += len(replaced)
    if replaced:
        report.prompt_ids[:] = [replaced.get(key, key) if key else None for key in report.prompt_ids]


def known_prompts(project: Project, prompts: list[Values]) -> tuple[dict[str, Prompt], set[tuple[str, str]]]:
    """Return the stored prompts by hash, and the sources' ids that are taken."""
    here = Prompt.objects.filter(project=project).select_related("batch")
    hashes = [prompt["content_hash"] for prompt in prompts]
    by_hash = {found.content_hash: found for found in here.filter(content_hash__in=hashes)}
    ids: dict[str, list[str]] = {}
    for prompt in prompts:
        if prompt["source_id"]:
            ids.setdefault(prompt["source_name"], []).append(prompt["source_id"])
    condition = Q()
    for name, source_ids in ids.items():
        condition |= Q(source_name=name, source_id__in=source_ids)
    taken = here.filter(condition).values_list("source_name", "source_id") if ids else []
    return by_hash, set(taken)


def was_hidden(prompt: Prompt, batch: ImportBatch | None) -> bool:
    """Whether it is hidden only because its import was undone, or ended (or, to a person, goes on) unseen."""
    if not prompt.withdrawn_at or not prompt.batch or (batch is not None and prompt.batch_id == batch.pk):
        return False
    return prompt.batch.undone_at is not None or (batch is None and not prompt.batch.is_over)


def revive(prompt_ids: set[UUID], batch: ImportBatch | None) -> None:
    """Hand prompts that were hidden to the import that brings them again, or show them to a person who adds them."""
    if prompt_ids and batch is not None:
        Prompt.objects.filter(pk__in=prompt_ids).update(batch=batch)
    elif prompt_ids:
        Prompt.objects.filter(pk__in=prompt_ids).update(batch=None, withdrawn_at=None)


def prompt_of_row(project: Project, row: PromptRow, pool: str, source: str, batch: ImportBatch | None) -> Prompt:
    prompt = Prompt(**prompt_values(project, row, pool, source, batch))
    prompt.project, prompt.batch, prompt.author = project, batch, row.author
    return prompt


def prompt_values(project: Project, row: PromptRow, pool: str, source: str, batch: ImportBatch | None) -> Values:
    """A new prompt's columns. Raises ConversationProblem or PromptError."""
    if not row.is_clean:
        row = cleaned(row, pool)
    messages: list[Message] = row.messages
    digest = content_hash(messages)
    group = row.group or digest
    return {
        "id": uuid7(),
        "project_id": project.pk,
        "messages": messages,
        "source": source,
        "source_name": row.source_name,
        "source_id": row.source_id,
        "group": group,
        "split": split_of(
            group,
            project.split_salt,
            validation_percent=project.validation_percent,
            test_percent=project.test_percent,
        ),
        "pool": row.pool or pool,
        "category": row.category,
        "language": row.language,
        "content_hash": digest,
        "batch_id": batch.pk if batch is not None else None,
        "withdrawn_at": timezone.now() if batch is not None else None,
        "author_id": row.author.pk if row.author is not None else None,
    }


def cleaned(row: PromptRow, pool: str) -> PromptRow:
    """Raises ConversationProblem or PromptError."""
    check_filing(pool=row.pool or pool, category=row.category, language=row.language)
    return replace(
        row,
        messages=clean_messages(row.messages),
        group=short(row.group, 200, _("the group")),
        source_name=short(row.source_name, 120, _("the source name")),
        source_id=short(row.source_id, 200, _("the id")),
    )


def check_filing(*, pool: object, category: object, language: object) -> None:
    """Refuse a pool or a category that there isn't, or a language that is no code.

    Raises: PromptError.
    """
    if not isinstance(pool, str) or pool not in POOLS:
        raise PromptError(
            _("the pool is %(pool)s; it must be one of %(known)s")
            % {"pool": f"{pool!r:.40}", "known": ", ".join(Pool.values)}
        )
    if not isinstance(category, str) or category not in CATEGORIES:
        raise PromptError(
            _("the category is %(category)s; it must be one of %(known)s")
            % {"category": f"{category!r:.40}", "known": ", ".join(Category.values)}
        )
    if not isinstance(language, str) or len(language) > 16 or not LANGUAGE.fullmatch(language):
        raise PromptError(
            _("the language is %(language)s; write a code such as en or zh-hans") % {"language": f"{language!r:.40}"}
        )


def short(text: object, limit: int, what: str) -> str:
    """Return a short one-line field, cleaned, or refuse it."""
    if text is None or text == "":
        return ""
    return clean_text(str(text) if isinstance(text, int) else text, what=what, limit=limit).strip()


def chunks(rows: Iterable[tuple[int, PromptRow]]) -> Iterator[list[tuple[int, PromptRow]]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk


@transaction.atomic
def prompt_withdraw(*, prompt: Prompt, by: Actor) -> Prompt:
    """Offer the prompt no longer: its open tasks leave the queue, its labels stay."""
    if Prompt.objects.filter(pk=prompt.pk, withdrawn_at__isnull=True).update(withdrawn_at=Now()):
        unfinished = Task.objects.filter(prompt=prompt, state__in=[TaskState.OPEN, TaskState.REVIEW])
        unfinished.update(state=TaskState.WITHDRAWN)
        audit.record(project=prompt.project, by=by, verb="prompt.withdraw", target=prompt)
    prompt.refresh_from_db()
    return prompt
