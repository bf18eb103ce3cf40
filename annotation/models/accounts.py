"""People, projects, who belongs to what, and the two kinds of secret that let a person in (stored as digests only)."""

from __future__ import annotations

import secrets

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from annotation.ids import uuid7
from annotation.roles import CAPABILITIES, Capability, Role


class AnswersLayout(models.TextChoices):
    SIDE = "side", _("Side by side")
    STACKED = "stacked", _("Stacked")


class Theme(models.TextChoices):
    AUTO = "auto", _("As my device")
    LIGHT = "light", _("Light")
    DARK = "dark", _("Dark")


class User(AbstractUser):
    """An account. What it may do comes from its memberships; `is_superuser` owns the installation."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    language = models.CharField(max_length=16, blank=True, default="", help_text="Empty: as the browser asks")
    theme = models.CharField(max_length=8, choices=Theme, default=Theme.AUTO)
    answers_layout = models.CharField(max_length=8, choices=AnswersLayout, default=AnswersLayout.SIDE)


def random_salt() -> str:
    return secrets.token_hex(8)


def random_pseudonym() -> str:
    return "p" + secrets.token_hex(5)


class Project(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    slug = models.SlugField(max_length=64, unique=True)
    name = models.CharField(max_length=120)
    description = models.TextField(blank=True, default="")
    responses_per_prompt = models.PositiveSmallIntegerField(default=4, help_text="K: answers sampled for each prompt")
    # Which split a prompt gets follows from these three and its group; they are set when the project is made, for good.
    split_salt = models.CharField(max_length=32, default=random_salt, editable=False)
    validation_percent = models.PositiveSmallIntegerField(default=5, editable=False)
    test_percent = models.PositiveSmallIntegerField(default=5, editable=False)
    is_demo = models.BooleanField(default=False)
    rules_id = models.UUIDField(
        default=uuid7, editable=False, help_text="New with every form, guideline or queue setting that is published"
    )
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.CheckConstraint(name="project_k_in_range", condition=Q(responses_per_prompt__range=(2, 16))),
            models.CheckConstraint(
                name="project_split_leaves_training",
                condition=Q(validation_percent__range=(0, 45)) & Q(test_percent__range=(0, 45)),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A person in a project, in one role. Labels belong to memberships, and exports know only the pseudonym.

    A labeler of an imported dataset is a membership without an account (`user` is null, `imported_name` says who).
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="memberships")
    imported_name = models.CharField(max_length=200, blank=True, default="")
    role = models.CharField(max_length=16, choices=Role)
    pseudonym = models.CharField(max_length=16, default=random_pseudonym, editable=False)
    is_active = models.BooleanField(default=True)
    removed_at = models.DateTimeField(null=True, blank=True, help_text="Taken out for good; what they made stays")
    daily_limit = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Tasks a day at most; empty: as the project says"
    )
    languages = models.JSONField(default=list, blank=True, help_text="Codes of prompts' languages; empty: all")
    declined_topics = models.JSONField(default=list, blank=True, help_text="Sensitive topics that they opted out of")
    is_simulated = models.BooleanField(default=False, help_text="A program that labels; its labels are marked so")
    joined_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["joined_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["project", "user"], name="membership_once_a_project"),
            models.UniqueConstraint(fields=["project", "pseudonym"], name="membership_pseudonym_unique"),
            models.UniqueConstraint(
                fields=["project", "imported_name"], condition=~Q(imported_name=""), name="membership_imported_once"
            ),
            models.CheckConstraint(
                name="membership_user_or_imported",
                condition=(Q(user__isnull=False) & Q(imported_name="")) | (Q(user__isnull=True) & ~Q(imported_name="")),
            ),
            models.CheckConstraint(name="membership_role_known", condition=Q(role__in=Role.values)),
            models.CheckConstraint(
                name="membership_removed_is_inactive", condition=Q(removed_at__isnull=True) | Q(is_active=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.pseudonym} ({self.role})"

    def can(self, capability: Capability | str) -> bool:
        return self.is_active and capability in CAPABILITIES[self.role]


class SignInLink(models.Model):
    """A link that signs one person in, once. Only the digest of its token is kept."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="sign_in_links")
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"sign-in link of {self.user_id}"


class ApiToken(models.Model):
    """A program's key to one project, acting as one person, no wider than its scopes nor than that person's role."""

    class Scope(models.TextChoices):
        READ = "read", _("Read prompts, labels, runs and models")
        EXPORT = "export", _("Build and download snapshots")
        LABEL = "label", _("Take and submit tasks as me")
        WRITE_PROMPTS = "write_prompts", _("Add and import prompts")
        QUEUE = "queue", _("Steer the queue")
        REVIEW = "review", _("Answer questions, comment on labels and return them")
        FORMS = "forms", _("Change the labeling forms")
        LAUNCH = "launch", _("Launch and cancel runs")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    membership = models.ForeignKey(Membership, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=16, help_text="First characters, to recognise it by")
    digest = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}...)"
