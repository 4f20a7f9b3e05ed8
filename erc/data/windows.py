"""What of a conversation reaches the text encoder: speaker tags, and the window of past tokens before a target.

Everything here is causal: the answer for turn i is a function of turns 0 to i.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

SpeakerText = Literal["none", "name", "local_tag", "global_tag"]


def local_numbers(speakers: Iterable[str]) -> list[int]:
    """Each turn's speaker as a number: 0 for the first to speak in this conversation, 1 for the second, ..."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(speaker, len(numbers)) for speaker in speakers]


def spoken_text(text: str, kind: SpeakerText, *, name: str, local: int, row: int) -> str:
    """The text of a turn as the encoder reads it, with its speaker in front.

    `name` writes `Ana: ...`; `local_tag` writes `<s1> ...` by order of appearance, in plain text (CoMPM
    2022); `global_tag` writes `<s17> ...` with the speaker's row in the corpus's table, `<s0>` for a speaker
    unknown there (EmoNet 2024).
    """
    if kind == "name":
        return f"{name}: {text}"
    if kind == "local_tag":
        return f"<s{local + 1}> {text}"
    if kind == "global_tag":
        return f"<s{row}> {text}"
    return text


@dataclass(frozen=True, slots=True)
class TokenWindow:
    """Token ids of past and target behind one leading token, and where the target's own tokens begin."""

    ids: tuple[int, ...]
    target_start: int


def token_window(past: Sequence[Sequence[int]], target: Sequence[int], *, limit: int) -> TokenWindow:
    """The last `limit` tokens of past and target behind the target's first token (CLS), which is not counted.

    Every text comes as the tokenizer gives it, CLS first and its closing token last; of earlier texts the CLS
    is left out. The target is always kept: one that is longer than the window loses its end, and the past
    loses its beginning.
    """
    if limit < 1:
        raise ValueError(f"a token window of {limit} has no room for the target")
    own = tuple(target[1 : limit + 1])
    room = limit - len(own)
    before: list[int] = []
    for text in reversed(past):
        if len(before) >= room:
            break
        before[:0] = text[1:]
    kept = before[max(0, len(before) - room) :]
    return TokenWindow(ids=(target[0], *kept, *own), target_start=1 + len(kept))
