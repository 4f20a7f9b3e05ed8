"""Ablation study of EmoNet: trains variants that lack or replace one part, with several seeds.

    python scripts/emonet_study.py --out runs/study [--corpora meld emorynlp] [--seeds 42 43 44]
        [--only NAME ...]

Prints a Markdown table per corpus: mean weighted and macro F1 on dev over the seeds, and the difference to
the shipped configuration with a 95% interval over resampled dialogues.

Each cell trains the shipped configuration with the overrides of one variant and saves its dev predictions in
the output folder. A stopped study resumes; a cell is trained again if its configuration, classifier or corpus
changed. Two variants are controls that read another speaker's past: if the memory uses the speaker's own
past, they lose its gain. Checkpoints are chosen on dev for all variants. So levels are slightly too high, but
differences can be compared.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from erc.config import ExperimentConfig

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
PREDICTIONS = "dev.npz"
RECORD = "figures.json"
SHIPPED = "shipped"
VARIANTS: dict[str, tuple[str, ...]] = {
    SHIPPED: (),
    "no memory": ("emonet.memory_encoder=none",),
    "memory of this dialogue alone": ("emonet.history=dialogue",),
    "speakers shuffled": ("emonet.history=shuffled_speakers",),
    "another speaker's past": ("emonet.history=other_speaker",),
    "turn_causal, gates at -3": ("emonet.context=turn_causal", "emonet.gate_bias=-3.0"),
}


class Cell(NamedTuple):
    """Predicted dev classes (N,) of one trained network, and its training time in seconds."""

    predicted: np.ndarray
    seconds: float


class Truth(NamedTuple):
    """True dev classes (N,) and the dialogue number of each turn (N,), for labelled turns only."""

    labels: np.ndarray
    dialogues: np.ndarray


def main() -> None:
    """Parse the options, train missing cells and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--corpora", nargs="+", default=["meld", "emorynlp"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44])
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    given = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    for corpus in given.corpora:
        for seed in given.seeds:
            for variant in given.only:
                train_cell(given.out, corpus, variant, seed)
        print(table(given.out, corpus, given.seeds, given.only), flush=True)


def _folder(out: Path, corpus: str, variant: str, seed: int) -> Path:
    return out / corpus / f"{variant.replace(' ', '-').replace(',', '')}-{seed}"


def train_cell(out: Path, corpus: str, variant: str, seed: int) -> None:
    """Train one variant with one seed, unless a cell with the same inputs is finished."""
    from study_cells import config_digest, current_cell, write_cell

    from erc.config import load_config

    config = load_config(CONFIGS / f"emonet-{corpus}.yaml", [*VARIANTS[variant], f"optim.seed={seed}"])
    folder = _folder(out, corpus, variant, seed)
    made = {"config": config_digest(config), **sources(corpus, config.artefact.init_from)}
    if current_cell(folder / RECORD, made) is not None and (folder / PREDICTIONS).exists():
        return
    started = time.perf_counter()
    figures = trained(config, folder, features=out / "features")
    seconds = time.perf_counter() - started
    write_cell(folder / RECORD, {**figures, "training_seconds": seconds}, made)
    print(
        f"{corpus}, {variant}, seed {seed}: weighted F1 {figures['weighted_f1']:.4f} after {seconds:.0f} s",
        flush=True,
    )


@cache
def sources(corpus: str, classifier: str | None) -> dict[str, Any]:
    """Return digests of what the cells of a corpus read: the classifier and the corpus files."""
    from erc.data.corpora import load_corpus
    from erc.persistence import find_model, load_artefact
    from erc.training.provenance import corpora_provenance

    files = corpora_provenance(load_corpus(corpus, split) for split in ("train", "dev"))
    return {
        "classifier": None if classifier is None else load_artefact(find_model(classifier)).sha256,
        "files": files,
    }


def trained(config: ExperimentConfig, folder: Path, *, features: Path) -> dict[str, float]:
    """Train a network and return its dev figures; saves its dev predictions in `folder`."""
    import numpy as np

    from erc.metrics.subsets import dialogue_ids
    from erc.training.emonet.assembly import build_network, make_task
    from erc.training.emonet.ingredients import gather
    from erc.training.emonet.task import predict_turns
    from erc.training.loop.settings import optim_settings
    from erc.training.loop.trainer import train

    parts = gather(config, cache_dir=features)
    network, task = build_network(config, parts), make_task(config, parts)
    figures = train(
        model=network,
        task=task,
        optim=optim_settings(config),
        run_dir=folder / "run",
        resume=False,
        progress=False,
    )
    logits = np.concatenate(
        predict_turns(network, task.dev_builder, task.dev, precision=config.optim.precision)
    )
    labels = np.array([turn.label for turns in task.dev for turn in turns])
    np.savez(
        folder / PREDICTIONS,
        logits=logits,
        labels=labels,
        dialogues=np.asarray(dialogue_ids(parts.dev.conversations)),
    )
    return figures


def read_cell(folder: Path) -> tuple[Cell, Truth]:
    """Read what `train_cell` saved in a folder."""
    import numpy as np

    with np.load(folder / PREDICTIONS) as stored:
        keep = stored["labels"] >= 0
        predicted, truth = (
            stored["logits"][keep].argmax(axis=1),
            Truth(stored["labels"][keep], stored["dialogues"][keep]),
        )
    return Cell(
        predicted, json.loads((folder / RECORD).read_text(encoding="utf-8"))["training_seconds"]
    ), truth


def table(out: Path, corpus: str, seeds: list[int], variants: list[str]) -> str:
    """Return the Markdown table of one corpus."""
    import numpy as np
    from sklearn.metrics import f1_score

    from erc.metrics.bootstrap import paired_bootstrap

    def mean_f1(predicted: np.ndarray, labels: np.ndarray, average: str = "weighted") -> float:
        return float(
            np.mean([f1_score(labels, column, average=average, zero_division=0) for column in predicted.T])
        )

    cells: dict[str, np.ndarray] = {}
    seconds: dict[str, float] = {}
    for variant in variants:
        read = [read_cell(_folder(out, corpus, variant, seed)) for seed in seeds]
        cells[variant] = np.stack([cell.predicted for cell, _ in read], axis=1)
        seconds[variant] = float(np.mean([cell.seconds for cell, _ in read]))
        truth = read[0][1]
    rows = [
        f"| {corpus} dev, seeds {', '.join(map(str, seeds))} "
        "| weighted F1 | macro F1 | difference | training s |",
        "|---|---|---|---|---|",
    ]
    for variant, predicted in cells.items():
        each = [mean_f1(predicted[:, [i]], truth.labels) for i in range(len(seeds))]
        level = f"{np.mean(each):.4f} ({min(each):.4f} to {max(each):.4f})"
        against = ""
        if variant != SHIPPED and SHIPPED in cells:
            found = paired_bootstrap(
                mean_f1, predicted, cells[SHIPPED], truth.labels, groups=truth.dialogues, resamples=1_000
            )
            against = f"{found.difference:+.4f} ({found.low:+.4f} to {found.high:+.4f})"
        rows.append(
            f"| {variant} | {level} | {mean_f1(predicted, truth.labels, 'macro'):.4f} | {against} "
            f"| {seconds[variant]:.0f} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
