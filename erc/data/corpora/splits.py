"""Splits of a corpus, complete or as a seeded sample."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from erc.data.corpora.corpus import Corpus
from erc.data.corpora.registry import load_corpus


def sampled(corpus: Corpus, limit: int | None, *, seed: int = 0) -> Corpus:
    """`corpus` with at most `limit` conversations (None: all), drawn by `seed`, in their order."""
    if limit is None or len(corpus) <= limit:
        return corpus
    chosen = sorted(random.Random(seed).sample(range(len(corpus)), limit))
    return replace(corpus, conversations=tuple(corpus.conversations[place] for place in chosen))


def load_split(
    name: str, split: str, *, root: Path | None = None, limit: int | None = None, seed: int = 0
) -> Corpus:
    """Same as `load_corpus`, with at most `limit` conversations sampled by `seed`.

    Raises:
        InputError: as `load_corpus`.
    """
    return sampled(load_corpus(name, split, root=root), limit, seed=seed)
