"""The Trainer's settings as plain values, made from a configuration."""

from __future__ import annotations

from dataclasses import dataclass, fields

from erc.config import ExperimentConfig


@dataclass(frozen=True, slots=True)
class OptimSettings:
    """The optimiser's settings.

    Each field has the meaning of the same field in the `optim` section of a configuration. Learning rates are
    the peaks of the schedule. A step has `batch_size` examples, at most `micro_batch_size` of them at once.
    """

    learning_rate: float = 1e-4
    head_learning_rate: float = 3e-4
    weight_decay: float = 0.01
    epochs: float = 3.0
    batch_size: int = 32
    micro_batch_size: int | None = None
    warmup_fraction: float = 0.06
    schedule: str = "cosine"
    max_grad_norm: float = 1.0
    ema_decay: float | None = 0.999
    precision: str = "auto"
    seed: int = 42
    length_bucketing: bool = True
    evaluations_per_epoch: int = 1
    early_stopping: int | None = None

    @property
    def parts(self) -> int:
        """The smallest number of equal parts of a batch that fit `micro_batch_size`."""
        most = (
            self.batch_size if self.micro_batch_size is None else min(self.micro_batch_size, self.batch_size)
        )
        return next(
            parts
            for parts in range(1, self.batch_size + 1)
            if self.batch_size % parts == 0 and self.batch_size // parts <= most
        )


def optim_settings(config: ExperimentConfig) -> OptimSettings:
    """The Trainer's settings of a configuration."""
    return OptimSettings(**{field.name: getattr(config.optim, field.name) for field in fields(OptimSettings)})
