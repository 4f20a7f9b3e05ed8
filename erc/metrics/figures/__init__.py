"""The figures of a report, each a function of arrays that writes one PNG and returns its path.

matplotlib comes with the extra `report` and is imported when a figure is drawn. Figures are drawn on their
own canvas, so no backend is selected and no global setting is changed.
"""

from erc.metrics.figures.curves import rejection_figure, reliability_figure, risk_coverage_figure
from erc.metrics.figures.labels import (
    confusion_figure,
    cooccurrence_figure,
    label_distribution_figure,
    per_class_f1_figure,
)
from erc.metrics.figures.uncertainty import probability_uncertainty_figure, uncertainty_ridges_figure

__all__ = [
    "confusion_figure",
    "cooccurrence_figure",
    "label_distribution_figure",
    "per_class_f1_figure",
    "probability_uncertainty_figure",
    "rejection_figure",
    "reliability_figure",
    "risk_coverage_figure",
    "uncertainty_ridges_figure",
]
