"""What a lead asks labelers to write prompts about: as InstructGPT's labelers did, in three ways."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from annotation.ids import uuid7
from annotation.models.accounts import Project, User
from annotation.models.prompts import Pool, PromptStyle


class FollowUp(models.TextChoices):
    NOTHING = "", _("Nothing: they wait in their pool")
    DEMONSTRATION = "demonstration", _("A task to write its answer")


class PromptBrief(models.Model):
    """One request for prompts; each of its tasks yields one prompt."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="prompt_briefs")
    style = models.CharField(max_length=16, choices=PromptStyle)
    use_case = models.TextField(blank=True, default="", help_text="What a user-based prompt is written from")
    language = models.CharField(max_length=16, blank=True, default="", help_text="Empty: the labeler chooses")
    pool = models.CharField(max_length=8, choices=Pool)
    follow_up = models.CharField(
        max_length=16, choices=FollowUp, blank=True, default="", help_text="What is made of each prompt at once"
    )
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(name="brief_style_known", condition=Q(style__in=PromptStyle.values)),
            models.CheckConstraint(name="brief_pool_known", condition=Q(pool__in=Pool.values)),
            models.CheckConstraint(name="brief_follow_up_known", condition=Q(follow_up__in=FollowUp.values)),
            models.CheckConstraint(
                name="brief_use_case_where_wanted",
                condition=Q(style="user_based") & ~Q(use_case="") | ~Q(style="user_based") & Q(use_case=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.style} prompts for {self.pool}"
