"""How far hostile words, names and bios of one speaker move the labels of the others, for a given language model.

    python scripts/injection_report.py --model FOLDER_OR_ID [--adapter FOLDER] [--conversations 8] [--turns
    12]

A stranger's turn is put before every turn of MELD dev dialogues, once with each hostile text and once with
neutral words of its length: what the hostile text flips beyond the neutral one is what its words did. The
same is done with the texts as the stranger's name, cut to what a prompt shows of one, and as the stranger's
bio, beside a harmless turn. Then the texts stand wherever others write (names, turns, bios, remembered turns
and labels), and it is checked that the scored label set does not grow and that no control token comes from
them. Leaves with 1 where that does not hold.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench_common import conversations, print_table

if TYPE_CHECKING:
    from injection import Place

    from erc.data import Conversation
    from erc.llm.prompts.builder import PromptBuilder
    from erc.llm.scoring.scores import LabelScorer


def main() -> int:
    """Parses arguments, prints the report; 1 where the label set grew or a text became a control token."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="folder or hub id of a language model")
    parser.add_argument("--adapter", type=Path, help="adapter folder over it")
    parser.add_argument("--emotions", default="meld", help="label set of a model without an adapter (meld)")
    parser.add_argument("--conversations", type=int, default=8, help="dialogues to measure with (8)")
    parser.add_argument("--turns", type=int, default=12, help="most turns of a dialogue (12)")
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
    model = predictor.scorer.model  # type: ignore[attr-defined]
    name, dialogues = conversations()
    dialogues = [
        replace(one, utterances=one.utterances[: given.turns]) for one in dialogues[: given.conversations]
    ]
    print(
        f"{model.name}, prompt {model.builder.prompt_id}, labels {', '.join(model.builder.labels)}; {len(dialogues)} dialogues of {name}"
    )
    flips(model.backend, model.builder, dialogues)
    return 0 if closed(model.backend, model.builder) else 1


def flips(scorer: LabelScorer, builder: PromptBuilder, dialogues: list[Conversation]) -> None:
    """Prints flips of other speakers' labels by hostile text, and in all, for each place in which it may stand."""
    from injection import PLACES

    for place in PLACES:
        flips_in(place, scorer, builder, dialogues)


def flips_in(
    place: Place, scorer: LabelScorer, builder: PromptBuilder, dialogues: list[Conversation]
) -> None:
    """Prints the flips of one place."""
    from injection import flips_by_text

    found = flips_by_text(scorer, builder, dialogues, place=place)
    turns, hostile, neutral = (
        sum(values) for values in zip(*((one.turns, one.hostile, one.neutral) for one in found), strict=True)
    )
    rows = [_row(_short(one.text), one.turns, one.hostile, one.neutral) for one in found]
    title = f"Labels of other speakers that change with a stranger's {place} (hostile, neutral: how many and which share; excess in points)"
    headers = [f"the stranger's {place}", "turns", "hostile", "neutral", "hostile", "neutral", "excess"]
    print_table(title, headers, [*rows, _row("all", turns, hostile, neutral)])
    if not hostile + neutral:
        print(
            f"No {place} of any kind moves this model's labels: it hardly reads the dialogue, and the rates say nothing of how it resists."
        )


def closed(scorer: LabelScorer, builder: PromptBuilder) -> bool:
    """Prints and returns whether the label set stays as it is and control tokens stay the template's, with each text everywhere."""
    from injection import HOSTILE_TEXTS, control_tokens, everywhere

    prompts = [everywhere(builder, text) for text in HOSTILE_TEXTS]
    scores = scorer.score(prompts, builder.labels)
    same = scores.labels == builder.labels and set(scores.best) <= set(builder.labels)
    own = control_tokens(builder, everywhere(builder, "a harmless sentence"))
    kept = sum(control_tokens(builder, prompt) == own for prompt in prompts)
    print(
        f"\nlabel set: {len(scores.labels)} labels scored of {len(builder.labels)} given; {'it' if same else 'NO: it'} stays the same"
    )
    print(f"control tokens: the template's own {len(own)} and no others in {kept} of {len(prompts)} prompts")
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
