"""LoRA: what is trained, what is published, and PPO's four models on one trunk."""

import json
import shutil

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from tests.training.rlhf import world
from tests.training.rlhf.test_resume import run_until
from tests.training.rlhf.tiny import FAMILIES, tiny_policy, tiny_reward_network
from training.rlhf import adapters
from training.rlhf.adapters import Factors, prepare_training, save_model, trunk_sha256
from training.rlhf.checkpoint import sha256_of
from training.rlhf.config import ConfigError, Numerics, config_from_dict
from training.rlhf.errors import ModelError
from training.rlhf.model import RewardModel, fit_to_tokenizer, load_policy, load_reward_model, selected_logits
from training.rlhf.optim import make_optimizer
from training.rlhf.rollouts import load_models
from training.rlhf.tokens import load_tokenizer
from training.rlhf.workspace import Workspace

CPU = Numerics(device="cpu", threads=1, dtype="float32")
IDS = torch.tensor([[5, 9, 7, 12, 1], [6, 6, 8, 20, 1]])
LORA = {"lora_rank": 3, "learning_rate": 1e-2}
SFT = {**LORA, "batch_size": 4, "max_steps": 4, "eval_every": 2, "sample_every": 0, "publish": "best"}
REWARD = {**LORA, "batch_size": 3, "max_steps": 4, "eval_every": 2}
PPO = {**LORA, "learning_rate": 1e-3, "value_learning_rate": 1e-3, "total_updates": 3, "rollouts_per_update": 8,
       "minibatch_size": 4, "ppo_epochs": 2, "max_new_tokens": 6, "warmup_updates": 1, "eval_every": 2,
       "sample_every": 0, "checkpoint_every_seconds": 0, "ema_decay": 0.9}  # fmt: skip


def settings(stage, **changes):
    return config_from_dict(stage, {**LORA, **changes})


