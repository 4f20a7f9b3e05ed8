"""One corpus of the recipe study: its samples, its training inputs, and the training of one cell."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from recipe_study_tables import figures_of, macro_auc
from study_cells import prompts_digest, read_cell

from erc.config import ExperimentConfig, load_config
from erc.data.conversation import Conversation
from erc.data.corpora import Corpus, chronological, load_corpus
from erc.data.corpora.splits import sampled
from erc.data.leaks import LeakFilter
from erc.emotions import load_emotion_map, load_emotion_set
from erc.inference.scorers.caching import CachedScorer
from erc.inference.scorers.llm_model import PromptNotes
from erc.inference.scorers.settings import InferenceSettings
from erc.llm.backends.local import LocalScorer
from erc.llm.base.adapters import attach_lora
from erc.llm.base.digests import hub_commit, weights_digest
from erc.llm.base.loading import load_base
from erc.llm.prompts.builder import PromptBuilder
from erc.llm.prompts.demonstrations import DemonstrationIndex
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.notes import SpeakerNotes
from erc.llm.prompts.tasks import TaskPrompts
from erc.llm.recipes import Recipe
from erc.llm.scoring.calibration import ContextualCalibrator, content_free_prior
from erc.memory.corpus import CorpusNotes, corpus_memory
from erc.memory.past import CorpusPast
from erc.persistence import find_model, load_artefact
from erc.training.inputs import TrainingInputs
from erc.training.llm.answers import predict_answers
from erc.training.llm.batches import LlmExample, dialogue_groups
from erc.training.llm.examples import Examples
from erc.training.llm.experiment import stage_task
from erc.training.llm.settings import llm_recipe, lora_settings, prompt_budget, stage_optim
from erc.training.llm.stages import run_stages
from erc.training.provenance import corpora_provenance
from erc.uncertainty.crossfit import cross_fitted_classes

CLASSIFIER = "goemotions-minilm"
CONFIGS = Path(__file__).resolve().parent.parent / "configs"
MOODS = slice(1, 2)
"""The sentence of each bio that a prompt shows, which counts moods; whole bios need too many tokens."""
SMALL = (
    "llm.precision=auto",
    "llm.max_tokens=1024",
    "llm.turns=1",
    "llm.block=1",
    "llm.pack_tokens=384",
    "llm.writer=null",
    "llm.loss=labels",
    "llm.neftune=0.0",
    "llm.lora={r: 16, alpha: 32, dropout: 0.0}",
    "optim.learning_rate=1.5e-3",
    "optim.batch_size=16",
    "optim.micro_batch_size=null",
    "optim.epochs=1.0",
    "optim.max_grad_norm=1.0",
    "optim.warmup_fraction=0.06",
)
"""Overrides of every cell: equal settings for all recipes, larger steps and less context for a small model.

The loss is over labels, because with a loss over tokens a model of this size always answers "neutral". Bios
are made by counting, not by a writer."""
PHRASES = {
    "speaker_characteristic/oReact": "They take it as {first} or {second}.",
    "speaker_characteristic/oWant": "They want to answer {first} or {second}.",
    "interlocutor_commonsense": "{speaker} means to show {first}. The others take it as {second}.",
}
"""Texts of the generated tasks, from the two likeliest of 28 emotions."""
SHORTER: dict[str, tuple[str, ...]] = {"speaker-memory": ("llm.history=3", "llm.demonstrations=1")}
"""Half of what the recipe shows, so that its prompts are at most twice as long as the others'."""


