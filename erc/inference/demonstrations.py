"""Demonstrations from an adapter's training corpus, retrieved for labelling."""

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
from erc.llm.embedding import SHARED, SharedEmbedder, TextEmbedder, open_embedder
from erc.llm.prompts.demonstrations import DemonstrationIndex, Embed, TurnSource
from erc.llm.prompts.notes import Demonstration
from erc.models.encoder.precision import resolve_precision

_FORMAT = 1
NO_LEAKS = LeakFilter.of(())
"""A filter that removes nothing."""


@dataclass(frozen=True, slots=True)
class TrainedDemonstrations:
    """Finds at most `count` training turns per prompt, by embedding only and never by label.

    `embed` is given if the adapter was trained with an embedder other than the shared classifier.
    """

    index: DemonstrationIndex
    count: int
    embed: Embed | None = None

    def __call__(self, vector: np.ndarray, text: str, origin: TurnSource) -> Sequence[Demonstration]:
        """The turns most similar to a text; `vector` (P,) is the shared classifier's."""
        if self.embed is not None:
            vector = self.embed([text])[0]
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
        ArtefactError: The corpus is missing or has changed, or the classifier is a different one.
    """
    config = record.extra.get("config", {})
    llm = config.get("llm", {})
    count = int(llm.get("demonstrations", 0))
    if not count:
        return None
    embedder = _embedder(record, utterance)
    corpus = training_split(
        config, record.extra.get("files", {}), what="the adapter shows demonstrations from"
    )
    shared = isinstance(embedder, SharedEmbedder)
    embed = kept_vectors(
        embedder,
        (cache or user_cache_dir()) / "demonstrations",
        checksums=[file.sha256 for file in corpus.files],
        precision=resolve_precision(utterance.settings.precision) if shared else "fp32",
    )
    index = DemonstrationIndex.build(
        corpus.conversations,
        embed,
        leaks=leaks,
        labels=record.labels,
        names=bool(llm.get("demonstration_names", True)),
        balanced=bool(llm.get("balanced_demonstrations", False)),
    )
    return TrainedDemonstrations(index, count, embed=None if shared else embedder.embed)


def _embedder(record: AdapterRecord, utterance: UtteranceScorer) -> TextEmbedder:
    """The embedder an adapter was trained with; raises ArtefactError if it differs from the one here."""
    scorer = CachedScorer(utterance.artefact, settings=replace(utterance.settings, uncertainty="off"))
    shared = SharedEmbedder(
        scorer.embed,
        name=scorer.artefact.info.name,
        revision=scorer.artefact.sha256,
        width=scorer.network.embedding_width,
    )
    made = record.extra.get("inputs", {})
    embedder = open_embedder(
        record.extra.get("config", {}).get("llm", {}).get("embedder", SHARED), shared=shared
    )
    if embedder is shared:  # records without an embedder name the classifier instead
        name, revision = made.get("utterance_model"), made.get("utterance_sha256")
    else:
        name, revision = made.get("embedder"), made.get("embedder_revision")
    if revision not in (None, embedder.revision):
        raise ArtefactError(
            f"the adapter's demonstrations were found by {name} with digest {revision[:12]}, "
            f"the one here has {str(embedder.revision)[:12]}: train the adapter again"
        )
    return embedder


def kept_vectors(embedder: TextEmbedder, folder: Path, *, checksums: Sequence[str], precision: str) -> Embed:
    """Embeds texts of corpus files, with a cache in `folder`.

    A cache file is named by a digest of texts, file checksums, embedder and precision. A damaged file is
    recomputed. If the folder is not writable, nothing is cached.
    """

    def embed(texts: Sequence[str]) -> np.ndarray:
        made = [
            _FORMAT,
            sorted(checksums),
            embedder.revision or embedder.name,
            precision,
            list(texts),
        ]
        digest = hashlib.sha256(json.dumps(made, ensure_ascii=True).encode()).hexdigest()[:32]
        path = folder / f"vectors-{digest}.safetensors"
        found = _read_vectors(path, shape=(len(texts), embedder.width))
        if found is None:
            found = embedder.embed(texts)
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
    # The folder may be from another machine; then the usual places are searched for the corpus.
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
            f"{what} the {split} split of {name}, which is missing: {error}. Put the corpus under "
            f"{VARIABLE} with `erc data import {name} --from PATH`"
        ) from None
    for file in corpus.files:
        if files.get(file.name) != file.sha256:
            raise ArtefactError(
                f"{what} {file.name} of {name} with SHA-256 {str(files.get(file.name))[:12]}..., the file "
                "here has "
                f"{file.sha256[:12]}...: put the file it was trained on under {VARIABLE}, or train it again"
            )
    return corpus
