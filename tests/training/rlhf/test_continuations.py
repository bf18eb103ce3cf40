"""What pretraining shows of itself: where the texts that it continues begin and end."""

from __future__ import annotations

from training.rlhf.pretrain import beginning_of, train_tokenizer

CHINESE = "面包店里有面包和茶叶。"


def test_a_continued_text_begins_with_a_document_and_ends_with_a_whole_character() -> None:
    tokenizer = train_tokenizer(["abc def ghi jkl"] * 5, 270)  # so small that a Chinese character is three tokens
    eos = tokenizer.eos_token_id
    first, second = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("the end", CHINESE))
    start = beginning_of([*first, eos, *second], tokenizer)
    shown = tokenizer.decode(start)
    assert shown and CHINESE.startswith(shown)
    assert len(start) == 15  # of the 16 that it would be, the last is a third of a character
    assert beginning_of([eos], tokenizer) == [eos]
