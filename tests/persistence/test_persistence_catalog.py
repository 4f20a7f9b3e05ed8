"""The catalog of models: resolving a name to a model folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from erc.errors import ArtefactError
from erc.persistence import catalog, find_model, list_models


@pytest.fixture
def places_of_models(
    tiny_utterance_artefact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Path]:
    """A shipped folder with `one`, a user folder with `one` and `two`, and an empty working folder."""
    places = {name: tmp_path / name for name in ("shipped", "user", "here")}
    for place in places.values():
        place.mkdir()
    for place, name in (("shipped", "one"), ("user", "one"), ("user", "two")):
        shutil.copytree(tiny_utterance_artefact, places[place] / name)
    (places["user"] / "not-a-model").mkdir()
    shutil.copytree(tiny_utterance_artefact, places["user"] / ".two-halfwritten")
    monkeypatch.setattr(catalog, "SHIPPED", places["shipped"])
    monkeypatch.setenv("CONVEMO_MODELS", str(places["user"]))
    monkeypatch.chdir(places["here"])
    return places


def test_catalog_lists_each_name_once_and_shipped_models_first(places_of_models: dict[str, Path]) -> None:
    assert [(entry.name, entry.shipped, entry.path) for entry in list_models()] == [
        ("one", True, places_of_models["shipped"] / "one"),
        ("two", False, places_of_models["user"] / "two"),
    ]


def test_catalog_prefers_a_shipped_model_to_a_user_model_of_the_same_name(
    places_of_models: dict[str, Path],
) -> None:
    assert find_model("one") == places_of_models["shipped"] / "one"
    assert find_model("two") == places_of_models["user"] / "two"


def test_catalog_resolves_a_path_to_itself(places_of_models: dict[str, Path]) -> None:
    assert find_model(str(places_of_models["user"] / "one")) == places_of_models["user"] / "one"


def test_catalog_finds_the_given_version_or_names_the_available_one(
    places_of_models: dict[str, Path],
) -> None:
    assert find_model("one@3") == places_of_models["shipped"] / "one"
    for wanted in ("one@2", "one@", "one@latest"):
        with pytest.raises(ArtefactError, match="version 3"):
            find_model(wanted)


@pytest.mark.parametrize(
    "name",
    ["three", "", "three@1", "../user/nothing", "x" * 5000, "a\0b", "~nobody-of-this-name/model"],
    ids=range(7),
)
def test_catalog_without_the_model_lists_the_known_models(
    places_of_models: dict[str, Path], name: str
) -> None:
    with pytest.raises(ArtefactError, match="known: one, two"):
        find_model(name)


def test_empty_catalog_reports_that_it_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "SHIPPED", tmp_path / "none")
    monkeypatch.setenv("CONVEMO_MODELS", str(tmp_path / "neither"))
    assert list_models() == ()
    with pytest.raises(ArtefactError, match="known: none"):
        find_model("goemotions-minilm")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"CONVEMO_MODELS": "/a", "XDG_DATA_HOME": "/b", "HOME": "/c"}, "/a"),
        ({"XDG_DATA_HOME": "/b", "HOME": "/c"}, "/b/convemo/models"),
        ({"HOME": "/c"}, "/c/.local/share/convemo/models"),
    ],
)
def test_user_catalog_folder_is_set_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str
) -> None:
    for name in ("CONVEMO_MODELS", "XDG_DATA_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert catalog.user_models() == Path(expected)


def test_catalog_resolves_default_unless_a_model_has_that_name(
    places_of_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "DEFAULT_MODEL", "two")
    assert find_model("default") == places_of_models["user"] / "two"
    assert find_model("default@3") == places_of_models["user"] / "two"
    shutil.copytree(places_of_models["user"] / "one", places_of_models["user"] / "default")
    assert find_model("default") == places_of_models["user"] / "default"
