"""Speaker memories for evaluation: the evaluated conversations in broadcast order, as on dev in training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from erc.data.root import user_cache_dir
from erc.errors import InputError
from erc.evaluation.labelled_data import GoldData
from erc.files import sweep
from erc.inference.demonstrations import training_split
from erc.inference.scorers.caching import CachedScorer
from erc.memory.corpus import corpus_memory
from erc.memory.past import CorpusPast
from speakers import Registry

MEMORY_NOTE = (
    "what is known of speakers comes from the evaluated conversations themselves, for each from those "
    "broadcast before it"
)


@contextmanager
def evaluated_memory(
    data: GoldData,
    scorer: CachedScorer,
    folder: Path | None,
    *,
    config: Mapping[str, Any],
    section: str,
    files: Mapping[str, str],
    writer_server: str | None = None,
) -> Iterator[Registry | None]:
    """Yields the memory for evaluated conversations, or None if they belong to no corpus.

    Without a corpus, the same name in two transcripts may mean two persons.

    Args:
        data: The evaluated data.
        scorer: The shared classifier.
        folder: Cache of memories and written texts; None: the user's cache.
        config: Configuration of the model's run.
        section: Its section that states what the model reads (`dev_sees_train`, writer of bios).
        files: SHA-256 of its training files.
        writer_server: URL of a server that runs the writer of bios.

    Raises:
        InputError: Two conversations have the same id.
        ArtefactError: The training split or the writer is missing.
    """
    if not data.conversations or any(conversation.corpus is None for conversation in data.conversations):
        yield None
        return
    if len({conversation.conversation_id for conversation in data.conversations}) < len(data.conversations):
        raise InputError(
            "a conversation id is repeated, so earlier conversations cannot be identified", path=data.source
        )
    reads, place = config.get(section) or {}, folder or user_cache_dir() / "inputs"
    sweep(place)
    with ExitStack() as stack:
        by = _written(reads, place, writer_server, stack)
        yield stack.enter_context(
            corpus_memory(place, (*_earlier(data, config, reads, files), *data.conversations), scorer, **by)
        )


def _earlier(
    data: GoldData, config: Mapping[str, Any], reads: Mapping[str, Any], files: Mapping[str, str]
) -> tuple[Any, ...]:
    """The training conversations, if the run's dev lookups found them."""
    trained = config.get("data") or {}
    if (
        not reads.get("dev_sees_train")
        or trained.get("corpus") != data.name
        or trained.get("train_split") == data.split
    ):
        return ()
    return training_split(config, files, what="the model knows speakers from").conversations


def _written(reads: Mapping[str, Any], folder: Path, server: str | None, stack: ExitStack) -> dict[str, Any]:
    """Arguments for bios written by a language model, if training had one."""
    shows_bios = reads.get("bios") or reads.get("bio", "none") != "none"
    if not shows_bios or not reads.get("writer"):
        return {}
    from erc.llm.generation.text_store import WRITTEN, WrittenTexts
    from erc.llm.generation.writer import open_text_writer
    from erc.llm.recipes import writing_model
    from erc.memory.bio_writer import written_bios

    name, revision = writing_model(
        reads["writer"], base=str(reads.get("base")), revision=reads.get("revision")
    )
    writer = stack.enter_context(
        closing(
            open_text_writer(name, revision=revision, precision=reads.get("precision", "auto"), server=server)
        )
    )
    return written_bios(writer, stack.enter_context(WrittenTexts(folder / WRITTEN)))


def corpus_past(registry: Registry, data: GoldData, scorer: CachedScorer, *, limit: int) -> CorpusPast:
    """The pasts of the evaluated conversations, all in one memory."""
    memories = {one.conversation_id: registry for one in data.conversations}
    labels = scorer.fine_emotions.labels
    return CorpusPast(memories, data.conversations, labels=labels, limit=limit)
