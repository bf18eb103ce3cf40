"""Reading models: which there are for which purpose, and what their folders hold."""

from __future__ import annotations

from typing import Any

from django.db.models import Q, QuerySet

from annotation import store
from annotation.models import Project
from annotation.store import FileStoreError, StoreAway
from training import files
from training.models import Artifact, Model, ModelKind, Stage

FROM_PREFERENCES = (Stage.PPO, Stage.DPO, Stage.RLOO)  # what they train is held close to a reference


def policies(project: Project) -> QuerySet[Model]:
    """Newest first."""
    return Model.objects.filter(project=project, kind=ModelKind.POLICY).select_related("run", "artifact")


def base_models(project: Project) -> QuerySet[Model]:
    """What was pretrained here or registered."""
    return policies(project).filter(Q(run=None) | Q(run__stage=Stage.PRETRAIN))


def tuned_policies(project: Project) -> QuerySet[Model]:
    """What answers: trained by SFT, or from preferences."""
    return policies(project).filter(run__stage__in=[Stage.SFT, *FROM_PREFERENCES])


def registered_policies(project: Project) -> QuerySet[Model]:
    """What an admin registered: a base model, or one that was tuned elsewhere."""
    return policies(project).filter(run=None)


def sft_policies(project: Project) -> QuerySet[Model]:
    return policies(project).filter(run__stage=Stage.SFT)


def reward_models(project: Project) -> QuerySet[Model]:
    return Model.objects.filter(project=project, kind=ModelKind.REWARD_MODEL).select_related("run", "artifact")


def reference_of(policy: Model) -> Model:
    """The model that training this policy is held to: itself, or the reference that it was already held to."""
    if policy.run and policy.run.stage in FROM_PREFERENCES:
        reference = policy.run.inputs.select_related("model__artifact").filter(name="reference").first()
        if reference and reference.model:
            return reference.model
    return policy


def files_in(artifact: Artifact) -> list[dict[str, Any]]:
    """[{name, size}] of the files that an artifact's folder holds."""
    if store.is_remote():
        return listed(artifact)
    folder = files.path_of(artifact)
    if not folder.is_dir():
        return []
    found = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    return [{"name": name, "size": path.stat().st_size} for name, path in found]


def listed(artifact: Artifact) -> list[dict[str, Any]]:
    """The same from the object store's list, so that nobody fetches gigabytes for a page."""
    try:
        parts = store.read_list(artifact.storage_key)
    except (FileStoreError, StoreAway):
        return []
    return [{"name": part.path, "size": part.size} for part in parts]
