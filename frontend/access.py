"""What a person may open: `annotation.access` decides, this adds what pages need on top (the user's type, the tabs)."""

from __future__ import annotations

from typing import NamedTuple

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from annotation.access import NOTHING_HERE, ProjectAccess, assignment_for, labeler_for, project_for, projects_of
from annotation.models import User
from annotation.roles import Capability
from annotation.selectors.feedback import news_for, open_questions

__all__ = [
    "NOTHING_HERE",
    "ProjectAccess",
    "Tab",
    "as_user",
    "assignment_for",
    "labeler_for",
    "project_for",
    "projects_of",
    "tabs_of",
    "with_counts",
]


class Tab(NamedTuple):
    """A page of a project in its navigation; `name` is the URL's name and what a view sets as `section`."""

    name: str
    label: str | Promise
    icon: str
    capability: Capability
    url: str = ""
    waiting: int = 0


TABS = (
    Tab("label", _("Label"), "pencil-line", Capability.LABEL),
    Tab("history", _("History"), "history", Capability.LABEL),
    Tab("dashboard", _("Loop"), "refresh-cw", Capability.READ_RUNS),
    Tab("queue", _("Queue"), "list-ordered", Capability.MANAGE_QUEUE),
    Tab("questions", _("Questions"), "circle-question-mark", Capability.REVIEW),
    Tab("prompts", _("Prompts"), "message-square", Capability.READ_PROMPTS),
    Tab("runs", _("Runs"), "play", Capability.READ_RUNS),
    Tab("models", _("Models"), "box", Capability.READ_RUNS),
    Tab("snapshots", _("Snapshots"), "archive", Capability.READ_LABELS),
    Tab("guidelines", _("Guidelines"), "book-open", Capability.READ_GUIDELINES),
    Tab("people", _("People"), "users", Capability.MANAGE),
    Tab("tokens", _("API tokens"), "key-round", Capability.TOKENS),
    Tab("audit", _("Audit"), "scroll-text", Capability.READ_AUDIT),
    Tab("settings", _("Settings"), "settings", Capability.MANAGE),
)


def tabs_of(access: ProjectAccess) -> list[Tab]:
    slug = access.project.slug
    return [
        tab._replace(url=reverse(f"frontend:{tab.name}", args=[slug])) for tab in TABS if access.can(tab.capability)
    ]


def with_counts(access: ProjectAccess, tabs: list[Tab]) -> list[Tab]:
    """The tabs with what waits behind them: for a labeler what was said to them, for a lead the open questions."""
    counts: dict[str, int] = {}
    if access.membership is not None and access.can(Capability.LABEL):
        counts["history"] = news_for(access.membership)
    if access.can(Capability.REVIEW):
        counts["questions"] = open_questions(access.project)
    return [tab._replace(waiting=counts.get(tab.name, 0)) for tab in tabs]


def as_user(user: AbstractBaseUser | AnonymousUser) -> User:
    """The request's user as our own type, for views that let only signed-in people through."""
    assert isinstance(user, User)
    return user
