"""Settings of inference, shared by command, service and batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from erc.errors import ConfigError
from erc.models.mc_modes import McMode, listed

DEFAULT_UNCERTAINTY: Final = "default"
"""Samples what the model's description says."""
MAX_SAMPLES = 1000  # More samples do not improve the estimate and could occupy a machine for hours.


@dataclass(frozen=True, slots=True)
class InferenceSettings:
    """How a Predictor computes.

    Attributes:
        uncertainty: A `McMode` or its name; `default` takes the model's own setting.
        samples: Number of Monte-Carlo samples; None takes the model's own.
        seed: Seed of the samples.
        precision: `bf16`, `fp32`, `4bit` (language models), or `auto`: the fastest on this device, or for an
            adapter the precision of its training.
        device: Torch device.
        tokens_per_batch: Maximum padded tokens of an encoder pass.
        turns_per_window: Turns of a stream that are held and sorted by length.

    Raises:
        ConfigError: A value is out of range.
    """

    uncertainty: str = DEFAULT_UNCERTAINTY
    samples: int | None = None
    seed: int = 0
    precision: str = "auto"
    device: str = "cpu"
    tokens_per_batch: int = 4096
    turns_per_window: int = 4096

    def __post_init__(self) -> None:
        if self.samples is not None and not 1 <= self.samples <= MAX_SAMPLES:
            raise ConfigError(f"samples={self.samples}: choose between 1 and {MAX_SAMPLES}")
        if self.uncertainty not in (DEFAULT_UNCERTAINTY, *McMode):
            raise ConfigError(f"uncertainty '{self.uncertainty}' is unknown: use {listed(McMode)}")
        if self.precision not in ("auto", "bf16", "fp32", "4bit"):
            raise ConfigError(
                f"precision '{self.precision}' is unknown: use auto, bf16, fp32 or, for a language model, "
                "4bit"
            )

    def for_encoders(self) -> InferenceSettings:
        """The settings for the small models next to a language model; they do not run in 4 bit."""
        return replace(self, precision="auto") if self.precision == "4bit" else self
