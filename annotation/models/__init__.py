"""What people produce. One module per noun; rules that concern one row are methods here, writes are in `services`."""

from annotation.models.accounts import ApiToken, Membership, Project, SignInLink, User
from annotation.models.audit import AuditEvent
from annotation.models.briefs import FollowUp, PromptBrief
from annotation.models.feedback import LabelComment, Question, QuestionMessage, QuestionState
from annotation.models.guidelines import FormVersion, Guideline, GuidelineAcknowledgement
from annotation.models.imports import (
    IMPORT_OVER,
    ImportBatch,
    ImportKind,
    ImportPhase,
    ImportRejection,
    ImportState,
)
from annotation.models.invitations import Invitation
from annotation.models.labels import Demonstration, Label, Origin, Purpose, RankedResponse, Ranking, WrittenPrompt
from annotation.models.limits import PromptTopic
from annotation.models.prompts import Pool, Prompt, PromptSource, PromptStyle, Response, ResponseOrigin, Split
from annotation.models.queue import KindSettings, QueuePolicy
from annotation.models.tasks import Assignment, AssignmentStatus, Task, TaskKind, TaskResponse, TaskState

__all__ = [
    "IMPORT_OVER",
    "ApiToken",
    "Assignment",
    "AssignmentStatus",
    "AuditEvent",
    "Demonstration",
    "FollowUp",
    "FormVersion",
    "Guideline",
    "GuidelineAcknowledgement",
    "ImportBatch",
    "ImportKind",
    "ImportPhase",
    "ImportRejection",
    "ImportState",
    "Invitation",
    "KindSettings",
    "Label",
    "LabelComment",
    "Membership",
    "Origin",
    "Pool",
    "Project",
    "Prompt",
    "PromptBrief",
    "PromptSource",
    "PromptStyle",
    "PromptTopic",
    "Purpose",
    "Question",
    "QuestionMessage",
    "QuestionState",
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
    "WrittenPrompt",
]
