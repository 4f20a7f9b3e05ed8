"""Uncertainty of Monte-Carlo logits, computed in torch where the logits are.

The results equal those of `erc.uncertainty`, in single precision. 50 samples of 28 labels are 1,400
    probabilities per turn; their logarithms in double precision would take as long as the encoder.

Shapes: S samples, B turns, F own labels, C mapped labels.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from erc.emotions import EmotionMap
from erc.errors import ArtefactError
from erc.inference.scorers.settings import DEFAULT_UNCERTAINTY, MAX_SAMPLES, InferenceSettings
from erc.models.dropout import require_dropout
from erc.models.mc_modes import SAMPLED_MODES, McMode
from erc.persistence.artefact import Artefact
from erc.uncertainty.calibration import Calibrator, Identity, PerLabelPlatt, calibrate_samples
from erc.uncertainty.decomposition import Uncertainty, binary_decomposition

_SMALLEST = 1e-30  # 0 ln 0 counts as 0


class SampledUncertainty:
    """Decomposes the entropy of samples, over the model's own labels and over those of `emotion_map`.

    A calibrator or map without a closed form here uses the numpy functions, with the same result.
    """

    def __init__(self, calibrator: Calibrator, emotion_map: EmotionMap) -> None:
        self._calibrator = calibrator
        self._map = emotion_map
        self._same = (
            emotion_map.assignment == tuple(range(len(emotion_map.target))) and emotion_map.rest is None
        )
        self._affine = _affine(calibrator) if emotion_map.source.multi_label else None
        members = torch.zeros(len(emotion_map.source), len(emotion_map.target))
        for source, place in enumerate(emotion_map.assignment):
            if place is not None:
                members[source, place] = 1.0
        self._members = members

    def __call__(self, logits: Tensor) -> tuple[Uncertainty, Uncertainty]:
        """From logits (S, B, F): uncertainty per own label (B, F), and summed over mapped labels (B,)."""
        if self._affine is None:
            sampled = calibrate_samples(self._calibrator, logits.float().cpu().numpy())
            return binary_decomposition(sampled), binary_decomposition(self._map.apply(sampled)).utterance()
        slope, intercept = (value.to(logits.device) for value in self._affine)
        probabilities = torch.sigmoid(logits.float() * slope + intercept)
        own = _split(probabilities)
        return own, (own if self._same else _split(self._mapped(probabilities))).utterance()

    def _mapped(self, probabilities: Tensor) -> Tensor:
        """Probabilities (S, B, F) to (S, B, C): a group of labels holds with 1 - prod(1 - p)."""
        absent = (1.0 - probabilities).clamp_min(_SMALLEST).log()
        none_holds = (absent @ self._members.to(absent.device)).exp()
        if self._map.rest is not None:
            none_holds[..., self._map.rest] *= -torch.expm1(absent.sum(dim=-1))
        return 1.0 - none_holds


def _affine(calibrator: Calibrator) -> tuple[Tensor, Tensor] | None:
    """Slope and intercept before the sigmoid; None for a calibrator of another form."""
    if isinstance(calibrator, PerLabelPlatt):
        return torch.tensor(calibrator.slope, dtype=torch.float32), torch.tensor(
            calibrator.intercept, dtype=torch.float32
        )
    if isinstance(calibrator, Identity) and calibrator.link == "sigmoid":
        return torch.ones(1), torch.zeros(1)
    return None


def _split(probabilities: Tensor) -> Uncertainty:
    """Uncertainty (B, C) of samples (S, B, C).

    Mean and samples use the same formula, so one sample gives epistemic 0.
    """
    total = _entropy(probabilities.mean(dim=0))
    aleatoric = torch.minimum(_entropy(probabilities).mean(dim=0), total)
    wide = total.double().cpu().numpy(), aleatoric.double().cpu().numpy()
    return Uncertainty(total=wide[0], aleatoric=wide[1], epistemic=np.subtract(*wide))


def _entropy(probabilities: Tensor) -> Tensor:
    """Binary entropy in nats, elementwise."""
    absent = 1.0 - probabilities
    entropy = probabilities * probabilities.clamp_min(_SMALLEST).log()
    return entropy.addcmul_(absent, absent.clamp_min(_SMALLEST).log()).neg_()


def chosen_sampling(artefact: Artefact, settings: InferenceSettings) -> tuple[McMode, int, int]:
    """Mode (or `off`), number of samples and number of upper layers to sample.

    Raises:
        ArtefactError: The artefact states an invalid mode or number.
        NoDropoutError: The model has no dropout to sample.
    """
    mode, samples, top_k = _stated_sampling(artefact)
    if settings.uncertainty != DEFAULT_UNCERTAINTY:
        mode = McMode(settings.uncertainty)
    if mode != McMode.OFF:
        require_dropout(artefact.network, name=artefact.info.identity)
    return mode, settings.samples or samples, top_k


def _stated_sampling(artefact: Artefact) -> tuple[McMode, int, int]:
    """Mode, samples and upper layers that the artefact states."""
    stated = artefact.info.uncertainty
    mode, samples, top_k = stated.get("mode", McMode.HEAD), stated.get("samples", 50), stated.get("top_k", 1)
    whole = isinstance(samples, int) and isinstance(top_k, int)
    if mode not in SAMPLED_MODES or not whole or not 1 <= samples <= MAX_SAMPLES or top_k < 1:
        raise ArtefactError(
            f"{artefact.info.identity} asks for uncertainty with mode={mode!r}, samples={samples!r}, "
            f"top_k={top_k!r}: mode must be one of {', '.join(SAMPLED_MODES)}, samples between 1 and "
            f"{MAX_SAMPLES}, top_k at least 1; install or train the model again"
        )
    return McMode(mode), samples, top_k
