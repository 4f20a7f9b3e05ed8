"""Tiny models for the corpora of `planted.py`: a random base, training by a shipped recipe, accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import planted
from planted import LABELS, NAMES, Ingredient, World
from reference_lm import CHAT_TEMPLATE, SPECIALS
from scipy.stats import binom

from erc.config import ExperimentConfig, load_config
from erc.data.leaks import LeakFilter
from erc.llm.base.adapters import AdapterRecord, load_adapter
from erc.llm.base.loading import load_base
from erc.llm.prompts.builder import PromptBuilder
from erc.llm.prompts.demonstrations import DemonstrationIndex
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.tasks import CHARACTERISTICS, TaskPrompts
from erc.llm.prompts.template import PromptTemplate, prompt_names
from erc.llm.scoring.calibration import ContextualCalibrator
from erc.resources import resource_dir
from erc.training.llm.answers import predict_answers
from erc.training.llm.examples import Examples
from erc.training.llm.experiment import run_llm
from erc.training.llm.settings import llm_recipe, prompt_budget

CLAIMS: dict[Ingredient, tuple[str, ...]] = {
    "dialogue": ("instructerc", "ckerc", "bioserc", "laercs", "speaker-memory"),
    "bio": ("bioserc", "speaker-memory"),
    "history": ("speaker-memory",),
    "demonstration": ("instructerc", "speaker-memory"),
}
"""The recipes whose prompts show each ingredient."""


def chance_interval(turns: int, *, level: float = 0.99) -> tuple[float, float]:
    """Return the accuracies between which guessing falls over `turns` turns, with probability `level`."""
    low, high = binom.interval(level, turns, 1 / len(LABELS))
    return float(low) / turns, float(high) / turns


def build_tokenizer() -> Any:
    """Build a word-level tokenizer for all words of the prompts and of the generated corpora."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    templates = [PromptTemplate.load(name, version) for name, version in prompt_names()]
    texts = [template.system + " " + " ".join(template.user.values()) for template in templates]
    texts += [*planted.FILLER, *planted.SYLLABLES, *NAMES, *LABELS, *CHARACTERISTICS, "80", "tends"]
    texts += [word for words in planted.MOODS.values() for word in words]
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(
        texts, trainers.WordLevelTrainer(special_tokens=[*SPECIALS, "<unk>"], show_progress=False)
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def build_base(folder: Path, *, hidden: int = 96, layers: int = 2, seed: int = 0) -> Path:
    """Save a tiny Llama with random weights and its tokenizer in `folder`."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    tokenizer = build_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=hidden**-0.5,  # embeddings stay frozen, so words must differ from the start
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def recipe_config(recipe: str, base: Path, world: World, *, seed: int = 0, **optim: Any) -> ExperimentConfig:
    """Return a shipped recipe adapted to the tiny base.

    Prompts, tasks, stages and losses stay as shipped; settings that depend on the model's size change. The
    base is random and frozen. Rank-16 adapters on all linear layers, at five to ten times the shipped
    learning rate, learn to read a planted word anywhere in the prompt, but not to look one up by name. Twice
    that rate is faster but sometimes fails to separate the words.
    """
    shipped = load_config(resource_dir("configs") / f"llm-{recipe}-meld.yaml").model_dump()
    llm = shipped["llm"] | {
        "base": str(base),
        "precision": "fp32",
        "max_tokens": 400,
        "pack_tokens": None,
        "neftune": 0.0,
    }
    llm["lora"] = shipped["llm"]["lora"] | {
        "r": 16,
        "alpha": 32,
        "targets": "all-linear",
        "rank_stabilised": False,
        "dropout": 0.0,
    }
    if not world.shows_demonstrations:
        llm["demonstrations"] = 0
    # Losses over tokens learn more slowly than losses over labels.
    epochs = 9.0 if llm["loss"] == "labels" else 12.0
    changes = {
        "learning_rate": 1.5e-3,
        "epochs": epochs,
        "batch_size": 16,
        "micro_batch_size": None,
        "max_grad_norm": 1.0,
        "precision": "fp32",
    }
    return ExperimentConfig.model_validate(
        shipped
        | {"name": "planted", "llm": llm, "optim": shipped["optim"] | changes | {"seed": seed} | optim}
    )


def train_recipe(config: ExperimentConfig, world: World, folder: Path) -> Path:
    """Train `config` on `world` and return the adapter folder."""
    return run_llm(
        config,
        folder,
        resume=False,
        progress=False,
        inputs=lambda train, dev: world.inputs,
        splits=(world.train, world.dev),
    )


def accuracy_on(
    split: Literal["trial", "held_out"], config: ExperimentConfig, adapter: Path, world: World
) -> tuple[float, int]:
    """Return the accuracy of the calibrated adapter on a split, and the number of turns."""
    record = AdapterRecord.load(adapter)
    base, tokenizer = load_base(record.base, precision="fp32", device="cpu")
    model = load_adapter(base, adapter)
    recipe = llm_recipe(config)
    prompts = TaskPrompts(
        PromptBuilder(encoder=PromptEncoder(tokenizer), labels=record.labels, budget=prompt_budget(config))
    )
    assert world.inputs.embed is not None
    index = None
    if recipe.demonstrations and world.shows_demonstrations:
        index = DemonstrationIndex.build(
            world.shown.conversations, world.inputs.embed, leaks=LeakFilter.of([]), labels=record.labels
        )
    examples = Examples(prompts, recipe, world.inputs, demonstrations=index).of_stage(
        getattr(world, split), recipe.stages[-1], dev=True
    )
    scores = predict_answers(model, examples).numpy()
    assert record.calibrator is not None
    chosen = ContextualCalibrator.from_dict(record.calibrator)(scores).argmax(axis=1)
    return float(np.mean(chosen == [example.target for example in examples])), len(examples)
