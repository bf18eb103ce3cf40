"""What each role may do in a project. Views, the API and templates ask here and nowhere else."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Role(models.TextChoices):
    LABELER = "labeler", _("Labeler")
    REVIEWER = "reviewer", _("Reviewer")
    ADMIN = "admin", _("Admin")
    RESEARCHER = "researcher", _("Researcher")


class Capability(models.TextChoices):
    LABEL = "label", _("work the queue and see one's own labels")
    READ_GUIDELINES = "read_guidelines", _("read the guidelines")
    READ_PROMPTS = "read_prompts", _("read prompts and answers")
    READ_LABELS = "read_labels", _("read everyone's labels, under pseudonyms")
    EDIT_GUIDELINES = "edit_guidelines", _("write guidelines")
    MANAGE_QUEUE = "manage_queue", _("see how the queue stands and steer it")
    EDIT_FORMS = "edit_forms", _("change what the labeling forms ask")
    REVIEW = "review", _("answer labelers' questions, comment on labels and return them")
    EDIT_PROMPTS = "edit_prompts", _("add and import prompts")
    MANAGE = "manage", _("manage members and the project's settings")
    READ_RUNS = "read_runs", _("see runs, models and the dashboard")
    LAUNCH = "launch", _("launch and cancel runs")
    SNAPSHOT = "snapshot", _("build snapshots and export them")
    TOKENS = "tokens", _("make API tokens of one's own")
    READ_AUDIT = "read_audit", _("read the audit log")


C = Capability
CAPABILITIES: dict[str, frozenset[Capability]] = {
    Role.LABELER: frozenset({C.LABEL, C.READ_GUIDELINES}),
    Role.REVIEWER: frozenset(
        {
            *(C.LABEL, C.READ_GUIDELINES, C.EDIT_GUIDELINES, C.MANAGE_QUEUE),
            *(C.EDIT_FORMS, C.REVIEW, C.READ_PROMPTS, C.READ_LABELS, C.READ_RUNS, C.TOKENS),
        }
    ),
    Role.RESEARCHER: frozenset({C.READ_GUIDELINES, C.READ_PROMPTS, C.READ_LABELS, C.READ_RUNS, C.SNAPSHOT, C.TOKENS}),
    Role.ADMIN: frozenset(Capability),
}
