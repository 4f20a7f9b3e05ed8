"""A conversation model finds its utterance classifier without the catalog."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_emonet import save_tiny_emonet

from erc.errors import ArtefactError
from erc.persistence.artefact import Artefact, load_artefact, save_artefact
from erc.persistence.loading import classifier_reference, load_shared


def _apart(tmp_path: Path, classifier: Path) -> tuple[Artefact, Artefact, Path]:
    """A copy of the classifier, and a conversation model in an unrelated folder, as training saves it."""
    home = tmp_path / "classifiers" / classifier.name
    shutil.copytree(classifier, home)
    shared, folder = load_artefact(home), tmp_path / "runs" / "one" / "model"
    save_tiny_emonet(folder, shared, context="hierarchical", reads=classifier_reference(shared, folder))
    return shared, load_artefact(folder), folder


def test_load_shared_finds_the_classifier_at_the_recorded_path(
    tmp_path: Path, tiny_utterance_artefact: Path
) -> None:
    shared, model, _ = _apart(tmp_path, tiny_utterance_artefact)
    assert load_shared(model).folder == shared.folder


def test_load_shared_finds_the_classifier_after_both_folders_moved(
    tmp_path: Path, tiny_utterance_artefact: Path
) -> None:
    _apart(tmp_path / "old", tiny_utterance_artefact)
    (tmp_path / "old").rename(tmp_path / "new")
    found = load_shared(load_artefact(tmp_path / "new" / "runs" / "one" / "model"))
    assert found.folder == tmp_path / "new" / "classifiers" / "tiny-utterance"


def test_load_shared_finds_the_classifier_after_the_model_moved(
    tmp_path: Path, tiny_utterance_artefact: Path
) -> None:
    shared, _, folder = _apart(tmp_path, tiny_utterance_artefact)
    (tmp_path / "elsewhere" / "deeper").mkdir(parents=True)
    moved = folder.rename(tmp_path / "elsewhere" / "deeper" / "model")
    assert load_shared(load_artefact(moved)).folder == shared.folder


def test_load_shared_skips_another_classifier_of_the_same_name_beside_the_model(
    tmp_path: Path, tiny_utterance_artefact: Path
) -> None:
    shared, model, folder = _apart(tmp_path, tiny_utterance_artefact)
    other = replace(shared.info, max_tokens=7)
    save_artefact(
        folder.parent / "tiny-utterance",
        info=other,
        network=shared.network,
        tokenizer=shared.tokenizer,
        calibrator=shared.calibrator,
        thresholds=shared.thresholds,
        policy=shared.policy,
        metrics=shared.metrics,
        card="# other\n",
    )
    assert load_shared(model).folder == shared.folder


def test_load_shared_without_a_classifier_lists_every_path_tried(
    tmp_path: Path, tiny_utterance_artefact: Path
) -> None:
    shared, model, folder = _apart(tmp_path, tiny_utterance_artefact)
    shared.folder.rename(tmp_path / "hidden")
    with pytest.raises(ArtefactError, match="was trained with the classifier 'tiny-utterance'") as raised:
        load_shared(model)
    for place in (folder.parent / "tiny-utterance", shared.folder):
        assert f"{place}: no model there" in str(raised.value)
    assert shared.sha256[:12] in str(raised.value)


def test_classifier_reference_records_no_path_of_a_classifier_beside_the_model(
    tiny_utterance_artefact: Path,
) -> None:
    shared = load_artefact(tiny_utterance_artefact)
    found = classifier_reference(shared, tiny_utterance_artefact.parent / "model")
    assert found == {"utterance_model": "tiny-utterance", "utterance_sha256": shared.sha256}
