"""Who speaks: telling `Ana: hello` from `12:30`, `http://x` and `one thing: no`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

LONGEST_NAME = 60
"""Characters; a longer run before a colon is text."""

# Every repetition is bounded, so that a line of any length costs the same to refuse.
_PREFIX = re.compile(
    r"(?:\[(?P<label>[^\[\]:：\r\n]{1,60})\]|(?P<name>[^\s:：\[\](](?:[^:：\r\n]{0,59}?)))"
    r"\s{0,4}(?:[(\[](?P<aside>[^()\[\]:：\r\n]{1,80})[)\]])?\s{0,4}(?::(?=\s|$)|：)"
)
# Direction marks are invisible and come with names copied from right-to-left or bidirectional pages.
_MARKS = "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
_PARTICLES = frozenset(
    (
        "al",
        "and",
        "bin",
        "da",
        "de",
        "del",
        "della",
        "den",
        "der",
        "di",
        "du",
        "el",
        "la",
        "le",
        "of",
        "ten",
        "ter",
        "the",
        "van",
        "von",
        "y",
        "&",
        "+",
    )
)
# Symbols such as arrows, bullets and the telephone sign lie below this range: they open lines of prose and of signatures. What joins
# emoji into one (👩‍⚕️) counts after an emoji only.
_EMOJI = re.compile("(?:[\U0001f000-\U0001faff][\u200d\ufe0f\u2600-\u27bf]* ?)+")
# The sender of a message who is in nobody's address book.
_PHONE = re.compile(r"\+?\d(?:[\s().\u2010\u2011-]{0,2}\d){5,17}", re.ASCII)
_NEVER = frozenset(("http", "https", "ftp", "file", "mailto", "www"))
_SENTENCE = frozenset('!?;"“”…<>{}=|\\')


@dataclass(frozen=True, slots=True)
class Named:
    """A line that seems to open with a speaker: `aside` is what stood in brackets after the name."""

    name: str
    text: str
    aside: str | None = None
    labelled: bool = False
    """The name stood in square brackets, as speaker diarisation writes it."""


def split_name(line: str, *, phones: bool = False) -> Named | None:
    """The part before the colon and the part after it, or None where the line cannot open with a speaker.

    The colon must be followed by white space or end the line (the full-width colon needs neither), and the name must
    hold a letter or be made of emoji, or with `phones` be a telephone number. Whether it is a speaker after all is for `Speakers` to say.
    """
    line = line.strip().lstrip(_MARKS).lstrip()
    match = _PREFIX.match(line)
    if match is None:
        return None
    name = " ".join((match["label"] or match["name"]).strip(_MARKS + " \t").split())
    if not (any(character.isalpha() for character in name) or _EMOJI.fullmatch(name) or (phones and _PHONE.fullmatch(name))):
        return None
    if name.casefold() in _NEVER or _SENTENCE & set(name):
        return None
    return Named(name=name, text=line[match.end() :].strip().lstrip(_MARKS), aside=match["aside"], labelled=match["label"] is not None)


class Speakers:
    """Which of the prefixes of a file are speakers.

    One is when it is in square brackets, when it looks like a name (at most four words, each with a capital, a digit, an
    emoji or a letter of a script without capitals), when it opens at least two lines (at most four words), or when it opens the file.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        counts: Counter[str] = Counter()
        self._opening: str | None = None
        first = True
        for line in lines:
            if not line.strip():
                continue
            named = split_name(line)
            if named is not None:
                counts[named.name] += 1
                if first:
                    self._opening = named.name
            first = False
        self._recurring = frozenset(name for name, count in counts.items() if count > 1)

    def match(self, line: str) -> Named | None:
        """`line` split into speaker and text, or None where it opens with no speaker."""
        named = split_name(line)
        if named is None or not (named.labelled or self._is_speaker(named.name)):
            return None
        return named

    def doubtful(self, line: str) -> str | None:
        """The one word before the colon of a line that was not taken for a speaker's, though it might be (`ben: no`); else None."""
        named = split_name(line)
        return named.name if named is not None and " " not in named.name and self.match(line) is None else None

    def _is_speaker(self, name: str) -> bool:
        words = name.split()
        if len(words) > 4:
            return False
        return name == self._opening or name in self._recurring or _looks_like_name(words)


def _looks_like_name(words: list[str]) -> bool:
    return not words[0][0].islower() and all(not word[0].islower() or word in _PARTICLES for word in words)
