"""Which formats each kind of snapshot can be written in, and what each can't carry. Pure: rows in, rows out.

A target names the canonical fields that come back when its file is read again; all other fields of the kind are what
it does not carry. Its columns are what tables (Parquet, CSV) and `datasets` are told of it; a format without columns
is a shape of one tool, whose rows differ, and exists as JSON lines alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from annotation.formats import alpaca, chat, trl, writers
from annotation.formats.writers import LeftOut

Row = Mapping[str, Any]
Out = dict[str, Any]
Write = Callable[[Row, str], Iterable[Out]]
Column = Any
"""str, int, float or bool by name; "json" for what has no fixed shape; [a column] for a list; {name: column}."""

FIELDS: dict[str, tuple[str, ...]] = {
    "corpus": ("id", "text", "messages", "split"),
    "prompts": ("id", "prompt", "category", "language", "group", "split", "pool", "source", "style"),
    "demonstrations": (
        *("id", "prompt", "completion", "category", "language", "labeler", "guideline_version", "imported_guideline"),
        *("form_version", "origin", "revision", "split", "pool"),
    ),
    "rankings": (
        *("id", "prompt", "prompt_fields", "completions", "rating_scale", "ranks", "presented_order", "labeler"),
        *("guideline_version", "imported_guideline", "form_version", "purpose", "origin", "counts", "started_at"),
        *("submitted_at", "active_seconds", "language", "batch", "round", "revision", "split", "pool"),
    ),
}
PAIRS = "pairs"
"""Stands for ranks and completions where a format has pairs: the order between two answers comes back, no group."""

REASONS: dict[str, str | Promise] = {
    "no_pair": _("no pair is ordered: all answers are tied or unranked"),
    "not_said": _("no answer is clearly good or bad"),
    "no_text": _("it is a conversation, and the format is of texts"),
    "turns": _("the prompt has several turns or a system message"),
    "system": _("the prompt has a system message"),
    "marks": _("a text looks like the turn of a transcript (Human: or Assistant: after an empty line)"),
    "levels": _("there are more than five ranks"),
    "ties": _("answers are tied"),
}


def write_rows(write: Callable[[Iterable[Row], str], Iterator[Out]], empty: str = "") -> Write:
    """A writer of many rows as one of a single row; `empty` is why a row may come to nothing."""
    return or_left_out(lambda row, ties: write((row,), ties), empty)


def or_left_out(write: Write, empty: str) -> Write:
    """A writer that says why where it writes nothing."""

    def write_one(row: Row, ties: str) -> Iterator[Out]:
        found = False
        for out in write(row, ties):
            found = True
            yield out
        if not found and empty:
            raise LeftOut(empty)

    return write_one


def canonical(row: Row, ties: str) -> Iterator[Out]:
    """The row as it is stored, the whole record of each label."""
    yield dict(row)


def text(row: Row, ties: str) -> Iterator[Out]:
    """TRL's language modelling format."""
    if row.get("text") is None:
        raise LeftOut("no_text")
    yield {"text": row["text"]}


MESSAGES: Column = [{"role": "str", "content": "str"}]
TURNS: Column = [{"from": "str", "value": "str"}]
TURN: Column = {"from": "str", "value": "str"}
LABEL_COLUMNS: dict[str, Column] = {
    "labeler": "str",
    "guideline_version": "int",
    "imported_guideline": "str",
    "form_version": "int",
}
CANONICAL_COLUMNS: dict[str, dict[str, Column]] = {
    "corpus": {"id": "str", "text": "str", "messages": MESSAGES, "split": "str"},
    "prompts": {
        "id": "str",
        "prompt": MESSAGES,
        **dict.fromkeys(("category", "language", "group", "split", "pool", "source", "style"), "str"),
    },
    "demonstrations": {
        "id": "str",
        "prompt": MESSAGES,
        "completion": MESSAGES,
        "category": "str",
        "language": "str",
        **LABEL_COLUMNS,
        "origin": "str",
        "revision": "int",
        "split": "str",
        "pool": "str",
    },
    "rankings": {
        "id": "str",
        "prompt": MESSAGES,
        "prompt_fields": "json",
        "completions": [
            {
                **dict.fromkeys(("id", "content", "author", "model"), "str"),
                "decoding": "json",
                "ratings": "json",
                "flags": ["str"],
            }
        ],
        "rating_scale": {"minimum": "int", "maximum": "int"},
        "ranks": ["int"],
        "presented_order": ["str"],
        **LABEL_COLUMNS,
        "purpose": "str",
        "origin": "str",
        "counts": "bool",
        "started_at": "str",
        "submitted_at": "str",
        "active_seconds": "float",
        "language": "str",
        "batch": "str",
        "round": "int",
        "revision": "int",
        "split": "str",
        "pool": "str",
    },
}
ALPACA: dict[str, Column] = {"instruction": "str", "input": "str", "system": "str", "history": [["str"]]}


