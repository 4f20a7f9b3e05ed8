"""Who speaks: telling `Ana: hello`, `Ana:hello` and `**Ana:** hello` from `12:30`, `http://x`, `great :D` and `one thing: no`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

LONGEST_NAME = 60
"""Characters; a longer run before a colon is text."""

# Every repetition is bounded, so that a line of any length costs the same to refuse.
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
# `great:D`, `Thanks:heart:`, `John 3:16`: no words of a speaker stand behind these colons.
_SMILEY = re.compile(r"([DPpOo03SsXx()\[\]{}|/\\*$@#<>^-])\1{0,3}(?:\s|$)|[\w+-]{1,40}:(?:\s|$)")
# What may stand before a name and does not belong to it: marks of quotes, headings and lists, brackets, a
# clock.
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
# Symbols such as arrows, bullets and the telephone sign lie below this range: they open lines of prose and of
# signatures. What joins emoji into one (👩‍⚕️) counts after an emoji only.
_EMOJI = re.compile("(?:[\U0001f000-\U0001faff][\u200d\ufe0f\u2600-\u27bf]* ?)+")
# The sender of a message who is in nobody's address book.
_PHONE = re.compile(r"\+?\d(?:[\s().\u2010\u2011-]{0,2}\d){5,17}", re.ASCII)
_NEVER = frozenset(("http", "https", "ftp", "file", "mailto", "www"))
_SENTENCE = frozenset('!?;"“”…<>{}=|\\')
# Words that open a remark of the speaker above.
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
    """A line that seems to open with a speaker: `aside` is what stood in brackets after the name."""

    name: str
    text: str
    aside: str | None = None
    labelled: bool = False
    """The name stood in square brackets, as speaker diarisation writes it."""
    clock: str | None = None
    """A time that stood behind the name, in brackets or not: `Ana (00:01:05): hi`."""


def split_name(line: str, *, phones: bool = False) -> Named | None:
    """The part before the colon and the part after it, or None where the line cannot open with a speaker.

    The colon must be followed by white space or end the line (the full-width colon needs neither), and the
    name must hold a letter or be made of emoji, or with `phones` be a telephone number. Marks that set the
    name in bold or italics are taken off. Whether it is a speaker after all is for `Speakers` to say.
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
    """As `split_name` for `NAME:text`, without white space before or behind the colon; None too where a smiley or a number follows it."""
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
    """Which of the prefixes of a file are speakers.

    One is when it is in square brackets, when it looks like a name (at most four words, each with a capital,
    a digit, an emoji or a letter of a script without capitals; or `speaker 2`), when it opens at least two
    lines (at most four words), when it opens the file, or when it differs from such a one in capitals or
    numbers alone. What opens remarks (`Note: ...`) is none. Without white space behind the colon only what
    speaks elsewhere or looks like a name counts, and the latter in a file of such lines: one that has other
    speakers, or opens so.
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
        """`line` split into speaker and text, or None where it opens with no speaker."""
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
        """Whether a name opens lines elsewhere too, or the file."""
        return name == self._opening or name in self._recurring

    def doubtful(self, line: str) -> str | None:
        """What seems a name before the colon of a line that was not taken for a speaker's, though it might be (`ben: no`, `> Ana: no`); else None."""
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
    """The line from its first visible character on, with the name as it is without Markdown: `Ana: hi` for `**Ana:** hi`."""
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
    """Whether `text`, with no white space between, may be what the name of these words says."""
    if _SMILEY.match(text) or (words[-1][-1].isdigit() and text[0].isdigit()):
        return False
    return text[0].isalpha() or _looks_like_name(words)


def _family(name: str) -> str:
    """What names have in common that differ in capitals and numbers alone."""
    return re.sub(r"\d+", "0", name.casefold())


def _looks_like_name(words: list[str]) -> bool:
    if _NUMBERED.fullmatch(" ".join(words)):
        return True
    return not words[0][0].islower() and all(not word[0].islower() or word in _PARTICLES for word in words)
