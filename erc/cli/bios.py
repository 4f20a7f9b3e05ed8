"""`erc bios`: descriptions of the people in a speaker memory."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from erc.cli.console import progress_bar, stdout, tell
from erc.errors import ConfigError

app = typer.Typer(
    name="bios", help="Have a language model describe the people of a speaker memory.", no_args_is_help=True
)


@app.callback()
def root() -> None:
    """Makes `write` a subcommand."""


@app.command()
def write(
    model: Annotated[
        str, typer.Option("--model", help="Language model that writes, as llm:FOLDER or llm:ID.")
    ],
    memory: Annotated[
        str,
        typer.Option(
            "--memory", envvar="CONVEMO_MEMORY", help="The speaker memory: a file or a postgresql:// URL."
        ),
    ],
    speaker: Annotated[
        list[str] | None,
        typer.Argument(metavar="SPEAKER", help="Names or ids. Default: all speakers.", show_default=False),
    ] = None,
    adapter: Annotated[
        Path | None, typer.Option("--adapter", help="Folder of a LoRA adapter to load on top of the model.")
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            "--server", help="Base URL (ending in /v1) of an OpenAI-compatible server that hosts it."
        ),
    ] = None,
    tenant: Annotated[
        str, typer.Option("--tenant", help="Tenant to use, where one store holds several.")
    ] = "default",
    max_words: Annotated[
        int, typer.Option("--max-words", min=10, max=400, help="Word limit given to the model.")
    ] = 80,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0.0, help="0 takes the most probable words.")
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", help="Seed where the temperature is above 0.")] = 0,
    precision: Annotated[str, typer.Option("--precision", help="bf16, fp32, 4bit, or auto.")] = "auto",
) -> None:
    """Write the next version of each bio from the speaker memory; earlier versions are kept."""
    from erc.inference.loading import load_model
    from erc.inference.scorers.settings import InferenceSettings
    from erc.inference.scorers.utterance import UtteranceScorer
    from erc.llm.backends.generate import GenerationSettings
    from erc.llm.generation.writer import open_text_writer
    from erc.llm.prompts.budget import Budget
    from erc.llm.prompts.template import PromptTemplate
    from erc.memory.bio_writer import LlmBios, write_bios
    from erc.memory.bios import NothingWrittenError
    from erc.resources import SHARED_MODEL
    from speakers import Options, Registry

    if not model.startswith("llm:") or model == "llm:":
        raise ConfigError(f"--model {model}: bios are written by a language model, as llm:FOLDER or llm:ID")
    if adapter is not None and server is not None:
        raise ConfigError(
            "--adapter is for a local model: for a server, give the name of the adapter with --model"
        )
    settings = GenerationSettings(max_new_tokens=3 * max_words, temperature=temperature, seed=seed)
    with Registry.open(memory, tenant=tenant, options=Options(create=False)) as registry:
        people = None if not speaker else [registry.find(name) for name in speaker]
        writer = open_text_writer(
            model.removeprefix("llm:"),
            adapter=adapter,
            precision=precision,  # type: ignore[arg-type]
            server=server,
        )
        bios = LlmBios(
            writer, PromptTemplate.load("speaker_bio"), settings, Budget(max_tokens=2048), max_words=max_words
        )
        scorer = UtteranceScorer(load_model(SHARED_MODEL), settings=InferenceSettings(uncertainty="off"))
        asked, written, unwritten = 0, 0, 0
        with closing(writer), progress_bar("writing bios") as advance:
            for person, bio in write_bios(registry, bios, classifier=scorer, speakers=people):
                advance(1)
                asked += 1
                if isinstance(bio, NothingWrittenError):
                    unwritten += 1
                    tell(f"{person.name or person.speaker_id}: {bio}")
                elif bio is not None:
                    written += 1
                    name = person.name or person.speaker_id
                    line = f"{name}: version {bio.version}, from {bio.utterances} utterances"
                    stdout.print(line, markup=False, highlight=False, soft_wrap=True)
    tell(f"{written} bios written by {bios.name}")
    if unwritten:
        raise NothingWrittenError(
            f"nothing was written about {unwritten} of {asked} people: their bios are unchanged; run the "
            "command again to retry"
        )
