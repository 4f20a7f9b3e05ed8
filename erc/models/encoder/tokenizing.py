"""Token ids of texts, for any string a user may send."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

# A text is cut to this many characters a token before it is tokenised, so that a huge text is not slower.
_CHARACTERS_PER_TOKEN = 32


def readable(text: str, *, max_tokens: int) -> str:
    """The part of a text that `encode_texts` reads."""
    return text[: max_tokens * _CHARACTERS_PER_TOKEN]


def encode_texts(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, max_tokens: int, separator: bool = True
) -> tuple[list[tuple[int, ...]], list[bool]]:
    """Token ids of each text with the encoder's special tokens, and which texts were truncated.

    Lone surrogates (half a character, which JSON may hold) are replaced by a question mark.

    Args:
        tokenizer: The tokenizer.
        texts: The texts.
        max_tokens: Most tokens of a text, special tokens included.
        separator: Whether the closing separator is kept; without it, a text has room for one more token.
    """
    if not texts:  # tokenizers refuse an empty list
        return [], []
    looked_at = [readable(text, max_tokens=max_tokens) for text in texts]
    encoded = tokenizer(
        [text.encode("utf-8", "replace").decode("utf-8") for text in looked_at],
        truncation=True,
        max_length=max_tokens if separator else max_tokens + 1,
        padding=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        return_overflowing_tokens=False,
    )
    cut = [
        len(short) < len(text) or bool(one.overflowing)
        for one, short, text in zip(encoded.encodings or (), looked_at, texts, strict=True)
    ]
    rows = [tuple(ids) for ids in encoded["input_ids"]]
    if not separator:
        rows = [row[:-1] if row[-1] == tokenizer.sep_token_id else row for row in rows]
    return rows, cut
