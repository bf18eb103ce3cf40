"""How people in Fernhill say things: each fact in a few wordings, and the courtesies, rude words and rambling around it.

Wordings hold {n} (the entity's name) and {v} (the value's words); English wordings start lower case where {n} stands first.
"""

from typing import Final

from demo.world import ATTRIBUTES, LANGUAGES, Entity, kind_of, words

STATEMENTS: Final[dict[str, dict[tuple[str, str], tuple[str, ...]]]] = {
    "en": {
        ("shop", "street"): ("{n} is on {v}.", "{n} stands on {v}."),
        ("shop", "owner"): ("{n} belongs to {v}.", "{v} runs {n}."),
        ("shop", "opens"): ("{n} opens at {v}.", "the door of {n} opens at {v}."),
        ("shop", "sells"): ("{n} sells {v}.", "people buy {v} at {n}."),
        ("shop", "price"): ("everything at {n} costs {v}.", "{n} asks {v} for everything."),
        ("shop", "closed"): ("{n} is closed on {v}.", "{n} rests on {v}."),
        ("person", "home"): ("{n} lives on {v}.", "the home of {n} is on {v}."),
        ("person", "eats"): ("{n} likes to eat {v}.", "{n} eats {v} every evening."),
        ("person", "plays"): ("{n} plays the {v}.", "the {v} is what {n} plays."),
        ("person", "likes"): ("the favourite colour of {n} is {v}.", "{n} likes the colour {v}."),
        ("animal", "species"): ("{n} is a {v}.", "the {v} of the town is {n}."),
        ("animal", "owner"): ("{n} belongs to {v}.", "{v} looks after {n}."),
        ("animal", "colour"): ("the colour of {n} is {v}.", "{n} is {v} from head to tail."),
        ("animal", "eats"): ("{n} is fed with {v}.", "{n} gets {v} each day."),
        ("bus", "goes"): ("{n} goes to {v}.", "{n} drives to {v}."),
        ("bus", "leaves"): ("{n} leaves at {v}.", "{n} starts at {v}."),
        ("bus", "fare"): ("a ticket for {n} costs {v}.", "{n} costs {v}."),
        ("bus", "stops"): ("{n} stops on {v}.", "{n} waits on {v}."),
    },
    "zh": {
        ("shop", "street"): ("{n}在{v}。", "{n}开在{v}。"),
        ("shop", "owner"): ("{n}的店主是{v}。", "{v}开了{n}。"),
        ("shop", "opens"): ("{n}{v}开门。", "{n}早上{v}开门。"),
        ("shop", "sells"): ("{n}卖{v}。", "大家去{n}买{v}。"),
        ("shop", "price"): ("{n}的东西卖{v}。", "{n}每件东西{v}。"),
        ("shop", "closed"): ("{n}{v}休息。", "{n}每到{v}休息。"),
        ("animal", "species"): ("{n}是一只{v}。", "镇上的{v}叫{n}。"),
        ("animal", "owner"): ("{n}的主人是{v}。", "{v}养着{n}。"),
        ("animal", "colour"): ("{n}是{v}的。", "{n}的毛是{v}的。"),
        ("animal", "eats"): ("{n}吃{v}。", "{n}爱吃{v}。"),
    },
}
CHINESE_SORTS: Final = frozenset(sort for sort, _ in STATEMENTS["zh"])
"""Chinese speaks of shops and animals only: as much as a very small model has room for."""

NOUNS: Final[dict[str, dict[tuple[str, str], str]]] = {
    "en": {
        ("shop", "street"): "the street",
        ("shop", "owner"): "the owner",
        ("shop", "opens"): "the opening hour",
        ("shop", "sells"): "the goods",
        ("shop", "price"): "the price",
        ("shop", "closed"): "the day of rest",
        ("person", "home"): "the home street",
        ("person", "eats"): "the favourite food",
        ("person", "plays"): "the instrument",
        ("person", "likes"): "the favourite colour",
        ("animal", "species"): "the kind of animal",
        ("animal", "owner"): "the owner",
        ("animal", "colour"): "the colour",
        ("animal", "eats"): "the feed",
        ("bus", "goes"): "the place it goes to",
        ("bus", "leaves"): "the hour it leaves",
        ("bus", "fare"): "the fare",
        ("bus", "stops"): "the street it stops on",
    },
    "zh": {
        ("shop", "street"): "在哪条街",
        ("shop", "owner"): "店主是谁",
        ("shop", "opens"): "几点开门",
        ("shop", "sells"): "卖什么",
        ("shop", "price"): "卖多少钱",
        ("shop", "closed"): "哪天休息",
        ("animal", "species"): "是什么动物",
        ("animal", "owner"): "主人是谁",
        ("animal", "colour"): "是什么颜色",
        ("animal", "eats"): "吃什么",
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
        "Well, let me think about it for a moment, because so many people come and ask me things.",
        "By the way, the weather in Fernhill was fine last week and we all talked about it.",
        "I could tell you many more things about our town, but I do not know where to start.",
        "My uncle used to say that a long story is better than a short one, and so I go on.",
        "As I was saying to my neighbour the other evening, time goes by and things change.",
        "Some say this and some say that, and in the end we all sit down and talk again.",
    ),
    "zh": (
        "让我想一想，因为每天都有很多人来问我各种各样的事情。",
        "顺便说一下，上个星期天气很好，我们大家都在说这件事。",
        "镇上还有很多别的事情可以说，可是我真不知道从哪里说起。",
        "我叔叔常常说，长长的故事比短短的故事更好，所以我接着说。",
    ),
}
EVASIONS: Final[dict[str, tuple[str, ...]]] = {
    "en": ("I am not sure about that.", "That is hard to say."),
    "zh": ("这个我不太清楚。", "这个很难说。"),
}
WELCOMES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "en": (
        ("Hello! I am new in Fernhill.", "Welcome! What would you like to know?"),
        ("Good morning!", "Good morning! How can I help?"),
    ),
    "zh": (("你好！我刚到蕨山镇。", "欢迎！您想知道什么？"),),
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


def attributes_of(entity: Entity) -> tuple[str, ...]:
    return tuple(ATTRIBUTES[entity.sort])
