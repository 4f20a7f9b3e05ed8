"""What a training run needs, from its configuration alone; no weights are loaded.

This is the number of parameters and, for language models, memory. A hub model's description is read from the
hub's cache. If it is not there, the published shapes of the shipped configurations' bases are used
(`published.json`); other models are looked up on the hub.
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
"""Of a label, its end included; few take more."""
_SPEAKER_TOKENS = 40
"""Of the names of a dialogue that may have said a turn."""
_NOTE = "the description of {} is not at hand: these are the numbers of the shape it was published with"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run needs.

    Attributes:
        base: The pretrained model.
        parameters: Its number of values, of both encoders if the speaker memory has its own.
        trained: Values of an adapter; None for tasks without one.
        frozen: Values of an encoder that are not trained.
        memory: Estimate in bytes, for language models only.
        precision: Precision of the estimate.
        note: Where the base's description comes from, if not from the base.
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
        """What is trained of what, as one line."""
        if self.trained is not None:
            trains = f"{self.trained:,} trained in the adapter"
        elif self.frozen == self.parameters:
            trains = "none of them trained, only the layers over them"
        elif self.frozen:
            trains = (
                f"{self.parameters - self.frozen:,} of them trained (word embeddings stay as they are), "
                "with a head on top"
            )
        else:
            trains = "all of them trained, with a head on top"
        return f"{self.base}: {self.parameters:,} parameters, {trains}"


def plan_training(config: ExperimentConfig) -> Plan:
    """The plan of one run; only a hub model's description is read.

    Raises:
        ArtefactError: The base cannot be described.
    """
    return _llm_plan(config) if config.task == "llm" else _encoder_plan(config)


def published_shape(name: str) -> dict[str, Any] | None:
    """The published configuration of a hub id, as far as it determines the number of values."""
    shapes: dict[str, dict[str, Any]] = json.loads(_PUBLISHED.read_text(encoding="utf-8"))
    return shapes.get(name)


def _llm_plan(config: ExperimentConfig) -> Plan:
    llm = config.llm
    assert llm is not None
    recipe = llm_recipe(config)  # a recipe that cannot be trained is refused here as in training
    require_place(llm.base)
    base, note = _described(llm.base, llm.revision)
    lora, shape = lora_settings(config), Shape.of(base)
    if note is None:  # a shape that was published says nothing of positions
        prompt_budget(config, base=base)
    # As training on this machine would resolve it.
    precision: Any = resolve_precision("auto") if llm.precision == "auto" else llm.precision
    # Memory holds one part of a step. Packed or not, B prompts never fill more than B rows of the longest.
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
    """Most tokens that the answers of one example have together: all labels, all speakers, or one text."""
    return max(WRITTEN_TOKENS if recipe.generated else 0, labels * _LABEL_TOKENS, _SPEAKER_TOKENS)


def _encoder_plan(config: ExperimentConfig) -> Plan:
    backbone, emonet = config.backbone, config.emonet
    encoder, note = _shaped(config)
    size = sum(parameter.numel() for parameter in encoder.parameters())
    frozen = encoder.word_embeddings.weight.numel() if backbone.freeze_word_embeddings else 0
    if config.task == "emonet" and emonet is not None:
        if emonet.encoder == "shared":  # that of the shared classifier, which stays as it is
            frozen = size
        elif emonet.memory_encoder == "own":
            size, frozen = 2 * size, 2 * frozen
    return Plan(backbone.name, size, frozen=frozen, note=note)


def _shaped(config: ExperimentConfig) -> tuple[Encoder, str | None]:
    """The encoder as shapes without memory, and where they come from, if not from the encoder."""
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
    """The Hugging Face configuration of a base, and where it comes from, if not from the base."""
    from transformers import AutoConfig

    known = published_shape(name)
    if known is not None:
        cached = described(name, revision=revision, at_hand=True)
        return (AutoConfig.for_model(**known), _NOTE.format(name)) if cached is None else (cached, None)
    try:
        return AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False), None
    except (OSError, ValueError) as error:
        raise ArtefactError(
            f"the base model '{name}' cannot be described, so nothing can be estimated: {error}"
        ) from error
