"""Artefact folders: round trips, and refusal of damaged, unknown or code-carrying ones."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_parts import build_classifier
from transformers import AutoTokenizer

from erc.emotions import load_emotion_set
from erc.errors import ArtefactError
from erc.models.utterance import UtteranceClassifier
from erc.persistence import Artefact, ArtefactInfo, artefact, layout, load_artefact, save_artefact
from erc.persistence.delta import DeltaKind
from erc.persistence.info import load_info
from erc.persistence.layout import LAYOUT, check_manifest, write_manifest

LABELS = load_emotion_set("goemotions").labels


@pytest.fixture
def copy(tiny_utterance_artefact: Path, tmp_path: Path) -> Path:
    """A model folder that a test may damage."""
    return Path(shutil.copytree(tiny_utterance_artefact, tmp_path / "model"))


def _save(
    folder: Path, base: Path, *, network: UtteranceClassifier, delta: DeltaKind = "int8", **changes: Any
) -> Path:
    info = ArtefactInfo(
        kind="utterance",
        name=folder.name,
        emotion_set="goemotions",
        labels=LABELS,
        base=str(base),
        architecture={"head_hidden": 24, "dropout": 0.2},
        delta=delta,
        data={"train.tsv": "00ff"},
        licences=("CC BY 4.0",),
    )
    parts: dict[str, Any] = {
        "calibrator": {"kind": "identity"},
        "thresholds": None,
        "policy": None,
        "metrics": {"f1": 0.5},
        "card": "# A card\n",
    }
    return save_artefact(
        folder, info=info, network=network, tokenizer=AutoTokenizer.from_pretrained(base), **(parts | changes)
    )


def _moved(base: Path) -> UtteranceClassifier:
    network = build_classifier(base)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.encoder.layers.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.02)
    return network


def _logits(network: torch.nn.Module) -> torch.Tensor:
    ids = torch.arange(5, 29).view(3, 8)
    with torch.no_grad():
        return network(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


def _reseal(folder: Path) -> None:
    """Rewrites the manifest, like an attacker who can change the whole folder."""
    write_manifest(folder)


# --- round trips


@pytest.mark.parametrize(("delta", "share"), [("none", 0.0), ("int8", 0.08), ("int4", 0.4)])
@pytest.mark.parametrize("fixture", ["tiny_encoder_dir", "tiny_roberta_dir", "tiny_modernbert_dir"])
def test_artefact_round_trip_restores_the_network(
    request: pytest.FixtureRequest, tmp_path: Path, fixture: str, delta: DeltaKind, share: float
) -> None:
    """The error is relative to the change by training; random changes are hardest to compress."""
    base: Path = request.getfixturevalue(fixture)
    network = _moved(base)
    loaded = load_artefact(_save(tmp_path / "m", base, network=network, delta=delta))
    assert not loaded.network.training
    lost = (_logits(loaded.network) - _logits(network)).abs().max()
    changed = (_logits(build_classifier(base)) - _logits(network)).abs().max()
    assert changed > 0.01
    assert lost <= share * changed
    text = "Why did nobody tell me?"
    assert loaded.tokenizer(text)["input_ids"] == AutoTokenizer.from_pretrained(base)(text)["input_ids"]


def test_artefact_with_whole_weights_needs_no_base_encoder(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_encoder_dir, tmp_path / "base"))
    network = _moved(base)
    folder = _save(tmp_path / "m", base, network=network, delta="none")
    shutil.rmtree(base)
    assert torch.equal(_logits(load_artefact(folder).network), _logits(network))


def test_artefact_round_trip_restores_every_description(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    network = build_classifier(tiny_encoder_dir)
    loaded = load_artefact(
        _save(
            tmp_path / "m", tiny_encoder_dir, network=network, thresholds={"t": 1}, policy={"ekman": {"p": 2}}
        )
    )
    assert loaded.info.identity == "m@1"
    assert loaded.info.labels == LABELS
    assert loaded.info.data == {"train.tsv": "00ff"}
    assert loaded.info.licences == ("CC BY 4.0",)
    assert (loaded.calibrator, loaded.thresholds, loaded.policy) == (
        {"kind": "identity"},
        {"t": 1},
        {"ekman": {"p": 2}},
    )
    assert loaded.metrics == {"f1": 0.5}
    assert load_info(loaded.folder) == loaded.info


def test_artefact_stores_only_changed_weights(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    network = build_classifier(tiny_encoder_dir)
    with torch.no_grad():
        network.encoder.layers[1].output.dense.weight.add_(0.01)
    stored = load_file(_save(tmp_path / "m", tiny_encoder_dir, network=network) / LAYOUT.weights)
    assert {name.partition("::")[0] for name in stored if name.startswith("encoder.")} == {
        "encoder.backbone.encoder.layer.1.output.dense.weight"
    }


def test_artefact_hash_changes_with_its_weights(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    network = build_classifier(tiny_encoder_dir)
    first, same = (
        load_artefact(_save(tmp_path / place / "m", tiny_encoder_dir, network=network)) for place in "ab"
    )
    other = load_artefact(_save(tmp_path / "c" / "m", tiny_encoder_dir, network=_moved(tiny_encoder_dir)))
    assert first.sha256 == same.sha256 != other.sha256


def test_artefact_with_non_finite_figures_is_refused(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        _save(
            tmp_path / "m",
            tiny_encoder_dir,
            network=build_classifier(tiny_encoder_dir),
            metrics={"f1": float("nan")},
        )
    assert list(tmp_path.iterdir()) == []


# --- atomic writes


@pytest.mark.parametrize("broken", ["write_manifest", "replace_folder", "encode"])
def test_artefact_crash_while_saving_keeps_the_old_folder(
    tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    network = build_classifier(tiny_encoder_dir)
    folder = _save(tmp_path / "m", tiny_encoder_dir, network=network)

    def fail(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(artefact, broken, fail)
    with pytest.raises(KeyboardInterrupt):
        _save(folder, tiny_encoder_dir, network=network, metrics={"f1": 0.9})
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert load_artefact(folder).metrics == {"f1": 0.5}


def test_artefact_crash_between_the_two_renames_restores_the_old_folder(
    tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build_classifier(tiny_encoder_dir)
    folder = _save(tmp_path / "m", tiny_encoder_dir, network=network)
    replace_file, calls = os.replace, []

    def second_fails(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise OSError("no space left")
        replace_file(source, target)

    monkeypatch.setattr(layout.os, "replace", second_fails)
    with pytest.raises(OSError, match="no space"):
        _save(folder, tiny_encoder_dir, network=network, metrics={"f1": 0.9})
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert load_artefact(folder).metrics == {"f1": 0.5}


def test_artefact_save_replaces_a_folder_after_an_earlier_kill(
    tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The earlier save was killed after the renames, before the removal of the old folder."""
    network = build_classifier(tiny_encoder_dir)
    folder = _save(tmp_path / "m", tiny_encoder_dir, network=network)
    with monkeypatch.context() as patched:
        patched.setattr(layout.shutil, "rmtree", lambda *args, **kwargs: None)
        _save(folder, tiny_encoder_dir, network=network, metrics={"f1": 0.6})
    assert len(list(tmp_path.iterdir())) == 2
    _save(folder, tiny_encoder_dir, network=network, metrics={"f1": 0.7})
    assert load_artefact(folder).metrics == {"f1": 0.7}
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_artefact_save_refuses_to_replace_a_folder_that_is_no_model(
    tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "precious.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ArtefactError, match="not a model folder"):
        _save(tmp_path / "letters", tiny_encoder_dir, network=build_classifier(tiny_encoder_dir))
    assert [path.name for path in tmp_path.rglob("*")] == ["letters", "precious.txt"]


def test_artefact_folder_has_default_permissions(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    folder = _save(tmp_path / "m", tiny_encoder_dir, network=build_classifier(tiny_encoder_dir))
    assert folder.stat().st_mode == (tmp_path / "other").stat().st_mode


# --- refusals


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "artefact.json", "tokenizer.json", "calibrator.json", "README.md"]
)
def test_artefact_with_one_flipped_bit_is_refused(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(bytes(content))
    with pytest.raises(ArtefactError, match=f"{name} has SHA-256"):
        load_artefact(copy)


@pytest.mark.parametrize("name", ["weights.safetensors", "thresholds.json", "MANIFEST.json"])
def test_artefact_with_a_missing_file_is_refused_by_its_name(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ArtefactError, match=f"{name} is missing"):
        load_artefact(copy)


@pytest.mark.parametrize("name", ["model.safetensors", "extra.py", "encoder/MANIFEST.json"])
def test_artefact_with_an_extra_file_is_refused(copy: Path, name: str) -> None:
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_text("{}", encoding="utf-8")
    with pytest.raises(ArtefactError, match=f"{name} is not in the manifest"):
        load_artefact(copy)


@pytest.mark.parametrize(
    "manifest",
    [
        "[]",
        '{"files": []}',
        '{"files": {"README.md": 3}}',
        '{"files": {"README.md": {}}}',
        "{",
        "null",
        "[" * 100_000,
    ],
    ids=["list", "no files", "no entry", "empty entry", "cut off", "null", "deep"],
)
def test_artefact_with_an_invalid_manifest_is_refused(copy: Path, manifest: str) -> None:
    (copy / "MANIFEST.json").write_text(manifest, encoding="utf-8")
    with pytest.raises(ArtefactError):
        check_manifest(copy)


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "model.safetensors", "pytorch_model.bin", "tokenizer.json"]
)
@pytest.mark.parametrize("resealed", [False, True])
def test_artefact_with_a_planted_pickle_runs_no_code(
    copy: Path, tmp_path: Path, name: str, resealed: bool
) -> None:
    canary = tmp_path / "canary"
    known = (copy / name).exists()
    (copy / name).write_bytes(pickle.dumps(_Touch(canary)))
    if resealed:
        _reseal(copy)
    if known or not resealed:
        with pytest.raises(ArtefactError):
            load_artefact(copy)
    else:
        load_artefact(copy)  # an unknown file listed in the manifest is not opened
    assert not canary.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 7, (2**63).to_bytes(8, "little") + b"{}", (40).to_bytes(8, "little") + b'{"w":{"dtype"'],
)
def test_artefact_with_a_damaged_weight_header_is_refused(copy: Path, content: bytes) -> None:
    (copy / "weights.safetensors").write_bytes(content)
    _reseal(copy)
    with pytest.raises(ArtefactError, match=r"weights\.safetensors"):
        load_artefact(copy)


