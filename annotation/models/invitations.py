"""Links by which people come into a project themselves. Only the digest of a link's token is kept."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from annotation.ids import uuid7
from annotation.models.accounts import Project, User
from annotation.roles import Role


class Invitation(models.Model):
    """Lets `max_uses` people in as one role until it expires or is revoked."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="invitations")
    role = models.CharField(max_length=16, choices=Role)
    note = models.CharField(max_length=120, blank=True, default="", help_text="For whom it is")
    digest = models.CharField(max_length=64, unique=True)
    max_uses = models.PositiveSmallIntegerField(default=1)
    uses = models.PositiveSmallIntegerField(default=0)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(name="invitation_not_overused", condition=Q(uses__lte=F("max_uses"))),
            # An admin is named by another admin, never by whoever holds a link.
            models.CheckConstraint(
                name="invitation_role_invited", condition=Q(role__in=Role.values) & ~Q(role=Role.ADMIN)
            ),
        ]

    def __str__(self) -> str:
        return f"invitation of {self.max_uses} as {self.role}"

    @property
    def is_open(self) -> bool:
        return self.revoked_at is None and self.uses < self.max_uses and self.expires_at > timezone.now()
