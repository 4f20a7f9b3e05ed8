"""One corpus of the recipe study: its samples, its supplies, the training of one cell, and the table of its records.

Shapes: N judged turns, K labels.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from study_cells import placeless, prompts_digest, read_cell

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
UNTUNED = "untuned"
CONFIGS = Path(__file__).resolve().parent.parent / "configs"
MOODS = slice(1, 2)
"""Which sentences of each bio a prompt shows: the one that counts moods. With all of them, bios would be most of a prompt this short."""
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
"""What all recipes have in common here: a small model needs larger steps and less context, and differences need equal terms.

Labels are learnt against the other labels: taught by their tokens, a model of this size says "neutral" to
everything. Bios are counted."""
PHRASES = {
    "speaker_characteristic/oReact": "They take it as {first} or {second}.",
    "speaker_characteristic/oWant": "They want to answer {first} or {second}.",
    "interlocutor_commonsense": "{speaker} means to show {first}. The others take it as {second}.",
}
"""The texts of the generated tasks, from the two likeliest of 28 emotions."""
SHORTER: dict[str, tuple[str, ...]] = {"speaker-memory": ("llm.history=3", "llm.demonstrations=1")}
"""Half of what the recipe would show, so that its prompts stay within twice the length of the others'."""


def changes_of(recipe: str, overrides: Sequence[str]) -> list[str]:
    """What a cell changes in the shipped configuration of its recipe, beside what all cells do."""
    return [*SHORTER.get(recipe, ()), *overrides]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Conversations: `train` and `dev` are samples of their splits; the memory holds all of both."""

    train: int
    dev: int = 114
    watched: int = 6
    """Further training conversations by which the Trainer keeps the better of its epochs."""


@dataclass(frozen=True, slots=True)
class ShortBios:
    """Notes whose bios are cut to the sentence on moods."""

    inner: CorpusNotes

    def of(self, conversation: Conversation, index: int) -> SpeakerNotes:
        notes = self.inner.of(conversation, index)
        return replace(notes, bios=tuple(replace(bio, passages=bio.passages[MOODS]) for bio in notes.bios))


@dataclass(frozen=True, slots=True)
class Study:
    """What the cells of one corpus share."""

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
        """Reads the corpus, fills the memories of its splits, and phrases the texts of the generated tasks."""
        whole, dev = load_corpus(corpus, "train"), load_corpus(corpus, "dev")
        remembered = chronological(whole.conversations)
        pool = sampled(whole, sizes.train + sizes.watched)
        train = replace(pool, conversations=pool.conversations[: sizes.train])
        watched = replace(pool, conversations=pool.conversations[sizes.train :])
        artefact = load_artefact(find_model(CLASSIFIER))
        scorer = CachedScorer(artefact, settings=InferenceSettings(uncertainty="off"))
        memories: dict[str, Any] = {}
        for talks in (remembered, dev.conversations):
            registry = corpus_memory(cache, talks, scorer)
            memories |= {talk.conversation_id: registry for talk in talks}
        generated = phrased([*train.conversations, *watched.conversations], scorer)
        return cls(corpus, base, train, watched, sampled(dev, sizes.dev), scorer, memories, generated)

    @property
    def labels(self) -> tuple[str, ...]:
        """The corpus's emotions, in order."""
        return tuple(load_emotion_set(self.dev.emotion_set).labels)

    def untuned(self) -> dict[str, Any]:
        """Figures of the base as it is, shown the dialogue alone."""
        config = cell_config(self.corpus, "laercs", (), base=self.base, seed=0)
        model, tokenizer = load_base(self.base, precision="auto")
        prompts = self._prompts(config, tokenizer)
        recipe = llm_recipe(config)
        return self._judged(model, tokenizer, prompts, self._of(config, recipe, prompts)[-1])

    def shuffled(self, seed: int) -> Study:
        """This study with the training labels permuted, wherever they are shown or learnt."""
        train, watched = (with_shuffled_labels(corpus, seed=seed) for corpus in (self.train, self.watched))
        return replace(self, train=train, watched=watched, _examples={})

    def trained(
        self, recipe_name: str, overrides: Sequence[str], *, seed: int, run_dir: Path
    ) -> dict[str, Any]:
        """Figures after training one recipe under one seed; `run_dir` is scratch."""
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
        """Examples of every stage, training then watched, and of dev at the end; made once for all seeds."""
        key = repr(recipe)
        if key not in self._examples:
            supplies = self._supplies(recipe)
            index = None
            if recipe.demonstrations and supplies.embed is not None:
                leaks = LeakFilter.of([self.dev])
                index = DemonstrationIndex.build(
                    self.train.conversations, supplies.embed, leaks=leaks, labels=self.labels
                )
            examples = Examples(prompts, recipe, supplies, demonstrations=index)
            made = [
                examples.of_stage(c, stage, dev=c is self.watched)
                for stage in recipe.stages
                for c in (self.train, self.watched)
            ]
            self._examples[key] = [*made, examples.of_stage(self.dev, recipe.stages[-1], dev=True)]
        return self._examples[key]

    def _supplies(self, recipe: Recipe) -> TrainingInputs:
        emotions = load_emotion_map("goemotions", self.dev.emotion_set)
        shown = PromptNotes(bios=recipe.bios, history=recipe.history, retrieval=recipe.retrieval)
        notes = ShortBios(CorpusNotes(self.memories, shown=shown, emotions=emotions, scorer=self.scorer))
        return TrainingInputs(notes=notes, embed=self.scorer.embed, generated=self.generated)

    def _judged(
        self, model: Any, tokenizer: Any, prompts: TaskPrompts, dev: Sequence[LlmExample]
    ) -> dict[str, Any]:
        """Figures of calibrated decisions, calibrated on other dialogues than the one decided."""
        scores, groups = predict_answers(model, dev).numpy(), dialogue_groups(dev)
        targets = np.array([example.target for example in dev])
        prior = content_free_prior(
            LocalScorer(model, tokenizer, model_id="study"), [prompts.builder.content_free()], self.labels
        )
        fit = partial(ContextualCalibrator.fit, self.labels, prior=prior)
        folds = cross_fitted_classes(scores, targets, groups=groups, calibrate=fit)  # type: ignore[arg-type]
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
            turn.emotions[0] for talk in self.train.conversations for turn in talk if len(turn.emotions) == 1
        )
        return [self.labels.index(label) for label in found if label in self.labels]


