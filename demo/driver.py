"""The demo walks the loop by itself: each call of `advance` looks at the tables and takes the next step, if one is due.

The tables are the only memory, so it goes on from where it was after any stop, and a step that is done stays done. A demo
run that a visitor cancels, or that fails, stops the walk: from there on the loop is the visitor's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from django.conf import settings

from annotation.models import Pool, Project, Prompt, Ranking
from demo.project import (
    add_corpus,
    add_prompts,
    corpus_of,
    dealt_prompts,
    driver,
    ensure_demo,
    find_demo,
    one_at_a_time,
    recipe,
)
from demo.work import rank_answers, write_demonstrations
from training.models import ENDED, Model, Run, RunState, SnapshotKind, Stage
from training.services import loop
from training.services.runs import run_create
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
            return Progress(Progress.WORKING, "another process takes the next step")
        try:
            return take_step(project)
        except Stopped as stopped:
            return Progress(Progress.STOPPED, str(stopped))


def take_step(project: Project) -> Progress:
    """Go down the list to the first step that is not done."""
    if corpus_of(project) is None:
        add_corpus(project)
    pretrained = stage_run(project, "base", launch_pretrain)
    # While the base model is trained, people write.
    if not Prompt.objects.filter(project=project, pool=Pool.EVAL).exists():
        add_prompts(project)
    write_demonstrations(project)
    if waiting := waits_for(pretrained):
        return waiting
    for name, launch in LATER_RUNS.items():
        if name == "reward":
            rank_answers(project)
        if waiting := waits_for(stage_run(project, name, launch)):
            return waiting
    return Progress(Progress.DONE, "the loop has gone round once")


def stage_run(project: Project, name: str, launch: Callable[[Project, str], Run]) -> Run:
    """The demo's run of this name, launched if there is none."""
    return find_run(project, name) or launch(project, name)


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


def common(name: str) -> dict[str, Any]:
    return {"by": driver(), "name": name, "seed": settings.DEMO_SEED}


def launch_pretrain(project: Project, name: str) -> Run:
    return loop.launch_pretrain(project=project, config=recipe().pretrain, corpus=corpus_of(project), **common(name))


def launch_sft(project: Project, name: str) -> Run:
    return loop.launch_sft(project=project, config=recipe().sft, policy=model_of(project, "base"), **common(name))


def launch_answers(project: Project, name: str) -> Run:
    """K answers to each ranking prompt, which become ranking tasks."""
    return loop.launch_sample(project=project, config=recipe().sample, policy=model_of(project, "sft"), **common(name))


def launch_reward(project: Project, name: str) -> Run:
    return loop.launch_reward(project=project, config=recipe().reward, policy=model_of(project, "sft"), **common(name))


def launch_ppo(project: Project, name: str) -> Run:
    models = {"policy": model_of(project, "sft"), "reward_model": model_of(project, "reward")}
    return loop.launch_ppo(project=project, config=recipe().ppo, **models, **common(name))


def launch_held_out(policy: str) -> Callable[[Project, str], Run]:
    """Answers to prompts that nothing was trained on, for the gold rule; they become no tasks."""

    def launch(project: Project, name: str) -> Run:
        prompts = snapshot_build(
            project=project,
            kind=SnapshotKind.PROMPTS,
            query={"pools": [Pool.EVAL]},
            by=driver(),
            name="held-out prompts",
        )
        inputs = {"prompts": prompts, "policy": model_of(project, policy)}
        return run_create(project=project, stage=Stage.SAMPLE, config=recipe().evaluate, inputs=inputs, **common(name))

    return launch


def model_of(project: Project, name: str) -> Model:
    return Model.objects.get(run__project=project, run__created_by=driver(), run__name=name)


LATER_RUNS: dict[str, Callable[[Project, str], Run]] = {
    "sft": launch_sft,
    "answers": launch_answers,
    "reward": launch_reward,
    "ppo": launch_ppo,
    "held-out answers, base": launch_held_out("base"),
    "held-out answers, sft": launch_held_out("sft"),
    "held-out answers, ppo": launch_held_out("ppo"),
}
