"""Pushing an export to a dataset hub by a researcher's own token: asked for here, done by a process of a worker.

The token is used once. Until then the job's row holds it under a pad of random bytes that lies in the cache for an hour
at most; either without the other says nothing, and both are gone when the worker has taken it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.utils.translation import gettext as _

from annotation.services.audit import Actor
from training import files
from training.errors import JobError
from training.launcher import ENVIRONMENT_NAMES
from training.models import Job, JobKind, Snapshot
from training.services.exports import Progress, export_parts, order_of, part_of
from training.services.jobs import job_create, source_of

COMMAND = [sys.executable, "-m", "training.hub_push"]
REPOSITORY = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9](?:[\w.-]{0,94}[\w])?/[A-Za-z0-9](?:[\w.-]{0,94}[\w])?", re.ASCII)
"""An owner and a name, as hubs have them."""
LONGEST_TOKEN = 200
PAD_SECONDS = 3600
LOOK_SECONDS = 2.0
THROUGH_PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"})
CERTIFICATES = frozenset({"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"})

Tell = Callable[[int, int], None]


def push_create(
    *, snapshot: Snapshot, repository: str, token: str, private: bool = True, by: Actor | None, **asked: Any
) -> Job:
    """Have a worker push the whole export to `repository`, private unless told otherwise. Raises JobError in words."""
    if not settings.HUB_ENDPOINT:
        raise JobError(_("Pushing to a hub is switched off on this installation."))
    repository, token = repository.strip(), token.strip()
    if not REPOSITORY.fullmatch(repository):
        raise JobError(_("Write the repository as owner/name, such as acme/river-answers."))
    if not token or len(token) > LONGEST_TOKEN or not token.isascii() or not token.isprintable():
        raise JobError(_("This is no access token. Make one that may write, on the hub's settings page."))
    order = order_of(snapshot, {**asked, "split": ""})
    values = {
        "repository": repository,
        "private": private,
        "format": order.format,
        "container": order.container,
        "ties": order.ties,
    }
    return job_create(snapshot=snapshot, kind=JobKind.PUSH, asked=values, by=by, seal=lambda job: sealed(job, token))


def sealed(job: Job, token: str) -> str:
    """The token under a pad that only the cache has; as long as the longest token, whatever its own length."""
    text = token.encode().ljust(LONGEST_TOKEN, b"\0")
    pad = secrets.token_bytes(LONGEST_TOKEN)
    cache.set(pad_key(job), pad, timeout=PAD_SECONDS)
    return base64.b64encode(both(text, pad)).decode()


def unsealed(job: Job) -> str:
    """The token, once: the pad is gone behind this. Raises JobError where it is gone already."""
    pad = cache.get(pad_key(job))
    cache.delete(pad_key(job))
    Job.objects.filter(pk=job.pk).update(secret="")
    if not pad or not job.secret:
        raise JobError(_("The token was kept for an hour at most and is gone. Push again."))
    return both(base64.b64decode(job.secret), pad).rstrip(b"\0").decode()


def pad_key(job: Job) -> str:
    return f"push:{job.pk}"


def both(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


# --- In a worker --------------------------------------------------------------------------------------------


def push_run(job: Job, tell: Tell) -> dict[str, Any]:
    """Write the export's files and send them. Raises JobError in words."""
    snapshot = source_of(job)
    order = order_of(snapshot, job.asked)
    folder = files.job_folder(job.pk)
    folder.mkdir(parents=True, exist_ok=True)
    total = sum(snapshot.counts.values())
    written = export_parts(job, order, folder, Progress(tell, total))
    lay_out(folder, written.papers, {name: part_of(folder, order, split) for split, name in written.data.items()})
    try:
        said = {
            "endpoint": settings.HUB_ENDPOINT,
            "repository": job.asked["repository"],
            "private": job.asked["private"],
            "folder": str(folder / "hub"),
            "message": f"{snapshot.name} ({snapshot.sha256[:12]})",
            "token": unsealed(job),
        }
        answer = answered(said, lambda: tell(total, total))
    except JobError:
        files.remove(folder)
        raise
    files.remove(folder)
    if "problem" in answer:
        raise JobError(words_for(answer["problem"], answer["detail"]))
    return {**answer, "rows": written.rows, "left_out": written.left_out, "statement": written.statement}


def lay_out(folder: Path, papers: Mapping[str, str], data: Mapping[str, Path]) -> None:
    """The folder as it will stand on the hub."""
    for name, text in papers.items():
        path = folder / "hub" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for name, part in data.items():
        path = folder / "hub" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part.replace(path)


def answered(order: Mapping[str, Any], tell: Callable[[], None]) -> dict[str, str]:
    """What the process that sends answers; whatever `tell` raises ends it."""
    process = subprocess.Popen(
        COMMAND,
        cwd=settings.BASE_DIR,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # the library's words may hold what it was given
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
        while process.poll() is None:
            tell()
            try:
                process.wait(LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                continue
        answer = json.loads(process.stdout.readline() or b"{}")
    except (BrokenPipeError, ValueError):
        answer = {}
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    return answer or {"problem": "failed", "detail": _("no answer came")}


def environment() -> dict[str, str]:
    """What the process may know of the machine: how to reach the hub, and no secret of ours."""
    kept = ENVIRONMENT_NAMES | THROUGH_PROXIES | CERTIFICATES
    return {name: value for name, value in os.environ.items() if name in kept} | {
        "PYTHONPATH": str(settings.BASE_DIR),
        "HF_HOME": str(files.root() / "aside" / "no-hub-cache"),
    }


def words_for(code: str, detail: str) -> str:
    known = {
        "token": _("The hub does not know this token. Make one that may write, and push again."),
        "refused": _("The hub refuses: this token may not write there. Give it the right to write, or choose another."),
        "missing": _("The hub has no such owner, or this token may not see it. Check the repository's name."),
        "public": _(
            "This repository is there already, and everyone can read it. Choose another name, or say that it may be"
            " public."
        ),
        "busy": _("The hub takes no more just now. Push again later."),
        "unreachable": _("The hub could not be reached. Check the installation's HF_ENDPOINT and its network."),
    }
    words = known.get(code, _("The push failed."))
    return _("%(words)s The hub's own words: %(detail)s") % {"words": words, "detail": detail} if detail else words
