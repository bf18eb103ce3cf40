"""Once round the loop with the real core, as small as can be: every launch's inputs are what the core reads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from annotation.models import Membership, Project, Response
from tests.factories import PromptFactory
from tests.training.conftest import TINY_PRETRAIN
from tests.training.labels import demonstrations, rank_everything
from tests.training.test_supervisor import carry_out
from training import files
from training.models import Model, Round, Run, Snapshot
from training.selectors.lineage import labels_behind
from training.services.loop import launch

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(600)]

SHORT = {"max_new_tokens": 4}
TRAIN = {"learning_rate": 1e-3, "max_steps": 2, "eval_every": 0}
CONFIGS: dict[str, dict[str, Any]] = {
    "pretrain": TINY_PRETRAIN | {"context_length": 128, "max_steps": 2, "sample_every": 0},
    "sft": TRAIN | SHORT | {"sample_every": 0},
    "sample": SHORT | {"samples_per_prompt": 3},
    "reward": TRAIN,
    "ppo": SHORT
    | {"total_updates": 1, "rollouts_per_update": 4, "minibatch_size": 2, "eval_every": 0, "ptx_coef": 0.1},
}


def carry_out_stage(project: Project, stage: str, by: Membership, **values: Any) -> Run:
    launch(project=project, stage=stage, by=by, config=CONFIGS[stage], **values)
    run = carry_out()
    assert (run.stage, run.state, run.message) == (stage, "succeeded", "")
    return run


def test_once_round_the_loop(project: Project, alice: Membership, ada: Membership, corpus: Snapshot) -> None:
    demonstrations(project, alice, 8)
    demonstrations(project, alice, 2, split="validation")
    for pool in ("rm", "ppo"):
        PromptFactory.create_batch(8, project=project, pool=pool)
        PromptFactory.create_batch(2, project=project, pool=pool, split="validation")
    carry_out_stage(project, "pretrain", ada)
    sft = carry_out_stage(project, "sft", ada)
    assert [report["split"] for report in sft.data_report] == ["train", "validation"]
    sampled = carry_out_stage(project, "sample", ada)
    assert sampled.result["responses"] == Response.objects.filter(run=sampled).count() == 30
    assert rank_everything(alice, lambda response: len(response.text)) == sampled.result["ranking_tasks"] > 0
    reward = carry_out_stage(project, "reward", ada)
    ppo = carry_out_stage(project, "ppo", ada)
    assert "objective/kl" in ppo.latest_metrics
    turn = Round.objects.get()
    assert (turn.policy, turn.sampling_run, turn.reward_model) == (sft.model, sampled, reward.model)
    assert {model.name for model in Model.objects.all()} == {"base-1", "sft-1", "reward-1", "ppo-1"}
    assert labels_behind(ppo.model).total > 10
    card = json.loads((files.path_of(ppo.model.artifact) / "plackett.json").read_text())
    assert card["inputs"]["reference"] == sft.model.artifact.sha256
    assert card["inputs"]["reward_model"] == reward.model.artifact.sha256
