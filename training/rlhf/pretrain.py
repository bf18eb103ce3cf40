"""Pretraining: a byte-level BPE and a small Llama from a corpus, so that the loop needs no download.

    texts -> tokenizer -> documents shuffled, joined by EOS -> blocks of context_length -> next-token cross-entropy

The chat format's control tokens are in the vocabulary from the start. Rows of `messages` in the corpus are written in
that format, so the base model has seen it. A block may hold several documents, and attention crosses their borders, as
in GPT-2 and GPT-3.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from training.rlhf.adapters import prepare_training
from training.rlhf.config import Numerics, PretrainConfig
from training.rlhf.data import BatchCursor, Row, due, encode_rows, fill_rows, read_rows
from training.rlhf.data import total_steps as count_steps
from training.rlhf.errors import DataError, RowError
from training.rlhf.flat import hidden_states, lay_blocks, lay_flat
from training.rlhf.generate import Decoding, derive_seed, generate
from training.rlhf.linear import policy_cross_entropy
from training.rlhf.model import prepared
from training.rlhf.numerics import autocast, device_of
from training.rlhf.optim import clip_gradients, learning_rate_at, make_optimizer, set_learning_rate
from training.rlhf.record import Record
from training.rlhf.tokens import PAD, check_messages, decode_response
from training.rlhf.workspace import StepMetrics, Workspace

EOS, SYSTEM, USER, ASSISTANT = "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>"
SHOWN = 3  # continuations of held-out text shown at a time
FEWEST = 8  # tokens left of a document that is continued

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "<|assistant|>{% generation %}{{ message['content'] }}<|eos|>{% endgeneration %}"
    "{% else %}<|{{ message['role'] }}|>{{ message['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def run(config: PretrainConfig, work: Workspace) -> Iterator[StepMetrics]:
    """Train a tokenizer and a base model on the rows of `train`; perplexity is measured on `validation`."""
    device = device_of(work.numerics)
    rows = read_rows(work.input("train"))
    work.progress("learning the vocabulary")
    tokenizer = train_tokenizer([text for row in rows for text in row_texts(row)], config.vocab_size)
    stream = join_documents(encode_corpus(tokenizer, rows, work, "train"), tokenizer.eos_token_id, work.seed)
    blocks = cut_blocks(stream, config.context_length)
    validation: list[list[int]] = []
    if "validation" in work.inputs:
        held_out = read_rows(work.inputs["validation"])[: config.eval_rows]
        validation = windows(encode_corpus(tokenizer, held_out, work, "validation"), tokenizer, config.context_length)

    torch.manual_seed(work.seed)
    model = build_model(config, tokenizer, work.numerics)
    prepare_training(model, config, work.numerics, work.seed)
    optimizer = make_optimizer(model, config)
    cursor = BatchCursor([config.context_length] * len(blocks), config.batch_size, work.seed)
    total = count_steps(cursor.batches_per_epoch, config.epochs, config.max_steps)
    record = Record(model, watch="loss/validation")
    start = work.resume({"model": model, "optimizer": optimizer, "cursor": cursor, "record": record}, total_steps=total)

    weights = list(model.parameters())
    blocks_per_pass = max(1, config.micro_batch_tokens // config.context_length)
    for step in range(start + 1, total + 1):
        began = time.perf_counter()
        indices = next(cursor)
        tokens = len(indices) * config.context_length
        loss_sum = 0.0
        optimizer.zero_grad()
        for at in range(0, len(indices), blocks_per_pass):
            group = indices[at : at + blocks_per_pass]
            ids = torch.from_numpy(blocks[group].astype(np.int64)).to(device)  # (B, T + 1)
            with autocast(work.numerics):
                states = hidden_states(model, lay_blocks(ids[:, :-1]))[: len(group) * config.context_length]
                loss = policy_cross_entropy(model, states, ids[:, 1:].flatten()) / tokens
            loss.backward()
            loss_sum += float(loss.detach())
        rate = learning_rate_at(
            step, peak=config.learning_rate, schedule=config.schedule, warmup=config.warmup_steps, total=total
        )
        set_learning_rate(optimizer, rate)
        norm = clip_gradients(weights, config.max_grad_norm)
        optimizer.step()

        seconds = time.perf_counter() - began
        metrics = {"loss/train": loss_sum, "lr": rate, "grad_norm": norm, "tokens_per_second": tokens / seconds}
        if validation and due(step, config.eval_every, total):
            loss_validation = mean_cross_entropy(model, validation, tokenizer, config.micro_batch_tokens, work)
            metrics |= {"loss/validation": loss_validation, "perplexity/validation": perplexity(loss_validation)}
        if validation and config.sample_every and step % config.sample_every == 0:
            show_continuations(model, tokenizer, validation, step, work)
        record.note(step, metrics)
        yield StepMetrics(step, metrics)

    work.publish_model(model, tokenizer, record.result())


def row_texts(row: Row) -> list[str]:
    """What a corpus row says, without control tokens: for learning the vocabulary."""
    if isinstance(row.get("messages"), list):
        return [str(message.get("content", "")) for message in row["messages"] if isinstance(message, dict)]
    return [row["text"]] if isinstance(row.get("text"), str) else []


def train_tokenizer(texts: Sequence[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE over `texts` with five control tokens, all distinct, and the chat template.

    Every text can be written in it, whatever the language: what it never saw falls apart into bytes. Raises DataError
    for a corpus in which there are not enough pairs to merge.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    control = [PAD, EOS, SYSTEM, USER, ASSISTANT]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=control,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    size = bpe.get_vocab_size()
    if size < vocab_size:
        raise DataError(f"the corpus is too small for {vocab_size} tokens: it has {size}; lower vocab_size or add text")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=EOS,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def encode_corpus(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], work: Workspace, split: str
) -> list[list[int]]:
    """Ids of each document; what cannot be used is left out and counted."""
    texts, reasons = encode_rows(rows, lambda row: document_text(row, tokenizer))
    documents: list[list[int]] = []
    for at in range(0, len(texts), 2000):
        documents += tokenizer(texts[at : at + 2000], add_special_tokens=False)["input_ids"]
        work.progress("reading the corpus")
    work.data(split, len(texts), Counter(reasons))
    if not documents:
        raise DataError(f"the input {split} holds no text; each line needs a text or messages")
    return documents


def document_text(row: Row, tokenizer: PreTrainedTokenizerBase) -> str:
    """A corpus row as it is read, without the EOS that ends each document. Raises RowError where it can't be."""
    if isinstance(row.get("messages"), list):
        check_messages(tokenizer, row["messages"])
        text = str(tokenizer.apply_chat_template(row["messages"], tokenize=False))
        return text.removesuffix(str(tokenizer.eos_token))
    if not isinstance(row.get("text"), str) or not row["text"].strip():
        raise RowError("row without text")
    if any(token in row["text"] for token in tokenizer.all_special_tokens):
        raise RowError("text that spells a control token")
    return str(row["text"])


