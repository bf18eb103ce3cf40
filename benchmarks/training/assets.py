"""The measuring ground: random-weight models, a tokenizer and rows, the same for both sides, made once and kept.

Speed does not depend on what the weights are, so they are random, with fixed seeds. The text is what docstrings of the
installed packages say: the rows are the same for one environment, not across environments. Lengths are in tokens.
"""

from __future__ import annotations

import ast
import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

transformers.utils.logging.disable_progress_bar()

VERSION = 3  # a change of what is made here makes a new folder
VOCABULARY = 8192
PAD, END = "<|pad|>", "<|im_end|>"
CONTROL = [PAD, "<|im_start|>", END]
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PROMPT_TOKENS = (20, 60, 200)  # least, median, most; log-normal
RESPONSE_TOKENS = (20, 100, 250)
PPO_PROMPT_TOKENS = (16, 40, 64)
UNEVEN_MEAN = 40  # tokens after which the policy of the uneven answers ends, on average


class Shape(NamedTuple):
    """What a model is made of."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    family: str = "llama"
    kv_heads: int = 0
    vocabulary: int = VOCABULARY


SHAPES = {
    "tiny": Shape(192, 4, 3, 544),
    "base": Shape(384, 8, 6, 1120),
    # Qwen2.5-0.5B and -1.5B: for GPUs
    "0.5b": Shape(896, 24, 14, 4864, "qwen2", 2, 151_936),
    "1.5b": Shape(1536, 28, 12, 8960, "qwen2", 2, 151_936),
}


class Rows(NamedTuple):
    """How many rows of each kind to make: enough that what the first batch of each length costs is little beside it."""

    demonstrations: int = 192
    rankings: int = 48
    prompts: int = 256


def model_config(shape: Shape, **changes: Any) -> PreTrainedConfig:
    """The transformers configuration of a shape; room for 2048 tokens, tied embeddings."""
    config_class = LlamaConfig if shape.family == "llama" else Qwen2Config
    return config_class(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads or shape.heads,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=2,
        **changes,
    )


def random_model(shape: Shape, *, reward: bool = False, seed: int = 0) -> PreTrainedModel:
    """A policy, or with `reward` a model with a one-number head; weights by the family's own initialisation."""
    torch.manual_seed(seed)
    if reward:
        return AutoModelForSequenceClassification.from_config(model_config(shape, num_labels=1))
    return AutoModelForCausalLM.from_config(model_config(shape))


def save_models(folder: Path, shape: Shape, tokenizer: PreTrainedTokenizerFast) -> None:
    """`policy` and `reward` in `folder`, as the stages and the peer read them."""
    for name, reward in (("policy", False), ("reward", True)):
        random_model(shape, reward=reward, seed=int(reward)).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


@torch.no_grad()
def give_answers_an_end(model: PreTrainedModel, mean_tokens: float, temperature: float) -> None:
    """Change a random policy so that each token is the EOS with probability 1 / `mean_tokens`, about.

    All embeddings get a common part, which cancels in the softmax; the EOS gets more of it, which does not. So answers
    have lengths of a geometric distribution, as different as people's, on any device.
    """
    weights = model.get_input_embeddings().weight
    common = torch.full((weights.shape[1],), weights.shape[1] ** -0.5)
    weights += common
    ids = torch.randint(3, weights.shape[0], (8, 32), generator=torch.Generator().manual_seed(0))
    states = model.base_model(input_ids=ids).last_hidden_state
    logits = model(input_ids=ids).logits / temperature
    others = torch.logsumexp(logits, dim=-1).median()
    per_unit = (states @ common).median() / temperature
    wanted = others - math.log(mean_tokens - 1) - logits[..., model.config.eos_token_id].median()
    weights[model.config.eos_token_id] += common * (wanted / per_unit)


# Text


def docstrings(limit: int) -> Iterator[str]:
    """Docstrings of the installed packages, up to about `limit` characters, in the order of their files."""
    root = Path(transformers.__file__).parent.parent
    for package in ("transformers", "torch", "numpy", "tokenizers"):
        for path in sorted((root / package).rglob("*.py")):
            if limit <= 0:
                return
            for text in docstrings_of(path):
                limit -= len(text)
                yield text


