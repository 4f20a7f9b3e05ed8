"""What fifty Monte-Carlo samples cost in each mode, in deterministic passes, beside what they are worth as a ranking.

python scripts/bench_sampling.py [--model NAME] [--turns N] [--repeats N]
"""

from __future__ import annotations

from bench_common import arguments, conversations, interleaved, print_machine, print_table, texts_of, verdict

from erc.models.mc_modes import McMode

SAMPLES = 50
MODES = tuple(McMode)


def main() -> None:
    """Prints cost and AURC per mode. The ranking needs GoEmotions dev; without it only the cost is measured."""
    options = arguments(__doc__, turns=1000, timed=256, repeats=3)
    from erc.errors import InputError
    from erc.evaluation.labelled_data import load_gold
    from erc.inference.loading import fine_thresholds
    from erc.inference.scorers.settings import InferenceSettings
    from erc.inference.scorers.utterance import UtteranceScorer
    from erc.persistence import load_model
    from erc.uncertainty.losses import hamming_loss
    from erc.uncertainty.selective import aurc

    artefact = load_model(options.model)
    scorers = {
        mode: UtteranceScorer(artefact, settings=InferenceSettings(uncertainty=mode, samples=SAMPLES))
        for mode in MODES
    }
    print_machine()
    areas: dict[str, float] = {}
    try:
        gold = load_gold("goemotions", model_set="goemotions", limit=options.turns)
        texts, (targets, _) = [turn.text for turn in gold.turns()], gold.targets()
    except InputError:
        texts = texts_of(conversations()[1])
    else:
        thresholds = fine_thresholds(artefact)
        for mode, scorer in scorers.items():
            scores = scorer.score_texts(texts)
            decisions = scores.probabilities >= (0.5 if thresholds is None else thresholds.values)
            areas[mode] = aurc(scores.uncertainty.total, hamming_loss(decisions, targets))
    timed = texts[: options.timed]
    seconds = interleaved(
        {mode: lambda s=s: s.score_texts(timed) for mode, s in scorers.items()}, options.repeats
    )  # type: ignore[misc]
    rows = []
    for mode in MODES:
        marks = " (default)" if mode == artefact.info.uncertainty.get("mode", "head") else ""
        area = [f"{areas[mode]:.5f}", f"{areas[mode] / areas['full'] - 1:+.1%}"] if areas else ["", ""]
        rows.append([mode + marks, f"{seconds[mode] / seconds['off']:.2f}x", *area])
    of = (
        f"; AURC of total entropy against Hamming loss on the first {len(texts):,} comments of GoEmotions dev"
        if areas
        else ""
    )
    print_table(
        f"N = {SAMPLES} samples, cost on {len(timed)} turns{of}",
        ["mode", "cost", "AURC", "against full"],
        rows,
    )
    default = str(artefact.info.uncertainty.get("mode", "head"))
    verdict(f"cost of the default mode ({default})", seconds[default] / seconds["off"], most=1.3)


if __name__ == "__main__":
    main()
