"""Generated corpora in which exactly one ingredient of a prompt decides the label, and tiny models that can learn from them.

Every turn is labelled, every prompt shows all that its recipe shows (dialogue, bios, past emotions,
demonstrations), and of these one is planted: the label can be read off it and off nothing else. All the rest
is drawn independently of the label. Labels are balanced in every split, so a model without the planted
ingredient cannot do better than one label in four, whatever it has learnt.

    dialogue        the turn before the target, by the other speaker, holds a word of the label's mood; no other turn is labelled or holds one
    bio             the bio of the target's speaker holds it; the other speaker is a stranger without one, whose turn is not labelled
    history         every past emotion shown is the label
    demonstration   the target's text begins with a code of two words, drawn from hundreds, whose label stands only in the demonstrations
                    with the same code; an embedding that knows codes retrieves them. Codes of the trial and
                    of held-out turns are none that were trained on, nor each other's, and are demonstrated
                    from a split of their own: what a model remembers of a code helps it nothing
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from erc.data.conversation import Conversation, Utterance
from erc.data.corpora import Corpus
from erc.emotions import load_emotion_set
from erc.llm.prompts.notes import HistoryEntry, SpeakerBio, SpeakerNotes
from erc.training.inputs import TrainingInputs

Ingredient = Literal["dialogue", "bio", "history", "demonstration"]
INGREDIENTS: tuple[Ingredient, ...] = get_args(Ingredient)
LABEL_SET = "sentiment"
LABELS = tuple(load_emotion_set(LABEL_SET).labels)
MOODS = {
    "positive": ("sunny", "merry"),
    "negative": ("gloomy", "bitter"),
    "neutral": ("plain", "level"),
    "ambiguous": ("odd", "unsure"),
}
NAMES = ("Ana", "Ben", "Cleo", "Dan")
TURNS = 3
ONE_LABELLED: dict[Ingredient, int] = {"bio": 2, "dialogue": 3}
"""Worlds of conversations of so many turns, of which the last is labelled."""
FILLER = (
    "the",
    "road",
    "was",
    "long",
    "and",
    "then",
    "we",
    "took",
    "tea",
    "by",
    "a",
    "lamp",
    "near",
    "some",
    "trees",
    "while",
    "rain",
    "fell",
)
SYLLABLES = tuple(a + b for a in "bdgklmprtvz" for b in ("aro", "emu", "isk"))


@dataclass(frozen=True, slots=True)
class PlantedNotes:
    """Notes by (conversation id, index)."""

    table: Mapping[tuple[str, int], SpeakerNotes]

    def of(self, conversation: Conversation, index: int) -> SpeakerNotes:
        return self.table[conversation.conversation_id, index]


@dataclass(frozen=True, slots=True)
class World:
    """A generated corpus in four splits, and what recipes need beside it.

    `trial` is for choosing among trained models, as unseen in training as `held_out`, which is for judging
    the one chosen. `shown` is where the demonstrations of both come from. `shows_demonstrations` is False
    where they were taken away.
    """

    planted: Ingredient
    train: Corpus
    dev: Corpus
    trial: Corpus
    held_out: Corpus
    shown: Corpus
    supplies: TrainingInputs
    shows_demonstrations: bool = True

    def without(self) -> World:
        """This world with the planted ingredient taken out: empty bios, no past emotions, no demonstrations, texts without mood words."""
        if self.planted == "demonstration":
            return replace(self, shows_demonstrations=False)
        if self.planted == "dialogue":
            blanked = {name: _blanked(getattr(self, name)) for name in ("train", "dev", "trial", "held_out")}
            return replace(self, **blanked)
        assert isinstance(self.supplies.notes, PlantedNotes)
        empty: dict[str, Any] = {"bios": ()} if self.planted == "bio" else {"history": ()}
        table = {place: replace(notes, **empty) for place, notes in self.supplies.notes.table.items()}
        return replace(self, supplies=replace(self.supplies, notes=PlantedNotes(table)))


def plant(ingredient: Ingredient, *, seed: int, sizes: tuple[int, int, int] = (250, 24, 64)) -> World:
    """The world of `ingredient`, with three labelled turns for each of `sizes` conversations in train, dev and held-out; half of these in trial.

    Where a bio or the dialogue decides, these are three conversations with one labelled turn each: two turns
    of one person would be one trial, and every turn would be before another.
    """
    rng = np.random.default_rng([seed, INGREDIENTS.index(ingredient)])
    train, dev, held_out = sizes
    trial = held_out // 2
    trained, tried, fresh = _codes(rng, train, trial * TURNS, held_out * TURNS)
    writer = _Writer(ingredient, rng)
    splits = [
        writer.split("train", train, trained),
        writer.split("dev", dev, trained),
        writer.split("trial", trial, tried),
        writer.split("held-out", held_out, fresh),
        writer.split("shown", trial + held_out, [*tried, *fresh]),
    ]
    generated = {"interlocutor_commonsense": writer.written, "speaker_characteristic/oReact": writer.written}
    return World(
        ingredient,
        *splits,
        TrainingInputs(notes=PlantedNotes(writer.notes), embed=embed, generated=generated),
    )


class _Writer:
    """Draws conversations, and keeps the notes and the (meaningless) written texts of their turns."""

    def __init__(self, ingredient: Ingredient, rng: np.random.Generator) -> None:
        self.ingredient = ingredient
        self.rng = rng
        self.notes: dict[tuple[str, int], SpeakerNotes] = {}
        self.written: dict[tuple[str, int], str] = {}

    def split(self, name: str, size: int, codes: Sequence[tuple[str, str]]) -> Corpus:
        """A split of `size` times three labelled turns, each label, and each of `codes`, as often as the others."""
        labels = iter(
            [LABELS[i] for i in self.rng.permutation(np.resize(np.arange(len(LABELS)), size * TURNS))]
        )
        drawn = iter([codes[i] for i in self.rng.permutation(np.resize(np.arange(len(codes)), size * TURNS))])
        count = size * TURNS if self.ingredient in ONE_LABELLED else size
        talks = tuple(self.conversation(f"{name}{number}", labels, drawn) for number in range(count))
        return Corpus("planted", name, talks, LABEL_SET, "generated", (), ())

    def conversation(
        self, talk_id: str, labels: Iterator[str], drawn: Iterator[tuple[str, str]]
    ) -> Conversation:
        """Two people taking turns."""
        people = [str(name) for name in self.rng.choice(NAMES, size=2, replace=False)]
        moods = {name: _pick(self.rng, LABELS) for name in people}
        made = []
        one = next(labels) if self.ingredient in ONE_LABELLED else None
        turns = ONE_LABELLED.get(self.ingredient, TURNS)
        for index in range(turns):
            speaker, code = people[index % 2], ""
            label = one if index == turns - 1 else None
            if self.ingredient == "demonstration":
                code, label = next(drawn)
            elif one is None:
                label = next(labels)
            if self.ingredient == "bio":
                moods = {} if label is None else {speaker: label}
            text = _text(
                self.rng, code, one if self.ingredient == "dialogue" and index == turns - 2 else None
            )
            made.append(
                Utterance(
                    f"{talk_id}-{index}", index, speaker, text, emotions=() if label is None else (label,)
                )
            )
            self.notes[talk_id, index] = _notes(
                self.rng, moods, label if self.ingredient == "history" else None
            )
            self.written[talk_id, index] = " ".join(self.rng.choice(FILLER, size=3))
        return Conversation(talk_id, tuple(made), corpus="planted")


def _codes(rng: np.random.Generator, *counts: int) -> list[list[tuple[str, str]]]:
    """So many groups of codes of two words with their labels, each label as often as the others; no code is in two groups."""
    pairs = iter(rng.permutation([f"{a} {b}" for a in SYLLABLES for b in SYLLABLES]))
    return [[(str(next(pairs)), LABELS[i % len(LABELS)]) for i in range(count)] for count in counts]


def embed(texts: Sequence[str]) -> np.ndarray:
    """Vectors (N, 64): a text's first two words, its code where it has one, decide the direction, the rest of it hardly counts."""
    vectors = []
    for text in texts:
        words = text.split()
        vectors.append(_direction(" ".join(words[:2])) + 0.05 * _direction(" ".join(words[2:])))
    return np.array(vectors, dtype=np.float32)


