"""`erc.evaluate`: evaluates a model on labelled data, like the command `erc evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from erc.inference.scorers.settings import InferenceSettings

if TYPE_CHECKING:
    from erc.evaluation.evaluate import Evaluation


def evaluate(
    model: str,
    data: str | Path,
    *,
    split: str = "dev",
    root: str | Path | None = None,
    emotions: str | None = None,
    columns: Mapping[str, str] | None = None,
    format: str | None = None,
    limit: int | None = None,
    uncertainty: str = "default",
    samples: int | None = None,
    seed: int = 0,
    precision: str = "auto",
    adapter: str | Path | None = None,
    server: str | None = None,
    cache: str | Path | None = None,
) -> Evaluation:
    """Scores a model on labelled data. The figures are in the `report` of the result, as plain values.

    Args:
        model: Name or folder of a model, or a language model as `llm:FOLDER_OR_ID`.
        data: A corpus by name, a corpus file, or a transcript with a column of emotions.
        split: Split of a corpus given by name or folder.
        root: Folder of the corpora; None takes `CONVEMO_DATA`.
        emotions: Emotion set of a transcript's labels; None finds the smallest set with all of them.
        columns: Field to column of a transcript, as `{"emotion": "label"}`.
        format: Format of a transcript; None detects it.
        limit: Evaluate only about this many turns, from the start.
        uncertainty: As in `erc.load`.
        samples: As in `erc.load`.
        seed: Seed of samples, folds and resamples.
        precision: As in `erc.load`.
        adapter: As in `erc.load`.
        server: As in `erc.load`.
        cache: As in `erc.load`.

    Raises:
        ArtefactError: When the model cannot be found or evaluated.
        ConfigError: When an option does not fit the model, or no map leads to the data's emotion set.
        InputError: When the data is missing, holds unknown labels, or has too few labelled turns.
    """
    from erc.evaluation.evaluate import evaluate as evaluate_candidate
    from erc.evaluation.find import find_candidate
    from erc.evaluation.labelled_data import load_gold

    settings = InferenceSettings(uncertainty=uncertainty, samples=samples, seed=seed, precision=precision)
    candidate = find_candidate(model, adapter=_path(adapter), server=server, cache=_path(cache))
    gold = load_gold(
        str(data),
        model_set=candidate.emotion_set,
        split=split,
        root=_path(root),
        emotions=emotions,
        limit=limit,
        format=format,
        mapping=columns,
    )
    return evaluate_candidate(candidate, gold, settings=settings, seed=seed)


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)
