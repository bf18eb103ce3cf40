"""Log-probabilities and cross-entropy straight from hidden states, so that no tensor of tokens x vocabulary is kept.

N tokens, D the width of the model, V its vocabulary. The logits of a few hundred tokens are made at a time, turned into
what is asked for, and dropped. `linear_cross_entropy` has its gradient ready when it returns, because a sum needs no
weights from outside: three products over the vocabulary, the fewest there are. `linear_logprobs` keeps softmaxes up to
`KEEP_BYTES` for its backward pass and makes them again beyond that.

Under bfloat16 autocast the products are bfloat16; log-sum-exp, log-probabilities and sums are float32 (float64 in
float64) either way. The temperature divides the hidden states and not the logits, where nothing bends the logits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel

from training.rlhf.numerics import exact_products

CHUNK_BYTES = 16 * 2**20  # of float32 logits at a time: near the caches of a CPU, and products are large enough
KEEP_BYTES = 64 * 2**20  # of softmaxes that wait for a backward pass
TOLERANCE = 1e-4  # of the largest logit; how far `head_of` may be from the model's own head in float32
COARSE = 0.03  # the same for weights of fewer digits


class Head(NamedTuple):
    """How logits come from hidden states: softcap(scale * (hidden @ weight.T + bias))."""

    weight: Tensor
    """(V, D)"""

    bias: Tensor | None = None
    """(V,)"""

    scale: float = 1.0

    softcap: float | None = None
    """c in c * tanh(logits / c), as in Gemma 2; None leaves logits as they are."""

    def logits(self, hidden: Tensor) -> Tensor:
        """(N, V) of hidden (N, D): what the functions here never hold whole."""
        logits = nn.functional.linear(hidden, self.weight, self.bias) * self.scale
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)


def head_of(model: PreTrainedModel) -> Head | None:
    """The head of a causal language model, or None where it is more than a product, a scale and a cap.

    That it is the model's own head is tried on a few tokens, once a model: a family may do to its logits what is not
    known here, and is then run by its own forward.
    """
    layer = model.get_output_embeddings()
    if type(layer) is not nn.Linear or model.base_model is model:
        return None
    config = model.config.get_text_config()
    head = Head(
        layer.weight,
        layer.bias,
        scale=float(getattr(config, "logit_scale", None) or 1 / float(getattr(config, "logits_scaling", None) or 1)),
        softcap=getattr(config, "final_logit_softcapping", None),
    )
    known: bool | None = getattr(model, "_head_is_known", None)
    if known is None:
        known = _is_own_head(model, head)
        model._head_is_known = known
    return head if known else None


def linear_cross_entropy(hidden: Tensor, head: Head, targets: Tensor) -> Tensor:
    """Sum over N tokens of -log p(target), in nats; hidden (N, D), targets (N,).

    The sum, not the mean: a batch that is split into several passes must be divided by the tokens of the whole batch,
    or short passes weigh too much (huggingface/transformers pull request 34191).
    """
    return _CrossEntropy.apply(hidden, head.weight, head.bias, targets, head, torch.is_grad_enabled())


def linear_logprobs(hidden: Tensor, head: Head, targets: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Log-probabilities (N,), in nats, of targets (N,) at a sampling temperature; hidden (N, D)."""
    return linear_logprobs_and_entropy(hidden, head, targets, temperature=temperature, with_entropy=False)[0]


def linear_logprobs_and_entropy(
    hidden: Tensor, head: Head, targets: Tensor, *, temperature: float = 1.0, with_entropy: bool = True
) -> tuple[Tensor, Tensor]:
    """(log-probabilities (N,), entropies (N,)) in nats; no gradient flows from the entropies, which are 0 without
    `with_entropy`."""
    grad = torch.is_grad_enabled()
    return _Logprobs.apply(hidden, head.weight, head.bias, targets, head, temperature, with_entropy, grad)


def policy_cross_entropy(model: PreTrainedModel, states: Tensor, targets: Tensor) -> Tensor:
    """Sum over N tokens of -log p(target), in nats, of a policy's own states (N, D), as behind its last norm."""
    head = head_of(model)
    if head is not None:
        return linear_cross_entropy(states, head, targets)
    return nn.functional.cross_entropy(own_logits(model, states), targets, reduction="sum")


def policy_logprobs(
    model: PreTrainedModel, states: Tensor, targets: Tensor, *, temperature: float = 1.0, with_entropy: bool = False
) -> tuple[Tensor, Tensor]:
    """(log-probabilities (N,), entropies (N,)) in nats, of a policy's own states (N, D); the entropies carry no
    gradient, and are 0 without `with_entropy`."""
    head = head_of(model)
    if head is not None:
        return linear_logprobs_and_entropy(states, head, targets, temperature=temperature, with_entropy=with_entropy)
    logprobs = torch.log_softmax(own_logits(model, states) / temperature, dim=-1)  # (N, V)
    entropy = -(logprobs.exp() * logprobs).sum(dim=-1).detach() * float(with_entropy)
    return logprobs.gather(1, targets[:, None]).squeeze(1), entropy


