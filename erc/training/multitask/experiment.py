"""Trains the shared classifier and conversation models over one encoder, which labelling runs once a turn.

There are three stages:

1. The classifier alone, or one that was trained before.
2. All models together; the conversation models have no memory yet.
3. Over the stored encoder, the layers of each conversation model, its memory included.

No model is trained on a text that any model is evaluated on. Stage 2 trains the encoder on the conversation
models' training turns, so it is more confident on them than on new turns. In stage 3, histories of training
turns therefore hold the features of the classifier of stage 1, which was not trained on them. Histories of
dev turns hold those of the stored classifier, as in labelling.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit
from torch import nn

from erc.config import ExperimentConfig
from erc.data.corpora import Corpus
from erc.data.leaks import LeakFilter
from erc.emotions import load_emotion_set
from erc.errors import ConfigError
from erc.models.emonet.network import EmoNet
from erc.models.utterance import UtteranceClassifier
from erc.persistence import find_model
from erc.persistence.artefact import Artefact, load_artefact
from erc.training.emonet.assembly import build_network, make_task
from erc.training.emonet.finish import finish_emonet
from erc.training.emonet.ingredients import Ingredients, features_of, gather
from erc.training.emonet.task import EmoNetTask
from erc.training.inputs import load_splits
from erc.training.loop import distributed as processes
from erc.training.loop.settings import optim_settings
from erc.training.loop.trainer import train
from erc.training.multitask.configs import leak_filter, part_configs, record_parts
from erc.training.multitask.task import MultiTask, MultiTaskModel
from erc.training.provenance import Provenance, begin_from, corpora_provenance, model_provenance
from erc.training.utterance import experiment as utterance
from erc.training.utterance.task import LabelledText, UtteranceTask, labelled_texts, predict_logits

MODELS = "models"
"""The folder of a run that holds the finished models."""


@dataclass(frozen=True, slots=True)
class _Texts:
    """The classifier's part of a run.

    Attributes:
        config: Its configuration.
        start: The classifier that all models start from.
        corpora: Its training and dev split.
        examples: Its tokenised training examples.
        held: Its tokenised dev examples.
    """

    config: ExperimentConfig
    start: Artefact
    corpora: tuple[Corpus, Corpus]
    examples: list[LabelledText]
    held: list[LabelledText]


@dataclass(frozen=True, slots=True)
class _Run:
    """A run.

    Attributes:
        config: Its configuration.
        leaks: Finds texts that must not be trained on.
        folder: The run folder.
        resume: Whether an interrupted run is resumed.
        progress: Whether to show progress bars.
    """

    config: ExperimentConfig
    leaks: LeakFilter
    folder: Path
    resume: bool
    progress: bool


def run_multitask(config: ExperimentConfig, run_dir: Path, *, resume: bool, progress: bool) -> Path:
    """Train all parts and save each as a model in `run_dir / models`, which is returned.

    Raises:
        ConfigError: If there is more than one process, the parts do not fit together, the classifier to start
            from was trained on a part's training turns, or a resumed run was started with other inputs.
        ArtefactError: If the classifier to start from cannot be found or read.
        InputError: If a corpus cannot be read.
    """
    if processes.count() > 1:
        raise ConfigError(
            "task multitask trains in one process only: all its models share one encoder within a step"
        )
    first, *conversation_parts = part_configs(config)
    record_parts([first, *conversation_parts], run_dir)
    begin_from(run_dir, _provenance(config, [first, *conversation_parts]), resume=resume)
    leaks = leak_filter(
        [first, *conversation_parts], run_dir, init_from=config.artefact.init_from, resume=resume
    )
    run = _Run(config, leaks, run_dir, resume, progress)
    whole, dev = load_splits(first)
    splits = _kept(whole, leaks), dev
    start = _start(run, first, splits)
    for part in conversation_parts:
        _check_unseen(start, part)
    texts = _texts(config, first, splits, start)
    classifier = utterance.build_classifier(first, len(start.info.labels))
    classifier.load_state_dict(start.network.state_dict())
    joint = _train_together(run, texts, classifier, conversation_parts)
    shelf, emotions = run_dir / MODELS, load_emotion_set(texts.corpora[0].emotion_set)
    report = run_dir / f"report-{first.name}"
    report.mkdir(exist_ok=True)
    saved = utterance.finish_utterance(
        first,
        report,
        classifier,
        start.tokenizer,
        texts.corpora,
        texts.held,
        emotions,
        joint.figures_of(first.name),
        shelf=shelf,
    )
    for part in conversation_parts:
        _finish_conversation_model(run, part, start, saved, joint.networks[part.name])
    return shelf


def _provenance(config: ExperimentConfig, parts: Sequence[ExperimentConfig]) -> Provenance:
    """What a run depends on besides its configurations."""
    start = config.artefact.init_from
    return {
        **{
            f"{part.name}/{name}": digest
            for part in parts
            for name, digest in corpora_provenance(load_splits(part)).items()
        },
        "base encoder": model_provenance(parts[0].backbone.name, parts[0].backbone.revision),
        "classifier to start from": None if start is None else load_artefact(find_model(start)).sha256,
    }


def _start(run: _Run, part: ExperimentConfig, splits: tuple[Corpus, Corpus]) -> Artefact:
    """The classifier that all models start from: the one named, else one trained on `splits` in `start`."""
    if run.config.artefact.init_from is not None:
        return load_artefact(find_model(run.config.artefact.init_from))
    folder = run.folder / "start" / part.name
    if not (run.resume and (folder / "artefact.json").is_file()):
        folder = utterance.run_utterance(
            part, run.folder / "start", resume=run.resume, progress=run.progress, splits=splits
        )
    return load_artefact(folder)


def _check_unseen(start: Artefact, part: ExperimentConfig) -> None:
    """Refuse a classifier that was trained on the training turns of a conversation model."""
    train = load_splits(part)[0]
    seen = sorted(set(start.info.data.values()) & {file.sha256 for file in train.files})
    if seen:
        raise ConfigError(
            f"artefact.init_from: {start.info.identity} was trained on the training turns of {part.name}, "
            "so it cannot be used for its histories: name a classifier trained on other texts"
        )


def _texts(
    config: ExperimentConfig, part: ExperimentConfig, splits: tuple[Corpus, Corpus], start: Artefact
) -> _Texts:
    assert config.multitask is not None
    emotions = load_emotion_set(splits[0].emotion_set)
    examples, held = (
        labelled_texts(corpus, emotions, start.tokenizer, max_tokens=part.data.max_tokens)
        for corpus in splits
    )
    chosen = np.random.default_rng(config.optim.seed).permutation(len(examples))[
        : round(len(examples) * config.multitask.text_share)
    ]
    examples = [examples[i] for i in np.sort(chosen)]
    if config.multitask.soft_share:
        assert isinstance(start.network, UtteranceClassifier)
        ids, pad = [example.input_ids for example in examples], utterance.pad_id(start.tokenizer)
        probabilities = expit(
            predict_logits(start.network, ids, pad_id=pad, precision=config.optim.precision)
        ).astype(np.float32)
        examples = [
            dataclasses.replace(example, soft=row)
            for example, row in zip(examples, probabilities, strict=True)
        ]
    return _Texts(part, start, splits, examples, held)


@dataclass(frozen=True, slots=True)
class _Joint:
    """The conversation models trained together, by name, and the dev figures of all parts."""

    networks: dict[str, EmoNet]
    figures: dict[str, float]

    def figures_of(self, name: str) -> dict[str, float]:
        """The dev figures of one part."""
        return {
            key.removeprefix(f"{name}_"): value
            for key, value in self.figures.items()
            if key.startswith(f"{name}_")
        }


def _train_together(
    run: _Run, texts: _Texts, classifier: UtteranceClassifier, conversation_parts: Sequence[ExperimentConfig]
) -> _Joint:
    config = run.config
    assert config.multitask is not None
    first = texts.config
    networks: dict[str, EmoNet] = {}
    tasks: dict[str, UtteranceTask | EmoNetTask] = {
        first.name: UtteranceTask(
            train=texts.examples,
            dev=texts.held,
            labels=texts.start.info.labels,
            pad_id=utterance.pad_id(texts.start.tokenizer),
            positive_weights=utterance.positive_weights(first, texts.examples),
            precision=config.optim.precision,
            soft_share=config.multitask.soft_share,
        )
    }
    for part in conversation_parts:
        bare = _without_memory(part)
        parts = _gathered(bare, run.leaks, cache_dir=None)
        networks[part.name] = build_network(bare, parts)
        networks[part.name].context.encoder = classifier.encoder
        tasks[part.name] = make_task(bare, parts)
    model = MultiTaskModel({first.name: classifier, **networks})
    weights = dict(zip(tasks, config.multitask.parts.values(), strict=True))
    task = MultiTask(tasks, weights=weights)
    figures = train(
        model=model,
        task=task,
        optim=optim_settings(config),
        run_dir=run.folder / "together",
        resume=run.resume,
        progress=run.progress,
    )
    return _Joint(networks, figures)


def _gathered(part: ExperimentConfig, leaks: LeakFilter, *, cache_dir: Path | None) -> Ingredients:
    """What a conversation model is trained from, without the texts that must not be trained on."""
    parts = gather(part, cache_dir=cache_dir)
    return dataclasses.replace(parts, train=_kept(parts.train, leaks))


def _kept(train: Corpus, leaks: LeakFilter) -> Corpus:
    return dataclasses.replace(train, conversations=leaks.apply(train.conversations)[0])


def _without_memory(part: ExperimentConfig) -> ExperimentConfig:
    """The part's configuration in stage 2: without stored vectors, because the encoder still changes."""
    assert part.emonet is not None
    bare = part.emonet.model_copy(update={"memory_encoder": "none", "encoder": "own"})
    return part.model_copy(
        update={"emonet": bare, "artefact": part.artefact.model_copy(update={"init_from": None})}
    )


