"""LoRA adapters: attached, saved so that any PEFT server can load them, and sampled by their dropout."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from erc.errors import ArtefactError, ConfigError
from erc.llm.base.four_bit import without_bitsandbytes
from erc.llm.prompts.budget import Budget
from erc.llm.prompts.builder import PromptBuilder
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.template import PromptTemplate
from erc.models.dropout import SeededDropout

RECORD = "erc_llm.json"
"""File with this project's record of an adapter, beside PEFT's own files."""
_VERSION = 1


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """Low-rank adaptation (Hu et al. 2021).

    Attributes:
        r: Rank.
        alpha: Scale; the update is multiplied by alpha / r.
        dropout: Dropout before the adapter's first matrix.
        targets: Names of linear layers, or "all-linear".
        rank_stabilised: Scales by alpha / sqrt(r) instead.
    """

    r: int = 16
    alpha: int = 32
    dropout: float = 0.05
    targets: tuple[str, ...] | str = "all-linear"
    rank_stabilised: bool = False


@dataclass(frozen=True, slots=True)
class AdapterRecord:
    """What an adapter was trained for.

    Attributes:
        base: Folder or hub id of the base model.
        revision: Revision of a hub model.
        prompt: Ids of the prompt templates, as `erc/v2+few_shot/v2`.
        prompt_sha256: Hash of those templates.
        chat_template_sha256: Hash of the chat template; None without one.
        labels: The labels in order.
        label_set: Name of the label set.
        calibrator: Record of the calibrator fitted on dev.
        extra: Configuration, data checksums, dev figures, policies and versions.
    """

    base: str
    revision: str | None
    prompt: str
    prompt_sha256: str
    chat_template_sha256: str | None
    labels: tuple[str, ...]
    label_set: str
    calibrator: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def base_weights(self) -> str | None:
        """Digest of the base's weights where it is a folder; None for a hub model, which `revision` pins."""
        return self.extra.get("base_weights")

    def prompt_builder(self, encoder: PromptEncoder, *, budget: Budget | None = None) -> PromptBuilder:
        """Builds prompts from the template versions that the adapter was trained with.

        Raises:
            ArtefactError: a recorded template is missing, or its text differs from the recorded hash.
        """
        try:
            template, few_shot = map(PromptTemplate.from_id, self.prompt.split("+"))
        except (ConfigError, ValueError) as error:
            raise ArtefactError(f"the adapter's prompt '{self.prompt}' cannot be loaded: {error}") from None
        builder = PromptBuilder(
            encoder=encoder, labels=self.labels, template=template, few_shot=few_shot, budget=budget
        )
        if builder.sha256 != self.prompt_sha256:
            raise ArtefactError(
                f"the prompt {self.prompt} here is not the one the adapter was trained with (SHA-256 "
                f"{builder.sha256[:12]}, recorded {self.prompt_sha256[:12]}): train the adapter again"
            )
        return builder

    def save(self, folder: Path) -> None:
        """Writes the record into an adapter folder."""
        content = {"version": _VERSION, **asdict(self), "labels": list(self.labels)}
        (folder / RECORD).write_text(
            json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )

    @classmethod
    def load(cls, folder: Path) -> AdapterRecord:
        """Reads the record of an adapter folder.

        Raises:
            ArtefactError: the folder has no record, or one of another version.
        """
        path = folder / RECORD
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ArtefactError(f"{path} is missing: the folder is no adapter made by `erc train`") from None
        except ValueError as error:
            raise ArtefactError(f"{path}: not readable as JSON: {error}") from None
        if content.pop("version", None) != _VERSION:
            raise ArtefactError(f"{path}: written by another version (this one reads version {_VERSION})")
        try:
            return cls(**{**content, "labels": tuple(content["labels"])})
        except (TypeError, KeyError) as error:
            raise ArtefactError(f"{path}: {error}") from None


