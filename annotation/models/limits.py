"""What keeps a task from a labeler: sensitive topics."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from annotation.fields import SensitiveTopic
from annotation.models.prompts import Prompt


class PromptTopic(models.Model):
    """A sensitive topic of a prompt; labelers who opted out of it don't get its tasks."""

    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="topics")
    topic = models.CharField(max_length=24, choices=SensitiveTopic)

    class Meta:
        ordering = ["prompt", "topic"]
        constraints = [
            models.UniqueConstraint(fields=["prompt", "topic"], name="prompt_topic_once"),
            models.CheckConstraint(name="prompt_topic_known", condition=Q(topic__in=SensitiveTopic.values)),
        ]

    def __str__(self) -> str:
        return f"{self.topic} in {self.prompt_id}"
