"""Loads a language model, named as `llm:PATH_OR_ID`, as a scorer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from erc.data.leaks import LeakFilter
from erc.emotions import load_emotion_set
from erc.errors import ArtefactError, ConfigError
from erc.inference.demonstrations import NO_LEAKS, trained_demonstrations
from erc.inference.scorers.llm import LlmScorer
from erc.inference.scorers.llm_model import Backend, LanguageModel, PromptNotes
from erc.inference.scorers.settings import InferenceSettings
from erc.inference.scorers.utterance import UtteranceScorer
from erc.llm.backends.local import LocalScorer
from erc.llm.backends.server import ServerScorer, asked_mode, open_transport
from erc.llm.base.adapters import RECORD, AdapterRecord
from erc.llm.base.digests import known_weights, weights_digest
from erc.llm.base.four_bit import can_four_bit
from erc.llm.base.loading import LlmPrecision, default_device, known_positions, require_place
from erc.llm.prompts.budget import Budget
from erc.llm.prompts.builder import PromptBuilder
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.template import PromptTemplate
from erc.llm.recipes import writing_model
from erc.llm.scoring.calibration import ContextualCalibrator, OddsPrior, content_free_prior
from erc.llm.scoring.scores import YES_NO, LabelScorer, yes_no_odds
from erc.models.dropout import SeededDropout
from erc.models.encoder.precision import bf16_is_fast, resolve_precision
from erc.resources import LLM_PREFIX
from erc.uncertainty.policy import DecisionPolicy

DEFAULT_EMOTIONS = "ekman"
"""Emotion set of a model without an adapter if none is named."""
UNTUNED_NOTES = PromptNotes(bios=True, history=4, without_memory=False)
"""What prompts of a model without an adapter show of a speaker memory."""
CACHE_FILE = "answers.sqlite"
"""Name of the answer cache within the `--cache` folder."""
REVIEW_ALL = DecisionPolicy(min_confidence=2.0)
"""A policy that sends every turn to review: no probability reaches 2."""


def load_llm_scorer(
    model: str,
    *,
    utterance: UtteranceScorer,
    adapter: Path | None = None,
    server: str | None = None,
    cache: Path | None = None,
    settings: InferenceSettings | None = None,
    emotions: str | None = None,
    leaks: LeakFilter = NO_LEAKS,
) -> LlmScorer:
    """The scorer of `llm:PATH_OR_ID`: a base model, optionally with an adapter.

    Args:
        model: `llm:` with a folder or hub id of a base, or with an adapter folder, which names its base.
        utterance: The shared classifier, for fine emotions and for retrieval.
        adapter: Folder of an adapter over the base.
        server: URL of a server that runs the model under that name. The tokenizer is read locally, from
            `adapter` or PATH_OR_ID.
        cache: Folder for the server's answers.
        settings: Precision and sampling.
        emotions: Emotion set to report in.
        leaks: Removes demonstrations that share texts with evaluated data. An adapter trained with
            demonstrations needs its training corpus under the data root.

    Raises:
        ArtefactError: The model, adapter or its corpus cannot be used.
        ConfigError: The options do not fit together.
    """
    settings = settings or InferenceSettings()
    if cache is not None and server is None:
        raise ConfigError("--cache keeps the answers of a model server: give --server too")
    name, adapter, record = named(model, adapter=adapter, server=server)
    if server is not None:
        loaded = _served(name, server, adapter, record, emotions, cache)
    else:
        loaded = _local(name, adapter, record, settings, emotions)
    with _closed_on_failure(loaded.backend):
        if record is not None:
            loaded = replace(loaded, demonstrations=trained_demonstrations(record, utterance, leaks=leaks))
        return LlmScorer(loaded, utterance=utterance, settings=settings, target=emotions)


@contextmanager
def _closed_on_failure(backend: Backend) -> Iterator[None]:
    """Closes a backend's connections if the block fails."""
    try:
        yield
    except BaseException:
        backend.close()
        raise


def llm_policy(scorer: LlmScorer) -> DecisionPolicy:
    """The decision policy for the reported set; review for every turn if none was fitted."""
    record = scorer.model.policies.get(scorer.emotions.name) if scorer.calibrated else None
    return REVIEW_ALL if record is None else DecisionPolicy.from_dict(record)


def _local(
    name: str,
    adapter: Path | None,
    record: AdapterRecord | None,
    settings: InferenceSettings,
    emotions: str | None,
) -> LanguageModel:
    revision = None if record is None or Path(name).is_dir() else record.revision
    precision, remarks = _precision(settings.precision, record)
    backend = LocalScorer.load(name, revision=revision, adapter=adapter, precision=precision)
    dropout = any(part.p > 0 for part in backend.model.modules() if isinstance(part, SeededDropout))
    builder, emotion_set, shortened = _prompts(backend.encoder, record, emotions)
    remarks = (*remarks, *shortened, *unproven(name, record))
    return replace(
        _described(backend, builder, emotion_set, record, exact=True), dropout=dropout, remarks=remarks
    )