def attach_lora(model: Any, settings: LoraSettings, *, seed: int | None = None) -> Any:
    """`model` with new LoRA layers with seeded dropouts; all other weights are frozen.

    Initial values are drawn from `seed`, without touching torch's global generators. None draws from those.

    Raises:
        ConfigError: a target is not the name of a linear layer.
    """
    import torch

    with without_bitsandbytes(model):
        from peft import LoraConfig, get_peft_model

    targets = settings.targets if isinstance(settings.targets, str) else list(settings.targets)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets,
        use_rslora=settings.rank_stabilised,
        bias="none",
    )
    try:
        with (
            _quiet_peft(),
            without_bitsandbytes(model),
            torch.random.fork_rng(enabled=seed is not None),
        ):
            if seed is not None:
                torch.manual_seed(seed)
            adapted = get_peft_model(model, config)
    except ValueError as error:
        raise ConfigError(f"LoRA cannot be attached to targets {targets}: {error}") from None
    _require_every_target(adapted, targets)
    for attached in adapted.peft_config.values():
        # With a name here, PEFT would query the hub at every checkpoint. `save_adapter` writes the name.
        attached.base_model_name_or_path = ""
    seed_lora_dropouts(adapted)
    return adapted


def _require_every_target(adapted: Any, targets: str | list[str]) -> None:
    """Refuses unknown target names. PEFT ignores an unknown name if another one matches."""
    if isinstance(targets, str):
        return
    reached = {name.rpartition(".")[2] for name in adapted.base_model.targeted_module_names}
    if missed := [name for name in targets if name.rpartition(".")[2] not in reached]:
        linears = sorted(
            {
                name.rpartition(".")[2]
                for name, part in adapted.get_base_model().named_modules()
                if hasattr(part, "in_features")
            }
        )
        known = ", ".join(name for name in linears if name not in ("base_layer", "default"))
        raise ConfigError(
            f"LoRA cannot be attached to targets {missed}: no layer has that name; there are {known}"
        )


@contextmanager
def _quiet_peft() -> Iterator[None]:
    """Suppresses one warning: PEFT reads an attribute of transformers by its old name."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning
        )
        yield


def seed_lora_dropouts(model: nn.Module) -> int:
    """Replaces every adapter dropout by a `SeededDropout` and returns their number; files do not change."""
    sites = 0
    for name, module in list(model.named_modules()):
        if name.rpartition(".")[2] != "lora_dropout":
            continue
        for adapter, dropout in list(module.named_children()):
            if isinstance(dropout, nn.Dropout):
                module[adapter] = SeededDropout(dropout.p, site=sites)
            sites += isinstance(dropout, nn.Dropout | SeededDropout)
    return sites


def save_adapter(model: Any, folder: Path, record: AdapterRecord) -> None:
    """Writes a PEFT folder (safetensors) with its `AdapterRecord`; vLLM and plain PEFT can load it."""
    for config in model.peft_config.values():
        config.base_model_name_or_path = record.base
        config.revision = record.revision
    model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    record.save(folder)


def load_adapter(model: Any, folder: Path, *, trainable: bool = False) -> Any:
    """`model` with the adapter of `folder`, its dropouts seeded.

    Raises:
        ArtefactError: the folder has no safetensors weights, or they do not fit the model.
    """
    with without_bitsandbytes(model):
        from peft import PeftModel

    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / name).is_file():
            raise ArtefactError(
                f"{folder / name} is missing: an adapter folder holds adapter_config.json and "
                "adapter_model.safetensors"
            )
    try:
        with _quiet_peft(), without_bitsandbytes(model):
            adapted = PeftModel.from_pretrained(
                model, str(folder), is_trainable=trainable, local_files_only=True
            )
    except (RuntimeError, ValueError, TypeError) as error:
        raise ArtefactError(f"the adapter {folder} does not fit this base model: {error}") from None
    seed_lora_dropouts(adapted)
    return adapted if trainable else adapted.eval()
