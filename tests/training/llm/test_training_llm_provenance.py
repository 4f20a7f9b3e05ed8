"""A finished run is not reused with a changed base model or changed training turns."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from erc.config import ExperimentConfig
from erc.data.conversation import Conversation, Utterance
from erc.data.corpora import Corpus
from erc.data.corpora.corpus import CorpusFile
from erc.errors import ConfigError
from erc.training.experiment import run_experiment
from erc.training.llm import experiment as llm_experiment
from erc.training.provenance import ORIGIN_FILE


def toy(split: str, digest: str = "1") -> Corpus:
    turns = tuple(
        Utterance(f"{split}{i}", i, "AB"[i % 2], "hm", emotions=(("joy", "sadness")[i % 2],))
        for i in range(4)
    )
    talks = tuple(Conversation(f"{split}{c}", turns, corpus="meld") for c in range(2))
    return Corpus("meld", split, talks, "meld", "toy", (), (CorpusFile(f"{split}.csv", digest),))


def test_finished_adapter_with_changed_weights_or_turns_is_refused(
    tiny_lm_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All stages are finished, so a resumed run would change only the record."""
    base = Path(shutil.copytree(tiny_lm_dir, tmp_path / "base"))
    splits = {"train": toy("train"), "dev": toy("dev")}
    monkeypatch.setattr(llm_experiment, "load_splits", lambda config: (splits["train"], splits["dev"]))
    llm = {"base": str(base), "precision": "fp32", "lora": {"r": 2}, "max_tokens": 900, "pack_tokens": None}
    optim = {"epochs": 1.0, "batch_size": 4, "ema_decay": None, "precision": "fp32"}
    config = ExperimentConfig(name="toy", task="llm", data={"corpus": "meld"}, llm=llm, optim=optim)  # type: ignore[arg-type]

    def trained() -> Path:
        return run_experiment(config, tmp_path / "run", progress=False)

    before = (trained() / "erc_llm.json").read_text(encoding="utf-8")
    assert (tmp_path / "run" / ORIGIN_FILE).is_file()
    splits["train"] = toy("train", "2")
    with pytest.raises(ConfigError, match=r"\(train\.csv\)"):
        trained()
    splits["train"] = toy("train")
    weights = load_file(base / "model.safetensors")
    save_file(
        {name: value * 1.001 for name, value in weights.items()},
        base / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(ConfigError, match=r"\(base model\)"):
        trained()
    assert (tmp_path / "run" / "toy" / "erc_llm.json").read_text(encoding="utf-8") == before
