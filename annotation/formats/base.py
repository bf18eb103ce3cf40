"""What a format is, and the few ways in which all of them look into a row. Pure.

A format's readers turn a row of a file into rows in our own spelling, one or many; `annotation.records` reads those.
Rows are hostile: whatever they hold, a reader raises nothing but ImportProblem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _

from annotation.errors import ImportProblem, PlackettError

Row = Mapping[str, Any]
Out = dict[str, Any]
Reader = Callable[[Row], Iterator[Out]]
PROMPTS, DEMONSTRATIONS, RANKINGS, ANSWERS = "prompts", "demonstrations", "rankings", "answers"


@dataclass(frozen=True, kw_only=True)
class Format:
    """A way in which others write such rows."""

    name: str
    label: str | Promise
    recognise: Callable[[Row], bool]
    """Whether a row looks like one of this format's."""

    readers: Mapping[str, Reader]
    """By kind: prompts, demonstrations, rankings, answers. Without one for answers, those of the rankings are taken."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """What such a file can be imported as."""
        unranked = (ANSWERS,) if RANKINGS in self.readers and ANSWERS not in self.readers else ()
        return (*self.readers, *unranked)

    def read(self, kind: str, row: Row) -> Iterator[Out]:
        """Our rows of this one. Raises ImportProblem."""
        reader = self.readers.get(kind) or (self.readers.get(RANKINGS) if kind == ANSWERS else None)
        if reader is None:
            raise ImportProblem(
                _("the file is in the format %(format)s, which holds no %(kind)s; it can be imported as %(known)s")
                % {"format": self.label, "kind": kind, "known": ", ".join(self.kinds)}
            )
        try:
            yield from reader(row)
        except ImportProblem:
            raise
        except PlackettError as problem:
            raise ImportProblem(problem.message) from problem
        except RecursionError:
            raise ImportProblem(_("the line is nested too deeply")) from None


def has(row: Row, *names: str) -> bool:
    return all(row.get(name) is not None for name in names)


def mapping(row: Row, name: str) -> Row:
    value = row.get(name)
    if not isinstance(value, Mapping):
        raise ImportProblem(_("%(name)s must be an object {...}") % {"name": name})
    return value


def objects(row: Row, name: str) -> Sequence[Row]:
    value = row.get(name)
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise ImportProblem(_("%(name)s must be a list of objects") % {"name": name})
    return value


def words(row: Row, name: str) -> str:
    """A text that must be there; it may be empty."""
    value = row.get(name)
    if not isinstance(value, str):
        raise ImportProblem(_("%(name)s must be a text") % {"name": name})
    return value


def key_of(value: object) -> str:
    """An id as text: people write numbers and strings."""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def user(content: object) -> Out:
    return {"role": "user", "content": content}


def assistant(content: object) -> Out:
    return {"role": "assistant", "content": content}


def system(content: object) -> Out:
    return {"role": "system", "content": content}


def split_last_answer(messages: Sequence[Out]) -> tuple[list[Out], str]:
    """A conversation as its prompt and the assistant's last turn. Raises ImportProblem where that is not last."""
    if not messages or messages[-1].get("role") != "assistant":
        raise ImportProblem(_("the conversation does not end with a turn by the assistant"))
    return list(messages[:-1]), str(messages[-1].get("content"))


def without_last_answer(messages: Sequence[Out]) -> list[Out]:
    """A conversation up to where the assistant is to speak."""
    return list(messages[:-1] if messages and messages[-1].get("role") == "assistant" else messages)


def demonstration(prompt: Sequence[Out], answer: object, **more: object) -> Out:
    return {"prompt": list(prompt), "completion": answer, **more}


def ranking(prompt: Sequence[Out], completions: Sequence[Out], ranks: Sequence[object], **more: object) -> Out:
    """A group: completions with `content`, and perhaps `model` and `id`; ranks in their order."""
    return {"prompt": list(prompt), "completions": list(completions), "ranks": list(ranks), **more}


def ranks_of_scores(scores: Sequence[float | None]) -> list[int | None]:
    """Ranks by falling score: 1 is the highest, equal scores tie, None is not ranked."""
    order = {score: place for place, score in enumerate(sorted({s for s in scores if s is not None}, reverse=True), 1)}
    return [None if score is None else order[score] for score in scores]