def test_artefact_with_weights_of_another_network_is_refused(copy: Path) -> None:
    save_file({"head.output.weight": torch.zeros(2, 2)}, copy / "weights.safetensors")
    _reseal(copy)
    with pytest.raises(ArtefactError, match="does not fit the network"):
        load_artefact(copy)


def _edit(folder: Path, name: str, **changes: Any) -> None:
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    (folder / name).write_text(json.dumps(content | changes), encoding="utf-8")
    _reseal(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "format 2, this version of convemo reads format 1"),
        ({"format": None}, "format None"),
        ({"kind": "crystal-ball"}, "known are: .*utterance"),
        ({"architecture": {"storeys": 9}}, "storeys"),
        ({"surprise": 1}, "surprise"),
        ({"labels": None}, "does not describe a model"),
        ({"base": "nobody/has-this"}, "nobody/has-this"),
        ({"delta": "int2"}, "int2"),
    ],
)
def test_artefact_of_an_unsupported_version_or_kind_is_refused(
    copy: Path, changes: dict[str, Any], words: str
) -> None:
    _edit(copy, "artefact.json", **changes)
    with pytest.raises(ArtefactError, match=words):
        load_artefact(copy)


def test_artefact_description_that_is_no_mapping_is_refused(copy: Path) -> None:
    (copy / "artefact.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(ArtefactError, match=r"artefact\.json"):
        load_info(copy)


def test_artefact_whose_tokenizer_needs_remote_code_is_refused(copy: Path) -> None:
    _edit(copy, "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Tokenizer", None]})
    with pytest.raises(ArtefactError, match="auto_map"):
        load_artefact(copy)


