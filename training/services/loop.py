"""The dashboard's buttons: what can be done next, and doing it. A launch freezes what it needs and queues a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from annotation.models import Pool, Project, Prompt, Split
from annotation.selectors.rows import demonstrations_for, prompt_row, prompts_for, rankings_for
from annotation.services.audit import Actor
from training.errors import RunError
from training.inputs import STAGE_INPUTS
from training.models import LeakCheck, Model, Round, Run, Snapshot, SnapshotKind, Stage
from training.selectors import models as model_selectors
from training.services.builds import build_or_ask
from training.services.leaks import leaks_accept
from training.services.runs import Inputs, check_config, run_create
from training.services.snapshots import keep, whole_query, write_aside

FEWEST = {Stage.SFT: 8, Stage.REWARD: 8}  # labels, below which training is certain to disappoint
STEPS = (Stage.PRETRAIN, Stage.SFT, Stage.SAMPLE, Stage.REWARD, Stage.PPO, Stage.DPO, Stage.RLOO)


@dataclass(frozen=True)
class NextStep:
    """A step of the loop: whether it can be taken; if not, why, and where the remedy is (a page, or another stage)."""

    stage: str
    possible: bool
    reason: str = ""
    fix: str = ""


@dataclass(frozen=True)
class InputChoice:
    """What may go into a run under one name. `fresh`: left open, the launch freezes all that there is now."""

    name: str
    label: str | Promise
    kind: str
    """model or snapshot"""
    required: bool
    options: list[Model | Snapshot] = field(default_factory=list)
    default: Model | Snapshot | None = None
    fresh: bool = False


LABELS: dict[str, str | Promise] = {
    "train": gettext_lazy("Training data"),
    "validation": gettext_lazy("Validation data"),
    "policy": gettext_lazy("Policy to start from"),
    "reference": gettext_lazy("Reference policy (KL)"),
    "reward_model": gettext_lazy("Reward model"),
    "opponent": gettext_lazy("Policy to compare with"),
    "policy_2": gettext_lazy("Second policy that answers"),
    "policy_3": gettext_lazy("Third policy that answers"),
    "policy_4": gettext_lazy("Fourth policy that answers"),
    "demonstrations": gettext_lazy("Demonstrations to centre the reward at"),
    "pretraining": gettext_lazy("Pretraining text (PPO-ptx)"),
    "prompts": gettext_lazy("Prompts to answer"),
    "validation_text": gettext_lazy("Held-out text"),
    "rankings": gettext_lazy("Held-out rankings"),
}


# --- What can be done -----------------------------------------------------------------------------


def next_steps(project: Project) -> list[NextStep]:
    """Each step of the loop in order, with what is missing for it."""
    found: dict[Check, Missing] = {}
    return [next_step(project, stage, found) for stage in STEPS]


def next_step(project: Project, stage: str, found: dict[Check, Missing] | None = None) -> NextStep:
    """`found` keeps what checks say from one stage to the next: several stages wait for the same."""
    found = {} if found is None else found
    for check in CHECKS[stage]:
        if check not in found:
            found[check] = check(project)
        reason, fix = found[check]
        if reason:
            return NextStep(stage, possible=False, reason=reason, fix=fix)
    return NextStep(stage, possible=True)


Missing = tuple[str, str]
"""(what is missing, in words; the page that leads to the remedy); empty where nothing is."""
FINE: Missing = ("", "")
Check = Callable[[Project], Missing]


def has_corpus(project: Project) -> Missing:
    if Snapshot.objects.filter(project=project, kind=SnapshotKind.CORPUS).exists():
        return FINE
    return _("No corpus yet. Upload a text to pretrain on."), "corpus_new"


def has_base_model(project: Project) -> Missing:
    if model_selectors.policies(project).exists():
        return FINE
    return _("No base model yet. Pretrain one, or register a folder."), "models"


def has_demonstrations(project: Project) -> Missing:
    count, fewest = trainable(demonstrations_for(project, {}), "prompt__").count(), FEWEST[Stage.SFT]
    if count >= fewest:
        return FINE
    words = _("Too few demonstrations yet: %(count)s of at least %(fewest)s. Start labeling.")
    if not count:
        words = _("No demonstrations yet: %(count)s of at least %(fewest)s. Start labeling.")
    return words % {"count": count, "fewest": fewest}, "label"


def has_tuned_policy(project: Project) -> Missing:
    if model_selectors.tuned_policies(project).exists() or model_selectors.registered_policies(project).exists():
        return FINE
    return _("No policy yet. Train SFT first."), "sft"


def has_prompts_to_answer(project: Project) -> Missing:
    if prompts_for(project, {"pools": [Pool.RM]}).exists():
        return FINE
    return _("No prompts in the pool for rankings (RM). Add some."), "prompts"


def has_rankings(project: Project) -> Missing:
    count, fewest = trainable(rankings_for(project, {}), "prompt__").count(), FEWEST[Stage.REWARD]
    if count >= fewest:
        return FINE
    words = _("Too few rankings yet: %(count)s of at least %(fewest)s. Start labeling.")
    if not count:
        words = _("No rankings yet: %(count)s of at least %(fewest)s. Start labeling.")
    return words % {"count": count, "fewest": fewest}, "label"


def has_reward_model(project: Project) -> Missing:
    if model_selectors.reward_models(project).exists():
        return FINE
    return _("No reward model yet. Train one first."), "reward"


def has_ppo_prompts(project: Project) -> Missing:
    if prompts_for(project, {"pools": [Pool.PPO], "splits": [Split.TRAIN]}).exists():
        return FINE
    return _("No prompts in the PPO pool. Add some."), "prompts"


CHECKS: dict[str, tuple[Check, ...]] = {
    Stage.PRETRAIN: (has_corpus,),
    Stage.SFT: (has_base_model, has_demonstrations),
    Stage.SAMPLE: (has_tuned_policy, has_prompts_to_answer),
    Stage.REWARD: (has_base_model, has_rankings),
    Stage.PPO: (has_tuned_policy, has_reward_model, has_ppo_prompts),
    Stage.DPO: (has_tuned_policy, has_rankings),
    Stage.RLOO: (has_tuned_policy, has_reward_model, has_ppo_prompts),
}


def trainable(labels: QuerySet[Any], path: str) -> QuerySet[Any]:
    """Of these labels, those that reach a train file."""
    return labels.filter(~Q(**{f"{path}pool": Pool.EVAL}), **{f"{path}split": Split.TRAIN}).order_by()


# --- What may go in -------------------------------------------------------------------------------


def input_choices(project: Project, stage: str) -> list[InputChoice]:
    """The inputs of a stage in order, each with what there is and what a launch takes if it is left open."""
    return [input_choice(project, stage, name) for name in STAGE_INPUTS[stage] if name != "validation"]


def input_choice(project: Project, stage: str, name: str) -> InputChoice:
    wanted = STAGE_INPUTS[stage][name]
    options: list[Model | Snapshot]
    if wanted.is_model:
        options = list(Model.objects.filter(project=project, kind=wanted.kind))
    else:
        options = list(Snapshot.objects.filter(project=project, kind=wanted.kind))
    return InputChoice(
        name=name,
        label=LABELS[name],
        kind="model" if wanted.is_model else "snapshot",
        required=wanted.required,
        options=options,
        default=default_input(project, stage, name),
        fresh=(stage, name) in FRESH,
    )


def default_input(project: Project, stage: str, name: str) -> Model | Snapshot | None:
    """What a launch takes under this name if nobody chose; None where it freezes anew, or leaves it out."""
    if stage == Stage.PRETRAIN and name == "train":
        return Snapshot.objects.filter(project=project, kind=SnapshotKind.CORPUS).first()
    if name == "policy":
        return default_policy(project, stage)
    if name == "reference" and stage in model_selectors.FROM_PREFERENCES:
        policy = default_policy(project, stage)
        return model_selectors.reference_of(policy) if policy else None
    if name == "reward_model":
        return model_selectors.reward_models(project).first()
    return None


def default_policy(project: Project, stage: str) -> Model | None:
    """SFT starts from the newest base model, answers come from the newest policy, all else from the newest SFT."""
    if stage == Stage.SFT:
        return model_selectors.base_models(project).first() or model_selectors.policies(project).first()
    if stage == Stage.SAMPLE:
        return model_selectors.tuned_policies(project).first() or model_selectors.registered_policies(project).first()
    return model_selectors.sft_policies(project).first() or model_selectors.policies(project).first()


# --- Doing it -------------------------------------------------------------------------------------


def launch(
    *,
    project: Project,
    stage: str,
    by: Actor | None,
    config: Mapping[str, Any] | None = None,
    inputs: Inputs | None = None,
    name: str = "",
    seed: int = 0,
    prompts: int = 0,
    make_tasks: bool = True,
    priority: int = 0,
    numerics: Mapping[str, Any] | None = None,
    accept_leaks: str = "",
    cloned_from: Run | None = None,
) -> Run:
    """Queue a run of this stage; inputs that are not named take their default or are frozen now.

    `prompts` (sampling): answer at most so many, 0 for all. `make_tasks`: let people rank the answers. `accept_leaks`:
    the reason why leaks in what is frozen now may stay; without one, a leak refuses the launch until a person decided.
    Raises RunError or another refusal in words if something is missing.
    """
    settings = dict(config or {})
    if stage == Stage.SAMPLE:
        settings.setdefault("samples_per_prompt", project.responses_per_prompt)
    check_config(stage, settings)  # before anything is frozen
    chosen = dict(inputs or {})
    fill_models(project, stage, chosen)
    fill_snapshots(project, stage, chosen, settings, by, prompts)
    if accept_leaks:
        accept_found(chosen, accept_leaks, by)
    with transaction.atomic():
        return queue_run(
            project=project,
            stage=stage,
            config=settings,
            inputs=chosen,
            by=by,
            name=name,
            seed=seed,
            priority=priority,
            numerics=numerics,
            make_tasks=make_tasks,
            cloned_from=cloned_from,
        )


def fill_models(project: Project, stage: str, chosen: dict[str, Snapshot | Model]) -> None:
    for name, wanted in STAGE_INPUTS[stage].items():
        if wanted.is_model and wanted.required and name not in chosen:
            found = default_for(project, stage, name, chosen)
            if found is None:
                refuse_if_missing(project, stage)
                raise RunError(_("There is no model for the input %(name)s yet.") % {"name": LABELS[name]})
            chosen[name] = found


def default_for(project: Project, stage: str, name: str, chosen: Mapping[str, Any]) -> Model | None:
    """The default, given what was chosen: the reference follows the policy."""
    policy = chosen.get("policy")
    if name == "reference" and isinstance(policy, Model):
        return model_selectors.reference_of(policy)
    found = default_input(project, stage, name)
    return found if isinstance(found, Model) else None


def refuse_if_missing(project: Project, stage: str) -> None:
    if stage in CHECKS and not (step := next_step(project, stage)).possible:
        raise RunError(step.reason)


def fill_snapshots(
    project: Project,
    stage: str,
    chosen: dict[str, Snapshot | Model],
    settings: Mapping[str, Any],
    by: Actor | None,
    prompts: int,
) -> None:
    """Freeze what was left open. Whoever names the main input is not held to the fewest rows."""
    main = "prompts" if stage == Stage.SAMPLE else "train"
    if main in STAGE_INPUTS[stage] and main not in chosen:
        refuse_if_missing(project, stage)
    if stage == Stage.PRETRAIN and "train" not in chosen:
        chosen["train"] = newest_corpus(project)
    if stage == Stage.PPO and settings.get("ptx_coef") and "pretraining" not in chosen:
        chosen["pretraining"] = newest_corpus(project)
    if stage == Stage.SAMPLE and "prompts" not in chosen:
        policy = chosen["policy"]
        assert isinstance(policy, Model)
        chosen["prompts"] = freeze_prompts(project, policy, prompts, by)
    for name in STAGE_INPUTS[stage]:
        build = FRESH.get((stage, name))
        if build and name not in chosen and (snapshot := build(project, by)):
            chosen[name] = snapshot


def accept_found(chosen: Inputs, reason: str, by: Actor | None) -> None:
    for snapshot in chosen.values():
        if isinstance(snapshot, Snapshot) and LeakCheck.objects.filter(snapshot=snapshot, state="found").exists():
            leaks_accept(snapshot=snapshot, reason=reason, by=by)


def newest_corpus(project: Project) -> Snapshot:
    corpus = Snapshot.objects.filter(project=project, kind=SnapshotKind.CORPUS).first()
    if corpus is None:
        raise RunError(has_corpus(project)[0])
    return corpus


def freeze(project: Project, kind: str, query: Mapping[str, Any], by: Actor | None) -> Snapshot:
    """Freeze what matches now. Many rows are a worker's: then the launch is refused until they are frozen."""
    made = build_or_ask(project=project, kind=kind, query=query, by=by)
    if isinstance(made, Snapshot):
        return made
    raise RunError(
        _(
            "So many rows are to be frozen that a worker does it now; the page Snapshots says how far it is. When it "
            "is there, launch again and choose it."
        )
    )


