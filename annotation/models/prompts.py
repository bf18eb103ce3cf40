"""Prompts and the responses to them."""

from __future__ import annotations

from uuid import UUID

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from annotation.fields import Category
from annotation.ids import uuid7
from annotation.models.accounts import Membership, Project
from annotation.models.imports import ImportBatch


class Split(models.TextChoices):
    TRAIN = "train", _("Train")
    VALIDATION = "validation", _("Validation")
    TEST = "test", _("Test")


class Pool(models.TextChoices):
    SFT = "sft", _("Demonstrations (SFT)")
    RM = "rm", _("Rankings (reward model)")
    PPO = "ppo", _("PPO")
    EVAL = "eval", _("Evaluation")


class PromptSource(models.TextChoices):
    LABELER = "labeler", _("Written by the team")
    IMPORT = "import", _("Imported")
    CHAT = "chat", _("From a chat")


class PromptStyle(models.TextChoices):
    """The three kinds of prompts that labelers wrote (arXiv:2203.02155, section 3.2 and appendix A.2)."""

    PLAIN = "plain", _("Plain: anything")
    FEW_SHOT = "few_shot", _("Few-shot: an instruction with examples")
    USER_BASED = "user_based", _("User-based: from a use case")


class ResponseOrigin(models.TextChoices):
    HUMAN = "human", _("Written by a labeler")
    MODEL = "model", _("Sampled from a model")
    IMPORTED = "imported", _("Imported")


class Prompt(models.Model):
    """A conversation that wants an answer: `messages` ends with a user's turn.

    `split` and `pool` are assigned when the prompt is made and never change, the split by `group`, so that near
    relatives never sit on both sides of it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # No index of its own: the constraint of the texts begins with it.
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="prompts", db_index=False)
    messages = models.JSONField(help_text="[{role: system|user|assistant, content}]")
    source = models.CharField(max_length=16, choices=PromptSource)
    source_name = models.CharField(max_length=120, blank=True, default="")
    source_id = models.CharField(max_length=200, blank=True, default="")
    group = models.CharField(max_length=200)
    split = models.CharField(max_length=16, choices=Split)
    pool = models.CharField(max_length=8, choices=Pool)
    category = models.CharField(max_length=24, choices=Category, default=Category.OTHER)
    language = models.CharField(max_length=16, default="en")
    content_hash = models.CharField(max_length=64)
    batch = models.ForeignKey(ImportBatch, null=True, blank=True, on_delete=models.PROTECT, related_name="prompts")
    author = models.ForeignKey(Membership, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    withdrawn_at = models.DateTimeField(null=True, blank=True, help_text="No longer offered; its labels stay")

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["project", "pool", "split", "id"], name="prompt_pool_split")]
        constraints = [
            models.UniqueConstraint(fields=["project", "content_hash"], name="prompt_text_once"),
            models.UniqueConstraint(
                fields=["project", "source_name", "source_id"], condition=~Q(source_id=""), name="prompt_source_once"
            ),
            models.CheckConstraint(name="prompt_split_known", condition=Q(split__in=Split.values)),
            models.CheckConstraint(name="prompt_pool_known", condition=Q(pool__in=Pool.values)),
        ]

    def __str__(self) -> str:
        return self.text[:60]

    @property
    def text(self) -> str:
        """The last turn, which is what the answer answers."""
        return str(self.messages[-1]["content"])

    @property
    def written_style(self) -> PromptStyle | None:
        """How a labeler was asked to write it; None for prompts from elsewhere."""
        return style_of(self.source, self.source_name, self.author_id)


def style_of(source: str, source_name: str, author_id: UUID | None) -> PromptStyle | None:
    is_written = source == PromptSource.LABELER and author_id is not None
    return PromptStyle(source_name) if is_written and source_name in PromptStyle.values else None


class Response(models.Model):
    """One answer to a prompt, by a person, a model or an imported source. Its text never changes."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="responses")
    # Rows come in by the million, so each index must earn its writing: these four have none of their own, as others
    # begin with them (prompt, run) or leave out the many rows without (author, model).
    prompt = models.ForeignKey(Prompt, on_delete=models.PROTECT, related_name="responses", db_index=False)
    text = models.TextField(blank=True)
    content_hash = models.CharField(max_length=64)
    origin = models.CharField(max_length=16, choices=ResponseOrigin)
    author = models.ForeignKey(
        Membership, null=True, blank=True, on_delete=models.PROTECT, related_name="responses", db_index=False
    )
    # Named by strings because training imports annotation and not the other way round.
    model = models.ForeignKey(
        "training.Model", null=True, blank=True, on_delete=models.PROTECT, related_name="responses", db_index=False
    )
    run = models.ForeignKey(
        "training.Run", null=True, on_delete=models.PROTECT, related_name="responses", db_index=False
    )
    batch = models.ForeignKey(ImportBatch, null=True, blank=True, on_delete=models.PROTECT, related_name="responses")
    imported_author = models.CharField(max_length=200, blank=True, default="")
    decoding = models.JSONField(default=dict, help_text="temperature, top_p, max_new_tokens, seed")
    index = models.PositiveSmallIntegerField(default=0, help_text="Which of the K samples of its run")
    tokens = models.PositiveIntegerField(null=True, blank=True)
    logprob = models.FloatField(null=True, blank=True, help_text="Sum over tokens, nats")
    ended = models.BooleanField(null=True, help_text="Whether the model ended it, rather than the length limit")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(fields=["prompt", "origin"], name="response_prompt_origin"),
            models.Index(fields=["author"], condition=Q(author__isnull=False), name="response_author"),
            models.Index(fields=["model"], condition=Q(model__isnull=False), name="response_model"),
        ]
        constraints = [
            models.CheckConstraint(
                name="response_has_one_author",
                condition=(
                    Q(origin="human", author__isnull=False, model__isnull=True)
                    | Q(origin="model", author__isnull=True, model__isnull=False)
                    | Q(origin="imported", author__isnull=True, model__isnull=True)
                ),
            ),
            # A sampling run that is handed its file twice adds nothing the second time.
            models.UniqueConstraint(
                fields=["run", "prompt", "index"], condition=Q(run__isnull=False), name="response_sampled_once"
            ),
        ]

    def __str__(self) -> str:
        return self.text[:60]
