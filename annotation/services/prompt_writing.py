"""Prompts written by labelers: asked for by a lead, written one a task, and prompts like any other from then on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from annotation.conversations import clean_text
from annotation.models import (
    Assignment,
    FollowUp,
    Origin,
    Project,
    Prompt,
    PromptBrief,
    PromptSource,
    PromptStyle,
    Purpose,
    Response,
    Task,
    TaskKind,
    TaskState,
    WrittenPrompt,
)
from annotation.models.prompts import Pool
from annotation.prompt_writing import digest_of, messages_of, parts_clean
from annotation.services import audit
from annotation.services.audit import Actor, account_of
from annotation.services.labels import LabelError, Submission, check_kind, make_room, submit_once
from annotation.services.prompts import PromptRow, check_filing, prompt_of_row, prompt_withdraw
from annotation.services.tasks import CHUNK, TaskError, demonstration_tasks_create

MAX_TASKS = 10_000
MAX_USE_CASE = 10_000


@transaction.atomic
def prompt_tasks_create(
    *,
    project: Project,
    style: str,
    number: int,
    pool: str,
    by: Actor,
    use_case: str = "",
    language: str = "",
    follow_up: str = "",
    priority: int = 0,
) -> PromptBrief:
    """Ask for so many prompts of a style, and return the brief that says so; each of its tasks yields one prompt.

    use_case: what a user-based prompt is written from. language: empty leaves the choice to the labeler.
    follow_up: what is made of each prompt at once.

    Raises: TaskError, PromptError.
    """
    if style not in PromptStyle.values or follow_up not in FollowUp.values:
        raise TaskError(_("There is no such way of writing prompts. Reload the page, then choose one."))
    if not 1 <= number <= MAX_TASKS:
        raise TaskError(_("Ask for 1 to %(most)s prompts at once.") % {"most": f"{MAX_TASKS:,}"})
    if style == PromptStyle.USER_BASED:
        use_case = clean_text(use_case, what=_("the use case"), limit=MAX_USE_CASE).strip()
    else:
        use_case = ""
    check_filing(pool=pool, category="other", language=language or "en")
    brief = PromptBrief.objects.create(
        project=project,
        style=style,
        use_case=use_case,
        language=language,
        pool=pool,
        follow_up=follow_up,
        created_by=account_of(by),
    )
    purpose = Purpose.EVAL if pool == Pool.EVAL else Purpose.TRAIN
    shared: dict[str, Any] = {"language": language, "priority": priority, "purpose": purpose, "open_slots": 1}
    Task.objects.bulk_create(
        (Task(project=project, kind=TaskKind.PROMPT, brief=brief, **shared) for _number in range(number)),
        batch_size=CHUNK,
    )
    audit.record(project=project, by=by, verb="tasks.create", target=project, kind="prompt", made=number, style=style)
    return brief


@transaction.atomic
def prompt_tasks_withdraw(*, brief: PromptBrief, by: Actor) -> int:
    """Ask for no more prompts of this brief, and return how many tasks left the queue. What is in work still counts."""
    unfinished = Task.objects.filter(brief=brief, state__in=[TaskState.OPEN, TaskState.REVIEW])
    withdrawn = unfinished.update(state=TaskState.WITHDRAWN)
    if withdrawn:
        audit.record(project=brief.project, by=by, verb="tasks.withdraw", target=brief, withdrawn=withdrawn)
    return withdrawn


def written_prompt_submit(
    *,
    assignment: Assignment,
    parts: Mapping[str, Any],
    category: str,
    language: str,
    submission_id: UUID,
    started_at: datetime | None,
    active_seconds: float,
    by: Actor,
    origin: str = Origin.HUMAN,
) -> WrittenPrompt:
    """Keep the labeler's prompt; on a task submitted before, as a new revision with a prompt of its own.

    Raises: ConversationProblem for a text that can't be kept, PromptError for a category or language that there isn't,
    LabelError for a prompt that is here already or that work was made from, NotYours.
    """
    check_kind(assignment, TaskKind.PROMPT)
    brief = assignment.task.brief
    assert brief is not None, "the database has it that a task of this kind has one"
    cleaned = parts_clean(brief.style, parts)
    check_filing(pool=brief.pool, category=category, language=language)
    row = PromptRow(
        messages=messages_of(brief.style, cleaned),
        category=category,
        language=language,
        group=f"labeler {assignment.labeler.pseudonym}",
        source_name=brief.style,
        author=assignment.labeler,
    )
    content = digest_of(row.messages, category, language)
    submission = Submission(assignment, submission_id, started_at, active_seconds, by, origin, content)
    said = cleaned | {"category": category, "language": language}
    return submit_once(WrittenPrompt, submission, lambda _task, shared: add(brief, row, said, by, shared))


def add(brief: PromptBrief, row: PromptRow, said: dict[str, Any], by: Actor, shared: dict[str, Any]) -> WrittenPrompt:
    """Keep a revision, with the prompt that it makes in the place of the one before."""
    assignment: Assignment = shared["assignment"]
    before = WrittenPrompt.objects.filter(assignment=assignment, is_current=True).select_related("prompt").first()
    if before is not None:
        check_unused(before.prompt)
    make_room(WrittenPrompt, shared)
    prompt = prompt_for(assignment, prompt_of_row(brief.project, row, brief.pool, PromptSource.LABELER, None))
    if before is not None and before.prompt_id != prompt.pk:
        prompt_withdraw(prompt=before.prompt, by=by)
    label = WrittenPrompt.objects.create(said=said, **shared | {"prompt_id": prompt.pk})
    if label.counts:  # so that quotas count it where its labeler filed it
        Task.objects.filter(pk=assignment.task_id).update(category=prompt.category)
    if brief.follow_up == FollowUp.DEMONSTRATION:
        demonstration_tasks_create(project=brief.project, prompts=[prompt], by=None)
    return label


def prompt_for(assignment: Assignment, prompt: Prompt) -> Prompt:
    """Store the prompt, or take up again what an earlier revision of this label had made of the same text."""
    known = Prompt.objects.filter(project=prompt.project_id, content_hash=prompt.content_hash).first()
    if known is None:
        try:
            with transaction.atomic():
                prompt.save(force_insert=True)
        except IntegrityError as problem:  # somebody wrote the same at the same moment
            raise LabelError(words_for_known()) from problem
        return prompt
    if not WrittenPrompt.objects.filter(assignment=assignment, prompt=known).exists():
        raise LabelError(words_for_known())
    known.category, known.language, known.withdrawn_at = prompt.category, prompt.language, None
    known.save(update_fields=["category", "language", "withdrawn_at"])
    return known


def words_for_known() -> str:
    return _("The project has this very prompt already. Change yours, or write another one.")


def check_unused(prompt: Prompt) -> None:
    """Refuse to change a prompt that people or models were given: their work answers it as it is."""
    if is_used(prompt):
        raise LabelError(_("Work was made from your prompt already, so it can't be changed any more."))


def is_used(prompt: Prompt) -> bool:
    return Task.objects.filter(prompt=prompt).exists() or Response.objects.filter(prompt=prompt).exists()
