"""EmCoder's encoder: a small pre-norm transformer with rotary positions, designed for Monte-Carlo dropout.

It has RMSNorm before each sub-layer, no biases and SwiGLU. Dropout is applied after the attention output,
after the feed-forward output and in the head: 13 sites. With its head it has 81,772,828 parameters, as
published. This count implies one norm besides those of the blocks and the final one; here it follows the
embedding. The number of heads is not published; 12 heads of width 64 are used. No weights are published under
a licence that allows shipping them, so the encoder starts from random weights.

Shapes: B rows, T tokens, D hidden width, H heads, F width of a head.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from erc.models.dropout import SeededDropout
from erc.models.encoder.encoder import EncoderState
from erc.models.utterance import UtteranceClassifier


@dataclass(frozen=True, slots=True)
class EmCoderConfig:
    """Sizes of the architecture, named as in Hugging Face configurations; the defaults are as published.

    Attributes:
        vocab_size: Size of the vocabulary.
        hidden_size: D.
        num_hidden_layers: Number of blocks.
        num_attention_heads: H.
        intermediate_size: Width of the feed-forward layers.
        dropout: Rate of all dropouts.
        rope_theta: Base of the rotary frequencies.
        norm_eps: Epsilon of the RMSNorms.
        pad_token_id: Id of the padding token.
        max_position_embeddings: Most tokens of a row.
        model_type: Name of the architecture.
    """

    vocab_size: int = 50_368
    hidden_size: int = 768
    num_hidden_layers: int = 6
    num_attention_heads: int = 12
    intermediate_size: int = 2_048
    dropout: float = 0.1
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-6
    pad_token_id: int = 50_283
    max_position_embeddings: int = 8_192
    model_type: str = "emcoder"


class EmCoderBlock(nn.Module):
    """Attention and SwiGLU, each after an RMSNorm; `project` and `merge` are the halves around attention."""

    def __init__(self, config: EmCoderConfig, *, site: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.attention_norm = nn.RMSNorm(width, eps=config.norm_eps)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.attention_output = nn.Linear(width, width, bias=False)
        self.attention_dropout = SeededDropout(config.dropout, site=site)
        self.feed_forward_norm = nn.RMSNorm(width, eps=config.norm_eps)
        self.gate_and_value = nn.Linear(width, 2 * config.intermediate_size, bias=False)
        self.feed_forward_output = nn.Linear(config.intermediate_size, width, bias=False)
        self.feed_forward_dropout = SeededDropout(config.dropout, site=site + 1)

    def project(self, hidden: Tensor, rotary: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries and keys, and values, each (..., T, H, F), of hidden (..., T, D)."""
        mixed = self.qkv(self.attention_norm(hidden))
        query, key, value = mixed.view(*hidden.shape[:-1], 3, self.heads, -1).unbind(dim=-3)
        return _rotate(query, rotary), _rotate(key, rotary), value

    def merge(self, hidden: Tensor, attended: Tensor) -> Tensor:
        """The rest of the block after attention: hidden and attended (..., T, D) -> (..., T, D)."""
        hidden = hidden + self.attention_dropout(self.attention_output(attended))
        gate, value = self.gate_and_value(self.feed_forward_norm(hidden)).chunk(2, dim=-1)
        return hidden + self.feed_forward_dropout(self.feed_forward_output(F.silu(gate) * value))

    def forward(self, hidden: Tensor, mask: Tensor | None, rotary: tuple[Tensor, Tensor]) -> Tensor:
        """Hidden (B, T, D) under mask (B, 1, 1, T) bool -> (B, T, D)."""
        query, key, value = (part.transpose(-3, -2) for part in self.project(hidden, rotary))
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.merge(hidden, attended.transpose(-3, -2).flatten(-2))


class EmCoderEncoder(nn.Module):
    """The encoder, with the interface of `erc.models.encoder.encoder.Encoder`."""

    def __init__(self, config: EmCoderConfig | None = None) -> None:
        super().__init__()
        self.config = config or EmCoderConfig()
        width = self.config.hidden_size
        self.hidden_size = width
        self.rotary = True
        self.word_embeddings = nn.Embedding(self.config.vocab_size, width)
        self.embedding_norm = nn.RMSNorm(width, eps=self.config.norm_eps)
        self.layers = nn.ModuleList(
            EmCoderBlock(self.config, site=2 * i) for i in range(self.config.num_hidden_layers)
        )
        self.final_norm = nn.RMSNorm(width, eps=self.config.norm_eps)
        self.dropout_sites = 2 * len(self.layers)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    @property
    def max_tokens(self) -> int:
        """Most tokens of a row: the tokenizer's limit, because rotary positions have none."""
        return self.config.max_position_embeddings

    def embed(self, input_ids: Tensor) -> Tensor:
        """Embeddings (B, T, D) of input_ids (B, T)."""
        return self.embedding_norm(self.word_embeddings(input_ids))

    def rotary_at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines (B, T, F) of positions (B, T)."""
        width = self.hidden_size // self.config.num_attention_heads
        steps = torch.arange(0, width, 2, device=positions.device, dtype=torch.float32) / width
        angles = positions[..., None].float() * self.config.rope_theta**-steps
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos(), angles.sin()

    def start(
        self, *, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor | None = None
    ) -> EncoderState:
        """Embed input_ids (B, T) int64 under attention_mask (B, T), 1 for real tokens."""
        if position_ids is None:
            position_ids = torch.arange(input_ids.shape[1], device=input_ids.device).unsqueeze(0)
        mask = attention_mask.bool()[:, None, None, :]
        return EncoderState(
            hidden=self.embed(input_ids),
            masks={"full_attention": mask},
            rotary={"full_attention": self.rotary_at(position_ids)},
        )

    def run(self, state: EncoderState, *, first: int = 0, last: int | None = None) -> EncoderState:
        """Run layers `first` up to (not including) `last`."""
        hidden = state.hidden
        for layer in self.layers[first:last]:
            hidden = layer(hidden, state.masks["full_attention"], state.rotary["full_attention"])
        return replace(state, hidden=hidden)

    def finish(self, state: EncoderState) -> Tensor:
        """Hidden states (B, T, D) after the final norm."""
        return self.final_norm(state.hidden)

    def forward(
        self, *, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor | None = None
    ) -> Tensor:
        """Hidden states (B, T, D) of input_ids (B, T) under attention_mask (B, T)."""
        return self.finish(
            self.run(
                self.start(input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids)
            )
        )


def build_emcoder(config: EmCoderConfig | None = None, *, emotions: int = 28) -> UtteranceClassifier:
    """EmCoder: its encoder, the masked mean, and a head of Linear, GELU, dropout, Linear."""
    encoder = EmCoderEncoder(config)
    dropout = encoder.config.dropout
    classifier = UtteranceClassifier(
        encoder=encoder,  # type: ignore[arg-type]
        emotions=emotions,
        pooling="mean",
        head_hidden=encoder.hidden_size,
        dropout=dropout,
    )
    # EmCoder's head has no dropout before its first layer.
    classifier.head.input_dropout = SeededDropout(0.0, site=classifier.head.input_dropout.site)
    return classifier


def _rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary positions (Su et al. 2021): x (..., T, H, F) rotated by the angles of its positions, in fp32."""
    cos, sin = (part.unsqueeze(-2) for part in rotary)
    first, second = x.float().chunk(2, dim=-1)
    return (x.float() * cos + torch.cat([-second, first], dim=-1) * sin).to(x.dtype)
