"""A decoding step in a straight line: what transformers' modules compute, from their weights, in fewer operations.

A small model's step takes longer in Python and in dispatch than in its products. Here queries, keys and values are one
product, gate and up another, a norm is one operation. It is for decoders whose layers are a norm, attention, a norm and
a feed-forward part, each with a norm behind it or none: GPT-2, Llama, Qwen 2 and 3, Gemma 2 and 3, Mistral. Another
one, or one whose layers were changed (adapters), gives None and is stepped by its own modules. Nothing is taken on
trust: `way_to_decode` compares with the model's own forward.

Shapes: S rows, D width, H heads of queries, K of keys and values, d size of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from training.rlhf.linear import Head, head_of

Map = Callable[[Tensor], Tensor]
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
JOINED = 2**25  # weights of a model up to which products are joined, which takes a copy of them


class _Unknown(Exception):
    """A part that is not one of those that are known here."""


@dataclass
class _Layer:
    before_attention: Map
    queries_keys_values: Map
    heads: tuple[int, int, int]
    """H, K, d"""

    query_norm: Map | None
    key_norm: Map | None
    rotation: int | None
    """Which table of angles."""

    attention_out: Map
    after_attention: Map | None
    before_feed_forward: Map
    feed_forward: Map
    after_feed_forward: Map | None


@dataclass
class Straight:
    """The weights of a model as a step needs them; they are a copy, so make it anew when the model has learned."""

    embedding: Tensor
    scale: float
    positions: Tensor | None
    """Learned ones, (positions, D)."""

    angles: list[tuple[Tensor, Tensor]]
    """(cosine, sine), each (positions, d), of each kind of layer; the first half of the sine is negative."""

    layers: list[_Layer]
    norm: Map
    head: Head

    def step(self, tokens: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """Logits (S, V) behind tokens (S,) at positions (S,); `attend` is given (layer, query, key, value)."""
        states = F.embedding(tokens, self.embedding)  # (S, D)
        if self.scale != 1.0:
            states = states * self.scale
        if self.positions is not None:
            states = states + F.embedding(positions, self.positions)
        angles = [(cosine[positions][:, None], sine[positions][:, None]) for cosine, sine in self.angles]
        for number, layer in enumerate(self.layers):
            queries, keys, size = layer.heads
            mixed = layer.queries_keys_values(layer.before_attention(states)).view(len(tokens), -1, size)
            turning = mixed[:, : queries + keys]
            if layer.query_norm is not None and layer.key_norm is not None:
                turning = torch.cat([layer.query_norm(turning[:, :queries]), layer.key_norm(turning[:, queries:])], 1)
            if layer.rotation is not None:
                cosine, sine = angles[layer.rotation]
                turning = torch.addcmul(turning * cosine, turning.roll(size // 2, -1), sine)
            query, key, value = turning[:, :queries], turning[:, queries:], mixed[:, queries + keys :]
            found = attend(number, query.unsqueeze(2), key.unsqueeze(2), value.unsqueeze(2))  # (S, 1, H, d)
            found = layer.attention_out(found.view(len(tokens), -1))
            states = states + (found if layer.after_attention is None else layer.after_attention(found))
            found = layer.feed_forward(layer.before_feed_forward(states))
            states = states + (found if layer.after_feed_forward is None else layer.after_feed_forward(found))
        return self.head.logits(self.norm(states))


@torch.inference_mode()
def straighten(model: PreTrainedModel, longest: int) -> Straight | None:
    """The straight step of a model for positions below `longest`; None where a part of it is not known."""
    trunk, head = model.base_model, head_of(model)
    try:
        if head is None:
            raise _Unknown
        modules = _one_of(trunk, "layers", "h")
        joined = sum(weight.numel() for weight in model.parameters()) <= JOINED
        angles, kinds = _angles(trunk, modules, longest)
        layers = [_layer(module, kind, joined) for module, kind in zip(modules, kinds, strict=True)]
        embedding = model.get_input_embeddings().weight.detach()
        positions = trunk.wpe.weight.detach() if hasattr(trunk, "wpe") else None
        scale = _scale(trunk, modules[0], embedding, positions)
        head = head._replace(weight=_narrow(head.weight), bias=None if head.bias is None else _narrow(head.bias))
        return Straight(embedding, scale, positions, angles, layers, _norm(_one_of(trunk, "norm", "ln_f")), head)
    except (_Unknown, AttributeError):
        return None


def _layer(module: Any, rotation: int | None, joined: bool) -> _Layer:
    attention = _one_of(module, "self_attn", "attn")
    inner = module.mlp
    size = int(attention.head_dim)
    if hasattr(attention, "c_attn"):
        mixing, count = _product([attention.c_attn], joined), attention.c_attn.nf // 3 // size
        heads = (count, count, size)
        out = _product([attention.c_proj], joined)
        wide, act, down = _product([inner.c_fc], joined), inner.act, _product([inner.c_proj], joined)

        def feed_forward(states: Tensor) -> Tensor:
            return down(act(wide(states)))
    else:
        parts = [attention.q_proj, attention.k_proj, attention.v_proj]
        mixing = _product(parts, joined)
        heads = (parts[0].out_features // size, parts[1].out_features // size, size)
        out = _product([attention.o_proj], joined)
        gated, act = _product([inner.gate_proj, inner.up_proj], joined), inner.act_fn
        down = _product([inner.down_proj], joined)

        def feed_forward(states: Tensor) -> Tensor:
            gate, up = gated(states).chunk(2, -1)
            return down(act(gate) * up)

    query_norm, key_norm = (getattr(attention, name, None) for name in ("q_norm", "k_norm"))
    four = hasattr(module, "pre_feedforward_layernorm")  # a norm behind each part too
    return _Layer(
        before_attention=_norm(_one_of(module, "input_layernorm", "ln_1")),
        queries_keys_values=mixing,
        heads=heads,
        query_norm=None if query_norm is None else _norm(query_norm),
        key_norm=None if key_norm is None else _norm(key_norm),
        rotation=rotation,
        attention_out=out,
        after_attention=_norm(module.post_attention_layernorm) if four else None,
        before_feed_forward=_norm(
            module.pre_feedforward_layernorm if four else _one_of(module, "post_attention_layernorm", "ln_2")
        ),
        feed_forward=feed_forward,
        after_feed_forward=_norm(module.post_feedforward_layernorm) if four else None,
    )


def _one_of(module: Any, *names: str) -> Any:
    for name in names:
        if hasattr(module, name):
            return getattr(module, name)
    raise _Unknown


def _product(modules: Sequence[nn.Module], joined: bool) -> Map:
    """The modules' products side by side, (S, in) -> (S, sum of out)."""
    weights, biases = [], []
    for module in modules:
        if module._forward_hooks or module._forward_pre_hooks:
            raise _Unknown
        if type(module) is nn.Linear:
            weights.append(_narrow(module.weight))
        elif type(module) is Conv1D:
            weights.append(_narrow(module.weight).t())
        else:
            raise _Unknown
        biases.append(None if module.bias is None else _narrow(module.bias))
    if len(weights) == 1:
        return lambda states: F.linear(states, weights[0], biases[0])
    if joined and len({bias is None for bias in biases}) == 1:
        weight = torch.cat(weights)
        bias = torch.cat(biases) if biases[0] is not None else None
        return lambda states: F.linear(states, weight, bias)
    pairs = list(zip(weights, biases, strict=True))
    return lambda states: torch.cat([F.linear(states, weight, bias) for weight, bias in pairs], -1)


