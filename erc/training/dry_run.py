"""What a training run would take, from its configuration alone: parameters, and for language models memory. No weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from erc.config import ExperimentConfig
from erc.errors import ArtefactError
from erc.llm.families import MemoryEstimate, Shape, estimate_memory
from erc.llm.loading import require_place
from erc.models.precision import resolve_precision
from erc.training.llm_settings import llm_recipe, lora_settings


@dataclass(frozen=True, slots=True)
class Plan:
    """`base` names the pretrained model, `parameters` counts its values (of two encoders where a speaker memory has its own), `trained` those of
    an adapter (None: the task has none), `frozen` those of an encoder that stay as they are; `memory` is the estimate in bytes and `precision`
    the one it is for, both None where the task is no language model's."""

    base: str
    parameters: int
    trained: int | None = None
    precision: str | None = None
    memory: MemoryEstimate | None = None
    frozen: int = 0

    @property
    def summary(self) -> str:
        """What is trained of what, as one line."""
        if self.trained is not None:
            trains = f"{self.trained:,} trained in the adapter"
        elif self.frozen == self.parameters:
            trains = "none of them trained, only the layers over them"
        elif self.frozen:
            trains = f"{self.parameters - self.frozen:,} of them trained (word embeddings stay as they are), with a head on top"
        else:
            trains = "all of them trained, with a head on top"
        return f"{self.base}: {self.parameters:,} parameters, {trains}"


def plan_training(config: ExperimentConfig) -> Plan:
    """The plan of one run; of a hub model only its description is fetched. Raises ArtefactError where the base cannot be described."""
    return _llm_plan(config) if config.task == "llm" else _encoder_plan(config)


def _llm_plan(config: ExperimentConfig) -> Plan:
    llm = config.llm
    assert llm is not None
    llm_recipe(config)  # a recipe that cannot be trained is refused here as in training
    require_place(llm.base)
    described = _described(llm.base, llm.revision)
    lora, shape = lora_settings(config), Shape.of(described)
    # As training on this machine would resolve it.
    precision: Any = resolve_precision("auto") if llm.precision == "auto" else llm.precision
    # Packed or not, a batch of B prompts never holds more than B rows of the longest.
    row_tokens = llm.max_tokens if llm.pack_tokens is None else max(llm.pack_tokens, llm.max_tokens)
    tokens = config.optim.batch_size * llm.max_tokens
    memory = estimate_memory(
        described,
        precision=precision,
        lora=lora,
        rows=max(1, -(-tokens // row_tokens)),
        row_tokens=row_tokens,
        gradient_checkpointing=llm.gradient_checkpointing,
    )
    return Plan(llm.base, shape.parameters, shape.lora_parameters(lora), precision, memory)


def _encoder_plan(config: ExperimentConfig) -> Plan:
    import torch

    from erc.models.encoder import load_encoder

    backbone, emonet = config.backbone, config.emonet
    with torch.device("meta"):  # shapes without memory
        encoder = load_encoder(backbone.name, revision=backbone.revision, attention=backbone.attention, pretrained=False)
    size = sum(parameter.numel() for parameter in encoder.parameters())
    frozen = encoder.word_embeddings.weight.numel() if backbone.freeze_word_embeddings else 0
    if config.task == "emonet" and emonet is not None:
        if emonet.encoder == "shared":  # that of the shared classifier, which stays as it is
            frozen = size
        elif emonet.memory_encoder == "own":
            size, frozen = 2 * size, 2 * frozen
    return Plan(backbone.name, size, frozen=frozen)


def _described(name: str, revision: str | None) -> object:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ArtefactError(f"the base model '{name}' cannot be described, so nothing can be estimated: {error}") from error
