"""Everything held about a person as JSON Lines, and back into a store.

One line each, in this order: `memory` (the header), `embedder`, `speaker`, `conversation`, `observation`,
`bio`, `audit`. Audit lines are for the person to read and are not taken in: what undoes a change are rows
(aliases, turns that were moved) of the store it was made in, which a line does not hold. Vectors are base64
of their little-endian bytes.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, bindparam, case, func, select

from speakers import audit, bios, identity, names
from speakers.errors import InvalidRecordError
from speakers.recording import check_place
from speakers.records import (
    HIGHEST_INDEX,
    ConversationLabel,
    Embedder,
    Observation,
    Passage,
    Point,
    SpeakerId,
    StoredUncertainty,
    check_text,
)
from speakers.store.codec import (
    Vocabulary,
    observation_values,
    observations,
    settle_embedder,
    stored_embedder,
)
from speakers.store.tables import ALIASES, BIOS, CONVERSATIONS, OBSERVATIONS, SPEAKERS, TENANTS
from speakers.tenant import AHEAD, Tenant, bump, tenant_row

VERSION = 1
_O = OBSERVATIONS.c
_ID = re.compile(r"spk_[0-9A-HJKMNP-TV-Z]{26}")

_AROUND = select(
    func.max(case((_O.utterance_id == bindparam("utterance"), 1))).label("known"),
    func.max(case((_O.position == bindparam("place"), _O.utterance_id))).label("holder"),
    func.max(case((_O.position < bindparam("place"), _O.time))).label("earliest"),
    func.min(case((_O.position > bindparam("place"), _O.time))).label("latest"),
).where(_O.tenant == bindparam("of"), _O.conversation_id == bindparam("conversation"))
"""What a conversation holds at a turn's place already, and the times between which one stands there that does not contradict the index."""


@dataclass(frozen=True, slots=True)
class ImportReceipt:
    """What an import did: new speakers and observations, those known before, those refused because they were forgotten, and warnings.

    `logged` counts the changes of identity in the export's log, which is not taken in.
    """

    speakers: int
    observations: int
    known: int
    erased: int
    logged: int = 0
    warnings: tuple[str, ...] = ()


def export(
    connection: Connection, tenant: Tenant, sets: Vocabulary, speakers: Sequence[Row]
) -> Iterator[dict[str, Any]]:
    """The lines about these speakers, as plain dictionaries."""
    yield {"kind": "memory", "version": VERSION, "pseudonymous": tenant.pseudonymous}
    stored = stored_embedder(connection, tenant.row)
    width = None if stored is None else stored[1].width
    if stored is not None:
        yield {"kind": "embedder", **asdict(stored[1])}
    rows = [row.speaker for row in speakers]
    for row in speakers:
        yield _speaker_line(connection, row)
    heard = select(_O.conversation_id).where(_O.speaker.in_(rows))
    where = (CONVERSATIONS.c.tenant == tenant.row) & CONVERSATIONS.c.conversation_id.in_(heard)
    for row in connection.execute(select(CONVERSATIONS).where(where).order_by(CONVERSATIONS.c.sequence)):
        yield {
            "kind": "conversation",
            "conversation_id": row.conversation_id,
            "sequence": row.sequence,
            "time": row.time,
        }
    for speaker in speakers:
        query = (
            select(OBSERVATIONS)
            .where(_O.speaker == speaker.speaker)
            .order_by(_O.time, _O.sequence, _O.conversation_id, _O.position)
        )
        speaker_id = SpeakerId(speaker.speaker_id)
        for one in observations(
            connection, connection.execute(query).all(), speaker=speaker_id, sets=sets, width=width
        ):
            yield _observation_line(one)
        for bio, current in bios.versions(connection, speaker, width=width):
            passages = [
                {"text": one.text, "support": one.support, "vector": _packed(one.vector)}
                for one in bio.passages
            ]
            yield {
                "kind": "bio",
                "speaker_id": speaker_id,
                **asdict(bio),
                "passages": passages,
                "current": current,
            }
    ids = tuple(str(row.speaker_id) for row in speakers)
    for entry in audit.entries(connection, tenant, speakers=ids):
        yield {"kind": "audit", **asdict(entry), "detail": dict(entry.detail)}