@pytest.mark.parametrize("model_type", ["bert", "own-type"])
def test_artefact_whose_encoder_needs_remote_code_is_refused(
    tiny_encoder_dir: Path, tmp_path: Path, model_type: str
) -> None:
    folder = _save(tmp_path / "m", tiny_encoder_dir, network=build_classifier(tiny_encoder_dir), delta="none")
    (folder / "encoder" / "evil.py").write_text(
        f"open({str(tmp_path / 'canary')!r}, 'w')\n", encoding="utf-8"
    )
    content = json.loads((folder / "encoder" / "config.json").read_text(encoding="utf-8"))
    content |= {"model_type": model_type, "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"}}
    (folder / "encoder" / "config.json").write_text(json.dumps(content), encoding="utf-8")
    _reseal(folder)
    with pytest.raises(ArtefactError):
        load_artefact(folder)
    assert not (tmp_path / "canary").exists()


def test_artefact_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="is not a model folder"):
        load_artefact(tmp_path / "nowhere")


def test_artefact_info_is_frozen_and_holds_its_version(tiny_utterance_artefact: Path) -> None:
    info = load_artefact(tiny_utterance_artefact).info
    assert info.identity == "tiny-utterance@3"
    assert replace(info, version=4).identity == "tiny-utterance@4"
    assert isinstance(load_artefact(tiny_utterance_artefact), Artefact)
