"""The gold rule: how good an answer is, in four parts that a person sees at a glance: right, complete, polite, short.

It knows the facts of Fernhill and the prompt, and scores any text. It is the demo's yardstick and what the simulated
labelers see through their noise; nothing under training/ may know it. Written so that a policy that looks for holes
finds none: a courtesy without an answer, every value of a kind, every fact of a shop, the same sentence twice, a
denial of the truth and a text that stops in the middle all lose more than they gain (tests/demo/test_gold.py has
each).
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Final

from demo.phrases import COURTESIES, EVASIONS, RAMBLES, RUDENESS, STATEMENTS
from demo.prompts import Message, WorldPrompt, all_prompts, find_prompt
from demo.world import ATTRIBUTES, ENTITIES, LEXICON, Entity, words

WEIGHTS: Final = {"right": 0.4, "complete": 0.2, "polite": 0.2, "short": 0.2}
PARTS: Final = tuple(WEIGHTS)
NO_COURTESY: Final = 0.3
"""Polite part of an answer that is neither courteous nor rude."""
IDLE: Final = 0.3
"""What is left of the short part for each sentence that tells nothing."""
WORD_BUDGET: Final = {"en": (6, 9), "zh": (8, 9)}
"""Words (in Chinese: characters) that are short: this many, and this many more for each thing asked."""
NEGATION: Final = {
    "en": re.compile(r"\b(not|never|isn't|doesn't|don't|nobody|nothing)\b"),
    "zh": re.compile("[不没非无]"),
}
SENTENCE: Final = re.compile(r"[^.!?。！？]+[.!?。！？]*")
ENDINGS: Final = tuple('.!?。！？"”')


@dataclass(frozen=True, slots=True)
class GoldScore:
    """The four parts of an answer's worth, each from 0 to 1."""

    right: float
    complete: float
    polite: float
    short: float

    @property
    def total(self) -> float:
        """Weighted sum, from 0 to 1."""
        return sum(weight * getattr(self, part) for part, weight in WEIGHTS.items())

    def parts(self) -> dict[str, float]:
        return {part: getattr(self, part) for part in PARTS}


WORTHLESS: Final = GoldScore(0.0, 0.0, 0.0, 0.0)


def score_messages(messages: list[Message], response: str) -> GoldScore | None:
    """Score an answer to a conversation; None if the conversation is not one of the world's prompts."""
    prompt = find_prompt(messages)
    return None if prompt is None else score(prompt, response)


def score(prompt: WorldPrompt, response: str) -> GoldScore:
    """Score an answer to one of the world's prompts.

    An answer that says nothing of what was asked is worth nothing, however polite and short it is.
    """
    text = _normal(response)
    told = _told(ENTITIES[prompt.entity], text, prompt.language)
    if not any(attribute in told for attribute in prompt.attributes):
        return WORTHLESS
    true = sum(told.get(attribute, False) for attribute in prompt.attributes)
    false = sum(not is_true for is_true in told.values())
    return GoldScore(
        right=true / (true + false),
        complete=min(1.0, true / prompt.enough),
        polite=_polite(text, prompt.language),
        short=_short(prompt, text),
    )


def _normal(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("\u2019", "'").lower()).strip()


def _told(entity: Entity, text: str, language: str) -> dict[str, bool]:
    """What a text tells about an entity: attribute -> whether everything that it tells about it is true.

    A value named is told of the entity. One that no attribute of it can have, and the name of another entity, are false
    and stand under their kind. In a sentence that denies, the true value is false and a false one tells nothing; a
    question tells nothing.
    """
    attribute_of = {kind: attribute for attribute, kind in ATTRIBUTES[entity.sort].items()}
    own_name = _pattern(entity.named(language), language)
    told: dict[str, bool] = {}
    for sentence in SENTENCE.findall(text):
        if sentence.endswith(("?", "\uff1f")):
            continue
        rest = own_name.sub(" _ ", sentence)
        denies = NEGATION[language].search(rest) is not None
        for kind, key, pattern in _named_things(language):
            if not pattern.search(rest):
                continue
            attribute = attribute_of.get(kind, kind)
            is_fact = kind in attribute_of and entity.value(attribute) == key
            if is_fact or not denies:
                told[attribute] = told.get(attribute, True) and is_fact and not denies
    return told


def _polite(text: str, language: str) -> float:
    if any(_bare(phrase) in text for phrase in RUDENESS[language]):
        return 0.0
    courtesies = sum(text.count(_bare(phrase)) for phrase in COURTESIES[language])
    return {0: NO_COURTESY, 1: 1.0, 2: 0.8}.get(courtesies, 0.0)


def _short(prompt: WorldPrompt, text: str) -> float:
    """1 up to the budget of words, 0 at half as much again; each sentence that tells nothing takes seven tenths off;
    0 for a text cut off, garbled, or saying a sentence twice."""
    spoken = _spoken(text, prompt.language)
    sentences = [sentence.strip() for sentence in SENTENCE.findall(text)]
    garbled = sum(word not in _vocabulary(prompt.language) for word in spoken)
    if not text.endswith(ENDINGS) or len(set(sentences)) < len(sentences) or garbled > 1:
        return 0.0
    base, each = WORD_BUDGET[prompt.language]
    budget = base + each * prompt.enough
    brevity = min(1.0, max(0.0, 3.0 - 2.0 * len(spoken) / budget))
    idle = sum(_is_idle(prompt, sentence) for sentence in sentences)
    return brevity * IDLE**idle * (0.5 if garbled else 1.0)


def _is_idle(prompt: WorldPrompt, sentence: str) -> bool:
    """Whether a sentence tells nothing, and is neither courteous nor rude."""
    manners = (*COURTESIES[prompt.language], *RUDENESS[prompt.language])
    if any(_bare(phrase) in sentence for phrase in manners):
        return False
    return not _told(ENTITIES[prompt.entity], sentence, prompt.language)


def _bare(phrase: str) -> str:
    """A phrase as it is looked for: in lower case, without its last sign."""
    return phrase.lower().rstrip(".!?\u3002\uff01\uff1f")


def _spoken(text: str, language: str) -> list[str]:
    """The words of an English text, the characters of a Chinese one."""
    return re.findall(r"[\u4e00-\u9fff]|[a-z]+" if language == "zh" else r"[a-z0-9']+|[\u4e00-\u9fff]", text)


def _pattern(phrase: str, language: str) -> re.Pattern[str]:
    escaped = re.escape(phrase.lower())
    return re.compile(escaped if language == "zh" else rf"\b{escaped}\b")


@cache
def _named_things(language: str) -> tuple[tuple[str, str, re.Pattern[str]], ...]:
    """(kind, key, pattern) of every value; and (sort, key, pattern) of every shop, animal and bus."""
    values = [
        (kind, key, _pattern(words(kind, key, language), language)) for kind, keys in LEXICON.items() for key in keys
    ]
    names = [(entity.sort, entity.key, _pattern(entity.named(language), language)) for entity in ENTITIES.values()]
    return (*values, *names)


@cache
def _vocabulary(language: str) -> frozenset[str]:
    """Every word that people in Fernhill use."""
    said = [text for texts in STATEMENTS[language].values() for text in texts]
    for phrases in (COURTESIES, RUDENESS, RAMBLES, EVASIONS):
        said.extend(phrases[language])
    said.extend(words(kind, key, language) for kind, keys in LEXICON.items() for key in keys)
    said.extend(content for prompt in all_prompts() if prompt.language == language for _, content in prompt.messages)
    return frozenset(word for text in said for word in _spoken(_normal(text), language)) | {"yes", "no"}