@dataclass(frozen=True, kw_only=True)
class Target:
    """A format that a kind of snapshot can be written in."""

    key: str
    label: str | Promise
    write: Write
    carries: tuple[str, ...]
    """Canonical fields that come back from its file."""
    about: str | Promise
    """Who reads it, and what a person should know of it."""
    columns: Mapping[str, Column] | None = None
    """Of its tables; None where its rows have no one shape."""
    may_leave_out: tuple[str, ...] = ()
    """Why a row may not be in it: keys of REASONS."""
    tie_column: bool = False
    """Whether the tie policy "margin" adds a column `margin`."""

    def columns_for(self, ties: str) -> dict[str, Column] | None:
        if self.columns is None:
            return None
        return {**self.columns, **({"margin": "float"} if self.tie_column and ties == "margin" else {})}

    def described(self, ties: str, container: str) -> dict[str, Column] | None:
        """The columns as a reader of the files finds them: a cell of a CSV is a text, a number, or JSON text."""
        columns = self.columns_for(ties)
        if columns is None or container != "csv":
            return columns
        return {name: column if isinstance(column, str) else "json" for name, column in columns.items()}

    def lost(self, kind: str) -> list[str]:
        """The canonical fields of this kind that it does not carry."""
        carried = {"completions", "ranks"} if PAIRS in self.carries else set()
        kept = set(self.carries) | carried
        return [name for name in FIELDS[kind] if name not in kept]

    def statement(self, kind: str) -> dict[str, Any]:
        """What a program can read of it: what comes back, what does not, and which rows may be missing."""
        return {
            "format": self.key,
            "kind": kind,
            "carries": list(self.carries),
            "does_not_carry": self.lost(kind),
            "as_pairs": PAIRS in self.carries,
            "may_leave_out": {reason: str(REASONS[reason]) for reason in self.may_leave_out},
            "tables": self.columns is not None,
        }


@dataclass
class Tally:
    """What became of the rows of an export."""

    rows: int = 0
    written: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def write_all(target: Target, rows: Iterable[Row], ties: str, tally: Tally | None = None) -> Iterator[Out]:
    """The rows of the format, one canonical row in memory at a time; `tally` counts what was left out, by reason."""
    tally = tally or Tally()
    for row in rows:
        tally.rows += 1
        try:
            for out in target.write(row, ties):
                tally.written += 1
                yield out
        except LeftOut as left_out:
            tally.left_out[left_out.reason] += 1


CANONICAL = _("Every field, as it is stored.")
CONVERSATION = _("Conversations alone.")
ONLY_PAIRS = _("A row for each pair of answers that a ranking orders.")


def canonical_target(kind: str) -> Target:
    return Target(
        key="canonical",
        label=_("Canonical"),
        write=canonical,
        carries=FIELDS[kind],
        about=CANONICAL,
        columns=CANONICAL_COLUMNS[kind],
    )


