import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from erc.errors import MissingExtraError
from erc.metrics import figures
from erc.metrics.calibration import reliability
from erc.metrics.cooccurrence import cooccurrence_confusion
from erc.uncertainty.decomposition import binary_decomposition
from erc.uncertainty.rejection import rejection_curve
from erc.uncertainty.selective import risk_coverage_curve

LABELS = [f"emotion-{number}" for number in range(28)]


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    targets = rng.random((200, 28)) < np.linspace(0.4, 0.01, 28)
    samples = np.clip(targets * 0.4 + rng.random((4, 200, 28)) * 0.5, 0, 1)
    return samples, targets


def draw(name, cells, path):
    samples, targets = cells
    decisions, uncertainty = samples.mean(axis=0) > 0.4, binary_decomposition(samples)
    score, loss = uncertainty.utterance().total, (decisions != targets).mean(axis=1)
    if name == "distribution":
        return figures.label_distribution_figure(targets.sum(axis=0), LABELS, path, utterances=200)
    if name == "f1":
        return figures.per_class_f1_figure(
            np.linspace(0, 1, 28), targets.sum(axis=0), LABELS, path, intervals=[(0.0, 1.0)] * 28
        )
    if name == "confusion":
        return figures.confusion_figure(np.arange(9).reshape(3, 3), LABELS[:3], path)
    if name == "cooccurrence":
        return figures.cooccurrence_figure(cooccurrence_confusion(decisions, targets), LABELS, path)
    if name == "reliability":
        return figures.reliability_figure(
            {"raw": reliability(samples[0].ravel(), targets.ravel(), scheme="width")}, path
        )
    if name == "rejection":
        return figures.rejection_figure({"entropy": rejection_curve(score, decisions, targets)}, path)
    if name == "risk":
        curve, oracle = risk_coverage_curve(score, loss), risk_coverage_curve(loss, loss)
        return figures.risk_coverage_figure({"entropy": curve}, path, oracle=oracle, areas={"entropy": 0.1})
    if name == "scatter":
        return figures.probability_uncertainty_figure(
            samples.mean(axis=0), uncertainty.epistemic, targets, LABELS, path, thresholds=[0.4] * 28
        )
    return figures.uncertainty_ridges_figure(uncertainty, LABELS, path)


@pytest.mark.parametrize(
    "name",
    [
        "distribution",
        "f1",
        "confusion",
        "cooccurrence",
        "reliability",
        "rejection",
        "risk",
        "scatter",
        "ridges",
    ],
)
def test_figure_is_written_as_a_nonblank_png(name, cells, tmp_path):
    from matplotlib.image import imread

    path = draw(name, cells, tmp_path / "new folder" / f"{name}.png")
    pixels = imread(path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert min(pixels.shape[:2]) > 400
    assert 0.01 < (pixels[..., :3].min(axis=2) < 0.9).mean() < 0.9


def test_figures_of_a_certain_model_and_empty_labels_are_drawn(tmp_path):
    targets = np.zeros((20, 28), dtype=bool)
    assert draw("ridges", (np.zeros((2, 20, 28)), targets), tmp_path / "ridges.png").exists()
    assert draw("distribution", (np.zeros((2, 20, 28)), targets), tmp_path / "bars.png").exists()
    assert draw("risk", (np.zeros((2, 20, 28)), targets), tmp_path / "risk.png").exists()


def test_equal_data_give_an_identical_file(cells, tmp_path):
    first, second = (draw("risk", cells, tmp_path / f"{number}.png") for number in range(2))
    assert first.read_bytes() == second.read_bytes()


def test_missing_matplotlib_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"convemo\[report\]"):
        figures.label_distribution_figure([1, 2], ["a", "b"], tmp_path / "x.png", utterances=3)


def test_import_of_the_figures_does_not_import_matplotlib():
    code = (
        "import sys, erc.metrics.figures, erc.metrics.reports; sys.exit('matplotlib' in sys.modules or "
        "'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
