"""Every prompt of the demo: hand-written templates x the facts of Fernhill, dealt into pools that share no pair.

A prompt's group is its template-and-fact pair. The deal is by pair, so a held-out prompt asks in words that training
knows about a fact that training knows, but never this fact in these words.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Final

from demo.phrases import WELCOMES, attributes_of, join, languages_of, noun, statement
from demo.world import ENTITIES, LEXICON, Entity, address, kind_of, words

Message = dict[str, str]

DIRECT: Final[dict[str, dict[tuple[str, str], tuple[str, ...]]]] = {
    "en": {
        ("shop", "street"): ("Where is {n}?", "On which street do I find {n}?"),
        ("shop", "owner"): ("Who runs {n}?", "Who is the owner of {n}?"),
        ("shop", "opens"): ("When does {n} open?", "At what time does {n} open?"),
        ("shop", "sells"): ("What does {n} sell?", "What can I buy at {n}?"),
        ("shop", "closed"): ("On which day is {n} closed?", "When does {n} rest?"),
        ("animal", "species"): ("What is {n}?", "What kind of animal is {n}?"),
        ("animal", "owner"): ("Who looks after {n}?", "Whom does {n} belong to?"),
        ("animal", "colour"): ("What colour is {n}?", "Which colour does {n} have?"),
        ("bus", "goes"): ("Where does {n} go?", "To which place does {n} drive?"),
        ("bus", "leaves"): ("When does {n} leave?", "At what time does {n} start?"),
        ("bus", "fare"): ("What does a ticket for {n} cost?", "How much is {n}?"),
    },
    "zh": {
        ("shop", "street"): ("{n}在哪里？", "请问{n}在哪条街？"),
        ("shop", "opens"): ("{n}几点开门？", "请问{n}什么时候开门？"),
        ("shop", "sells"): ("{n}卖什么？", "我可以去{n}买什么？"),
    },
}

ONE_FACT: Final[dict[str, tuple[tuple[str, str, str], ...]]] = {
    "en": (
        ("classify", "classification", "Choose {noun} of {n}: {a} or {b}?"),
        ("note", "closed_qa", '{q} It is in this note: "{s} {t}"'),
        ("extract", "extract", 'Find {noun} of {n} in this note: "{t} {s}"'),
        ("correct", "rewrite", 'Correct {noun} of {n}: "{f}"'),
        ("true", "other", 'Check {noun} of {n}: "{f}"'),
    ),
    "zh": (
        ("classify", "classification", "{n}{noun}：{a}还是{b}？"),
        ("correct", "rewrite", "请改正{n}{noun}：“{f}”"),
    ),
}
"""(template, category, text) for prompts about one fact. {q} a direct question, {s} the fact said, {t} another fact
said, {f} the fact said wrongly, {a} and {b} the true value and a false one in either order."""

TWO_FACTS: Final[dict[str, tuple[tuple[str, str, str], ...]]] = {
    "en": (
        ("tell", "open_qa", "Tell me {noun} and {noun2} of {n}."),
        ("know", "open_qa", "I want to know {noun} and {noun2} of {n}."),
        ("what", "open_qa", "What are {noun} and {noun2} of {n}?"),
        ("sign", "generation", "Write a sign with {noun} and {noun2} of {n}."),
        ("card", "generation", "Write a card with {noun} and {noun2} of {n}."),
        ("line", "generation", "Write a line for the newspaper: {noun} and {noun2} of {n}."),
        ("sum", "summarization", 'Sum up this note: "{s} Many people know it. {s2}"'),
    ),
    "zh": (
        ("tell", "open_qa", "请告诉我{n}{noun}，还有{noun2}。"),
        ("sign", "generation", "请给{n}写一个牌子，写明{noun}和{noun2}。"),
    ),
}
ANY_TWO: Final[dict[str, tuple[tuple[str, str, str], ...]]] = {
    "en": (
        ("two", "brainstorming", "Give me two things to know about {n}."),
        ("visit", "brainstorming", "Think of two things to tell a visitor about {n}."),
    ),
    "zh": (("two", "brainstorming", "请说两件关于{n}的事。"),),
}

POOLS: Final = {"eval": 150, "sft": 260, "rm": 520, "ppo": 200}
"""Prompts of each pool; what is left over is asked and answered in the pretraining corpus only."""
CHINESE_SHARE: Final = 0.1
CATEGORY_SHARE: Final = {
    "open_qa": 0.34,
    "generation": 0.16,
    "brainstorming": 0.06,
    "chat": 0.12,
    "rewrite": 0.06,
    "summarization": 0.08,
    "classification": 0.06,
    "closed_qa": 0.05,
    "extract": 0.04,
    "other": 0.03,
}


@dataclass(frozen=True, slots=True)
class WorldPrompt:
    """A prompt and what it asks: all of `attributes` of an entity, or any `enough` of them."""

    id: str
    template: str
    category: str
    language: str
    entity: str
    attributes: tuple[str, ...]
    enough: int
    messages: tuple[tuple[str, str], ...]

    @property
    def group(self) -> str:
        """The template-and-fact pair, which stays on one side of every split."""
        return self.id

    def conversation(self) -> list[Message]:
        return [{"role": role, "content": content} for role, content in self.messages]

    def row(self, pool: str) -> dict[str, object]:
        """The canonical prompt row."""
        return {
            "id": self.id,
            "prompt": self.conversation(),
            "category": self.category,
            "language": self.language,
            "group": self.group,
            "split": "test" if pool == "eval" else "train",
            "pool": pool,
        }


def wrong_value(entity: Entity, attribute: str, seed: str) -> str:
    """A value of the right kind which is false for this entity, always the same one for one seed."""
    others = [key for key in LEXICON[kind_of(entity, attribute)] if key != entity.value(attribute)]
    return random.Random(f"wrong {address(entity)} {attribute} {seed}").choice(others)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _prompt(
    entity: Entity,
    language: str,
    template: str,
    category: str,
    asked: tuple[str, ...],
    text: str,
    *,
    turns: tuple[tuple[str, str], ...] = (),
    enough: int | None = None,
) -> WorldPrompt:
    facts = "+".join(asked) if enough is None else "any"
    return WorldPrompt(
        id=f"{language}/{template}/{address(entity)}/{facts}",
        template=f"{language}/{template}/{entity.sort}",
        category=category,
        language=language,
        entity=address(entity),
        attributes=asked,
        enough=len(asked) if enough is None else enough,
        messages=(*turns, ("user", _capital(text))),
    )


def _one_fact(entity: Entity, attribute: str, language: str) -> Iterator[WorldPrompt]:
    name = entity.named(language)
    questions = [text.format(n=name) for text in DIRECT[language][entity.sort, attribute]]
    for index, question in enumerate(questions):
        yield _prompt(entity, language, f"ask{index}-{attribute}", "open_qa", (attribute,), question)
    for index, (hello, welcome) in enumerate(WELCOMES[language]):
        turns = (("user", hello), ("assistant", welcome))
        yield _prompt(
            entity, language, f"chat{index}-{attribute}", "chat", (attribute,), _capital(questions[0]), turns=turns
        )
    other = next(name for name in attributes_of(entity, language) if name != attribute)
    for template, category, text in ONE_FACT[language]:
        false = wrong_value(entity, attribute, template)
        kind = kind_of(entity, attribute)
        pair = [words(kind, key, language) for key in sorted((entity.value(attribute), false))]
        filled = text.format(
            n=name,
            q=_capital(questions[0]),
            noun=noun(entity, attribute, language),
            s=statement(entity, attribute, language),
            t=statement(entity, other, language),
            f=statement(entity, attribute, language, value=false),
            a=pair[0],
            b=pair[1],
        )
        yield _prompt(entity, language, f"{template}-{attribute}", category, (attribute,), filled)


def _two_facts(entity: Entity, first: str, second: str, language: str) -> Iterator[WorldPrompt]:
    for template, category, text in TWO_FACTS[language]:
        filled = text.format(
            n=entity.named(language),
            noun=noun(entity, first, language),
            noun2=noun(entity, second, language),
            s=statement(entity, first, language),
            s2=statement(entity, second, language),
        )
        yield _prompt(entity, language, f"{template}-{first}-{second}", category, (first, second), filled)


def _any_two(entity: Entity, language: str) -> Iterator[WorldPrompt]:
    for template, category, text in ANY_TWO[language]:
        filled = text.format(n=entity.named(language))
        yield _prompt(entity, language, template, category, attributes_of(entity, language), filled, enough=2)


@cache
def all_prompts() -> tuple[WorldPrompt, ...]:
    """Every template x fact pair that there is, in a fixed order."""
    prompts: list[WorldPrompt] = []
    for entity in ENTITIES.values():
        for language in languages_of(entity):
            for attribute in attributes_of(entity, language):
                prompts.extend(_one_fact(entity, attribute, language))
            for first, second in combinations(attributes_of(entity, language), 2):
                prompts.extend(_two_facts(entity, first, second, language))
            prompts.extend(_any_two(entity, language))
    return tuple(prompts)


@cache
def by_conversation() -> dict[tuple[tuple[str, str], ...], WorldPrompt]:
    return {prompt.messages: prompt for prompt in all_prompts()}


def find_prompt(messages: list[Message]) -> WorldPrompt | None:
    """The world's prompt that these messages are, or None for a prompt that somebody else wrote."""
    key = tuple((message["role"], message["content"].strip()) for message in messages)
    return by_conversation().get(key)


