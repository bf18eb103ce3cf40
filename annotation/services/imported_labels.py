"""Keeping imported demonstrations and rankings: each gets a labeler, a task that is complete, and an assignment in it.

One shape for every label, wherever it came from (docs/adr/0002). The rows of a chunk are looked up together and
inserted together; the caller holds the project's lock, so that no second import works on the same rows. All of it is
hidden (labels not current, tasks withdrawn) until the import shows it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, Generic, TypeVar
from uuid import UUID, uuid4

from django.db.models import F
from django.utils import timezone

from annotation.errors import PlackettError
from annotation.fields import Category
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
from annotation.services.bulk_rows import Values, insert_rows, new_row
from annotation.services.tasks import group_key

UNNAMED = "unnamed labeler"
LabelRecord = DemonstrationRecord | RankingRecord
ResponseKey = tuple[UUID, str, str, int]  # prompt, text's hash, author, occurrence
Responses = dict[ResponseKey, UUID]
TaskKey = tuple[str, UUID | str]  # purpose and group of answers, or "" and prompt


R = TypeVar("R", bound=LabelRecord | AnswersRecord)


@dataclass(frozen=True)
class Item(Generic[R]):
    """A record whose prompt is in the database."""

    line: int
    prompt_id: UUID
    record: R


@dataclass
class Kept:
    """A label that a labeler has on a task: before this chunk, or made in it."""

    content: str
    label: Demonstration | Ranking | None = None
    """The stored one, where it was there before."""


@dataclass
class Outcome:
    added: int = 0
    known: int = 0
    rejected: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class Rows:
    """What a chunk will insert."""

    responses: list[Values] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    assignments: list[Values] = field(default_factory=list)
    labels: list[Values] = field(default_factory=list)
    ranked: list[Values] = field(default_factory=list)
    task_responses: list[Values] = field(default_factory=list)
    known_responses: list[UUID] = field(default_factory=list)
    revived_labels: list[UUID] = field(default_factory=list)
    revived_tasks: list[UUID] = field(default_factory=list)


class LabelImporter:
    """Adds the labels of one file, chunk by chunk."""

    def __init__(self, batch: ImportBatch, kind: str) -> None:
        self.batch = batch
        self.project = batch.project
        self.is_ranking = kind == "rankings"
        self.labelers: dict[str, Membership] = {}

    def add(self, items: Sequence[Item[LabelRecord]]) -> Outcome:
        """Keep the labels of a chunk; say which were known, and which can't be kept and why."""
        outcome, rows = Outcome(), Rows()
        responses = responses_for(self.batch, items, rows)
        tasks = self.tasks_for(items, responses, rows)
        kept = self.labels_on(list(tasks.values()))
        grown: Counter[UUID] = Counter()
        for item in items:
            task = tasks[self.task_key(item, responses)]
            try:
                labeler = self.labeler_for(item, task, responses, kept)
            except PlackettError as problem:
                outcome.rejected.append((item.line, problem.message))
                continue
            content = self.content(item, responses)
            before = kept[task.pk].get(labeler.pk)
            if before is None:
                kept[task.pk][labeler.pk] = Kept(content)
                grown[task.pk] += 1
                self.make_label(item, task, labeler, responses, rows)
                outcome.added += 1
            elif before.content != content:
                words = f"{labeler.imported_name} has labeled this already, differently; remove one of the two lines"
                outcome.rejected.append((item.line, words))
            elif before.label is not None and was_hidden(before.label):
                rows.revived_labels.append(before.label.pk)
                rows.revived_tasks.append(task.pk)
                before.label = None
                outcome.added += 1
            else:
                outcome.known += 1
        self.insert(rows, grown)
        return outcome

    # --- Tasks -----------------------------------------------------------------------------------

    def task_key(self, item: Item[LabelRecord], responses: Responses) -> TaskKey:
        if not self.is_ranking:
            return ("", item.prompt_id)
        ids = [responses[response_key(item, answer)] for answer in answers_of(item.record)]
        return (item.record.work.purpose, group_key(ids))

    def tasks_for(self, items: Sequence[Item[LabelRecord]], responses: Responses, rows: Rows) -> dict[TaskKey, Task]:
        """The tasks of the items: one a prompt to write for, one a group of answers to rank."""
        keys = {self.task_key(item, responses): item for item in items}
        tasks = self.stored_tasks([key[1] for key in keys])
        for key, item in keys.items():
            if key in tasks:
                continue
            task = tasks[key] = self.new_task(item, key)
            rows.tasks.append(task)
            if self.is_ranking:
                group = [responses[response_key(item, answer)] for answer in answers_of(item.record)]
                rows.task_responses += [{"task_id": task.pk, "response_id": response} for response in group]
        return tasks

    def stored_tasks(self, keys: Sequence[UUID | str]) -> dict[TaskKey, Task]:
        if self.is_ranking:
            ranking = Task.objects.filter(project=self.project, kind=TaskKind.RANKING, group_key__in=keys)
            return {(task.purpose, task.group_key): task for task in ranking}
        writing = Task.objects.filter(project=self.project, kind=TaskKind.DEMONSTRATION, prompt_id__in=keys)
        return {("", task.prompt_id): task for task in writing if task.prompt_id}

    def new_task(self, item: Item[LabelRecord], key: TaskKey) -> Task:
        """A task without slots yet; each label brings the slot that it holds."""
        return Task(
            project=self.project,
            kind=TaskKind.RANKING if self.is_ranking else TaskKind.DEMONSTRATION,
            prompt_id=item.prompt_id,
            category=item.record.prompt.category or Category.OTHER,
            language=item.record.prompt.language or "en",
            overlap=0,
            open_slots=0,
            purpose=item.record.work.purpose if self.is_ranking else Purpose.TRAIN,
            state=TaskState.WITHDRAWN,
            batch=self.batch,
            group_key=str(key[1]) if self.is_ranking else "",
        )

    # --- Labels ----------------------------------------------------------------------------------

    def labels_on(self, tasks: Sequence[Task]) -> dict[UUID, dict[UUID, Kept]]:
        """What each labeler has said of each of these tasks, {task: {labeler: ...}}."""
        kept: dict[UUID, dict[UUID, Kept]] = defaultdict(dict)
        model = Ranking if self.is_ranking else Demonstration
        stored: Any = model._default_manager.filter(task__in=tasks).select_related("batch").order_by("revision")
        if self.is_ranking:
            stored = stored.prefetch_related("ranked_responses")
        else:
            stored = stored.select_related("response")
        for label in stored:
            kept[label.task_id][label.labeler_id] = Kept(content_of(label), label)
        return kept

    def labeler_for(
        self,
        item: Item[LabelRecord],
        task: Task,
        responses: Responses,
        kept: dict[UUID, dict[UUID, Kept]],
    ) -> Membership:
        """The labeler of the row. Rows without one are by as many unnamed labelers as a task has different labels."""
        if item.record.work.labeler:
            return self.labeler(item.record.work.labeler)
        content = self.content(item, responses)
        number = 1
        while True:
            labeler = self.labeler(UNNAMED if number == 1 else f"{UNNAMED} {number}")
            before = kept[task.pk].get(labeler.pk)
            if before is None or before.content == content:
                return labeler
            number += 1

    def labeler(self, name: str) -> Membership:
        if name not in self.labelers:
            self.labelers[name] = imported_labeler(project=self.project, name=name)
        return self.labelers[name]

    def content(self, item: Item[LabelRecord], responses: Responses) -> str:
        if isinstance(item.record, DemonstrationRecord):
            return str(responses[response_key(item, answers_of(item.record)[0])])
        said = [
            (str(responses[response_key(item, answer)]), answer.rank, answer.rating, sorted(answer.flags))
            for answer in item.record.answers
        ]
        return digest(said)

    def make_label(
        self,
        item: Item[LabelRecord],
        task: Task,
        labeler: Membership,
        responses: Responses,
        rows: Rows,
    ) -> None:
        task.overlap += 1
        answers = [responses[response_key(item, answer)] for answer in answers_of(item.record)]
        started_at, submitted_at = times_of(item.record.work)
        assignment = new_row(
            Assignment,
            task_id=task.pk,
            labeler_id=labeler.pk,
            status=AssignmentStatus.SUBMITTED.value,
            slot=task.overlap,
            lease_until=submitted_at,
            presented_order=[str(answer) for answer in answers] if self.is_ranking else [],
            assigned_at=started_at,
            ended_at=submitted_at,
        )
        rows.assignments.append(assignment)
        shared: dict[str, Any] = {
            "project_id": self.project.pk,
            "task_id": task.pk,
            "assignment_id": assignment["id"],
            "prompt_id": item.prompt_id,
            "labeler_id": labeler.pk,
            "batch_id": self.batch.pk,
            "submission_id": uuid4(),
            "is_current": False,
            "imported_guideline": item.record.work.guideline,
            "origin": Origin.IMPORTED.value,
            "purpose": item.record.work.purpose,
            "started_at": started_at,
            "submitted_at": submitted_at,
            "active_seconds": item.record.work.active_seconds,
        }
        if isinstance(item.record, DemonstrationRecord):
            rows.labels.append(new_row(Demonstration, response_id=answers[0], **shared))
            return
        ranking = new_row(Ranking, prompt_fields=item.record.prompt_fields, **shared)
        rows.labels.append(ranking)
        rows.ranked += [
            {
                "ranking_id": ranking["id"],
                "response_id": response,
                "position": position,
                "rank": answer.rank,
                "rating": answer.rating,
                "flags": list(answer.flags),
            }
            for position, (answer, response) in enumerate(zip(item.record.answers, answers, strict=True))
        ]

    def insert(self, rows: Rows, grown: Counter[UUID]) -> None:
        """Insert what has a label: a row that was refused leaves neither answer nor task behind."""
        new = {task.pk for task in rows.tasks}
        labeled = {assignment["task_id"] for assignment in rows.assignments}
        spoken_of = {row["response_id"] for row in (rows.ranked if self.is_ranking else rows.labels)}
        insert_rows(Response, [response for response in rows.responses if response["id"] in spoken_of])
        insert_rows(Task, [task for task in rows.tasks if task.pk in labeled])
        insert_rows(TaskResponse, [row for row in rows.task_responses if row["task_id"] in labeled])
        by_number: dict[int, list[UUID]] = defaultdict(list)
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


