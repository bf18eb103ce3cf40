"""The town of the loop's journey: a text to learn from, prompts of every pool, and a second labeler's work."""

from __future__ import annotations

from annotation.models import Membership
from tests.factories import PromptFactory
from tests.frontend.scene import Scene
from tests.training.labels import demonstrations, rank_everything

WRITTEN_BY_HAND = "Name the river of the town."
PLACES = ("mill", "quay", "market", "chapel", "bridge", "school", "garden")
SEEDED_DEMONSTRATIONS = 10
PROMPTS_TO_RANK = 10
PROMPTS_OF_PPO = 8


def corpus_text() -> str:
    """Documents of the town, a blank line between them."""
    return "\n\n".join(
        f"The {PLACES[n % 7]} is near the {PLACES[(3 * n + 1) % 7]}.\nOpens at {n % 12 + 1} and shuts at {n % 7 + 5}."
        for n in range(160)
    )


def furnish(scene: Scene) -> None:
    """Add prompts to rank and for PPO, and demonstrations that bob wrote: enough of each for a tiny run."""
    demonstrations(scene.project, scene.member(scene.bob), SEEDED_DEMONSTRATIONS)
    for pool, count in (("rm", PROMPTS_TO_RANK), ("ppo", PROMPTS_OF_PPO)):
        PromptFactory.create_batch(count, project=scene.project, pool=pool)


def let_rank_the_rest(labeler: Membership) -> int:
    """What is left in the ranking queue is ranked by length, the shorter the better."""
    return rank_everything(labeler, lambda response: -len(response.text))
