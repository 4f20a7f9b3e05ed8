"""Measures the share of the machine's matrix-product rate that a labelling run reaches.

    python scripts/bench_utilisation.py [--model NAME] [--repeats N]

Prints GFLOP/s of square matrix products in the model's precision, and of whole labelling runs (text in,
predictions out). Only the work on real tokens counts: no padding, no Monte-Carlo samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench_common import (
    arguments,
    conversations,
    interleaved,
    predictor,
    print_machine,
    print_table,
    texts_of,
    verdict,
)

if TYPE_CHECKING:
    from erc.models.utterance import UtteranceClassifier

SIZES = (1024, 2048, 4096)


def main() -> None:
    """Print the rates and their ratio to the best matrix product."""
    options = arguments(__doc__, repeats=5)
    import torch

    from erc.models.encoder.precision import torch_dtype

    corpus, dialogues = conversations()
    ours = {f"labelling, uncertainty {mode}": predictor(options.model, mode) for mode in ("off", "default")}
    scorer = ours["labelling, uncertainty off"].scorer
    tokens, _ = scorer.tokenize(texts_of(dialogues))
    work = encoder_flops(scorer.network, [len(ids) for ids in tokens])
    print_machine()
    squares = {size: torch.randn(size, size, dtype=torch_dtype("auto")) for size in SIZES}
    candidates = {f"product of {size} x {size}": lambda a=a: a @ a for size, a in squares.items()}
    candidates |= {name: lambda p=p: p.label(dialogues) for name, p in ours.items()}
    for candidate in candidates.values():
        candidate()
    seconds = interleaved(candidates, options.repeats)
    rates = {
        name: (work if name in ours else 2.0 * int(name.split()[-1]) ** 3) / taken.clock
        for name, taken in seconds.items()
    }
    peak = max(rate for name, rate in rates.items() if name not in ours)
    rows = [[name, f"{rate / 1e9:,.0f}", f"{rate / peak:.0%}"] for name, rate in rates.items()]
    title = (
        f"{corpus}: {len(tokens):,} utterances, {sum(map(len, tokens)):,} tokens, "
        f"{work / 1e9:,.0f} GFLOP without padding and samples"
    )
    print_table(title, ["", "GFLOP/s", "of the best product"], rows)
    for name in ours:
        verdict(name, 100 * rates[name] / peak, least=35, unit="%")


def encoder_flops(network: UtteranceClassifier, lengths: Sequence[int]) -> float:
    """Count the floating-point operations of one deterministic pass over texts of `lengths` tokens.

    Counts linear layers and attention; a multiply-add is two operations. Leaves out padding, normalisation,
    activations, embeddings and Monte-Carlo samples.
    """
    from torch import nn

    def weights(module: nn.Module) -> int:
        return sum(part.weight.numel() for part in module.modules() if isinstance(part, nn.Linear))

    layers = network.encoder.layers
    per_token = 2.0 * weights(layers)
    scores_and_mix = 4.0 * len(layers) * network.encoder.hidden_size
    return sum(per_token * n + scores_and_mix * n * n + 2.0 * weights(network.head) for n in lengths)


if __name__ == "__main__":
    main()