def shake(model, seed=3):
    """Give every trained weight a value of its own, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.copy_(torch.empty(weight.shape).normal_(0, 0.2, generator=generator))


def adapted(family, stage="sft", **changes):
    model = tiny_policy(family) if stage != "reward" else RewardModel(tiny_reward_network(family))
    prepare_training(model, settings(stage, **changes), CPU, seed=5)
    return model


# One model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fresh_adapter_adds_nothing_and_alone_is_trained(family):
    plain, model = tiny_policy(family), adapted(family)
    assert torch.equal(model(IDS).logits, plain(IDS).logits)
    assert {name.split(".")[-3] for name, weight in model.named_parameters() if weight.requires_grad} == {
        "lora_A",
        "lora_B",
    }
    optimizer = make_optimizer(model, settings("sft"))
    before = trunk_sha256(model)
    for _ in range(2):
        model(IDS).logits.square().mean().backward()
        optimizer.step()
    assert not torch.equal(model(IDS).logits, plain(IDS).logits)
    assert trunk_sha256(model) == before == trunk_sha256(plain)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_policy_is_published_merged_and_beside_it_the_adapter_as_peft_reads_it(family, tmp_path):
    model, base = adapted(family), tiny_policy(family)
    shake(model)
    wanted = model(IDS).logits
    assert (wanted - base(IDS).logits).abs().max() > 0.1
    save_model(model, tmp_path)
    published = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(published(IDS).logits, wanted, atol=2e-5, rtol=1e-4)
    by_peft = PeftModel.from_pretrained(base, tmp_path / "adapter")
    torch.testing.assert_close(by_peft(IDS).logits, wanted, atol=2e-5, rtol=1e-4)
    told = json.loads((tmp_path / "adapter" / "base.json").read_text())
    assert told == {"trunk_sha256": trunk_sha256(tiny_policy(family))}
    torch.testing.assert_close(model(IDS).logits, wanted, atol=0, rtol=0)  # publishing changes nothing


@pytest.mark.parametrize("family", FAMILIES)
def test_a_reward_model_is_published_with_its_head(family, tmp_path):
    model, base = adapted(family, "reward"), tiny_reward_network(family)
    assert model.network.score.weight.requires_grad
    shake(model)
    wanted = model(IDS)
    save_model(model, tmp_path)
    published = RewardModel(AutoModelForSequenceClassification.from_pretrained(tmp_path))
    torch.testing.assert_close(published(IDS), wanted, atol=2e-5, rtol=1e-4)
    by_peft = PeftModel.from_pretrained(base, tmp_path / "adapter")
    logits = by_peft(IDS).logits.squeeze(1)
    torch.testing.assert_close(logits, wanted[:, -1] + model.shift, atol=2e-5, rtol=1e-4)


def test_the_layers_are_chosen_by_name_and_the_scale_is_alpha_over_rank():
    model = adapted("llama", lora_targets="q_proj, v_proj", lora_rank=2, lora_alpha=3)
    names = {name.rpartition(".")[2] for name, _ in adapters.adapter_layers(model)}
    assert names == {"q_proj", "v_proj"}
    shake(model)
    name, layer = next(adapters.adapter_layers(model))
    x = torch.randn(1, 16)
    down, up = layer.lora_A["trained"].weight, layer.lora_B["trained"].weight
    by_hand = x @ layer.base_layer.weight.T + 1.5 * (x @ down.T) @ up.T
    torch.testing.assert_close(layer(x), by_hand)
    factors = adapters.delta_of(model)[name]
    torch.testing.assert_close(factors.up @ factors.down, 1.5 * up @ down)


def test_a_layer_that_is_not_there_is_refused_in_words():
    with pytest.raises(ConfigError, match=r"lora_targets must be among this model's linear layers \(c_attn, c_fc"):
        adapted("gpt2", lora_targets="q_proj")


def test_settings_that_do_not_go_together_are_refused_in_words():
    with pytest.raises(ConfigError, match="lora_dropout must be 0 in PPO, where the probability ratio is 1"):
        settings("ppo", lora_dropout=0.1)
    with pytest.raises(ConfigError, match=r"quantise_base must be false without adapters \(lora_rank is 0\), got true"):
        config_from_dict("sft", {"quantise_base": True})
    with pytest.raises(ConfigError, match="quantise_base needs a GPU, and this run computes on the CPU"):
        adapted("llama", quantise_base=True)


def test_dropout_is_on_where_gradients_are_recorded_and_nowhere_else():
    model = adapted("llama", lora_dropout=0.5)
    shake(model)
    with torch.no_grad():
        assert torch.equal(model(IDS).logits, model(IDS).logits)
    assert not torch.equal(model(IDS).logits, model(IDS).logits)


def test_the_difference_of_two_adapters_is_an_adapter():
    torch.manual_seed(0)
    one = {"a": Factors(torch.randn(2, 4), torch.randn(3, 2))}
    other = {"a": Factors(torch.randn(3, 4), torch.randn(3, 3)), "b": Factors(torch.randn(1, 4), torch.randn(3, 1))}
    found = adapters.difference(one, other)
    dense = {name: adapters.weight_of(factors, torch.nn.Linear(4, 3)) for name, factors in found.items()}
    torch.testing.assert_close(dense["a"], one["a"].up @ one["a"].down - other["a"].up @ other["a"].down)
    torch.testing.assert_close(dense["b"], -other["b"].up @ other["b"].down)


# Gradient checkpointing


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rank", [0, 3])
def test_gradient_checkpointing_changes_memory_and_nothing_else(family, rank):
    found = []
    for switch in (False, True):
        model = adapted(family, lora_rank=rank, gradient_checkpointing=switch)
        weights = {weight.data_ptr() for weight in model.parameters()}
        held = {}

        def hold(tensor, held=held):
            held[tensor.data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
            loss = model(IDS).logits.square().mean()
        inside = sum(tensor.nbytes for place, tensor in held.items() if place not in weights)
        loss.backward()
        gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
        found.append((loss.detach(), gradients, inside))
    (loss, gradients, memory), (loss_again, gradients_again, less) = found
    torch.testing.assert_close(loss_again, loss)
    assert gradients.keys() == gradients_again.keys() and gradients
    for name in gradients:
        torch.testing.assert_close(gradients_again[name], gradients[name], msg=name)
    assert less < memory / 2


def test_generation_under_gradient_checkpointing_keeps_its_cache():
    model = adapted("llama", gradient_checkpointing=True)
    with torch.no_grad():
        out = model(IDS, use_cache=True)
    assert out.past_key_values.get_seq_length() == IDS.shape[1]


# Runs


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A base model; from it, by LoRA, an SFT model and, on that, a reward model; their inputs."""
    folder = tmp_path_factory.mktemp("lora")
    base = world.make_base(folder / "base")
    demonstrations = world.write(folder / "demonstrations.jsonl", world.demonstrations(14))
    rankings = world.write(folder / "rankings.jsonl", world.rankings(11))
    inputs = {
        "sft": {"train": demonstrations, "validation": demonstrations, "policy": base},
        "reward": {
            "train": rankings,
            "validation": rankings,
            "demonstrations": demonstrations,
            "policy": folder / "sft" / "model",
        },
        "ppo": {
            "train": demonstrations,
            "validation": demonstrations,
            "policy": folder / "sft" / "model",
            "reference": folder / "sft" / "model",
            "reward_model": folder / "reward" / "model",
        },
    }
    for stage, config in {"sft": SFT, "reward": REWARD, "ppo": PPO}.items():
        assert world.run_here(run_of(stage, inputs[stage], folder / stage, config)) == 0
    return folder, inputs