def responses_for(batch: ImportBatch, items: Sequence[Item[Any]], rows: Rows) -> Responses:
    """The ids of the answers that the items speak of; those that are missing are made."""
    wanted = {
        response_key(item, answer): (item.prompt_id, answer) for item in items for answer in answers_of(item.record)
    }
    found = Response.objects.filter(
        prompt__in={key[0] for key in wanted},
        origin=ResponseOrigin.IMPORTED,
        content_hash__in={key[1] for key in wanted},
    )
    have: Responses = {}
    columns = ("id", "batch", "prompt", "content_hash", "imported_author", "index")
    for id, of_batch, prompt_id, digest, author, occurrence in found.values_list(*columns):
        key = (prompt_id, digest, author, occurrence)
        have[key] = id
        if of_batch != batch.pk and key in wanted:
            rows.known_responses.append(id)
    fresh = {key: new_response(batch, *wanted[key], digest=key[1]) for key in wanted if key not in have}
    rows.responses += fresh.values()
    return have | {key: row["id"] for key, row in fresh.items()}


def new_response(batch: ImportBatch, prompt_id: UUID, answer: AnswerRecord, *, digest: str) -> Values:
    return new_row(
        Response,
        project_id=batch.project_id,
        prompt_id=prompt_id,
        text=answer.text,
        content_hash=digest,
        origin=ResponseOrigin.IMPORTED.value,
        imported_author=answer.author,
        index=answer.occurrence,
        batch_id=batch.pk,
    )


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
