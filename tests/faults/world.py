"""The loop once round with tiny models, undisturbed: what every disturbed run is compared with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from annotation.models import Membership, Project
from annotation.roles import Role
from tests.factories import MembershipFactory, ProjectFactory, PromptFactory, UserFactory
from tests.faults.patience import patiently, state_of
from tests.faults.stack import Stack
from tests.training.labels import demonstrations, rank_everything
from training.models import ENDED, Run, RunState
from training.selectors.runs import metric_series, samples_of
from training.services.runs import Inputs, run_create
from training.services.snapshots import corpus_add, snapshot_build

STAGES = ("pretrain", "sft", "sample", "reward", "ppo")
CLOCK = ("tokens_per_second", "seconds")
RUN_SECONDS = 300.0  # until a run that is to end is given up; five installations may share two cores

TRAIN = {"learning_rate": 1e-3, "epochs": 1000, "eval_every": 50, "checkpoint_every_steps": 10, "batch_size": 4}
CONFIGS: dict[str, dict[str, Any]] = {
    "pretrain": TRAIN
    | {"vocab_size": 300, "hidden_size": 16, "layers": 1, "heads": 2, "context_length": 128}
    | {"max_steps": 200, "sample_every": 50},
    "sft": TRAIN | {"max_steps": 150, "sample_every": 50, "sample_count": 2, "max_new_tokens": 8},
    "sample": {"samples_per_prompt": 3, "max_new_tokens": 24, "batch_tokens": 40, "checkpoint_every_steps": 2},
    "reward": TRAIN | {"max_steps": 150},
    "ppo": {"total_updates": 30, "rollouts_per_update": 8, "minibatch_size": 4, "max_new_tokens": 12}
    | {"learning_rate": 1e-4, "eval_every": 20, "sample_every": 10, "sample_count": 2, "checkpoint_every_steps": 3},
}


class DidNotHold(Exception):
    """What was promised and did not happen, in words."""


def seconds_of(run: Run) -> float:
    """From its first claim to its end."""
    assert run.started_at and run.ended_at
    return (run.ended_at - run.started_at).total_seconds()


def seconds_to_start(run: Run) -> float:
    """From its first claim until its core said that it starts."""
    line = run.lines.filter(text__startswith="Started").order_by("pk").first()
    assert line and run.started_at
    return float((line.created_at - run.started_at).total_seconds())


@dataclass(frozen=True)
class Ended:
    """What a run came to, for comparing."""

    sha256: str
    points: dict[str, list[Any]]
    samples: list[tuple[Any, ...]]

    @classmethod
    def of(cls, run: Run) -> Ended:
        run = Run.objects.select_related("output").get(pk=run.pk)
        points = {name: v for name, v in metric_series(run, points=10**6).items() if not name.startswith(CLOCK)}
        samples = [
            (one.step, one.index, str(one.prompt), one.response, one.score, one.tokens, one.ended)
            for one in samples_of(run)
        ]
        return cls(run.output.sha256 if run.output else "", points, samples)


@dataclass
class World:
    """A project, and each stage's inputs with the run that nobody disturbed."""

    stack: Stack
    project: Project
    ada: Membership
    inputs: dict[str, Inputs] = field(default_factory=dict)
    untouched: dict[str, Ended] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each stage takes from claim to end."""
    starting: dict[str, float] = field(default_factory=dict)
    """How much of that it takes to its first step."""

    def seconds_left(self, run: Run) -> float:
        """About how long an attempt that begins now takes to the run's end: from here a moment in it is drawn."""
        starting = min(self.starting[run.stage], self.seconds[run.stage])
        done = run.step / run.total_steps if run.total_steps else 0.0
        return starting + (self.seconds[run.stage] - starting) * (1.0 - done)

    def launch(self, stage: str) -> Run:
        return patiently(
            lambda: run_create(
                project=self.project, stage=stage, config=CONFIGS[stage], inputs=self.inputs[stage], by=self.ada, seed=7
            )
        )

    def wait(self, run: Run, condition: Callable[[Run], Any], what: str, seconds: float = RUN_SECONDS) -> Run:
        """The run once the condition holds, dead processes started again meanwhile. Raises DidNotHold."""
        deadline = time.monotonic() + seconds
        while True:
            self.stack.keep_alive()
            found = state_of(run)
            if condition(found):
                return found
            if found.state in ENDED:
                raise DidNotHold(f"{found.name} is {found.state} instead of {what}: {found.message[:300]}")
            if time.monotonic() > deadline:
                raise DidNotHold(f"waited {seconds:.0f} s for {found.name} to be {what}; it is {found.state}")
            time.sleep(0.1)

    def until_ended(self, run: Run) -> Run:
        return self.wait(run, lambda found: found.state == RunState.SUCCEEDED, "succeeded")

    def until_running(self, run: Run, after_attempt: int = 0) -> Run:
        """Running as a later attempt, or ended already."""
        return self.wait(
            run,
            lambda found: found.state in ENDED or (found.state == RunState.RUNNING and found.attempt > after_attempt),
            "running",
        )

    def until_step(self, run: Run, step: int) -> Run:
        return self.wait(run, lambda found: found.state in ENDED or found.step >= step, f"at step {step}")

    def undisturbed(self, stage: str, inputs: Inputs) -> Run:
        """The run of this stage that is left alone."""
        self.inputs[stage] = inputs
        run = self.until_ended(self.launch(stage))
        self.seconds[stage], self.starting[stage] = seconds_of(run), seconds_to_start(run)
        self.untouched[stage] = Ended.of(run)
        if not self.untouched[stage].sha256:
            raise DidNotHold(f"the {stage} run left nothing behind")
        return run


