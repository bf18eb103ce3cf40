"""Keeping imported demonstrations and rankings: each gets a labeler, a task that is complete, and an assignment in it.

One shape for every label, wherever it came from (docs/adr/0002). The rows of a chunk are looked up together and
inserted together; the caller holds the project's lock, so that no second import works on the same rows. All of it is
hidden (labels not current, tasks withdrawn) until the import shows it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.db.models import F
from django.utils import timezone

from annotation.errors import PlackettError
from annotation.fields import Category
from annotation.ids import uuid7_stock
from annotation.models import (
    Assignment,
    AssignmentStatus,
    Demonstration,
    ImportBatch,
    ImportState,
    Membership,
    Origin,
    Prompt,
    Purpose,
    RankedResponse,
    Ranking,
    Response,
    ResponseOrigin,
    Task,
    TaskKind,
    TaskResponse,
    TaskState,
)
from annotation.records import AnswerRecord, AnswersRecord, DemonstrationRecord, RankingRecord, Work
from annotation.services.accounts import imported_labeler
from annotation.services.bulk_rows import Values, insert_rows
from annotation.services.tasks import group_key

UNNAMED = "unnamed labeler"
MOST_REMEMBERED = 10_000  # labelers, of whom a file may name millions
# Looked up once: an enumeration's value is a call each time.
IMPORTED, TRAIN, OTHER = Origin.IMPORTED.value, Purpose.TRAIN.value, Category.OTHER.value
SUBMITTED, WITHDRAWN = AssignmentStatus.SUBMITTED.value, TaskState.WITHDRAWN.value
LabelRecord = DemonstrationRecord | RankingRecord
ResponseKey = tuple[UUID, str, str, int]  # prompt, text's hash, author, occurrence
Responses = dict[ResponseKey, str]  # ids are texts here: rows are made by the ten thousand, and texts cost a quarter
TaskKey = tuple[str, UUID | str]  # purpose and group of answers, or "" and prompt


R = TypeVar("R", bound=LabelRecord | AnswersRecord)


@dataclass(frozen=True)
class Item(Generic[R]):
    """A record whose prompt is in the database."""

    line: int
    prompt_id: UUID
    record: R
    is_new: bool = False
    """Whether this very transaction made the prompt: then no answer, task or label can be there for it."""


@dataclass
class Placed(Generic[R]):
    """An item with the ids of its answers, in its record's order."""

    item: Item[R]
    ids: list[str]
    is_new: bool
    """Whether one of the answers was made in this chunk: then no task can be there for them all."""

    @cached_property
    def content(self) -> str:
        """What the label says, to be compared with another of the same labeler's on the same task."""
        record = self.item.record
        if not isinstance(record, RankingRecord):
            return self.ids[0]
        return digest(
            [
                (key, answer.rank, answer.rating, sorted(answer.flags))
                for key, answer in zip(self.ids, record.answers, strict=True)
            ]
        )


@dataclass
class Kept:
    """A label that a labeler has on a task: stored before this chunk, or made in it of an item."""

    said: Demonstration | Ranking | Placed[Any]
    is_taken_back: bool = False
    """Whether this chunk has brought the stored one back already."""

    @cached_property
    def content(self) -> str:
        return self.said.content if isinstance(self.said, Placed) else content_of(self.said)

    @property
    def hidden(self) -> Demonstration | Ranking | None:
        """The stored label, where it is hidden and waits to be brought again."""
        if isinstance(self.said, Placed) or self.is_taken_back or not was_hidden(self.said):
            return None
        return self.said


@dataclass
class Outcome:
    added: int = 0
    known: int = 0
    rejected: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class Rows:
    """What a chunk will insert."""

    made_at: datetime = field(default_factory=timezone.now)
    ids: Iterator[str] = field(default_factory=uuid7_stock)
    responses: list[Values] = field(default_factory=list)
    tasks: list[Any] = field(default_factory=list)
    assignments: list[Values] = field(default_factory=list)
    labels: list[Values] = field(default_factory=list)
    ranked: list[Values] = field(default_factory=list)
    task_responses: list[Values] = field(default_factory=list)
    known_responses: list[str] = field(default_factory=list)
    revived_labels: list[UUID] = field(default_factory=list)
    revived_tasks: list[UUID | str] = field(default_factory=list)


