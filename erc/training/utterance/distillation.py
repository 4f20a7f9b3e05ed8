"""Distillation: trains teachers and adds their mean probabilities to the training examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.special import expit

from erc.config import DistillationConfig
from erc.models.utterance import UtteranceClassifier
from erc.training.loop.settings import OptimSettings
from erc.training.loop.trainer import train
from erc.training.utterance.task import LabelledText, UtteranceTask, predict_logits


def with_teachers(
    examples: Sequence[LabelledText],
    task: UtteranceTask,
    *,
    build: Callable[[int], UtteranceClassifier],
    settings: DistillationConfig,
    optim: OptimSettings,
    pad_id: int,
    run_dir: Path,
    resume: bool,
    progress: bool,
) -> list[LabelledText]:
    """The training examples with the mean probabilities of newly trained teachers.

    Teacher k is the network that `build` makes for the seed of `optim` plus k. It is trained on `task` in
    `run_dir / teacher-k` and keeps its best dev checkpoint. With `resume` a finished teacher is not trained
    again.

    Raises:
        ConfigError: If a teacher cannot be resumed.
    """
    texts = [example.input_ids for example in examples]
    total: np.ndarray | float = 0.0
    for number in range(1, settings.teachers + 1):
        own = dataclasses.replace(optim, seed=optim.seed + number, epochs=settings.teacher_epochs)
        teacher = build(own.seed)
        folder = run_dir / f"teacher-{number}"
        train(model=teacher, task=task, optim=own, run_dir=folder, resume=resume, progress=progress)
        logits = predict_logits(teacher, texts, pad_id=pad_id, precision=own.precision)
        total = total + expit(logits).astype(np.float64)
    mean = np.asarray(total / settings.teachers, dtype=np.float32)
    return [dataclasses.replace(example, soft=row) for example, row in zip(examples, mean, strict=True)]
