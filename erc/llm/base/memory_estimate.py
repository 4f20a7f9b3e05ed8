"""Estimates the memory of training or labelling with a language model from its architecture.

Nothing is loaded for it. It counts weights, adapter, gradients, optimizer state, activations, logits, and
the keys and values of a prompt. It does not count the framework itself, about a gigabyte on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from erc.errors import ArtefactError, ConfigError
from erc.llm.base.adapters import LoraSettings

FAMILIES = ("llama", "qwen2", "qwen3", "phi3", "gemma2", "mistral")
"""Model types that the estimate knows."""
_BYTES = {
    "fp32": 4.0,
    "bf16": 2.0,
    "4bit": 0.5 + 4.0 / 64 / 4,
}  # NF4: half a byte, and double-quantised scales per 64 weights


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions of a model architecture.

    Attributes:
        vocab: Vocabulary size.
        hidden: Width of the hidden states.
        layers: Number of blocks.
        heads: Attention heads.
        kv_heads: Heads of keys and values.
        head_dim: Width of a head.
        intermediate: Width of the feed-forward layer.
        tied: Whether input and output embeddings are the same.
        attention_bias: Whether queries, keys and values have biases.
        fused: Whether their projections are one layer.
        norms_per_layer: Norms in a block.
        qk_norm: Whether queries and keys are normalized.
        eager: Whether attention scores are computed in full for every head, since no fused kernel caps them
            (Gemma 2).
    """

    vocab: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    tied: bool
    attention_bias: bool = False
    fused: bool = False
    norms_per_layer: int = 2
    qk_norm: bool = False
    eager: bool = False

    @classmethod
    def of(cls, config: Any) -> Shape:
        """The shape of a Hugging Face configuration.

        Raises:
            ArtefactError: the estimate does not know the model type.
        """
        if config.model_type not in FAMILIES:
            raise ArtefactError(
                f"no memory estimate for model type '{config.model_type}'; there is one for "
                f"{', '.join(FAMILIES)}"
            )
        heads = int(config.num_attention_heads)
        return cls(
            vocab=int(config.vocab_size),
            hidden=int(config.hidden_size),
            layers=int(config.num_hidden_layers),
            heads=heads,
            kv_heads=int(config.num_key_value_heads or heads),
            head_dim=int(getattr(config, "head_dim", None) or config.hidden_size // heads),
            intermediate=int(config.intermediate_size),
            tied=bool(config.tie_word_embeddings),
            attention_bias=config.model_type == "qwen2",
            fused=config.model_type == "phi3",
            norms_per_layer=4 if config.model_type == "gemma2" else 2,
            qk_norm=config.model_type == "qwen3",
            eager=config.model_type == "gemma2",
        )

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of every linear layer of one block."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        out = {"o_proj": (q, self.hidden), "down_proj": (self.intermediate, self.hidden)}
        if self.fused:
            return {
                "qkv_proj": (self.hidden, q + 2 * kv),
                "gate_up_proj": (self.hidden, 2 * self.intermediate),
                **out,
            }
        split = {
            "q_proj": q,
            "k_proj": kv,
            "v_proj": kv,
            "gate_proj": self.intermediate,
            "up_proj": self.intermediate,
        }
        return {**{name: (self.hidden, width) for name, width in split.items()}, **out}

    @property
    def linear_parameters(self) -> int:
        """Weights of all blocks' linear layers, which 4-bit storage compresses."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linears.values())

    @property
    def parameters(self) -> int:
        """All parameters."""
        biases = (self.heads + 2 * self.kv_heads) * self.head_dim if self.attention_bias else 0
        norms = self.norms_per_layer * self.hidden + (2 * self.head_dim if self.qk_norm else 0)
        embeddings = self.vocab * self.hidden * (1 if self.tied else 2)
        return self.linear_parameters + self.layers * (biases + norms) + self.hidden + embeddings

    def adapted(self, lora: LoraSettings) -> dict[str, tuple[int, int]]:
        """The `linears` that get an adapter.

        Raises:
            ConfigError: no linear layer has the name of a target.
        """
        if lora.targets == "all-linear":
            return self.linears
        if unknown := [name for name in lora.targets if name not in self.linears]:
            raise ConfigError(
                f"llm.lora.targets: no layer of this base is called {unknown[0]}; there are "
                f"{', '.join(sorted(self.linears))}"
            )
        return {name: self.linears[name] for name in lora.targets}

    def lora_parameters(self, lora: LoraSettings) -> int:
        """Parameters of an adapter.

        Raises:
            ConfigError: no linear layer has the name of a target.
        """
        return self.layers * sum(
            lora.r * (inputs + outputs) for inputs, outputs in self.adapted(lora).values()
        )

    def kept_by_block(self, lora: LoraSettings | None, *, row_tokens: int, value: int, mask: int) -> int:
        """Bytes per token that one block keeps for its backward pass, in rows of `row_tokens` tokens.

        A value takes `value` bytes, a dropout mask `mask` bytes. Base weights are frozen, so only the
        inputs of adapters are kept, not those of base layers.
        """
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        # Norms compute in fp32 and keep a copy of their input.
        norms = 4 * (self.norms_per_layer * self.hidden + (q + kv if self.qk_norm else 0))
        # The gate before and after its activation, and the other factor.
        gated = 3 * value * self.intermediate
        if self.eager:
            # Queries, keys and values for every head, and 8 bytes for every score: the capped score, its
            # softmax in fp32 and, in bf16, a copy of that.
            attention = 3 * value * q + 8 * self.heads * row_tokens
        else:
            # Queries, keys, values and output, and a sum for each head in fp32.
            attention = 4 * value * q + 4 * self.heads
            if self.fused and self.kv_heads == self.heads:
                # Values are a view that also keeps the queries and keys before rotation.
                attention += 2 * value * q
        # Each adapter keeps its input after dropout, the dropout mask, and the values between its matrices.
        chosen = {} if lora is None else self.adapted(lora)
        masks = mask if lora is not None and lora.dropout else 0
        adapters = sum(
            (value + masks) * inputs + value * (0 if lora is None else lora.r)
            for inputs, _ in chosen.values()
        )
        return norms + gated + attention + adapters


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes by purpose.

    Attributes:
        weights: Weights of the base.
        adapter: Weights of the adapter.
        gradients: Gradients of the adapter.
        optimiser: Moments of AdamW.
        activations: What the backward pass needs.
        logits: Logits of the answers.
        cache: Keys and values.
    """

    weights: int
    adapter: int
    gradients: int
    optimiser: int
    activations: int
    logits: int
    cache: int

    @property
    def total(self) -> int:
        """The sum."""
        return (
            self.weights
            + self.adapter
            + self.gradients
            + self.optimiser
            + self.activations
            + self.logits
            + self.cache
        )


def estimate_memory(
    config: Any,
    *,
    precision: Literal["fp32", "bf16", "4bit"] = "bf16",
    lora: LoraSettings | None = None,
    training: bool = True,
    rows: int = 1,
    row_tokens: int = 1024,
    answer_tokens: int = 64,
    gradient_checkpointing: bool = False,
    device: str = "cuda",
) -> MemoryEstimate:
    """Memory of `rows` rows of `row_tokens` tokens, in training or in labelling.

    Training keeps the adapter, its gradients and the two moments of AdamW in fp32. Activations are what
    every block keeps for its backward pass (`Shape.kept_by_block`). With gradient checkpointing they are
    the input of every block and one full block. The input of the last norm in fp32 and the attention mask
    are added, and for lower precisions a copy of the adapter's weights. A dropout mask takes one byte per
    value on a GPU and four on a CPU. The `answer_tokens` of all rows have three copies of logits in fp32.

    Raises:
        ArtefactError: the estimate does not know the model type.
        ConfigError: no linear layer has the name of an adapter target.
    """
    shape = Shape.of(config)
    adapter = 0 if lora is None else shape.lora_parameters(lora)
    value = 4 if precision == "fp32" else 2
    rest = shape.parameters - shape.linear_parameters
    weights = round(shape.linear_parameters * _BYTES[precision] + rest * value)
    tokens = rows * row_tokens
    if not training:
        keys = 2 * shape.layers * shape.kv_heads * shape.head_dim * tokens * value
        scores = 8 * shape.heads * row_tokens if shape.eager else 0
        block = tokens * ((4 * shape.hidden + 2 * shape.intermediate) * value + scores)
        return MemoryEstimate(weights, 4 * adapter, 0, 0, block, answer_tokens * shape.vocab * 4, keys)
    block = tokens * shape.kept_by_block(
        lora, row_tokens=row_tokens, value=value, mask=1 if device.startswith("cuda") else 4
    )
    blocks = (
        shape.layers * tokens * shape.hidden * value + block
        if gradient_checkpointing
        else shape.layers * block
    )
    once = 4 * tokens * shape.hidden + value * tokens * row_tokens + (value * adapter if value < 4 else 0)
    return MemoryEstimate(
        weights, 4 * adapter, 4 * adapter, 8 * adapter, blocks + once, 3 * answer_tokens * shape.vocab * 4, 0
    )