def run_of(stage, inputs, output, config, dtype="float32"):
    run = world.run_json(stage, inputs, output, config)
    run["numerics"]["dtype"] = dtype
    return run


def opened(folder):
    """A policy as a stage sees it."""
    model = load_policy(folder, CPU)
    fit_to_tokenizer(model, load_tokenizer(folder))
    return model


def test_sft_reward_and_ppo_train_adapters_and_leave_their_trunk_as_it_was(made):
    folder, inputs = made
    for stage in ("sft", "reward", "ppo"):
        adapter = folder / stage / "model" / "adapter"
        base = json.loads((adapter / "base.json").read_text())["trunk_sha256"]
        assert base == trunk_sha256(opened(inputs[stage]["policy"]))
        assert max(float(w.abs().max()) for n, w in load_file(adapter / "adapter_model.safetensors").items()
                   if "lora_B" in n) > 0  # fmt: skip
    assert (folder / "sft" / "model" / "plackett.json").exists()
    assert [event["message"] for event in world.events(folder / "ppo", "note")] == [
        "One trunk in memory, with adapters for reference and policy and reward model and value model."
    ]


def test_the_first_ratio_is_1_and_the_first_kl_0(made):
    folder, _ = made
    metrics = dict(world.steps(folder / "ppo"))
    assert metrics[0]["validation/kl"] == pytest.approx(0, abs=1e-5)
    assert metrics[1]["objective/kl"] == pytest.approx(0, abs=1e-5)
    assert abs(metrics[3]["objective/kl"]) > 1e-6


@pytest.mark.parametrize(("stage", "stop_at"), [("sft", 1), ("sft", 3), ("reward", 2), ("ppo", 1), ("ppo", 2)])
def test_stopped_and_resumed_with_an_adapter_it_ends_in_the_same_bytes(stage, stop_at, made, tmp_path, monkeypatch):
    folder, inputs = made
    config = {"sft": SFT, "reward": REWARD, "ppo": PPO}[stage]
    run = run_of(stage, inputs[stage], tmp_path / "first", config)
    assert run_until(run, stop_at, monkeypatch) == 75
    checkpoint = world.events(tmp_path / "first", "checkpoint")[-1]  # the best so far may be there too
    state = load_file(tmp_path / "first" / checkpoint["path"] / "state.safetensors")
    base = load_file(folder / "base" / "model.safetensors")
    shapes = {tensor.shape for tensor in base.values() if tensor.dim() == 2}
    assert not shapes & {tensor.shape for tensor in state.values()}, "a checkpoint holds only what is trained"

    given = {"path": str(tmp_path / "first" / checkpoint["path"]), "sha256": checkpoint["sha256"]}
    assert world.run_here({**run, "output": str(tmp_path / "second"), "resume": given}) == 0
    assert sha256_of(tmp_path / "second" / "model") == sha256_of(folder / stage / "model")
    told = [*world.steps(tmp_path / "first"), *world.steps(tmp_path / "second")]
    assert told == list(world.steps(folder / stage))


def test_dropout_in_adapters_resumes_to_the_same_bytes_too(made, tmp_path, monkeypatch):
    _, inputs = made
    run = run_of("sft", inputs["sft"], tmp_path / "whole", {**SFT, "lora_dropout": 0.2})
    assert world.run_here(run) == 0
    assert run_until({**run, "output": str(tmp_path / "first")}, 2, monkeypatch) == 75
    checkpoint = world.events(tmp_path / "first", "checkpoint")[-1]  # the best so far may be there too
    given = {"path": str(tmp_path / "first" / checkpoint["path"]), "sha256": ""}
    assert world.run_here({**run, "output": str(tmp_path / "second"), "resume": given}) == 0
    assert world.weights(tmp_path / "second") == world.weights(tmp_path / "whole")


# PPO's models


def loaded(inputs, output, **changes):
    return load_models(Workspace.open(run_of("ppo", inputs, output, {**PPO, **changes})))


def members(models):
    return {
        "policy": models.policy,
        "reference": models.reference,
        "reward_model": models.reward_model.network,
        "value": models.value.network,
    }


def storages(network):
    """Where the numbers of its trunk lie, adapters left out."""
    return {weight.data_ptr() for name, weight in network.base_model.named_parameters() if "lora_" not in name}


