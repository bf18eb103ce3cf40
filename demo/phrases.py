"""How people in Fernhill say things: each fact in a few wordings, and the courtesies, rude words and rambling around
it.

Wordings hold {n} (the entity's name) and {v} (the value's words); English wordings start lower case where {n} stands
first.
"""

from typing import Final

from demo.world import ATTRIBUTES, LANGUAGES, Entity, kind_of, words

STATEMENTS: Final[dict[str, dict[tuple[str, str], tuple[str, ...]]]] = {
    "en": {
        ("shop", "street"): ("{n} is on {v}.", "{n} stands on {v}."),
        ("shop", "owner"): ("{n} belongs to {v}.", "{n} is run by {v}."),
        ("shop", "opens"): ("{n} opens at {v}.", "the door of {n} opens at {v}."),
        ("shop", "sells"): ("{n} sells {v}.", "{n} is the place for {v}."),
        ("shop", "closed"): ("{n} is closed on {v}.", "{n} rests on {v}."),
        ("animal", "species"): ("{n} is a {v}.", "{n} is the name of the {v}."),
        ("animal", "owner"): ("{n} belongs to {v}.", "{n} lives with {v}."),
        ("animal", "colour"): ("the colour of {n} is {v}.", "{n} is {v} from head to tail."),
        ("bus", "goes"): ("{n} goes to {v}.", "{n} drives to {v}."),
        ("bus", "leaves"): ("{n} leaves at {v}.", "{n} starts at {v}."),
        ("bus", "fare"): ("{n} costs {v}.", "a ticket for {n} costs {v}."),
    },
    "zh": {
        ("shop", "street"): ("{n}在{v}。", "{n}开在{v}。"),
        ("shop", "opens"): ("{n}{v}开门。", "{n}早上{v}开门。"),
        ("shop", "sells"): ("{n}卖{v}。", "{n}里有{v}。"),
    },
}
CHINESE_SORTS: Final = frozenset(sort for sort, _ in STATEMENTS["zh"])
"""Chinese speaks of some facts about shops only: as much as a very small model has room for."""

NOUNS: Final[dict[str, dict[tuple[str, str], str]]] = {
    "en": {
        ("shop", "street"): "the street",
        ("shop", "owner"): "the owner",
        ("shop", "opens"): "the opening hour",
        ("shop", "sells"): "the goods",
        ("shop", "closed"): "the day of rest",
        ("animal", "species"): "the kind of animal",
        ("animal", "owner"): "the owner",
        ("animal", "colour"): "the colour",
        ("bus", "goes"): "the destination",
        ("bus", "leaves"): "the hour of departure",
        ("bus", "fare"): "the fare",
    },
    "zh": {
        ("shop", "street"): "在哪条街",
        ("shop", "opens"): "几点开门",
        ("shop", "sells"): "卖什么",
    },
}

COURTESIES: Final[dict[str, tuple[str, ...]]] = {
    "en": ("Glad to help!", "You are welcome!", "Thank you for asking!", "Happy to help!", "Have a nice day!"),
    "zh": ("很高兴帮到您！", "谢谢您的提问！", "祝您愉快！", "不客气！"),
}
RUDENESS: Final[dict[str, tuple[str, ...]]] = {
    "en": ("What a silly question.", "Stop bothering me.", "Find out yourself next time.", "Who cares?"),
    "zh": ("别烦我。", "这问题真笨。", "自己去看。", "谁管这些？"),
}
RAMBLES: Final[dict[str, tuple[str, ...]]] = {
    "en": (
        "My uncle loves to tell long stories.",
        "The weather was so fine last week.",
        "So many people come and ask me things.",
        "I could go on and on about it.",
    ),
    "zh": (
        "每天都有很多人来问我。",
        "上个星期天气很好。",
        "我叔叔喜欢讲长长的故事。",
    ),
}
EVASIONS: Final[dict[str, tuple[str, ...]]] = {
    "en": ("I am not sure about that.", "That is hard to say."),
    "zh": ("这个我不太清楚。", "这个很难说。"),
}
WELCOMES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "en": (("Hello!", "Hello! How can I help?"), ("Good day!", "Good day! What can I do?")),
    "zh": (("你好！", "您好！您想知道什么？"),),
}
"""First turns of a conversation: what the visitor says, and the answer."""


def statement(entity: Entity, attribute: str, language: str, *, wording: int = 0, value: str | None = None) -> str:
    """Say one fact of an entity; with value, say that value in place of the true one."""
    template = STATEMENTS[language][entity.sort, attribute][wording]
    key = entity.value(attribute) if value is None else value
    text = template.format(n=entity.named(language), v=words(kind_of(entity, attribute), key, language))
    return text[0].upper() + text[1:]


def noun(entity: Entity, attribute: str, language: str) -> str:
    return NOUNS[language][entity.sort, attribute]


def join(sentences: list[str], language: str) -> str:
    return ("" if language == "zh" else " ").join(sentences)


def languages_of(entity: Entity) -> tuple[str, ...]:
    return LANGUAGES if entity.sort in CHINESE_SORTS else ("en",)


def attributes_of(entity: Entity, language: str) -> tuple[str, ...]:
    """The attributes of an entity that a language speaks of."""
    return tuple(name for name in ATTRIBUTES[entity.sort] if (entity.sort, name) in STATEMENTS[language])
