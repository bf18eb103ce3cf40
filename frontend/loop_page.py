"""The loop as its page draws it: eight stages in a ring, each with what is there and what can be done next."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from annotation.models import Pool, Project, Prompt, Task, TaskKind
from annotation.roles import Capability
from frontend.access import ProjectAccess
from frontend.run_pages import headlines
from training.models import ENDED, Model, Run, RunState, Stage
from training.selectors.loop import StageState, loop_state
from training.selectors.workers import Queued, waits_of
from training.services.loop import NextStep, next_steps


@dataclass(frozen=True)
class Drawn:
    """How a stage is called, and the button that goes on from there."""

    key: str
    title: str | Promise
    about: str | Promise
    button: str | Promise = ""
    stage: str = ""


DRAWN = (
    Drawn("corpora", _("Corpus"), _("Text to learn a language from.")),
    Drawn("base", _("Base model"), _("Continues any text."), _("Pretrain"), Stage.PRETRAIN),
    Drawn("demonstrations", _("Demonstrations"), _("Answers that people wrote.")),
    Drawn("sft", _("SFT policy"), _("Answers as people showed it."), _("Train SFT"), Stage.SFT),
    Drawn("answers", _("Answers"), _("K answers to each prompt."), _("Sample answers"), Stage.SAMPLE),
    Drawn("rankings", _("Rankings"), _("Answers that people put in order.")),
    Drawn("reward", _("Reward model"), _("Scores as people rank."), _("Train RM"), Stage.REWARD),
    Drawn("ppo", _("PPO policy"), _("Answers what scores well."), _("Run PPO"), Stage.PPO),
)
STAGES_DRAWN = frozenset(drawn.key for drawn in DRAWN)
COUNTED = {
    "corpora": lambda n: ngettext("corpus", "corpora", n),
    "base": lambda n: ngettext("base model", "base models", n),
    "demonstrations": lambda n: ngettext("demonstration", "demonstrations", n),
    "sft": lambda n: ngettext("policy", "policies", n),
    "answers": lambda n: ngettext("answer", "answers", n),
    "rankings": lambda n: ngettext("ranking", "rankings", n),
    "reward": lambda n: ngettext("reward model", "reward models", n),
    "ppo": lambda n: ngettext("policy", "policies", n),
}
FIX_WORDS = {
    "corpus_new": _("Upload one"),
    "label": _("Label now"),
    "prompts": _("To the prompts"),
    "prompts_paste": _("Add prompts"),
    "models": _("To the models"),
    "sft": _("To SFT"),
    "reward": _("To the reward model"),
}


@dataclass
class Action:
    """A button of a stage; one that cannot be pressed says why, and where to go instead."""

    label: str | Promise
    url: str
    possible: bool = True
    reason: str = ""
    fix_url: str = ""
    fix_words: str | Promise = ""
    primary: bool = False
    posts: bool = False
    """Pressing it does something at once, rather than open a page."""


@dataclass
class StageCard:
    drawn: Drawn
    state: StageState
    counted: str
    actions: list[Action] = field(default_factory=list)
    baselines: list[Action] = field(default_factory=list)
    """Cheaper ways to the same end, to compare with."""
    headlines: list[tuple[str, str]] = field(default_factory=list)
    queued: Queued | None = None
    """Its run's place in the queue, and why it waits."""


def loop_context(access: ProjectAccess) -> dict[str, Any]:
    state = loop_state(access.project)
    steps = {step.stage: step for step in next_steps(access.project)}
    cards = [_card(access, drawn, getattr(state, drawn.key), steps) for drawn in DRAWN]
    _add_sample_again(access, cards[-1], steps)
    _mark_primary(cards)
    _add_baselines(access, cards[-1], steps)
    runs = [card.state.run for card in cards if card.state.run]
    waits = waits_of(runs)
    for card in cards:
        card.queued = waits.get(card.state.run.pk) if card.state.run else None
    moving = any(_is_moving(run) for run in runs)
    return {"cards": cards, "moving": moving, "etag": loop_etag({"cards": cards})}


