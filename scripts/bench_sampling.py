"""Measures the cost and the value of 50 Monte-Carlo dropout samples in each mode.

    python scripts/bench_sampling.py [--model NAME] [--turns N] [--timed N] [--repeats N]

Prints one row per mode: seconds divided by those of a pass without sampling, and the area under the
risk-coverage curve (AURC) of the total entropy. AURC needs GoEmotions dev; without it only cost is measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench_common import arguments, conversations, interleaved, print_machine, print_table, texts_of, verdict

from erc.models.mc_modes import McMode

if TYPE_CHECKING:
    from erc.inference.scorers.utterance import UtteranceScorer
    from erc.persistence.artefact import Artefact

SAMPLES = 50
MODES = tuple(McMode)


def main() -> None:
    """Print cost and AURC per mode."""
    options = arguments(__doc__, turns=1000, timed=256, repeats=3)
    from erc.inference.scorers.settings import InferenceSettings
    from erc.inference.scorers.utterance import UtteranceScorer
    from erc.persistence import load_model

    artefact = load_model(options.model)
    scorers = {
        mode: UtteranceScorer(artefact, settings=InferenceSettings(uncertainty=mode, samples=SAMPLES))
        for mode in MODES
    }
    default = str(artefact.info.uncertainty.get("mode", "head"))
    print_machine()
    texts, areas = risk_coverage_areas(artefact, scorers, limit=options.turns)
    timed = texts[: options.timed]
    seconds = interleaved(
        {mode: lambda s=scorer: s.score_texts(timed) for mode, scorer in scorers.items()}, options.repeats
    )
    costs = {mode: seconds[mode].clock / seconds["off"].clock for mode in MODES}
    rows = []
    for mode in MODES:
        area = [f"{areas[mode]:.5f}", f"{areas[mode] / areas['full'] - 1:+.1%}"] if areas else ["", ""]
        rows.append([f"{mode} (default)" if mode == default else mode, f"{costs[mode]:.2f}x", *area])
    title = f"N = {SAMPLES} samples, cost on {len(timed)} turns"
    if areas:
        title += f"; AURC of total entropy, Hamming loss, first {len(texts):,} comments of GoEmotions dev"
    print_table(title, ["mode", "cost", "AURC", "against full"], rows)
    verdict(f"cost of the default mode ({default})", costs[default], most=1.3)


def risk_coverage_areas(
    artefact: Artefact, scorers: dict[str, UtteranceScorer], *, limit: int
) -> tuple[list[str], dict[str, float]]:
    """Return the benchmark's texts and the AURC of each mode on them; no AURC without GoEmotions dev."""
    from erc.errors import InputError
    from erc.evaluation.labelled_data import load_gold
    from erc.inference.loading import fine_thresholds
    from erc.uncertainty.losses import hamming_loss
    from erc.uncertainty.selective import aurc

    try:
        gold = load_gold("goemotions", model_set="goemotions", limit=limit)
    except InputError:
        return texts_of(conversations()[1]), {}
    texts, (targets, _) = [turn.text for turn in gold.turns()], gold.targets()
    thresholds = fine_thresholds(artefact)
    areas: dict[str, float] = {}
    for mode, scorer in scorers.items():
        scores = scorer.score_texts(texts)
        decisions = scores.probabilities >= (0.5 if thresholds is None else thresholds.values)
        areas[mode] = aurc(scores.uncertainty.total, hamming_loss(decisions, targets))
    return texts, areas


if __name__ == "__main__":
    main()
