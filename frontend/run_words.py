"""A run in sentences: what it does with what, by its settings; and how long it still takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from training.errors import config_words
from training.models import Run, RunState, Stage
from training.rlhf.config import POLICIES, ConfigError, config_from_dict

Words = Mapping[str, Any]


def describe(run: Run, inputs: Mapping[str, str]) -> list[str]:
    """The run's configuration in words. `inputs` maps the core's names of the inputs to the names people gave them."""
    try:
        config = config_from_dict(run.stage, run.config)
    except ConfigError as problem:  # written by another version of Plackett
        return [
            _("Its settings are not ones that this version knows: %(problem)s") % {"problem": config_words(problem)}
        ]
    unnamed = {name: _("(none)") for name in ("train", "prompts", "policy", "reward_model", "reference")}
    words = {**unnamed, **vars(config), **inputs}
    words = {name: readable(value) for name, value in words.items()}
    return [sentence for sentence in SENTENCES[run.stage](words) if sentence]


def readable(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:g}"
    return value


def passes(words: Words) -> str:
    if words["max_steps"]:
        return _("for at most %(max_steps)s steps") % words
    return _("in one pass") if words["epochs"] == "1" else _("in %(epochs)s passes") % words


def rate(words: Words) -> str:
    return _("The learning rate peaks at %(learning_rate)s and follows a %(schedule)s schedule.") % words


def pretrain(words: Words) -> list[str]:
    return [
        _(
            "A vocabulary of %(vocab_size)s tokens and a Llama of %(layers)s layers, %(hidden_size)s wide, are trained"
            " from nothing on %(train)s, in blocks of %(context_length)s tokens, %(batch_size)s a step, %(passes)s."
        )
        % {**words, "passes": passes(words)},
        rate(words),
    ]


def sft(words: Words) -> list[str]:
    return [
        _("%(policy)s is fine-tuned on the demonstrations of %(train)s, %(batch_size)s a step, %(passes)s.")
        % {**words, "passes": passes(words)},
        rate(words),
    ]


def reward(words: Words) -> list[str]:
    ties = {
        "drop": _("Ties teach nothing."),
        "half": _("Two tied answers each win half the time."),
        "margin": _("Tied answers are pulled closer than %(tie_margin)s (Rao-Kupper).") % words,
    }
    return [
        _(
            "A reward model starts from %(policy)s and learns from the rankings of %(train)s, %(batch_size)s a step,"
            " all pairs of a ranking together, %(passes)s."
        )
        % {**words, "passes": passes(words)},
        ties[words["ties"]],
        rate(words),
    ]


def ppo(words: Words) -> list[str]:
    return [
        _(
            "In each of %(total_updates)s updates %(policy)s answers %(rollouts_per_update)s prompts of %(train)s,"
            " %(reward_model)s scores the answers, and the policy takes steps on %(minibatch_size)s of them at a time."
        )
        % words,
        _("Every nat of distance from %(reference)s costs %(kl_coef)s of reward.") % words,
        _("It also learns from pretraining text, with weight %(ptx_coef)s.") % words
        if words["ptx_coef"] != "0"
        else "",
    ]


def dpo(words: Words) -> list[str]:
    return [
        _(
            "%(policy)s learns from the rankings of %(train)s without a reward model, %(batch_size)s a step, all pairs"
            " of a ranking together, %(passes)s."
        )
        % {**words, "passes": passes(words)},
        _("Beta is %(kl_coef)s: the smaller, the further it may go from %(reference)s.") % words,
        rate(words),
    ]


def rloo(words: Words) -> list[str]:
    return [
        _(
            "In each of %(total_updates)s updates %(policy)s answers %(prompts_per_update)s prompts of %(train)s"
            " %(samples_per_prompt)s times each, %(reward_model)s scores the answers, and each is measured against the"
            " others to its prompt."
        )
        % words,
        _("Every nat of distance from %(reference)s costs %(kl_coef)s of reward.") % words,
    ]


def sample(words: Words) -> list[str]:
    said = ngettext(
        "%(policy)s answers each prompt of %(prompts)s once, at temperature %(temperature)s, in at most"
        " %(max_new_tokens)s tokens.",
        "%(policy)s answers each prompt of %(prompts)s %(samples_per_prompt)s times, at temperature %(temperature)s, in"
        " at most %(max_new_tokens)s tokens.",
        words["samples_per_prompt"],
    )
    others = [words[name] for name in POLICIES[1:] if name in words]
    shared = _("The answers are shared between it and %(others)s.") % {"others": ", ".join(others)} if others else ""
    return [said % words, shared]


def evaluate(words: Words) -> list[str]:
    return [_("A finished model is measured on held-out rows.")]


SENTENCES: dict[str, Callable[[Words], list[str]]] = {
    Stage.PRETRAIN: pretrain,
    Stage.SFT: sft,
    Stage.REWARD: reward,
    Stage.PPO: ppo,
    Stage.DPO: dpo,
    Stage.RLOO: rloo,
    Stage.SAMPLE: sample,
    Stage.EVALUATE: evaluate,
}

STATES: dict[str, Callable[[], str]] = {
    RunState.PAUSED: lambda: _("It is paused; its checkpoint is kept."),
    RunState.PAUSING: lambda: _("It saves a checkpoint, then pauses."),
    RunState.CANCELLING: lambda: _("It is being stopped; this takes up to ten seconds."),
    RunState.CANCELLED: lambda: _("It was cancelled."),
}


def state_words(run: Run) -> str:
    """What the state means for the reader; empty where the page says it otherwise."""
    said = STATES.get(run.state)
    return said() if said else ""


def seconds_left(run: Run, attempt_started_at: datetime | None, resumed_from: int, now: datetime) -> float | None:
    """The time that the remaining steps take at this attempt's speed so far, or None while nobody can say."""
    done = run.step - resumed_from
    if run.state != RunState.RUNNING or attempt_started_at is None or done < 1 or not run.total_steps:
        return None
    elapsed = (now - attempt_started_at).total_seconds()
    return max(0.0, elapsed / done * (run.total_steps - run.step))


def duration_words(seconds: float) -> str:
    """A duration as people say it: seconds below two minutes, then minutes, then hours and minutes."""
    whole = max(0, round(seconds))
    if whole < 120:
        return ngettext("%(n)s second", "%(n)s seconds", whole) % {"n": whole}
    minutes = round(whole / 60)
    if minutes < 120:
        return ngettext("%(n)s minute", "%(n)s minutes", minutes) % {"n": minutes}
    return _("%(hours)s h %(minutes)s min") % {"hours": minutes // 60, "minutes": minutes % 60}
