"""Networks of conversation models are built from their folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_emonet import save_tiny_emonet

from erc.errors import ArtefactError
from erc.models.emonet.network import EmoNet
from erc.models.encoder.encoder import load_encoder
from erc.persistence.artefact import load_artefact
from erc.persistence.networks import build_network


@pytest.mark.parametrize("memory", ["shared", "own", "none"])
def test_emonet_folder_gives_the_same_network_each_time(
    memory: str, tiny_utterance_artefact: Path, tmp_path: Path
) -> None:
    shared = load_artefact(tiny_utterance_artefact)
    first = load_artefact(save_tiny_emonet(tmp_path / "m", shared, context="hierarchical", memory=memory))  # type: ignore[arg-type]
    assert isinstance(first.network, EmoNet)
    assert not first.network.training
    assert (first.network.memory is None) == (memory == "none")
    second = load_artefact(save_tiny_emonet(tmp_path / "m", shared, context="hierarchical", memory=memory))  # type: ignore[arg-type]
    assert first.sha256 == second.sha256
    assert all(
        torch.equal(value, second.network.state_dict()[name])
        for name, value in first.network.state_dict().items()
    )


def test_emonet_with_an_own_memory_encoder_does_not_share_weights(
    tiny_utterance_artefact: Path, tmp_path: Path
) -> None:
    network = load_artefact(
        save_tiny_emonet(
            tmp_path / "m", load_artefact(tiny_utterance_artefact), context="window", memory="own"
        )
    ).network
    pointers = [value.data_ptr() for value in network.state_dict().values()]
    assert len(set(pointers)) == len(pointers)


def test_build_network_with_invalid_settings_names_the_cause(
    tiny_shelf: Path, tiny_encoder_dir: Path
) -> None:
    info = load_artefact(tiny_shelf / "tiny-window").info
    encoder = load_encoder(str(tiny_encoder_dir))
    with pytest.raises(ArtefactError, match="'tiny-window' is of kind 'other', known are: emonet, utterance"):
        build_network(encoder, replace(info, kind="other"))
    with pytest.raises(ArtefactError, match=r"does not fit kind 'emonet'.*depth"):
        build_network(encoder, replace(info, architecture={**info.architecture, "depth": 3}))


@pytest.mark.parametrize("changes", [{"context": "sideways"}, {"embedding_width": None}, {"bio": "linear"}])
def test_build_network_refuses_unbuildable_settings(
    changes: dict[str, object], tiny_shelf: Path, tiny_encoder_dir: Path
) -> None:
    info = load_artefact(tiny_shelf / "tiny-window").info
    with pytest.raises(ArtefactError, match="the architecture of 'tiny-window'"):
        build_network(
            load_encoder(str(tiny_encoder_dir)), replace(info, architecture={**info.architecture, **changes})
        )
