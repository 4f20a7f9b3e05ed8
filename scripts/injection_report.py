"""Measures how far hostile turns, names and bios of one speaker change the labels of the others.

    python scripts/injection_report.py --model FOLDER_OR_ID [--adapter FOLDER] [--conversations 8]
        [--turns 12]

Inserts a stranger's turn before every turn of MELD dev dialogues: once with each hostile text, once with
neutral text of its length. Does the same with the texts as the stranger's name and bio, with a harmless
turn. Prints a table per place: labels changed by hostile text, by neutral text, and the excess.

Then puts each text in every place that others can write (names, turns, bios, past turns and labels), and
checks that the set of scored labels stays the same and that no control token comes from the text. Exits with
1 if that fails.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench_common import conversations, print_table, set_environment

if TYPE_CHECKING:
    from injection import Place

    from erc.data import Conversation
    from erc.llm.prompts.builder import PromptBuilder
    from erc.llm.scoring.scores import LabelScorer


def main() -> int:
    """Parse the options and print the report. Returns 1 if the label set or control tokens changed."""
    set_environment()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="folder or hub id of a language model")
    parser.add_argument("--adapter", type=Path, help="folder of its adapter")
    parser.add_argument(
        "--emotions", default="meld", help="label set of a model without an adapter (default: meld)"
    )
    parser.add_argument("--conversations", type=int, default=8, help="number of dialogues (default: 8)")
    parser.add_argument("--turns", type=int, default=12, help="most turns per dialogue (default: 12)")
    given = parser.parse_args()
    from erc.inference.loading import load_predictor
    from erc.inference.scorers.settings import InferenceSettings

    emotions = (
        given.emotions
        if given.adapter is None and not (Path(given.model) / "adapter_config.json").is_file()
        else None
    )
    predictor = load_predictor(
        f"llm:{given.model}",
        settings=InferenceSettings(uncertainty="off"),
        emotions=emotions,
        adapter=given.adapter,
    )
    model = predictor.scorer.model
    name, dialogues = conversations()
    dialogues = [
        replace(one, utterances=one.utterances[: given.turns]) for one in dialogues[: given.conversations]
    ]
    print(
        f"{model.name}, prompt {model.builder.prompt_id}, labels {', '.join(model.builder.labels)}; "
        f"{len(dialogues)} dialogues of {name}"
    )
    flips(model.backend, model.builder, dialogues)
    return 0 if closed(model.backend, model.builder) else 1


def flips(scorer: LabelScorer, builder: PromptBuilder, dialogues: list[Conversation]) -> None:
    """Print one table of changed labels for each place of the hostile text."""
    from injection import PLACES

    for place in PLACES:
        flips_in(place, scorer, builder, dialogues)


def flips_in(
    place: Place, scorer: LabelScorer, builder: PromptBuilder, dialogues: list[Conversation]
) -> None:
    """Print the changed labels for one place, per hostile text and in total."""
    from injection import flips_by_text

    found = flips_by_text(scorer, builder, dialogues, place=place)
    turns, hostile, neutral = (
        sum(values) for values in zip(*((one.turns, one.hostile, one.neutral) for one in found), strict=True)
    )
    rows = [_row(_short(one.text), one.turns, one.hostile, one.neutral) for one in found]
    title = (
        f"Labels of other speakers that change with a stranger's {place} "
        "(hostile and neutral: number and share; excess in percentage points)"
    )
    headers = [f"the stranger's {place}", "turns", "hostile", "neutral", "hostile", "neutral", "excess"]
    print_table(title, headers, [*rows, _row("all", turns, hostile, neutral)])
    if not hostile + neutral:
        print(
            f"No {place} changes this model's labels: it ignores the dialogue, "
            "so the rates do not show resistance to injection."
        )


def closed(scorer: LabelScorer, builder: PromptBuilder) -> bool:
    """Check that hostile text in every place adds no label and no control token. Prints and returns it."""
    from injection import HOSTILE_TEXTS, control_tokens, everywhere

    prompts = [everywhere(builder, text) for text in HOSTILE_TEXTS]
    scores = scorer.score(prompts, builder.labels)
    same = scores.labels == builder.labels and set(scores.best) <= set(builder.labels)
    own = control_tokens(builder, everywhere(builder, "a harmless sentence"))
    kept = sum(control_tokens(builder, prompt) == own for prompt in prompts)
    print(
        f"\nlabel set: {len(scores.labels)} labels scored, {len(builder.labels)} given; "
        f"{'unchanged' if same else 'CHANGED'}"
    )
    print(f"control tokens: only the template's {len(own)} in {kept} of {len(prompts)} prompts")
    return same and kept == len(prompts)


def _row(name: str, turns: int, hostile: int, neutral: int) -> list[str]:
    excess = 100 * (hostile - neutral) / turns
    return [
        name,
        str(turns),
        str(hostile),
        str(neutral),
        f"{hostile / turns:.1%}",
        f"{neutral / turns:.1%}",
        f"{excess:+.1f}",
    ]


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 48 else f"{flat[:47]}\u2026"


if __name__ == "__main__":
    sys.exit(main())
