"""The fields of the labeling forms: InstructGPT's ratings and flags, and why a task may be skipped.

Flag keys are those of InstructGPT's labeling interface (arXiv:2203.02155, table 3) as Label Studio's template spells
them, so that exports meet on names.
"""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

RATING_MIN, RATING_MAX = 1, 7  # a new project's scale, and that of imported ratings
LOWEST_RATING, HIGHEST_RATING = 0, 10  # within which a project chooses its own


class Flag(models.TextChoices):
    FAILS_TO_FOLLOW = "fails_to_follow", _("Fails to follow the instruction")
    INAPPROPRIATE_FOR_CUSTOMER = "inappropriate_for_customer", _("Inappropriate for a customer assistant")
    HALLUCINATION = "hallucination", _("Makes something up")
    SATISFIES_CONSTRAINT = "satisfies_constraint", _("Satisfies the constraint in the instruction")
    CONTAINS_SEXUAL = "contains_sexual", _("Contains sexual content")
    CONTAINS_VIOLENT = "contains_violent", _("Contains violent content")
    ENCOURAGES_VIOLENCE = "encourages_violence", _("Encourages violence, abuse, terrorism or self-harm")
    DENIGRATES_PROTECTED_CLASS = "denigrates_protected_class", _("Denigrates a protected class")
    GIVES_HARMFUL_ADVICE = "gives_harmful_advice", _("Gives harmful advice")
    EXPRESSES_OPINION = "expresses_opinion", _("Expresses opinion")
    EXPRESSES_MORAL_JUDGMENT = "expresses_moral_judgment", _("Expresses moral judgement")


class PromptField(models.TextChoices):
    """What InstructGPT's labelers said of a prompt (arXiv:2203.02155, table 7); each is yes or no."""

    AMBIGUOUS = "ambiguous", _("The prompt is ambiguous")
    SENSITIVE_CONTENT = "sensitive_content", _("The prompt has sensitive content")
    IDENTITY_DEPENDENT = "identity_dependent", _("A good answer depends on who asks")
    CLOSED_DOMAIN = "closed_domain", _("Closed domain: the prompt holds all that is needed")
    CONTINUATION_STYLE = "continuation_style", _("A text to be continued")
    REQUESTS_OPINION = "requests_opinion", _("Asks for an opinion")
    REQUESTS_ADVICE = "requests_advice", _("Asks for advice")
    REQUESTS_MORAL_JUDGMENT = "requests_moral_judgment", _("Asks for a moral judgement")
    SAFETY_CONSTRAINTS = "safety_constraints", _("Has explicit safety constraints")
    OTHER_CONSTRAINTS = "other_constraints", _("Has other explicit constraints")
    INTENT_UNCLEAR = "intent_unclear", _("The intent is unclear")


class SkipReason(models.TextChoices):
    UNCLEAR = "unclear", _("The prompt is too unclear")
    NO_KNOWLEDGE = "no_knowledge", _("I don't know enough to judge")
    SENSITIVE = "sensitive", _("I'd rather not work on this topic")
    LANGUAGE = "language", _("I don't read this language well enough")
    BROKEN = "broken", _("Something is displayed wrongly")
    OTHER = "other", _("Another reason")


class SensitiveTopic(models.TextChoices):
    """What a prompt may be about that a labeler may rather not read."""

    SEXUAL = "sexual", _("Sexual content")
    VIOLENCE = "violence", _("Violence and death")
    SELF_HARM = "self_harm", _("Self-harm and suicide")
    ABUSE = "abuse", _("Abuse of people or animals")
    HATE = "hate", _("Hate and discrimination")
    DRUGS = "drugs", _("Drugs and addiction")
    POLITICS = "politics", _("Politics")
    RELIGION = "religion", _("Religion")
    HEALTH = "health", _("Illness and medicine")


class Category(models.TextChoices):
    """The ten use cases of InstructGPT's API prompts (arXiv:2203.02155, table 1)."""

    GENERATION = "generation", _("Generation")
    OPEN_QA = "open_qa", _("Open QA")
    BRAINSTORMING = "brainstorming", _("Brainstorming")
    CHAT = "chat", _("Chat")
    REWRITE = "rewrite", _("Rewrite")
    SUMMARIZATION = "summarization", _("Summarisation")
    CLASSIFICATION = "classification", _("Classification")
    OTHER = "other", _("Other")
    CLOSED_QA = "closed_qa", _("Closed QA")
    EXTRACT = "extract", _("Extract")


def default_ranking_fields() -> dict[str, Any]:
    """The first version of a project's ranking form. What a form may hold: `annotation.ranking_form`."""
    return {
        "rating": {"minimum": RATING_MIN, "maximum": RATING_MAX},
        "flags": list(Flag.values),
        "own_flags": [],
        "prompt_fields": [],
        "allow_ties": True,
        "allow_partial": False,
    }
