"""`erc evaluate`: a model against gold labels, as tables, figures and one JSON file."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from erc.cli.console import stderr, stdout


def evaluate(
    model: Annotated[str, typer.Argument(help="Name or folder of a model; see `erc models list`.", show_default=False)],
    data: Annotated[str, typer.Argument(help="A corpus by name, a corpus file, or a transcript with a column of emotions.", show_default=False)],
    split: Annotated[str, typer.Option("--split", help="Split of a corpus given by name or folder.")] = "dev",
    root: Annotated[Path | None, typer.Option("--root", help="The data folder. Default: CONVEMO_DATA, else the user's data folder.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder of the report; default runs/evaluate/MODEL-DATA.")] = None,
    emotions: Annotated[str | None, typer.Option("--emotions", help="The set a transcript's labels are spelled in.")] = None,
    uncertainty: Annotated[str, typer.Option("--uncertainty", help="What is sampled: off, head, top-k or full.")] = "default",
    samples: Annotated[int | None, typer.Option("--samples", help="Monte-Carlo samples per turn.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of samples, folds and resamples.")] = 0,
    limit: Annotated[int | None, typer.Option("--limit", help="Evaluate about so many turns from the beginning.")] = None,
    precision: Annotated[str, typer.Option("--precision", help="bf16, fp32, or auto for what the processor is fast at.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON instead of tables.")] = False,
) -> None:
    """Evaluate MODEL on the gold labels of DATA: scores per label, calibration, and what its uncertainty is worth."""
    from erc.cli.evaluate_tables import report_tables
    from erc.inference.evaluate import evaluate as evaluate_model
    from erc.inference.evaluate_figures import write_figures
    from erc.inference.gold import load_gold
    from erc.inference.settings import InferenceSettings
    from erc.persistence import find_model, load_artefact
    from erc.persistence.layout import write_json

    settings = InferenceSettings(uncertainty=uncertainty, samples=samples, seed=seed, precision=precision)  # type: ignore[arg-type]
    artefact = load_artefact(find_model(model))
    gold = load_gold(data, model_set=artefact.info.emotion_set, split=split, root=root, emotions=emotions, limit=limit)
    with stderr.status(f"evaluating {artefact.info.identity} on {gold.name}"):
        evaluation = evaluate_model(artefact, gold, settings=settings, seed=seed)
        folder = output or Path("runs") / "evaluate" / f"{artefact.info.name}-{'-'.join(filter(None, (gold.name, gold.split)))}"
        figures = write_figures(evaluation, folder)
    report = evaluation.report | {"figures": [path.name for path in figures]}
    write_json(folder / "report.json", report)
    if json:
        typer.echo(jsonlib.dumps(report, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        for table in report_tables(report):
            stdout.print(table)
    for note in report["notes"]:
        stderr.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    stderr.print(f"report.json and {len(figures)} figures are in {folder}", markup=False, highlight=False, soft_wrap=True)
