"""Sanitizes user text in prompts: markers that a tokenizer or chat template would read are broken up.

Utterances, names, bios and demonstrations may hold prompt injections. Three rules limit them:

- They are put on one line, so no text can forge a turn or close a fence.
- Strings that a tokenizer or chat template reads as control tokens get a middle dot after their first
  character: `<|im_start|>` becomes `<·|im_start|>`.
- Every text except the turn asked about has a maximum length.

A text can still influence the labels of its own dialogue. It can never add a label, because labels are
scored, not read from generated text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

SEPARATOR = "·"
_FAMILIES = (
    r"<\|[^<>|]{0,40}\|>",  # <|im_start|>, <|eot_id|>, <|end|>, <|assistant|>
    r"<{1,2}/?(?:s|sys|bos|eos|pad|unk|mask|user|system|assistant)>{1,2}",
    r"<{1,2}/?(?:tool_call|tool_response|think|start_of_turn|end_of_turn)>{1,2}",
    r"\[/?(?:inst|sys|system_prompt|available_tools|tool_calls|tool_results|cls|sep|pad|mask|unk|bos|eos)\]",
    r"\[/?(?:end of )?(?:dialogue|example)\]",  # markers of the shipped prompts
    r"<[｜|][^<>]{0,40}[｜|]>",  # the full-width bars of DeepSeek's template
)
_KEPT_FORMATS = "\u200d\u200c"  # joiners, which emoji and several scripts need


@dataclass(frozen=True, slots=True)
class Limits:
    """Most characters of each kind of text in a prompt; longer text loses its middle, which is marked.

    `utterance` is for turns of context. The turn asked about is limited by tokens alone.
    """

    name: int = 40
    utterance: int = 600
    history: int = 120
    passage: int = 500


class PromptSanitizer:
    """Makes texts safe to put into a prompt for a given tokenizer.

    `markers` are further strings to break, usually the tokenizer's special and added tokens.
    """

    def __init__(self, markers: Iterable[str] = (), *, limits: Limits | None = None) -> None:
        self.limits = Limits() if limits is None else limits
        literal = sorted(
            {marker for marker in markers if len(marker.strip()) > 1},
            key=lambda marker: (-len(marker), marker),
        )
        # A lookahead also finds overlapping markers; breaking each after one character leaves none whole.
        self._pattern = re.compile(f"(?={'|'.join([*map(re.escape, literal), *_FAMILIES])})", re.IGNORECASE)

    @classmethod
    def for_tokenizer(
        cls, tokenizer: PreTrainedTokenizerBase, *, limits: Limits | None = None
    ) -> PromptSanitizer:
        """A sanitizer that also breaks every special and added token of `tokenizer`."""
        added = [str(token.content) for token in tokenizer.added_tokens_decoder.values()]
        return cls([*map(str, tokenizer.all_special_tokens), *added], limits=limits)

    def line(self, text: str, *, cap: int) -> str:
        """`text` on one line, without control characters or whole markers.

        At most `cap` characters are kept, counted before markers are broken.
        """
        return self._broken(_capped(flat(text), cap))

    def name(self, name: str) -> str:
        """A speaker's name for a line `Name: text`: never empty, no colon, no bracket or quote at its start.

        Double quotes become typographic ones.
        """
        safe = self.line(name, cap=self.limits.name).replace(":", SEPARATOR).lstrip("[]<>\"'`#*- ")
        return _quotes(safe) or "Someone"

    def utterance(self, text: str, *, cap: int | None = None) -> str:
        """The text of a turn; double quotes become typographic ones, so no text can close a quotation.

        `cap` replaces the usual limit in characters.
        """
        return _quotes(self.line(text, cap=self.limits.utterance if cap is None else cap))

    def history(self, text: str) -> str:
        """A remembered turn, shortened."""
        return _quotes(self.line(text, cap=self.limits.history))

    def passage(self, text: str) -> str:
        """A passage of a bio."""
        return _quotes(self.line(text, cap=self.limits.passage))

    def _broken(self, text: str) -> str:
        folded = unicodedata.normalize("NFKC", text)
        if folded != text and len(self._pattern.findall(folded)) > len(self._pattern.findall(text)):
            text = " ".join(
                folded.split()
            )  # a tokenizer that folds compatibility characters would see the marker
        # Inserting joins no characters, so it creates no new marker.
        pieces, last = [], 0
        for found in self._pattern.finditer(text):
            pieces.append(text[last : found.start() + 1] + SEPARATOR)
            last = found.start() + 1
        return "".join([*pieces, text[last:]])


def flat(text: str) -> str:
    """`text` on one line: without control characters, runs of white space as one space."""
    return " ".join("".join(character for character in text if _visible(character)).split())


def _visible(character: str) -> bool:
    category = unicodedata.category(character)
    if category == "Cf":
        return character in _KEPT_FORMATS
    return category not in ("Cc", "Cs") or character.isspace()


def _capped(text: str, cap: int) -> str:
    """At most `cap` characters: two thirds from the beginning, the rest from the end."""
    if len(text) <= cap:
        return text
    if cap < 4:
        return "…"[:cap]
    head = (cap - 3) * 2 // 3
    return f"{text[:head]} … {text[len(text) - (cap - 3 - head) :]}"


def _quotes(text: str) -> str:
    return text.replace('"', "”")