ANSWERED = ("prompt", "completion")
ORDERED = ("prompt", PAIRS)
TARGETS: dict[str, dict[str, Target]] = {
    kind: {target.key: target for target in [canonical_target(kind), *targets]}
    for kind, targets in {
        "corpus": [
            Target(
                key="text",
                label=_("text"),
                write=text,
                carries=("text",),
                about=_("One text in each line, as TRL reads it for language modelling."),
                columns={"text": "str"},
                may_leave_out=("no_text",),
            )
        ],
        "prompts": [
            Target(
                key="prompt",
                label=_("prompt"),
                write=write_rows(trl.write_prompt),
                carries=("prompt",),
                about=_("The conversation alone, as TRL reads it."),
                columns={"prompt": MESSAGES},
            ),
            Target(
                key="verl",
                label="verl",
                write=writers.write_verl,
                carries=("prompt",),
                about=_("As verl's RL trainers read it; a reward model scores the answers."),
                columns={
                    "data_source": "str",
                    "prompt": MESSAGES,
                    "ability": "str",
                    "reward_model": {"style": "str", "ground_truth": "str"},
                    "extra_info": dict.fromkeys(("index", "split", "language", "group"), "str"),
                },
            ),
        ],
        "demonstrations": [
            Target(
                key="prompt-completion",
                label=_("prompt and completion"),
                write=write_rows(trl.write_prompt_completion),
                carries=ANSWERED,
                about=_("As TRL's SFT trainer reads it."),
                columns={"prompt": MESSAGES, "completion": MESSAGES},
            ),
            Target(
                key="openai",
                label="OpenAI",
                write=write_rows(chat.write_chat),
                carries=ANSWERED,
                about=_("Conversations alone; verl's and OpenRLHF's SFT trainers read them too."),
                columns={"messages": MESSAGES},
            ),
            Target(
                key="sharegpt",
                label="ShareGPT",
                write=write_rows(chat.write_shared),
                carries=ANSWERED,
                about=CONVERSATION,
                columns={"conversations": TURNS},
            ),
            Target(
                key="alpaca",
                label="Alpaca",
                write=write_rows(alpaca.write_alpaca),
                carries=ANSWERED,
                about=_("The last question is the instruction, what was said before it the history."),
                columns={**ALPACA, "output": "str"},
            ),
            Target(
                key="oasst",
                label=_("OpenAssistant trees"),
                write=writers.write_oasst_demonstration,
                carries=(*ANSWERED, "language", "labeler"),
                about=_("A tree with one reply for each demonstration."),
                may_leave_out=("turns",),
            ),
            Target(
                key="argilla",
                label="Argilla",
                write=writers.write_argilla_demonstration,
                carries=(*ANSWERED, "labeler"),
                about=_("Records with a text question and one submitted response."),
            ),
            Target(
                key="label-studio",
                label="Label Studio",
                write=writers.write_studio_demonstration,
                carries=ANSWERED,
                about=_("Tasks with a text area's result; who labeled is in the task's data, not as its author."),
            ),
        ],
        "rankings": [
            Target(
                key="preference",
                label=_("prompt, chosen and rejected"),
                write=write_rows(trl.write_preference, "no_pair"),
                carries=ORDERED,
                about=_("Pairs, as TRL's reward and DPO trainers read them."),
                columns={"prompt": MESSAGES, "chosen": MESSAGES, "rejected": MESSAGES},
                may_leave_out=("no_pair",),
                tie_column=True,
            ),
            Target(
                key="unpaired",
                label=_("prompt, completion and label"),
                write=write_rows(trl.write_unpaired, "not_said"),
                carries=("prompt",),
                about=_(
                    "Each answer as good or bad, as TRL's KTO trainer reads it: "
                    "rated above 4 or below, or first or last."
                ),
                columns={"prompt": MESSAGES, "completion": MESSAGES, "label": "bool"},
                may_leave_out=("not_said",),
            ),
            Target(
                key="openai",
                label="OpenAI",
                write=write_rows(chat.write_openai_pairs, "no_pair"),
                carries=ORDERED,
                about=ONLY_PAIRS,
                columns={
                    "input": {"messages": MESSAGES, "tools": ["str"], "parallel_tool_calls": "bool"},
                    "preferred_output": MESSAGES,
                    "non_preferred_output": MESSAGES,
                },
                may_leave_out=("no_pair",),
            ),
            Target(
                key="sharegpt",
                label="ShareGPT",
                write=write_rows(chat.write_shared_pairs, "no_pair"),
                carries=ORDERED,
                about=ONLY_PAIRS,
                columns={"conversations": TURNS, "chosen": TURN, "rejected": TURN},
                may_leave_out=("no_pair",),
            ),
            Target(
                key="alpaca",
                label="Alpaca",
                write=write_rows(alpaca.write_alpaca_pairs, "no_pair"),
                carries=ORDERED,
                about=ONLY_PAIRS,
                columns={**ALPACA, "chosen": "str", "rejected": "str"},
                may_leave_out=("no_pair",),
            ),
            Target(
                key="hh-rlhf",
                label="hh-rlhf",
                write=or_left_out(writers.write_hh, "no_pair"),
                carries=ORDERED,
                about=_("Two whole transcripts for each pair; space around a text is not kept."),
                columns={"chosen": "str", "rejected": "str"},
                may_leave_out=("system", "marks", "no_pair"),
            ),
            Target(
                key="ultrafeedback",
                label="UltraFeedback",
                write=writers.write_ultrafeedback,
                carries=("prompt", "completions", "ranks"),
                about=_(
                    "The group, with its order written as ratings from 5 down; people's own ratings are not in it."
                ),
                may_leave_out=("turns", "levels"),
            ),
            Target(
                key="oasst",
                label=_("OpenAssistant trees"),
                write=writers.write_oasst_ranking,
                carries=("prompt", "completions", "ranks", "language"),
                about=_("A tree for each ranking, its answers ranked from 0; ties stay ties."),
                may_leave_out=("system",),
            ),
            Target(
                key="argilla",
                label="Argilla",
                write=writers.write_argilla_ranking,
                carries=("prompt", "completions", "ranks", "labeler"),
                about=_(
                    "Records with a ranking question and one submitted response; which model answered is not in it."
                ),
            ),
            Target(
                key="label-studio",
                label="Label Studio",
                write=writers.write_studio_ranking,
                carries=("prompt", "completions", "ranks", "active_seconds"),
                about=_("Tasks with a ranker's result; who labeled is in the task's data, not as its author."),
                may_leave_out=("ties",),
            ),
        ],
    }.items()
}
