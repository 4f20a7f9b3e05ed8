"""Generates corpora in which exactly one ingredient of a prompt decides the label.

A prompt shows everything its recipe shows: dialogue, bios, past emotions, demonstrations. One of these, the
planted ingredient, determines the label. Everything else is drawn independently of the label. Labels are
balanced in every split, so without the planted ingredient no model can be right more than one time in four.

    dialogue        The turn before the target, by the other speaker, holds a word of the label's mood. No
                    other turn holds such a word, and only the target is labelled.
    bio             The bio of the target's speaker holds a word of the label's mood. The other speaker has no
                    bio, and only the target is labelled.
    history         Every past emotion shown is the label.
    demonstration   The target's text begins with a code of two words, one of hundreds. Only demonstrations
                    with the same code show its label; `embed` retrieves them. Training, trial and held-out
                    turns share no codes, and the `shown` split holds the demonstrations of the last two, so
                    a model cannot profit from codes it remembers.

Used by `scripts/prove_ingredients.py`.
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
"""Ingredients whose conversations have one labelled turn, the last: the number of turns."""
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
        """Return the notes of a turn."""
        return self.table[conversation.conversation_id, index]


@dataclass(frozen=True, slots=True)
class World:
    """A generated corpus and the training inputs of recipes.

    Attributes:
        planted: The ingredient that decides the labels.
        train: Training split.
        dev: Dev split, which selects checkpoints.
        trial: Unseen split, which selects one of several trained models.
        held_out: Unseen split, on which the selected model is judged.
        shown: Source of demonstrations for `trial` and `held_out`.
        inputs: Notes, embedder and generated texts for training.
        shows_demonstrations: False where the demonstrations were removed.
    """

    planted: Ingredient
    train: Corpus
    dev: Corpus
    trial: Corpus
    held_out: Corpus
    shown: Corpus
    inputs: TrainingInputs
    shows_demonstrations: bool = True

    def without(self) -> World:
        """Return this world without its planted ingredient.

        Removes bios, past emotions or demonstrations, or the mood words of the texts.
        """
        if self.planted == "demonstration":
            return replace(self, shows_demonstrations=False)
        if self.planted == "dialogue":
            blanked = {name: _blanked(getattr(self, name)) for name in ("train", "dev", "trial", "held_out")}
            return replace(self, **blanked)
        assert isinstance(self.inputs.notes, PlantedNotes)
        empty: dict[str, Any] = {"bios": ()} if self.planted == "bio" else {"history": ()}
        table = {place: replace(notes, **empty) for place, notes in self.inputs.notes.table.items()}
        return replace(self, inputs=replace(self.inputs, notes=PlantedNotes(table)))


def plant(ingredient: Ingredient, *, seed: int, sizes: tuple[int, int, int] = (250, 24, 64)) -> World:
    """Generate the world of `ingredient`.

    `sizes` counts conversations in train, dev and held-out; trial has half as many as held-out. Each has
    three labelled turns. For `bio` and `dialogue` there are three times as many conversations with one
    labelled turn each, so that the labelled turns are independent.
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
    """Draws conversations; collects the notes and the (meaningless) generated texts of their turns."""

    def __init__(self, ingredient: Ingredient, rng: np.random.Generator) -> None:
        self.ingredient = ingredient
        self.rng = rng
        self.notes: dict[tuple[str, int], SpeakerNotes] = {}
        self.written: dict[tuple[str, int], str] = {}

    def split(self, name: str, size: int, codes: Sequence[tuple[str, str]]) -> Corpus:
        """Draw a split with three labelled turns per unit of `size`, balanced over labels and `codes`."""
        labels = iter(
            [LABELS[i] for i in self.rng.permutation(np.resize(np.arange(len(LABELS)), size * TURNS))]
        )
        drawn = iter([codes[i] for i in self.rng.permutation(np.resize(np.arange(len(codes)), size * TURNS))])
        count = size * TURNS if self.ingredient in ONE_LABELLED else size
        conversations = tuple(self.conversation(f"{name}{i}", labels, drawn) for i in range(count))
        return Corpus("planted", name, conversations, LABEL_SET, "generated", (), ())

    def conversation(
        self, conversation_id: str, labels: Iterator[str], drawn: Iterator[tuple[str, str]]
    ) -> Conversation:
        """Draw a conversation of two people who take turns."""
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
                    f"{conversation_id}-{index}",
                    index,
                    speaker,
                    text,
                    emotions=() if label is None else (label,),
                )
            )
            self.notes[conversation_id, index] = _notes(
                self.rng, moods, label if self.ingredient == "history" else None
            )
            self.written[conversation_id, index] = " ".join(self.rng.choice(FILLER, size=3))
        return Conversation(conversation_id, tuple(made), corpus="planted")


def _codes(rng: np.random.Generator, *counts: int) -> list[list[tuple[str, str]]]:
    """Draw one group of two-word codes with balanced labels per count; no code is in two groups."""
    pairs = iter(rng.permutation([f"{a} {b}" for a in SYLLABLES for b in SYLLABLES]))
    return [[(str(next(pairs)), LABELS[i % len(LABELS)]) for i in range(count)] for count in counts]


def embed(texts: Sequence[str]) -> np.ndarray:
    """Return vectors (N, 64). A text's first two words, its code, decide the direction almost alone."""
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
    """Return the corpus without mood words."""
    known = {word for words in MOODS.values() for word in words}
    conversations = [
        replace(
            conversation,
            utterances=tuple(
                replace(turn, text=" ".join(w for w in turn.text.split() if w not in known))
                for turn in conversation
            ),
        )
        for conversation in corpus.conversations
    ]
    return replace(corpus, conversations=tuple(conversations))
