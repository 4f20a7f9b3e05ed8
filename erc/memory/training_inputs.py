"""Makes the inputs of a training run besides its corpus, with the same code as labelling.

They are bios, past turns, vectors of demonstrations and texts written by a language model. Expensive inputs
are cached in a folder next to the runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erc.errors import ConfigError

if TYPE_CHECKING:
    from erc.config import ExperimentConfig
    from erc.data.corpora import Corpus
    from erc.inference.scorers.caching import CachedScorer
    from erc.llm.backends.generate import Generator
    from erc.llm.base.loading import LlmPrecision
    from erc.llm.generation.text_store import WrittenTexts
    from erc.llm.generation.writer import Writer
    from erc.memory.past import CorpusPast
    from erc.training.inputs import InputMaker, TrainingInputs
    from speakers import Registry


@contextmanager
def input_maker(
    config: ExperimentConfig,
    folder: Path,
    *,
    server: str | None = None,
    progress: Progress | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Iterator[InputMaker]:
    """Yields a function that makes the training inputs of `config` from its splits.

    Args:
        config: The experiment.
        folder: Cache (mode 0700). Unfinished files of killed runs are removed.
        server: URL of a server that runs the writing language model.
        progress: Shows progress.
        note: Called with messages for the user.
    """
    from erc.files import sweep

    sweep(folder)
    with ExitStack() as stack:
        yield lambda train, dev: _InputMaker(
            config, folder, server, stack, progress=progress or _silent, note=note
        ).make(train, dev)


Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Maps a description and a number of steps to a context whose value advances the progress."""