class LabelImporter:
    """Adds the labels of one file, chunk by chunk."""

    def __init__(self, batch: ImportBatch, kind: str) -> None:
        self.batch = batch
        self.project = batch.project
        self.is_ranking = kind == "rankings"
        self.kind = (TaskKind.RANKING if self.is_ranking else TaskKind.DEMONSTRATION).value
        self.labelers: dict[str, Membership] = {}

    def add(self, items: Sequence[Item[LabelRecord]]) -> Outcome:
        """Keep the labels of a chunk; say which were known, and which can't be kept and why."""
        outcome, rows = Outcome(), Rows()
        placed = placed_items(self.batch, items, rows)
        keys = [self.task_key(place) for place in placed]
        tasks = self.tasks_for(placed, keys, rows)
        kept = self.labels_on(tasks, rows)
        grown: Counter[str] = Counter()
        for place, key in zip(placed, keys, strict=True):
            task = tasks[key]
            on_task = kept[task["id"]]
            try:
                labeler = self.labeler_for(place, on_task)
            except PlackettError as problem:
                outcome.rejected.append((place.item.line, problem.message))
                continue
            before = on_task.get(labeler.pk)
            if before is None:
                on_task[labeler.pk] = Kept(place)
                grown[task["id"]] += 1
                self.make_label(place, task, labeler, rows)
                outcome.added += 1
            elif before.content != place.content:
                words = f"{labeler.imported_name} has labeled this already, differently; remove one of the two lines"
                outcome.rejected.append((place.item.line, words))
            elif label := before.hidden:
                rows.revived_labels.append(label.pk)
                rows.revived_tasks.append(task["id"])
                before.is_taken_back = True
                outcome.added += 1
            else:
                outcome.known += 1
        self.insert(rows, grown)
        return outcome

    # --- Tasks -----------------------------------------------------------------------------------

    def task_key(self, place: Placed[LabelRecord]) -> TaskKey:
        if not self.is_ranking:
            return ("", place.item.prompt_id)
        return (place.item.record.work.purpose, group_key(place.ids))

    def tasks_for(
        self, placed: Sequence[Placed[LabelRecord]], keys: Sequence[TaskKey], rows: Rows
    ) -> dict[TaskKey, Values]:
        """The tasks of the items: one a prompt to write for, one a group of answers to rank."""
        old = {
            key[1]
            for place, key in zip(placed, keys, strict=True)
            if not (place.is_new if self.is_ranking else place.item.is_new)
        }
        tasks = self.stored_tasks(old) if old else {}
        for place, key in zip(placed, keys, strict=True):
            if key in tasks:
                continue
            task = tasks[key] = self.new_task(place.item, key, rows)
            rows.tasks.append(task)
            if self.is_ranking:
                rows.task_responses += [{"task_id": task["id"], "response_id": response} for response in place.ids]
        return tasks

    def stored_tasks(self, keys: Collection[UUID | str]) -> dict[TaskKey, Values]:
        tasks = Task.objects.filter(project=self.project).values("id", "purpose", "prompt_id", "group_key", "overlap")
        if self.is_ranking:
            ranking = tasks.filter(kind=TaskKind.RANKING, group_key__in=keys)
            return {(task["purpose"], task["group_key"]): task | {"id": str(task["id"])} for task in ranking}
        writing = tasks.filter(kind=TaskKind.DEMONSTRATION, prompt_id__in=keys)
        return {("", task["prompt_id"]): task | {"id": str(task["id"])} for task in writing}

    def new_task(self, item: Item[LabelRecord], key: TaskKey, rows: Rows) -> Values:
        """A task without slots yet; each label brings the slot that it holds."""
        return {
            "id": next(rows.ids),
            "project_id": self.project.id,
            "kind": self.kind,
            "prompt_id": item.prompt_id,
            "category": item.record.prompt.category or OTHER,
            "language": item.record.prompt.language or "en",
            "overlap": 0,
            "open_slots": 0,
            "purpose": item.record.work.purpose if self.is_ranking else TRAIN,
            "state": WITHDRAWN,
            "batch_id": self.batch.id,
            "group_key": key[1] if self.is_ranking else "",
            "created_at": rows.made_at,
        }

    # --- Labels ----------------------------------------------------------------------------------

    def labels_on(self, tasks: dict[TaskKey, Values], rows: Rows) -> dict[str, dict[UUID, Kept]]:
        """What each labeler has said of each of these tasks, {task: {labeler: ...}}."""
        kept: dict[str, dict[UUID, Kept]] = defaultdict(dict)
        old = {task["id"] for task in tasks.values()} - {task["id"] for task in rows.tasks}
        if not old:
            return kept
        model = Ranking if self.is_ranking else Demonstration
        stored: Any = model._default_manager.filter(task__in=old).select_related("batch").order_by("revision")
        if self.is_ranking:
            stored = stored.prefetch_related("ranked_responses")
        for label in stored:
            kept[str(label.task_id)][label.labeler_id] = Kept(label)
        return kept

    def labeler_for(self, place: Placed[LabelRecord], on_task: dict[UUID, Kept]) -> Membership:
        """The labeler of the row. Rows without one are by as many unnamed labelers as a task has different labels."""
        if place.item.record.work.labeler:
            return self.labeler(place.item.record.work.labeler)
        number = 1
        while True:
            labeler = self.labeler(UNNAMED if number == 1 else f"{UNNAMED} {number}")
            before = on_task.get(labeler.pk)
            if before is None or before.content == place.content:
                return labeler
            number += 1

    def labeler(self, name: str) -> Membership:
        if name not in self.labelers:
            if len(self.labelers) >= MOST_REMEMBERED:
                self.labelers.clear()
            self.labelers[name] = imported_labeler(project=self.project, name=name)
        return self.labelers[name]

    def make_label(self, place: Placed[LabelRecord], task: Values, labeler: Membership, rows: Rows) -> None:
        record = place.item.record
        task["overlap"] += 1
        started_at, submitted_at = times_of(record.work)
        assignment = {
            "id": next(rows.ids),
            "task_id": task["id"],
            "labeler_id": labeler.id,
            "status": SUBMITTED,
            "slot": task["overlap"],
            "lease_until": submitted_at,
            "presented_order": place.ids if self.is_ranking else [],
            "assigned_at": started_at,
            "ended_at": submitted_at,
        }
        rows.assignments.append(assignment)
        label: Values = {
            "id": next(rows.ids),
            "project_id": self.project.id,
            "task_id": task["id"],
            "assignment_id": assignment["id"],
            "prompt_id": place.item.prompt_id,
            "labeler_id": labeler.id,
            "batch_id": self.batch.id,
            "submission_id": next(rows.ids),  # in order, so that they land at one place of the index
            "is_current": False,
            "imported_guideline": record.work.guideline,
            "origin": IMPORTED,
            "purpose": record.work.purpose,
            "started_at": started_at,
            "submitted_at": submitted_at,
            "active_seconds": record.work.active_seconds,
        }
        rows.labels.append(label)
        if isinstance(record, DemonstrationRecord):
            label["response_id"] = place.ids[0]
            return
        label["prompt_fields"] = record.prompt_fields
        rows.ranked += [
            {
                "ranking_id": label["id"],
                "response_id": response,
                "position": position,
                "rank": answer.rank,
                "rating": answer.rating,
                "flags": answer.flags,
            }
            for position, (answer, response) in enumerate(zip(record.answers, place.ids, strict=True))
        ]

    def insert(self, rows: Rows, grown: Counter[str]) -> None:
        """Insert what has a label: a row that was refused leaves neither answer nor task behind."""
        new = {task["id"] for task in rows.tasks}
        labeled = {assignment["task_id"] for assignment in rows.assignments}
        spoken_of = {row["response_id"] for row in (rows.ranked if self.is_ranking else rows.labels)}
        insert_rows(Response, [response for response in rows.responses if response["id"] in spoken_of])
        insert_rows(Task, [task for task in rows.tasks if task["id"] in labeled])
        insert_rows(TaskResponse, [row for row in rows.task_responses if row["task_id"] in labeled])
        by_number: dict[int, list[str]] = defaultdict(list)
        for task_id, number in grown.items():
            if task_id not in new:
                by_number[number].append(task_id)
        for number, task_ids in by_number.items():
            Task.objects.filter(pk__in=task_ids).update(overlap=F("overlap") + number)
        # A task that an undone import had withdrawn has labels again, as soon as this one shows them.
        again = [*rows.revived_tasks, *(task_id for task_id in grown if task_id not in new)]
        withdrawn = Task.objects.filter(pk__in=again, state=TaskState.WITHDRAWN, open_slots=0)
        withdrawn.update(batch=self.batch)
        labels = (Ranking if self.is_ranking else Demonstration)._default_manager
        labels.filter(pk__in=rows.revived_labels).update(batch=self.batch)
        adopt_responses(self.batch, rows)
        insert_rows(Assignment, rows.assignments)
        insert_rows(Ranking if self.is_ranking else Demonstration, rows.labels)
        insert_rows(RankedResponse, rows.ranked)


