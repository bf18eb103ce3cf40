"""Gold reward against the square root of the KL to the SFT model: PPO at several betas, and best-of-n beside it.

Gao, Schulman and Hilton (arXiv:2210.10760) found that the gold reward of an optimised policy follows
d (alpha - beta log d) for RL and d (alpha - beta d) for best-of-n, with d = sqrt(KL): it rises, and falls again when
the reward model is optimised beyond what it knows. Here the gold rule is known, so both can be looked at.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from demo.experiment import StageRunner, published
from demo.gold import score
from demo.measures import gold_summary
from demo.prompts import WorldPrompt, prompt_pools
from demo.recipe import Recipe
from training.rlhf.config import Numerics
from training.rlhf.data import pad_right
from training.rlhf.model import load_reward_model
from training.rlhf.tokens import encode_completion, load_tokenizer

SHOWN = 64  # held-out prompts answered at each point: as many as a run shows
SAMPLES = 16  # answers a prompt, of which the best of 1 to 16 are taken


@dataclass(frozen=True, kw_only=True)
class Point:
    """Where a policy is after some optimisation."""

    kl: float
    """Nats a response, to the SFT model."""

    gold: float
    """Mean gold score, 0 to 1, over held-out prompts."""

    half_width: float
    """Half of the 95 % interval of `gold`."""

    proxy: float
    """Mean score by the reward model, which is what was optimised."""

    at: int
    """PPO's update, or best-of-n's n."""

    @property
    def distance(self) -> float:
        return math.sqrt(max(self.kl, 0.0))


def ppo_curve(recipe: Recipe, folder: Path, seed: int, threads: int, beta: float, updates: int) -> list[Point]:
    """PPO with this KL coefficient from the models in `folder`; a point each second update."""
    runner = StageRunner(folder, seed, threads)
    config = {
        **recipe.ppo,
        "kl_coef": beta,
        "total_updates": updates,
        **{"eval_every": 2, "eval_rows": SHOWN, "sample_every": 2, "sample_count": SHOWN},
    }
    sft = published(folder / "sft")
    inputs = {
        "train": folder / "ppo.jsonl",
        "validation": folder / "eval.jsonl",
        "policy": sft,
        "reference": sft,
        "reward_model": published(folder / "reward"),
    }
    name = f"ppo_beta_{beta}"
    runner.run("ppo", config, inputs, name=name)
    return points_of(folder / name / "events.jsonl", held_out_prompts(recipe, seed))


def points_of(events: Path, prompts: Sequence[WorldPrompt]) -> list[Point]:
    """The points of a run's events: its samples, scored by the gold rule, and its KL at the same updates."""
    by_messages = {json.dumps(prompt.conversation(), sort_keys=True): prompt for prompt in prompts}
    shown: dict[int, list[tuple[WorldPrompt, str, float]]] = defaultdict(list)
    kl: dict[int, float] = {}
    for line in events.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if event["event"] == "sample":
            prompt = by_messages[json.dumps(event["prompt"], sort_keys=True)]
            shown[event["step"]].append((prompt, event["response"], event["score"]))
        elif event["event"] == "metrics" and "validation/kl" in event["metrics"]:
            kl[event["step"]] = event["metrics"]["validation/kl"]
    points = []
    for step in sorted(shown.keys() & kl.keys()):
        gold = gold_summary([(prompt, text) for prompt, text, _ in shown[step]])
        proxy = float(np.mean([value for _, _, value in shown[step]]))
        half = (gold["high"] - gold["low"]) / 2
        points.append(Point(kl=kl[step], gold=gold["mean"], half_width=half, proxy=proxy, at=step))
    return points


