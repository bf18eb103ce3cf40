"""The town of Fernhill: every fact that the demo's corpus, prompts, guidelines and gold rule speak about.

The facts are fixed, and never depend on a seed: a model of a million parameters can learn to recall them, where it
would not learn to copy a fact out of its prompt. Many are made to be remembered by people too (Ben runs the bakery,
Coco is a cat), so that a labeler sees at a glance which answer is right.
"""

from dataclasses import dataclass
from typing import Final

LANGUAGES: Final = ("en", "zh")
TOWN: Final = {"en": "Fernhill", "zh": "蕨山镇"}

STREETS: Final = {
    "mill": ("Mill Street", "磨坊街"),
    "oak": ("Oak Street", "橡树街"),
    "river": ("River Street", "河边街"),
    "garden": ("Garden Street", "花园街"),
}
PEOPLE: Final = {
    "ben": ("Ben", "贝恩"),
    "tom": ("Tom", "汤姆"),
    "flora": ("Flora", "弗洛"),
    "sam": ("Sam", "萨姆"),
    "henry": ("Henry", "亨利"),
}
HOURS: Final = {
    "6": ("6 o'clock", "六点"),
    "7": ("7 o'clock", "七点"),
    "8": ("8 o'clock", "八点"),
    "9": ("9 o'clock", "九点"),
}
PRICES: Final = {
    "2": ("2 coins", "两元"),
    "3": ("3 coins", "三元"),
    "4": ("4 coins", "四元"),
    "5": ("5 coins", "五元"),
}
DAYS: Final = {
    "monday": ("Monday", "周一"),
    "tuesday": ("Tuesday", "周二"),
    "thursday": ("Thursday", "周四"),
    "sunday": ("Sunday", "周日"),
}
GOODS: Final = {
    "bread": ("bread", "面包"),
    "tea": ("green tea", "绿茶"),
    "roses": ("roses", "玫瑰"),
    "boots": ("boots", "靴子"),
    "caps": ("caps", "草帽"),
}
COLOURS: Final = {
    "black": ("black", "黑色"),
    "white": ("white", "白色"),
    "brown": ("brown", "棕色"),
}
SPECIES: Final = {
    "cat": ("cat", "小猫"),
    "dog": ("dog", "小狗"),
    "horse": ("horse", "小马"),
    "pig": ("pig", "小猪"),
    "rabbit": ("rabbit", "兔子"),
}
PLACES: Final = {
    "lake": ("the lake", "湖边"),
    "castle": ("the castle", "城堡"),
    "beach": ("the beach", "海滩"),
    "zoo": ("the zoo", "动物园"),
}

LEXICON: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "street": STREETS,
    "person": PEOPLE,
    "hour": HOURS,
    "coins": PRICES,
    "day": DAYS,
    "goods": GOODS,
    "colour": COLOURS,
    "species": SPECIES,
    "place": PLACES,
}
"""Kind of value -> key -> its words in English and in Chinese. No words belong to two kinds (tested)."""

ATTRIBUTES: Final[dict[str, dict[str, str]]] = {
    "shop": {"street": "street", "owner": "person", "opens": "hour", "sells": "goods", "closed": "day"},
    "animal": {"species": "species", "owner": "person", "colour": "colour"},
    "bus": {"goes": "place", "leaves": "hour", "fare": "coins"},
}
"""Sort of entity -> attribute -> kind of its value. Within a sort every attribute has a kind of its own, so that a
value said about an entity can only mean one attribute."""


@dataclass(frozen=True, slots=True)
class Entity:
    """Something in Fernhill, with its facts as keys into LEXICON."""

    key: str
    sort: str
    name: tuple[str, str]
    facts: tuple[tuple[str, str], ...]

    def value(self, attribute: str) -> str:
        """Key of the true value."""
        return dict(self.facts)[attribute]

    def named(self, language: str) -> str:
        return self.name[LANGUAGES.index(language)]


def words(kind: str, key: str, language: str) -> str:
    """How a value is written: words("hour", "8", "en") == "8 o'clock"."""
    return LEXICON[kind][key][LANGUAGES.index(language)]


def kind_of(entity: Entity, attribute: str) -> str:
    return ATTRIBUTES[entity.sort][attribute]


def _entities(sort: str, rows: str) -> list[Entity]:
    """Read a table: key | English name | Chinese name | one value a attribute, in the order of ATTRIBUTES."""
    entities = []
    for row in rows.strip().splitlines():
        key, english, chinese, *values = (cell.strip() for cell in row.split("|"))
        facts = tuple(zip(ATTRIBUTES[sort], values, strict=True))
        entities.append(Entity(key=key, sort=sort, name=(english, chinese), facts=facts))
    return entities


SHOPS: Final = _entities(
    "shop",
    """
    bakery | the bakery      | 面包店 | mill   | ben   | 6 | bread | monday
    tea    | the tea house   | 茶馆   | river  | tom   | 8 | tea   | tuesday
    flower | the flower shop | 花店   | garden | flora | 7 | roses | sunday
    shoe   | the shoe shop   | 鞋店   | oak    | sam   | 9 | boots | thursday
    hat    | the hat shop    | 帽子店 | mill   | henry | 8 | caps  | sunday
    """,
)
ANIMALS: Final = _entities(
    "animal",
    """
    coco | Coco | 可可 | cat    | tom   | black
    dot  | Dot  | 豆豆 | dog    | ben   | brown
    hugo | Hugo | 虎哥 | horse  | henry | white
    pip  | Pip  | 皮皮 | pig    | sam   | brown
    rosa | Rosa | 罗莎 | rabbit | flora | white
    """,
)
BUSES: Final = _entities(
    "bus",
    """
    morning | the morning bus | 早班车 | lake   | 6 | 2
    school  | the school bus  | 校车   | zoo    | 8 | 3
    harbour | the harbour bus | 港口车 | beach  | 9 | 5
    village | the village bus | 乡村车 | castle | 7 | 4
    """,
)
ENTITIES: Final[dict[str, Entity]] = {f"{entity.sort}/{entity.key}": entity for entity in [*SHOPS, *ANIMALS, *BUSES]}
"""Address ("shop/bakery") -> entity."""


def address(entity: Entity) -> str:
    return f"{entity.sort}/{entity.key}"
