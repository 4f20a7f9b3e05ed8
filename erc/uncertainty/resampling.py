"""Bootstrap draws over groups, and the interval made of them.

Turns of a dialogue move together, so whole dialogues are drawn: a resample is how often each group was drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

_CELLS = 1_000_000  # cells of one chunk: 8 MB of float64, so that the temporaries stay in the cache


@dataclass(frozen=True, slots=True)
class Interval:
    """A percentile interval [`low`, `high`] of coverage `level` around `estimate`."""

    estimate: float
    low: float
    high: float
    level: float
    resamples: int

    @classmethod
    def of(cls, estimate: float, replicates: np.ndarray, *, level: float = 0.95) -> Interval:
        """The percentile interval of replicates (R,)."""
        if not 0.0 < level < 1.0:
            raise ValueError(f"level={level}: expected a share between 0 and 1")
        low, high = np.quantile(replicates, ((1 - level) / 2, (1 + level) / 2))
        return cls(
            estimate=float(estimate), low=float(low), high=float(high), level=level, resamples=len(replicates)
        )

    def to_dict(self) -> dict[str, float | int]:
        """The JSON form."""
        return asdict(self)


def group_draws(groups: int, resamples: int, *, seed: int, width: int | None = None) -> Iterator[np.ndarray]:
    """Chunks (r, groups) of draw counts that add up to `resamples` rows; each row sums to `groups`.

    The counts depend on `groups`, `resamples` and `seed` alone, not on the chunking: two metrics with the
    same seed see the same resamples and their difference is paired. `width` is the row width of what the
    caller makes of a chunk, which bounds it.
    """
    if groups < 1 or resamples < 1:
        raise ValueError(f"groups={groups}, resamples={resamples}: both must be positive")
    rng = np.random.default_rng(seed)
    chunk = max(1, _CELLS // max(groups, width or 0))
    for first in range(0, resamples, chunk):
        rows = min(chunk, resamples - first)
        drawn = rng.integers(0, groups, size=(rows, groups))
        offsets = np.arange(rows)[:, None] * groups
        yield np.bincount((drawn + offsets).ravel(), minlength=rows * groups).reshape(rows, groups)
