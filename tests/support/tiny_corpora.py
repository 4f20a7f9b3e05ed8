"""Writes small corpora in the file layouts of MELD, EmoryNLP and GoEmotions."""

from __future__ import annotations

import csv
import json
from itertools import cycle
from pathlib import Path

from erc.data.corpora.meld import COLUMNS

SAID = {
    "joy": "I am so happy to see you again, thank you!",
    "anger": "This is not what we agreed on and I am angry.",
    "neutral": "Okay, let us start with the report.",
}


def write_corpora(root: Path) -> Path:
    """Write train and dev splits of the three corpora under `root`."""
    for name in ("meld", "emorynlp", "goemotions"):
        (root / name).mkdir(parents=True)
    for split, count in (("train", 8), ("dev", 10)):
        _meld(root / "meld" / f"{split}_sent_emo.csv", count)
        short, season = ("trn", "s01") if split == "train" else ("dev", "s02")
        _emorynlp(root / "emorynlp" / f"emotion-detection-{short}.json", count, season=season)
        rows = [f"I am happy {i} and it hurts\t{i % 28}\tc{split}{i}" for i in range(56)]
        (root / "goemotions" / f"{split}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


def _meld(path: Path, dialogues: int) -> None:
    moods = cycle(SAID)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["Sr No.", *COLUMNS])
        writer.writeheader()
        for dialogue in range(dialogues):
            for turn in range(4):
                mood = next(moods)
                row = {
                    "Utterance": SAID[mood],
                    "Speaker": ("Ross", "Rachel")[turn % 2],
                    "Emotion": mood,
                    "Sentiment": "neutral",
                }
                place = {"Dialogue_ID": dialogue, "Utterance_ID": turn, "Season": 1, "Episode": 1 + dialogue}
                times = {"StartTime": f"00:00:0{turn},000", "EndTime": f"00:00:0{turn},900"}
                writer.writerow({"Sr No.": 1, **row, **place, **times})


def _emorynlp(path: Path, scenes: int, *, season: str) -> None:
    labels = dict(zip(SAID, ("Joyful", "Mad", "Neutral"), strict=True))
    moods = cycle(SAID)
    episodes = []
    for number in range(1, scenes + 1):
        name = f"{season}_e{number:02d}"
        turns = []
        for turn in range(1, 5):
            mood = next(moods)
            who = ("Ross Geller", "Rachel Green")[turn % 2]
            identifier = f"{name}_c01_u{turn:03d}"
            turns.append(
                {
                    "utterance_id": identifier,
                    "speakers": [who],
                    "transcript": SAID[mood],
                    "emotion": labels[mood],
                }
            )
        episodes.append({"episode_id": name, "scenes": [{"scene_id": f"{name}_c01", "utterances": turns}]})
    path.write_text(json.dumps({"season_id": season, "episodes": episodes}), encoding="utf-8")