def make_world(stack: Stack, stages: tuple[str, ...], say: Callable[[str], None]) -> World:
    """Make the project and carry out each stage once, as far as these stages need it."""
    project = ProjectFactory(name="Faults", slug="faults")
    ada = MembershipFactory(project=project, user=UserFactory(username="ada"), role=Role.ADMIN)
    alice = MembershipFactory(project=project, user=UserFactory(username="alice"), role=Role.LABELER)
    world = World(stack, project, ada)
    last = max(STAGES.index(stage) for stage in stages)
    for stage in STAGES[: last + 1]:
        run = world.undisturbed(stage, MAKERS[stage](world, alice))
        say(f"{stage}: {run.step} steps in {world.seconds[stage]:.1f} s, undisturbed")
    return world


def corpus_of(world: World, alice: Membership) -> Inputs:
    words = ("the red boat", "a small town", "our old friend", "the long road", "that green hill")
    texts = [f"{words[n % 5]} number {n} is near {words[(n * 3 + 1) % 5]}." for n in range(120)]
    return {"train": corpus_add(project=world.project, texts=texts, by=world.ada)}


def demonstrations_of(world: World, alice: Membership) -> Inputs:
    demonstrations(world.project, alice, 10)
    demonstrations(world.project, alice, 2, split="validation")
    snapshot = snapshot_build(project=world.project, kind="demonstrations", by=world.ada)
    return {"train": snapshot, "policy": made_by(world, "pretrain")}


def prompts_to_answer(world: World, alice: Membership) -> Inputs:
    PromptFactory.create_batch(24, project=world.project, pool="rm")
    PromptFactory.create_batch(4, project=world.project, pool="rm", split="validation")
    snapshot = snapshot_build(project=world.project, kind="prompts", query={"pools": ["rm"]}, by=world.ada)
    return {"prompts": snapshot, "policy": made_by(world, "sft")}


def rankings_of(world: World, alice: Membership) -> Inputs:
    from training.services.publishing import samples_to_tasks

    sampled = Run.objects.get(stage="sample")
    Run.objects.filter(pk=sampled.pk).update(then={"rank": {"k": 3}})
    sampled.refresh_from_db()
    samples_to_tasks(run=sampled)
    rank_everything(alice, lambda response: len(response.text))
    snapshot = snapshot_build(project=world.project, kind="rankings", by=world.ada)
    return {"train": snapshot, "policy": made_by(world, "sft")}


def prompts_to_train(world: World, alice: Membership) -> Inputs:
    PromptFactory.create_batch(12, project=world.project, pool="ppo")
    PromptFactory.create_batch(4, project=world.project, pool="ppo", split="validation")
    snapshot = snapshot_build(project=world.project, kind="prompts", query={"pools": ["ppo"]}, by=world.ada)
    policy = made_by(world, "sft")
    return {"train": snapshot, "policy": policy, "reference": policy, "reward_model": made_by(world, "reward")}


def made_by(world: World, stage: str) -> Any:
    return Run.objects.get(project=world.project, stage=stage).model


MAKERS: dict[str, Callable[[World, Membership], Inputs]] = {
    "pretrain": corpus_of,
    "sft": demonstrations_of,
    "sample": prompts_to_answer,
    "reward": rankings_of,
    "ppo": prompts_to_train,
}


def check(world: World, run: Run, *, attempts: int | None = None, lost: int | None = None) -> None:
    """The run ended as if nobody had touched it, and left nothing behind. Raises DidNotHold."""
    patiently(lambda: compare(world, run))
    after = state_of(run)
    outcomes = list(patiently(lambda: list(after.attempts.values_list("outcome", flat=True))))
    hold(outcomes.count("finished") == 1, f"the attempts ended as {outcomes}")
    hold(all(outcomes), f"an attempt never ended: {outcomes}")
    hold(len(outcomes) == after.attempt, f"{len(outcomes)} attempts are known, and the run counts {after.attempt}")
    hold(attempts is None or after.attempt == attempts, f"it took {after.attempt} attempts, not {attempts}")
    hold(lost is None or after.lost_count == lost, f"it was lost {after.lost_count} times, not {lost}")
    left = world.stack.cores(run.pk)
    hold(not left, f"a core is still running: {left}")


def compare(world: World, run: Run) -> None:
    found, wanted = Ended.of(run), world.untouched[run.stage]
    steps = found.points["step"]
    hold(steps == sorted(set(steps)), "a step's metrics are told twice")
    hold(steps == wanted.points["step"], f"metrics have a gap: {gap(wanted.points['step'], steps)}")
    hold(found.points == wanted.points, f"metrics differ in {differing(wanted.points, found.points)}")
    hold(found.samples == wanted.samples, f"{len(found.samples)} samples, and undisturbed {len(wanted.samples)}")
    hold(found.sha256 == wanted.sha256, "the result is not the same, bit for bit")


def hold(condition: bool, otherwise: str) -> None:
    if not condition:
        raise DidNotHold(otherwise)


def gap(wanted: list[int], found: list[int]) -> str:
    return f"steps {sorted(set(wanted) ^ set(found))[:10]}"


def differing(wanted: dict[str, list[Any]], found: dict[str, list[Any]]) -> str:
    return ", ".join(sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name)))
