"""Bootstrap draws over groups, and percentile intervals.

Turns of a dialogue are not independent, so whole dialogues are drawn. A resample is the number of times each
group is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

_CELLS = 1_000_000  # values of one chunk: 8 MB of float64, so that temporary arrays stay in the cache


@dataclass(frozen=True, slots=True)
class Interval:
    """A percentile interval.

    Attributes:
        estimate: The figure on all groups.
        low: Lower end.
        high: Upper end.
        level: Coverage of the interval.
        resamples: Number of resamples.
    """

    estimate: float
    low: float
    high: float
    level: float
    resamples: int

    @classmethod
    def of(cls, estimate: float, replicates: np.ndarray, *, level: float = 0.95) -> Interval:
        """The percentile interval of replicates (R,).

        Raises:
            ValueError: For a `level` outside (0, 1).
        """
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
    """Chunks (r, groups) of draw counts, `resamples` rows in all; each row sums to `groups`.

    The counts depend on `groups`, `resamples` and `seed` alone, not on the chunks. So two metrics with the
    same seed use the same resamples, and their difference is paired. `width` is the row width of the arrays
    that the caller computes from a chunk; it limits the size of a chunk.

    Raises:
        ValueError: If `groups` or `resamples` is below 1.
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
