"""Per-token rewards, advantages and the KL controller of PPO: pure functions of tensors.

Shapes: B responses, R response tokens, right-padded. `mask` is (B, R) bool, True where a token counts: it is made from
stored lengths (`data.length_mask`), never from `ids != pad`. All log-probabilities are in nats, of the policy at the
sampling temperature. A *score* is the reward model's number for a whole response, a *reward* is per token.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


def kl_per_token(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor) -> Tensor:
    """The k1 estimate log pi(a) - log pi_ref(a) at each sampled token, 0 where the mask is False.

    Neither clamped nor averaged: one token's value may be negative, only the mean over samples may not.
    All (B, R), nats. Source: Schulman, "Approximating KL divergence" (2020), estimator k1; Ziegler et al. 2019, eq. 2.
    """
    return torch.where(mask, logprobs - ref_logprobs, 0.0)


def finish_scores(scores: Tensor, ended: Tensor, missing_eos_penalty: float) -> Tensor:
    """Take `missing_eos_penalty` off the score of each response that ran out of room before its EOS.

    scores (B,), ended (B,) bool -> (B,). Without it the policy learns to ramble (InstructGPT's "EOS trick").
    Ziegler et al. 2019 *replace* the score by -1; subtracting, as TRL does, keeps the order of unfinished responses.
    """
    return torch.where(ended, scores, scores - missing_eos_penalty)


def token_rewards(kl: Tensor, scores: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """Reward of each token: -kl_coef * KL, plus the score at the last real token.

    kl (B, R) from `kl_per_token`, scores (B,), mask (B, R) with at least one True a row -> (B, R).
    Source: Ziegler et al. 2019, eq. 2. The score sits on the last token itself (the EOS, where there is one), not on
    a slot after it: the sum over a row is exactly score - kl_coef * KL.
    """
    lengths = mask.sum(dim=1)
    if bool((lengths == 0).any()):
        raise ValueError("a response has no token; every response holds at least its EOS")
    rewards = torch.where(mask, -kl_coef * kl, 0.0)
    rows = torch.arange(len(scores), device=scores.device)
    rewards[rows, lengths - 1] += scores
    return rewards


def estimate_advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation; an episode ends with its last real token, whose next value is 0.

    rewards, values (B, R); values[b, t] is the value of the state *before* token t. Returns (advantages, returns),
    both (B, R) and 0 where the mask is False; returns = advantages + values are the value model's targets.
    Source: Schulman et al. 2016 (arXiv:1506.02438), eq. 11 and 16:
        delta_t = r_t + gamma * V_{t+1} - V_t;   A_t = delta_t + gamma * lam * A_{t+1}
    """
    values = torch.where(mask, values, 0.0)
    advantages = torch.zeros_like(rewards)
    following_advantage = torch.zeros_like(rewards[:, 0])
    following_value = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * following_value - values[:, t]
        following_advantage = torch.where(mask[:, t], delta + gamma * lam * following_advantage, 0.0)
        following_value = values[:, t]
        advantages[:, t] = following_advantage
    return advantages, torch.where(mask, advantages + values, 0.0)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of x over the positions where mask is True; a scalar. x and mask have one shape."""
    return torch.where(mask, x, 0.0).sum() / mask.sum()


def whiten(x: Tensor, mask: Tensor) -> Tensor:
    """x shifted and scaled to mean 0 and variance 1 over *all* True positions, 0 elsewhere.

    Call it once, on the whole batch of rollouts: whitening each micro-batch would make the update depend on how the
    batch was cut. Variance is the population's (Ziegler et al. 2019's code), with 1e-8 added under the root.
    """
    mean = masked_mean(x, mask)
    variance = masked_mean((x - mean) ** 2, mask)
    return torch.where(mask, (x - mean) * torch.rsqrt(variance + 1e-8), 0.0)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float:
    """1 - Var(returns - values) / Var(returns) over True positions: 1 is perfect, 0 is no better than a constant.

    0.0 where the returns do not vary at all, since there is nothing to explain.
    """
    residual = (returns - values)[mask].double()
    target = returns[mask].double()
    total = float(target.var(correction=0))
    return 1.0 - float(residual.var(correction=0)) / total if total > 0 else 0.0


@dataclass
class KLController:
    """The KL coefficient, fixed or steered towards a target. Source: Ziegler et al. 2019, section 2.2.

    `kl_coef` per nat; `target` nats per response, None to keep kl_coef fixed; `horizon` in episodes.
    """

    kl_coef: float
    target: float | None = None
    horizon: int = 10_000

    def update(self, kl: float, episodes: int) -> None:
        """Move kl_coef after a batch of `episodes` responses whose mean KL was `kl` nats a response."""
        if self.target is None:
            return
        error = min(max((kl - self.target) / self.target, -0.2), 0.2)
        self.kl_coef *= 1.0 + error * episodes / self.horizon

    def state_dict(self) -> dict[str, float]:
        return {"kl_coef": self.kl_coef}

    def load_state_dict(self, state_dict: Mapping[str, float]) -> None:
        self.kl_coef = state_dict["kl_coef"]
