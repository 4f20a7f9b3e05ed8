"""Input of the text encoder: speaker tags, and the window of past tokens before a target.

All functions are causal: the result for turn i depends on turns 0 to i only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

SpeakerText = Literal["none", "name", "local_tag", "global_tag"]


def local_numbers(speakers: Iterable[str]) -> list[int]:
    """Each turn's speaker as a number, in order of first appearance: 0, 1, ..."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(speaker, len(numbers)) for speaker in speakers]


def spoken_text(text: str, kind: SpeakerText, *, name: str, local: int, row: int) -> str:
    """The text of a turn for the encoder, preceded by its speaker.

    - `name` gives `Ana: ...`.
    - `local_tag` gives `<s1> ...` in order of appearance, as plain text (CoMPM, 2022).
    - `global_tag` gives `<s17> ...`, the speaker's row in the corpus's table, or `<s0>` for an unknown
      speaker (EmoNet, 2024).
    - `none` gives the text alone.
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
    """Token ids: one leading token, the past, then the target, which begins at `target_start`."""

    ids: tuple[int, ...]
    target_start: int


def token_window(past: Sequence[Sequence[int]], target: Sequence[int], *, limit: int) -> TokenWindow:
    """The last `limit` tokens of past and target, after the target's CLS token, which is not counted.

    Texts are token ids as the tokenizer gives them, with CLS first and the closing token last. The CLS of
    past texts is left out. If there is no room, the past loses its beginning. A target that is longer than
    the window loses its end.

    Raises:
        ValueError: for a `limit` below 1.
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