def _speaker_line(connection: Connection, row: Row) -> dict[str, Any]:
    group = identity.family(connection, row.speaker)
    called = connection.execute(select(ALIASES).where(ALIASES.c.speaker.in_(group)).order_by(ALIASES.c.alias))
    merged = connection.execute(
        select(SPEAKERS).where(SPEAKERS.c.speaker.in_(group[1:])).order_by(SPEAKERS.c.speaker)
    ).all()
    aliases = [
        {"scope": one.scope, "name": one.name, "match_name": one.match_name, "skeleton": one.skeleton}
        for one in called
    ]
    others = [{"speaker_id": one.speaker_id, "name": one.name, "scope": one.scope} for one in merged]
    return {
        "kind": "speaker", "speaker_id": row.speaker_id, "name": row.name, "scope": row.scope, "created_at": row.created_at,
        "aliases": aliases, "merged": others,
    }  # fmt: skip


def _packed(vector: np.ndarray | None) -> dict[str, str] | None:
    if vector is None:
        return None
    little = np.asarray(vector, "<f2" if vector.dtype == np.float16 else "<f4")
    return {"dtype": little.dtype.name, "base64": base64.b64encode(little.tobytes()).decode("ascii")}


def _unpacked(packed: Mapping[str, str] | None) -> np.ndarray | None:
    if packed is None:
        return None
    dtype = {"float16": "<f2", "float32": "<f4"}[packed["dtype"]]
    return np.frombuffer(base64.b64decode(packed["base64"], validate=True), dtype)


def _observation_line(one: Observation) -> dict[str, Any]:
    assert one.point is not None
    return {
        "kind": "observation", "speaker_id": one.speaker, "conversation_id": one.conversation_id, "utterance_id": one.utterance_id,
        "index": one.index, "time": one.point.time, "timestamp": one.timestamp, "text": one.text, "weights": dict(one.weights),
        "uncertainty": None if one.uncertainty is None else asdict(one.uncertainty),
        "label": None if one.label is None else asdict(one.label),
        "correction": one.correction, "model": one.model, "vector": _packed(one.vector),
    }  # fmt: skip


def parse(lines: Iterable[str | bytes], *, source: str = "import") -> Iterator[tuple[str, dict[str, Any]]]:
    """The place and content of each line; bytes are UTF-8, with or without a mark in front. Raises InvalidRecordError that names the line."""
    for number, line in enumerate(lines, start=1):
        place = f"{source}:{number}"
        try:
            text = line if isinstance(line, str) else line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidRecordError(
                f"{place}: not UTF-8 (byte {error.start + 1} of the line); save the export as UTF-8 text"
            ) from None
        text = text.removeprefix("\ufeff") if number == 1 else text
        if not text.strip():
            continue
        try:
            data = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise InvalidRecordError(f"{place}: not a JSON object ({error})") from None
        if not isinstance(data, dict) or "kind" not in data:
            raise InvalidRecordError(f"{place}: a line of an export is an object with a 'kind'")
        if data["kind"] == "memory" and data.get("version") != VERSION:
            raise InvalidRecordError(
                f"{place}: export version {data.get('version')}, this reads {VERSION}: pip install --upgrade convemo"
            )
        yield place, data


