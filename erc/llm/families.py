"""How much memory training or labelling with a language model takes, from its architecture alone.

An estimate before anything is loaded: weights, adapter, gradients and optimiser state, activations, logits, and the keys and values of a
prompt. It leaves out what a framework holds for itself (about a gigabyte on a GPU).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from erc.errors import ArtefactError, ConfigError
from erc.llm.adapters import LoraSettings

FAMILIES = ("llama", "qwen2", "qwen3", "phi3", "gemma2", "mistral")
"""Model types whose architecture the estimate knows."""
_BYTES = {"fp32": 4.0, "bf16": 2.0, "4bit": 0.5 + 4.0 / 64 / 4}  # NF4: half a byte, and double-quantised scales per 64 weights


@dataclass(frozen=True, slots=True)
class Shape:
    """What the estimate needs of an architecture: widths in numbers of values."""

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

    @classmethod
    def of(cls, config: Any) -> Shape:
        """The shape of a Hugging Face configuration. Raises ArtefactError for a family it does not know."""
        if config.model_type not in FAMILIES:
            raise ArtefactError(f"no memory estimate for model type '{config.model_type}'; there is one for {', '.join(FAMILIES)}")
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
        )

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of every linear layer of one block."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        out = {"o_proj": (q, self.hidden), "down_proj": (self.intermediate, self.hidden)}
        if self.fused:
            return {"qkv_proj": (self.hidden, q + 2 * kv), "gate_up_proj": (self.hidden, 2 * self.intermediate), **out}
        split = {"q_proj": q, "k_proj": kv, "v_proj": kv, "gate_proj": self.intermediate, "up_proj": self.intermediate}
        return {**{name: (self.hidden, width) for name, width in split.items()}, **out}

    @property
    def linear_parameters(self) -> int:
        """Weights of all blocks' linear layers: what 4-bit storage shrinks."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linears.values())

    @property
    def parameters(self) -> int:
        """All parameters."""
        biases = (self.heads + 2 * self.kv_heads) * self.head_dim if self.attention_bias else 0
        norms = self.norms_per_layer * self.hidden + (2 * self.head_dim if self.qk_norm else 0)
        embeddings = self.vocab * self.hidden * (1 if self.tied else 2)
        return self.linear_parameters + self.layers * (biases + norms) + self.hidden + embeddings

    def lora_parameters(self, lora: LoraSettings) -> int:
        """Parameters of an adapter. Raises ConfigError for a target that no linear layer is called."""
        if lora.targets == "all-linear":
            chosen = self.linears
        elif unknown := [name for name in lora.targets if name not in self.linears]:
            raise ConfigError(f"llm.lora.targets: no layer of this base is called {unknown[0]}; there are {', '.join(sorted(self.linears))}")
        else:
            chosen = {name: self.linears[name] for name in lora.targets}
        return self.layers * sum(lora.r * (inputs + outputs) for inputs, outputs in chosen.values())


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes by purpose."""

    weights: int
    adapter: int
    gradients: int
    optimiser: int
    activations: int
    logits: int
    cache: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.adapter + self.gradients + self.optimiser + self.activations + self.logits + self.cache


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
) -> MemoryEstimate:
    """Memory of `rows` rows of `row_tokens` tokens, in training or in labelling.

    Training keeps the adapter, its gradients and two moments of AdamW in fp32, and about what a block writes for its backward pass: ten
    values of hidden width (inputs of linear layers, norms, residuals) and four of the inner width per token, or, with
    gradient checkpointing, one per block and one block in full. `answer_tokens`, of all rows together, have logits, in fp32, three times over.
    """
    shape = Shape.of(config)
    adapter = 0 if lora is None else shape.lora_parameters(lora)
    value = 4 if precision == "fp32" else 2
    rest = shape.parameters - shape.linear_parameters
    weights = round(shape.linear_parameters * _BYTES[precision] + rest * value)
    tokens = rows * row_tokens
    if not training:
        keys = 2 * shape.layers * shape.kv_heads * shape.head_dim * tokens * value
        block = tokens * (4 * shape.hidden + 2 * shape.intermediate) * value
        return MemoryEstimate(weights, 4 * adapter, 0, 0, block, answer_tokens * shape.vocab * 4, keys)
    block = tokens * (10 * shape.hidden + 4 * shape.intermediate) * value
    activations = shape.layers * tokens * shape.hidden * value + block if gradient_checkpointing else shape.layers * block
    return MemoryEstimate(weights, 4 * adapter, 4 * adapter, 8 * adapter, activations, 3 * answer_tokens * shape.vocab * 4, 0)
