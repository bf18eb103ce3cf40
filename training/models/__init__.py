"""What machines make of the labels. One module per noun; the only writers are `training.services`."""

from training.models.artifacts import Artifact, ArtifactKind
from training.models.jobs import Job, JobKind, JobState
from training.models.metrics import MetricChunk, RunLine, RunSample
from training.models.models import Model, ModelKind, Round
from training.models.runs import (
    ENDED,
    HELD,
    TRANSITIONS,
    Attempt,
    Checkpoint,
    Queue,
    Run,
    RunInput,
    RunState,
    Stage,
    Worker,
)
from training.models.snapshots import LeakCheck, LeakPair, LeakState, Snapshot, SnapshotKind, SnapshotLabel

__all__ = [
    "ENDED",
    "HELD",
    "TRANSITIONS",
    "Artifact",
    "ArtifactKind",
    "Attempt",
    "Checkpoint",
    "Job",
    "JobKind",
    "JobState",
    "LeakCheck",
    "LeakPair",
    "LeakState",
    "MetricChunk",
    "Model",
    "ModelKind",
    "Queue",
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
    "Worker",
]
