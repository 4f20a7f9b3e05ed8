"""From a configuration to the plain settings of language-model training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from erc.config import ExperimentConfig
from erc.errors import ConfigError
from erc.llm.base.adapters import LoraSettings
from erc.llm.base.architectures import positions_of
from erc.llm.prompts.budget import Budget
from erc.llm.recipes import Recipe, Stage
from erc.training.loop.settings import OptimSettings, optim_settings

_CHOSEN_TOKENS = 16
"""Most tokens of an answer that is a label or a speaker's name, with its end token."""
WRITTEN_TOKENS = 96
"""Tokens of the longest free-text answer that is learnt."""


def llm_recipe(config: ExperimentConfig) -> Recipe:
    """The recipe of `config`.

    Raises:
        ConfigError: If its task is not `llm`, its last stage does not train emotions, or it names a writer
            that has nothing to write.
    """
    if config.llm is None:
        raise ConfigError(f"experiment '{config.name}' has no section 'llm': its task is '{config.task}'")
    llm = config.llm
    stages = tuple(
        Stage(name, dict(stage.tasks), stage.epochs, stage.learning_rate, stage.characteristic)
        for name, stage in llm.stages.items()
    )
    recipe = Recipe(
        stages=stages,
        bios=llm.bios,
        history=llm.history,
        retrieval=llm.retrieval,
        demonstrations=llm.demonstrations,
        demonstration_names=llm.demonstration_names,
        balanced_demonstrations=llm.balanced_demonstrations,
        embedder=llm.embedder,
    )
    if llm.writer is not None and not (recipe.bios or recipe.generated):
        raise ConfigError(
            f"llm.writer={llm.writer}: '{config.name}' has nothing for it to write, neither bios nor texts "
            "of a task; leave it out, or set llm.bios=true"
        )
    return recipe


def lora_settings(config: ExperimentConfig) -> LoraSettings:
    """The adapter settings of `config`."""
    assert config.llm is not None
    lora = config.llm.lora
    targets = lora.targets if lora.targets == "all-linear" else tuple(lora.targets.split())
    return LoraSettings(
        r=lora.r,
        alpha=lora.alpha,
        dropout=lora.dropout,
        targets=targets,
        rank_stabilised=lora.rank_stabilised,
    )


def prompt_budget(config: ExperimentConfig, *, base: Any = None) -> Budget:
    """How much a prompt of `config` may hold; `base` is the Hugging Face configuration of the base model.

    Raises:
        ConfigError: If the base has too few positions for such a prompt and its answer.
    """
    llm = config.llm
    assert llm is not None
    positions = None if base is None else positions_of(base)
    answer = WRITTEN_TOKENS if llm_recipe(config).generated else _CHOSEN_TOKENS
    if positions is not None and llm.max_tokens + answer > positions:
        raise ConfigError(
            f"llm.max_tokens={llm.max_tokens}: '{llm.base}' has positions for {positions} tokens, of which "
            f"an answer may take {answer}; "
            f"set llm.max_tokens={positions - answer} or less, or choose a base that reads more"
        )
    return Budget(max_tokens=llm.max_tokens, max_turns=llm.turns, block=llm.block)


def stage_optim(config: ExperimentConfig, stage: Stage) -> OptimSettings:
    """The Trainer's settings for one stage."""
    base = optim_settings(config)
    changed = replace(
        base, epochs=stage.epochs or base.epochs, learning_rate=stage.learning_rate or base.learning_rate
    )
    # A 4-bit model computes in bf16; all others take the configured precision.
    return (
        replace(changed, precision="bf16")
        if config.llm is not None and config.llm.precision == "4bit"
        else changed
    )