def placed_items(batch: ImportBatch, items: Sequence[Item[R]], rows: Rows) -> list[Placed[R]]:
    """The items with the ids of the answers that they speak of; those that are missing are made."""
    keys = [[response_key(item, answer) for answer in answers_of(item.record)] for item in items]
    looked_for = {key for item, of_item in zip(items, keys, strict=True) if not item.is_new for key in of_item}
    have = stored_responses(batch, looked_for, rows) if looked_for else {}
    fresh: Responses = {}
    placed = []
    for item, of_item in zip(items, keys, strict=True):
        ids, is_new = [], False
        for key, answer in zip(of_item, answers_of(item.record), strict=True):
            response = have.get(key)
            if response is None:
                is_new = True
                response = fresh.get(key)
            if response is None:
                made = new_response(batch, item.prompt_id, answer, key[1], rows)
                rows.responses.append(made)
                response = fresh[key] = made["id"]
            ids.append(response)
        placed.append(Placed(item, ids, is_new))
    return placed


def stored_responses(batch: ImportBatch, keys: set[ResponseKey], rows: Rows) -> Responses:
    found = Response.objects.filter(
        prompt__in={key[0] for key in keys},
        origin=ResponseOrigin.IMPORTED,
        content_hash__in={key[1] for key in keys},
    )
    have: Responses = {}
    columns = ("id", "batch", "prompt", "content_hash", "imported_author", "index")
    for id, of_batch, prompt_id, digest, author, occurrence in found.values_list(*columns):
        key = (prompt_id, digest, author, occurrence)
        have[key] = str(id)
        if of_batch != batch.pk and key in keys:
            rows.known_responses.append(str(id))
    return have


