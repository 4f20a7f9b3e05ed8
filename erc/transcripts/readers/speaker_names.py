"""Finds the speaker at the start of a line.

Accepts `Ana: hello`, `Ana:hello` and `**Ana:** hello`, but not `12:30`, `http://x`, `great :D` and `one
thing: no`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

LONGEST_NAME = 60
"""Characters. A longer run before a colon is text."""

# Every repetition is bounded, so a long line takes no longer to reject than a short one.
CLOCK = r"\d{1,3}:\d{2}(?::\d{2}(?:[.,]\d{1,3})?)?"
"""A pattern for `mm:ss` and `hh:mm:ss.fff`."""
_FULL_CLOCK = r"\d{1,3}:\d{2}:\d{2}(?:[.,]\d{1,3})?"
_BEHIND = (
    rf"\s{{0,4}}(?:[(\[](?P<aside>[^()\[\]\r\n]{{1,80}})[)\]]|(?<=\s)(?P<clock>{_FULL_CLOCK}))?\s{{0,4}}"
)
_PREFIX = re.compile(
    rf"(?:\[(?P<label>[^\[\]:：\r\n]{{1,60}})\]|(?P<name>[^\s:：\[\](](?:[^:：\r\n]{{0,59}}?))){_BEHIND}(?::(?=\s|$)|：)"
)
_TIGHT = re.compile(r"(?P<name>[^\s:：\[\](][^:：\r\n]{0,59}):(?P<text>[^\s:：/\\)(|].*)", re.DOTALL)
_MARKDOWN = re.compile(r"(?P<mark>\*{1,3}|_{1,3})(?P<name>[^\s*][^*\r\n]{0,99}?)(?P=mark)")
# After the colons of `great:D`, `Thanks:heart:` and `John 3:16` there are no words of a speaker.
_SMILEY = re.compile(r"([DPpOo03SsXx()\[\]{}|/\\*$@#<>^-])\1{0,3}(?:\s|$)|[\w+-]{1,40}:(?:\s|$)")
# Text that may precede a name without being part of it: marks of quotes, headings and lists, brackets, times.
_DECORATION = re.compile(
    rf"\s{{0,8}}(?:[>*_#|~•–—-]{{1,6}}|[(\[][^()\[\]\r\n]{{1,60}}[)\]]|{CLOCK}(?=\s)|\d{{1,3}}[.)](?=\s))\s{{0,8}}"
)
_LOOSE = re.compile(
    rf"(?P<name>[^\s:：()\[\]][^:：()\[\]\r\n]{{0,59}}?)[*_]{{0,3}}{_BEHIND}[*_]{{0,3}}[:：](?P<text>.*)",
    re.DOTALL,
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
# Symbols such as arrows and bullets are below this range, because they open lines of prose and signatures.
# What joins several emoji into one (👩‍⚕️) is accepted after an emoji only.
_EMOJI = re.compile("(?:[\U0001f000-\U0001faff][\u200d\ufe0f\u2600-\u27bf]* ?)+")
# A sender without a name in the address book.
_PHONE = re.compile(r"\+?\d(?:[\s().\u2010\u2011-]{0,2}\d){5,17}", re.ASCII)
_NEVER = frozenset(("http", "https", "ftp", "file", "mailto", "www"))
_SENTENCE = frozenset('!?;"“”…<>{}=|\\')
# Words that open a remark of the speaker above, not a turn.
_REMARKS = frozenset(
    (
        "note",
        "nb",
        "n.b.",
        "ps",
        "p.s.",
        "pps",
        "edit",
        "update",
        "tldr",
        "fyi",
        "btw",
        "todo",
        "cc",
        "re",
        "warning",
        "reminder",
    )
)
_NUMBERED = re.compile(
    r"(?:speaker|spk|voice|participant|person|interviewer|interviewee|respondent|moderator|host|guest|caller|agent|customer|client|user)"
    r"[ _-]?\d{1,4}",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Named:
    """A line split into speaker and text.

    Attributes:
        name: The speaker.
        text: The text after the colon.
        aside: The text in brackets after the name.
        labelled: Whether the name is in square brackets, as speaker diarisation writes it.
        clock: A time after the name: `Ana (00:01:05): hi`.
    """

    name: str
    text: str
    aside: str | None = None
    labelled: bool = False
    clock: str | None = None


def split_name(line: str, *, phones: bool = False) -> Named | None:
    """Split a line at the colon; None if it cannot open with a speaker.

    White space or the end of the line must follow the colon, except for a full-width colon. The name must
    contain a letter, consist of emoji, or with `phones` be a telephone number. Marks of bold and italics are
    removed. `Speakers` decides whether the name is a speaker.
    """
    line = _unmarked(line)
    match = _PREFIX.match(line)
    if match is None:
        return None
    aside: str | None = match["aside"]
    clock: str | None = match["clock"]
    if aside is not None and re.fullmatch(CLOCK, aside.strip()):
        clock, aside = aside.strip(), None
    name = _tidy(match["label"] or match["name"])
    if not (
        any(character.isalpha() for character in name)
        or _EMOJI.fullmatch(name)
        or (phones and _PHONE.fullmatch(name))
    ):
        return None
    if _is_no_name(name):
        return None
    text = line[match.end() :].strip().lstrip(_MARKS)
    return Named(name=name, text=text, aside=aside, labelled=match["label"] is not None, clock=clock)


def _split_tight(line: str) -> Named | None:
    """As `split_name`, without white space around the colon; None if a smiley or number follows."""
    match = _TIGHT.match(_unmarked(line))
    if match is None or match["name"][-1].isspace() or _SMILEY.match(match["text"]):
        return None
    name, text = _tidy(match["name"]), match["text"].strip().lstrip(_MARKS)
    if (
        _is_no_name(name)
        or not any(character.isalpha() for character in name)
        or (name[-1].isdigit() and text[:1].isdigit())
    ):
        return None
    return Named(name=name, text=text)


class Speakers:
    """Decides which prefixes of the lines of a file are speakers.

    A prefix of at most four words is a speaker if one of these holds:

    - It looks like a name: each word has a capital, a digit, an emoji or a letter of a script without
      capitals.
    - It has the form of `speaker 2`.
    - It opens at least two lines, or the file.
    - It differs from a speaker in capitals or numbers only.

    A prefix in square brackets is always a speaker, and a remark (`Note: ...`) never is. Without white space
    after the colon, a prefix counts if it speaks elsewhere. If it only looks like a name, the file must also
    have other speakers or open with such a line.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        counts: Counter[str] = Counter()
        tight: Counter[str] = Counter()
        self._opening: str | None = None
        first = True
        for line in lines:
            if not line.strip():
                continue
            named = split_name(line)
            if named is not None:
                counts[named.name] += 1
            elif (close := _split_tight(line)) is not None and _looks_like_name(close.name.split()):
                tight[close.name] += 1
                named = close if first else None
            if first and named is not None:
                self._opening = named.name
            first = False
        self._recurring = frozenset(name for name, count in counts.items() if count > 1)
        self._families: frozenset[str] = frozenset()
        self._families = frozenset(_family(name) for name in counts if self._is_speaker(name))
        self._tight = bool(self._families) or (self._opening in tight and tight.total() > 1)

    def match(self, line: str) -> Named | None:
        """Split `line` into speaker and text; None if it does not open with a speaker."""
        named = split_name(line)
        if named is not None:
            return named if named.labelled or self._is_speaker(named.name) else None
        close = _split_tight(line)
        if close is None or not self._is_speaker(close.name):
            return None
        words = close.name.split()
        return (
            close
            if _family(close.name) in self._families or (self._tight and _looks_like_name(words))
            else None
        )

    def known(self, name: str) -> bool:
        """Whether a name opens several lines, or the file."""
        return name == self._opening or name in self._recurring

    def doubtful(self, line: str) -> str | None:
        """The possible name in a line that `match` refuses (`ben: no`, `> Ana: no`); None if none."""
        if self.match(line) is not None:
            return None
        line = _unmarked(line)
        for _ in range(6):
            if (decoration := _DECORATION.match(line)) is None:
                break
            line = line[decoration.end() :]
        match = _LOOSE.match(line)
        if match is None:
            return None
        name, text = _tidy(match["name"]), match["text"].lstrip("*_")
        if (
            _is_no_name(name)
            or "," in name
            or not any(character.isalpha() for character in name)
            or text.startswith(("/", "\\", ":"))
        ):
            return None
        words = name.split()
        if (
            text
            and not text[0].isspace()
            and _family(name) not in self._families
            and not _may_follow(words, text)
        ):
            return None
        large = sum(not word[0].islower() or word in _PARTICLES for word in words)
        return name if len(words) < 3 or large * 2 >= len(words) else None

    def _is_speaker(self, name: str) -> bool:
        words = name.split()
        if len(words) > 4 or name.casefold() in _REMARKS:
            return False
        return self.known(name) or _looks_like_name(words) or _family(name) in self._families


