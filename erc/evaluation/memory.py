"""The speaker memory that evaluated conversations are read with: their own, in order of broadcast, as on dev in training."""

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

MEMORY_NOTE = "what is known of speakers comes from the evaluated conversations themselves, for each from those broadcast before it"


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
    """The memory, for as long as the block lasts; None for conversations of no corpus: one name in two transcripts need not mean one person.

    `config` is the run's configuration, `section` its part that says what the model reads (`dev_sees_train`,
    and who writes bios), `files` the checksums of its training files. `folder` keeps memories and written
    texts (None: the user's cache); where a run left its own, they are found again. `writer_server` is the
    address of a server that runs the writer of bios. Raises InputError for conversations whose ids stand
    twice and ArtefactError for a training split or a writer that is not at hand.
    """
    if not data.conversations or any(talk.corpus is None for talk in data.conversations):
        yield None
        return
    if len({talk.conversation_id for talk in data.conversations}) < len(data.conversations):
        raise InputError(
            "a conversation id stands twice, so what was said before cannot be told", path=data.source
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
    """The training conversations, where a dev look-up of the run found them too."""
    trained = config.get("data") or {}
    if (
        not reads.get("dev_sees_train")
        or trained.get("corpus") != data.name
        or trained.get("train_split") == data.split
    ):
        return ()
    return training_split(config, files, what="the model knows speakers from").conversations


def _written(reads: Mapping[str, Any], folder: Path, server: str | None, stack: ExitStack) -> dict[str, Any]:
    """Who writes bios, where training had a language model named for it."""
    if not reads.get("bios") or not reads.get("writer"):
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
