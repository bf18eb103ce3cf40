"""Keeping imported answers that are to be ranked: each group becomes a task, hidden until the import ends."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from annotation.models import ImportBatch, Pool, Prompt, Response, Task, TaskKind, TaskResponse, TaskState
from annotation.records import AnswersRecord
from annotation.services.bulk_rows import insert_rows
from annotation.services.imported_labels import (
    Item,
    Outcome,
    Placed,
    Rows,
    adopt_responses,
    placed_items,
)
from annotation.services.tasks import group_key, labels_wanted, with_slots

GroupKey = tuple[str, str]  # purpose, answers


class AnswersImporter:
    """Adds the groups of one file, chunk by chunk."""

    def __init__(self, batch: ImportBatch) -> None:
        self.batch = batch
        self.wanted = labels_wanted(batch.project, TaskKind.RANKING, None)

    def add(self, items: Sequence[Item[AnswersRecord]]) -> Outcome:
        outcome, rows = Outcome(), Rows()
        placed = placed_items(self.batch, items, rows)
        pools = dict(Prompt.objects.filter(pk__in={item.prompt_id for item in items}).values_list("pk", "pool"))
        groups = [self.group_of(place) for place in placed]
        keys = [(self.purpose(item, pools), group_key(group)) for item, group in zip(items, groups, strict=True)]
        stored = self.stored_tasks([key[1] for key in keys])
        seen: set[GroupKey] = set()
        for item, group, key in zip(items, groups, keys, strict=True):
            task = stored.get(key)
            if key in seen or (task is not None and not self.was_hidden(task)):
                outcome.known += 1
                continue
            seen.add(key)
            outcome.added += 1
            if task is not None:
                rows.revived_tasks.append(task.pk)
            else:
                self.make_task(item, key, group, rows)
        self.insert(rows)
        return outcome

    def group_of(self, place: Placed[AnswersRecord]) -> list[str]:
        """The answers in the file's order; of those with the same text one is shown."""
        answers = zip(place.item.record.answers, place.ids, strict=True)
        by_text = {answer.text: response for answer, response in reversed(list(answers))}
        return list(by_text.values())[::-1]

    def purpose(self, item: Item[AnswersRecord], pools: dict[UUID, str]) -> str:
        return "eval" if pools.get(item.prompt_id) == Pool.EVAL else item.record.purpose

    def stored_tasks(self, keys: Sequence[str]) -> dict[GroupKey, Task]:
        found = Task.objects.filter(project=self.batch.project_id, kind=TaskKind.RANKING, group_key__in=keys)
        return {(task.purpose, task.group_key): task for task in found.select_related("batch")}

    def was_hidden(self, task: Task) -> bool:
        return task.state == TaskState.WITHDRAWN and task.batch is not None and task.batch.undone_at is not None

    def make_task(self, item: Item[AnswersRecord], key: GroupKey, group: Sequence[str], rows: Rows) -> None:
        task = Task(
            project=self.batch.project,
            kind=TaskKind.RANKING,
            prompt_id=item.prompt_id,
            category=item.record.prompt.category or "other",
            language=item.record.prompt.language or "en",
            purpose=key[0],
            state=TaskState.WITHDRAWN,
            batch=self.batch,
            group_key=key[1],
        )
        rows.tasks.append(with_slots(task, self.wanted, key=key[1]))
        rows.task_responses += [{"task_id": task.pk, "response_id": response} for response in group]

    def insert(self, rows: Rows) -> None:
        shown = {row["response_id"] for row in rows.task_responses}
        insert_rows(Response, [row for row in rows.responses if row["id"] in shown])
        adopt_responses(self.batch, rows)
        insert_rows(Task, rows.tasks)
        insert_rows(TaskResponse, rows.task_responses)
        Task.objects.filter(pk__in=rows.revived_tasks).update(batch=self.batch)
