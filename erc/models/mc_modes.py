"""The Monte-Carlo dropout estimators: one enum of modes, and one table of what each mode samples.

Configurations, artefacts, inference settings, networks and the command's help use this module. It imports
neither torch nor numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class McMode(StrEnum):
    """Which dropout layers are sampled."""

    OFF = "off"
    HEAD = "head"
    TOP_K = "top-k"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Estimator:
    """An entry of the table of estimators.

    `first_layer(layers, top_k)` gives the first encoder layer that is sampled, of `layers` in all; the layers
    below it are computed once for all samples. It is None where the head alone is sampled.
    `encoder_only` marks a mode that names parts of an encoder; a language model refuses it.
    """

    first_layer: Callable[[int, int], int] | None
    encoder_only: bool = True


ESTIMATORS: Final[dict[McMode, Estimator]] = {
    McMode.HEAD: Estimator(first_layer=None),
    McMode.TOP_K: Estimator(first_layer=lambda layers, top_k: max(0, layers - top_k)),
    McMode.FULL: Estimator(first_layer=lambda layers, top_k: 0, encoder_only=False),
}
"""Every mode that draws samples, cheapest first."""

SAMPLED_MODES: Final[tuple[McMode, ...]] = tuple(ESTIMATORS)


def first_sampled_layer(mode: McMode, *, layers: int, top_k: int) -> int | None:
    """The first of `layers` encoder layers that `mode` samples, or None where it samples the head alone.

    Raises:
        ValueError: For a mode that draws no samples, and for `top_k` below 1.
    """
    if mode not in ESTIMATORS:
        raise ValueError(f"mode={str(mode)!r}: use one of {', '.join(SAMPLED_MODES)}")
    if top_k < 1:
        raise ValueError(f"top_k={top_k}: at least one layer must be sampled, or use mode='head'")
    first = ESTIMATORS[mode].first_layer
    return None if first is None else first(layers, top_k)


def listed(names: Iterable[str]) -> str:
    """Names as a list in a sentence, such as `off, head or full`."""
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


UNCERTAINTY_HELP: Final = f"Which dropout layers are sampled: {listed(McMode)}; default is the model's own."
"""The help of `--uncertainty`."""
