"""How a Predictor computes: plain values, shared by command, service and batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from erc.errors import ConfigError
from erc.models.mc_modes import McMode, listed

DEFAULT_UNCERTAINTY: Final = "default"
"""Samples what the model's description says."""
MAX_SAMPLES = 1000  # beyond it nothing is learned, and a request could keep a machine busy for hours


@dataclass(frozen=True, slots=True)
class InferenceSettings:
    """`uncertainty` is a `McMode` or its name (`default`: what the model's card says), `samples` how often (None: likewise).

    `precision` is bf16, fp32, for language models also 4bit, or auto: what the machine is fast at, for an
    adapter what it was trained over. `tokens_per_batch` bounds the padded tokens of one encoder pass,
    `turns_per_window` how many turns are held and sorted by length at a time when a stream is labelled.
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
                f"precision '{self.precision}' is unknown: use auto, bf16, fp32 or, for a language model, 4bit"
            )

    def for_encoders(self) -> InferenceSettings:
        """The settings of the small models beside a language model, which 4 bit are not for."""
        return replace(self, precision="auto") if self.precision == "4bit" else self
