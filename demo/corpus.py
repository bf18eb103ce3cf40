"""What the demo's base model reads: the town's notes, letters and lists, and conversations with answers of all
qualities."""

import random
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from demo.answers import Manner, compose
from demo.phrases import STATEMENTS, attributes_of, join, languages_of, statement
from demo.prompts import Message, WorldPrompt
from demo.world import ENTITIES, TOWN, Entity

TownDocument = dict[str, str | list[Message]]
"""{"text": ...} for prose, {"messages": [...]} for a conversation, which pretraining renders with the chat template."""

CHINESE_SHARE: Final = 0.15
CONVERSATION_SHARE: Final = 0.85
CATEGORY_SHARE: Final = {
    "open_qa": 0.28,
    "generation": 0.1,
    "brainstorming": 0.05,
    "chat": 0.1,
    "rewrite": 0.12,
    "summarization": 0.07,
    "classification": 0.1,
    "closed_qa": 0.05,
    "extract": 0.05,
    "other": 0.08,
}
"""Shares of the conversations; what is hardest to learn is asked more often than in the pools."""
TALK: Final = Manner(right=0.93, complete=0.7, polite=0.3, rude=0.25, short=0.5, evade=0.04, repeat=0.05)
"""How people in the corpus answer: some well, many not."""

OPENINGS: Final = {
    "en": ("A note from {town}.", "Did you know?", "", "", ""),
    "zh": ("{town}小记：", "", ""),
}


def corpus(prompts: list[WorldPrompt], *, documents: int, seed: int) -> Iterator[TownDocument]:
    """Yield that many documents. `prompts` are those that conversations may ask: never a held-out one."""
    generator = random.Random(f"corpus {seed}")
    asked = _by_category(prompts)
    for _ in range(documents):
        language = "zh" if generator.random() < CHINESE_SHARE else "en"
        if generator.random() < CONVERSATION_SHARE:
            known = [category for category in CATEGORY_SHARE if (language, category) in asked]
            category = generator.choices(known, [CATEGORY_SHARE[category] for category in known])[0]
            yield _conversation(generator.choice(asked[language, category]), generator)
        else:
            yield {"text": _note(language, generator)}


def _by_category(prompts: list[WorldPrompt]) -> dict[tuple[str, str], list[WorldPrompt]]:
    groups: dict[tuple[str, str], list[WorldPrompt]] = defaultdict(list)
    for prompt in prompts:
        groups[prompt.language, prompt.category].append(prompt)
    return groups


def _conversation(prompt: WorldPrompt, generator: random.Random) -> TownDocument:
    answer = compose(prompt, TALK, generator)
    return {"messages": [*prompt.conversation(), {"role": "assistant", "content": answer}]}


def _note(language: str, generator: random.Random) -> str:
    """A few facts about one thing in the town, or one fact each about a few."""
    known = [entity for entity in ENTITIES.values() if language in languages_of(entity)]
    if generator.random() < 0.6:
        entity = generator.choice(known)
        attributes = generator.sample(
            attributes_of(entity, language), generator.randint(2, min(4, len(attributes_of(entity, language))))
        )
        facts = [(entity, attribute) for attribute in attributes]
    else:
        facts = [(entity, generator.choice(attributes_of(entity, language))) for entity in generator.sample(known, 3)]
    opening = generator.choice(OPENINGS[language]).format(town=TOWN[language])
    sentences = [_said(entity, attribute, language, generator) for entity, attribute in facts]
    return join([opening, *sentences] if opening else sentences, language)


def _said(entity: Entity, attribute: str, language: str, generator: random.Random) -> str:
    wordings = len(STATEMENTS[language][entity.sort, attribute])
    return statement(entity, attribute, language, wording=generator.randrange(wordings))
