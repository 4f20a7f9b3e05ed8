"""What a training run would take, from its configuration alone: parameters, and for language models memory. No weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass

from erc.config import ExperimentConfig
from erc.errors import ArtefactError
from erc.llm.families import MemoryEstimate, Shape, estimate_memory
from erc.training.llm_settings import llm_recipe, lora_settings


@dataclass(frozen=True, slots=True)
class Plan:
    """`base` names the pretrained model, `parameters` counts its values, `trained` those of an adapter (None: all are trained, and a head);
    `memory` is the estimate in bytes and `precision` the one it is for, both None where the task is no language model's."""

    base: str
    parameters: int
    trained: int | None = None
    precision: str | None = None
    memory: MemoryEstimate | None = None


def plan_training(config: ExperimentConfig) -> Plan:
    """The plan of one run; of a hub model only its description is fetched. Raises ArtefactError where the base cannot be described."""
    return _llm_plan(config) if config.task == "llm" else _encoder_plan(config)


def _llm_plan(config: ExperimentConfig) -> Plan:
    llm = config.llm
    assert llm is not None
    llm_recipe(config)  # a recipe that cannot be trained is refused here as in training
    described = _described(llm.base, llm.revision)
    lora, shape = lora_settings(config), Shape.of(described)
    # `auto` may end in bf16 or fp32, as the machine has it: the estimate is for the larger.
    precision = "fp32" if llm.precision == "auto" else llm.precision
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
    from transformers import AutoModel

    described = _described(config.backbone.name, config.backbone.revision)
    with torch.device("meta"):  # shapes without memory
        network = AutoModel.from_config(described)
    return Plan(config.backbone.name, sum(parameter.numel() for parameter in network.parameters()))


def _described(name: str, revision: str | None) -> object:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ArtefactError(f"the base model '{name}' cannot be described, so nothing can be estimated: {error}") from error
