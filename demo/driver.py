"""The demo walks the loop by itself: each `advance` looks at the tables and takes the next step, if one is due.

The tables are the only memory, so it goes on from where it was after any stop, and a step that is done stays done. A
demo run that a visitor cancels, or that fails, stops the walk: from there on the loop is the visitor's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from django.conf import settings

from annotation.models import Pool, Project, Prompt
from demo.project import (
    add_corpus,
    add_prompts,
    corpus_of,
    driver,
    ensure_demo,
    find_demo,
    one_at_a_time,
    recipe,
)
from demo.recipe import NUMERICS
from demo.work import rank_answers, write_demonstrations
from training.models import ENDED, Model, Run, RunState, SnapshotKind, Stage
from training.services.loop import launch
from training.services.snapshots import snapshot_build

__all__ = ["Progress", "advance", "ensure_demo"]


@dataclass(frozen=True)
class Progress:
    WORKING: ClassVar[str] = "working"
    DONE: ClassVar[str] = "done"
    STOPPED: ClassVar[str] = "stopped"

    state: str
    message: str


class Stopped(Exception):
    """A demo run failed or was cancelled; the message says which."""


def advance() -> Progress:
    """Take the next step that is due, and say where the demo is."""
    project = find_demo()
    if project is None:
        return Progress(Progress.STOPPED, "there is no demo project")
    with one_at_a_time() as mine:
        if not mine:
            return Progress(Progress.WORKING, "")
        try:
            return take_step(project)
        except Stopped as stopped:
            return Progress(Progress.STOPPED, str(stopped))


def take_step(project: Project) -> Progress:
    """Go down the list to the first step that is not done."""
    if corpus_of(project) is None:
        add_corpus(project)
    pretrained = stage_run(project, "base", pretrain)
    # While the base model is trained, people write.
    if not Prompt.objects.filter(project=project, pool=Pool.EVAL).exists():
        add_prompts(project)
    write_demonstrations(project)
    if waiting := waits_for(pretrained):
        return waiting
    for name, start in {**LATER_RUNS, **(MEASURED if settings.DEMO_HEADLESS else FOR_VISITORS)}.items():
        if name == "reward":
            if settings.DEMO_HEADLESS:  # the GPU worker has nothing else to do while people rank
                for early in ("held-out answers, base", "held-out answers, sft"):
                    stage_run(project, early, MEASURED[early])
            rank_answers(project)
        if waiting := waits_for(stage_run(project, name, start)):
            return waiting
    return Progress(Progress.DONE, "the loop has gone round once")


def stage_run(project: Project, name: str, start: Callable[[Project, str], Run]) -> Run:
    """The demo's run of this name, started if there is none."""
    return find_run(project, name) or start(project, name)


def find_run(project: Project, name: str) -> Run | None:
    return Run.objects.filter(project=project, created_by=driver(), name=name).order_by("-created_at").first()


def waits_for(run: Run) -> Progress | None:
    """None for a run that succeeded. Raises Stopped for one that will not."""
    if run.state == RunState.SUCCEEDED:
        return None
    if run.state in ENDED:
        raise Stopped(f"the run {run.name} {run.get_state_display().lower()}: {run.message or 'cancelled by a person'}")
    steps = f", step {run.step} of {run.total_steps}" if run.total_steps else ""
    return Progress(Progress.WORKING, f"{run.name}: {run.get_state_display().lower()}{steps}")


# --- The runs, by name ------------------------------------------------------------------------------------------------


CLOSED_WORLD = "The demo's prompts are made of few templates: held-out ones ask about other facts in the same words."


def start_run(project: Project, name: str, stage: str, config: dict[str, Any], **options: Any) -> Run:
    """As the dashboard's button does it, with the recipe's settings."""
    return launch(
        project=project,
        stage=stage,
        config=config,
        by=driver(),
        name=name,
        seed=settings.DEMO_SEED,
        numerics=NUMERICS,
        accept_leaks=CLOSED_WORLD,
        **options,
    )


def pretrain(project: Project, name: str) -> Run:
    return start_run(project, name, Stage.PRETRAIN, recipe().pretrain)


def train_sft(project: Project, name: str) -> Run:
    return start_run(project, name, Stage.SFT, recipe().sft, inputs={"policy": model_of(project, "base")})


def answer_ranking_prompts(project: Project, name: str) -> Run:
    """K answers to each prompt, which become ranking tasks."""
    return start_run(project, name, Stage.SAMPLE, recipe().sample, inputs={"policy": model_of(project, "sft")})


def answer_again(project: Project, name: str) -> Run:
    """The second round begins: the new policy's answers to the same prompts, for people to rank."""
    return start_run(project, name, Stage.SAMPLE, recipe().sample, inputs={"policy": model_of(project, "ppo")})


def train_reward_model(project: Project, name: str) -> Run:
    return start_run(project, name, Stage.REWARD, recipe().reward, inputs={"policy": model_of(project, "sft")})


def run_ppo(project: Project, name: str) -> Run:
    models = {"policy": model_of(project, "sft"), "reward_model": model_of(project, "reward")}
    return start_run(project, name, Stage.PPO, recipe().ppo, inputs=models)


def answer_held_out(policy: str) -> Callable[[Project, str], Run]:
    """Answers to prompts that nothing was trained on, for the gold rule; they become no tasks."""

    def start(project: Project, name: str) -> Run:
        query = {"pools": [Pool.EVAL]}
        prompts = snapshot_build(project=project, kind=SnapshotKind.PROMPTS, query=query, by=driver(), name="held out")
        inputs = {"prompts": prompts, "policy": model_of(project, policy)}
        return start_run(project, name, Stage.SAMPLE, recipe().evaluate, inputs=inputs, make_tasks=False)

    return start


def model_of(project: Project, name: str) -> Model:
    return Model.objects.get(run__project=project, run__created_by=driver(), run__name=name)


LATER_RUNS: dict[str, Callable[[Project, str], Run]] = {
    "sft": train_sft,
    "answers": answer_ranking_prompts,
    "reward": train_reward_model,
    "ppo": run_ppo,
}
FOR_VISITORS: dict[str, Callable[[Project, str], Run]] = {"answers, second round": answer_again}
MEASURED: dict[str, Callable[[Project, str], Run]] = {
    "held-out answers, base": answer_held_out("base"),
    "held-out answers, sft": answer_held_out("sft"),
    "held-out answers, ppo": answer_held_out("ppo"),
}
