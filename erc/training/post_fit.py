"""Fits after training: sampling mode, decision policy, compression.

The sampling mode is the cheapest whose utterance-level AURC is within 2% of sampling everything.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from erc.errors import InputError
from erc.models.encoder.precision import torch_dtype
from erc.models.mc_modes import SAMPLED_MODES, McMode
from erc.models.utterance import UtteranceClassifier
from erc.models.utterance_batches import McDraw, encode_utterances
from erc.persistence.delta import DeltaKind, decode, encode
from erc.uncertainty.calibration import Calibrator, calibrate_samples
from erc.uncertainty.decomposition import binary_decomposition
from erc.uncertainty.policy import DecisionPolicy
from erc.uncertainty.selective import aurc

RISKS = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
"""Limits of the error rate of accepted turns that a policy may have, strictest first."""
_LEAST_COVERAGE = 0.5
_FALLBACK_COVERAGE = 0.5
_TOLERANCE = 0.02
_MC_BATCH_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class ModeFigures:
    """A mode's AURC of total entropy on dev, and its time in seconds."""

    mode: str
    samples: int
    aurc: float
    seconds: float


@dataclass(frozen=True, slots=True)
class McChoice:
    """The chosen mode, and the figures of all modes."""

    mode: str
    figures: tuple[ModeFigures, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def choose_mode(
    entropy: Callable[[McMode], np.ndarray],
    losses: np.ndarray,
    *,
    samples: int,
    modes: Sequence[McMode] = SAMPLED_MODES,
) -> McChoice:
    """Measures each of `modes` on dev and chooses the cheapest that is about as good as the last.

    Args:
        entropy: Returns a mode's total predictive entropy (N,).
        losses: The loss of each utterance, (N,).
        samples: Number of samples per mode.
        modes: The modes, cheapest first.

    Raises:
        ValueError: For no utterances, or arrays of different lengths.
    """
    figures = []
    for mode in modes:
        started = time.perf_counter()
        total = entropy(mode)
        figures.append(
            ModeFigures(
                mode=mode, samples=samples, aurc=aurc(total, losses), seconds=time.perf_counter() - started
            )
        )
    full = figures[-1].aurc
    chosen = next(f.mode for f in figures if f.aurc <= full * (1.0 + _TOLERANCE))
    return McChoice(mode=chosen, figures=tuple(figures))


def sampled_entropy(
    network: UtteranceClassifier,
    texts: Sequence[Sequence[int]],
    calibrator: Calibrator,
    *,
    samples: int,
    mode: McMode,
    pad_id: int,
    precision: str = "auto",
    top_k: int = 1,
) -> np.ndarray:
    """Total predictive entropy (N,) in nats, summed over labels, of N tokenised texts in input order.

    As in labelling, samples are drawn from a copy of the network in `precision`.

    Raises:
        ConfigError: For an unknown precision.
        NoDropoutError: For a network without dropout.
        ValueError: For a mode that draws nothing, or `samples` or `top_k` below 1.
    """

    def entropy(logits: Tensor) -> dict[str, np.ndarray]:
        probabilities = calibrate_samples(calibrator, logits.float().cpu().numpy())
        return {"total": binary_decomposition(probabilities).utterance().total}

    copied = copy.deepcopy(network).to(torch_dtype(precision)).eval()
    draw = McDraw(mode, samples, entropy, top_k=top_k)
    return encode_utterances(copied, texts, pad_id=pad_id, batch_tokens=_MC_BATCH_TOKENS, draw=draw).drawn[
        "total"
    ]


def fit_policy(confidence: np.ndarray, wrong: np.ndarray, *, groups: Any | None = None) -> DecisionPolicy:
    """The policy with the strictest error rate r that still accepts half of the turns.

    The error rate of accepted turns is at most r with 90% confidence. If no r can be certified, the half with
    the higher confidence is accepted without a bound.

    Args:
        confidence: Calibrated out-of-fold probability of the predicted emotion, (N,).
        wrong: 1 where the emotion is not the gold label, (N,).
        groups: The dialogue of each turn, (N,).

    Raises:
        ValueError: For no turns, or arrays of different lengths.
    """
    for risk in RISKS:
        try:
            policy = DecisionPolicy.fit_risk(
                confidence, wrong.astype(float), signal="confidence", risk=risk, groups=groups
            )
        except InputError:
            continue
        if policy.fitted is not None and policy.fitted.coverage >= _LEAST_COVERAGE:
            return policy
    return DecisionPolicy.fit_coverage(confidence, signal="confidence", coverage=_FALLBACK_COVERAGE)


@torch.no_grad()
def compress_in_place(network: nn.Module, base: dict[str, Tensor], kind: DeltaKind) -> int:
    """Replaces the weights with their stored and restored form; returns the size of the stored form in bytes.

    Raises:
        ArtefactError: If a weight is not finite.
    """
    weights = {name: value.detach().cpu().float() for name, value in network.state_dict().items()}
    stored = encode(weights, base, kind)
    if kind != "none":
        network.load_state_dict(decode(stored, base))
    return sum(value.numel() * value.element_size() for value in stored.values())