@pytest.mark.parametrize("policy", ["sft", "ppo"])
def test_four_roles_stand_on_one_trunk_and_each_says_what_its_own_folder_says(policy, made, tmp_path):
    """Also in a second round, where the policy is an adapter further than the reference."""
    folder, inputs = made
    given = {**inputs["ppo"], "policy": folder / policy / "model"}
    models = loaded(given, tmp_path)
    base = opened(inputs["ppo"]["reference"])
    trunks = [storages(network) for network in members(models).values()]
    assert all(trunk == trunks[0] for trunk in trunks)
    assert len(trunks[0]) == sum(1 for _ in base.base_model.parameters())
    every = {weight.data_ptr(): weight.numel() for net in members(models).values() for weight in net.parameters()}
    adapters_and_heads = sum(
        weight.numel() for network in members(models).values() for name, weight in network.named_parameters()
        if "lora_" in name or name.startswith("score.")
    )  # fmt: skip
    assert sum(every.values()) == sum(weight.numel() for weight in base.parameters()) + adapters_and_heads

    ids = torch.tensor([[72, 101, 108, 108, 111, 256]])
    for role in ("policy", "reference"):
        wanted = opened(given[role])(ids).logits
        torch.testing.assert_close(getattr(models, role)(ids).logits, wanted, atol=1e-5, rtol=1e-4)
    alone = load_reward_model(given["reward_model"], CPU)
    assert alone.shift == models.reward_model.shift == models.value.shift != 0
    for role in (models.reward_model, models.value):
        torch.testing.assert_close(role(ids), alone(ids), atol=1e-5, rtol=1e-4)


def test_gradients_reach_the_adapter_of_their_own_role_and_no_other(made, tmp_path):
    _, inputs = made
    models = loaded(inputs["ppo"], tmp_path)
    ids = torch.tensor([[72, 101, 108, 108, 111, 256]])

    def reached():
        return {
            role: {name.split(".")[-3] if "lora_" in name else name for name, weight in network.named_parameters()
                   if weight.grad is not None}
            for role, network in members(models).items()
        }  # fmt: skip

    selected_logits(models.policy, ids, torch.ones_like(ids, dtype=torch.bool)).logsumexp(-1).sum().backward()
    assert reached() == {"policy": {"lora_A", "lora_B"}, "reference": set(), "reward_model": set(), "value": set()}
    models.policy.zero_grad()
    models.value(ids).sum().backward()
    lora = {"lora_A", "lora_B"}
    assert reached() == {"policy": set(), "reference": set(), "reward_model": set(), "value": lora | {"score.weight"}}


def test_training_leaves_reference_and_reward_model_bit_for_bit(made, tmp_path):
    _, inputs = made
    models = loaded(inputs["ppo"], tmp_path)
    ids = torch.tensor([[72, 101, 108, 108, 111, 256]])
    frozen = {"reference": models.reference, "reward_model": models.reward_model.network}
    before = {role: {name: weight.clone() for name, weight in net.state_dict().items()} for role, net in frozen.items()}
    outputs = models.reference(ids).logits.detach(), models.reward_model(ids).detach()
    config = settings("ppo")
    for model, loss in ((models.policy, lambda: models.policy(ids).logits), (models.value, lambda: models.value(ids))):
        optimizer = make_optimizer(model, config)
        for _ in range(2):
            optimizer.zero_grad()
            loss().square().mean().backward()
            optimizer.step()
    for role, network in frozen.items():
        assert all(torch.equal(weight, before[role][name]) for name, weight in network.state_dict().items())
    assert torch.equal(models.reference(ids).logits, outputs[0])
    assert torch.equal(models.reward_model(ids), outputs[1])
    assert not torch.equal(models.policy(ids).logits, outputs[0])
    assert not torch.equal(models.value(ids), outputs[1])


def test_models_trained_by_adapters_on_a_third_one_share_a_trunk_all_the_same(made, tmp_path):
    """The SFT model and the reward model are both the base plus an adapter; the base itself is not there."""
    _, inputs = made
    sibling = {**inputs["reward"], "policy": inputs["sft"]["policy"]}
    assert world.run_here(run_of("reward", sibling, tmp_path / "reward", REWARD)) == 0
    given = {**inputs["ppo"], "reward_model": tmp_path / "reward" / "model"}
    models = loaded(given, tmp_path / "out")
    assert storages(models.value.network) == storages(models.reference)
    ids = torch.tensor([[72, 101, 108, 108, 111, 256]])
    alone = load_reward_model(given["reward_model"], CPU)
    torch.testing.assert_close(models.reward_model(ids), alone(ids), atol=1e-5, rtol=1e-4)


