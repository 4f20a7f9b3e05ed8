"""`erc evaluate`: evaluates a model on gold labels, as tables, figures and a JSON report."""

from __future__ import annotations

import json as jsonlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from erc.cli.console import stderr, stdout, tell
from erc.cli.map_option import column_mapping
from erc.errors import InputError, MissingExtraError
from erc.models.mc_modes import UNCERTAINTY_HELP
from erc.transcripts.formats import format_help

if TYPE_CHECKING:
    from erc.evaluation.evaluate import Evaluation


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help=(
                "Name or folder of a model, see `erc models list`; a language model is llm:FOLDER or llm:ID."
            ),
            show_default=False,
        ),
    ],
    data: Annotated[
        str,
        typer.Argument(
            help="A corpus by name, a corpus file, or a transcript with a column of emotions.",
            show_default=False,
        ),
    ],
    split: Annotated[str, typer.Option("--split", help="Split of a corpus given by name or folder.")] = "dev",
    root: Annotated[
        Path | None,
        typer.Option("--root", help="The data folder. Default: CONVEMO_DATA, else the user's data folder."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder of the report; default runs/evaluate/MODEL-DATA."),
    ] = None,
    emotions: Annotated[
        str | None, typer.Option("--emotions", help="The set a transcript's labels are spelled in.")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option("--format", help=f"Format of a transcript: {format_help()}."),
    ] = None,
    map: Annotated[
        list[str] | None,
        typer.Option("--map", help="Column of a transcript, as text=message or emotion=label; repeat."),
    ] = None,
    uncertainty: Annotated[
        str,
        typer.Option(
            "--uncertainty",
            help=UNCERTAINTY_HELP,
        ),
    ] = "default",
    samples: Annotated[int | None, typer.Option("--samples", help="Monte-Carlo samples per turn.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of samples, folds and resamples.")] = 0,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Evaluate only about the first N turns.")
    ] = None,
    precision: Annotated[
        str, typer.Option("--precision", help="bf16, fp32, or auto for the faster on this processor.")
    ] = "auto",
    adapter: Annotated[
        Path | None,
        typer.Option("--adapter", help="Folder of a LoRA adapter to load on top of the language model."),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            help=(
                "Base URL of an OpenAI-compatible server that hosts the language model; it receives the full "
                "prompts."
            ),
        ),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="Folder that caches the server's answers.")
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(
            "--inputs",
            help=(
                "Folder of speaker memories and written bios, as runs/inputs of a training; default: the "
                "user's cache."
            ),
        ),
    ] = None,
    writer_server: Annotated[
        str | None,
        typer.Option(
            "--writer-server",
            help=(
                "Base URL of a server whose model writes the bios in prompts, as `erc train --server`; it "
                "receives people's words."
            ),
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON instead of tables.")] = False,
) -> None:
    """Evaluate MODEL on the gold labels of DATA: scores per label, calibration, quality of uncertainty."""
    from erc.cli.evaluate_tables import report_tables
    from erc.evaluation.evaluate import evaluate as evaluate_model
    from erc.evaluation.find import find_candidate, report_name
    from erc.evaluation.labelled_data import load_gold
    from erc.inference.scorers.settings import InferenceSettings

    reading: dict[str, Any] = {
        "split": split,
        "root": root,
        "emotions": emotions,
        "limit": limit,
        "format": format,
    }
    reading["mapping"] = column_mapping(map or [])
    settings = InferenceSettings(uncertainty=uncertainty, samples=samples, seed=seed, precision=precision)
    if output is not None:
        _check_folder(output)
    candidate = find_candidate(
        model, inputs=inputs, adapter=adapter, server=server, cache=cache, writer_server=writer_server
    )
    name = report_name(model, candidate, adapter=adapter)
    gold = load_gold(data, model_set=candidate.emotion_set, **reading)
    folder = output or Path("runs") / "evaluate" / f"{name}-{'-'.join(filter(None, (gold.name, gold.split)))}"
    _check_folder(folder)
    with stderr.status(f"evaluating {candidate.identity} on {gold.name}"):
        evaluation = evaluate_model(candidate, gold, settings=settings, seed=seed)
        report, undrawn = _written(evaluation, folder)
    if json:
        typer.echo(jsonlib.dumps(report, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        for table in report_tables(report):
            stdout.print(table)
    for note in (*report["notes"], *undrawn):
        tell(f"note: {note}")
    tell(f"report.json and {len(report['figures'])} figures are in {folder}")


def _check_folder(folder: Path) -> None:
    """Raises InputError before the work if no report could be written."""
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists() or one.is_symlink())
    if not there.is_dir():
        raise InputError(
            "is not a folder, so no report can be written there: name another one with -o", path=there
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError("you may not write into this folder: name another one with -o", path=there)


def _written(evaluation: Evaluation, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Writes report and figures. Returns the paths, and a note if figures could not be drawn."""
    from erc.evaluation.figures import write_figures
    from erc.persistence.layout import write_json

    folder.mkdir(parents=True, exist_ok=True)
    report, undrawn = evaluation.report | {"figures": []}, []
    write_json(folder / "report.json", report)
    try:
        report["figures"] = [path.name for path in write_figures(evaluation, folder)]
    except MissingExtraError as error:
        undrawn.append(f"no figures were drawn: {error}")
    else:
        write_json(folder / "report.json", report)
    return report, undrawn