def freeze_demonstrations(project: Project, by: Actor | None) -> Snapshot:
    return freeze(project, SnapshotKind.DEMONSTRATIONS, {}, by)


def freeze_demonstrations_if_any(project: Project, by: Actor | None) -> Snapshot | None:
    """To centre the reward at; a reward model can do without."""
    if not trainable(demonstrations_for(project, {}), "prompt__").exists():
        return None
    return freeze_demonstrations(project, by)


def freeze_rankings(project: Project, by: Actor | None) -> Snapshot:
    """The rankings of all rounds so far: a reward model trains on their union."""
    return freeze(project, SnapshotKind.RANKINGS, {}, by)


def freeze_ppo_prompts(project: Project, by: Actor | None) -> Snapshot:
    return freeze(project, SnapshotKind.PROMPTS, {"pools": [Pool.PPO]}, by)


def freeze_prompts(project: Project, policy: Model, most: int, by: Actor | None) -> Snapshot:
    """The next prompts of the RM pool that this policy has not answered, at most so many (0: all)."""
    asked = {"pools": [Pool.RM]}
    open_prompts: QuerySet[Prompt] = prompts_for(project, asked).exclude(responses__model=policy)
    rows = (prompt_row(prompt) for prompt in (open_prompts[:most] if most else open_prompts))
    query = whole_query(SnapshotKind.PROMPTS, asked) | {"not_answered_by": policy.artifact.sha256, "most": most}
    if not open_prompts.exists():
        raise RunError(
            _("%(model)s has answered every prompt of the RM pool. Add prompts, or sample from another policy.")
            % {"model": policy.name}
        )
    return keep(project, SnapshotKind.PROMPTS, write_aside(SnapshotKind.PROMPTS, query, rows), name="", by=by)