def _precision(asked: str, record: AdapterRecord | None) -> tuple[LlmPrecision, tuple[str, ...]]:
    """Precision to load the base in, with remarks; by default the one the adapter was trained with."""
    trained = "auto" if record is None else _trained_with(record).get("precision", "auto")
    found: Any = trained if asked == "auto" else asked
    remarks: tuple[str, ...] = ()
    if asked == "auto" and trained == "4bit" and not can_four_bit(default_device()):
        found = resolve_precision("auto")
        remarks = (
            "the adapter was trained over its base in 4bit, which needs a CUDA GPU and bitsandbytes: here "
            f"it runs in {found}",
        )
    elif asked == "auto" and trained == "bf16" and not bf16_is_fast():
        found = "auto"
    return found, remarks


def _served(
    name: str,
    server: str,
    adapter: Path | None,
    record: AdapterRecord | None,
    emotions: str | None,
    cache: Path | None,
) -> LanguageModel:
    from transformers import AutoTokenizer

    source = (
        name if adapter is None else str(adapter)
    )  # A server may use any name for an adapter; its folder holds the tokenizer.
    require_place(source)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ArtefactError(
            f"--server needs the tokenizer of its model to fit prompts, and '{source}' has none that can be "
            f"read: {error}"
        ) from error
    # The number of positions is read from local files only: the server has the model.
    positions = known_positions(
        name if record is None else record.base,
        revision=None if record is None else record.revision,
        at_hand=True,
    )
    encoder = PromptEncoder(tokenizer, positions=positions)
    builder, emotion_set, remarks = _prompts(encoder, record, emotions)
    weights = known_weights(name if record is None else record.base, adapter)
    kept = None if cache is None else cache / CACHE_FILE
    each = load_emotion_set(emotion_set).multi_label
    probe = (builder.content_free(builder.labels[0] if each else None), YES_NO if each else builder.labels)
    backend = ServerScorer(
        open_transport(server),
        model=name,
        encoder=encoder,
        mode=asked_mode(),
        probe=probe,
        cache=kept,
        weights=weights,
    )
    with _closed_on_failure(backend):
        return replace(
            _described(backend, builder, emotion_set, record, exact=backend.mode == "completions"),
            remarks=remarks,
            server=server,
        )


def _prompts(
    encoder: PromptEncoder, record: AdapterRecord | None, emotions: str | None
) -> tuple[PromptBuilder, str, tuple[str, ...]]:
    """Prompt builder, emotion set of the prompts, and a remark if prompts are shortened."""
    if record is None:
        asked = load_emotion_set(emotions or DEFAULT_EMOTIONS)
        template = PromptTemplate.load("erc_yes_no" if asked.multi_label else "erc")
        budget, remarks = _fitting(Budget(), encoder, YES_NO if asked.multi_label else asked.labels)
        return (
            PromptBuilder(encoder=encoder, labels=asked.labels, template=template, budget=budget),
            asked.name,
            remarks,
        )
    own = load_emotion_set(record.label_set)
    if tuple(own.labels) != record.labels:
        raise ArtefactError(
            f"the adapter was trained for the labels {', '.join(record.labels)}, set '{own.name}' now has "
            f"{', '.join(own.labels)}"
        )
    llm = _trained_with(record)
    asked_for = Budget(
        max_tokens=llm.get("max_tokens", 1024), max_turns=llm.get("turns", 12), block=llm.get("block", 4)
    )
    budget, remarks = _fitting(asked_for, encoder, record.labels)
    builder = record.prompt_builder(encoder, budget=budget)
    if record.chat_template_sha256 != encoder.template_sha256:
        other = (
            "without the chat template that"
            if record.chat_template_sha256 is None
            else "with another chat template than"
        )
        raise ArtefactError(f"the adapter was trained {other} {record.base} has now: train it again")
    return builder, own.name, remarks


def _fitting(
    budget: Budget, encoder: PromptEncoder, answers: Sequence[str]
) -> tuple[Budget, tuple[str, ...]]:
    """The part of `budget` that leaves room for each answer, with a remark if that is less."""
    fitting = budget.within(
        encoder.positions, answer=max(len(encoder.answer_ids(answer)) for answer in answers)
    )
    if fitting == budget:
        return budget, ()
    told = (
        f"the model has positions for {encoder.positions} tokens: prompts hold at most {fitting.max_tokens} "
        f"of them, not {budget.max_tokens}"
    )
    return fitting, (told,)