def cell_config(
    corpus: str, recipe: str, overrides: Sequence[str], *, base: str, seed: int
) -> ExperimentConfig:
    """The resolved configuration of one cell."""
    changes = (*SMALL, *changes_of(recipe, overrides), f"llm.base={base}", f"optim.seed={seed}")
    return load_config(CONFIGS / f"llm-{recipe}-{corpus}.yaml", changes)


def base_of(name: str) -> dict[str, Any]:
    """Which base model `name` is: a digest of its configuration and weights, of a hub model the commit."""
    from transformers import AutoConfig

    if not Path(name).is_dir():
        AutoConfig.from_pretrained(name, trust_remote_code=False)  # leaves it in the cache
        return {"path": name, "commit": hub_commit(name)}
    return {"path": name, "weights": weights_digest(Path(name))}


def taught_by(base: str, prompts: str) -> bool:
    """Whether a reference model in the folder `base` was taught the prompts of this digest; of other models nobody says, and it is True."""
    made = read_cell(Path(base) / "training.json")
    return made is None or made.get("purpose") is None or made.get("prompts") == prompts


def sources(corpus: str) -> dict[str, Any]:
    """What the cells of a corpus read beside their configurations: the classifier, the corpus's files and the prompts."""
    files = corpora_provenance(load_corpus(corpus, split) for split in ("train", "dev"))
    return {
        "classifier": load_artefact(find_model(CLASSIFIER)).sha256,
        "files": files,
        "prompts": prompts_digest(),
    }


