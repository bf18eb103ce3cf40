"""What the demo's labelers read: how to judge an answer, and everything there is to know about Fernhill."""

from demo.phrases import CHINESE_SORTS, attributes_of
from demo.world import ANIMALS, BUSES, LANGUAGES, SHOPS, Entity, kind_of, words

ENGLISH = """\
# Answering for Fernhill

Visitors ask about a small town. You write answers for them, and you judge answers that models wrote. All that is true
about Fernhill stands in the tables below; nothing else is.

## A good answer is

1. **Right.** Every fact in it is true of the thing asked about. A false fact weighs most, more than anything else. So
   does naming two values where only one is true ("Mill Street or Oak Street"), and denying what is true.
2. **Complete.** It answers everything asked. Two things asked and one answered is half an answer. When a prompt asks
   for any two things, any two true ones will do.
3. **Polite.** It has a courtesy, such as "Glad to help!" or "Thank you for asking!". One is enough. An answer without
   one is plain; a rude word ("Who cares?") spoils it, whatever else it says.
4. **Short.** A sentence for each thing asked, and the courtesy. No story about an uncle, nothing said twice, nothing
   about other things, no text that stops in the middle.

An answer that tells nothing of what was asked ("That is hard to say") is the worst of all, however polite.

## Writing an answer

Say what was asked in one short sentence each, and add a courtesy:

> Where is the bakery? → *The bakery is on Mill Street. Glad to help!*

## Rating and ranking

- Rate each answer alone, from 1 (tells nothing, or false and rude) to 7 (right, complete, polite and short).
- Flags: *fails to follow the instruction* when something asked is missing; *hallucination* when a fact is false;
  *inappropriate for a customer assistant* when it is rude; *satisfies the constraint* when it is short.
- Then rank the answers of a prompt against each other. Right goes before complete, polite and short, which weigh alike.
- Answers that are as good as each other are tied. Ties are welcome: do not look for a difference where there is none.
- Skip a prompt that you cannot understand.
"""

CHINESE = """\
# 为蕨山镇回答问题

客人会问一个小镇的事。您为他们写回答，也评判模型写的回答。关于蕨山镇的全部事实都在下面的表里，别的都不算。

## 好的回答

1. **正确。** 每个事实都符合所问的事物。说错事实最严重；两个答案都说（“磨坊街或橡树街”）、否认事实，也算说错。
2. **完整。** 问了什么都要答到。问两件只答一件，只算一半。请说任意两件事时，任意两件真事都可以。
3. **礼貌。** 有一句客气话，例如“很高兴帮到您！”或“谢谢您的提问！”，一句就够。
   没有客气话只算平常；有粗鲁的话（“别烦我。”）就不礼貌。
4. **简短。** 每件所问的事一句话，再加一句客气话。不讲故事，不重复，不说别的事，不说到一半就停。

什么都没有回答（“这个很难说。”）是最差的，再礼貌也一样。

## 写回答

每件所问的事用一句短话，再加一句客气话：

> 面包店在哪里？ → *面包店在磨坊街。很高兴帮到您！*

## 打分和排序

- 先单独给每个回答打分：从 1（什么都没说，或又错又粗鲁）到 7（正确、完整、礼貌、简短）。
- 标记：漏答时选“没有按要求做”；事实有错时选“编造”；粗鲁时选“不适合客服”；够简短时选“满足限制”。
- 然后把同一个问题的回答排序。正确最重要，完整、礼貌、简短同样重要。
- 一样好的回答就并列，不必硬找差别。
- 看不懂的问题可以跳过。
"""

TITLES: dict[str, dict[str, str]] = {
    "en": {"shop": "Shops", "animal": "Animals", "bus": "Buses"},
    "zh": {"shop": "商店"},
}
COLUMNS: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "shop": ("shop", "street", "owner", "opens at", "sells", "closed on"),
        "animal": ("animal", "is a", "belongs to", "colour"),
        "bus": ("bus", "goes to", "leaves at", "ticket"),
    },
    "zh": {"shop": ("商店", "街道", "开门", "卖")},
}


def guidelines() -> str:
    """The whole page in markdown: English, then Chinese, each with its tables of facts."""
    pages = []
    for language, text in zip(LANGUAGES, (ENGLISH, CHINESE), strict=True):
        heading = {"en": "## All that is true about Fernhill", "zh": "## 蕨山镇的全部事实"}[language]
        pages.append(f"{text}\n{heading}\n\n{_tables(language)}")
    return "\n".join(pages)


def _tables(language: str) -> str:
    groups: tuple[list[Entity], ...] = (SHOPS, ANIMALS, BUSES)
    return "\n".join(_table(group, language) for group in groups if language == "en" or group[0].sort in CHINESE_SORTS)


def _table(entities: list[Entity], language: str) -> str:
    sort = entities[0].sort
    columns = COLUMNS[language][sort]
    lines = [f"### {TITLES[language][sort]}", "", _row(columns), _row(["---"] * len(columns))]
    for entity in entities:
        values = [
            words(kind_of(entity, attribute), entity.value(attribute), language)
            for attribute in attributes_of(entity, language)
        ]
        lines.append(_row([entity.named(language), *values]))
    return "\n".join([*lines, ""])


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