FRESH: dict[tuple[str, str], Callable[[Project, Actor | None], Snapshot | None] | None] = {
    (Stage.SFT, "train"): freeze_demonstrations,
    (Stage.REWARD, "train"): freeze_rankings,
    (Stage.REWARD, "demonstrations"): freeze_demonstrations_if_any,
    (Stage.PPO, "train"): freeze_ppo_prompts,
    (Stage.DPO, "train"): freeze_rankings,
    (Stage.RLOO, "train"): freeze_ppo_prompts,
    (Stage.SAMPLE, "prompts"): None,  # needs to know the policy
}


def queue_run(*, project: Project, stage: str, inputs: Inputs, make_tasks: bool, **values: Any) -> Run:
    """Create the run in its round. Answers that are to be ranked open a new one."""
    opens_round = stage == Stage.SAMPLE and make_tasks
    round = new_round(project, inputs["policy"]) if opens_round else round_of(project, stage, inputs)
    then = {"rank": {"k": values["config"]["samples_per_prompt"]}} if opens_round else {}
    run = run_create(project=project, stage=stage, inputs=inputs, round=round, then=then, **values)
    if opens_round and round:
        round.sampling_run = run
        round.save(update_fields=["sampling_run"])
    return run


def new_round(project: Project, policy: Snapshot | Model) -> Round:
    assert isinstance(policy, Model)
    Project.objects.select_for_update().get(pk=project.pk)
    last = Round.objects.filter(project=project).order_by("-number").first()
    return Round.objects.create(project=project, number=last.number + 1 if last else 1, policy=policy)


def round_of(project: Project, stage: str, inputs: Inputs) -> Round | None:
    """What learns from preferences belongs to the newest round; what has a reward model, to that of it."""
    if stage in {Stage.PPO, Stage.RLOO}:
        reward_model = inputs["reward_model"]
        if isinstance(reward_model, Model) and reward_model.run and reward_model.run.round:
            return reward_model.run.round
    if stage in {Stage.REWARD, *model_selectors.FROM_PREFERENCES}:
        return Round.objects.filter(project=project).order_by("-number").first()
    return None
