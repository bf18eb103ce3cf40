"""The demo's targets are judged from its report as they are written down."""

from typing import Any

from benchmarks.demo_seeds import targets


def gold(mean: float, half: float = 0.02, **parts: float) -> dict[str, Any]:
    return {"mean": mean, "low": mean - half, "high": mean + half, "deviation": 0.2, "parts": parts}


def report(**changes: Any) -> dict[str, Any]:
    good = {
        "gold": {
            "base": gold(0.5, right=0.6, polite=0.3, short=0.4),
            "sft": gold(0.7, right=0.9, polite=0.5, short=0.6),
            "ppo": gold(0.8, right=0.8, polite=0.9, short=0.9),
        },
        "kl": 3.0,
        "distinct2": {"sft": 0.10, "ppo": 0.09},
        "reward_model": {"accuracy": 0.76, "gold_rule_accuracy": 0.8},
        "seconds": {"in all": 299.0},
    }
    return good | changes


def missed(found: dict[str, Any]) -> list[str]:
    return [name for name, met in targets(found).items() if not met]


def test_a_good_report_meets_every_target() -> None:
    assert missed(report()) == []


def test_each_shortfall_is_named() -> None:
    near = report()["gold"] | {"ppo": gold(0.73, right=0.9, polite=0.9, short=0.6)}
    assert missed(report(gold=near)) == [
        "SFT below PPO, intervals apart",
        "PPO gains 0.3 deviations",
        "in two parts or more",
    ]
    assert missed(report(kl=10.5)) == ["at 10 nats or less"]
    assert missed(report(distinct2={"sft": 0.1, "ppo": 0.079})) == ["distinct-2 at 80 % of SFT's"]
    weak = {"accuracy": 0.75, "gold_rule_accuracy": 0.8}  # 0.76 would do
    assert missed(report(reward_model=weak)) == ["reward model at 0.95 of the gold rule"]
    assert missed(report(seconds={"in all": 301.0})) == ["within five minutes"]
