"""What there is at each stage of the loop: the dashboard's numbers, in as many queries however much there is."""

from __future__ import annotations

from dataclasses import dataclass, field

from annotation.models import Demonstration, Project, Ranking, Response, ResponseOrigin, TaskKind
from annotation.selectors.queue import KindCounts, queue_counts
from training.models import Model, ModelKind, Run, Snapshot, SnapshotKind, Stage


@dataclass
class StageState:
    """How many there are, how many are waited for, and the newest run and model of the stage."""

    count: int = 0
    waiting: int = 0
    run: Run | None = None
    model: Model | None = None


@dataclass
class LoopState:
    corpora: StageState = field(default_factory=StageState)
    base: StageState = field(default_factory=StageState)
    demonstrations: StageState = field(default_factory=StageState)
    sft: StageState = field(default_factory=StageState)
    answers: StageState = field(default_factory=StageState)
    rankings: StageState = field(default_factory=StageState)
    reward: StageState = field(default_factory=StageState)
    ppo: StageState = field(default_factory=StageState)


PLACES = {
    Stage.PRETRAIN: "base",
    Stage.SFT: "sft",
    Stage.SAMPLE: "answers",
    Stage.REWARD: "reward",
    Stage.PPO: "ppo",
    Stage.DPO: "ppo",
    Stage.RLOO: "ppo",
}


def loop_state(project: Project) -> LoopState:
    state = LoopState()
    state.corpora.count = Snapshot.objects.filter(project=project, kind=SnapshotKind.CORPUS).count()
    queue = queue_counts(project)
    state.demonstrations.count = Demonstration.objects.filter(project=project, is_current=True).count()
    state.demonstrations.waiting = waiting(queue, TaskKind.DEMONSTRATION)
    state.rankings.count = Ranking.objects.filter(project=project, is_current=True).count()
    state.rankings.waiting = waiting(queue, TaskKind.RANKING)
    state.answers.count = Response.objects.filter(project=project, origin=ResponseOrigin.MODEL).count()
    for place, run in latest_runs(project).items():
        getattr(state, place).run = run
    count_models(project, state)
    return state


def waiting(queue: dict[str, KindCounts], kind: TaskKind) -> int:
    return queue[kind].open_slots


def latest_runs(project: Project) -> dict[str, Run]:
    """The newest run at each place of the loop."""
    newest: dict[str, Run] = {}
    for place in dict.fromkeys(PLACES.values()):
        stages = [stage for stage in PLACES if PLACES[stage] == place]
        run = Run.objects.filter(project=project, stage__in=stages).order_by("-created_at", "-id").first()
        if run:
            newest[place] = run
    return newest


def count_models(project: Project, state: LoopState) -> None:
    models = Model.objects.filter(project=project).select_related("run").order_by("created_at", "id")
    for model in models:
        place = place_of(model)
        if place:
            stage_state: StageState = getattr(state, place)
            stage_state.count += 1
            stage_state.model = model


def place_of(model: Model) -> str | None:
    """Where in the loop a model stands; a registered one is where one of its kind would be trained."""
    if model.run:
        return PLACES.get(Stage(model.run.stage))
    return "reward" if model.kind == ModelKind.REWARD_MODEL else "base"
