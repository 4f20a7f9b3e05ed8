"""Compares and classifies speaker names.

Names match as in Unicode's NFKC_Casefold (UAX 31): compatibility forms, case and invisible characters are
ignored. Names that only look alike have the same skeleton (UTS 39). A skeleton causes a warning and never
joins two speakers.
"""

from __future__ import annotations

import enum
import re
import unicodedata
from collections.abc import Sequence

from speakers.errors import InvalidRecordError
from speakers.records import check_text

LONGEST_NAME = 200
"""In code points after normalisation. NFKC may turn one character into eighteen."""

# Unicode's Default_Ignorable_Code_Point, as ranges.
_IGNORABLE = (
    (0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160), (0x17B4, 0x17B5),
    (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164),
    (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
_DROP_IGNORABLE = {point: None for first, last in _IGNORABLE for point in range(first, last + 1)}

_LOOKALIKES = str.maketrans(
    # Cyrillic, Greek, Armenian and Latin letters, each above the ASCII letter that it looks like.
    "АВЕЅІЈКМНОРСТУХҮԌԛԝаеѕіјорсухһԁӏкг" + "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧαινορυκγ" + "օսցոհıȷɑɡ" + "I1|0",
    "ABESlJKMHOPCTYXYGqwaesijopcyxhdlkr" + "ABEZHlKMNOPTYXaivopuky" + "ougnhijag" + "lllo",
)

_COLLECTIVE_TEXT = (
    "all|everyone|everybody|both|together|group|crowd|audience|others|the others|all others|the group|"
    "the gang|various|multiple|several|multiple speakers|multiple people|them|they|we"
)
_COLLECTIVE = frozenset(_COLLECTIVE_TEXT.split("|"))
_GENERIC_TEXT = (
    "user|users|agent|assistant|bot|chatbot|ai|model|system|human|customer|client|caller|callee|operator|"
    "support|representative|rep|advisor|host|guest|interviewer|interviewee|moderator|narrator|therapist|"
    "counselor|counsellor|patient|doctor|nurse|teacher|student|participant|speaker|person|someone|"
    "somebody|unknown|unknown speaker|anonymous|me|you|self|i|other|man|woman|boy|girl|voice|n/a|none"
)
_GENERIC = frozenset(_GENERIC_TEXT.split("|"))
_NUMBERED = re.compile(
    r"(?:speaker|spk|spkr|s|person|participant|channel|ch|voice|guest|user|agent|customer|caller|unknown|"
    r"interviewer|interviewee|student|man|woman|speaker id)(?:[ _\-#.:]*\d{1,6}|[ _\-#.:]+[a-z])"
)
# A slash or an ampersand without spaces is part of one name: `ACME/ana`, `R&D`, `AC/DC`.
_SEVERAL = re.compile(r"\s+(?:and|&|\+|/)\s+|\s*;\s*")
_COMMA = re.compile(r"\s*,\s*")
_TITLES = frozenset(
    ("mr", "mrs", "ms", "miss", "mx", "dr", "prof", "sir", "madam", "herr", "frau", "sr", "sra", "mme")
)
_PRONOUN = (
    "(?:she|hers?|he|him|his|they|them|theirs?|its?|ze|zir|hir|xe|xem|xyr|fae|faer|any|all|"
    "ela|dela|ele|dele|elu|delu|ella|él|elle|elles?|sie|ihr|er|ihm|ihn|iel|il|lui)"
)
_PRONOUNS = re.compile(rf"\s*[(\[]\s*{_PRONOUN}(?:\s*[/,|]\s*{_PRONOUN}){{1,5}}\s*[)\]]$")


class NameKind(enum.Enum):
    """What a name can denote. Only a PERSON is remembered across conversations."""

    PERSON = "person"
    GENERIC = "generic"
    COLLECTIVE = "collective"


def normalise(name: str) -> str:
    """The form in which names are compared, without trailing pronouns as in `Ana (she/her)`.

    Normalising twice changes nothing.

    Raises:
        InvalidRecordError: the name has no visible character, is too long, or cannot be stored.
    """
    current = check_text(name, "speaker name")
    if len(current) > LONGEST_NAME * 4:
        raise InvalidRecordError(
            f"speaker name of {len(current)} characters; at most {LONGEST_NAME} are allowed"
        )
    while True:
        folded = unicodedata.normalize(
            "NFKC", unicodedata.normalize("NFKC", current).translate(_DROP_IGNORABLE).casefold()
        )
        folded = " ".join(folded.translate(_DROP_IGNORABLE).split())
        folded = _PRONOUNS.sub("", folded) or folded
        if folded == current:
            break
        current = folded
    if not current:
        raise InvalidRecordError(f"speaker name {name!r} has no visible character")
    if len(current) > LONGEST_NAME:
        raise InvalidRecordError(
            f"speaker name of {len(current)} characters after normalisation; "
            f"at most {LONGEST_NAME} are allowed"
        )
    return current


def display(name: str) -> str:
    """The form for display: composed (NFC), on one line, without invisible or control characters."""
    plain = " ".join(unicodedata.normalize("NFC", name).translate(_DROP_IGNORABLE).split())
    return "".join(character for character in plain if unicodedata.category(character) != "Cc")


def skeleton(name: str) -> str:
    """A form that is equal for names that look alike, after the skeleton of UTS 39."""
    plain = unicodedata.normalize("NFKC", display(name)).translate(_LOOKALIKES).casefold()
    return unicodedata.normalize("NFKC", plain).replace("i\u0307", "i").replace("rn", "m").replace("vv", "w")


def hidden_characters(name: str) -> tuple[str, ...]:
    """The invisible characters of a name as written, as `U+XXXX`."""
    return tuple(
        dict.fromkeys(f"U+{ord(character):04X}" for character in name if ord(character) in _DROP_IGNORABLE)
    )


def kind(name: str) -> NameKind:
    """Whether a name denotes a person, a role (`user`, `Agent`, `SPEAKER_00`), or a group (`ALL`).

    Raises:
        InvalidRecordError: the name cannot be stored (see `normalise`).
    """
    plain = normalise(name).strip("#[]()<>*: ")
    if plain in _COLLECTIVE:
        return NameKind.COLLECTIVE
    if not plain or plain in _GENERIC or plain.isdigit() or _NUMBERED.fullmatch(plain):
        return NameKind.GENERIC
    return NameKind.PERSON


def owners(name: str | Sequence[str]) -> tuple[str, ...]:
    """The names in the speaker field of a turn, in order; the turn belongs to the first.

    Several names: `A & B`, `A and B`, `A / B`, `A; B`, `A, B and C`.

    One name: a lone comma (`Geller, Monica`), a slash or ampersand without spaces (`R&D`), separators in
    brackets, a repeated name (`Johnson & Johnson`), a title (`Mr. & Mrs. Smith`).
    """
    if not isinstance(name, str):
        return tuple(part for part in name if part.strip()) or ("",)
    parts = _split(_SEVERAL, name)
    plain = [part.casefold().rstrip(".") for part in parts]
    if "" in plain or len(set(plain)) < len(plain) or not _TITLES.isdisjoint(plain):
        return (name,)
    if len(parts) > 1:
        parts = [piece for part in parts for piece in _split(_COMMA, part)]
    return tuple(part for part in parts if part) or (name,)


def _split(mark: re.Pattern[str], name: str) -> list[str]:
    """The parts between the marks that are outside brackets."""
    parts, last = [], 0
    for match in mark.finditer(name):
        before = name[: match.start()]
        if sum(map(before.count, "([{")) <= sum(map(before.count, ")]}")):
            parts.append(name[last : match.start()].strip())
            last = match.end()
    return [*parts, name[last:].strip()]