def new_response(batch: ImportBatch, prompt_id: UUID, answer: AnswerRecord, digest: str, rows: Rows) -> Values:
    return {
        "id": next(rows.ids),
        "project_id": batch.project_id,
        "prompt_id": prompt_id,
        "text": answer.text,
        "content_hash": digest,
        "origin": IMPORTED,
        "imported_author": answer.author,
        "index": answer.occurrence,
        "batch_id": batch.id,
        "created_at": rows.made_at,
    }


def response_key(item: Item[Any], answer: AnswerRecord) -> ResponseKey:
    return (item.prompt_id, *answer.key)


def adopt_responses(batch: ImportBatch, rows: Rows) -> None:
    """Take over answers that an import left which ended without showing them."""
    if rows.known_responses:
        Response.objects.filter(pk__in=rows.known_responses).exclude(batch__state=ImportState.SUCCEEDED).update(
            batch=batch
        )


def answers_of(record: LabelRecord | AnswersRecord) -> list[AnswerRecord]:
    if not isinstance(record, DemonstrationRecord):
        return record.answers
    return [AnswerRecord(text=record.text, author=record.work.labeler)]


def was_hidden(label: Demonstration | Ranking) -> bool:
    """Whether it is here only because an import was undone, or ended before it showed what it wrote."""
    return not label.is_current and label.batch is not None and label.batch.undone_at is not None


def content_of(label: Demonstration | Ranking) -> str:
    """What a stored label says, to be compared with what a row says."""
    if isinstance(label, Demonstration):
        return str(label.response_id)
    ranked = label.ranked_responses.all()
    return digest([(str(row.response_id), row.rank, row.rating, sorted(row.flags)) for row in ranked])


def digest(said: list[tuple[str, int | None, int | None, list[str]]]) -> str:
    return sha256(repr(sorted(said, key=lambda item: item[0])).encode()).hexdigest()


def times_of(work: Work) -> tuple[datetime, datetime]:
    """When the label was begun and submitted, as far as the file told; otherwise now."""
    submitted_at = work.submitted_at or work.started_at or timezone.now()
    return work.started_at or submitted_at, submitted_at


def prompts_in_use(prompts: Any) -> Any:
    """Of these prompts, those that somebody answered, or that have a task that is not withdrawn."""
    answered = Response.objects.exclude(origin=ResponseOrigin.IMPORTED).filter(prompt__in=prompts).values("prompt")
    tasked = Task.objects.exclude(state=TaskState.WITHDRAWN).filter(prompt__in=prompts).values("prompt")
    return Prompt.objects.filter(pk__in=answered) | Prompt.objects.filter(pk__in=tasked)
