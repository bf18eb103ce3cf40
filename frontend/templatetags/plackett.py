"""Tags that Plackett's templates share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django import template
from django.template.context import Context
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy

from annotation.models.accounts import Theme, User
from annotation.roles import Capability
from frontend import choices
from frontend import markdown as rendering
from frontend.access import ProjectAccess, Tab, tabs_of, with_counts
from frontend.preferences import THEME_COOKIE
from frontend.submissions import Answer
from training.selectors.notices import unread_count

register = template.Library()

SPEAKERS = {
    "system": gettext_lazy("Instructions to the model"),
    "user": gettext_lazy("User"),
    "assistant": gettext_lazy("Assistant"),
}


SPLIT_LABELS = {
    "train": gettext_lazy("train"),
    "validation": gettext_lazy("validation"),
    "test": gettext_lazy("test"),
    "held_out_labelers": gettext_lazy("held-out labelers"),
}

CHIP_COLOURS = {
    **dict.fromkeys(["succeeded", "submitted", "complete", "active", "ready", "finished"], "good"),
    **dict.fromkeys(["queued", "paused", "pausing", "cancelling", "refused", "expired", "simulated"], "warn"),
    **dict.fromkeys(["failed", "revoked", "erased"], "bad"),
    **dict.fromkeys(["running", "leased", "open", "building"], "info"),
}

MOMENT_FORMS = {"datetime": "%Y-%m-%d %H:%M UTC", "date": "%Y-%m-%d", "time": "%H:%M UTC"}


@register.filter
def markdown(text: str | None) -> SafeString:
    """`{{ answer.content|markdown }}`: untrusted text as safe HTML."""
    return rendering.answer_html(text or "")


@register.filter
def document(text: str | None) -> SafeString:
    """`{{ guideline.text|document }}`: a document of the project, its headings below the page's own."""
    return rendering.document_html(text or "")


@register.filter
def split_label(split: str) -> str:
    """`{{ split|split_label }}`: the name of a snapshot's file in words."""
    return str(SPLIT_LABELS.get(split, split))


@register.filter
def minutes(seconds: float) -> str:
    """`{{ label.active_seconds|minutes }}`: 95 seconds as 1:35."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


@register.simple_tag
def moment(when: datetime | None, form: str = "datetime") -> SafeString | str:
    """`{% moment label.submitted_at %}`: written in UTC, shown by plackett.js in the reader's own time zone.

    `form` is datetime, date or time.
    """
    if when is None:
        return ""
    text = when.astimezone(UTC).strftime(MOMENT_FORMS[form])
    return format_html('<time datetime="{}" data-form="{}">{}</time>', when.isoformat(), form, text)


@register.simple_tag
def scale(answer: Answer, ratings: list[str], allow_partial: bool) -> SafeString:
    """`{% scale answer ratings allow_partial %}`: the rating of an answer; without partial orders each needs one."""
    return choices.scale_html(f"rating-{answer.position}", tuple(ratings), answer.rating, not allow_partial)


@register.simple_tag
def flag_boxes(answer: Answer, flags: list[tuple[str, str]]) -> SafeString:
    """`{% flag_boxes answer flags %}`: what may be said of an answer, and what is."""
    return choices.flags_html(f"flags-{answer.position}", tuple(map(tuple, flags)), tuple(answer.flags))


@register.simple_tag
def rank_options(answer: Answer, ranks: list[str]) -> SafeString:
    """`{% rank_options answer ranks %}`: the places that an answer may have."""
    return choices.ranks_html(tuple(ranks), answer.rank)


@register.simple_tag
def icon(name: str) -> SafeString:
    """`{% icon "pencil-line" %}`: a picture beside words; it says nothing to a screen reader."""
    sprite = static("frontend/vendor/icons.svg")
    return format_html('<svg class="icon" aria-hidden="true" focusable="false"><use href="{}#{}"/></svg>', sprite, name)


@register.simple_tag
def chip(state: str, label: str = "") -> SafeString:
    """`{% chip run.status run.get_status_display %}`: a state in its colour, and always in words too."""
    colour = CHIP_COLOURS.get(state, "")
    return format_html('<span class="chip{}">{}</span>', f" chip-{colour}" if colour else "", label or state)


@register.simple_tag(takes_context=True)
def theme(context: Context) -> str:
    """The visitor's theme: `auto`, `light` or `dark`. Error pages have no request and get `auto`."""
    request = context.get("request")
    chosen = request.COOKIES.get(THEME_COOKIE, "") if request else ""
    return chosen if chosen in Theme.values else Theme.AUTO.value


@register.simple_tag
def project_tabs(access: ProjectAccess) -> list[Tab]:
    """`{% project_tabs access as tabs %}`: the pages of a project that this person may open."""
    return with_counts(access, tabs_of(access))


@register.simple_tag(takes_context=True)
def bell(context: Context) -> int | None:
    """`{% bell as unread %}`: how many notices wait to be read; None for those who are told of no runs.

    One query, and none on pages of a project where the person does not read runs, the labelers' above all.
    """
    request = context.get("request")
    user = getattr(request, "user", None)
    access = context.get("access")
    if not isinstance(user, User) or (access is not None and not access.can(Capability.READ_RUNS)):
        return None
    return unread_count(user)


@register.inclusion_tag("frontend/_conversation.html")
def conversation(messages: list[dict[str, str]]) -> dict[str, Any]:
    """`{% conversation prompt.messages %}`: turns as bubbles, whole, in order."""
    turns = [{**message, "speaker": SPEAKERS.get(message["role"], message["role"])} for message in messages]
    return {"turns": turns}