def _card(access: ProjectAccess, drawn: Drawn, state: StageState, steps: dict[str, NextStep]) -> StageCard:
    card = StageCard(drawn, state, COUNTED[drawn.key](state.count))
    slug = access.project.slug
    if state.run and _is_moving(state.run):
        card.headlines = headlines(state.run.latest_metrics)[:3]
    if drawn.stage and drawn.stage in steps and access.can(Capability.LAUNCH):
        card.actions.append(_launch_action(slug, drawn.button, steps[drawn.stage]))
    if drawn.key == "corpora" and access.can(Capability.LAUNCH):
        card.actions.append(Action(_("Upload a corpus"), reverse("frontend:corpus_new", args=[slug])))
    unasked = prompts_to_hand_out(access.project).count() if drawn.key == "demonstrations" else 0
    if unasked and access.can(Capability.EDIT_PROMPTS):
        words = ngettext("Hand out %(n)s prompt", "Hand out %(n)s prompts", unasked) % {"n": unasked}
        card.actions.append(Action(words, reverse("frontend:hand_out", args=[slug]), posts=True))
    nothing_to_write = drawn.key == "demonstrations" and not (state.count or state.waiting or unasked)
    if nothing_to_write and access.can(Capability.EDIT_PROMPTS):
        card.actions.append(Action(_("Add prompts"), reverse("frontend:prompts_paste", args=[slug])))
    elif drawn.key in ("demonstrations", "rankings") and access.can(Capability.LABEL):
        label = _("Write demonstrations") if drawn.key == "demonstrations" else _("Rank answers")
        card.actions.append(Action(label, reverse("frontend:label", args=[slug])))
    return card


def prompts_to_hand_out(project: Project) -> QuerySet[Prompt]:
    """Prompts of the SFT pool that nobody was asked to answer yet."""
    asked = Task.objects.filter(prompt=OuterRef("pk"), kind=TaskKind.DEMONSTRATION)
    offered = Prompt.objects.filter(project=project, pool=Pool.SFT, withdrawn_at__isnull=True)
    return offered.filter(~Exists(asked)).order_by("id")


def _launch_action(slug: str, label: str | Promise, step: NextStep) -> Action:
    return Action(
        label,
        reverse("frontend:run_new", args=[slug, step.stage]),
        possible=step.possible,
        reason=str(step.reason),
        fix_url=_fix_url(slug, step.fix),
        fix_words=FIX_WORDS.get(step.fix, _("Go there")),
    )


def _fix_url(slug: str, fix: str) -> str:
    """Where the remedy is: a page, or another stage of this one."""
    if fix in STAGES_DRAWN:
        return f"#stage-{fix}"
    return reverse(f"frontend:{fix}", args=[slug]) if fix else ""


def _add_sample_again(access: ProjectAccess, card: StageCard, steps: dict[str, NextStep]) -> None:
    """The arrow that closes the ring: the PPO policy answers the next prompts."""
    policy: Model | None = card.state.model
    if policy is None or not access.can(Capability.LAUNCH) or Stage.SAMPLE not in steps:
        return
    action = _launch_action(access.project.slug, _("Sample again"), steps[Stage.SAMPLE])
    action.url += f"?policy={policy.id}"
    card.actions.append(action)


def _add_baselines(access: ProjectAccess, card: StageCard, steps: dict[str, NextStep]) -> None:
    """What else makes a policy from the same labels; whoever runs it sees what PPO was worth."""
    if access.can(Capability.LAUNCH):
        slug = access.project.slug
        card.baselines = [
            _launch_action(slug, label, steps[stage])
            for label, stage in ((_("Train DPO"), Stage.DPO), (_("Run RLOO"), Stage.RLOO))
        ]


def _mark_primary(cards: list[StageCard]) -> None:
    """The first step that is possible and was never taken stands out: where there is no base model, the corpus is."""
    begins = not any(card.state.count for card in cards if card.drawn.key == "base")
    for card in cards:
        is_step = card.drawn.stage or (card.drawn.key == "corpora" and begins)
        for action in card.actions:
            if action.possible and is_step and not card.state.count and not card.state.run:
                action.primary = True
                return


def _is_moving(run: Run) -> bool:
    return run.state not in ENDED and run.state != RunState.PAUSED


def loop_etag(context: dict[str, Any]) -> str:
    """A name for what the page shows; the same name, the same page."""
    parts = [
        [
            card.drawn.key,
            card.state.count,
            card.state.waiting,
            [*_run_parts(card.state.run), card.queued and card.queued.wait.words],
            str(card.state.model and card.state.model.pk),
            [
                (action.url, action.possible, action.reason, action.primary)
                for action in [*card.actions, *card.baselines]
            ],
        ]
        for card in context["cards"]
    ]
    return sha256(json.dumps(parts, default=str).encode()).hexdigest()[:24]


def _run_parts(run: Run | None) -> list[Any]:
    return [run.pk, run.state, run.step, run.total_steps, run.phase] if run else []
