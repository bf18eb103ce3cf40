"""PPO-ptx: pretraining text mixed into PPO's updates, so that the policy forgets less (InstructGPT, equation 2).

The weight multiplies the *mean* cross-entropy of a token, on the scale of PPO's own token mean. InstructGPT's 27.8
belongs to gradients averaged in another way; taken over as it is, it makes training diverge (DeepSpeed-Chat, step 3).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from training.rlhf.config import PPOConfig
from training.rlhf.data import BatchCursor, length_mask, micro_batches, pad_right, read_rows
from training.rlhf.flat import hidden_states, lay_flat
from training.rlhf.linear import head_of, linear_cross_entropy
from training.rlhf.losses import token_cross_entropy
from training.rlhf.model import selected_logits
from training.rlhf.numerics import autocast
from training.rlhf.optim import clip_gradients
from training.rlhf.pretrain import encode_corpus, windows
from training.rlhf.rollouts import Models
from training.rlhf.workspace import Workspace


class PretrainingText:
    """Blocks of text of at most the context's length, walked over without end; part of the state of a run."""

    def __init__(self, config: PPOConfig, work: Workspace, models: Models, limit: int) -> None:
        self.config, self.models = config, models
        documents = encode_corpus(models.tokenizer, read_rows(work.input("pretraining")), work, "pretraining")
        self.blocks = [block for block in windows(documents, models.tokenizer, limit - 1) if len(block) > 1]
        lengths = [len(block) for block in self.blocks]
        self.cursor = BatchCursor(lengths, min(config.ptx_batch_size, len(self.blocks)), work.seed)

    def state_dict(self) -> dict[str, int]:
        return self.cursor.state_dict()

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.cursor.load_state_dict(state_dict)

    def add_gradient(self) -> dict[str, float]:
        """Add ptx_coef x the gradient of the next batch's mean cross-entropy to the policy's; PPO's is there already.

        Returns the cross-entropy (nats a token) and the norms of both gradients, the weight included.
        """
        policy = self.models.policy
        weights = [weight for weight in policy.parameters() if weight.requires_grad]
        ppo_gradients = [None if weight.grad is None else weight.grad.clone() for weight in weights]
        ppo_norm = clip_gradients(weights, 0)
        policy.zero_grad()
        loss = self._backward([self.blocks[index] for index in next(self.cursor)])
        ptx_norm = clip_gradients(weights, 0)
        for weight, gradient in zip(weights, ppo_gradients, strict=True):
            if gradient is not None:
                weight.grad = gradient if weight.grad is None else weight.grad + gradient
        return {"loss/ptx": loss, "grad_norm/ppo": ppo_norm, "grad_norm/ptx": ptx_norm}

    def _backward(self, blocks: Sequence[Sequence[int]]) -> float:
        predicted = sum(len(block) - 1 for block in blocks)
        lengths = [len(block) for block in blocks]
        total = 0.0
        for group in micro_batches(range(len(blocks)), [1] * len(blocks), lengths, self.config.micro_batch_tokens):
            loss = self._loss_sum(self.models.policy, [blocks[index] for index in group]) / predicted
            (self.config.ptx_coef * loss).backward()
            total += float(loss.detach())
        return total

    def _loss_sum(self, policy: PreTrainedModel, blocks: Sequence[Sequence[int]]) -> torch.Tensor:
        ids, lengths = pad_right(blocks, self.models.tokenizer.pad_token_id)
        predicts = length_mask(lengths - 1, ids.shape[1])  # (B, T), True where the next token is real
        targets = ids[:, 1:][predicts[:, :-1]].to(self.models.device)
        head = head_of(policy)
        with autocast(self.models.numerics):
            if head is not None:
                row = lay_flat(blocks, self.models.device)
                before = row.before([[True] * len(block) for block in blocks])
                return linear_cross_entropy(hidden_states(policy, row)[before], head, targets)
            logits = selected_logits(policy, ids.to(self.models.device), predicts.to(self.models.device))
        return token_cross_entropy(logits, targets)
