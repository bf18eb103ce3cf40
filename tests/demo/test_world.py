"""The closed world: its facts can be told apart, prompts are dealt without a leak, a seed gives the same bytes."""

import json
from itertools import combinations

import pytest

from demo.corpus import corpus
from demo.gold import _spoken
from demo.guidelines import guidelines
from demo.phrases import COURTESIES, EVASIONS, NOUNS, RAMBLES, RUDENESS, STATEMENTS
from demo.prompts import CATEGORY_SHARE, DIRECT, POOLS, all_prompts, find_prompt, prompt_pools
from demo.world import ATTRIBUTES, ENTITIES, LANGUAGES, LEXICON, words

TRAINING_POOLS = ("sft", "rm", "ppo", "corpus")


def test_no_words_mean_two_values():
    for language in LANGUAGES:
        said = [words(kind, key, language) for kind, keys in LEXICON.items() for key in keys]
        assert len(said) == len(set(said))
        for one, other in combinations(said, 2):
            short, long = sorted((one.lower(), other.lower()), key=len)
            if language == "zh":
                assert short not in long
            else:
                assert not set(short.split()) >= set(long.split())


def test_facts_are_of_the_kind_that_their_attribute_has():
    for entity in ENTITIES.values():
        for attribute, kind in ATTRIBUTES[entity.sort].items():
            assert entity.value(attribute) in LEXICON[kind]


def test_an_attribute_of_a_sort_has_a_kind_of_its_own():
    for attributes in ATTRIBUTES.values():
        assert len(set(attributes.values())) == len(attributes)


def test_every_fact_can_be_said_asked_and_named_in_its_languages():
    for language in LANGUAGES:
        assert set(STATEMENTS[language]) == set(DIRECT[language]) == set(NOUNS[language])


@pytest.mark.parametrize("language", LANGUAGES)
def test_courtesies_and_rambling_say_no_fact(language):
    values = [words(kind, key, language).lower() for kind, keys in LEXICON.items() for key in keys]
    for phrases in (COURTESIES, RUDENESS, RAMBLES, EVASIONS):
        for phrase in phrases[language]:
            said = phrase if language == "zh" else f" {' '.join(_spoken(phrase.lower(), language))} "
            assert not [value for value in values if (value if language == "zh" else f" {value} ") in said]


def test_each_pair_has_an_id_and_words_of_its_own():
    prompts = all_prompts()
    assert len({prompt.id for prompt in prompts}) == len({prompt.messages for prompt in prompts}) == len(prompts)
    for prompt in prompts[::97]:
        assert find_prompt(prompt.conversation()) == prompt
    assert find_prompt([{"role": "user", "content": "What is the capital of France?"}]) is None


@pytest.mark.parametrize("seed", [7, 8])
def test_pools_share_no_pair_and_held_out_prompts_are_fair(seed):
    pools = prompt_pools(seed)
    assert {pool: len(pools[pool]) for pool in POOLS} == POOLS
    groups = [prompt.group for prompts in pools.values() for prompt in prompts]
    assert len(groups) == len(set(groups)) == len(all_prompts())

    training = [prompt for pool in TRAINING_POOLS for prompt in pools[pool]]
    templates = {prompt.template for prompt in training}
    facts = {(prompt.entity, prompt.language, name) for prompt in training for name in prompt.attributes}
    for prompt in pools["eval"]:
        assert prompt.template in templates, "held out, yet in words that training never uses"
        assert all((prompt.entity, prompt.language, name) in facts for name in prompt.attributes)


def test_pools_mix_languages_and_all_categories():
    for pool in POOLS:
        prompts = prompt_pools(7)[pool]
        assert {prompt.category for prompt in prompts} == set(CATEGORY_SHARE)
        assert 0.05 < sum(prompt.language == "zh" for prompt in prompts) / len(prompts) < 0.3


def test_corpus_is_the_same_bytes_from_a_seed_and_never_asks_a_held_out_prompt():
    pools = prompt_pools(7)
    training = [prompt for pool in TRAINING_POOLS for prompt in pools[pool]]
    first, again, other = (list(corpus(training, documents=3000, seed=seed)) for seed in (7, 7, 8))
    assert json.dumps(first) == json.dumps(again) != json.dumps(other)
    held_out = {prompt.messages for prompt in pools["eval"]}
    for document in first:
        if "messages" in document:
            turns = [(turn["role"], turn["content"]) for turn in document["messages"]]
            assert not any(tuple(turns[:length]) in held_out for length in range(1, len(turns)))
        else:
            assert document["text"]


def test_guidelines_hold_every_fact_and_no_other_script():
    page = guidelines()
    for entity in ENTITIES.values():
        row = next(line for line in page.splitlines() if line.startswith(f"| {entity.named('en')} |"))
        for attribute, kind in ATTRIBUTES[entity.sort].items():
            assert f"| {words(kind, entity.value(attribute), 'en')} |" in row
    assert "面包店" in page
