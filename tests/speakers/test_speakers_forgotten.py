"""After any sequence of changes, no file of the memory contains erased data."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from speakers_support import EMBEDDER, make, vectors

from speakers import END, BioWriter, Observation, Passage, Registry, SpeakerId, SpeakersError
from speakers.vectors.index import unit

NAMES = ("Zebedee", "Quentin", "Yolanda")
FILES = ("s.db", "mem[1].db", "what?.db", "every*.db", "a b%20.db", "né.db")
ACTIONS = ("record", "record", "merge", "undo", "split", "bio", "rename", "rebuild", "delete", "forget")
CHANGES = st.tuples(st.sampled_from(ACTIONS), st.integers(0, 3), st.integers(0, 3))


def quote(turns: Sequence[Observation]) -> tuple[Passage, ...]:
    """A bio that quotes every word, as a language model might."""
    return (Passage(" ".join(str(turn.text) for turn in turns), len(turns)),)


class Life:
    """Changes a memory and lists the data that must not be found afterwards."""

    def __init__(self, registry: Registry) -> None:
        self.registry, self.said = registry, 0
        self.gone: dict[str, bytes] = {}
        self.vectors: dict[str, bytes] = {}

    def _people(self) -> list[SpeakerId]:
        return [one.speaker_id for one in self.registry.speakers()]

    def act(self, change: str, first: int, second: int) -> None:
        people = self._people()
        if change == "record":
            self._record(f"talk{first}", [NAMES[first % 3], NAMES[second % 3]])
        elif change == "undo":
            entries = [
                one.audit
                for one in self.registry.log()
                if one.action in ("merge", "split", "rename") and one.undone_by is None
            ]
            if entries:
                self.registry.undo(entries[-1 - first % len(entries)])
        elif change == "rebuild":
            self.registry.rebuild()
        elif change == "delete":
            self._erased(words for words in self.registry.texts(f"talk{first}").values())
            self.registry.delete_conversation(f"talk{first}")
        elif people:
            who, other = people[first % len(people)], people[second % len(people)]
            if change == "merge":
                self.registry.merge(who, other)
            elif change == "split":
                self.registry.split(who, conversations=[f"talk{second}"])
            elif change == "bio":
                self.registry.write_bio(who, before=END, writer=BioWriter("quote", quote))
            elif change == "rename":
                self.registry.rename(who, f"Renamed{self.said}x{first}{second}")
            else:
                self._forget(who)

    def _record(self, conversation: str, names: list[str]) -> None:
        lines = []
        for name in names:
            found = self.registry.resolve(name, conversation_id=conversation).speaker
            self.said += 1
            vector = vectors(1, self.said)[0]
            words = f"marker{self.said}x"
            self.vectors[words] = unit(vector[None, :]).tobytes()
            if found is not None:
                lines.append(make(found.speaker_id, conversation, self.said, text=words, vector=vector))
        self.registry.record(conversation, lines, embedder=EMBEDDER)

    def _forget(self, who: SpeakerId) -> None:
        self._erased(one.text for one in self.registry.context(who, before=END, limit=999).observations)
        person = self.registry.find(who)
        for name in {str(person.name), *person.aliases}:
            with suppress(SpeakersError):
                if (
                    self.registry.find(name).speaker_id == who
                ):  # a split-off speaker may show another speaker's name
                    self.gone |= {form: form.encode() for form in (name, name.casefold())}
        self.gone[who] = who.encode()
        self.registry.forget(who)

    def _erased(self, words: object) -> None:
        for one in words:  # type: ignore[attr-defined]
            self.gone |= {one: one.encode(), f"vector of {one}": self.vectors[one]}


@example([("merge", 0, 1), ("bio", 0, 0), ("undo", 0, 0)], 0, "s.db")
@example([("bio", 0, 0), ("split", 0, 0)], 3, "s.db")
@example([("bio", 1, 0), ("split", 1, 1), ("delete", 1, 0)], 0, "s.db")
@example([("bio", 0, 0), ("merge", 0, 1), ("split", 0, 0), ("split", 2, 0)], 2, "s.db")
@example([("split", 0, 0), ("rename", 3, 0), ("rebuild", 0, 0)], 0, "mem[1].db")
@given(st.lists(CHANGES, min_size=4, max_size=12), st.integers(0, 3), st.sampled_from(FILES))
@settings(deadline=None, max_examples=20)
def test_files_contain_no_erased_data_after_random_changes(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, int, int]], last: int, file_name: str
) -> None:
    folder: Path = tmp_path_factory.mktemp("life")
    with Registry.open(folder / file_name) as registry:
        life = Life(registry)
        for talk in range(4):
            life.act("record", talk, talk + 1)
        for change in [*changes, ("forget", last, 0), ("forget", 1, 0)]:
            with suppress(SpeakersError):
                life.act(*change)
            scan(folder, life.gone)
        for line in registry.export():
            assert not [what for what, needle in life.gone.items() if needle in line.encode()]
    scan(folder, life.gone)


def scan(folder: Path, gone: dict[str, bytes]) -> None:
    for path in folder.iterdir():
        raw = path.read_bytes()
        assert not [f"{what} in {path.name}" for what, needle in gone.items() if needle in raw]
