"""Tests that each recipe learns from every ingredient of its prompts: dialogue, bio, history, demonstration.

    python scripts/prove_ingredients.py --out runs/ingredients [--seeds 0]
        [--only history demonstration dialogue bio]

Uses the generated corpora of `scripts/planted.py`, in which one ingredient alone decides the label. For each
recipe that uses an ingredient, a tiny random model is trained with the shipped recipe. Its accuracy on
held-out turns is measured with the ingredient, with the ingredient blanked, and after training without it.
The first must be above 90%, the others within the 99% binomial interval around chance (one in four). Prints
a Markdown table; exits with 1 if a cell fails.

Each cell saves a JSON record with its inputs and is not trained again while they stay the same.

The base model is frozen and random, and over some bases training never predicts one of the labels. So up to
three bases are tried, until the accuracy on a separate trial split is above 95%; otherwise the best is taken.
Held-out turns play no part in this choice. The table shows the base and how many were tried.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

INGREDIENTS = ("history", "demonstration", "dialogue", "bio")
LEARNT = 0.9
"""Minimum accuracy on held-out turns to conclude that a recipe learns from an ingredient."""
GOOD_BASE = 0.95
"""Accuracy on the trial split above which no further base is tried."""
BASES = 3


def main() -> None:
    """Parse the options, train missing cells and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--only", nargs="+", choices=INGREDIENTS, default=list(INGREDIENTS))
    given = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from planted_models import CLAIMS

    records = [
        cell(given.out, ingredient, recipe, seed)
        for seed in given.seeds
        for ingredient in given.only
        for recipe in CLAIMS[ingredient]
    ]
    print(table(records))
    sys.exit(0 if all(passed(record) for record in records) else 1)


def cell(out: Path, ingredient: Any, recipe: str, seed: int) -> dict[str, Any]:
    """Return the record of one recipe and ingredient; trains only if no record has the same inputs."""
    from planted import plant
    from planted_models import recipe_config
    from study_cells import config_digest, current_cell, digest, prompts_digest, write_cell

    from erc.llm.base.digests import weights_digest

    path, world = out / f"{ingredient}-{recipe}-{seed}.json", plant(ingredient, seed=seed)
    base = base_number(out, 0)
    made = {
        "world": digest(
            repr((world.train, world.dev, world.trial, world.held_out, world.shown, world.inputs.notes))
        ),
        "config": config_digest(recipe_config(recipe, base, world, seed=seed)),
        "base": {"weights": weights_digest(base)},
        "prompts": prompts_digest(),
    }
    found = current_cell(path, made)
    if found is None:
        started = time.process_time()
        figures = proven(out, world, recipe, seed)
        seconds = round(time.process_time() - started)
        found = write_cell(
            path,
            {"ingredient": ingredient, "recipe": recipe, "seed": seed, **figures, "cpu_seconds": seconds},
            made,
        )
        print(found, file=sys.stderr, flush=True)
    return found


def proven(out: Path, world: Any, recipe: str, seed: int) -> dict[str, Any]:
    """Return the three held-out accuracies, the chosen base and the number of turns.

    The accuracies are `planted` (with the ingredient), `blanked` and `never_there` (trained without it).
    """
    from planted_models import accuracy_on, recipe_config, train_recipe

    tried = []
    for number in range(BASES):
        config = recipe_config(recipe, base_number(out, number), world, seed=seed)
        adapter = train_recipe(config, world, emptied(out / f"run{number}"))
        tried.append((accuracy_on("trial", config, adapter, world)[0], number, config, adapter))
        if tried[-1][0] > GOOD_BASE:
            break
    trial, number, config, adapter = max(tried, key=lambda one: one[0])  # the first on a tie
    found: dict[str, Any] = {"base": number, "trial": trial, "tried": len(tried)}
    found["planted"], turns = accuracy_on("held_out", config, adapter, world)
    found["blanked"], _ = accuracy_on("held_out", config, adapter, world.without())
    config = recipe_config(recipe, Path(config.llm.base), world.without(), seed=seed)
    adapter = train_recipe(config, world.without(), emptied(out / "run"))
    found["never_there"], _ = accuracy_on("held_out", config, adapter, world.without())
    return {**found, "turns": turns}


def base_number(out: Path, number: int) -> Path:
    """Build the random base model with this number and return its folder."""
    from planted_models import build_base

    return build_base(out / f"base{number}", seed=number)


def emptied(folder: Path) -> Path:
    """Remove a folder of an earlier run; returns its path."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def passed(record: dict[str, Any]) -> bool:
    """Return whether the recipe learns from the ingredient and from nothing else."""
    from planted_models import chance_interval

    low, high = chance_interval(record["turns"])
    return (
        record["planted"] > LEARNT
        and low <= record["blanked"] <= high
        and low <= record["never_there"] <= high
    )


def table(records: list[dict[str, Any]]) -> str:
    """Return the Markdown table of all cells."""
    from planted_models import chance_interval

    rows = [
        "| ingredient | recipe | seed | base (tried) | with it | blanked | trained without it "
        "| chance, 99% | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for record in records:
        low, high = chance_interval(record["turns"])
        figures = " | ".join(f"{record[name]:.1%}" for name in ("planted", "blanked", "never_there"))
        verdict = "learnt" if passed(record) else "FAILS"
        cell_of = " | ".join(str(record[name]) for name in ("ingredient", "recipe", "seed"))
        rows.append(
            f"| {cell_of} | {record['base']} ({record['tried']}) | {figures} "
            f"| {low:.1%} to {high:.1%} | {verdict} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
