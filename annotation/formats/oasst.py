"""OpenAssistant's message trees: a line holds a prompt and all that was said under it.

Siblings by the assistant with a `rank` (0 is best) are a ranking; the best of them, or the only one, a demonstration of
the conversation above it; the root a prompt. Deleted messages count as never said.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from annotation.conversations import MAX_MESSAGES
from annotation.errors import ImportProblem
from annotation.formats.base import (
    ANSWERS,
    DEMONSTRATIONS,
    PROMPTS,
    RANKINGS,
    Format,
    Out,
    Row,
    assistant,
    demonstration,
    key_of,
    mapping,
    ranking,
    user,
    words,
)


def conversations(row: Row) -> Iterator[tuple[Row, list[Out], list[Row]]]:
    """(prompter's message, conversation up to and with it, the assistant's replies) of the whole tree.

    Walked with a stack, and no deeper than a conversation may be: a chain of 50,000 would be copied 50,000 times.
    """
    waiting: list[tuple[Row, list[Out]]] = [(mapping(row, "prompt"), [])]
    while waiting:
        node, before = waiting.pop()
        if len(before) >= MAX_MESSAGES:
            raise ImportProblem(_("the tree is deeper than %(limit)s messages") % {"limit": MAX_MESSAGES})
        replies = living(node)
        if node.get("role") == "assistant":
            so_far = [*before, assistant(words(node, "text"))]
        else:
            so_far = [*before, user(words(node, "text"))]
            yield node, so_far, replies
        waiting += [(reply, so_far) for reply in reversed(replies)]


def living(node: Row) -> list[Row]:
    replies = node.get("replies") or []
    if not isinstance(replies, list) or not all(isinstance(reply, dict) for reply in replies):
        raise ImportProblem(_("%(name)s must be a list of objects") % {"name": "replies"})
    return [reply for reply in replies if reply.get("deleted") is not True]


def oasst_prompts(row: Row) -> Iterator[Out]:
    root = mapping(row, "prompt")
    yield {**filing(row, root), "prompt": [user(words(root, "text"))]}


def oasst_demonstrations(row: Row) -> Iterator[Out]:
    for node, so_far, replies in conversations(row):
        ranked = [reply for reply in replies if rank_of(reply) == 1]
        best = ranked[:1] or (replies if len(replies) == 1 else [])
        for reply in best:
            yield demonstration(so_far, words(reply, "text"), **filing(row, node), **written_by(reply))


def oasst_rankings(row: Row) -> Iterator[Out]:
    """Each person's ranking where the file has them (`events`), else the one that the ranks give."""
    for node, so_far, replies in conversations(row):
        judged = list(events_of(node, replies))
        for event, ranks in judged:
            completions = [{"content": words(reply, "text"), "model": model_of(reply)} for reply in replies]
            yield ranking(so_far, completions, ranks, **filing(row, node), labeler=key_of(event.get("user_id")))
        if judged:
            continue
        ranks = [rank_of(reply) for reply in replies]
        if sum(rank is not None for rank in ranks) >= 2:
            completions = [{"content": words(reply, "text"), "model": model_of(reply)} for reply in replies]
            yield ranking(so_far, completions, ranks, **filing(row, node))


def oasst_answers(row: Row) -> Iterator[Out]:
    for node, so_far, replies in conversations(row):
        if len(replies) >= 2:
            completions = [{"content": words(reply, "text"), "model": model_of(reply)} for reply in replies]
            yield {"prompt": so_far, "completions": completions, **filing(row, node)}


def events_of(node: Row, replies: list[Row]) -> Iterator[tuple[Row, list[int | None]]]:
    """(event, the ranks that it gives to the replies) of the rankings under a message that name two of them or more."""
    events = node.get("events")
    said = events.get("ranking") if isinstance(events, dict) else None
    for event in said if isinstance(said, list) else []:
        order = event.get("ranked_message_ids") if isinstance(event, dict) else None
        if not isinstance(order, list) or event.get("not_rankable") is True:
            continue
        places = {key_of(message): place for place, message in enumerate(order, start=1)}
        ranks = [places.get(key_of(reply.get("message_id"))) for reply in replies]
        if sum(rank is not None for rank in ranks) >= 2:
            yield event, ranks


def rank_of(reply: Row) -> int | None:
    """From 1, where OpenAssistant counts from 0."""
    rank = reply.get("rank")
    return rank + 1 if isinstance(rank, int) and not isinstance(rank, bool) and rank >= 0 else None


def written_by(reply: Row) -> Out:
    """Who wrote it, and when. A date that is none is left out rather than losing the text over it."""
    date = reply.get("created_date")
    try:
        datetime.fromisoformat(date)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return {"labeler": key_of(reply.get("user_id"))}
    return {"labeler": key_of(reply.get("user_id")), "submitted_at": date}


def model_of(reply: Row) -> str:
    return key_of(reply.get("model_name")) if reply.get("synthetic") is True else ""


def filing(row: Row, node: Row) -> Out:
    """The tree is the group: its conversations overlap, so they must share a split. Languages come as pt-BR or zh."""
    return {
        "source_id": key_of(node.get("message_id")),
        "group": key_of(row.get("message_tree_id")),
        "language": key_of(node.get("lang")),
    }


OASST = Format(
    name="oasst",
    label="OpenAssistant",
    recognise=lambda row: "message_tree_id" in row and isinstance(row.get("prompt"), dict),
    readers={
        PROMPTS: oasst_prompts,
        DEMONSTRATIONS: oasst_demonstrations,
        RANKINGS: oasst_rankings,
        ANSWERS: oasst_answers,
    },
)


def no_tree(row: Row) -> Iterator[Out]:
    raise ImportProblem(
        _(
            "this is the flat file of messages, which tells no conversation by itself; import the file of trees "
            "(.trees.jsonl.gz)"
        )
    )
    yield {}


OASST_MESSAGES = Format(
    name="oasst-messages",
    label=gettext_lazy("OpenAssistant, flat messages"),
    recognise=lambda row: "message_id" in row and "parent_id" in row and isinstance(row.get("text"), str),
    readers={PROMPTS: no_tree, DEMONSTRATIONS: no_tree, RANKINGS: no_tree},
)
