"""The ingredient and EmoNet studies train a cell once, and again if its inputs change."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))


# EmoNet study


@pytest.fixture
def emonet(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, list[str]]:
    """The study module, and the memory encoder of each configuration that was trained."""
    import emonet_study

    names: list[str] = []

    def trained(config: Any, folder: Path, *, features: Path) -> dict[str, float]:
        names.append(config.emonet.memory_encoder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / emonet_study.PREDICTIONS).write_bytes(b"")
        return {"weighted_f1": 0.5}

    monkeypatch.setattr(emonet_study, "trained", trained)
    monkeypatch.setattr(
        emonet_study,
        "sources",
        lambda corpus, classifier: {"classifier": "1" * 64, "files": {"train.csv": "2" * 64}},
    )
    return emonet_study, names


def test_emonet_study_trains_a_cell_once(emonet: tuple[ModuleType, list[str]], tmp_path: Path) -> None:
    study, names = emonet
    for _ in range(2):
        for variant in ("shipped", "no memory"):
            study.train_cell(tmp_path, "meld", variant, 42)
    assert names == ["shared", "none"]


@pytest.mark.parametrize("changed", ["classifier", "files", "variant", "predictions", "record"])
def test_emonet_study_trains_again_if_an_input_changes(
    changed: str, emonet: tuple[ModuleType, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, names = emonet
    study.train_cell(tmp_path, "meld", "no memory", 42)
    folder = study._folder(tmp_path, "meld", "no memory", 42)
    if changed == "variant":
        monkeypatch.setitem(study.VARIANTS, "no memory", ("emonet.memory_encoder=none", "optim.epochs=1"))
    elif changed == "predictions":
        (folder / study.PREDICTIONS).unlink()
    elif changed == "record":  # without its inputs
        (folder / study.RECORD).write_text('{"weighted_f1": 0.5, "training_seconds": 1.0}', encoding="utf-8")
    else:
        made = {"classifier": "1" * 64, "files": {"train.csv": "2" * 64}, changed: "3" * 64}
        monkeypatch.setattr(study, "sources", lambda corpus, classifier: made)
    for _ in range(2):
        study.train_cell(tmp_path, "meld", "no memory", 42)
    assert len(names) == 2


# Ingredient study


@pytest.fixture
def ingredients(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, list[str]]:
    """The study module with small worlds, and the recipes that were trained."""
    import planted
    import prove_ingredients

    names: list[str] = []
    plant = planted.plant
    monkeypatch.setattr(
        planted, "plant", lambda ingredient, *, seed: plant(ingredient, seed=seed, sizes=(4, 4, 4))
    )
    monkeypatch.setattr(
        prove_ingredients, "proven", lambda out, world, recipe, seed: names.append(recipe) or {"planted": 1.0}
    )
    return prove_ingredients, names


def test_ingredient_study_trains_again_for_another_world_or_recipe(
    ingredients: tuple[ModuleType, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import planted
    import planted_models

    proofs, names = ingredients
    for _ in range(2):
        assert proofs.cell(tmp_path, "bio", "speaker-memory", 0)["planted"] == 1.0
    assert names == ["speaker-memory"]
    configured = planted_models.recipe_config
    monkeypatch.setattr(
        planted_models, "recipe_config", lambda *given, **settings: configured(*given, **settings, epochs=1.0)
    )
    proofs.cell(tmp_path, "bio", "speaker-memory", 0)
    assert len(names) == 2
    plant = planted.plant
    monkeypatch.setattr(planted, "plant", lambda ingredient, *, seed: plant(ingredient, seed=seed + 1))
    proofs.cell(tmp_path, "bio", "speaker-memory", 0)
    assert len(names) == 3


def test_unknown_ingredient_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import prove_ingredients

    monkeypatch.setattr(sys, "argv", ["prove_ingredients.py", "--out", "nowhere", "--only", "dialog"])
    with pytest.raises(SystemExit) as ended:
        prove_ingredients.main()
    assert ended.value.code == 2
    assert "'dialog'" in capsys.readouterr().err


def test_every_claimed_ingredient_is_an_option() -> None:
    import planted_models
    import prove_ingredients

    assert set(prove_ingredients.INGREDIENTS) == set(planted_models.CLAIMS)
