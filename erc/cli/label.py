"""`erc label`: labels transcripts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from erc.cli.console import progress_bar, stderr, stdout, tell
from erc.cli.map_option import column_mapping
from erc.errors import ConfigError, InputError
from erc.models.mc_modes import UNCERTAINTY_HELP
from erc.resources import DEFAULT_MODEL
from erc.transcripts.formats import FORMATS, format_help, input_help, output_help

if TYPE_CHECKING:
    from erc.data import Conversation
    from erc.inference.predictor import Labelled, Predictor
    from erc.memory.predictor import RememberingPredictor
    from erc.transcripts import Problem

_PROBLEMS_TOLD = 20
# Turns of files held in memory to label conversations in start-time order; some hundred megabytes.
_TURNS_HELD = 50_000
_TABLE_TURNS = 400  # A longer table does not help at a terminal; the output file has everything.


def label(
    files: Annotated[
        list[str],
        typer.Argument(help=f"Transcripts: {input_help()}; `-` is standard input.", show_default=False),
    ],
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", help=f"A {output_help()} file; `-` is standard output."),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help=(
                "Name or folder of a model; see `erc models list`. A language model is llm:FOLDER or "
                "llm:ID; goemotions-minilm then gives the fine emotions and the data that --memory stores."
            ),
        ),
    ] = DEFAULT_MODEL,
    adapter: Annotated[
        Path | None,
        typer.Option("--adapter", help="Folder of a LoRA adapter to load on top of the language model."),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            help=(
                "Base URL (ending in /v1) of an OpenAI-compatible server that hosts the language model. "
                "Dialogues are sent to it, and with --memory also speakers' bios and earlier turns. Its API "
                "key, if any, is read from CONVEMO_SERVER_KEY."
            ),
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            help=(
                "Folder that caches the server's answers, so that repeated runs send nothing twice. It "
                "stores scores by a hash of the prompt, readable by you alone (0600); anyone who can read "
                "it and has the same dialogue can look up the answers."
            ),
        ),
    ] = None,
    second: Annotated[
        str | None,
        typer.Option(
            "--second", help="Language model (llm:...) that labels the turns --model marks for review."
        ),
    ] = None,
    emotions: Annotated[
        str | None, typer.Option("--emotions", help="Report in another set: goemotions, ekman or sentiment.")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            "--memory", envvar="CONVEMO_MEMORY", help="Speaker memory: a file or a postgresql:// URL."
        ),
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option("--tenant", help="Tenant to use, where one store holds several; else default."),
    ] = None,
    names: Annotated[
        Path | None, typer.Option("--names", help="YAML file of aliases: which written names are one person.")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option("--format", help=f"Input format instead of the detected one: {format_help()}."),
    ] = None,
    map: Annotated[
        list[str] | None,
        typer.Option("--map", help="Column of a table, as text=message or speaker=who; repeat."),
    ] = None,
    uncertainty: Annotated[
        str,
        typer.Option(
            "--uncertainty",
            help=UNCERTAINTY_HELP,
        ),
    ] = "default",
    samples: Annotated[int | None, typer.Option("--samples", help="Monte-Carlo samples per turn.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the Monte-Carlo samples.")] = 0,
    precision: Annotated[
        str,
        typer.Option(
            "--precision", help="bf16, fp32, auto (the faster on this machine); for an LLM also 4bit."
        ),
    ] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print JSON Lines instead of the table.")] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Stop at the first broken line instead of reporting and skipping it."),
    ] = False,
) -> None:
    """Label every turn of FILES with its emotion, its uncertainty and a review mark."""
    from erc.inference.scorers.settings import InferenceSettings

    mapping = column_mapping(map or [])
    _refuse_unused(memory, tenant, names, samples, uncertainty)
    settings = InferenceSettings(uncertainty=uncertainty, samples=samples, seed=seed, precision=precision)
    written = FORMATS[_check_output(files, output)]
    predictor = _predictor(
        model, second, settings=settings, emotions=emotions, adapter=adapter, server=server, cache=cache
    )
    for remark in predictor.remarks(memory=memory is not None):
        tell(remark)
    log = RunLog()
    if written.needs_times:
        _check_times(files, written.help, format=format, mapping=mapping)
    conversations = log.read(files, format=format, mapping=mapping, strict=strict, unique=memory is None)
    hold = 0 if "-" in files else _TURNS_HELD  # input from a pipe is labelled without delay
    with (
        closing(predictor),
        _remembering(predictor, memory, tenant, names, output=output, hold=hold) as labeller,
    ):
        _put(output, _progress(labeller, conversations), log, json=json)
    log.close()


def _predictor(model: str, second: str | None, **given: Any) -> Predictor:
    """The predictor of `model`, or its cascade with `second`.

    In a cascade, adapter, server and cache apply to `second`.
    """
    from erc.inference.loading import load_cascade, load_predictor

    return load_predictor(model, **given) if second is None else load_cascade(model, second, **given)


@contextmanager
def _remembering(
    predictor: Predictor,
    memory: str | None,
    tenant: str | None,
    names: Path | None,
    *,
    output: str | None,
    hold: int,
) -> Iterator[Predictor | RememberingPredictor]:
    """Yields the predictor, with a speaker memory around it if one is named."""
    if memory is None:
        yield predictor
        return
    from erc.memory.predictor import RememberingPredictor
    from speakers import NameMap, Registry

    def warn(message: str) -> None:
        tell(message)

    with Registry.open(memory, tenant=tenant or "default") as registry:
        if output not in (None, "-") and registry.owns(Path(str(output))):
            raise InputError(
                f"the output {output} is a file of the speaker memory itself: choose another name with -o"
            )
        yield RememberingPredictor(
            predictor, registry, names=None if names is None else NameMap.read(names), warn=warn, hold=hold
        )


class RunLog:
    """Messages about one run on standard error: input problems, and a summary."""

    def __init__(self) -> None:
        self.conversations = 0
        self.turns = 0
        self.review = 0
        self.truncated = 0
        self.problems = 0
        self.files_failed: list[str] = []

    def read(
        self, files: list[str], *, format: str | None, mapping: dict[str, str], strict: bool, unique: bool
    ) -> Iterator[Conversation]:
        """Yields every conversation; a file that cannot be read is reported and skipped.

        With `unique`, conversations of different files get different ids. A speaker memory compares contents
        instead, so it recognises a file whichever files are labelled with it.
        """
        from erc.transcripts import UniqueIds, iter_conversations

        ids = UniqueIds(files)
        for place, name in enumerate(files):
            try:
                source: Any = sys.stdin.buffer if name == "-" else Path(name)
                found = iter_conversations(
                    source,
                    format=format,
                    mapping=mapping,
                    strict=strict,
                    name="stdin" if name == "-" else None,
                    on_problem=self.problem,
                    on_note=self.note,
                )
                for conversation, note in (
                    ids.among(found, place) if unique else ((one, None) for one in found)
                ):
                    if note is not None:
                        self.note(note)
                    yield conversation
            except InputError as error:
                if strict or len(files) == 1:
                    raise
                self.files_failed.append(name)
                tell(f"skipped: {error}")

    def problem(self, problem: Problem) -> None:
        """Reports a broken line; after the first twenty, lines are only counted."""
        self.problems += 1
        if self.problems <= _PROBLEMS_TOLD:
            tell(str(problem))
        elif self.problems == _PROBLEMS_TOLD + 1:
            stderr.print("more problems follow and are only counted", highlight=False)

    def note(self, note: str) -> None:
        """Reports how the input was understood."""
        tell(note)

    def count(self, labelled: Labelled) -> None:
        """Adds a labelled conversation to the summary."""
        self.conversations += 1
        self.turns += len(labelled.predictions)
        self.review += sum(p.decision == "review" for p in labelled.predictions)
        self.truncated += sum(p.truncated for p in labelled.predictions)

    def close(self) -> None:
        """Prints the summary.

        Raises:
            InputError: A file could not be read.
        """
        line = f"{self.turns} turns of {self.conversations} conversations labelled, {self.review} for review"
        if self.problems:
            line += f", {self.problems} problems in the input"
        if self.truncated:
            line += f"; {self.truncated} turns were longer than the model reads and were cut"
        stderr.print(line, highlight=False)
        if self.files_failed:
            raise InputError(
                f"{len(self.files_failed)} files could not be read: {', '.join(self.files_failed)}"
            )


def _refuse_unused(
    memory: str | None, tenant: str | None, names: Path | None, samples: int | None, uncertainty: str
) -> None:
    """Raises ConfigError for an option without effect."""
    if memory is None and names is not None:
        raise ConfigError("--names maps names to the people of a speaker memory: give --memory too")
    if memory is None and tenant is not None:
        raise ConfigError("--tenant selects a part of a speaker memory: give --memory too")
    if samples is not None and uncertainty == "off":
        raise ConfigError(
            "--samples sets the number of dropout samples, but --uncertainty off draws none: leave one out"
        )


def _check_output(files: list[str], output: str | None) -> str:
    """The output format; raises InputError if it is unknown or an input would be overwritten."""
    from erc.transcripts import output_format

    for name in files:
        if output not in (None, "-") and name != "-" and Path(name).resolve() == Path(str(output)).resolve():
            raise InputError(f"the output would overwrite the input {name}: choose another name with -o")
    return output_format(output or "-")


def _check_times(files: list[str], output: str, **reading: Any) -> None:
    """Raises InputError for the first turn without a time, before any is labelled or recorded.

    The output format needs times. Pipes are not checked because they can be read only once. Unreadable files
    are reported when they are labelled.
    """
    from erc.transcripts import iter_conversations

    for name in files:
        if name == "-" or not Path(name).is_file():
            continue
        turns = (turn for conversation in iter_conversations(Path(name), **reading) for turn in conversation)
        try:
            untimed = next((turn for turn in turns if turn.start is None and not turn.meta.get("cues")), None)
        except InputError:
            continue
        if untimed is not None:
            line = untimed.meta["line"]
            raise InputError(
                f"this turn has no start, and {output} needs times: name a .jsonl or .csv file with -o",
                path=name,
                line=line,
            )


def _progress(
    predictor: Predictor | RememberingPredictor, conversations: Iterator[Conversation]
) -> Iterator[Labelled]:
    with progress_bar("labelling turns") as advance:
        for labelled in predictor.stream(conversations):
            advance(len(labelled.predictions))
            yield labelled


def _put(output: str | None, labelled: Iterator[Labelled], log: RunLog, *, json: bool) -> None:
    """Writes records to the output, or tables to a terminal."""
    sink = output if output is not None else ("-" if json or not stdout.is_terminal else None)
    if sink is None:
        _print_tables(labelled, log)
    else:
        _write(sink, labelled, log, table=sink != "-" and not json)


def _print_table(labelled: Labelled, turns: int) -> None:
    from erc.api.table import conversation_table

    stdout.print(conversation_table(labelled, turns=turns, width=stdout.width))


def _print_tables(stream: Iterator[Labelled], log: RunLog) -> None:
    shown = 0
    for labelled in stream:
        log.count(labelled)
        if shown < _TABLE_TURNS:
            _print_table(labelled, _TABLE_TURNS - shown)
        shown += len(labelled.predictions)
    if shown > _TABLE_TURNS:
        stderr.print(
            f"the table stops after {_TABLE_TURNS} turns; -o FILE writes all {shown}", highlight=False
        )


def _write(sink: str, stream: Iterator[Labelled], log: RunLog, *, table: bool) -> None:
    from erc.transcripts import open_writer

    shown = 0
    with open_writer(sink) as writer:
        for labelled in stream:
            log.count(labelled)
            for prediction in labelled.predictions:
                writer.write(prediction.to_record())
            if table and shown < _TABLE_TURNS:
                _print_table(labelled, _TABLE_TURNS - shown)
                shown += len(labelled.predictions)
    if sink != "-":
        stderr.print(f"written to {sink}", highlight=False)