def _described(
    backend: LocalScorer | ServerScorer,
    builder: PromptBuilder,
    emotion_set: str,
    record: AdapterRecord | None,
    *,
    exact: bool,
) -> LanguageModel:
    llm = {} if record is None else _trained_with(record)
    trained = PromptNotes(
        bios=llm.get("bios", False), history=llm.get("history", 0), retrieval=llm.get("retrieval", "recency")
    )
    several = load_emotion_set(emotion_set).multi_label
    if several and not exact:
        raise ConfigError(
            f"several emotions of '{emotion_set}' may hold at once, which needs the exact scores of a local "
            "model or of a server with echoed completions: use --emotions ekman"
        )
    calibrator: ContextualCalibrator | OddsPrior | None = None
    if record is None and exact:
        calibrator = _odds_prior(backend, builder) if several else _label_prior(backend, builder)
    elif (
        record is not None and record.calibrator is not None and exact
    ):  # A calibrator fitted on exact scores does not apply to codes or choices.
        calibrator = ContextualCalibrator.from_dict(record.calibrator)
    return LanguageModel(
        name=f"{LLM_PREFIX}{backend.model_id}",
        backend=backend,
        builder=builder,
        emotion_set=emotion_set,
        calibrator=calibrator,
        fitted=record is not None,
        policies={} if record is None else record.extra.get("policy", {}),
        notes=UNTUNED_NOTES
        if record is None
        else trained,  # An adapter reads the same inputs as in training.
        bio_writer=writing_model(llm["writer"], base=str(llm.get("base")), revision=None)[0]
        if trained.bios and llm.get("writer")
        else None,
    )


def _label_prior(backend: LabelScorer, builder: PromptBuilder) -> ContextualCalibrator:
    """A calibrator that removes the label prior of a content-free prompt; nothing is fitted."""
    return ContextualCalibrator.of_prior(
        builder.labels, content_free_prior(backend, [builder.content_free()], builder.labels)
    )


def _odds_prior(backend: LabelScorer, builder: PromptBuilder) -> OddsPrior:
    odds, _ = yes_no_odds(backend, [[builder.content_free(label) for label in builder.labels]])
    return OddsPrior(tuple(map(float, odds[0])))


def _trained_with(record: AdapterRecord) -> Mapping[str, Any]:
    """The `llm` section of the adapter's training configuration."""
    section = record.extra.get("config", {}).get("llm")
    return section if isinstance(section, Mapping) else {}


def named(
    model: str, *, adapter: Path | None = None, server: str | None = None
) -> tuple[str, Path | None, AdapterRecord | None]:
    """Resolves `llm:PATH_OR_ID` to base, adapter folder and adapter record.

    An adapter folder as PATH_OR_ID also determines its base. With `adapter`, PATH_OR_ID names the base, which
    may have moved since training. A server's model is not checked. Folder and record are None without an
    adapter.

    Raises:
        ConfigError: No model is named, or the adapter belongs to another base.
        ArtefactError: The base is missing or has other weights than in training.
    """
    name = model.removeprefix(LLM_PREFIX)
    if not name:
        raise ConfigError("--model llm: names no model; write llm:FOLDER or llm:ORGANISATION/NAME")
    if adapter is None and server is None and (Path(name) / RECORD).is_file():
        adapter = Path(name)
        name = AdapterRecord.load(adapter).base
    record = None if adapter is None else AdapterRecord.load(adapter)
    if adapter is not None and record is not None and server is None:
        _require_base(name, adapter, record)
    return name, adapter, record


def unproven(name: str, record: AdapterRecord | None) -> tuple[str, ...]:
    """A remark if a local folder replaces a hub base whose weights were not recorded."""
    if record is None or name == record.base or record.base_weights is not None:
        return ()
    return (
        f"the adapter was trained over {record.base}; that {name} holds the same weights is taken on trust",
    )


def _require_base(name: str, adapter: Path, record: AdapterRecord) -> None:
    here = Path(name).is_dir()
    if record.base_weights is None:  # a hub model
        if name != record.base and not here:
            raise ConfigError(
                f"the adapter {adapter} was trained over {record.base}, not over {name}: use --model "
                f"llm:{adapter}"
            )
        return
    if not here:
        raise ArtefactError(
            f"the adapter {adapter} was trained over a base in the folder {record.base}, and {name} is no "
            f"folder here: give the folder of the base with --model llm:FOLDER --adapter {adapter}"
        )
    if (found := weights_digest(Path(name))) != record.base_weights:
        raise ArtefactError(
            f"the adapter {adapter} was trained over other weights (digest {record.base_weights}) than "
            f"{name} holds ({found}): its figures and its calibration do not apply to these; name its own "
            "base, or train it again"
        )
