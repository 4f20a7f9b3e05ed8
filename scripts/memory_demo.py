"""Labels the same lines for two speakers with different pasts, using a speaker memory.

    python scripts/memory_demo.py

Prints the Markdown table of docs/benchmarks.md: the three likeliest emotions of each line, without a
memory and for each speaker.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import tempfile
from pathlib import Path

from erc.data import Conversation, Utterance
from erc.inference.loading import load_predictor
from erc.memory.predictor import RememberingPredictor
from speakers import Registry

PASTS = {
    "Ana": [
        "I can't do this any more, I cried the whole night.",
        "Nobody came. I sat there alone with the cake.",
        "It hurts every single time I think about him.",
        "I'm so sorry, I let all of you down.",
        "I miss her so much, the house is empty.",
        "Everything I try falls apart.",
    ],
    "Ben": [
        "We won! I still can't believe it, we actually won!",
        "This is the best week of my life.",
        "Ha, you should have seen her face, it was hilarious!",
        "I love this team, honestly.",
        "Guess who got the job! Drinks are on me!",
        "What a beautiful morning, let's go for a swim!",
    ],
}
LINES = ("Well, that was something.", "I don't know what to say.", "So this is it, then.")


def conversation_of(name: str, speaker: str, texts: list[str] | tuple[str, ...]) -> Conversation:
    """Return a conversation with one speaker."""
    turns = tuple(
        Utterance(utterance_id=f"{name}-{i:04d}", index=i, speaker=speaker, text=text)
        for i, text in enumerate(texts)
    )
    return Conversation(conversation_id=name, utterances=turns)


def main() -> None:
    """Label the lines without a memory, then for each speaker after their past conversations."""
    predictor = load_predictor()
    plain = [
        predictor.label([conversation_of("alone", "Someone", (line,))])[0].predictions[0] for line in LINES
    ]
    with tempfile.TemporaryDirectory() as folder, Registry.open(Path(folder) / "speakers.db") as registry:
        remembering = RememberingPredictor(predictor, registry)
        for speaker, past in PASTS.items():
            for part in range(0, len(past), 2):
                day = conversation_of(f"{speaker}-day{part // 2}", speaker, past[part : part + 2])
                remembering.label(day)
        print(f"| line | without memory | {' | '.join(f'said by {name}' for name in PASTS)} |")
        print("| --- | --- |" + " --- |" * len(PASTS))
        for number, line in enumerate(LINES):
            cells = [_top(plain[number].probabilities)]
            for speaker in PASTS:
                asked = conversation_of(f"{speaker}-line{number}", speaker, (line,))
                found = remembering.label(asked).predictions[0]
                cells.append(f"{_top(found.probabilities)} (knows {found.past_utterances} turns)")
            print(f"| {line} | {' | '.join(cells)} |")


def _top(probabilities: dict[str, float]) -> str:
    return ", ".join(f"{label} {p:.0%}" for label, p in list(probabilities.items())[:3])


if __name__ == "__main__":
    main()
