"""Answers of every quality: what the corpus's people say, and what the demo's demonstrations are made of."""

import random
from dataclasses import dataclass

from demo.phrases import COURTESIES, EVASIONS, RAMBLES, RUDENESS, STATEMENTS, join, statement
from demo.prompts import WorldPrompt, wrong_value
from demo.world import ENTITIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How likely an answer is to have each quality or fault."""

    right: float
    """That every fact said is true; otherwise one of them is false."""
    complete: float
    """That everything asked is answered; otherwise one of several facts is left out."""
    polite: float
    """That it has a courtesy, if it is not rude."""
    rude: float
    """That it has a rude word."""
    short: float
    """That it does not ramble."""
    evade: float = 0.0
    """That it tells nothing of what was asked."""
    repeat: float = 0.0
    """That it says something twice."""


PERFECT = Manner(right=1, complete=1, polite=1, rude=0, short=1)


def compose(prompt: WorldPrompt, manner: Manner, generator: random.Random) -> str:
    """An answer to the prompt in that manner: the facts first, then what else there is to say. The same generator state
    gives the same answer."""
    language = prompt.language
    said = _facts_said(prompt, manner, generator)
    if generator.random() < manner.repeat:
        said.append(said[-1])
    if generator.random() >= manner.short:
        said.append(generator.choice(RAMBLES[language]))
    if generator.random() < manner.rude:
        said.append(generator.choice(RUDENESS[language]))
    elif generator.random() < manner.polite:
        said.append(generator.choice(COURTESIES[language]))
    return join(said, language)


def _facts_said(prompt: WorldPrompt, manner: Manner, generator: random.Random) -> list[str]:
    entity, language = ENTITIES[prompt.entity], prompt.language
    asked = list(prompt.attributes)
    if prompt.enough < len(asked):
        asked = generator.sample(asked, prompt.enough)
    if generator.random() < manner.evade:
        return [generator.choice(EVASIONS[language])]
    if len(asked) > 1 and generator.random() >= manner.complete:
        asked.pop(generator.randrange(len(asked)))
    false = generator.choice(asked) if generator.random() >= manner.right else None
    said = []
    for attribute in asked:
        value = wrong_value(entity, attribute, str(generator.random())) if attribute == false else None
        wording = generator.randrange(len(STATEMENTS[language][entity.sort, attribute]))
        said.append(statement(entity, attribute, language, wording=wording, value=value))
    return said
