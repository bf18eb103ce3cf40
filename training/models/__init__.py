"""What machines make of the labels. One module per noun; the only writers are `training.services`."""

from training.models.artifacts import Artifact, ArtifactKind, Removal
from training.models.jobs import Job, JobKind, JobState
from training.models.metrics import MetricChunk, RunLine, RunSample
from training.models.models import Model, ModelKind, Round
from training.models.notices import (
    Delivery,
    DeliveryState,
    Notice,
    NoticeChoice,
    NoticeKind,
    NoticeRead,
    Webhook,
)
from training.models.runs import (
    ENDED,
    HELD,
    STORIES,
    TRANSITIONS,
    Attempt,
    Checkpoint,
    Queue,
    Run,
    RunInput,
    RunState,
    Stage,
)
from training.models.snapshots import LeakCheck, LeakPair, LeakState, Snapshot, SnapshotKind, SnapshotLabel
from training.models.workers import Drain, DrainHow, Worker, node_of

__all__ = [
    "ENDED",
    "HELD",
    "STORIES",
    "TRANSITIONS",
    "Artifact",
    "ArtifactKind",
    "Attempt",
    "Checkpoint",
    "Delivery",
    "DeliveryState",
    "Drain",
    "DrainHow",
    "Job",
    "JobKind",
    "JobState",
    "LeakCheck",
    "LeakPair",
    "LeakState",
    "MetricChunk",
    "Model",
    "ModelKind",
    "Notice",
    "NoticeChoice",
    "NoticeKind",
    "NoticeRead",
    "Queue",
    "Removal",
    "Round",
    "Run",
    "RunInput",
    "RunLine",
    "RunSample",
    "RunState",
    "Snapshot",
    "SnapshotKind",
    "SnapshotLabel",
    "Stage",
    "Webhook",
    "Worker",
    "node_of",
]