def join_documents(documents: Sequence[Sequence[int]], eos: int, seed: int) -> np.ndarray:
    """One stream of ids (n,): the documents in an order drawn from the seed, an EOS after each."""
    order = np.random.default_rng([seed, 1]).permutation(len(documents))
    return np.concatenate([np.array([*documents[index], eos], dtype=np.uint32) for index in order])


def cut_blocks(stream: np.ndarray, length: int) -> np.ndarray:
    """Blocks (n, length + 1) of a stream, each beginning with the last id of the one before, so that every id but the
    first is predicted once. A rest shorter than a block is left out. Raises DataError if there is no whole block."""
    count = (len(stream) - 1) // length
    if count < 1:
        raise DataError(
            f"the corpus has {len(stream)} tokens, too few for one block of {length}; lower context_length or add text"
        )
    return np.lib.stride_tricks.sliding_window_view(stream, length + 1)[::length][:count]


def windows(documents: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerBase, length: int) -> list[list[int]]:
    """The documents joined by EOS, in pieces of at most length + 1 ids that overlap by one: nothing is left out."""
    stream = [token for document in documents for token in (*document, tokenizer.eos_token_id)]
    return [stream[at : at + length + 1] for at in range(0, max(1, len(stream) - 1), length)]


def build_model(config: PretrainConfig, tokenizer: PreTrainedTokenizerBase, numerics: Numerics) -> PreTrainedModel:
    """A Llama with tied embeddings and random weights."""
    architecture = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        intermediate_size=config.feed_forward,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.context_length,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return prepared(LlamaForCausalLM(architecture), numerics)


@torch.no_grad()
def mean_cross_entropy(
    model: PreTrainedModel,
    sequences: Sequence[Sequence[int]],
    tokenizer: PreTrainedTokenizerBase,
    budget: int,
    work: Workspace,
) -> float:
    """Mean -log p, in nats, of every token after the first of each sequence."""
    total, tokens = 0.0, 0
    usable = [sequence for sequence in sequences if len(sequence) > 1]
    for group in fill_rows([len(sequence) for sequence in usable], budget):
        work.progress("validating")
        parts = [usable[index] for index in group]
        row = lay_flat([part[:-1] for part in parts], model.device, pad_id=tokenizer.pad_token_id)
        targets = torch.tensor([token for part in parts for token in part[1:]], device=model.device)
        with autocast(work.numerics):
            states = hidden_states(model, row)[: len(targets)]  # filler comes last
            total += float(policy_cross_entropy(model, states, targets))
        tokens += len(targets)
    return total / max(tokens, 1)


def perplexity(cross_entropy: float) -> float:
    """exp of a mean cross-entropy in nats; capped where it would overflow."""
    return math.exp(min(cross_entropy, 50.0))


def show_continuations(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[Sequence[int]],
    step: int,
    work: Workspace,
) -> None:
    """How the model goes on from the first tokens of a few held-out texts, the same ones each time."""
    starts = [beginning_of(texts[at], tokenizer) for at in range(0, len(texts), -(-len(texts) // SHOWN))]
    longest = max(len(start) for start in starts)
    answers = generate(
        model,
        starts,
        [derive_seed(work.seed, "pretrain", step, at) for at in range(len(starts))],
        Decoding(max_new_tokens=min(64, model.config.max_position_embeddings - longest), temperature=0.7),
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    for at, start in enumerate(starts):
        tokens = answers.tokens(at)
        prompt = [{"role": "user", "content": decode_response(tokenizer, start)}]
        text = decode_response(tokenizer, tokens)
        work.sample(step, prompt, text, tokens=len(tokens), ended=bool(answers.ended[at]))


def beginning_of(text: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The first tokens of a document, where one begins in this piece, ending with a whole character: a token may hold
    half of one."""
    ends = [at for at, token in enumerate(text[:-FEWEST]) if token == tokenizer.eos_token_id]
    piece = text[ends[0] + 1 :] if ends else text
    start = list(piece[: min(16, max(1, len(piece) // 2))])
    while len(start) > 1 and decode_response(tokenizer, start).endswith("\ufffd"):
        start.pop()
    return start