def changes_of(recipe: str, overrides: Sequence[str]) -> list[str]:
    """Return the overrides of one cell on top of `SMALL`."""
    return [*SHORTER.get(recipe, ()), *overrides]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of conversations in the samples; the speaker memory is filled from the whole splits."""

    train: int
    dev: int = 114
    watched: int = 6
    """Further training conversations, on which the Trainer selects the epoch."""


@dataclass(frozen=True, slots=True)
class ShortBios:
    """Notes with bios cut to the sentence on moods."""

    inner: CorpusNotes

    def of(self, conversation: Conversation, index: int) -> SpeakerNotes:
        """Return the notes of a turn."""
        notes = self.inner.of(conversation, index)
        return replace(notes, bios=tuple(replace(bio, passages=bio.passages[MOODS]) for bio in notes.bios))


@dataclass(frozen=True, slots=True)
class Study:
    """What the cells of one corpus share.

    Attributes:
        corpus: Name of the corpus.
        base: Folder or hub id of the base model.
        train: Sample of the training split.
        watched: Further training conversations, which select the epoch.
        dev: Sample of the dev split, which is judged.
        scorer: The shared classifier.
        memories: The speaker memory of each conversation, by conversation id.
        generated: Texts of the generated tasks, by task and (conversation id, turn index).
    """

    corpus: str
    base: str
    train: Corpus
    watched: Corpus
    dev: Corpus
    scorer: CachedScorer
    memories: dict[str, Any]
    generated: dict[str, dict[tuple[str, int], str]]
    _examples: dict[str, list[list[LlmExample]]] = field(default_factory=dict)

    @classmethod
    def of(cls, corpus: str, *, base: str, sizes: Sizes, cache: Path) -> Study:
        """Read the corpus, fill the speaker memories of its splits and make the generated texts."""
        whole, dev = load_corpus(corpus, "train"), load_corpus(corpus, "dev")
        remembered = chronological(whole.conversations)
        pool = sampled(whole, sizes.train + sizes.watched)
        train = replace(pool, conversations=pool.conversations[: sizes.train])
        watched = replace(pool, conversations=pool.conversations[sizes.train :])
        artefact = load_artefact(find_model(CLASSIFIER))
        scorer = CachedScorer(artefact, settings=InferenceSettings(uncertainty="off"))
        memories: dict[str, Any] = {}
        for conversations in (remembered, dev.conversations):
            registry = corpus_memory(cache, conversations, scorer)
            memories |= {one.conversation_id: registry for one in conversations}
        generated = phrased([*train.conversations, *watched.conversations], scorer)
        return cls(corpus, base, train, watched, sampled(dev, sizes.dev), scorer, memories, generated)

    @property
    def labels(self) -> tuple[str, ...]:
        """The emotions of the corpus, in order."""
        return tuple(load_emotion_set(self.dev.emotion_set).labels)

    def untuned(self) -> dict[str, Any]:
        """Return the figures of the base without training, with prompts that show only the dialogue."""
        config = cell_config(self.corpus, "laercs", (), base=self.base, seed=0)
        model, tokenizer = load_base(self.base, precision="auto")
        prompts = self._prompts(config, tokenizer)
        recipe = llm_recipe(config)
        return self._judged(model, tokenizer, prompts, self._of(config, recipe, prompts)[-1])

    def shuffled(self, seed: int) -> Study:
        """Return this study with permuted training labels, in examples and demonstrations."""
        train, watched = (with_shuffled_labels(corpus, seed=seed) for corpus in (self.train, self.watched))
        return replace(self, train=train, watched=watched, _examples={})

    def trained(
        self, recipe_name: str, overrides: Sequence[str], *, seed: int, run_dir: Path
    ) -> dict[str, Any]:
        """Train one recipe with one seed and return its figures; `run_dir` is overwritten."""
        config = cell_config(self.corpus, recipe_name, overrides, base=self.base, seed=seed)
        recipe = llm_recipe(config)
        base, tokenizer = load_base(self.base, precision="auto", use="training")
        prompts = self._prompts(config, tokenizer)
        *stages, dev = self._of(config, recipe, prompts)
        lessons = dict(
            zip(
                (stage.name for stage in recipe.stages),
                zip(stages[0::2], stages[1::2], strict=True),
                strict=True,
            )
        )
        model = attach_lora(base, lora_settings(config), seed=seed)
        shutil.rmtree(run_dir, ignore_errors=True)
        run_stages(
            model,
            recipe.stages,
            run_dir=run_dir,
            task_of=lambda stage: stage_task(
                config, *lessons[stage.name], labels=self.labels, pad_id=tokenizer.pad_token_id
            ),
            optim_of=lambda stage: stage_optim(config, stage),
            resume=False,
            progress=False,
        )
        return self._judged(model.eval(), tokenizer, prompts, dev)

    def _prompts(self, config: ExperimentConfig, tokenizer: Any) -> TaskPrompts:
        return TaskPrompts(
            PromptBuilder(encoder=PromptEncoder(tokenizer), labels=self.labels, budget=prompt_budget(config))
        )

    def _of(self, config: ExperimentConfig, recipe: Recipe, prompts: TaskPrompts) -> list[list[LlmExample]]:
        """Make the examples of each stage (train, then watched) and of dev at the end, once for all seeds."""
        key = repr(recipe)
        if key not in self._examples:
            inputs = self._inputs(recipe)
            index = None
            if recipe.demonstrations and inputs.embed is not None:
                leaks = LeakFilter.of([self.dev])
                index = DemonstrationIndex.build(
                    self.train.conversations, inputs.embed, leaks=leaks, labels=self.labels
                )
            examples = Examples(prompts, recipe, inputs, demonstrations=index)
            made = [
                examples.of_stage(c, stage, dev=c is self.watched)
                for stage in recipe.stages
                for c in (self.train, self.watched)
            ]
            self._examples[key] = [*made, examples.of_stage(self.dev, recipe.stages[-1], dev=True)]
        return self._examples[key]

    def _inputs(self, recipe: Recipe) -> TrainingInputs:
        emotions = load_emotion_map("goemotions", self.dev.emotion_set)
        shown = PromptNotes(bios=recipe.bios, history=recipe.history, retrieval=recipe.retrieval)
        conversations = [one for c in (self.train, self.watched, self.dev) for one in c.conversations]
        labels = self.scorer.fine_emotions.labels
        past = CorpusPast(self.memories, conversations, labels=labels, limit=shown.past)
        notes = ShortBios(CorpusNotes(past, shown=shown, emotions=emotions, scorer=self.scorer))
        return TrainingInputs(notes=notes, embed=self.scorer.embed, generated=self.generated)

    def _judged(
        self, model: Any, tokenizer: Any, prompts: TaskPrompts, dev: Sequence[LlmExample]
    ) -> dict[str, Any]:
        """Return the figures of decisions that are calibrated on other dialogues (cross-fitting)."""
        scores, groups = predict_answers(model, dev).numpy(), dialogue_groups(dev)
        targets = np.array([example.target for example in dev])
        prior = content_free_prior(
            LocalScorer(model, tokenizer, model_id="study"), [prompts.builder.content_free()], self.labels
        )
        fit = partial(ContextualCalibrator.fit, self.labels, prior=prior)
        folds = cross_fitted_classes(scores, targets, groups=groups, calibrate=fit)
        return {
            **figures_of(folds.decisions, targets),
            "auc": macro_auc(folds.probabilities, targets),
            "decisions": folds.decisions.tolist(),
            "targets": targets.tolist(),
            "groups": groups.tolist(),
            "train_counts": np.bincount(self._train_targets(), minlength=len(self.labels)).tolist(),
            "sizes": [len(self.train), len(self.dev)],
        }

    def _train_targets(self) -> list[int]:
        found = (
            turn.emotions[0]
            for conversation in self.train.conversations
            for turn in conversation
            if len(turn.emotions) == 1
        )
        return [self.labels.index(label) for label in found if label in self.labels]


def cell_config(
    corpus: str, recipe: str, overrides: Sequence[str], *, base: str, seed: int
) -> ExperimentConfig:
    """Return the resolved configuration of one cell."""
    changes = (*SMALL, *changes_of(recipe, overrides), f"llm.base={base}", f"optim.seed={seed}")
    return load_config(CONFIGS / f"llm-{recipe}-{corpus}.yaml", changes)


def base_of(name: str) -> dict[str, Any]:
    """Identify a base model: digest of a folder's configuration and weights, or commit of a hub model."""
    from transformers import AutoConfig

    if not Path(name).is_dir():
        AutoConfig.from_pretrained(name, trust_remote_code=False)  # puts it in the cache
        return {"path": name, "commit": hub_commit(name)}
    return {"path": name, "weights": weights_digest(Path(name))}


