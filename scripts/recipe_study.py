"""What the recipes for language models learn on real dialogues, and what each ingredient moves, with a small base model on a laptop.

    python scripts/recipe_study.py --base runs/reference-lm/convemo-reference-lm --out runs/recipes [--seeds 0
    1 2] [--only NAME ...] python scripts/recipe_study.py --out runs/recipes --table

Every cell trains one recipe, or a recipe without one of its ingredients, on a fixed sample of training
conversations and is judged on a fixed sample of dev conversations. No checkpoint is chosen on them; decisions
are those of a contextual calibrator fitted out of fold, by dialogue. Beside the recipes stand the untuned
base, the same recipe trained on labels permuted over the training turns, and draws from the training
frequencies. A cell leaves one JSON record, so a study that was stopped goes on where it was; seed after seed,
so what is there can be compared at any time. A record says of which base, configuration, prompts, classifier,
corpus files and sizes it was made; one of others is made again. Levels are those of a model of a few million
parameters; what is to be read is differences.

Bios and past emotions come from a speaker memory filled with the shared classifier's reading of earlier
conversations. The texts that CKERC and LaERC-S learn to write are phrased by rule from the same reading: a
base as small as this one writes nothing worth learning.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from recipe_study_parts import (
    SMALL,
    UNTUNED,
    Sizes,
    Study,
    base_of,
    cell_config,
    changes_of,
    sources,
    tables,
    taught_by,
)
from study_cells import config_digest, current_cell, prompts_digest, write_cell

RECIPES = ("instructerc", "ckerc", "bioserc", "laercs", "speaker-memory")
SHUFFLED = ", labels shuffled"
PLAIN = "dialogue alone"
_ONE_STAGE = "llm.stages={emotions: {tasks: {erc: 1.0}}}"
ABLATIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    PLAIN: ("laercs", (_ONE_STAGE,)),  # what is left of CKERC, LaERC-S and BiosERC without their ingredient
    "instructerc without demonstrations": ("instructerc", ("llm.demonstrations=0",)),
    "instructerc without auxiliary tasks": ("instructerc", (_ONE_STAGE,)),
    "speaker-memory without bios": ("speaker-memory", ("llm.bios=false",)),
    "speaker-memory without demonstrations": ("speaker-memory", ("llm.demonstrations=0",)),
    "speaker-memory, retrieval none": ("speaker-memory", ("llm.retrieval=none",)),
    "speaker-memory, retrieval recency": ("speaker-memory", ("llm.retrieval=recency",)),
    "speaker-memory, retrieval similarity": ("speaker-memory", ("llm.retrieval=similarity",)),
    "speaker-memory without class weights": ("speaker-memory", ("loss.class_weights=none",)),
}


def variants() -> dict[str, tuple[str, tuple[str, ...], bool]]:
    """By name: the recipe, its overrides, and whether its training labels are shuffled. The speaker-memory recipe itself has retrieval `both`."""
    ablated = {name: (recipe, overrides, False) for name, (recipe, overrides) in ABLATIONS.items()}
    return {
        **{recipe: (recipe, (), False) for recipe in RECIPES},
        PLAIN: ablated.pop(PLAIN),
        **{recipe + SHUFFLED: (recipe, (), True) for recipe in RECIPES},
        **ablated,
    }


def main() -> None:
    """Parses arguments, trains what is missing, prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--base", help="the base model, a folder or hub id; needed unless --table")
    parser.add_argument("--corpora", nargs="+", default=["meld", "emorynlp"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=[*variants(), UNTUNED], default=[UNTUNED, *variants()])
    parser.add_argument(
        "--train",
        type=int,
        help="training conversations (300 of MELD, 220 of EmoryNLP: some 3,000 turns each)",
    )
    parser.add_argument("--dev", type=int, default=114, help="dev conversations (114, all there are)")
    parser.add_argument("--table", action="store_true", help="train nothing, print what there is")
    given = parser.parse_args()
    if given.base is None and not given.table:
        parser.error("--base names the model to train over; --table alone needs none")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if not given.table:
        if not taught_by(given.base, prompts_digest()):
            print(
                f"{given.base}: was taught other prompts than the present ones, and starts from less than it could",
                file=sys.stderr,
            )
        run(given)
    for corpus in given.corpora:
        make = None if given.table else made(given, corpus)
        print(tables(given.out / corpus, variants=[UNTUNED, *variants()], make=make), flush=True)


def made(given: argparse.Namespace, corpus: str) -> dict[str, Any]:
    """What the records of this study have in common for one corpus."""
    return {
        "base": base_of(given.base),
        "sizes": asdict(sizes(given, corpus)),
        "terms": list(SMALL),
        **sources(corpus),
    }


def sizes(given: argparse.Namespace, corpus: str) -> Sizes:
    """How many conversations are asked for."""
    return Sizes(train=given.train or (220 if corpus == "emorynlp" else 300), dev=given.dev)


def run(given: argparse.Namespace) -> None:
    """Trains every cell that is not there, or was made of something else."""
    studies: dict[str, Study] = {}
    common = {corpus: made(given, corpus) for corpus in given.corpora}
    for corpus, name, seed in cells(given):
        record = given.out / corpus / f"{name.replace(', ', '-').replace(' ', '-')}.{seed}.json"
        recipe, overrides, shuffled = variants().get(
            name, ("laercs", (), False)
        )  # the untuned base is shown prompts as LaERC-S has them
        config = config_digest(cell_config(corpus, recipe, overrides, base=given.base, seed=seed))
        make = {
            **common[corpus],
            "recipe": recipe,
            "overrides": changes_of(recipe, overrides),
            "config": config,
        }
        if current_cell(record, make) is not None:
            continue
        if corpus not in studies:
            studies[corpus] = Study.of(
                corpus, base=given.base, sizes=sizes(given, corpus), cache=given.out / "memory"
            )
        started = time.process_time()
        if name == UNTUNED:
            figures = studies[corpus].untuned()
        else:
            study = studies[corpus].shuffled(seed) if shuffled else studies[corpus]
            figures = study.trained(recipe, overrides, seed=seed, run_dir=given.out / "run" / corpus)
        seconds = round(time.process_time() - started)
        write_cell(record, {"variant": name, "seed": seed, "cpu_seconds": seconds, **figures}, make)
        print(
            f"{corpus}, {name}, seed {seed}: weighted F1 {figures['weighted_f1']:.4f}, {seconds} s",
            flush=True,
        )


def cells(given: argparse.Namespace) -> Iterator[tuple[str, str, int]]:
    """Corpus, variant and seed of every cell, a whole seed of all corpora before the next; the untuned base needs no seed."""
    for number, seed in enumerate(given.seeds):
        for name in given.only:
            for corpus in given.corpora:
                if name != UNTUNED or number == 0:
                    yield corpus, name, seed


if __name__ == "__main__":
    main()
