"""Published comparison data: UltraFeedback, OpenAI's summarize-from-feedback, and Chatbot Arena's battles."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from statistics import fmean

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from annotation.errors import ImportProblem
from annotation.formats.base import (
    ANSWERS,
    PROMPTS,
    RANKINGS,
    Format,
    Out,
    Row,
    assistant,
    has,
    key_of,
    mapping,
    objects,
    ranking,
    ranks_of_scores,
    user,
    words,
)
from annotation.formats.chat import chat_messages

# --- UltraFeedback: four models' answers, each rated 1 to 5 in several respects --------------------------


def ultrafeedback_rankings(row: Row) -> Iterator[Out]:
    """Ranks by the mean of the ratings that were given; the same mean is a tie.

    The ratings themselves are a model's, from 1 to 5, and not kept: ours are people's, from 1 to 7.
    """
    completions = objects(row, "completions")
    items = [{"content": words(item, "response"), "model": key_of(item.get("model"))} for item in completions]
    ranks = ranks_of_scores([mean_rating(item) for item in completions])
    yield ranking([user(words(row, "instruction"))], items, ranks)


def ultrafeedback_answers(row: Row) -> Iterator[Out]:
    """The answers alone, for people to rank."""
    items = [
        {"content": words(item, "response"), "model": key_of(item.get("model"))} for item in objects(row, "completions")
    ]
    yield {"prompt": [user(words(row, "instruction"))], "completions": items}


def mean_rating(completion: Row) -> float | None:
    annotations = completion.get("annotations")
    given = [rating_of(value) for value in annotations.values()] if isinstance(annotations, dict) else []
    known = [rating for rating in given if rating is not None]
    return fmean(known) if known else None


def rating_of(annotation: object) -> float | None:
    """A rating is a text such as "4", or "N/A"."""
    rating = annotation.get("Rating") if isinstance(annotation, dict) else None
    if isinstance(rating, str) and rating.strip() in {"1", "2", "3", "4", "5"}:
        return float(rating)
    return float(rating) if isinstance(rating, int) and not isinstance(rating, bool) and 1 <= rating <= 5 else None


def ultrafeedback_prompts(row: Row) -> Iterator[Out]:
    yield {"prompt": [user(words(row, "instruction"))]}


ULTRAFEEDBACK = Format(
    name="ultrafeedback",
    label="UltraFeedback",
    recognise=lambda row: (
        has(row, "instruction")
        and isinstance(row.get("completions"), list)
        and any(isinstance(item, dict) and "response" in item for item in row["completions"])
    ),
    readers={PROMPTS: ultrafeedback_prompts, RANKINGS: ultrafeedback_rankings, ANSWERS: ultrafeedback_answers},
)

# --- summarize-from-feedback: a post or article, two summaries, which one is better ----------------------


def summary_prompt(row: Row) -> list[Out]:
    info = mapping(row, "info")
    if info.get("post") is not None:
        lines = [f"SUBREDDIT: r/{key_of(info.get('subreddit'))}", f"TITLE: {key_of(info.get('title'))}"]
        return [user("\n\n".join([*lines, f"POST: {words(info, 'post')}", "TL;DR:"]))]
    title = [f"TITLE: {key_of(info.get('title'))}"] if info.get("title") else []
    return [user("\n\n".join([*title, f"ARTICLE: {words(info, 'article')}", "TL;DR:"]))]


def summary_pairs(row: Row) -> Iterator[Out]:
    if not has(row, "summaries"):
        raise ImportProblem(_("the line rates one summary, and a ranking needs two or more"))
    summaries = objects(row, "summaries")
    choice = row.get("choice")
    if len(summaries) != 2 or isinstance(choice, bool) or choice not in (0, 1):
        raise ImportProblem(_("there must be two summaries, and choice must be 0 or 1"))
    items = [{"content": words(item, "text").strip(), "model": key_of(item.get("policy"))} for item in summaries]
    yield ranking(summary_prompt(row), items, [1, 2] if choice == 0 else [2, 1], **summary_filing(row))


def summary_prompts(row: Row) -> Iterator[Out]:
    yield {"prompt": summary_prompt(row), **summary_filing(row)}


def summary_filing(row: Row) -> Out:
    info = mapping(row, "info")
    return {"labeler": key_of(row.get("worker")), "group": key_of(info.get("id")), "category": "summarization"}


SUMMARIES = Format(
    name="summarize-from-feedback",
    label="summarize-from-feedback",
    recognise=lambda row: isinstance(row.get("info"), dict) and (has(row, "summaries") or has(row, "summary")),
    readers={PROMPTS: summary_prompts, RANKINGS: summary_pairs},
)

# --- Chatbot Arena: two models' conversations, and who won -----------------------------------------------

WINNERS = {"model_a": [1, 2], "model_b": [2, 1], "tie": [1, 1], "tie (bothbad)": [1, 1]}
LANGUAGES = {
    **{"English": "en", "Chinese": "zh", "German": "de", "French": "fr", "Spanish": "es", "Portuguese": "pt"},
    **{"Russian": "ru", "Japanese": "ja", "Korean": "ko", "Italian": "it", "Vietnamese": "vi", "Polish": "pl"},
}


def battle(row: Row) -> Iterator[Out]:
    """A battle of one turn: in a longer one the two models answer different conversations, which is no ranking."""
    sides = [chat_messages({"messages": objects(row, name)}) for name in ("conversation_a", "conversation_b")]
    check_one_turn(sides)
    winner = row.get("winner")
    if not isinstance(winner, str) or winner not in WINNERS:
        raise ImportProblem(
            _("the winner is %(winner)s; it must be one of %(known)s")
            % {"winner": f"{winner!r:.40}", "known": ", ".join(WINNERS)}
        )
    names = [key_of(row.get(name)) for name in ("model_a", "model_b")]
    items = [{"content": side[1]["content"], "model": name} for side, name in zip(sides, names, strict=True)]
    yield ranking(
        [sides[0][0]],
        items,
        WINNERS[winner],
        labeler=key_of(row.get("judge")),
        language=LANGUAGES.get(key_of(row.get("language")), ""),
        source_id=key_of(row.get("question_id")),
        **vote_filing(row),
    )


def check_one_turn(sides: list[list[Out]]) -> None:
    if any(len(side) != 2 for side in sides) or sides[0][0] != sides[1][0]:
        raise ImportProblem(
            _("only battles of one turn are rankings: in longer ones the answers have different prompts")
        )


def battle_prompts(row: Row) -> Iterator[Out]:
    messages = chat_messages({"messages": objects(row, "conversation_a")})
    yield {
        "prompt": messages[:1],
        "language": LANGUAGES.get(key_of(row.get("language")), ""),
        "source_id": key_of(row.get("question_id")),
    }


ARENA = Format(
    name="arena",
    label="Chatbot Arena",
    recognise=lambda row: has(row, "conversation_a", "conversation_b"),
    readers={PROMPTS: battle_prompts, RANKINGS: battle},
)

# --- Chatbot Arena's log of votes, from which the battles are cleaned ------------------------------------

VOTES = {"leftvote": [1, 2], "rightvote": [2, 1], "tievote": [1, 1], "bothbad_vote": [1, 1]}


def vote(row: Row) -> Iterator[Out]:
    """A vote over two states. The voter's address (ip) is personal and not read, so these labelers have no name."""
    sides, names = vote_sides(row), vote_models(row)
    check_one_turn(sides)
    kind = row.get("type")
    if not isinstance(kind, str) or kind not in VOTES:
        raise ImportProblem(
            _("the line's type is %(type)s; only votes are rankings: %(known)s")
            % {"type": f"{kind!r:.40}", "known": ", ".join(VOTES)}
        )
    items = [{"content": side[1]["content"], "model": name} for side, name in zip(sides, names, strict=True)]
    yield ranking([sides[0][0]], items, VOTES[kind], **vote_filing(row))