class Importer:
    """Takes lines into one tenant, inside one write transaction: all of them or none."""

    def __init__(self, connection: Connection, tenant: Tenant, sets: Vocabulary, *, now: float) -> None:
        self._connection, self._tenant, self._sets, self._now = connection, tenant, sets, now
        self._embedder: Embedder | None = None
        self._owners: dict[str, int | None] = {}
        self._apart: set[str] = set()  # one person in the export, several here
        self._counts = {"speakers": 0, "observations": 0, "known": 0, "erased": 0, "logged": 0}
        self._warnings: list[str] = []

    def take(self, lines: Iterable[tuple[str, dict[str, Any]]]) -> ImportReceipt:
        """Take in every line. Raises InvalidRecordError that names the first line that cannot be used."""
        handlers = {"embedder": self._take_embedder, "speaker": self._take_speaker, "conversation": self._take_conversation,
                    "observation": self._take_observation, "bio": self._take_bio}  # fmt: skip
        for place, data in lines:
            if data["kind"] in ("audit", "memory"):
                self._counts["logged"] += data["kind"] == "audit"
                continue
            if data["kind"] not in handlers:
                raise InvalidRecordError(
                    f"{place}: unknown kind {data['kind']!r}; one of memory, {', '.join(handlers)}, audit"
                )
            try:
                handlers[data["kind"]](data)
            except InvalidRecordError as error:
                raise InvalidRecordError(f"{place}: {error}") from None
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise InvalidRecordError(
                    f"{place}: a damaged {data['kind']} line ({type(error).__name__}: {error})"
                ) from None
        bump(self._connection, self._tenant)
        return ImportReceipt(**self._counts, warnings=tuple(self._warnings))

    def _take_embedder(self, data: Mapping[str, Any]) -> None:
        self._embedder = Embedder(data["name"], data["revision"], int(data["width"]))
        settle_embedder(self._connection, self._tenant.row, self._embedder)

    def _take_speaker(self, data: Mapping[str, Any]) -> None:
        aliases = [one for one in data["aliases"] if one["match_name"]]
        for one in (data, *data["merged"]):
            if not _ID.fullmatch(one["speaker_id"]):
                raise InvalidRecordError(
                    f"speaker_id={one['speaker_id']!r}: an id is 'spk_' and 26 characters, as this package makes them"
                )
            check_text(one["scope"], "scope")
        digests = [
            self._tenant.tombstone_of_id(one)
            for one in (data["speaker_id"], *(merged["speaker_id"] for merged in data["merged"]))
        ]
        digests += [self._tenant.tombstone_of_name(one["scope"], self._match(one)) for one in aliases]
        if identity.is_erased(self._connection, self._tenant, *digests):
            self._owners[data["speaker_id"]] = None
            return
        found = self._row(data["speaker_id"])
        if found is None:
            values = {"tenant": self._tenant.row, "speaker_id": data["speaker_id"], "scope": data["scope"], "created_at": float(data["created_at"]),
                      "basis": 0, "name": self._shown(data)}  # fmt: skip
            found = self._connection.execute(
                SPEAKERS.insert().values(**values).returning(SPEAKERS.c.speaker)
            ).scalar_one()
            self._counts["speakers"] += 1
        self._owners[data["speaker_id"]] = found
        for merged in data["merged"]:
            known = self._row(merged["speaker_id"])
            if known not in (None, found):
                self._apart.add(data["speaker_id"])
            elif known is None:
                values = {"tenant": self._tenant.row, "speaker_id": merged["speaker_id"], "scope": merged["scope"], "created_at": self._now,
                          "basis": 0, "name": self._shown(merged), "merged_into": found}  # fmt: skip
                self._connection.execute(SPEAKERS.insert(), values)
        for one in aliases:
            self._take_alias(found, data["speaker_id"], one)

    def _row(self, speaker_id: str) -> int | None:
        where = (SPEAKERS.c.tenant == self._tenant.row) & (SPEAKERS.c.speaker_id == speaker_id)
        row = self._connection.execute(select(SPEAKERS.c.speaker).where(where)).scalar_one_or_none()
        return (
            None if row is None else identity.find_by_id(self._connection, self._tenant, speaker_id).speaker
        )

    def _shown(self, data: Mapping[str, Any]) -> str | None:
        """The name a speaker is shown under; none that belongs to somebody who was forgotten, which a split-off speaker may still bear."""
        if data["name"] is None or self._tenant.pseudonymous:
            return None
        digest = self._tenant.tombstone_of_name(data["scope"], self._tenant.match_name(data["name"]))
        return (
            None
            if identity.is_erased(self._connection, self._tenant, digest)
            else names.display(data["name"])
        )

    def _match(self, alias: Mapping[str, Any]) -> str:
        """The alias as this tenant matches it; names an export no longer holds can only be taken in as the digests they are."""
        return (
            check_text(alias["match_name"], "name")
            if alias["name"] is None
            else self._tenant.match_name(alias["name"])
        )

    def _take_alias(self, speaker: int, speaker_id: str, alias: Mapping[str, Any]) -> None:
        if alias["name"] is None and not self._tenant.pseudonymous:
            raise InvalidRecordError(
                "the export is pseudonymous and this memory is not; import it into a pseudonymous one"
            )
        match = self._match(alias)
        where = (
            (ALIASES.c.tenant == self._tenant.row)
            & (ALIASES.c.scope == alias["scope"])
            & (ALIASES.c.match_name == match)
        )
        holder = self._connection.execute(select(ALIASES.c.speaker).where(where)).scalar_one_or_none()
        if holder is None:
            skeleton = (
                alias["skeleton"] if alias["name"] is None else self._tenant.match_skeleton(alias["name"])
            )
            values = {"tenant": self._tenant.row, "speaker": speaker, "scope": alias["scope"], "match_name": match, "skeleton": skeleton,
                      "name": None if self._tenant.pseudonymous else names.display(alias["name"])}  # fmt: skip
            self._connection.execute(ALIASES.insert(), values)
        elif speaker not in (holder, *self._targets(holder)):
            shown = "a name" if alias["name"] is None else repr(alias["name"])
            self._warnings.append(
                f"{speaker_id}: {shown} belongs to another speaker here; they stay two speakers unless merged"
            )

    def _targets(self, speaker: int) -> tuple[int, ...]:
        speaker_id = self._connection.execute(
            select(SPEAKERS.c.speaker_id).where(SPEAKERS.c.speaker == speaker)
        ).scalar_one()
        return (identity.find_by_id(self._connection, self._tenant, speaker_id).speaker,)

    def _take_conversation(self, data: Mapping[str, Any]) -> None:
        if self._sequence(check_text(data["conversation_id"], "conversation_id")) is not None:
            return
        counters = tenant_row(self._connection, self._tenant)
        Point(float(data["time"]), 0, "", 0)  # refuses a time that is not finite
        place = {
            "sequence": counters.next_sequence,
            "time": min(float(data["time"]), self._now + AHEAD),
        }  # nothing was taken in later than now
        self._connection.execute(
            CONVERSATIONS.insert(),
            {"tenant": self._tenant.row, "conversation_id": data["conversation_id"], **place},
        )
        values = {"next_sequence": counters.next_sequence + 1, "clock": max(counters.clock, place["time"])}
        self._connection.execute(
            TENANTS.update().where(TENANTS.c.tenant == self._tenant.row).values(**values)
        )

    def _sequence(self, conversation_id: str) -> int | None:
        where = (CONVERSATIONS.c.tenant == self._tenant.row) & (
            CONVERSATIONS.c.conversation_id == conversation_id
        )
        return self._connection.execute(select(CONVERSATIONS.c.sequence).where(where)).scalar_one_or_none()

    def _take_observation(self, data: Mapping[str, Any]) -> None:
        owner = self._owner(data)
        if owner is None:
            self._counts["erased"] += 1
            return
        sequence = self._sequence(data["conversation_id"])
        if sequence is None:
            raise InvalidRecordError(
                f"conversation {data['conversation_id']!r} has no line of its own before this one"
            )
        time = float(data["time"])
        one = Observation(
            speaker=SpeakerId(data["speaker_id"]), conversation_id=data["conversation_id"], utterance_id=data["utterance_id"], index=data["index"],
            text=data["text"], timestamp=data["timestamp"], weights=data["weights"],
            uncertainty=None if data["uncertainty"] is None else StoredUncertainty(**data["uncertainty"]),
            label=None if data["label"] is None else ConversationLabel(**data["label"]),
            correction=data["correction"], model=data["model"], vector=_unpacked(data["vector"]),
            point=Point(time, sequence, data["conversation_id"], data["index"]),
        )  # fmt: skip
        around = self._connection.execute(_AROUND, {"of": self._tenant.row, "conversation": one.conversation_id, "utterance": one.utterance_id,
                                                    "place": one.index}).one()  # fmt: skip
        if around.known:
            self._counts["known"] += 1
            return
        check_place(one, around.holder)
        time = min(
            max(time, time if around.earliest is None else around.earliest),
            math.inf if around.latest is None else around.latest,
        )
        values = observation_values(
            one,
            keeps_text=self._tenant.keeps_text,
            width=None if self._embedder is None else self._embedder.width,
        )
        label_set, weights = self._sets.encode(self._connection, one.weights)
        embedder = settle_embedder(
            self._connection, self._tenant.row, None if one.vector is None else self._embedder
        )
        values |= {"tenant": self._tenant.row, "speaker": owner, "sequence": sequence, "time": time, "label_set": label_set,
                   "weights": weights, "embedder": embedder}  # fmt: skip
        self._connection.execute(OBSERVATIONS.insert(), values)
        self._counts["observations"] += 1

    def _owner(self, data: Mapping[str, Any]) -> int | None:
        if data["speaker_id"] not in self._owners:
            raise InvalidRecordError(f"speaker {data['speaker_id']!r} has no line of its own before this one")
        return self._owners[data["speaker_id"]]

    def _take_bio(self, data: Mapping[str, Any]) -> None:
        owner = self._owner(data)
        if owner is None or not data["current"] or not self._tenant.keeps_text:
            return  # one that describes other turns than its speaker's may hold words of another, and never becomes true here
        basis = self._connection.execute(
            select(SPEAKERS.c.basis).where(SPEAKERS.c.speaker == owner)
        ).scalar_one()
        if basis != 0 or data["speaker_id"] in self._apart:
            return  # who is who is another matter here: the turns it describes need not be this speaker's
        if (
            self._connection.execute(
                select(BIOS.c.bio).where(BIOS.c.speaker == owner, BIOS.c.version == data["version"])
            ).first()
            is not None
        ):
            return
        before, numbers = (
            Point(**data["before"]),
            (data["version"], data["utterances"], data["conversations"], data["before"]["index"]),
        )
        numbers += tuple(one["support"] for one in data["passages"])
        if not all(isinstance(number, int) and 0 <= number <= HIGHEST_INDEX for number in numbers):
            raise InvalidRecordError(
                f"version, utterances, conversations, index and support of a bio are whole numbers, not {numbers}"
            )
        for text in (data["writer"], before.conversation_id, *(one["text"] for one in data["passages"])):
            check_text(text, "bio")
        values = {
            "tenant": self._tenant.row, "speaker": owner, "version": data["version"], "time": before.time,
            "sequence": self._sequence(before.conversation_id) or before.sequence, "conversation_id": before.conversation_id,
            "position": before.index, "writer": data["writer"], "basis": 0, "utterances": data["utterances"],
            "conversations": data["conversations"],
        }  # fmt: skip
        bio = self._connection.execute(BIOS.insert().values(**values).returning(BIOS.c.bio)).scalar_one()
        passages = tuple(
            Passage(one["text"], one["support"], _unpacked(one["vector"])) for one in data["passages"]
        )
        bios.store_passages(self._connection, self._tenant, bio, passages, self._embedder)