def test_a_reward_model_of_another_trunk_gets_one_of_its_own_and_the_log_says_so(made, tmp_path):
    _, inputs = made
    config = {**REWARD, "lora_rank": 0, "learning_rate": 1e-3}
    assert world.run_here(run_of("reward", inputs["reward"], tmp_path / "reward", config)) == 0
    models = loaded({**inputs["ppo"], "reward_model": tmp_path / "reward" / "model"}, tmp_path / "out")
    assert storages(models.policy) == storages(models.reference)
    assert storages(models.value.network) == storages(models.reward_model.network)
    assert not storages(models.policy) & storages(models.value.network)
    assert [event["message"] for event in world.events(tmp_path / "out", "note")] == [
        "2 trunks in memory, as these models were not trained by adapters on one: reference and policy; reward model."
    ]


def test_an_adapter_that_is_not_of_the_weights_beside_it_is_refused(made, tmp_path):
    """Somebody trained the merged weights further and left the folder there."""
    _, inputs = made
    shutil.copytree(inputs["ppo"]["reward_model"], tmp_path / "moved")
    network = AutoModelForSequenceClassification.from_pretrained(tmp_path / "moved")
    with torch.no_grad():
        network.model.layers[0].mlp.up_proj.weight.mul_(1.1)
    network.save_pretrained(tmp_path / "moved")
    with pytest.raises(ModelError, match=r"does not belong to its weights \(layers\.0\.mlp\.up_proj\.weight\)"):
        loaded({**inputs["ppo"], "reward_model": tmp_path / "moved"}, tmp_path / "out")


# 4 bits


def test_a_quantised_base_is_published_as_it_was_trained_and_quantised_again_to_nearly_the_same(tmp_path, monkeypatch):
    """On bitsandbytes' CPU backend, which a run refuses because it is slow; the numbers are the same kind."""
    pytest.importorskip("bitsandbytes")
    monkeypatch.setattr(adapters, "check_quantisable", lambda numerics: None)
    base = world.make_base(tmp_path / "base")
    files = {
        "demonstrations": world.write(tmp_path / "demonstrations.jsonl", world.demonstrations(14)),
        "rankings": world.write(tmp_path / "rankings.jsonl", world.rankings(11)),
    }
    sft, reward = ({"train": files[name]} for name in ("demonstrations", "rankings"))
    small = {"quantise_base": True}
    assert world.run_here(run_of("sft", {**sft, "policy": base}, tmp_path / "sft", {**SFT, **small})) == 0
    policy = tmp_path / "sft" / "model"
    assert world.run_here(run_of("reward", {**reward, "policy": policy}, tmp_path / "reward", {**REWARD, **small})) == 0
    given = {**sft, "policy": policy, "reference": policy, "reward_model": tmp_path / "reward" / "model"}
    models = loaded(given, tmp_path / "out", **small)
    assert type(models.policy.model.layers[0].mlp.up_proj.base_layer).__name__ == "Linear4bit"
    assert all(storages(network) == storages(models.reference) for network in members(models).values())
    ids = torch.tensor([[72, 101, 108, 108, 111, 256]])
    for role in (models.policy, models.reference):
        torch.testing.assert_close(role(ids).logits, opened(policy)(ids).logits, atol=1e-3, rtol=1e-3)
    alone = load_reward_model(given["reward_model"], CPU)
    torch.testing.assert_close(models.reward_model(ids), alone(ids), atol=1e-3, rtol=1e-3)


# bfloat16


def test_bfloat16_products_over_float32_weights_stay_near_float32(made, tmp_path):
    """Losses of the first steps to 2 % of float32's, in all three stages; weights and log-probabilities are float32."""
    folder, inputs = made
    lines = {"sft": ("loss/train", SFT), "reward": ("loss/train", REWARD), "ppo": ("loss/value", PPO)}
    for stage, (name, config) in lines.items():
        run = run_of(stage, inputs[stage], tmp_path / stage, config, dtype="bfloat16")
        assert world.run_here(run) == 0, world.events(tmp_path / stage, "failed")
        exact, rough = dict(world.steps(folder / stage)), dict(world.steps(tmp_path / stage))
        assert rough[1][name] != exact[1][name]
        if stage != "ppo":  # PPO's answers may differ from the first token that rounding decides
            assert rough[1][name] == pytest.approx(exact[1][name], rel=0.02)
        weights = load_file(tmp_path / stage / "model" / "model.safetensors")
        assert {weight.dtype for weight in weights.values()} == {torch.float32}
