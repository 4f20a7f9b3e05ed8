"""Draws docs/demo.svg: what `erc label` prints for two of the examples.

python scripts/demo_picture.py
"""

from __future__ import annotations

import io
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from pathlib import Path

from rich.console import Console

from erc.api.table import conversation_table
from erc.inference.loading import load_predictor
from erc.transcripts import read_transcript

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Labels the examples and writes the picture."""
    predictor = load_predictor()
    console = Console(record=True, width=132, file=io.StringIO())
    console.print("[bold]$ erc label examples/standup.txt examples/dinner.vtt[/bold]")
    for name in ("standup.txt", "dinner.vtt"):
        for labelled in predictor.label(read_transcript(ROOT / "examples" / name).conversations):
            console.print(conversation_table(labelled, turns=14))
    console.save_svg(str(ROOT / "docs" / "demo.svg"), title="erc label")


if __name__ == "__main__":
    main()
