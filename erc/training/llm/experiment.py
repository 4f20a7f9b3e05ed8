"""Trains an adapter from its configuration, stage after stage, and calibrates it on dev."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import numpy as np

from erc.config import ExperimentConfig
from erc.data.corpora import Corpus
from erc.data.leaks import LeakFilter
from erc.emotions import load_emotion_set
from erc.errors import ConfigError
from erc.llm.backends.local import LocalScorer
from erc.llm.base.adapters import AdapterRecord, attach_lora, save_adapter
from erc.llm.base.digests import hub_commit, reading_digest, weights_digest
from erc.llm.base.loading import load_base
from erc.llm.prompts.builder import PromptBuilder
from erc.llm.prompts.demonstrations import DemonstrationIndex
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.tasks import TaskPrompts
from erc.llm.recipes import GENERATED, Recipe, Stage, answers_of, require_one_of
from erc.llm.scoring.calibration import ContextualCalibrator, content_free_prior
from erc.persistence.artefact import installed_versions
from erc.training.inputs import InputMaker, TrainingInputs, load_splits, no_inputs
from erc.training.llm.answers import predict_answers
from erc.training.llm.batches import LlmExample, dialogue_groups
from erc.training.llm.calibration import fit_policies
from erc.training.llm.card import write_adapter_card
from erc.training.llm.examples import Examples
from erc.training.llm.hooks import enable_checkpointing
from erc.training.llm.settings import llm_recipe, lora_settings, prompt_budget, stage_optim
from erc.training.llm.stages import run_stages
from erc.training.llm.task import LlmTask
from erc.training.loop.distributed import main_first, on_main
from erc.training.loop.losses import as_tensor, class_weights
from erc.training.provenance import (
    Provenance,
    begin_from,
    corpora_provenance,
    inputs_provenance,
    model_provenance,
)


def run_llm(
    config: ExperimentConfig,
    run_dir: Path,
    *,
    resume: bool,
    progress: bool,
    inputs: InputMaker = no_inputs,
    splits: tuple[Corpus, Corpus] | None = None,
) -> Path:
    """Trains every stage in its own folder and writes the adapter folder `run_dir / config.name`.

    `splits` are train and dev if they differ from those of `config.data`, such as generated ones.

    Raises:
        ConfigError: If the recipe needs an input that `inputs` does not make, the base cannot read its
            prompts, or a resumed run was started with other inputs.
        ArtefactError: If the base cannot be loaded or trained.
        InputError: If a corpus cannot be read.
    """
    recipe = llm_recipe(config)
    llm = config.llm
    assert llm is not None
    splits = load_splits(config) if splits is None else splits
    labels = require_one_of(load_emotion_set(splits[0].emotion_set))
    given = _made_inputs(inputs, splits)
    check_inputs(recipe, given)
    base, tokenizer = load_base(llm.base, revision=llm.revision, precision=llm.precision, use="training")
    prompts = TaskPrompts(
        PromptBuilder(
            encoder=PromptEncoder(tokenizer), labels=labels, budget=prompt_budget(config, base=base.config)
        )
    )
    on_main(lambda: begin_from(run_dir, _begun_from(config, splits, given, prompts), resume=resume))
    model = attach_lora(base, lora_settings(config), seed=config.optim.seed)
    if llm.gradient_checkpointing:
        enable_checkpointing(model)
    examples = Examples(prompts, recipe, given, demonstrations=_index(recipe, splits, given, labels))
    judged: dict[str, list[LlmExample]] = {}

    def dev_of(stage: Stage) -> list[LlmExample]:
        if stage.name not in judged:
            judged[stage.name] = examples.of_stage(splits[1], stage, dev=True)
        return judged[stage.name]

    figures = run_stages(
        model,
        recipe.stages,
        run_dir=run_dir,
        task_of=lambda stage: stage_task(
            config,
            examples.of_stage(splits[0], stage),
            dev_of(stage),
            labels=labels,
            pad_id=tokenizer.pad_token_id,
        ),
        optim_of=lambda stage: stage_optim(config, stage),
        resume=resume,
        progress=progress,
    )
    model.eval()
    dev = [example for example in dev_of(recipe.stages[-1]) if example.emotion]
    return on_main(
        lambda: finish_llm(config, run_dir, model, tokenizer, prompts.builder, splits, dev, given, figures)
    )


def _made_inputs(inputs: InputMaker, splits: tuple[Corpus, Corpus]) -> TrainingInputs:
    """The training inputs of a run; every process gets the generated texts of the main process.

    A missing text makes no example. So different texts would give the processes different batches.
    """
    made = main_first(lambda: inputs(*splits))
    return replace(made, generated=on_main(lambda: made.generated))


def finish_llm(
    config: ExperimentConfig,
    run_dir: Path,
    model: Any,
    tokenizer: Any,
    builder: PromptBuilder,
    splits: Sequence[Corpus],
    dev: Sequence[LlmExample],
    inputs: TrainingInputs,
    figures: dict[str, float],
) -> Path:
    """Calibrates the trained adapter on the emotion examples of dev, and saves it."""
    llm, labels = config.llm, builder.labels
    assert llm is not None
    scores, targets = predict_answers(model, dev).numpy(), np.array([example.target for example in dev])
    prior = content_free_prior(
        LocalScorer(model, tokenizer, model_id="trained"), [builder.content_free()], labels
    )
    folder = run_dir / config.name
    base, local = llm.base, Path(llm.base).is_dir()
    record = AdapterRecord(
        base=base,
        # A branch on the hub may change; an adapter fits only the commit it was trained with.
        revision=llm.revision if local else hub_commit(base, llm.revision) or llm.revision,
        prompt=builder.prompt_id,
        prompt_sha256=builder.sha256,
        chat_template_sha256=builder.encoder.template_sha256,
        labels=labels,
        label_set=splits[0].emotion_set,
        calibrator=ContextualCalibrator.fit(labels, scores, targets, prior=prior).to_dict(),
        extra={
            "figures": figures,
            "policy": fit_policies(
                scores, targets, dialogue_groups(dev), label_set=splits[0].emotion_set, prior=prior
            ),
            "base_weights": weights_digest(Path(base)) if local else None,
            "versions": {**installed_versions(), "peft": package_version("peft")},
            **_origin(config, splits, inputs),
        },
    )
    save_adapter(model, folder, record)
    write_adapter_card(folder, record)
    tokenizer.save_pretrained(str(folder))
    return folder


def _begun_from(
    config: ExperimentConfig, splits: Sequence[Corpus], inputs: TrainingInputs, prompts: TaskPrompts
) -> Provenance:
    """What the examples and the base model of a run depend on besides the configuration."""
    assert config.llm is not None
    written = sorted((task, sorted(texts.items())) for task, texts in inputs.generated.items())
    return {
        **corpora_provenance(splits),
        **inputs_provenance(inputs.provenance),
        "base model": model_provenance(config.llm.base, config.llm.revision),
        "prompts": prompts.sha256,
        "tokenizer and chat template": reading_digest(prompts.builder.encoder),
        "written texts": hashlib.sha256(repr(written).encode()).hexdigest() if written else None,
    }


def _origin(config: ExperimentConfig, splits: Sequence[Corpus], inputs: TrainingInputs) -> dict[str, Any]:
    """What an adapter was trained from; labelling uses it to find the demonstrations."""
    return {
        "config": json.loads(config.model_dump_json()),
        "files": corpora_provenance(splits),
        "inputs": dict(inputs.provenance),
    }


def check_inputs(recipe: Recipe, inputs: TrainingInputs) -> None:
    """Checks that a recipe can be trained with `inputs`.

    Raises:
        ConfigError: If an input is missing; the message names it.
    """
    if recipe.needs_notes and inputs.notes is None:
        raise ConfigError(
            "llm.bios and llm.history read a speaker memory: train with `erc train`, or pass inputs "
            "with TrainingNotes"
        )
    if recipe.demonstrations and inputs.embed is None:
        raise ConfigError(
            "llm.demonstrations needs an embedding to find them: train with `erc train`, or pass "
            "inputs with embed"
        )
    for stage in recipe.stages:
        for task in stage.tasks:
            if task in GENERATED and not inputs.generated.get(answers_of(task, stage)):
                raise ConfigError(
                    f"stage '{stage.name}' learns {answers_of(task, stage)}, but a language model has "
                    "written no texts for it"
                )


def _index(
    recipe: Recipe, splits: Sequence[Corpus], inputs: TrainingInputs, labels: Sequence[str]
) -> DemonstrationIndex | None:
    if not recipe.demonstrations or inputs.embed is None:
        return None
    return DemonstrationIndex.build(
        splits[0].conversations,
        inputs.embed,
        leaks=LeakFilter.of(splits[1:]),
        labels=labels,
        names=recipe.demonstration_names,
        balanced=recipe.balanced_demonstrations,
    )


def stage_task(
    config: ExperimentConfig,
    train_examples: Sequence[LlmExample],
    dev: Sequence[LlmExample],
    *,
    labels: Sequence[str],
    pad_id: int,
) -> LlmTask:
    """The Trainer's task of one stage, with class weights from its training emotions."""
    assert config.llm is not None
    counts = np.bincount(
        [example.target for example in train_examples if example.emotion], minlength=len(labels)
    )
    weights = class_weights(counts, config.loss.class_weights) if counts.sum() else None
    return LlmTask(
        train=train_examples,
        dev=dev,
        labels=labels,
        pad_id=pad_id,
        loss=config.llm.loss,
        class_weights=as_tensor(weights),
        label_smoothing=config.loss.label_smoothing,
        row_tokens=config.llm.pack_tokens,
        neftune=config.llm.neftune,
    )
