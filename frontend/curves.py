"""Which metrics belong in one picture, and what the pictures are called. Drawn by static/frontend/charts.js."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True)
class Picture:
    title: str | Promise
    names: tuple[str, ...]
    folded: bool = False
    """Shown under "More curves": of interest when something looks wrong."""


PICTURES = (
    Picture(_("Score and reward"), ("objective/score", "objective/reward", "validation/score")),
    Picture(_("KL to the reference (nats a response)"), ("objective/kl", "validation/kl")),
    Picture(_("Loss"), ("loss/train", "loss/validation")),
    Picture(_("Accuracy (pairs in the right order)"), ("accuracy/train", "accuracy/validation")),
    Picture(_("Kendall's tau"), ("kendall_tau/validation",)),
    Picture(_("Calibration error"), ("calibration_error/validation",)),
    Picture(_("Implicit rewards (DPO)"), ("rewards/chosen", "rewards/rejected", "rewards/margin")),
    Picture(_("Log-probability of the best answer (nats)"), ("logprobs/chosen",)),
    Picture(_("Perplexity"), ("perplexity/validation",)),
    Picture(_("Response length (tokens)"), ("response/length", "validation/length")),
    Picture(_("Responses that end by themselves"), ("response/eos_rate", "validation/eos_rate")),
    Picture(_("Losses of policy and value"), ("loss/policy", "loss/value", "loss/ptx")),
    Picture(_("Entropy (nats a token)"), ("objective/entropy",), folded=True),
    Picture(_("Clipped updates"), ("policy/clip_fraction", "policy/approx_kl"), folded=True),
    Picture(_("Largest probability ratio"), ("policy/ratio_max",), folded=True),
    Picture(_("Spread of rewards among a prompt's answers"), ("objective/reward_spread",), folded=True),
    Picture(_("Variance that the value model explains"), ("value/explained_variance",), folded=True),
    Picture(_("Learning rate"), ("lr",), folded=True),
    Picture(_("Gradient norm"), ("grad_norm",), folded=True),
    Picture(_("Tokens a second"), ("tokens_per_second",), folded=True),
)


def pictures_of(series: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The pictures that these series fill, each over the steps where it has a value; unknown metrics come last."""
    steps = series.get("step", [])
    known = {name for picture in PICTURES for name in picture.names}
    others = [Picture(name, (name,), folded=True) for name in sorted(series) if name not in known | {"step"}]
    drawn = []
    for picture in [*PICTURES, *others]:
        names = [name for name in picture.names if any(value is not None for value in series.get(name, []))]
        if names:
            drawn.append(_drawn(picture, names, series, steps))
    return drawn


def _drawn(
    picture: Picture, names: list[str], series: Mapping[str, Sequence[Any]], steps: Sequence[int]
) -> dict[str, Any]:
    rows = [row for row in range(len(steps)) if any(series[name][row] is not None for name in names)]
    return {
        "title": str(picture.title),
        "folded": picture.folded,
        "steps": [steps[row] for row in rows],
        "series": [{"name": name, "values": [series[name][row] for row in rows]} for name in names],
    }
