"""What people produce. One module per noun; rules that concern one row are methods here, writes are in `services`."""

from annotation.models.accounts import ApiToken, Membership, Project, SignInLink, User
from annotation.models.audit import AuditEvent
from annotation.models.guidelines import FormVersion, Guideline
from annotation.models.imports import (
    IMPORT_OVER,
    ImportBatch,
    ImportKind,
    ImportPhase,
    ImportRejection,
    ImportState,
)
from annotation.models.invitations import Invitation
from annotation.models.labels import Demonstration, Label, Origin, Purpose, RankedResponse, Ranking
from annotation.models.limits import PromptTopic
from annotation.models.prompts import Pool, Prompt, PromptSource, Response, ResponseOrigin, Split
from annotation.models.queue import KindSettings, QueuePolicy
from annotation.models.tasks import Assignment, AssignmentStatus, Task, TaskKind, TaskResponse, TaskState

__all__ = [
    "IMPORT_OVER",
    "ApiToken",
    "Assignment",
    "AssignmentStatus",
    "AuditEvent",
    "Demonstration",
    "FormVersion",
    "Guideline",
    "ImportBatch",
    "ImportKind",
    "ImportPhase",
    "ImportRejection",
    "ImportState",
    "Invitation",
    "KindSettings",
    "Label",
    "Membership",
    "Origin",
    "Pool",
    "Project",
    "Prompt",
    "PromptSource",
    "PromptTopic",
    "Purpose",
    "QueuePolicy",
    "RankedResponse",
    "Ranking",
    "Response",
    "ResponseOrigin",
    "SignInLink",
    "Split",
    "Task",
    "TaskKind",
    "TaskResponse",
    "TaskState",
    "User",
]