def docstrings_of(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            text = ast.get_docstring(node) or ""
            if len(text) > 80 and "<|" not in text:
                yield text


def train_tokenizer(texts: list[str], vocabulary: int = VOCABULARY) -> PreTrainedTokenizerFast:
    """A byte-level BPE with ChatML, whose pad token is not its EOS."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=CONTROL, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=END, pad_token=PAD, chat_template=CHATML)


class Cutter:
    """Cuts pieces of wanted lengths, in tokens, out of one long text."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, texts: list[str], seed: int) -> None:
        self.tokenizer = tokenizer
        self.ids: list[int] = tokenizer("\n".join(texts), add_special_tokens=False)["input_ids"]
        self.draw = np.random.default_rng(seed)

    def piece(self, lengths: tuple[int, int, int]) -> list[int]:
        """Ids of a log-normal number of tokens with (least, median, most)."""
        least, middle, most = lengths
        count = int(np.clip(self.draw.lognormal(math.log(middle), 0.6), least, most))
        start = int(self.draw.integers(len(self.ids) - count))
        return self.ids[start : start + count]

    def text(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def spoilt(self, ids: list[int], intact: float) -> list[int]:
        """`ids` with a share of them replaced by others of the text."""
        keep = self.draw.random(len(ids)) < intact
        others = self.draw.integers(len(self.ids), size=len(ids))
        return [token if kept else self.ids[other] for token, kept, other in zip(ids, keep, others, strict=True)]


def demonstration_rows(cutter: Cutter, count: int) -> Iterator[dict[str, Any]]:
    for _ in range(count):
        answer = cutter.text(cutter.piece(RESPONSE_TOKENS))
        yield {"prompt": said("user", cutter, PROMPT_TOKENS), "completion": [{"role": "assistant", "content": answer}]}


def ranking_rows(cutter: Cutter, count: int, k: int) -> Iterator[dict[str, Any]]:
    """K answers to a prompt: the more of an answer's tokens are left as they were, the better its rank."""
    for number in range(count):
        intact = np.linspace(1.0, 0.2, k)
        answers = [cutter.text(cutter.spoilt(cutter.piece(RESPONSE_TOKENS), share)) for share in intact]
        order = cutter.draw.permutation(k).tolist()
        yield {
            "id": f"r{number}",
            "prompt": said("user", cutter, PROMPT_TOKENS),
            "completions": [{"id": str(place), "content": answers[place]} for place in order],
            "ranks": [place + 1 for place in order],
        }


def prompt_rows(cutter: Cutter, count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        yield {"id": f"p{number}", "prompt": said("user", cutter, PPO_PROMPT_TOKENS)}


def said(role: str, cutter: Cutter, lengths: tuple[int, int, int]) -> list[dict[str, str]]:
    return [{"role": role, "content": cutter.text(cutter.piece(lengths))}]


def pairs_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A ranking as the C(K, 2) rows of chosen and rejected that the peer takes."""
    ordered = sorted(zip(row["ranks"], row["completions"], strict=True), key=lambda item: item[0])
    answers = [[{"role": "assistant", "content": answer["content"]}] for _, answer in ordered]
    return [
        {"prompt": row["prompt"], "chosen": answers[better], "rejected": answers[worse]}
        for better in range(len(answers))
        for worse in range(better + 1, len(answers))
    ]


# Files


def write_rows(path: Path, rows: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def make_rows(folder: Path, tokenizer: PreTrainedTokenizerFast, texts: list[str], rows: Rows) -> None:
    """demonstrations, rankings_k4, rankings_k9, prompts; `_pairs`: for the peer."""
    cutter = Cutter(tokenizer, texts, seed=5)
    write_rows(folder / "demonstrations.jsonl", demonstration_rows(cutter, rows.demonstrations))
    for k, count in ((4, rows.rankings), (9, max(2, rows.rankings // 2))):
        write_rows(folder / f"rankings_k{k}.jsonl", ranking_rows(cutter, count, k))
        rankings = read_rows(folder / f"rankings_k{k}.jsonl")
        write_rows(folder / f"rankings_k{k}_pairs.jsonl", [pair for row in rankings for pair in pairs_of(row)])
    write_rows(folder / "prompts.jsonl", prompt_rows(cutter, rows.prompts))


def make_assets(cache: Path, sizes: tuple[str, ...], rows: Rows, text_limit: int = 6_000_000) -> Path:
    """The folder with everything, made where it is not there yet; models of `sizes` are added as they are wanted."""
    name = "-".join(map(str, (VERSION, *rows, transformers.__version__)))
    folder = cache / f"ground-{name}"
    if not folder.exists():
        aside = cache / f".ground-{name}.{os.getpid()}"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        texts = list(docstrings(text_limit))
        tokenizer = train_tokenizer(texts)
        tokenizer.save_pretrained(aside / "tokenizer")
        make_rows(aside, tokenizer, texts, rows)
        aside.rename(folder)
    for size in sizes:
        if not (folder / size).exists():
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")
            aside = folder / f".{size}.{os.getpid()}"
            save_models(aside, SHAPES[size], tokenizer)
            model = AutoModelForCausalLM.from_pretrained(aside / "policy", dtype=torch.float32)
            give_answers_an_end(model, UNEVEN_MEAN, temperature=0.7)
            model.save_pretrained(aside / "uneven")
            tokenizer.save_pretrained(aside / "uneven")
            aside.rename(folder / size)
    return folder
