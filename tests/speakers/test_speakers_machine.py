"""Random changes of a memory, compared with a simple model."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from speakers_support import EMBEDDER, make, vectors

from speakers import END, Point, Registry, SpeakerId
from speakers.errors import NameTakenError, NotReversibleError

NAMES = ("Ana", "Bo", "Cy", "Аna", "user")
CONVERSATIONS = tuple(f"c{number}" for number in range(6))


@dataclass
class Person:
    """A speaker of the model: the displayed name and the names that resolve to it."""

    name: str
    scope: str
    names: set[tuple[str, str]]
    merged_into: str | None = None


@dataclass
class Model:
    """The expected content of a memory, as dictionaries."""

    people: dict[str, Person] = field(default_factory=dict)
    turns: dict[tuple[str, int], tuple[str, float]] = field(
        default_factory=dict
    )  # (conversation, index) -> owner, time
    sequences: dict[str, int] = field(default_factory=dict)
    taken_in: dict[str, float] = field(
        default_factory=dict
    )  # the clock at each conversation's first ingestion
    next_sequence: int = 1
    clock: float = 0.0
    erased: set[tuple[str, str]] = field(default_factory=set)
    log: list[tuple[int, str, str, str | None, object]] = field(
        default_factory=list
    )  # entry, action, speaker, other, state to restore

    def follow(self, who: str) -> str:
        while (target := self.people[who].merged_into) is not None:
            who = target
        return who

    def named(self, name: str, scope: str) -> str | None:
        key = (scope, name.casefold())
        return next((self.follow(who) for who, person in self.people.items() if key in person.names), None)

    def heads(self) -> list[str]:
        return [who for who, person in self.people.items() if person.merged_into is None]

    def points(self, who: str) -> list[Point]:
        return sorted(
            Point(time, self.sequences[talk], talk, index)
            for (talk, index), (owner, time) in self.turns.items()
            if owner == who
        )


class Memory(RuleBasedStateMachine):
    """Rules change the store and the model; invariants compare them."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.now, self.model, self.stores = 1000.0, Model(), 0
        self.registry = self._open()

    def _open(self) -> Registry:
        return Registry.open(Path(self.folder.name) / f"s{self.stores}.db", clock=lambda: self.now)

    def teardown(self) -> None:
        if hasattr(self, "registry"):
            self.registry.close()
            self.folder.cleanup()

    def _meet(self, name: str, conversation: str) -> SpeakerId | None:
        scope = conversation if name == "user" else ""
        found = self.registry.resolve(name, conversation_id=conversation)
        if (scope, name.casefold()) in self.model.erased:
            assert found.erased
            return None
        assert found.speaker is not None
        known = self.model.named(name, scope)
        assert found.created == (known is None)
        if known is None:
            self.model.people[found.speaker.speaker_id] = Person(name, scope, {(scope, name.casefold())})
        else:
            assert found.speaker.speaker_id == known
        return found.speaker.speaker_id

    def _pick(self, number: int) -> SpeakerId | None:
        heads = self.model.heads()
        return SpeakerId(heads[number % len(heads)]) if heads else None

    @rule(
        conversation=st.sampled_from(CONVERSATIONS),
        names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=4),
        jump=st.integers(-50, 50),
        timestamp=st.sampled_from([None, 10.0, 900.0]),
    )
    def add(self, conversation: str, names: list[str], jump: int, timestamp: float | None) -> None:
        self.now += jump
        owners = [self._meet(name, conversation) for name in names]
        said = [(index, owner) for index, owner in enumerate(owners) if owner is not None]
        stamps = {index: None if timestamp is None else timestamp + index for index, _ in said}
        fresh = [(index, owner) for index, owner in said if (conversation, index) not in self.model.turns]
        points = {
            point.index: point
            for point in self.registry.points_for(conversation, [(index, stamps[index]) for index, _ in said])
        }
        lines = [
            make(
                owner,
                conversation,
                index,
                timestamp=stamps[index],
                weights={"joy": 0.25},
                vector=vectors(1, index)[0],
            )
            for index, owner in said
        ]
        receipt = self.registry.record(conversation, lines, embedder=EMBEDDER)
        assert receipt.recorded == len(fresh)
        if fresh and conversation not in self.model.sequences:
            self.model.clock = max(self.model.clock, self.now)
            self.model.taken_in[conversation] = self.model.clock
            self.model.sequences[conversation] = self.model.next_sequence
            self.model.next_sequence += 1
        for index, owner in fresh:
            assert points[index].sequence == self.model.sequences[conversation]
            if timestamp is None and not any(talk == conversation for talk, _ in self.model.turns):
                assert points[index].time == self.model.clock
            self.model.turns[conversation, index] = (owner, points[index].time)

    @rule(number=st.integers(0, 9), name=st.sampled_from(("Dee", "Eve", "Ana")), rename=st.booleans())
    def name(self, number: int, name: str, rename: bool) -> None:
        who = self._pick(number)
        if who is None:
            return
        person = self.model.people[who]
        key = (person.scope, name.casefold())
        holder = self.model.named(name, person.scope)
        change = self.registry.rename if rename else self.registry.alias
        if (holder is None and key in self.model.erased) or holder not in (None, who):
            with pytest.raises(NameTakenError):
                change(who, name)
            return
        entry = change(who, name)
        self.model.log.append((entry, "name", who, None, (person.name, key if holder is None else None)))
        person.names |= {key} if holder is None else set()
        person.name = name if rename else person.name

    @rule(first=st.integers(0, 9), second=st.integers(0, 9))
    def merge(self, first: int, second: int) -> None:
        source, target = self._pick(first), self._pick(second)
        if source is None or target is None or source == target:
            return
        entry = self.registry.merge(source, target)
        moved = [key for key, (owner, _) in self.model.turns.items() if owner == source]
        self.model.log.append((entry, "merge", source, target, moved))
        self.model.people[source].merged_into = target
        for key in moved:
            self.model.turns[key] = (target, self.model.turns[key][1])

    @rule(number=st.integers(0, 9), conversation=st.sampled_from(CONVERSATIONS))
    def split(self, number: int, conversation: str) -> None:
        who = self._pick(number)
        moved = [
            key for key, (owner, _) in self.model.turns.items() if owner == who and key[0] == conversation
        ]
        if who is None or not moved:
            return
        entry, fresh = self.registry.split(who, conversations=[conversation])
        self.model.people[fresh] = Person(self.model.people[who].name, self.model.people[who].scope, set())
        self.model.log.append((entry, "split", who, fresh, moved))
        for key in moved:
            self.model.turns[key] = (fresh, self.model.turns[key][1])

    @precondition(lambda self: self.model.log)
    @rule(number=st.integers(0, 9))
    def undo(self, number: int) -> None:
        position = number % len(self.model.log)
        entry, action, who, other, kept = self.model.log[position]
        touched = {who, other} - {None}
        covered = any({later[2], later[3]} & touched for later in self.model.log[position + 1 :])
        grown = action == "split" and any(
            owner == other and key not in kept for key, (owner, _) in self.model.turns.items()
        )  # type: ignore[operator]
        if covered or grown:
            with pytest.raises(NotReversibleError):
                self.registry.undo(entry)
            return
        self.registry.undo(entry)
        del self.model.log[position]
        if action == "name":
            self.model.people[who].name, added = kept  # type: ignore[misc]
            self.model.people[who].names -= {added}
            return
        for key in kept:  # type: ignore[attr-defined]
            if key in self.model.turns:
                self.model.turns[key] = (who, self.model.turns[key][1])
        if action == "merge":
            self.model.people[who].merged_into = None
        else:
            del self.model.people[str(other)]

    @rule(number=st.integers(0, 9))
    def forget(self, number: int) -> None:
        who = self._pick(number)
        if who is None:
            return
        group = {one for one in self.model.people if self.model.follow(one) == who}
        assert self.registry.forget(who).speakers == len(group)
        for one in group:
            self.model.erased |= self.model.people.pop(one).names
        self.model.turns = {key: value for key, value in self.model.turns.items() if value[0] not in group}
        heard = {talk for talk, _ in self.model.turns}
        self.model.sequences = {
            talk: number for talk, number in self.model.sequences.items() if talk in heard
        }
        self.model.log = [line for line in self.model.log if not {line[2], line[3]} & group]

    @rule()
    def reopen(self) -> None:
        self.registry.close()
        self.registry = self._open()

    @rule(conversation=st.sampled_from(CONVERSATIONS))
    def crash(self, conversation: str) -> None:
        """A writer is killed in the middle of a transaction. Nothing of the transaction is stored."""
        broken = self._open()
        connection = broken._session.store.engine.connect().execution_options(speakers_write=True)
        connection.begin()
        connection.exec_driver_sql("UPDATE tenants SET next_sequence = next_sequence + 7, clock = 1e9")
        connection.exec_driver_sql("DELETE FROM moves")
        connection.invalidate()
        connection.close()
        broken.close()
        self.reopen()

    @rule()
    def move_to_a_new_store(self) -> None:
        """Export everything and continue in a new store.

        Earlier changes cannot be undone there, and its tombstones stay in the old store.
        """
        lines = list(self.registry.export())
        self.registry.close()
        self.stores += 1
        self.registry = self._open()
        self.registry.import_lines(lines)
        renumbered = {
            talk: number
            for number, (talk, _) in enumerate(
                sorted(self.model.sequences.items(), key=lambda pair: pair[1]), start=1
            )
        }
        self.model.sequences, self.model.next_sequence = renumbered, len(renumbered) + 1
        self.model.clock = max(
            (self.model.taken_in[talk] for talk in renumbered), default=0.0
        )  # an export contains nothing about forgotten people
        self.model.log, self.model.erased = [], set()

    @invariant()
    def store_equals_the_model(self) -> None:
        if not hasattr(self, "registry"):
            return
        shown = {speaker.speaker_id: speaker for speaker in self.registry.speakers()}
        assert set(shown) == set(self.model.heads())
        for who, speaker in shown.items():
            assert speaker.name == self.model.people[who].name
            points = self.model.points(who)
            context = self.registry.context(who, before=END, limit=99)
            assert [one.point for one in context.observations] == points
            assert (context.utterances, context.conversations) == (
                len(points),
                len({point.conversation_id for point in points}),
            )
            found = self.registry.recall(vectors(1, 1)[0], speaker=who, before=END, k=99).observations
            assert sorted(str(hit.observation.point) for hit in found) == sorted(map(str, points))
        everyone = self.registry.recall(vectors(1, 1)[0], speaker=None, before=END, k=999).observations
        assert len(everyone) == len(self.model.turns)


TestMemory = Memory.TestCase
TestMemory.settings = settings(
    max_examples=12, stateful_step_count=18, deadline=None, suppress_health_check=list(HealthCheck)
)
