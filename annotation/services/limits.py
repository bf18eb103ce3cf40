"""What keeps tasks from a labeler: the lead's limits, the labeler's own opt-outs, and the topics of prompts."""

from __future__ import annotations

import re
from collections.abc import Collection

from django.db import transaction
from django.utils.translation import gettext as _

from annotation.errors import PlackettError
from annotation.fields import SensitiveTopic
from annotation.models import Membership, Prompt, PromptTopic
from annotation.models.queue import MAX_DAILY
from annotation.services import audit
from annotation.services.audit import Actor
from annotation.services.prompts import LANGUAGE


class LimitError(PlackettError):
    """A limit that can't be."""


@transaction.atomic
def member_limits_set(
    *, membership: Membership, daily_limit: int | None, languages: Collection[str], by: Actor
) -> Membership:
    """Set how many tasks a day this labeler gets at most (None: as the project says), and in which languages.

    No language named: all of them.
    """
    if daily_limit is not None and not 1 <= daily_limit <= MAX_DAILY:
        raise LimitError(_("A day's limit is a number from 1 to %(limit)s, or nothing.") % {"limit": MAX_DAILY})
    for code in languages:
        if not LANGUAGE.fullmatch(code):
            raise LimitError(_("%(code)s is no language code; write en or zh-Hans.") % {"code": f"{code!r:.20}"})
    membership.daily_limit, membership.languages = daily_limit, sorted(set(languages))
    membership.save(update_fields=["daily_limit", "languages"])
    audit.record(
        project=membership.project,
        by=by,
        verb="member.limits",
        target=membership,
        daily_limit=daily_limit,
        languages=membership.languages,
    )
    return membership


def language_codes(text: str) -> list[str]:
    """The codes of a field such as "en, zh-Hans"."""
    return [code for code in re.split(r"[\s,;，；、]+", text.strip()) if code]


@transaction.atomic
def declined_topics_set(*, membership: Membership, topics: Collection[str]) -> Membership:
    """Opt out of sensitive topics. The labeler's own doing, so the audit log does not say of which."""
    check_topics(topics)
    membership.declined_topics = sorted(set(topics))
    membership.save(update_fields=["declined_topics"])
    audit.record(project=membership.project, by=membership, verb="member.decline_topics", target=membership)
    return membership


@transaction.atomic
def prompt_topics_set(*, prompt: Prompt, topics: Collection[str], by: Actor) -> None:
    """Say which sensitive topics a prompt has; it holds from the next task on."""
    check_topics(topics)
    have = set(prompt.topics.values_list("topic", flat=True))
    if have == set(topics):
        return
    prompt.topics.exclude(topic__in=topics).delete()
    PromptTopic.objects.bulk_create(
        [PromptTopic(prompt=prompt, topic=topic) for topic in sorted(set(topics) - have)], ignore_conflicts=True
    )
    audit.record(project=prompt.project, by=by, verb="prompt.topics", target=prompt, topics=sorted(set(topics)))


def check_topics(topics: Collection[str]) -> None:
    for topic in topics:
        if topic not in SensitiveTopic.values:
            raise LimitError(_("There is no topic %(topic)s. Reload the page.") % {"topic": f"{topic!r:.30}"})