def same_study(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    """Whether two records are of one base, of the same sizes, terms and sources; the folder that the base lies in may be another."""
    if one is None or other is None:
        return one is other
    first, second = placeless(one), placeless(other)
    return all(
        first.get(key) == second.get(key)
        for key in ("base", "sizes", "terms", "classifier", "files", "prompts")
    )


def tables(folder: Path, *, variants: Sequence[str], make: Mapping[str, Any] | None = None) -> str:
    """The tables of the records in `folder`: one for each base and sizes they were made with, or that of `make` alone."""
    records = [read_cell(path) or {} for path in sorted(folder.glob("*.json"))]
    kinds: list[list[dict[str, Any]]] = []
    for record in records:
        if make is not None and not same_study(record.get("made"), make):
            continue
        own = next((kind for kind in kinds if same_study(kind[0].get("made"), record.get("made"))), None)
        kinds.append([record]) if own is None else own.append(record)
    return (
        "\n\n".join(table(folder.name, kind, variants=variants) for kind in kinds)
        or f"{folder}: no cell has finished"
    )


def phrased(talks: Sequence[Conversation], scorer: CachedScorer) -> dict[str, dict[tuple[str, int], str]]:
    """Texts for the generated tasks from the shared classifier's two likeliest of 28 emotions; it sees no gold label of the corpus."""
    scorer.score_texts([turn.text for talk in talks for turn in talk])
    names = scorer.artefact.info.labels
    found: dict[str, dict[tuple[str, int], str]] = {task: {} for task in PHRASES}
    for talk in talks:
        ranked = scorer.score_texts([turn.text for turn in talk]).probabilities.argsort(axis=1)[:, ::-1]
        for turn, (first, second) in zip(talk, ranked[:, :2], strict=True):
            place = (talk.conversation_id, turn.index)
            for task, phrase in PHRASES.items():
                found[task][place] = phrase.format(
                    speaker=turn.speaker, first=names[first], second=names[second]
                )
    return found


def with_shuffled_labels(corpus: Corpus, *, seed: int) -> Corpus:
    """The corpus with its labels permuted over the labelled turns: frequencies stay, what they belong to is lost."""
    labels = [turn.emotions for talk in corpus.conversations for turn in talk if turn.emotions]
    drawn = iter(np.random.default_rng(seed).permutation(len(labels)))
    talks = [
        replace(
            talk,
            utterances=tuple(
                replace(turn, emotions=labels[next(drawn)]) if turn.emotions else turn for turn in talk
            ),
        )
        for talk in corpus.conversations
    ]
    return replace(corpus, conversations=tuple(talks))


def figures_of(decisions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Weighted and macro F1."""
    from sklearn.metrics import f1_score

    return {
        f"{kind}_f1": float(f1_score(targets, decisions, average=kind, zero_division=0))
        for kind in ("weighted", "macro")
    }


def macro_auc(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """The mean over labels of the area under the curve of the label against all others: what the model orders rightly, whatever is decided."""
    from sklearn.metrics import roc_auc_score

    seen = [k for k in range(probabilities.shape[1]) if 0 < (targets == k).sum() < len(targets)]
    return float(np.mean([roc_auc_score(targets == k, probabilities[:, k]) for k in seen]))


def table(corpus: str, records: Sequence[Mapping[str, Any]], *, variants: Sequence[str]) -> str:
    """The Markdown table of records of one make: means over the seeds there are, with the 95% interval over resampled dialogues, and what the
    mean is above the untuned base's on the same dialogues."""
    from erc.metrics.bootstrap import bootstrap_interval, paired_bootstrap

    one = records[0]
    targets, groups = np.array(one["targets"]), np.array(one["groups"])
    base = one["made"]["base"]["path"] if "made" in one else "a base that was not recorded"
    head = f"| {corpus}, {base}, {one['sizes'][0]} training and {one['sizes'][1]} dev conversations ({len(targets)} turns) "
    head += "| seeds | weighted F1 | above the untuned | macro F1 | macro AUC |"
    lines = [head, "|---|---|---|---|---|---|", _chance(np.array(one["train_counts"]), targets)]
    untuned = next(
        (np.array(record["decisions"])[:, None] for record in records if record["variant"] == UNTUNED), None
    )

    def mean_f1(columns: np.ndarray, truth: np.ndarray) -> float:
        return float(np.mean([figures_of(column, truth)["weighted_f1"] for column in columns.T]))

    for name in variants:
        found = [record for record in records if record["variant"] == name]
        if not found:
            continue
        columns = np.stack([record["decisions"] for record in found], axis=1)
        spread = bootstrap_interval(mean_f1, columns, targets, groups=groups, resamples=300)
        macro, auc = (float(np.mean([record[key] for record in found])) for key in ("macro_f1", "auc"))
        weighted = f"{mean_f1(columns, targets):.3f} ({spread.low:.3f} to {spread.high:.3f})"
        above = ""
        if untuned is not None and name != UNTUNED:
            more = paired_bootstrap(mean_f1, columns, untuned, targets, groups=groups, resamples=300)
            above = f"{more.difference:+.3f} ({more.low:+.3f} to {more.high:+.3f})"
        lines.append(f"| {name} | {len(found)} | {weighted} | {above} | {macro:.3f} | {auc:.3f} |")
    return "\n".join(lines)


def _chance(counts: np.ndarray, targets: np.ndarray) -> str:
    """The row of draws from the training frequencies."""
    rng = np.random.default_rng(0)
    draws = [
        figures_of(rng.choice(len(counts), size=len(targets), p=counts / counts.sum()), targets)
        for _ in range(200)
    ]
    weighted = [draw["weighted_f1"] for draw in draws]
    low, high = np.quantile(weighted, [0.025, 0.975])
    macro = np.mean([draw["macro_f1"] for draw in draws])
    return f"| drawn by training frequency | | {np.mean(weighted):.3f} ({low:.3f} to {high:.3f}) | | {macro:.3f} | 0.500 |"