def _unmarked(line: str) -> str:
    """The line without invisible marks at its start and without Markdown: `Ana: hi` for `**Ana:** hi`."""
    line = line.strip().lstrip(_MARKS).lstrip()
    match = _MARKDOWN.match(line)
    if match is None:
        return line
    gap = " " if match["name"].endswith((":", "：")) else ""
    return match["name"] + gap + line[match.end() :]


def _tidy(name: str) -> str:
    return " ".join(name.strip(_MARKS + " \t").split())


def _is_no_name(name: str) -> bool:
    return not name or name.casefold() in _NEVER or bool(_SENTENCE & set(name))


def _may_follow(words: list[str], text: str) -> bool:
    """Whether `text` may be the words of a speaker whose name directly precedes it."""
    if _SMILEY.match(text) or (words[-1][-1].isdigit() and text[0].isdigit()):
        return False
    return text[0].isalpha() or _looks_like_name(words)


def _family(name: str) -> str:
    """The same text for names that differ in capitals and numbers only."""
    return re.sub(r"\d+", "0", name.casefold())


def _looks_like_name(words: list[str]) -> bool:
    if _NUMBERED.fullmatch(" ".join(words)):
        return True
    return not words[0][0].islower() and all(not word[0].islower() or word in _PARTICLES for word in words)
