"""Signed links to an export's file: good for a day, for whoever has them, while their maker may export.

So a download can be started in a browser and taken up on a machine without one, with `curl -C -` or `wget -c`.
"""

from __future__ import annotations

from uuid import UUID

from django.core import signing
from django.db.models import Q
from django.http import Http404

from annotation.access import project_for
from annotation.models import User
from annotation.roles import Capability
from training.models import Job, JobKind, JobState

SALT = "training.export"
LIFETIME_SECONDS = 24 * 3600


def link_token(job: Job, user: User) -> str:
    return signing.dumps([str(job.pk), str(user.pk)], salt=SALT, compress=False)


def export_of(token: str) -> Job | None:
    """The finished export that a link opens; None for one that is forged, too old, removed, or no longer theirs."""
    try:
        job_id, user_id = signing.loads(token, salt=SALT, max_age=LIFETIME_SECONDS)
    except (signing.BadSignature, ValueError, TypeError):
        return None
    finished = Q(kind=JobKind.EXPORT, state=JobState.SUCCEEDED, snapshot__erased_at=None)
    job = Job.objects.filter(finished, pk=UUID(job_id)).select_related("project").first()
    user = User.objects.filter(pk=UUID(user_id), is_active=True).first()
    if job is None or user is None:
        return None
    try:
        project_for(user, job.project.slug, Capability.SNAPSHOT)
    except Http404:
        return None
    return job
