"""The gold rule: what each part rewards, and the holes that a policy would look for."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.answers import PERFECT, Manner, compose
from demo.gold import NO_COURTESY, PARTS, WEIGHTS, WORTHLESS, score, score_messages
from demo.phrases import COURTESIES, RAMBLES, attributes_of, statement
from demo.prompts import all_prompts, find_prompt
from demo.world import ENTITIES, LEXICON, kind_of, words

BY_ID = {prompt.id: prompt for prompt in all_prompts()}
WHERE = BY_ID["en/ask0-street/shop/bakery/street"]
STREET_AND_HOUR = BY_ID["en/tell-street-opens/shop/bakery/street+opens"]
WHERE_ZH = BY_ID["zh/ask0-street/shop/bakery/street"]
ANY_TWO = BY_ID["en/two/shop/bakery/any"]
GOOD = "The bakery is on Mill Street. Glad to help!"


def test_weights_sum_to_one():
    assert sum(WEIGHTS.values()) == pytest.approx(1.0)
    assert tuple(WEIGHTS) == PARTS


def test_a_perfect_answer_to_every_prompt_scores_one():
    generator = random.Random(1)
    for prompt in all_prompts():
        answer = compose(prompt, PERFECT, generator)
        assert score(prompt, answer).total == pytest.approx(1.0), (prompt.id, answer)


@pytest.mark.parametrize(
    ("fault", "part"),
    [
        (Manner(right=0, complete=1, polite=1, rude=0, short=1), "right"),
        (Manner(right=1, complete=1, polite=0, rude=0, short=1), "polite"),
        (Manner(right=1, complete=1, polite=1, rude=1, short=1), "polite"),
        (Manner(right=1, complete=1, polite=1, rude=0, short=0), "short"),
        (Manner(right=1, complete=1, polite=1, rude=0, short=1, repeat=1), "short"),
        (Manner(right=1, complete=0, polite=1, rude=0, short=1), "complete"),
    ],
)
def test_each_fault_lowers_its_part_in_every_prompt(fault, part):
    generator = random.Random(2)
    for prompt in all_prompts()[::7]:
        if fault.complete == 0 and prompt.enough == 1:
            continue
        answer = compose(prompt, fault, generator)
        scored = score(prompt, answer)
        if fault.repeat and sum(answer.count(phrase) for phrase in COURTESIES[prompt.language]) > 1:
            continue
        assert getattr(scored, part) < 0.95, (prompt.id, answer, scored)
        assert scored.total < 0.96


@pytest.mark.parametrize(
    ("prompt", "answer", "parts"),
    [
        (WHERE, GOOD, {"right": 1, "complete": 1, "polite": 1, "short": 1}),
        (WHERE, "the bakery is on mill street.", {"right": 1, "complete": 1, "polite": NO_COURTESY, "short": 1}),
        (WHERE, "The bakery is on Oak Street.", {"right": 0, "complete": 0, "polite": NO_COURTESY, "short": 1}),
        (WHERE, "The bakery is on Mill Street. Who cares?", {"right": 1, "complete": 1, "polite": 0, "short": 1}),
        (STREET_AND_HOUR, GOOD, {"right": 1, "complete": 0.5, "polite": 1, "short": 1}),
        (WHERE_ZH, "面包店在磨坊街。不客气！", {"right": 1, "complete": 1, "polite": 1, "short": 1}),
        (ANY_TWO, "The bakery sells bread. Ben runs the bakery.", {"right": 1, "complete": 1, "short": 1}),
        (ANY_TWO, "The bakery sells bread.", {"right": 1, "complete": 0.5}),
    ],
)
def test_parts_by_hand(prompt, answer, parts):
    scored = score(prompt, answer).parts()
    assert {part: scored[part] for part in parts} == pytest.approx(parts)


EVERY_STREET = " ".join(f"The bakery is on {words('street', key, 'en')}." for key in LEXICON["street"])
BAKERY = ENTITIES["shop/bakery"]
EVERY_FACT = " ".join(statement(BAKERY, attribute, "en") for attribute in attributes_of(BAKERY, "en"))


@pytest.mark.parametrize(
    ("hole", "answer"),
    [
        ("empty", ""),
        ("blank", " \n "),
        ("courtesy alone", "Glad to help!"),
        ("courtesies alone", "Glad to help! Thank you for asking! Have a nice day!"),
        ("evasion", "I am not sure about that. Glad to help!"),
        ("question back", "Is the bakery on Mill Street? Glad to help!"),
        ("another language", "面包店在磨坊街。不客气！"),
        ("nothing of what was asked", "The bakery sells bread. Glad to help!"),
    ],
)
def test_telling_nothing_of_what_was_asked_is_worth_nothing(hole, answer):
    assert score(WHERE, answer) == WORTHLESS


@pytest.mark.parametrize(
    ("hole", "answer"),
    [
        ("courtesy three times", "The bakery is on Mill Street. Glad to help! Glad to help! Glad to help!"),
        ("every courtesy", f"The bakery is on Mill Street. {' '.join(COURTESIES['en'])}"),
        ("every street", f"{EVERY_STREET} Glad to help!"),
        ("two streets", "The bakery is on Mill Street or Oak Street. Glad to help!"),
        ("every fact", f"{EVERY_FACT} Glad to help!"),
        ("said twice", "The bakery is on Mill Street. The bakery is on Mill Street. Glad to help!"),
        ("the truth denied", "The bakery is not on Mill Street. Glad to help!"),
        ("a false one denied", "The bakery is not on Oak Street. Glad to help!"),
        ("another shop", "The hat shop is on Mill Street. Glad to help!"),
        ("cut off", "Glad to help! The bakery is on Mill Street and"),
        ("garbled", "The bakery glorp is zork on Mill Street. Glad to help!"),
        ("word salad", f"{GOOD} bakery the on on the street to to and the is bakery at the on the."),
        ("rambling", f"The bakery is on Mill Street. {RAMBLES['en'][0]} Glad to help!"),
        ("false fact beside", "The bakery is on Mill Street. The bakery sells tulips and boots. Glad to help!"),
    ],
)
def test_holes_lose_more_than_they_gain(hole, answer):
    assert score(WHERE, answer).total <= 0.87 < score(WHERE, GOOD).total


def test_more_courtesies_are_not_more_polite():
    one, two, three = (
        score(WHERE, f"The bakery is on Mill Street. {' '.join(COURTESIES['en'][:count])}").polite
        for count in (1, 2, 3)
    )
    assert one == 1.0 > two > three == 0.0


def test_a_false_answer_padded_with_other_truths_stays_false():
    padded = f"The bakery is on Oak Street. {statement(BAKERY, 'sells', 'en')} {statement(BAKERY, 'opens', 'en')}"
    assert score(WHERE, padded).right == 0.0


def test_saying_more_true_values_never_helps_beyond_what_was_asked():
    for prompt in all_prompts()[::41]:
        entity = ENTITIES[prompt.entity]
        everything = [statement(entity, name, prompt.language) for name in attributes_of(entity, prompt.language)]
        answer = " ".join([*everything, COURTESIES[prompt.language][0]])
        if len(everything) > 2 * prompt.enough:
            assert score(prompt, answer).total < 0.95


def test_scoring_by_messages_knows_the_worlds_prompts_only():
    assert score_messages(WHERE.conversation(), GOOD) == score(WHERE, GOOD)
    assert score_messages([{"role": "user", "content": "Where is Paris?"}], GOOD) is None


_PIECES = st.sampled_from(
    [
        *(words(kind, key, "en") for kind, keys in LEXICON.items() for key in keys),
        *COURTESIES["en"],
        "the bakery",
        ".",
        "!",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_PIECES, max_size=20), st.sampled_from(all_prompts()[::211]))
def test_any_text_gets_parts_between_zero_and_one(pieces, prompt):
    scored = score(prompt, " ".join(pieces))
    assert all(0.0 <= value <= 1.0 for value in scored.parts().values())
    if scored.total > 0.999:
        entity = ENTITIES[prompt.entity]
        true = [words(kind_of(entity, name), entity.value(name), prompt.language) for name in prompt.attributes]
        assert any(value in " ".join(pieces) for value in true)


def test_find_prompt_ignores_blanks_around_the_text():
    messages = [{"role": "user", "content": f" {WHERE.messages[-1][1]}\n"}]
    assert find_prompt(messages) == WHERE
