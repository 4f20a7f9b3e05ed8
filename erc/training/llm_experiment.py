"""Training an adapter from its configuration, stage after stage, and calibrating it on dev."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from erc.config import ExperimentConfig
from erc.data import Conversation
from erc.data.conversation import Context
from erc.data.corpora import Corpus, load_corpus
from erc.data.leaks import LeakFilter
from erc.emotions import load_emotion_set
from erc.errors import ConfigError
from erc.llm.adapters import AdapterRecord, attach_lora, save_adapter
from erc.llm.builder import PromptBuilder
from erc.llm.calibration import ContextualCalibrator, content_free_prior
from erc.llm.encoding import PromptEncoder
from erc.llm.loading import load_base
from erc.llm.local import LocalScorer
from erc.llm.notes import NO_NOTES, Demonstration, SpeakerNotes
from erc.llm.recipes import GENERATED, Recipe, Stage
from erc.llm.retrieval import DemonstrationIndex, Embed, Origin
from erc.llm.tasks import LabelledPrompt, TaskName, TaskPrompts
from erc.training.llm_batches import LlmExample, encode_example
from erc.training.llm_calibration import fit_policies, turn_groups
from erc.training.llm_settings import llm_recipe, lora_settings, prompt_budget, stage_optim
from erc.training.llm_task import LlmTask, predict_answers, prepare_for_training
from erc.training.losses import as_tensor, class_weights
from erc.training.trainer import train


class TrainingNotes(Protocol):
    """What the prompts of a corpus may know of its speakers: bios and predicted past emotions, from before each turn only."""

    def of(self, conversation: Conversation, index: int) -> SpeakerNotes:
        """The notes for turn `index`."""
        ...


@dataclass(frozen=True, slots=True)
class Supplies:
    """What a recipe needs beside the corpus.

    `notes` serves bios and history, `embed` finds demonstrations, `generated` holds texts a language model wrote, by task (for
    characteristics: `speaker_characteristic/oReact`) and by (conversation id, index).
    """

    notes: TrainingNotes | None = None
    embed: Embed | None = None
    generated: Mapping[str, Mapping[tuple[str, int], str]] = field(default_factory=dict)


def run_llm(config: ExperimentConfig, run_dir: Path, *, resume: bool, progress: bool, supplies: Supplies | None = None) -> Path:
    """Trains every stage in a folder of its own and writes the adapter folder `run_dir / config.name`.

    Raises ConfigError where the recipe needs something that `supplies` has not.
    """
    given = Supplies() if supplies is None else supplies
    recipe = llm_recipe(config)
    check_supplies(recipe, given)
    llm = config.llm
    assert llm is not None
    splits = [load_corpus(config.data.corpus, name, root=config.data.root) for name in (config.data.train_split, config.data.dev_split)]
    base, tokenizer = load_base(llm.base, revision=llm.revision, precision=llm.precision)
    encoder = PromptEncoder(tokenizer)
    labels = load_emotion_set(splits[0].emotion_set).labels
    prompts = TaskPrompts(PromptBuilder(encoder=encoder, labels=labels, budget=prompt_budget(config)))
    model = attach_lora(base, lora_settings(config))
    handles = prepare_for_training(model, gradient_checkpointing=llm.gradient_checkpointing, neftune_alpha=llm.neftune)
    examples = Examples(prompts, recipe, given, demonstrations=_index(recipe, splits, given, labels))
    figures: dict[str, float] = {}
    task: LlmTask | None = None
    dev: list[LlmExample] = []
    for stage in recipe.stages:
        dev = examples.of_stage(splits[1], stage, dev=True)
        task = stage_task(config, examples.of_stage(splits[0], stage), dev, labels=labels, pad_id=tokenizer.pad_token_id)
        figures = train(model=model, task=task, optim=stage_optim(config, stage), run_dir=run_dir / stage.name, resume=resume, progress=progress)
    for handle in handles:
        handle.remove()
    judged = [example for example in dev if example.emotion]
    scores = predict_answers(model, judged, pad_id=tokenizer.pad_token_id).numpy()
    targets = np.array([example.target for example in judged])
    prior = content_free_prior(LocalScorer(model, tokenizer, model_id="trained"), [prompts.builder.content_free()], labels)
    calibrator = ContextualCalibrator.fit(labels, scores, targets, prior=prior)
    groups = turn_groups(splits[1].conversations, labels)
    folder = run_dir / config.name
    record = AdapterRecord(
        base=llm.base,
        revision=llm.revision,
        prompt=prompts.builder.prompt_id,
        prompt_sha256=prompts.builder.sha256,
        chat_template_sha256=encoder.template_sha256,
        labels=labels,
        label_set=splits[0].emotion_set,
        calibrator=calibrator.to_dict(),
        extra={
            "figures": figures,
            "policy": fit_policies(scores, targets, groups, label_set=splits[0].emotion_set, prior=prior),
            "config": json.loads(config.model_dump_json()),
            "files": {file.name: file.sha256 for s in splits for file in s.files},
        },
    )
    save_adapter(model, folder, record)
    tokenizer.save_pretrained(str(folder))
    return folder


def check_supplies(recipe: Recipe, supplies: Supplies) -> None:
    """Raises ConfigError, saying what is missing, where a recipe cannot be trained with `supplies`."""
    if recipe.needs_notes and supplies.notes is None:
        raise ConfigError("llm.bios and llm.history read a speaker memory: train from Python with TrainingNotes, or set llm.bios=false llm.history=0")
    if recipe.demonstrations and supplies.embed is None:
        raise ConfigError("llm.demonstrations needs an embedding to find them by: train from Python with Supplies(embed=...), or set it to 0")
    for stage in recipe.stages:
        for task in stage.tasks:
            if task in GENERATED and not supplies.generated.get(_source(task, stage)):
                raise ConfigError(
                    f"stage '{stage.name}' learns {_source(task, stage)}, whose texts a language model has to write first: there are none"
                )


def _source(task: TaskName, stage: Stage) -> str:
    return f"{task}/{stage.characteristic}" if task == "speaker_characteristic" else task


def _index(recipe: Recipe, splits: Sequence[Corpus], supplies: Supplies, labels: Sequence[str]) -> DemonstrationIndex | None:
    if not recipe.demonstrations or supplies.embed is None:
        return None
    return DemonstrationIndex.build(splits[0].conversations, supplies.embed, leaks=LeakFilter.of(splits[1:]), labels=labels)


@dataclass(frozen=True, slots=True)
class Examples:
    """Makes the examples of a recipe's stages."""

    prompts: TaskPrompts
    recipe: Recipe
    supplies: Supplies
    demonstrations: DemonstrationIndex | None = None

    def of_stage(self, corpus: Corpus, stage: Stage, *, dev: bool = False) -> list[LlmExample]:
        """Every example of the stage's tasks. On dev a stage that teaches emotions is judged by emotions alone."""
        tasks = {"erc": stage.tasks["erc"]} if dev and "erc" in stage.tasks else stage.tasks
        encoder = self.prompts.builder.encoder
        return [
            encode_example(made, encoder, weight=weight)
            for task, weight in tasks.items()
            for conversation in corpus.conversations
            for made in self._made(conversation, task, stage)  # type: ignore[arg-type]
        ]

    def _made(self, conversation: Conversation, task: TaskName, stage: Stage) -> Iterator[LabelledPrompt]:
        if task in GENERATED:
            texts = self.supplies.generated[_source(task, stage)]
            for turn in conversation:
                text = texts.get((conversation.conversation_id, turn.index))
                if text:
                    yield self._written(Context.causal(conversation, turn.index), task, stage, text)
        elif task != "erc":
            yield from self.prompts.of_conversation(conversation, task)
        else:
            for turn in conversation:
                if len(turn.emotions) == 1 and turn.emotions[0] in self.prompts.builder.labels:
                    notes = NO_NOTES if self.supplies.notes is None else self.supplies.notes.of(conversation, turn.index)
                    shown = self._shown(conversation, turn.text)
                    yield self.prompts.emotion(Context.causal(conversation, turn.index), turn.emotions[0], notes=notes, demonstrations=shown)

    def _written(self, context: Context, task: TaskName, stage: Stage, text: str) -> LabelledPrompt:
        if task == "speaker_characteristic":
            return self.prompts.generated(task, self.prompts.characteristic_prompt(context, stage.characteristic), text)
        return self.prompts.generated("interlocutor_commonsense", self.prompts.commonsense_prompt(context), text)

    def _shown(self, conversation: Conversation, text: str) -> tuple[Demonstration, ...]:
        if self.demonstrations is None or self.supplies.embed is None:
            return ()
        vector = self.supplies.embed([text])[0]
        return self.demonstrations.search(vector, text=text, origin=Origin.of(conversation), k=self.recipe.demonstrations)


def stage_task(
    config: ExperimentConfig, train_examples: Sequence[LlmExample], dev: Sequence[LlmExample], *, labels: Sequence[str], pad_id: int
) -> LlmTask:
    """The Trainer's task of one stage, with class weights from its training emotions."""
    assert config.llm is not None
    if config.loss.class_weights == "emcoder":
        raise ConfigError(
            "loss.class_weights 'emcoder' weighs independent labels: for exclusive ones use min_over_count, inverse or effective_number"
        )
    counts = np.bincount([example.target for example in train_examples if example.emotion], minlength=len(labels))
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
    )
