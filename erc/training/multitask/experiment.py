"""Training the shared classifier and conversation models together over one encoder, so that labelling reads every turn once.

Three stages: the classifier alone (or one that was trained before); all tasks together, the conversation
models without a memory; then, with the encoder as it will be stored, what each conversation model has of its
own, its memory of speakers among it.

None of them learns from what any part is judged on. What the memories read of training turns comes of an
encoder that was trained on these very turns: it is surer of them than it is of new ones, so figures on train
are optimistic, and heads are kept by dev alone.
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
from erc.training.emonet import experiment as emonet
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
"""The folder of a run in which the finished models lie side by side."""


@dataclass(frozen=True, slots=True)
class _Texts:
    """The classifier's side: its configuration, what it starts from, its splits and its tokenised examples."""

    config: ExperimentConfig
    start: Artefact
    corpora: tuple[Corpus, Corpus]
    examples: list[LabelledText]
    held: list[LabelledText]


def run_multitask(config: ExperimentConfig, run_dir: Path, *, resume: bool, progress: bool) -> Path:
    """Trains all parts and saves each as a model of its own in `run_dir / models`, which it returns."""
    if processes.count() > 1:
        raise ConfigError(
            "task multitask trains in one process: its models take turns over one encoder within a step"
        )
    first, *talks = part_configs(config)
    record_parts([first, *talks], run_dir)
    begin_from(run_dir, _begun_from(config, [first, *talks]), resume=resume)
    leaks = leak_filter([first, *talks], run_dir, init_from=config.artefact.init_from, resume=resume)
    whole, dev = load_splits(first)
    splits = _kept(whole, leaks), dev
    start = _start(config, first, splits, run_dir, resume=resume, progress=progress)
    texts = _texts(config, first, splits, start)
    classifier = utterance.build_classifier(first, len(start.info.labels))
    classifier.load_state_dict(start.network.state_dict())
    joint = _train_together(
        config, texts, classifier, talks, leaks, run_dir / "together", resume=resume, progress=progress
    )
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
    for part in talks:
        _finish_talk(
            config, part, saved, joint.networks[part.name], leaks, run_dir, resume=resume, progress=progress
        )
    return shelf


def _begun_from(config: ExperimentConfig, parts: Sequence[ExperimentConfig]) -> Provenance:
    """What a run hangs on beside its configurations."""
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


def _start(
    config: ExperimentConfig,
    part: ExperimentConfig,
    splits: tuple[Corpus, Corpus],
    run_dir: Path,
    *,
    resume: bool,
    progress: bool,
) -> Artefact:
    """The classifier all begin from: the one named, else one trained on `splits` by its own configuration in `run_dir / start`."""
    if config.artefact.init_from is not None:
        return load_artefact(find_model(config.artefact.init_from))
    folder = run_dir / "start" / part.name
    if not (resume and (folder / "artefact.json").is_file()):
        folder = utterance.run_utterance(
            part, run_dir / "start", resume=resume, progress=progress, splits=splits
        )
    return load_artefact(folder)


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
        believed = expit(
            predict_logits(start.network, ids, pad_id=pad, precision=config.optim.precision)
        ).astype(np.float32)
        examples = [
            dataclasses.replace(example, soft=row) for example, row in zip(examples, believed, strict=True)
        ]
    return _Texts(part, start, splits, examples, held)


@dataclass(frozen=True, slots=True)
class _Joint:
    """What training together left: the conversation models by name, and the dev figures of all parts."""

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
    config: ExperimentConfig,
    texts: _Texts,
    classifier: UtteranceClassifier,
    talks: Sequence[ExperimentConfig],
    leaks: LeakFilter,
    run_dir: Path,
    *,
    resume: bool,
    progress: bool,
) -> _Joint:
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
    for part in talks:
        bare = _without_memory(part)
        parts = _gathered(bare, leaks, cache_dir=None)
        networks[part.name] = emonet.build_network(bare, parts)
        networks[part.name].context.encoder = classifier.encoder
        tasks[part.name] = emonet.make_task(bare, parts)
    model = MultiTaskModel({first.name: classifier, **networks})
    weights = dict(zip(tasks, config.multitask.parts.values(), strict=True))
    task = MultiTask(tasks, weights=weights)
    figures = train(
        model=model,
        task=task,
        optim=optim_settings(config),
        run_dir=run_dir,
        resume=resume,
        progress=progress,
    )
    return _Joint(networks, figures)


def _gathered(part: ExperimentConfig, leaks: LeakFilter, *, cache_dir: Path | None) -> emonet.Ingredients:
    """What a conversation model is trained from, less what may not be learnt from."""
    parts = emonet.gather(part, cache_dir=cache_dir)
    return dataclasses.replace(parts, train=_kept(parts.train, leaks))


def _kept(train: Corpus, leaks: LeakFilter) -> Corpus:
    return dataclasses.replace(train, conversations=leaks.apply(train.conversations)[0])


def _without_memory(part: ExperimentConfig) -> ExperimentConfig:
    """The part as it is trained with the others: nothing it reads may come of the encoder that is still changing."""
    assert part.emonet is not None
    bare = part.emonet.model_copy(update={"memory_encoder": "none", "encoder": "own"})
    return part.model_copy(
        update={"emonet": bare, "artefact": part.artefact.model_copy(update={"init_from": None})}
    )


def _finish_talk(
    config: ExperimentConfig,
    part: ExperimentConfig,
    saved: Path,
    trained: EmoNet,
    leaks: LeakFilter,
    run_dir: Path,
    *,
    resume: bool,
    progress: bool,
) -> None:
    """Trains on what is the model's own over the stored encoder, keeps it only where it is better on dev, and saves the model."""
    assert config.multitask is not None
    part = part.model_copy(update={"artefact": part.artefact.model_copy(update={"init_from": str(saved)})})
    parts = _gathered(part, leaks, cache_dir=run_dir / "features")
    network, task = emonet.build_network(part, parts), emonet.make_task(part, parts)
    _take_over(network, trained)
    figures = task.evaluate(network.eval())
    if config.multitask.head_epochs:
        before = {name: value.clone() for name, value in network.state_dict().items()}
        optim = dataclasses.replace(optim_settings(part), epochs=config.multitask.head_epochs)
        after = train(
            model=network,
            task=task,
            optim=optim,
            run_dir=run_dir / f"heads-{part.name}",
            resume=resume,
            progress=progress,
        )
        if after[task.primary_metric] > figures[task.primary_metric]:
            figures = after
        else:
            network.load_state_dict(before)
    report = run_dir / f"report-{part.name}"
    report.mkdir(exist_ok=True)
    emonet.finish_emonet(part, report, network, task, parts, figures, shelf=run_dir / MODELS)


def _take_over(network: nn.Module, trained: nn.Module) -> None:
    """Copies every weight both have, except the encoder's, which is the stored one."""
    own = network.state_dict()
    found = {
        name: value for name, value in trained.state_dict().items() if name in own and ".encoder." not in name
    }
    network.load_state_dict({**own, **found})