def best_of_n_curve(recipe: Recipe, folder: Path, seed: int, threads: int) -> list[Point]:
    """The best of n answers of the SFT model by the reward model, n = 1, 2, 4, 8, 16.

    The KL of best-of-n is at most log n - (n - 1) / n (Stiennon et al. 2020, arXiv:2009.01325, appendix G.3).
    """
    runner = StageRunner(folder, seed, threads)
    config = {**recipe.evaluate, "samples_per_prompt": SAMPLES}
    inputs = {"prompts": folder / "eval.jsonl", "policy": published(folder / "sft")}
    responses, _ = runner.run("sample", config, inputs, name="answers_best_of_n")
    golds, proxies = scored_answers(responses, published(folder / "reward"), held_out_prompts(recipe, seed))
    points = []
    for n in (1, 2, 4, 8, 16):
        gold, proxy = best_of_n(golds, proxies, n), best_of_n(proxies, proxies, n)
        half = 1.96 * float(gold.std(ddof=1)) / math.sqrt(len(gold))
        kl = math.log(n) - (n - 1) / n
        points.append(Point(kl=kl, gold=float(gold.mean()), half_width=half, proxy=float(proxy.mean()), at=n))
    return points


def best_of_n(values: np.ndarray, proxies: np.ndarray, n: int) -> np.ndarray:
    """Expected value (prompts,) of the answer with the highest proxy among n; both arguments (prompts, answers).

    Without bias from all the answers that there are: of N, the one with i below it is the best of n drawn without
    replacement with probability C(i, n - 1) / C(N, n).
    """
    count = values.shape[1]
    share = np.array([math.comb(below, n - 1) / math.comb(count, n) for below in range(count)])
    return np.take_along_axis(values, np.argsort(proxies, axis=1, kind="stable"), axis=1) @ share


def scored_answers(
    responses: Path, reward_model: Path, prompts: Sequence[WorldPrompt]
) -> tuple[np.ndarray, np.ndarray]:
    """Gold and reward model's scores, each (prompts, 16)."""
    by_id = {prompt.id: prompt for prompt in prompts}
    model = load_reward_model(reward_model, Numerics(device="cpu"))
    tokenizer = load_tokenizer(reward_model)
    golds: dict[str, list[float]] = defaultdict(list)
    proxies: dict[str, list[float]] = defaultdict(list)
    groups: dict[str, list[str]] = defaultdict(list)
    for line in responses.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        groups[row["prompt_id"]].append(row["text"])
    for prompt_id, texts in groups.items():
        prompt = by_id[prompt_id]
        encoded = [encode_completion(tokenizer, prompt.conversation(), text) for text in texts]
        ids, lengths = pad_right([start + end for start, end in encoded], tokenizer.pad_token_id)
        with torch.no_grad():
            proxies[prompt_id] = model.score(ids, lengths).tolist()
        golds[prompt_id] = [score(prompt, text).total for text in texts]
    return np.array(list(golds.values())), np.array(list(proxies.values()))


def held_out_prompts(recipe: Recipe, seed: int) -> list[WorldPrompt]:
    return prompt_pools(seed)["eval"][: recipe.prompts["eval"]]


def over_optimisation(points: Sequence[Point]) -> dict[str, Any]:
    """Whether gold reward fell after its peak, by more than the intervals of the two points allow for."""
    peak = max(points, key=lambda point: point.gold)
    last = points[-1]
    fall = peak.gold - last.gold
    noise = math.hypot(peak.half_width, last.half_width)
    return {
        "peak": {"at": peak.at, "distance": peak.distance, "gold": peak.gold},
        "last": {"at": last.at, "distance": last.distance, "gold": last.gold},
        "fall": fall,
        "beyond_noise": fall > noise,
    }


def fitted(points: Sequence[Point], kind: str) -> dict[str, float]:
    """Least squares of the gain in gold on d (alpha - beta log d) for "rl", d (alpha - beta d) for "best_of_n"."""
    start = points[0].gold
    rows = [(point.distance, point.gold - start) for point in points if point.distance > 0]
    d = np.array([distance for distance, _ in rows])
    gain = np.array([value for _, value in rows])
    bend = d * np.log(d) if kind == "rl" else d**2
    (alpha, minus_beta), *_ = np.linalg.lstsq(np.stack([d, bend], axis=1), gain, rcond=None)
    return {"alpha": float(alpha), "beta": -float(minus_beta)}


def curve_row(name: str, points: Sequence[Point], kind: str) -> dict[str, Any]:
    """One curve as a JSON line."""
    return {
        "bench": "frontier",
        "curve": name,
        "points": [{**asdict(point), "distance": point.distance} for point in points],
        "fit": fitted(points, kind),
        **over_optimisation(points),
    }
