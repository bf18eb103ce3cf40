"""Making tasks: one to write for each prompt, one to rank for each group of answers. Making them again adds none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from annotation.errors import PlackettError
from annotation.models import Pool, Project, Prompt, Purpose, Response, Task, TaskKind, TaskResponse
from annotation.overlaps import Overlap, overlap_of
from annotation.selectors.queue_settings import kind_settings
from annotation.services import audit
from annotation.services.audit import Actor

if TYPE_CHECKING:
    from training.models import Round, Run

CHUNK = 500
MAX_K = 16


class TaskError(PlackettError):
    """Tasks that can't be made as asked."""


@transaction.atomic
def demonstration_tasks_create(
    *, project: Project, prompts: Iterable[Prompt], by: Actor | None, overlap: int | None = None, priority: int = 0
) -> int:
    """Make a task to write an answer for each prompt that has none yet, and return how many were made.

    overlap: for all of them alike, instead of what the project's settings say of the kind.
    """
    made, iterator, wanted = 0, iter(prompts), labels_wanted(project, TaskKind.DEMONSTRATION, overlap)
    while chunk := list(islice(iterator, CHUNK)):
        made += demonstration_chunk(project, chunk, wanted, priority)
    if made:
        audit.record(project=project, by=by, verb="tasks.create", target=project, kind="demonstration", made=made)
    return made


def demonstration_chunk(project: Project, prompts: list[Prompt], wanted: Overlap, priority: int) -> int:
    for prompt in prompts:
        if prompt.project_id != project.pk:
            raise TaskError(_("The prompt %(prompt)s belongs to another project.") % {"prompt": prompt.pk})
    have = set(Task.objects.filter(kind=TaskKind.DEMONSTRATION, prompt__in=prompts).values_list("prompt_id", flat=True))
    tasks = [
        with_slots(
            Task(
                project=project,
                kind=TaskKind.DEMONSTRATION,
                prompt=prompt,
                category=prompt.category,
                language=prompt.language,
                priority=priority,
                purpose=purpose_of(prompt),
            ),
            wanted,
            key=prompt.content_hash,
        )
        for prompt in prompts
        if prompt.pk not in have and prompt.withdrawn_at is None
    ]
    Task.objects.bulk_create(tasks, ignore_conflicts=True)
    return Task.objects.filter(pk__in=[task.pk for task in tasks]).count()


@transaction.atomic
def ranking_tasks_create(
    *,
    project: Project,
    groups: Iterable[Sequence[Response]],
    by: Actor | None,
    purpose: str = "",
    round: Round | None = None,
    overlap: int | None = None,
    priority: int = 0,
) -> int:
    """Make a task for each group of answers to one prompt, and return how many were made.

    Of answers with the same text one is shown; a group with fewer than two different texts has nothing to rank. The
    same group is one task however often it is handed in. Without a purpose, prompts of the eval pool are for
    evaluation and all others for training.
    """
    made, iterator, wanted = 0, iter(groups), labels_wanted(project, TaskKind.RANKING, overlap)
    while chunk := list(islice(iterator, CHUNK)):
        shared = {"kind": TaskKind.RANKING, "purpose": purpose, "round": round, "priority": priority}
        made += ranking_chunk(project, chunk, wanted, shared)
    if made:
        audit.record(project=project, by=by, verb="tasks.create", target=project, kind="ranking", made=made)
    return made


def ranking_chunk(
    project: Project, groups: Sequence[Sequence[Response]], labels: Overlap, shared: dict[str, Any]
) -> int:
    prompts = Prompt.objects.in_bulk({response.prompt_id for group in groups for response in group})
    wanted: dict[tuple[str, str], tuple[Task, list[Response]]] = {}
    for group in groups:
        distinct = list({response.content_hash: response for response in reversed(group)}.values())[::-1]
        check_group(project, distinct)
        if len(distinct) < 2 or prompts[distinct[0].prompt_id].withdrawn_at is not None:
            continue
        task = ranking_task(project, prompts[distinct[0].prompt_id], distinct, labels, shared)
        wanted[task.purpose, task.group_key] = (task, distinct)
    keys = [key for _purpose, key in wanted]
    stored = Task.objects.filter(project=project, kind=shared["kind"], group_key__in=keys)
    have = set(stored.values_list("purpose", "group_key"))
    fresh = [pair for key, pair in wanted.items() if key not in have]
    Task.objects.bulk_create([task for task, _group in fresh], ignore_conflicts=True)
    made = set(Task.objects.filter(pk__in=[task.pk for task, _group in fresh]).values_list("pk", flat=True))
    TaskResponse.objects.bulk_create(
        TaskResponse(task=task, response=response) for task, group in fresh if task.pk in made for response in group
    )
    return len(made)


def ranking_task(
    project: Project, prompt: Prompt, group: Sequence[Response], labels: Overlap, shared: dict[str, Any]
) -> Task:
    key = group_key([response.pk for response in group])
    purpose = shared["purpose"] or purpose_of(prompt)
    about = {"prompt": prompt, "category": prompt.category, "language": prompt.language, "group_key": key}
    task = Task(project=project, **about, **shared | {"purpose": purpose})
    return with_slots(task, labels, key=key)


def labels_wanted(project: Project, kind: str, overlap: int | None) -> Overlap:
    """How many labels tasks of this kind want: as asked in this call, or as the project's settings say."""
    return Overlap(overlap) if overlap else kind_settings(project)[kind].labels_wanted


def with_slots(task: Task, labels: Overlap, *, key: str) -> Task:
    """Give a new task its slots: how many is decided here, once, and stays."""
    task.overlap = task.open_slots = overlap_of(labels, salt=task.project.split_salt, kind=task.kind, key=key)
    return task


def check_group(project: Project, group: Sequence[Response]) -> None:
    if len(group) > MAX_K:
        raise TaskError(
            _("A group has %(count)s answers; at most %(limit)s can be ranked at once. Sample fewer.")
            % {"count": len(group), "limit": MAX_K}
        )
    for response in group:
        if response.project_id != project.pk or response.prompt_id != group[0].prompt_id:
            raise TaskError(_("A group holds answers to different prompts; each group must answer one prompt."))


def group_key(response_ids: Iterable[UUID | str]) -> str:
    """Return the hash that names a set of answers, in whatever order they come."""
    return sha256(",".join(sorted(str(key) for key in response_ids)).encode()).hexdigest()


def sampled_groups(run: Run, k: int | None = None) -> Iterable[list[Response]]:
    """Yield the answers of a sampling run, one list a prompt; `k` keeps the first so many of each."""
    responses = Response.objects.filter(run=run).order_by("prompt_id", "index").iterator(chunk_size=2000)
    for _prompt, group in groupby(responses, key=lambda response: response.prompt_id):
        yield list(islice(group, k))


def purpose_of(prompt: Prompt) -> str:
    return Purpose.EVAL if prompt.pool == Pool.EVAL else Purpose.TRAIN
