"""A run can be resumed only with the inputs it was started with."""

from __future__ import annotations

from pathlib import Path

import pytest

from erc.errors import ConfigError
from erc.training.provenance import begin_from


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ({"train.csv": "2", "base model": "b"}, "train.csv"),
        ({"train.csv": "1", "base model": None}, "base model"),
        ({"train.csv": "1"}, "base model"),
        ({"train.csv": "2", "base model": "b", "prompts": "p"}, "prompts, train.csv"),
    ],
)
def test_resume_with_a_changed_input_is_refused_by_name(
    tmp_path: Path, now: dict[str, str | None], told: str
) -> None:
    run = tmp_path / "run"
    begin_from(run, {"train.csv": "1", "base model": "b"}, resume=True)
    with pytest.raises(ConfigError, match=rf"\({told}\).*--fresh"):
        begin_from(run, now, resume=True)
    begin_from(run, {"base model": "b", "train.csv": "1"}, resume=True)
    begin_from(run, now, resume=False)
    begin_from(run, now, resume=True)
