"""PPO against TRL 1.12.0, the last release that has it: one update from the same weights on the same answers.

Where the two differ on purpose the difference is shown to be exactly what is said:

- ours reads the score of an answer that was cut off at an EOS, as the reward model learned it; TRL at the last token;
- ours takes the reward model's shift off;
- ours puts the score on the last token; TRL on the slot behind it, whose value and value loss it keeps;
- ours whitens with the population's variance, TRL with the sample's (n - 1).
"""

import math

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from tests.training.rlhf.oracle import peer
from tests.training.rlhf.tiny import save_world, tiny_policy
from training.rlhf.ppo_losses import policy_loss, value_loss
from training.rlhf.rewards import estimate_advantages, finish_scores, kl_per_token, token_rewards, whiten

pytestmark = [
    pytest.mark.xdist_group("trl"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # TRL's, of transformers' new names
]
COUNT = 24


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A world whose reference is not the policy, so that there is a KL."""
    found = save_world(tmp_path_factory.mktemp("world"))
    tiny_policy(seed=5).save_pretrained(found["reference"].parent / "reference")
    peer.tiny_tokenizer().save_pretrained(found["reference"].parent / "reference")
    return {**found, "reference": found["reference"].parent / "reference"}


@pytest.fixture(scope="module")
def ours(inputs, tmp_path_factory):
    return peer.our_update(inputs, tmp_path_factory.mktemp("ours"), COUNT)


@pytest.fixture(scope="module")
def theirs(ours, inputs, tmp_path_factory):
    return peer.their_update(ours, inputs, tmp_path_factory.mktemp("theirs"))


def close(one, other):
    torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-5)


def test_the_answers_are_of_every_kind(ours):
    """Cut off, ended early, ended with the last token: what follows speaks about all of them."""
    lengths, ended = ours.responses.lengths, ours.responses.ended
    full = lengths == ours.mask.shape[1]
    assert (full & ~ended).any() and (~full & ended).any() and int(ended.sum()) >= 4
    assert len({len(prompt) for prompt in ours.prompts}) > 1  # TRL pads these on the left, we do not


def test_log_probabilities_kl_and_values(ours, theirs):
    mask = ours.mask
    close(ours.logprobs[mask], theirs.logprobs[mask])
    close(ours.ref_logprobs[mask], theirs.ref_logprobs[mask])
    close(ours.values[mask], theirs.values[mask] - 0.25)  # the value model starts from the reward model, shift included
    assert float(ours.kl.sum(dim=1).mean()) == pytest.approx(theirs.metrics["objective/kl"], abs=1e-4)


def test_scores_differ_by_the_shift_and_by_the_eos_of_a_cut_answer(ours, theirs, inputs):
    ended = ours.responses.ended
    close(ours.raw_scores[ended], theirs.raw_scores[ended] - 0.25)
    network = AutoModelForSequenceClassification.from_pretrained(inputs["reward_model"]).eval()
    for row in (~ended).nonzero().flatten().tolist():
        ids = torch.tensor([ours.prompts[row] + ours.responses.tokens(row)])
        with torch.no_grad():  # not by its own pooling, which looks for the last id that is not pad
            as_sampled = network.score(network.base_model(input_ids=ids).last_hidden_state)[0, -1, 0]
            ids[0, -1] = peer.EOS
            at_eos = network.score(network.base_model(input_ids=ids).last_hidden_state)[0, -1, 0]
        close(theirs.raw_scores[row], as_sampled)
        close(ours.raw_scores[row], at_eos - 0.25)
        assert abs(float(as_sampled - at_eos)) > 1e-3


def test_advantages_differ_by_the_slot_behind_the_answer(ours, theirs):
    """Our functions, told that an answer is one token longer and its score one token later, give TRL's numbers."""
    width = ours.mask.shape[1]
    lengths = ours.responses.lengths
    longer = torch.arange(width)[None, :] < (lengths + 1).clamp(max=width)[:, None]
    kl = kl_per_token(theirs.logprobs, theirs.ref_logprobs, ours.mask)  # nothing on the slot itself
    scores = finish_scores(theirs.raw_scores, ours.responses.ended, 1.0)
    rewards = token_rewards(kl, scores, longer, peer.SHARED["kl_coef"])
    options = {"gamma": peer.SHARED["gamma"], "lam": peer.SHARED["lam"]}
    advantages, _ = estimate_advantages(rewards, theirs.values, longer, **options)
    close(advantages[ours.mask], theirs.advantages[ours.mask])
    # and without being told, they are other numbers wherever there is room for the slot
    rewards = token_rewards(kl, scores, ours.mask, peer.SHARED["kl_coef"])
    plain, _ = estimate_advantages(rewards, theirs.values, ours.mask, **options)
    full = lengths == width
    close(plain[full], theirs.advantages[full])
    assert (plain[~full, 0] - theirs.advantages[~full, 0]).abs().min() > 1e-3


def test_whitening_differs_by_the_variance_of_a_sample(ours, theirs):
    count = int(ours.mask.sum())
    white = whiten(theirs.advantages, ours.mask) * math.sqrt((count - 1) / count)
    close(white[ours.mask], theirs.white[ours.mask])


@pytest.mark.parametrize("epoch", [0, 1])
def test_losses_are_the_same_on_the_same_numbers(ours, theirs, epoch):
    mask, count = ours.mask, int(ours.mask.sum())
    of_policy = policy_loss(
        theirs.new_logprobs[epoch][mask], theirs.logprobs[mask], theirs.white[mask], cliprange=0.2, token_count=count
    )
    assert float(of_policy.loss.detach()) == pytest.approx(theirs.policy_losses[epoch], abs=1e-5)
    longer = torch.arange(mask.shape[1])[None, :] < (ours.responses.lengths + 1)[:, None]
    values = torch.where(longer, theirs.values, 0.0)
    returns = theirs.advantages + values
    of_value = value_loss(
        theirs.new_values[epoch][longer], values[longer], returns[longer], cliprange=0.2, token_count=int(longer.sum())
    )
    assert float(of_value.loss.detach()) == pytest.approx(theirs.value_losses[epoch], abs=1e-5)
    assert epoch == 0 or int(of_policy.clipped) > 0, "the second epoch is where clipping shows"


def test_with_its_differences_undone_an_update_of_trl_ends_in_our_weights(ours, inputs, tmp_path):
    """All together, sampling apart: two epochs of TRL's `train`, one line of it changed, and its variance and where it
    reads scores set to ours."""
    theirs = peer.their_update(ours, inputs, tmp_path, as_ours=True)
    mask = ours.mask
    close(ours.raw_scores, theirs.raw_scores)
    close(ours.white[mask], theirs.white[mask])
    start = AutoModelForCausalLM.from_pretrained(inputs["policy"]).state_dict()
    trained = AutoModelForCausalLM.from_pretrained(ours.folder).state_dict()
    peer.same_weights(trained, theirs.policy.state_dict(), atol=1e-4)
    assert max(float((trained[name] - start[name]).abs().max()) for name in start) > 1e-2
