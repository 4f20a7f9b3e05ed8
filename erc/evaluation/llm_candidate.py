"""A language model as a candidate, with prompts, scores and calibrator as in labelling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from erc.data.corpora import Corpus
from erc.data.leaks import LeakFilter
from erc.evaluation.candidates import Candidate, ModelOutput, distribution, refuse_several_labels
from erc.evaluation.labelled_data import GoldData
from erc.evaluation.memory import MEMORY_NOTE, corpus_past, evaluated_memory
from erc.inference import loading
from erc.inference.demonstrations import NO_LEAKS
from erc.inference.llm_loading import DEFAULT_EMOTIONS, load_llm_scorer, named
from erc.inference.scorers.caching import CachedScorer
from erc.inference.scorers.llm import LlmScorer
from erc.inference.scorers.llm_model import Question
from erc.inference.scorers.settings import InferenceSettings
from erc.llm.base.adapters import AdapterRecord
from erc.models.encoder.encoder import file_sha256
from erc.persistence import load_model
from speakers import Registry

_Memory = Callable[..., AbstractContextManager[Registry | None]]
"""`evaluated_memory` with its folder and writer given."""
_WEIGHTS = "adapter_model.safetensors"


def of_language_model(
    model: str,
    *,
    adapter: Path | None = None,
    server: str | None = None,
    cache: Path | None = None,
    inputs: Path | None = None,
    writer_server: str | None = None,
) -> Candidate:
    """The candidate of `llm:PATH_OR_ID`.

    An adapter is evaluated through the map from its emotion set, and reads the notes and demonstrations it
    was trained with. A model without an adapter is prompted for the data's labels and reads only the
    dialogue.

    Args:
        model: As in `load_llm_scorer`; likewise `adapter`, `server` and `cache`.
        adapter: Adapter folder.
        server: URL of a model server.
        cache: Folder for its answers.
        inputs: Cache for memories and written texts.
        writer_server: URL of a server that runs the model which wrote the bios.

    Raises:
        ArtefactError: The model cannot be used.
        ConfigError: The options do not fit together.
    """
    name, folder, record = named(model, adapter=adapter, server=server)

    def believe(data: GoldData, settings: InferenceSettings) -> ModelOutput:
        refuse_several_labels(
            data, identity=model, own=DEFAULT_EMOTIONS if record is None else record.label_set
        )
        utterance = CachedScorer(
            load_model(loading.SHARED_MODEL), settings=replace(settings.for_encoders(), uncertainty="off")
        )
        place: dict[str, Any] = {"adapter": adapter, "server": server, "cache": cache}
        scorer = load_llm_scorer(
            model,
            utterance=utterance,
            settings=settings,
            emotions=data.emotions.name,
            leaks=_leaks(data),
            **place,
        )
        try:
            return _belief(
                scorer,
                utterance,
                record,
                data,
                partial(evaluated_memory, folder=inputs, writer_server=writer_server),
            )
        finally:
            scorer.close()

    known = {} if record is None else record.extra
    corpus = known.get("config", {}).get("data", {}).get("corpus")
    return Candidate(
        identity=model if folder is None else f"{loading.LLM_PREFIX}{name}+{folder.name}",
        kind="llm",
        emotion_set=DEFAULT_EMOTIONS if record is None else record.label_set,
        sha256=None
        if folder is None or not (folder / _WEIGHTS).is_file()
        else file_sha256(folder / _WEIGHTS),
        believe=believe,
        files={f"{corpus}/{file}": sha256 for file, sha256 in known.get("files", {}).items()},
        config=known.get("config", {}),
    )


def _belief(
    scorer: LlmScorer, utterance: CachedScorer, record: AdapterRecord | None, data: GoldData, memory: _Memory
) -> ModelOutput:
    # fills batches, which single texts would not
    utterance.score_texts([turn.text for turn in data.turns()])
    questions, notes = _questions(scorer, utterance, record, data, memory)
    scores = scorer.answer(questions)
    notes = (*notes, *scorer.model.remarks)
    if not scorer.calibrated:
        notes = (
            *notes,
            f"{scorer.identity} is not calibrated: its probabilities only rank the labels, whatever their "
            "calibration figures say",
        )
    sampling = {**scorer.sampling, "truncated": int(scores.truncated.sum())}
    return ModelOutput(
        distribution(scores.probabilities),
        None,
        scores.uncertainty if scorer.samples else None,
        sampling,
        notes,
        scorer.model.emotion_set,
    )


def _questions(
    scorer: LlmScorer, utterance: CachedScorer, record: AdapterRecord | None, data: GoldData, memory: _Memory
) -> tuple[Sequence[Question], tuple[str, ...]]:
    """The questions about every turn, and notes on what prompts show."""
    shown, extra = scorer.model.notes, {} if record is None else record.extra
    if record is None or not shown.any:
        return [one for conversation in data.conversations for one in scorer.questions(conversation)], ()
    config = extra.get("config", {})
    with ExitStack() as stack:
        registry = stack.enter_context(
            memory(data, utterance, config=config, section="llm", files=extra.get("files", {}))
        )
        if registry is None:
            alone = (
                "the conversations are no corpus's, so nothing is known of their speakers: prompts show "
                "neither bios nor earlier turns"
            )
            return [one for conversation in data.conversations for one in scorer.questions(conversation)], (
                alone,
            )
        past = corpus_past(registry, data, utterance, limit=shown.past)
        return [
            one
            for conversation in data.conversations
            if len(conversation)
            for one in scorer.questions(conversation, past=past)
        ], (MEMORY_NOTE,)


def _leaks(data: GoldData) -> LeakFilter:
    """A filter of demonstrations that share texts with the data, as in training."""
    if data.edition is None:  # a transcript shares no text with a training corpus
        return NO_LEAKS
    return LeakFilter.of(
        [Corpus(data.name, data.split or "", data.conversations, data.emotions.name, data.edition, (), ())]
    )