def _finish_conversation_model(
    run: _Run, part: ExperimentConfig, start: Artefact, saved: Path, trained: EmoNet
) -> None:
    """Train the model's own layers over the stored encoder; keep them if dev improves; save the model."""
    assert run.config.multitask is not None
    part = part.model_copy(update={"artefact": part.artefact.model_copy(update={"init_from": str(saved)})})
    parts = _gathered(part, run.leaks, cache_dir=run.folder / "features")
    parts = unseen_histories(part, parts, start, cache_dir=run.folder / "features")
    network, task = build_network(part, parts), make_task(part, parts)
    _take_over(network, trained)
    figures = task.evaluate(network.eval())
    if run.config.multitask.head_epochs:
        before = {name: value.clone() for name, value in network.state_dict().items()}
        optim = dataclasses.replace(optim_settings(part), epochs=run.config.multitask.head_epochs)
        after = train(
            model=network,
            task=task,
            optim=optim,
            run_dir=run.folder / f"heads-{part.name}",
            resume=run.resume,
            progress=run.progress,
        )
        if after[task.primary_metric] > figures[task.primary_metric]:
            figures = after
        else:
            network.load_state_dict(before)
    report = run.folder / f"report-{part.name}"
    report.mkdir(exist_ok=True)
    finish_emonet(part, report, network, task, parts, figures, shelf=run.folder / MODELS)


def unseen_histories(
    part: ExperimentConfig, parts: Ingredients, start: Artefact, *, cache_dir: Path | None
) -> Ingredients:
    """`parts` whose histories hold, for training turns, the features of `start`, not trained on them.

    Unchanged for a model that reads no stored observations.
    """
    assert part.emonet is not None
    if parts.features is None or part.emonet.memory_encoder != "shared":
        return parts
    unseen = features_of(start, (parts.train,), config=part, cache_dir=cache_dir)
    return dataclasses.replace(parts, history_features=parts.features.replaced_by(unseen))


def _take_over(network: nn.Module, trained: nn.Module) -> None:
    """Copy every weight that both have, except those of the encoder: the stored encoder is kept."""
    own = network.state_dict()
    found = {
        name: value for name, value in trained.state_dict().items() if name in own and ".encoder." not in name
    }
    network.load_state_dict({**own, **found})