def vote_prompts(row: Row) -> Iterator[Out]:
    yield {"prompt": vote_sides(row)[0][:1], **vote_filing(row)}


def vote_sides(row: Row) -> list[list[Out]]:
    states = objects(row, "states")
    if len(states) != 2:
        raise ImportProblem(_("a vote is between two answers; states must hold two"))
    return [state_messages(state) for state in states]


def state_messages(state: Row) -> list[Out]:
    """The conversation of a state: after its offset, [speaker, text] in turns, the user's first."""
    turns, offset = state.get("messages"), state.get("offset") or 0
    if not isinstance(turns, list) or not isinstance(offset, int) or not 0 <= offset <= len(turns):
        raise ImportProblem(_("%(name)s must be a list of [speaker, text]") % {"name": "messages"})
    said = turns[offset:]
    if not all(isinstance(turn, list) and len(turn) == 2 for turn in said):
        raise ImportProblem(_("%(name)s must be a list of [speaker, text]") % {"name": "messages"})
    return [assistant(turn[1]) if number % 2 else user(turn[1]) for number, turn in enumerate(said)]


def vote_models(row: Row) -> list[str]:
    """The models' names; where people chose them unseen, `models` is empty and the states know."""
    named = row.get("models")
    names = [key_of(name) for name in named] if isinstance(named, list) and len(named) == 2 else ["", ""]
    return [name or key_of(state.get("model_name")) for name, state in zip(names, objects(row, "states"), strict=True)]


def vote_filing(row: Row) -> Out:
    """When it was cast: seconds since 1970."""
    seconds = row.get("tstamp")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 1e11:
        return {}
    return {"submitted_at": datetime.fromtimestamp(seconds, UTC).isoformat()}


ARENA_VOTES = Format(
    name="arena-votes",
    label=gettext_lazy("Chatbot Arena, votes"),
    recognise=lambda row: isinstance(row.get("states"), list) and "type" in row,
    readers={PROMPTS: vote_prompts, RANKINGS: vote},
)
