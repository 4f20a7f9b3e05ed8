"""Demonstrations of an adapter's training corpus, looked up again for labelling."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from erc.data.corpora import Corpus
from erc.data.corpora.splits import load_split
from erc.data.leaks import LeakFilter
from erc.data.root import VARIABLE, user_cache_dir
from erc.errors import ArtefactError, InputError
from erc.files import read_arrays, save_arrays, sweep
from erc.inference.scorers.caching import CachedScorer
from erc.inference.scorers.utterance import UtteranceScorer
from erc.llm.base.adapters import AdapterRecord
from erc.llm.prompts.demonstrations import DemonstrationIndex, Embed, TurnSource
from erc.llm.prompts.notes import Demonstration
from erc.models.encoder.precision import resolve_precision

_FORMAT = 1
NO_LEAKS = LeakFilter.of(())
"""A filter that removes nothing."""


@dataclass(frozen=True, slots=True)
class TrainedDemonstrations:
    """Finds at most `count` training turns per prompt, by embedding only and never by label."""

    index: DemonstrationIndex
    count: int

    def __call__(self, vector: np.ndarray, text: str, origin: TurnSource) -> Sequence[Demonstration]:
        """The turns nearest to `vector` (P,); none with the same text or from the same conversation."""
        return self.index.search(vector, text=text, origin=origin, k=self.count)


def trained_demonstrations(
    record: AdapterRecord,
    utterance: UtteranceScorer,
    *,
    leaks: LeakFilter = NO_LEAKS,
    cache: Path | None = None,
) -> TrainedDemonstrations | None:
    """The demonstrations an adapter was trained with; None if it was trained without.

    They come from the same files, embedded by the same classifier, as in training. Turns of the target's own
    conversation or episode and turns removed by `leaks` are never shown. Vectors are cached in `cache` (None:
    the user's cache folder).

    Raises:
        ArtefactError: The corpus is missing or has changed, or the classifier is another one.
    """
    config = record.extra.get("config", {})
    count = int(config.get("llm", {}).get("demonstrations", 0))
    if not count:
        return None
    made = record.extra.get("supplies", {})
    if made.get("utterance_sha256") not in (None, utterance.artefact.sha256):
        raise ArtefactError(
            f"the adapter's demonstrations were found by {made.get('utterance_model')} of SHA-256 "
            f"{made['utterance_sha256'][:12]}..., the one here "
            f"has {utterance.artefact.sha256[:12]}...: train the adapter again"
        )
    corpus = training_split(
        config, record.extra.get("files", {}), what="the adapter shows demonstrations from"
    )
    scorer = CachedScorer(utterance.artefact, settings=replace(utterance.settings, uncertainty="off"))
    embed = kept_vectors(
        scorer,
        (cache or user_cache_dir()) / "demonstrations",
        checksums=[file.sha256 for file in corpus.files],
    )
    index = DemonstrationIndex.build(corpus.conversations, embed, leaks=leaks, labels=record.labels)
    return TrainedDemonstrations(index, count)


def kept_vectors(scorer: CachedScorer, folder: Path, *, checksums: Sequence[str]) -> Embed:
    """Embeds texts of corpus files, with a cache in `folder`.

    A cache file is named by a digest of texts, file checksums, classifier and precision. A damaged one is
    computed again. A folder that cannot be written to only costs time.
    """

    def embed(texts: Sequence[str]) -> np.ndarray:
        made = [
            _FORMAT,
            sorted(checksums),
            scorer.artefact.sha256,
            resolve_precision(scorer.settings.precision),
            list(texts),
        ]
        digest = hashlib.sha256(json.dumps(made, ensure_ascii=True).encode()).hexdigest()[:32]
        path = folder / f"vectors-{digest}.safetensors"
        found = _read_vectors(path, shape=(len(texts), scorer.network.embedding_width))
        if found is None:
            found = scorer.embed(texts)
            with contextlib.suppress(OSError):
                sweep(folder)
                save_arrays({"vectors": found}, path)
        return found

    return embed


def _read_vectors(path: Path, *, shape: tuple[int, int]) -> np.ndarray | None:
    """The vectors of a file, float32; None if it is missing or damaged."""
    found = read_arrays(path).get("vectors")
    return found if found is not None and found.shape == shape and found.dtype == np.float32 else None


def training_split(config: Mapping[str, Any], files: Mapping[str, str], *, what: str) -> Corpus:
    """The training split of a run's configuration, unchanged since the run.

    Args:
        config: The run's configuration.
        files: SHA-256 of the split's files, by file name.
        what: Beginning of the error messages.

    Raises:
        ArtefactError: The split is missing or has changed.
    """
    data = config["data"]
    name, split = data["corpus"], data["train_split"]
    # The folder may be of another machine; then the corpus is searched for in the usual places.
    root = Path(data["root"]) if data.get("root") and (Path(data["root"]) / name).is_dir() else None
    try:
        corpus = load_split(
            name,
            split,
            root=root,
            limit=data.get("train_limit"),
            seed=int(config.get("optim", {}).get("seed", 0)),
        )
    except InputError as error:
        raise ArtefactError(
            f"{what} the {split} split of {name}, which is not at hand: {error}. Put the corpus under "
            f"{VARIABLE} with "
            f"`erc data import {name} --from PATH`"
        ) from None
    for file in corpus.files:
        if files.get(file.name) != file.sha256:
            raise ArtefactError(
                f"{what} {file.name} of {name} with SHA-256 {str(files.get(file.name))[:12]}..., the file "
                "here has "
                f"{file.sha256[:12]}...: put the file it was trained on under {VARIABLE}, or train it again"
            )
    return corpus