def own_logits(model: PreTrainedModel, states: Tensor) -> Tensor:
    """(N, V) float32 logits that the model's own forward makes of states (N, D), whatever it scales, caps or adds.

    Its trunk reads one token, and what comes out is put in the place of what it found.
    """

    def put(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        output.last_hidden_state = states.unsqueeze(0)
        return output

    hook = model.base_model.register_forward_hook(put)
    try:
        logits: Tensor = model(input_ids=states.new_zeros((1, 1), dtype=torch.long), use_cache=False).logits
    finally:
        hook.remove()
    return logits.squeeze(0).float()


class _Chunk(NamedTuple):
    """A few hundred tokens on their way through the head; n of them."""

    rows: slice
    hidden: Tensor
    """(n, D), in the dtype of products, times `factor`."""

    logprobs: Tensor
    """(n, V), of every token of the vocabulary."""

    slope: Tensor | None
    """(n, V), derivative of the cap; None without a cap."""


class _Products:
    """The head's products, chunk by chunk, at one temperature."""

    def __init__(self, hidden: Tensor, head: Head, temperature: float) -> None:
        device = hidden.device.type
        self.dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        self.precise = torch.promote_types(self.dtype, torch.float32)
        self.hidden, self.head = hidden, head
        self.weight = head.weight.to(self.dtype)
        self.bent = head.softcap is not None
        self.temperature = temperature
        self.factor = head.scale if self.bent else head.scale / temperature
        # the factor is taken on the way in, so that it costs n x D instead of n x V
        self.bias = None if head.bias is None else (head.bias * self.factor).to(self.precise)

    def chunks(self) -> Iterator[_Chunk]:
        count, vocabulary = len(self.hidden), len(self.weight)
        size = max(1, CHUNK_BYTES // (4 * vocabulary))
        buffer: Tensor | None = None
        for start in range(0, count, size):
            rows = slice(start, min(start + size, count))
            hidden = self.scaled(rows)
            logits = torch.mm(hidden, self.weight.t()).to(self.precise)
            if self.bias is not None:
                logits += self.bias
            slope = self._bend(logits) if self.bent else None
            if buffer is None or len(buffer) != len(logits):
                buffer = torch.empty_like(logits)
            yield _Chunk(rows, hidden, torch.log_softmax(logits, dim=-1, out=buffer), slope)

    def scaled(self, rows: slice) -> Tensor:
        """(n, D) the chunk's hidden states times the factor, in the dtype of products."""
        hidden = self.hidden[rows]
        return (hidden if self.factor == 1.0 else hidden * self.factor).to(self.dtype)

    def _bend(self, logits: Tensor) -> Tensor:
        """Cap the logits in place and divide them by the temperature; returns the derivative of both."""
        cap = float(self.head.softcap or 0.0)
        bent = logits.div_(cap).tanh_()
        slope = (1 - bent * bent) / self.temperature
        bent.mul_(cap / self.temperature)
        return slope

    def gradients(self, wanted: tuple[bool, ...], shape: torch.Size) -> _Gradients:
        return _Gradients(self, wanted, shape)


class _Gradients:
    """Gradients of hidden states, weight and bias, added up chunk by chunk; None where not wanted."""

    def __init__(self, products: _Products, wanted: tuple[bool, ...], shape: torch.Size) -> None:
        self.products = products
        like, precise = products.hidden, products.precise
        self.hidden = like.new_empty(shape, dtype=precise) if wanted[0] else None
        self.weight = like.new_zeros(products.weight.shape, dtype=precise) if wanted[1] else None
        self.bias = like.new_zeros(len(products.weight), dtype=precise) if wanted[2] else None

    def add(self, rows: slice, hidden: Tensor, logits: Tensor) -> None:
        """`logits` (n, V) is the gradient of a chunk's logits (as they are after the factor)."""
        products = self.products
        narrow = logits.to(products.dtype)
        if self.hidden is not None:
            self.hidden[rows] = torch.mm(narrow, products.weight)
            if products.factor != 1.0:
                self.hidden[rows] *= products.factor
        if self.weight is not None:
            if narrow.dtype == self.weight.dtype:
                self.weight.addmm_(narrow.t(), hidden)
            else:
                self.weight += torch.mm(narrow.t(), hidden)
        if self.bias is not None:
            self.bias.add_(logits.sum(dim=0), alpha=products.factor)


class _CrossEntropy(torch.autograd.Function):
    """Sum of -log p(target), its gradient made on the way forward."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, head: Head, grad: bool
    ) -> Tensor:
        products = _Products(hidden, head._replace(weight=weight, bias=bias), temperature=1.0)
        wanted = tuple(ctx.needs_input_grad[:3]) if grad else (False, False, False)
        gradients = products.gradients(wanted, hidden.shape)
        total = hidden.new_zeros((), dtype=products.precise)
        with torch.autocast(hidden.device.type, enabled=False):
            for chunk in products.chunks():
                wanted_tokens = targets[chunk.rows, None]
                total -= chunk.logprobs.gather(1, wanted_tokens).sum()
                if any(wanted):
                    logits = chunk.logprobs.exp_()  # (n, V), softmax - one-hot is the gradient
                    logits.scatter_(1, wanted_tokens, logits.gather(1, wanted_tokens) - 1)
                    if chunk.slope is not None:
                        logits *= chunk.slope
                    gradients.add(chunk.rows, chunk.hidden, logits)
        ctx.gradients = (gradients.hidden, gradients.weight, gradients.bias)
        ctx.dtypes = (hidden.dtype, weight.dtype, None if bias is None else bias.dtype)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        found = [
            None if part is None else (part * grad).to(dtype)
            for part, dtype in zip(ctx.gradients, ctx.dtypes, strict=True)
        ]
        return (*found, None, None, None)


class _Logprobs(torch.autograd.Function):
    """Log-probabilities of targets, whose gradient needs the softmaxes again."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        head: Head,
        temperature: float,
        with_entropy: bool,
        grad: bool,
    ) -> tuple[Tensor, Tensor]:
        products = _Products(hidden, head._replace(weight=weight, bias=bias), temperature)
        keep = grad and products.dtype.itemsize * len(hidden) * len(weight) <= KEEP_BYTES
        logprobs, entropy = (hidden.new_zeros(len(hidden), dtype=products.precise) for _ in range(2))
        kept: list[tuple[Tensor, Tensor | None]] = []
        with torch.autocast(hidden.device.type, enabled=False):
            for chunk in products.chunks():
                logprobs[chunk.rows] = chunk.logprobs.gather(1, targets[chunk.rows, None]).squeeze(1)
                if with_entropy:
                    entropy[chunk.rows] = -(chunk.logprobs.exp() * chunk.logprobs).sum(dim=-1)
                if keep:
                    kept.append((chunk.logprobs.exp().to(products.dtype), chunk.slope))
        ctx.save_for_backward(hidden, weight, bias, targets)
        ctx.kept, ctx.head, ctx.temperature, ctx.dtype = kept, head, temperature, products.dtype
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _entropy: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets = ctx.saved_tensors
        device = hidden.device.type
        narrow = ctx.dtype != hidden.dtype
        with torch.autocast(device, dtype=ctx.dtype if narrow else torch.bfloat16, enabled=narrow):
            products = _Products(hidden, ctx.head._replace(weight=weight, bias=bias), ctx.temperature)
        gradients = products.gradients(tuple(ctx.needs_input_grad[:3]), hidden.shape)
        with torch.autocast(device, enabled=False):
            for rows, scaled, softmax, slope in _softmaxes(products, ctx.kept):
                weights = -grad[rows, None]  # (n, 1): a token's own share of the gradient
                logits = softmax * weights
                chosen = targets[rows, None]
                logits.scatter_(1, chosen, logits.gather(1, chosen) - weights)
                if slope is not None:
                    logits *= slope
                gradients.add(rows, scaled, logits)
        found = (gradients.hidden, gradients.weight, gradients.bias)
        dtypes = (hidden.dtype, weight.dtype, None if bias is None else bias.dtype)
        cast = [None if part is None else part.to(dtype) for part, dtype in zip(found, dtypes, strict=True)]
        return (*cast, None, None, None, None, None)


def _softmaxes(
    products: _Products, kept: list[tuple[Tensor, Tensor | None]]
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor | None]]:
    """(rows, scaled hidden states, softmax (n, V), slope) of each chunk: those that were kept, or made again."""
    if not kept:
        for chunk in products.chunks():
            yield chunk.rows, chunk.hidden, chunk.logprobs.exp_(), chunk.slope
    start = 0
    for softmax, slope in kept:
        rows = slice(start, start + len(softmax))
        yield rows, products.scaled(rows), softmax.to(products.precise), slope
        start = rows.stop


@torch.no_grad()
def _is_own_head(model: PreTrainedModel, head: Head) -> bool:
    ids = torch.arange(8, device=model.device).unsqueeze(0) % len(head.weight)
    with torch.autocast(model.device.type, enabled=False), exact_products():
        wanted = model(input_ids=ids, use_cache=False).logits[0].float()
        states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0]
        found = head.logits(states).float()
    allowed = TOLERANCE if model.dtype.itemsize >= 4 else COARSE
    return bool((wanted - found).abs().max() <= allowed * wanted.abs().max())
