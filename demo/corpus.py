"""What the demo's base model reads: the town's notes, letters and lists, and conversations with answers of all
qualities."""

import random
from collections.abc import Iterator
from typing import Final

from demo.answers import Manner, compose
from demo.phrases import STATEMENTS, attributes_of, join, languages_of, statement
from demo.prompts import Message, WorldPrompt
from demo.world import ENTITIES, TOWN, Entity

TownDocument = dict[str, str | list[Message]]
"""{"text": ...} for prose, {"messages": [...]} for a conversation, which pretraining renders with the chat template."""

CHINESE_SHARE: Final = 0.15
CONVERSATION_SHARE: Final = 0.75
TALK: Final = Manner(right=0.85, complete=0.8, polite=0.3, rude=0.25, short=0.5, repeat=0.06)
"""How people in the corpus answer: some well, many not."""

OPENINGS: Final = {
    "en": ("A note from {town}.", "Did you know?", "", "", ""),
    "zh": ("{town}小记：", "", ""),
}


def corpus(prompts: list[WorldPrompt], *, documents: int, seed: int) -> Iterator[TownDocument]:
    """Yield that many documents. `prompts` are those that conversations may ask: never a held-out one."""
    generator = random.Random(f"corpus {seed}")
    english = [prompt for prompt in prompts if prompt.language == "en"]
    chinese = [prompt for prompt in prompts if prompt.language == "zh"]
    for _ in range(documents):
        language = "zh" if generator.random() < CHINESE_SHARE else "en"
        if generator.random() < CONVERSATION_SHARE:
            yield _conversation(generator.choice(chinese if language == "zh" else english), generator)
        else:
            yield {"text": _note(language, generator)}


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