def taught_by(base: str, prompts: str) -> bool:
    """Return whether the reference model in folder `base` was trained on the prompts of this digest.

    True for other models, whose prompts are not recorded.
    """
    made = read_cell(Path(base) / "training.json")
    return made is None or made.get("purpose") is None or made.get("prompts") == prompts


def sources(corpus: str) -> dict[str, Any]:
    """Return digests of what the cells of a corpus read: classifier, corpus files and prompts."""
    files = corpora_provenance(load_corpus(corpus, split) for split in ("train", "dev"))
    return {
        "classifier": load_artefact(find_model(CLASSIFIER)).sha256,
        "files": files,
        "prompts": prompts_digest(),
    }


def phrased(
    conversations: Sequence[Conversation], scorer: CachedScorer
) -> dict[str, dict[tuple[str, int], str]]:
    """Make the texts of the generated tasks from the shared classifier's two likeliest emotions.

    Gold labels of the corpus play no part.
    """
    scorer.score_texts([turn.text for conversation in conversations for turn in conversation])
    names = scorer.artefact.info.labels
    found: dict[str, dict[tuple[str, int], str]] = {task: {} for task in PHRASES}
    for conversation in conversations:
        scores = scorer.score_texts([turn.text for turn in conversation])
        ranked = scores.probabilities.argsort(axis=1)[:, ::-1]
        for turn, (first, second) in zip(conversation, ranked[:, :2], strict=True):
            place = (conversation.conversation_id, turn.index)
            for task, phrase in PHRASES.items():
                found[task][place] = phrase.format(
                    speaker=turn.speaker, first=names[first], second=names[second]
                )
    return found


def with_shuffled_labels(corpus: Corpus, *, seed: int) -> Corpus:
    """Return the corpus with its labels permuted over the labelled turns; label frequencies stay."""
    labels = [turn.emotions for one in corpus.conversations for turn in one if turn.emotions]
    drawn = iter(np.random.default_rng(seed).permutation(len(labels)))
    conversations = [
        replace(
            one,
            utterances=tuple(
                replace(turn, emotions=labels[next(drawn)]) if turn.emotions else turn for turn in one
            ),
        )
        for one in corpus.conversations
    ]
    return replace(corpus, conversations=tuple(conversations))
