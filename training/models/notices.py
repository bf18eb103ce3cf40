"""What people are told when a run ends or needs someone, and the outbox that carries it out of the house.

A notice and its deliveries are written in the transaction that changes the run, so none is lost and none comes twice:
`key` names what happened, and a delivery is one notice to one receiver.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from annotation.ids import uuid7
from annotation.models import Project, User
from annotation.roles import CAPABILITIES, Capability
from training.models.runs import Run


class NoticeKind(models.TextChoices):
    SUCCEEDED = "succeeded", _("A run succeeded")
    FAILED = "failed", _("A run failed")
    CANCELLED = "cancelled", _("A run was cancelled")
    PAUSED = "paused", _("A run is paused and could not save first")
    STUCK = "stuck", _("A run waits and no worker takes it")
    TROUBLE = "trouble", _("A run goes on, and something is wrong")
    WEBHOOK_DISABLED = "webhook_disabled", _("A webhook was switched off")
    TEST = "test", _("A test")


ENDS = frozenset({NoticeKind.SUCCEEDED, NoticeKind.CANCELLED})
NEEDS_A_PERSON = frozenset(
    {
        NoticeKind.FAILED,
        NoticeKind.PAUSED,
        NoticeKind.STUCK,
        NoticeKind.TROUBLE,
        NoticeKind.WEBHOOK_DISABLED,
    }
)
SENT = (  # what goes to webhooks
    NoticeKind.SUCCEEDED,
    NoticeKind.FAILED,
    NoticeKind.CANCELLED,
    NoticeKind.PAUSED,
    NoticeKind.STUCK,
    NoticeKind.TROUBLE,
)
READERS = tuple(role for role, may in CAPABILITIES.items() if Capability.READ_RUNS in may)


class Notice(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="notices")
    run = models.ForeignKey(Run, null=True, blank=True, on_delete=models.SET_NULL, related_name="notices")
    kind = models.CharField(max_length=24, choices=NoticeKind)
    key = models.CharField(max_length=120, unique=True, help_text="What happened, so that it is told once")
    detail = models.JSONField(default=dict, help_text="Names and reasons as they were then")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["project", "-created_at"], name="notice_project")]
        constraints = [models.CheckConstraint(name="notice_kind_known", condition=Q(kind__in=NoticeKind.values))]

    def __str__(self) -> str:
        return self.key


class NoticeRead(models.Model):
    """One person has read one notice."""

    notice = models.ForeignKey(Notice, on_delete=models.CASCADE, related_name="reads")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["notice", "user"], name="notice_read_once")]

    def __str__(self) -> str:
        return f"{self.notice_id} read by {self.user_id}"


class NoticeChoice(models.Model):
    """What one person wants to have by e-mail; without a row, nothing."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, related_name="notice_choice")
    ends = models.BooleanField(default=False)
    needs_a_person = models.BooleanField(default=False)
    only_mine = models.BooleanField(default=False)

    def __str__(self) -> str:
        return f"choice of {self.user_id}"


class Webhook(models.Model):
    """Where a project's notices are posted. Its secret is derived from SECRET_KEY, id and salt: none is kept."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="webhooks")
    url = models.CharField(max_length=500)
    kinds = models.JSONField(default=list)
    salt = models.CharField(max_length=64)
    is_enabled = models.BooleanField(default=True)
    disabled_why = models.CharField(max_length=200, blank=True, default="")
    failures = models.PositiveIntegerField(default=0, help_text="In a row, since the last that went through")
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [models.UniqueConstraint(fields=["project", "url"], name="webhook_once_a_project")]

    def __str__(self) -> str:
        return self.url


class DeliveryState(models.TextChoices):
    WAITING = "waiting", _("waiting")
    SENT = "sent", _("sent")
    FAILED = "failed", _("given up")


class Delivery(models.Model):
    """One notice on its way to one receiver: a webhook, or a person's mailbox."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    notice = models.ForeignKey(Notice, on_delete=models.CASCADE, related_name="deliveries")
    webhook = models.ForeignKey(Webhook, null=True, blank=True, on_delete=models.CASCADE, related_name="deliveries")
    user = models.ForeignKey(User, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    state = models.CharField(max_length=8, choices=DeliveryState, default=DeliveryState.WAITING)
    tries = models.PositiveSmallIntegerField(default=0)
    next_at = models.DateTimeField(default=timezone.now, help_text="Not before; by the database's clock")
    answer = models.CharField(max_length=300, blank=True, default="", help_text="What the last try came to")
    created_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["next_at"], condition=Q(state="waiting"), name="delivery_due")]
        constraints = [
            models.UniqueConstraint(fields=["notice", "webhook"], name="delivery_once_a_webhook"),
            models.UniqueConstraint(fields=["notice", "user"], name="delivery_once_a_person"),
            models.CheckConstraint(
                name="delivery_one_receiver",
                condition=Q(webhook__isnull=False, user__isnull=True) | Q(webhook__isnull=True, user__isnull=False),
            ),
            models.CheckConstraint(name="delivery_state_known", condition=Q(state__in=DeliveryState.values)),
        ]

    def __str__(self) -> str:
        return f"{self.notice_id} to {self.webhook_id or self.user_id}"