def _silent(description: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
    return nullcontext(lambda steps: None)


class _InputMaker:
    """The inputs of one run; `stack` closes memories and files."""

    def __init__(
        self,
        config: ExperimentConfig,
        folder: Path,
        server: str | None,
        stack: ExitStack,
        *,
        progress: Progress,
        note: Callable[[str], None],
    ) -> None:
        self.progress = progress
        self.note = note
        self.config = config
        self.folder = folder
        self.server = server
        self.stack = stack

    def make(self, train: Corpus, dev: Corpus) -> TrainingInputs:
        from erc.training.inputs import TrainingInputs

        if (
            self.config.task == "emonet"
            and self.config.emonet is not None
            and self.config.emonet.bio != "none"
        ):
            return self._for_encoder(train, dev)
        return self._for_prompts(train, dev) if self.config.task == "llm" else TrainingInputs()

    def _for_encoder(self, train: Corpus, dev: Corpus) -> TrainingInputs:
        """Bios as vectors: each split's conversations read the memory of their split."""
        from erc.memory.corpus import CorpusBios, corpus_bios
        from erc.training.inputs import TrainingInputs

        emonet = self.config.emonet
        assert emonet is not None
        scorer = self._classifier(str(self.config.artefact.init_from))
        by: dict[str, Any] = {}
        provenance: dict[str, Any] = {}
        if emonet.writer is not None:
            from erc.memory.bio_writer import written_bios

            writer = self.stack.enter_context(closing(self._open_writer(emonet.writer, None, "auto")))
            by, provenance = written_bios(writer, self._written()), {"writer": writer.model_id}
        memories = self._memories(train, dev, scorer, dev_sees_train=emonet.dev_sees_train, **by)
        conversations = (*train.conversations, *dev.conversations)
        past = self._past(memories, train, dev, scorer, limit=0)
        bios = CorpusBios(past, conversations)
        vectors = corpus_bios(bios, conversations, scorer.embed)
        return TrainingInputs(bios=vectors, provenance=provenance)

    def _past(
        self,
        memories: tuple[Registry, Registry],
        train: Corpus,
        dev: Corpus,
        scorer: CachedScorer,
        *,
        limit: int,
    ) -> CorpusPast:
        """The pasts of both splits; each conversation is looked up in the memory of its split."""
        from erc.memory.past import CorpusPast

        return CorpusPast(
            {
                conversation.conversation_id: memory
                for memory, corpus in zip(memories, (train, dev), strict=True)
                for conversation in corpus.conversations
            },
            (*train.conversations, *dev.conversations),
            labels=scorer.fine_emotions.labels,
            limit=limit,
        )

    def _for_prompts(self, train: Corpus, dev: Corpus) -> TrainingInputs:
        from erc.inference import loading
        from erc.llm.embedding import SharedEmbedder, open_embedder
        from erc.training.inputs import TrainingInputs
        from erc.training.llm.settings import llm_recipe
        from erc.training.loop import distributed as processes

        recipe = llm_recipe(self.config)
        parts: dict[str, Any] = {}
        provenance: dict[str, Any] = {}
        writes = bool(recipe.generated) or (recipe.bios and self._writer_named)
        writer = self.stack.enter_context(closing(self._writer())) if writes else None
        texts = self._written() if writes else None
        if recipe.needs_notes or recipe.demonstrations:
            scorer = self._classifier(loading.SHARED_MODEL)
            provenance |= {
                "utterance_model": scorer.artefact.info.name,
                "utterance_sha256": scorer.artefact.sha256,
            }
            if recipe.demonstrations:
                embedder = open_embedder(
                    recipe.embedder,
                    shared=SharedEmbedder(
                        scorer.embed,
                        name=scorer.artefact.info.name,
                        revision=scorer.artefact.sha256,
                        width=scorer.network.embedding_width,
                    ),
                )
                parts["embed"] = embedder.embed
                provenance |= {"embedder": embedder.name, "embedder_revision": embedder.revision}
            if recipe.needs_notes:
                parts["notes"] = self._notes(train, dev, scorer, writer, texts)
        # Other processes receive the texts from the main one.
        if recipe.generated and writer is not None and texts is not None and processes.is_main():
            parts["generated"] = self._answers(train, dev, writer, texts)
        if writer is not None:
            provenance["writer"] = writer.model_id
            writer.close()  # frees memory for the base model
        return TrainingInputs(**parts, provenance=provenance)

    def _notes(
        self,
        train: Corpus,
        dev: Corpus,
        scorer: CachedScorer,
        writer: Writer | None,
        texts: WrittenTexts | None,
    ) -> Any:
        from erc.emotions import load_emotion_map
        from erc.inference.scorers.llm_model import PromptNotes
        from erc.memory.bio_writer import written_bios
        from erc.memory.corpus import CorpusNotes

        llm = self.config.llm
        assert llm is not None
        by: dict[str, Any] = {}
        if llm.bios and self._writer_named and writer is not None and texts is not None:
            by = written_bios(writer, texts)
        memories = self._memories(train, dev, scorer, dev_sees_train=llm.dev_sees_train, **by)
        shown = PromptNotes(bios=llm.bios, history=llm.history, retrieval=llm.retrieval)
        if shown.past:
            scorer.score_texts(
                [
                    turn.text
                    for corpus in (train, dev)
                    for conversation in corpus.conversations
                    for turn in conversation
                ]
            )
        return CorpusNotes(
            self._past(memories, train, dev, scorer, limit=shown.past),
            shown=shown,
            emotions=load_emotion_map(scorer.fine_emotions.name, train.emotion_set),
            scorer=scorer,
        )

    def _memories(
        self, train: Corpus, dev: Corpus, scorer: CachedScorer, *, dev_sees_train: bool, **by: Any
    ) -> tuple[Registry, Registry]:
        """The memory of training conversations and that of dev."""
        from erc.memory.corpus import corpus_memory

        made = []
        for name, talks in (
            ("train", train.conversations),
            ("dev", (*(train.conversations if dev_sees_train else ()), *dev.conversations)),
        ):
            with self.progress(f"remembering {train.name} {name}", sum(map(len, talks))) as advance:
                made.append(
                    self.stack.enter_context(
                        corpus_memory(self.folder, talks, scorer, advance=advance, note=self.note, **by)
                    )
                )
        return made[0], made[1]

    def _answers(
        self, train: Corpus, dev: Corpus, writer: Writer, texts: WrittenTexts
    ) -> Mapping[str, Mapping[tuple[str, int], str]]:
        from erc.llm.generation.text_store import MOST_TOKENS, generated_answers
        from erc.training.llm.settings import llm_recipe, prompt_budget

        recipe, talks, asked = (
            llm_recipe(self.config),
            (*train.conversations, *dev.conversations),
            prompt_budget(self.config),
        )
        budget = asked.within(writer.encoder.positions, answer=max(MOST_TOKENS.values()))
        if budget != asked:
            shown = f"it is shown at most {budget.max_tokens} of llm.max_tokens={asked.max_tokens}"
            self.note(f"{writer.model_id} has positions for {writer.encoder.positions} tokens: {shown}")
        with self.progress(
            f"writing by {writer.model_id}", len(recipe.generated) * sum(map(len, talks))
        ) as advance:
            return generated_answers(writer, recipe, talks, texts=texts, budget=budget, advance=advance)

    @property
    def _writer_named(self) -> bool:
        return self.config.llm is not None and self.config.llm.writer is not None

    def _writer(self) -> Writer:
        from erc.llm.recipes import writing_model

        llm = self.config.llm
        assert llm is not None
        name, revision = writing_model(llm.writer, base=llm.base, revision=llm.revision)
        return self._open_writer(name, revision, llm.precision)

    def _open_writer(self, name: str, revision: str | None, precision: LlmPrecision) -> Writer:
        from erc.llm.generation.writer import Writer, open_text_writer
        from erc.training.loop import distributed as processes

        writer = open_text_writer(name, revision=revision, precision=precision, server=self.server)
        return (
            writer
            if processes.is_main()
            else Writer(self._unshared, encoder=writer.encoder, model_id=writer.model_id)
        )

    def _unshared(self) -> Generator:
        """Only the main process writes; this process did not find its texts."""
        raise ConfigError(
            f"texts of the main process are not in {self.folder}: name a run folder with --run that all "
            "processes can read"
        )

    def _written(self) -> WrittenTexts:
        from erc.llm.generation.text_store import WRITTEN, WrittenTexts

        return self.stack.enter_context(WrittenTexts(self.folder / WRITTEN))

    def _classifier(self, name: str) -> CachedScorer:
        from erc.inference.scorers.caching import CachedScorer
        from erc.inference.scorers.settings import InferenceSettings
        from erc.persistence import find_model, load_artefact

        return CachedScorer(
            load_artefact(find_model(name)),
            settings=InferenceSettings(uncertainty="off", precision=self.config.optim.precision),
        )


def refuse_idle_server(config: ExperimentConfig, server: str | None) -> None:
    """Check that a server is given only if texts are written.

    Raises:
        ConfigError: A server is given, but the run needs no texts by a language model.
    """
    if server is None:
        return
    from erc.training.llm.settings import llm_recipe

    if config.emonet is not None and config.emonet.bio != "none" and config.emonet.writer is not None:
        return
    recipe = llm_recipe(config) if config.task == "llm" else None
    if recipe is None or not (
        recipe.generated or (recipe.bios and config.llm is not None and config.llm.writer is not None)
    ):
        raise ConfigError(
            f"--server {server}: '{config.name}' needs no texts by a language model, and training is local: "
            "leave --server out"
        )
