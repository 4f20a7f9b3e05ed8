import numpy as np
import pytest
import torch

from erc.emotions import load_emotion_map
from erc.inference.scorers.mc_uncertainty import SampledUncertainty
from erc.uncertainty.calibration import Identity, PerLabelPlatt, Temperature, calibrate_samples
from erc.uncertainty.decomposition import binary_decomposition

RNG = np.random.default_rng(5)
LOGITS = RNG.normal(-1.0, 3.0, size=(7, 4, 28)).astype(np.float32)
PLATT = PerLabelPlatt(slope=tuple(RNG.uniform(0.5, 1.5, 28)), intercept=tuple(RNG.normal(0.0, 1.0, 28)))


@pytest.mark.parametrize("target", ["goemotions", "ekman", "emorynlp", "sentiment"])
@pytest.mark.parametrize(
    "calibrator",
    [PLATT, Identity("sigmoid"), Temperature(1.5)],
    ids=["platt", "identity", "without a closed form"],
)
def test_sampled_equals_the_double_precision_functions(
    target: str, calibrator: PerLabelPlatt | Identity | Temperature
) -> None:
    emotion_map = load_emotion_map("goemotions", target)
    own, mapped = SampledUncertainty(calibrator, emotion_map)(torch.from_numpy(LOGITS))
    samples = calibrate_samples(calibrator, LOGITS)
    expected = binary_decomposition(samples), binary_decomposition(emotion_map.apply(samples)).utterance()
    for found, wanted in zip((own, mapped), expected, strict=True):
        for part in ("total", "aleatoric", "epistemic"):
            np.testing.assert_allclose(getattr(found, part), getattr(wanted, part), atol=2e-5)


def test_sampled_with_one_sample_has_zero_epistemic_uncertainty() -> None:
    own, mapped = SampledUncertainty(PLATT, load_emotion_map("goemotions", "ekman"))(
        torch.from_numpy(LOGITS[:1])
    )
    assert not own.epistemic.any()
    assert not mapped.epistemic.any()
    assert (own.total > 0).all()


def test_sampled_with_extreme_logits_is_finite() -> None:
    logits = torch.tensor([[[1e4] * 14 + [-1e4] * 14]])
    own, mapped = SampledUncertainty(Identity("sigmoid"), load_emotion_map("goemotions", "ekman"))(logits)
    assert np.abs(own.total).max() < 1e-20
    assert np.isfinite(mapped.total).all()
