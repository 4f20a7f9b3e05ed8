"""Finds the column of each field: by an explicit mapping, then by common names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from erc.errors import InputError
from erc.transcripts.readers.values import labels, moment, seconds
from erc.transcripts.types import Draft, Log

FIELDS = ("text", "speaker", "conversation", "timestamp", "start", "end", "emotion", "id")
"""The fields a column can be mapped to, as in `--map text=message`."""

# Compared without case and punctuation. The first name that exists is used.
_OBVIOUS: Mapping[str, tuple[str, ...]] = {
    "text": ("text", "utterance", "message", "content", "body", "transcript", "msg", "sentence"),
    "speaker": (
        "speakers",
        "speaker",
        "speakername",
        "author",
        "sender",
        "from",
        "who",
        "user",
        "username",
        "participant",
        "name",
        "role",
    ),
    "conversation": (
        "conversationid",
        "conversation",
        "dialogueid",
        "dialogid",
        "dialogue",
        "dialog",
        "chatid",
        "sessionid",
        "threadid",
        "callid",
        "ticketid",
    ),
    "timestamp": ("timestamp", "datetime", "sentat", "createdat", "date", "time", "ts"),
    "start": ("start", "starttime", "startseconds", "begin"),
    "end": ("end", "endtime", "endseconds", "stop"),
    "emotion": ("emotion", "emotions", "label", "labels"),
    "id": ("utteranceid", "turnid", "messageid"),
}
_PREDICTED = frozenset({"utterance_id", "emotion", "decision", "model"})


def is_own_record(columns: Iterable[str]) -> bool:
    """Whether the columns are those of a record that this package wrote.

    Its `emotion` is a prediction. It is kept in `meta["record"]` and is never a gold label.
    """
    return set(columns) >= _PREDICTED


class Columns:
    """The column of each field, in `chosen`: by `mapping` (field to column), else by common names.

    Raises:
        InputError: for an unknown field or column, and if no column holds the text.
    """

    def __init__(
        self,
        names: Sequence[str],
        mapping: Mapping[str, str],
        *,
        path: str | None = None,
        line: int | None = None,
    ) -> None:
        check_mapping(mapping)
        self.names = tuple(names)
        self.own = is_own_record(names)
        self.chosen: dict[str, str] = {}
        by_key: dict[str, str] = {}
        for name in names:
            by_key.setdefault(_key(name), name)
        for field, column in mapping.items():
            if column not in names:
                raise InputError(
                    f"--map {field}={column}: no such column; the columns are {_listed(names)}",
                    path=path,
                    line=line,
                )
            self.chosen[field] = column
        for field, candidates in _OBVIOUS.items():
            if field in mapping or (field == "emotion" and self.own):
                continue
            free = (
                by_key[key] for key in candidates if key in by_key and by_key[key] not in self.chosen.values()
            )
            if (found := next(free, None)) is not None:
                self.chosen[field] = found
        if "text" not in self.chosen:
            raise InputError(
                f"no column of texts was found among {_listed(names)}; name it with --map text=COLUMN",
                path=path,
                line=line,
            )

    def describe(self) -> str:
        """The chosen columns in words."""
        pairs = ", ".join(f"{field}={self.chosen[field]}" for field in FIELDS if field in self.chosen)
        return f"columns: {pairs} (change with --map FIELD=COLUMN)"


def check_mapping(mapping: Mapping[str, str]) -> None:
    """Check the fields of a mapping.

    Raises:
        InputError: for an unknown field.
    """
    for field in mapping:
        if field not in FIELDS:
            raise InputError(f"--map {field}=...: no field {field!r}; the fields are {', '.join(FIELDS)}")


class Rows:
    """Makes drafts from rows (column to value), and counts unreadable timestamps."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._moments = 0
        self._first_moment = ""

    def draft(self, columns: Columns, row: Mapping[str, Any], line: int) -> Draft | None:
        """The turn of one row; None, with a problem, if its text is not a string."""
        chosen = columns.chosen
        text = row.get(chosen["text"])
        if not isinstance(text, str):
            self._log.problem(line, f"{chosen['text']} is {_kind(text)}, not text", "skipped")
            return None
        draft = Draft(line=line, text=text, speakers=_names(row.get(chosen.get("speaker", ""))))
        draft.conversation = _identifier(row.get(chosen.get("conversation", "")))
        draft.utterance_id = _identifier(row.get(chosen.get("id", "")))
        draft.emotions = labels(row.get(chosen.get("emotion", "")))
        self._times(draft, chosen, row)
        used = set(chosen.values())
        rest = {name: value for name, value in row.items() if name not in used and value not in (None, "")}
        cues = rest.pop("cues", None)
        if isinstance(cues, list):
            draft.meta["cues"] = tuple(cues)
        if rest:
            draft.meta["record"] = rest
        return draft

    def finish(self) -> None:
        """Report the unreadable timestamps of the whole file."""
        if self._moments:
            self._log.note(
                f"{self._moments} timestamp(s) are neither ISO 8601 nor seconds or milliseconds since 1970, "
                f"{self._first_moment}: kept in meta only, the file order is used"
            )

    def _times(self, draft: Draft, chosen: Mapping[str, str], row: Mapping[str, Any]) -> None:
        for field in ("start", "end"):
            value = row.get(chosen.get(field, ""))
            if value in (None, ""):
                continue
            number = seconds(value)
            if number is None:
                self._log.problem(
                    draft.line,
                    f"{chosen[field]}={_short(value)} is not a time (seconds or hh:mm:ss.fff)",
                    "left out, the turn stays",
                )
            setattr(draft, field, number)
        if draft.start is not None and draft.end is not None and draft.end < draft.start:
            self._log.problem(
                draft.line, f"ends at {draft.end} before it starts at {draft.start}", "the end is left out"
            )
            draft.end = None
        value = row.get(chosen.get("timestamp", ""))
        if value in (None, ""):
            return
        draft.timestamp = moment(value)
        if draft.timestamp is None:
            self._first_moment = self._first_moment or f"the first is {_short(value)} at line {draft.line}"
            self._moments += 1
            draft.meta["timestamp"] = value


def _key(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:30]) + (", ..." if len(names) > 30 else "")


def _names(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(name for name in map(_identifier, values) if name is not None)


def _identifier(value: object) -> str | None:
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return str(value)
    except ValueError:  # an integer of more digits than Python prints
        return None


def _kind(value: object) -> str:
    if value is None:
        return "missing"
    return {dict: "an object", list: "a list", bool: "true or false"}.get(type(value), "a number")


def _short(value: object) -> str:
    shown = repr(value) if isinstance(value, str) else _identifier(value) or _kind(value)
    return shown if len(shown) <= 40 else shown[:37] + "..."
