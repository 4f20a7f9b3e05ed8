"""Texts to token ids, safe for whatever a user may send."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

_CHARACTERS_PER_TOKEN = 32  # a text is cut to this many characters per token first, so that a huge one costs no more than a long one


def readable(text: str, *, max_tokens: int) -> str:
    """As much of a text as `encode_texts` looks at."""
    return text[: max_tokens * _CHARACTERS_PER_TOKEN]


def encode_texts(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, max_tokens: int
) -> tuple[list[tuple[int, ...]], list[bool]]:
    """Token ids of each text with the encoder's special tokens, cut at `max_tokens`, and which texts were cut.

    A lone surrogate, half a character that JSON may hold, is no text to a tokenizer: it is read as a question
    mark.
    """
    if not texts:  # tokenizers refuse an empty list
        return [], []
    looked_at = [readable(text, max_tokens=max_tokens) for text in texts]
    encoded = tokenizer(
        [text.encode("utf-8", "replace").decode("utf-8") for text in looked_at],
        truncation=True,
        max_length=max_tokens,
        padding=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        return_overflowing_tokens=False,
    )
    cut = [
        len(short) < len(text) or bool(one.overflowing)
        for one, short, text in zip(encoded.encodings or (), looked_at, texts, strict=True)
    ]
    return [tuple(ids) for ids in encoded["input_ids"]], cut