def _narrow(weight: Tensor) -> Tensor:
    """A weight in the dtype of products: under autocast it is cast here once, and not in every step."""
    device = weight.device.type
    return weight.detach().to(torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype)


def _norm(module: nn.Module) -> Map:
    """The norm as one operation; whether its weight counts from 0 or, as Gemma's, from 1, is tried."""
    if isinstance(module, nn.LayerNorm):
        return module
    weight: Any = getattr(module, "weight", None)
    eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if weight is None or eps is None:
        raise _Unknown
    probe = torch.linspace(-1.0, 2.0, 2 * len(weight), device=weight.device, dtype=weight.dtype).view(2, -1)
    for counted in (weight.detach(), 1.0 + weight.detach()):
        found = F.rms_norm(probe, (len(weight),), counted, eps)
        if torch.allclose(found.float(), module(probe).float(), rtol=2e-2, atol=1e-4):
            return lambda states, counted=counted: F.rms_norm(states, (len(counted),), counted, eps)  # type: ignore[misc]
    raise _Unknown


def _angles(trunk: Any, modules: Sequence[Any], longest: int) -> tuple[list[tuple[Tensor, Tensor]], list[int | None]]:
    """Tables of rotary angles, and which one each layer takes."""
    rotary = getattr(trunk, "rotary_emb", None)
    if rotary is None:
        return [], [None] * len(modules)
    if any(kind in str(trunk.config.rope_parameters) for kind in ("dynamic", "longrope")):
        raise _Unknown  # angles that depend on how long a text is
    weight = trunk.get_input_embeddings().weight
    positions = torch.arange(longest, device=weight.device)[None]
    kinds: list[str | None] = [None] * len(modules)
    if hasattr(rotary, "layer_types"):
        kinds = list(trunk.config.layer_types)
    names = list(dict.fromkeys(kinds))
    tables = []
    for name in names:
        more = () if name is None else (name,)
        cosine, sine = (part[0] for part in rotary(weight[:1, None], positions, *more))
        if cosine.shape[1] != _one_of(modules[0], "self_attn", "attn").head_dim:
            raise _Unknown  # only a part of each head is turned
        half = sine.shape[1] // 2
        tables.append((cosine, torch.cat([-sine[:, :half], sine[:, half:]], 1)))
    return tables, [names.index(kind) for kind in kinds]


class _Seen(Exception):
    """The first layer's input has been seen; the rest need not run."""


def _scale(trunk: Any, first: nn.Module, embedding: Tensor, positions: Tensor | None) -> float:
    """What embeddings are multiplied with before the first layer."""
    seen: list[Tensor] = []

    def look(_module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen.append(given[0] if given else named["hidden_states"])
        raise _Seen

    hook = first.register_forward_pre_hook(look, with_kwargs=True)
    try:
        trunk(input_ids=torch.arange(8, device=embedding.device)[None] % len(embedding), use_cache=False)
    except _Seen:
        pass
    finally:
        hook.remove()
    plain = embedding[torch.arange(8, device=embedding.device) % len(embedding)].double()
    states = seen[0][0].double() - (0.0 if positions is None else positions[:8].double())
    return round(float((states * plain).sum() / plain.square().sum()), 6)
