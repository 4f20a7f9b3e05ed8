"""The record of one labelled turn, as all writers take it: a plain mapping of the keys below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from erc.data import Conversation, Utterance
from erc.transcripts.decoding import scrub


def utterance_record(
    conversation: Conversation, utterance: Utterance, *, cues: bool = False
) -> dict[str, Any]:
    """The part of a record that the transcript gives; the labels are for the predictor to add.

    With `cues` the caption cues of the turn come too, for writing WebVTT with the times of the source.
    """
    record: dict[str, Any] = {
        "conversation_id": conversation.conversation_id,
        "utterance_id": utterance.utterance_id,
        "index": utterance.index,
        "speaker": utterance.speaker,
        "text": utterance.text,
        "start": utterance.start,
        "end": utterance.end,
        "timestamp": utterance.timestamp,
    }
    if len(utterance.speakers) > 1:
        record["speakers"] = list(utterance.speakers)
    if cues and utterance.meta.get("cues"):
        record["cues"] = [dict(cue) for cue in utterance.meta["cues"]]
    return record


def plain(value: Any) -> Any:
    """`value` of lists, dicts, strings and numbers alone, its strings fit for UTF-8; NumPy numbers become Python's.

    Raises TypeError for anything else.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return scrub(value)[0]
    if isinstance(value, int | float):
        # A subclass such as numpy.float64 is brought back to what JSON and Parquet print.
        return float(value) if isinstance(value, float) else int(value)
    if isinstance(value, Mapping):
        return {scrub(str(key))[0]: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if callable(item := getattr(value, "tolist", None)):
        return plain(item())
    raise TypeError(f"{type(value).__name__} is no JSON value")


def name_of(record: Mapping[str, Any]) -> str:
    """How messages call a record."""
    return f"the record {record.get('utterance_id', '?')!r}"
