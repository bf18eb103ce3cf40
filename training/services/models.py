"""Registering a model that an admin put on the server: a folder below MODELS_DIR, named and never a path."""

from __future__ import annotations

import shutil
from fnmatch import fnmatch
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from annotation.models import Project
from annotation.services import audit
from annotation.services.audit import Actor, account_of
from training import files, model_files
from training.errors import ModelError
from training.models import ArtifactKind, Model, ModelKind
from training.services.publishing import free_model_name

# What a model needs. All else stays behind: pickles, which may hide code, and Python files.
COPIED = (
    *("config.json", "generation_config.json", "plackett.json", "*.safetensors", "model.safetensors.index.json"),
    *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "chat_template.jinja"),
)


def folders_to_register() -> list[str]:
    """Names of the folders below MODELS_DIR that look like models."""
    base = Path(settings.MODELS_DIR)
    if not base.is_dir():
        return []
    return sorted(path.name for path in base.iterdir() if (path / "config.json").is_file())


def model_register_folder(*, project: Project, folder_name: str, by: Actor | None, name: str = "") -> Model:
    """Copy a Hugging Face folder into the file store and make it a model of the project. Raises ModelError in words.

    The copy is the project's own: what happens to the folder later changes no run.
    """
    folder = folder_of(folder_name)
    config = model_files.read_config(folder)
    model_files.check_decoder_only(config, folder.name)
    parameters = model_files.count_parameters(model_files.weight_files(folder))
    check_tokenizer(folder)
    aside = copy_aside(folder)
    try:
        files.send(aside, ArtifactKind.MODEL, files.folder_hash(aside))
        return keep(project, aside, folder.name, name=name, parameters=parameters, by=by)
    finally:
        files.remove(aside)


def folder_of(name: str) -> Path:
    """The folder of this name. Only names on the list are taken, so no text leads anywhere else. Raises ModelError."""
    known = folders_to_register()
    if name in known:
        return Path(settings.MODELS_DIR) / name
    place = Path(settings.MODELS_DIR) / name
    if "/" not in name and name not in {"", ".", ".."} and "\x00" not in name and place.is_dir():
        model_files.read_config(place)  # says that it is missing
    there = _("There are: %(names)s.") % {"names": ", ".join(known)} if known else _("There is none yet.")
    raise ModelError(
        _("There is no model folder %(name)s in %(models_dir)s on the server. %(there)s")
        % {"name": f"{name!r:.80}", "models_dir": settings.MODELS_DIR, "there": there}
    )


def check_tokenizer(folder: Path) -> None:
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise ModelError(
            _("%(folder)s has no tokenizer. Add its tokenizer.json and tokenizer_config.json.")
            % {"folder": folder.name}
        )


def copy_aside(folder: Path) -> Path:
    aside = files.fresh_folder()
    for path in sorted(folder.iterdir()):
        if path.is_file() and any(fnmatch(path.name, pattern) for pattern in COPIED):
            shutil.copyfile(path, aside / path.name)
    return aside


@transaction.atomic
def keep(project: Project, aside: Path, folder_name: str, *, name: str, parameters: int, by: Actor | None) -> Model:
    config = model_files.read_config(aside)
    sha256 = files.folder_hash(aside)
    known = Model.objects.filter(project=project, artifact__sha256=sha256, run=None).first()
    if known:
        raise ModelError(
            _("%(folder_name)s is registered already, as %(known)s.")
            % {"folder_name": folder_name, "known": known.name}
        )
    model = Model.objects.create(
        project=project,
        kind=ModelKind.REWARD_MODEL if model_files.is_reward_model(config) else ModelKind.POLICY,
        name=free_model_name(project, name.strip()[:120] or folder_name[:120]),
        source=folder_name[:255],
        card=model_files.read_card(aside),
        parameters=parameters,
        context_length=model_files.context_length(config),
        artifact=files.publish(path=aside, kind=ArtifactKind.MODEL, sha256=sha256),
        created_by=account_of(by),
    )
    audit.record(project=project, by=by, verb="model.register", target=model, folder=folder_name, name=model.name)
    return model