def _direction(text: str) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(text.encode())).standard_normal(64)


def _pick(rng: np.random.Generator, words: Sequence[str]) -> str:
    return words[int(rng.integers(len(words)))]


def _text(rng: np.random.Generator, code: str, mood: str | None) -> str:
    words = [_pick(rng, FILLER) for _ in range(4)]
    if mood is not None:
        words[int(rng.integers(4))] = _pick(rng, MOODS[mood])
    return " ".join([code, *words]).strip()


def _notes(rng: np.random.Generator, moods: Mapping[str, str], past: str | None) -> SpeakerNotes:
    bios = tuple(
        SpeakerBio(name, (f"tends to be {_pick(rng, MOODS[mood])} .",))
        for name, mood in sorted(moods.items())
    )
    entries = tuple(
        HistoryEntry(past or _pick(rng, LABELS), 0.8, " ".join(rng.choice(FILLER, size=2)))
        for _ in range(4 if past else 2)
    )
    return SpeakerNotes(bios=bios, history=entries)


def _blanked(corpus: Corpus) -> Corpus:
    known = {word for words in MOODS.values() for word in words}
    talks = [
        replace(
            talk,
            utterances=tuple(
                replace(turn, text=" ".join(w for w in turn.text.split() if w not in known)) for turn in talk
            ),
        )
        for talk in corpus.conversations
    ]
    return replace(corpus, conversations=tuple(talks))
