"""Compares the language-model recipes, and ablations of their ingredients, with a small base model.

    python scripts/recipe_study.py --base runs/reference-lm/convemo-reference-lm --out runs/recipes
        [--seeds 0 1 2] [--only NAME ...]
    python scripts/recipe_study.py --out runs/recipes --table

Each cell trains one recipe, or a recipe without one ingredient, on a fixed sample of training conversations.
It is judged on a fixed sample of dev conversations, which select no checkpoint. Decisions come from a
contextual calibrator fitted on other dialogues (cross-fitting). Baselines are the untuned base, each recipe
trained on permuted labels, and draws from the training frequencies. Prints a Markdown table per corpus:
weighted F1 with a 95% interval, the difference to the untuned base, macro F1 and macro AUC.

Each cell saves a JSON record with its inputs (base, configuration, prompts, classifier, corpus files, sizes).
A stopped study resumes, and a cell is trained again if its inputs changed. Seeds run one after the other, so
partial results can be compared. The model has a few million parameters: read differences, not levels.

Bios and past emotions come from a speaker memory filled by the shared classifier. The texts that CKERC and
LaERC-S learn to write are made by rule from its output, because so small a base writes nothing useful.
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
    Sizes,
    Study,
    base_of,
    cell_config,
    changes_of,
    sources,
    taught_by,
)
from recipe_study_tables import UNTUNED, tables
from study_cells import config_digest, current_cell, prompts_digest, write_cell

RECIPES = ("instructerc", "ckerc", "bioserc", "laercs", "speaker-memory")
SHUFFLED = ", labels shuffled"
PLAIN = "dialogue alone"
_ONE_STAGE = "llm.stages={emotions: {tasks: {erc: 1.0}}}"
ABLATIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    PLAIN: ("laercs", (_ONE_STAGE,)),  # equals CKERC, LaERC-S and BiosERC without their ingredient
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
    """Return recipe, overrides and whether training labels are shuffled, by name of the variant.

    The speaker-memory recipe without overrides has retrieval `both`.
    """
    ablated = {name: (recipe, overrides, False) for name, (recipe, overrides) in ABLATIONS.items()}
    return {
        **{recipe: (recipe, (), False) for recipe in RECIPES},
        PLAIN: ablated.pop(PLAIN),
        **{recipe + SHUFFLED: (recipe, (), True) for recipe in RECIPES},
        **ablated,
    }


def main() -> None:
    """Parse the options, train missing cells and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--base", help="base model: a folder or hub id; required unless --table")
    parser.add_argument("--corpora", nargs="+", default=["meld", "emorynlp"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=[*variants(), UNTUNED], default=[UNTUNED, *variants()])
    parser.add_argument(
        "--train",
        type=int,
        help="training conversations (default: 300 of MELD, 220 of EmoryNLP; about 3,000 turns each)",
    )
    parser.add_argument("--dev", type=int, default=114, help="dev conversations (default: 114, all)")
    parser.add_argument(
        "--table", action="store_true", help="print the tables of finished cells, train nothing"
    )
    given = parser.parse_args()
    if given.base is None and not given.table:
        parser.error("--base is required unless --table is given")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if not given.table:
        if not taught_by(given.base, prompts_digest()):
            print(
                f"{given.base}: was trained on other prompts than the current ones, so results will be worse",
                file=sys.stderr,
            )
        run(given)
    for corpus in given.corpora:
        make = None if given.table else made(given, corpus)
        print(tables(given.out / corpus, variants=[UNTUNED, *variants()], make=make), flush=True)


def made(given: argparse.Namespace, corpus: str) -> dict[str, Any]:
    """Return the inputs that all cells of one corpus share."""
    return {
        "base": base_of(given.base),
        "sizes": asdict(sizes(given, corpus)),
        "terms": list(SMALL),
        **sources(corpus),
    }


def sizes(given: argparse.Namespace, corpus: str) -> Sizes:
    """Return the numbers of conversations for a corpus."""
    return Sizes(train=given.train or (220 if corpus == "emorynlp" else 300), dev=given.dev)


def run(given: argparse.Namespace) -> None:
    """Train every cell that has no record with its present inputs."""
    studies: dict[str, Study] = {}
    common = {corpus: made(given, corpus) for corpus in given.corpora}
    for corpus, name, seed in cells(given):
        record = given.out / corpus / f"{name.replace(', ', '-').replace(' ', '-')}.{seed}.json"
        untuned = ("laercs", (), False)  # the untuned base reads the prompts of LaERC-S
        recipe, overrides, shuffled = variants().get(name, untuned)
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
    """Yield corpus, variant and seed of every cell, seed by seed; the untuned base has only one seed."""
    for number, seed in enumerate(given.seeds):
        for name in given.only:
            for corpus in given.corpora:
                if name != UNTUNED or number == 0:
                    yield corpus, name, seed


if __name__ == "__main__":
    main()
