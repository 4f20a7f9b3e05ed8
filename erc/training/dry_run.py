"""Estimates what a training run needs from its configuration alone; no weights are loaded.

The estimate is the number of parameters and, for language models, the memory. A hub model's configuration is
read from the local cache. If it is missing there, the published shapes of the shipped configurations' bases
are used (`published.json`). Other models are looked up on the hub.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from erc.config import ExperimentConfig
from erc.emotions import load_emotion_set
from erc.errors import ArtefactError
from erc.llm.base.loading import default_device, described, require_place
from erc.llm.base.memory_estimate import MemoryEstimate, Shape, estimate_memory
from erc.llm.recipes import Recipe, require_one_of
from erc.models.encoder.precision import resolve_precision
from erc.training.llm.settings import WRITTEN_TOKENS, llm_recipe, lora_settings, prompt_budget
from erc.training.loop.settings import optim_settings

if TYPE_CHECKING:
    from erc.models.encoder.encoder import Encoder

_PUBLISHED = Path(__file__).with_name("published.json")
_LABEL_TOKENS = 4
"""Tokens of a label, with its end token; few labels have more."""
_SPEAKER_TOKENS = 40
"""Tokens of all names that may have said a turn of a dialogue."""
_NOTE = "the configuration of {} is not in the local cache: these are the numbers of its published shape"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run needs.

    Attributes:
        base: The pretrained model.
        parameters: Its number of parameters; that of both encoders if the speaker memory has its own.
        trained: Parameters of an adapter; None for tasks without one.
        frozen: Parameters of an encoder that are not trained.
        memory: Estimate in bytes, for language models only.
        precision: Precision of the estimate.
        note: Source of the base's configuration, if it is not the base itself.
    """

    base: str
    parameters: int
    trained: int | None = None
    precision: str | None = None
    memory: MemoryEstimate | None = None
    frozen: int = 0
    note: str | None = None

    @property
    def summary(self) -> str:
        """The base, its number of parameters, and which of them are trained, as one line."""
        if self.trained is not None:
            trains = f"{self.trained:,} trained in the adapter"
        elif self.frozen == self.parameters:
            trains = "none of them trained, only the layers over them"
        elif self.frozen:
            trains = (
                f"{self.parameters - self.frozen:,} of them trained (word embeddings are frozen), "
                "with a head on top"
            )
        else:
            trains = "all of them trained, with a head on top"
        return f"{self.base}: {self.parameters:,} parameters, {trains}"


def plan_training(config: ExperimentConfig) -> Plan:
    """The plan of one run; only the configuration of the base model is read.

    Raises:
        ConfigError: If the experiment cannot be trained.
        ArtefactError: If the base's configuration cannot be read.
    """
    return _llm_plan(config) if config.task == "llm" else _encoder_plan(config)


def published_shape(name: str) -> dict[str, Any] | None:
    """The published configuration of a hub id: the part that determines the number of parameters."""
    shapes: dict[str, dict[str, Any]] = json.loads(_PUBLISHED.read_text(encoding="utf-8"))
    return shapes.get(name)


def _llm_plan(config: ExperimentConfig) -> Plan:
    llm = config.llm
    assert llm is not None
    recipe = llm_recipe(config)  # raises for a recipe that cannot be trained
    require_place(llm.base)
    base, note = _described(llm.base, llm.revision)
    lora, shape = lora_settings(config), Shape.of(base)
    if note is None:  # a published shape has no positions
        prompt_budget(config, base=base)
    # Training on this machine resolves `auto` in the same way.
    precision: Any = resolve_precision("auto") if llm.precision == "auto" else llm.precision
    # Memory holds one part of a step. Packed or not, B prompts fill at most B rows of the longest prompt.
    prompts = config.optim.batch_size // optim_settings(config).parts
    row_tokens = llm.max_tokens if llm.pack_tokens is None else max(llm.pack_tokens, llm.max_tokens)
    tokens = prompts * llm.max_tokens
    memory = estimate_memory(
        base,
        precision=precision,
        lora=lora,
        rows=max(1, -(-tokens // row_tokens)),
        row_tokens=row_tokens,
        answer_tokens=prompts
        * _answer_tokens(recipe, len(require_one_of(load_emotion_set(config.data.corpus)))),
        gradient_checkpointing=llm.gradient_checkpointing,
        device=default_device(),
    )
    return Plan(llm.base, shape.parameters, shape.lora_parameters(lora), precision, memory, note=note)


def _answer_tokens(recipe: Recipe, labels: int) -> int:
    """Most tokens of all answers of one example: all labels, all speakers, or one text."""
    return max(WRITTEN_TOKENS if recipe.generated else 0, labels * _LABEL_TOKENS, _SPEAKER_TOKENS)


def _encoder_plan(config: ExperimentConfig) -> Plan:
    backbone, emonet = config.backbone, config.emonet
    encoder, note = _shaped(config)
    size = sum(parameter.numel() for parameter in encoder.parameters())
    frozen = encoder.word_embeddings.weight.numel() if backbone.freeze_word_embeddings else 0
    if config.task == "emonet" and emonet is not None:
        if emonet.encoder == "shared":  # that of the shared classifier, which is frozen
            frozen = size
        elif emonet.memory_encoder == "own":
            size, frozen = 2 * size, 2 * frozen
    return Plan(backbone.name, size, frozen=frozen, note=note)


def _shaped(config: ExperimentConfig) -> tuple[Encoder, str | None]:
    """The encoder as shapes without memory, and the source of the shapes if it is not the encoder."""
    import torch

    from erc.models.encoder.encoder import load_encoder

    backbone = config.backbone

    def shape(name: str, revision: str | None) -> Encoder:
        with torch.device("meta"):
            return load_encoder(name, revision=revision, attention=backbone.attention, pretrained=False)

    known = published_shape(backbone.name)
    if known is None:
        return shape(backbone.name, backbone.revision), None
    cached = described(backbone.name, revision=backbone.revision, at_hand=True)
    with TemporaryDirectory() as folder:
        content = known if cached is None else cached.to_dict()
        (Path(folder) / "config.json").write_text(json.dumps(content), encoding="utf-8")
        return shape(folder, None), _NOTE.format(backbone.name) if cached is None else None


def _described(name: str, revision: str | None) -> tuple[object, str | None]:
    """The Hugging Face configuration of a base, and its source if it is not the base."""
    from transformers import AutoConfig

    known = published_shape(name)
    if known is not None:
        cached = described(name, revision=revision, at_hand=True)
        return (AutoConfig.for_model(**known), _NOTE.format(name)) if cached is None else (cached, None)
    try:
        return AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False), None
    except (OSError, ValueError) as error:
        raise ArtefactError(
            f"the configuration of base model '{name}' cannot be read, so nothing can be estimated: {error}"
        ) from error