def prompt_pools(seed: int) -> dict[str, list[WorldPrompt]]:
    """Deal the pairs into the pools sft, rm, ppo and eval, and "corpus" for the rest, by category and language."""
    generator = random.Random(f"pools {seed}")
    bags: dict[tuple[str, str], list[WorldPrompt]] = {}
    for prompt in all_prompts():
        bags.setdefault((prompt.category, prompt.language), []).append(prompt)
    for bag in bags.values():
        generator.shuffle(bag)
    pools: dict[str, list[WorldPrompt]] = {}
    for pool, size in POOLS.items():
        pools[pool] = [_draw(bags, generator) for _ in range(size)]
    pools["corpus"] = [prompt for bag in bags.values() for prompt in bag]
    return pools


def _draw(bags: dict[tuple[str, str], list[WorldPrompt]], generator: random.Random) -> WorldPrompt:
    """Take one prompt: a language by its share, then a category by its share among those left in that language."""
    language = "zh" if generator.random() < CHINESE_SHARE else "en"
    if not any(bags.get((category, language)) for category in CATEGORY_SHARE):  # that language is used up
        language = "en" if language == "zh" else "zh"
    left = [category for category in CATEGORY_SHARE if bags.get((category, language))]
    category = generator.choices(left, [CATEGORY_SHARE[name] for name in left])[0]
    return bags[category, language].pop()


def conversation_text(prompt: WorldPrompt) -> str:
    return join([content for _, content in prompt.messages], prompt.language)
