"""`erc train --dry-run`: prints the configuration and the estimates, and trains nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from erc.cli.app import app
from erc.config import load_config
from erc.errors import ArtefactError


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def dry(config: str, *overrides: str) -> Result:
    return CliRunner().invoke(app, ["train", config, *overrides, "--dry-run"])


def described(folder: Path, **fields: object) -> Path:
    """Make a model folder with a config.json and no weights."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    return folder


# Llama-3.2-1B as published: 1,235,814,400 parameters.
LLAMA = {
    "model_type": "llama", "vocab_size": 128256, "hidden_size": 2048, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "intermediate_size": 8192,
    "tie_word_embeddings": True,
}  # fmt: skip


def test_train_dry_run_estimates_memory_without_weights(place: Path) -> None:
    base = described(place / "llama", **LLAMA)
    result = dry("llm-llama-3.2-1b", f"llm.base={base}", "llm.precision=bf16", "llm.lora.r=16")
    assert result.exit_code == 0, result.output
    assert "1,235,814,400 parameters" in result.stderr
    # 16 layers of r (inputs + outputs): q and o 4096 each, k and v 2560 each, gate, up and down 10240 each.
    assert f"{16 * 16 * (2 * 4096 + 2 * 2560 + 3 * 10240):,} trained in the adapter" in result.stderr
    weights = next(line for line in result.stderr.splitlines() if "weights" in line)
    assert f"{2 * 1_235_814_400 / 2**30:.2f}" in weights
    assert [path.name for path in place.iterdir()] == ["llama"]


@pytest.mark.parametrize(("fast", "size"), [(True, 2), (False, 4)])
def test_train_dry_run_resolves_precision_auto_for_this_machine(
    place: Path, monkeypatch: pytest.MonkeyPatch, fast: bool, size: int
) -> None:
    monkeypatch.setattr("erc.models.encoder.precision.bf16_is_fast", lambda: fast)
    result = dry("llm-llama-3.2-1b", f"llm.base={described(place / 'llama', **LLAMA)}", "llm.precision=auto")
    weights = next(line for line in result.stderr.splitlines() if "weights" in line)
    assert f"{size * 1_235_814_400 / 2**30:.2f}" in weights


def test_train_dry_run_prints_a_configuration_that_loads(place: Path) -> None:
    base = described(place / "llama", **LLAMA)
    result = dry("llm-llama-3.2-1b", f"llm.base={base}", "optim.batch_size=4")
    (place / "again.yaml").write_text(result.stdout, encoding="utf-8")
    assert load_config(place / "again.yaml").optim.batch_size == 4


def test_train_dry_run_counts_the_parameters_of_an_encoder(place: Path, tiny_encoder_dir: Path) -> None:
    from transformers import AutoModel

    whole = AutoModel.from_pretrained(tiny_encoder_dir, add_pooling_layer=False)
    expected = sum(parameter.numel() for parameter in whole.parameters())
    result = dry("goemotions-minilm", f"backbone.name={tiny_encoder_dir}")
    assert f"{expected:,} parameters" in result.stderr.replace("\n", "")


def test_train_dry_run_of_a_missing_base_names_it() -> None:
    error = dry("llm-llama-3.2-1b", "llm.base=./absent").exception
    assert isinstance(error, ArtefactError)
    assert "./absent" in str(error)
