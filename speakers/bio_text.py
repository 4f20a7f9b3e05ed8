"""Writes a bio from counts of words and emotions, without a language model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from speakers.records import Observation, Passage

_WORD = re.compile(r"[^\W\d_][^\W\d_'’]{2,}")
_COMMON_TEXT = (
    "about after again all also always and any anything are back because been before being but came can "
    "cannot come could day did didn does doesn doing don done down each else even ever every everything "
    "for from get gets getting give goes going gone gonna good got gotta great guess had has hasn have "
    "haven having hello her here hers hey him his how huh into isn its just kind know knows later let "
    "like little long look looks lot made make makes many may maybe mean might more most much must need "
    "needs never new nice nobody not nothing now off okay old once one only oops other our out over "
    "please put quite really right said same saw say says see seem seems she should shouldn since some "
    "somebody someone something soon sorry sort still such sure take tell than thank thanks that the "
    "their them then there these they thing things think this those thought through time today told "
    "tomorrow tonight too took two until upon use used very wait wanna want wanted wants was wasn way "
    "week well went were weren what when where which while who whole why will with without won would "
    "wouldn wow yeah year yep yes yesterday yet you your yours"
)
_COMMON = frozenset(_COMMON_TEXT.split())


def write_from_history(turns: Sequence[Observation]) -> tuple[Passage, ...]:
    """Passages on topics, usual emotions, and words that go with an emotion, each with counts.

    Equal turns always give equal passages.
    """
    words = [_content_words(turn.text) for turn in turns]
    labels = [_top_label(turn) for turn in turns]
    return (*_topics(words), *_usual_emotions(labels), *_emotional_words(words, labels))


def _top_label(observation: Observation) -> str | None:
    """A person's correction, else the label with the largest weight, the first by alphabet among equals."""
    if observation.correction is not None:
        return observation.correction
    return min(observation.weights, key=lambda label: (-observation.weights[label], label), default=None)


def _content_words(text: str | None) -> frozenset[str]:
    found = (
        word.strip("'’").partition("'")[0].partition("’")[0]
        for word in _WORD.findall((text or "").casefold())
    )
    return frozenset(word for word in found if len(word) > 2 and word not in _COMMON)


def _ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def _turns(count: int) -> str:
    return f"{count} turn" if count == 1 else f"{count} turns"


def _topics(words: Sequence[frozenset[str]]) -> list[Passage]:
    counts = Counter(word for turn in words for word in turn)
    top = [(word, count) for word, count in _ranked(counts)[:5] if count >= 2]
    if not top:
        return []
    support = sum(bool(turn & {word for word, _ in top}) for turn in words)
    shown = ", ".join(f"{word} ({_turns(count)})" for word, count in top)
    return [Passage(f"Often talks about {shown}.", support)]


def _usual_emotions(labels: Sequence[str | None]) -> list[Passage]:
    known = Counter(label for label in labels if label is not None)
    if not known:
        return []
    shown = ", ".join(f"{label} ({count})" for label, count in _ranked(known)[:3])
    return [Passage(f"Over {_turns(known.total())}, mostly {shown}.", known.total())]


def _emotional_words(words: Sequence[frozenset[str]], labels: Sequence[str | None]) -> list[Passage]:
    """Words that occur with one emotion in more than half of their turns and above its overall rate."""
    labelled = [
        (word, label) for turn, label in zip(words, labels, strict=True) if label is not None for word in turn
    ]
    said = Counter(word for word, _ in labelled)
    felt = Counter(label for label in labels if label is not None)
    pairs = Counter((word, label) for word, label in labelled if label != "neutral")
    frequent = [
        (count, word, label)
        for (word, label), count in pairs.items()
        if count >= 2 and 2 * count > said[word] and count * felt.total() > felt[label] * said[word]
    ]
    best = sorted(frequent, key=lambda one: (-one[0], one[1], one[2]))[:3]
    return [
        Passage(f"Speaking of {word}, shows {label} ({count} of {_turns(said[word])}).", count)
        for count, word, label in best
    ]
