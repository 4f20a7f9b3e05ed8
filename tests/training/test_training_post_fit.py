"""Choices made on dev: the sampling mode, the decision policy and the compressed weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from erc.models.mc_modes import SAMPLED_MODES, McMode
from erc.training.post_fit import choose_mode, compress_in_place, fit_policy

LOSSES = np.array([0.0, 0.0, 0.0, 1.0])
RIGHT = np.array(
    [0.1, 0.2, 0.3, 0.4]
)  # the wrong turn is the least certain: risks 0, 0, 0, 1/4, so AURC 1/16
WRONG = np.array([0.4, 0.3, 0.2, 0.1])  # the wrong turn is the most certain: risks 1, 1/2, 1/3, 1/4


@pytest.mark.parametrize(
    ("head", "top_k", "full", "expected"),
    [
        (RIGHT, RIGHT, RIGHT, "head"),
        (WRONG, RIGHT, RIGHT, "top-k"),
        (WRONG, WRONG, RIGHT, "full"),
        (WRONG, WRONG, WRONG, "head"),
        (RIGHT, WRONG, WRONG, "head"),
    ],
)
def test_choose_mode_takes_the_cheapest_mode_as_good_as_full_sampling(
    head: np.ndarray, top_k: np.ndarray, full: np.ndarray, expected: McMode
) -> None:
    given = dict(zip(SAMPLED_MODES, (head, top_k, full), strict=True))
    choice = choose_mode(lambda mode: given[mode], LOSSES, samples=7)
    assert choice.mode == expected
    assert [figures.mode for figures in choice.figures] == list(SAMPLED_MODES)
    assert {figures.samples for figures in choice.figures} == {7}


@pytest.mark.parametrize(("place", "expected"), [(899, "head"), (897, "full")])
def test_choose_mode_accepts_an_aurc_up_to_two_percent_worse(place: int, expected: McMode) -> None:
    """One wrong turn among 1,000, at rank p by certainty: AURC is (1/p + ... + 1/1000) / 1000.

    At rank 900 the sum is 0.1065. One rank earlier adds 1.0%, three ranks earlier add 3.1%.
    """
    losses = np.zeros(1000)
    losses[0] = 1.0

    def entropy(mode: McMode) -> np.ndarray:
        order = np.insert(np.arange(1, 1000), (900 if mode == "full" else place) - 1, 0)
        values = np.empty(1000)
        values[order] = np.arange(1000)
        return values

    choice = choose_mode(entropy, losses, samples=1)
    assert choice.figures[-1].aurc == pytest.approx(sum(1 / k for k in range(900, 1001)) / 1000)
    assert choice.mode == expected


def dev(error: float, *, rows: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Turns whose most certain 60% are wrong at rate `error`; the other turns are always wrong."""
    rng = np.random.default_rng(3)
    confidence = np.sort(rng.uniform(size=rows))[::-1]
    wrong = np.ones(rows)
    wrong[: int(rows * 0.6)] = rng.uniform(size=int(rows * 0.6)) < error
    return confidence, wrong


@pytest.mark.parametrize(("error", "risk"), [(0.05, 0.15), (0.22, 0.25), (0.37, 0.4)])
def test_fit_policy_takes_the_lowest_risk_level_that_accepts_half(error: float, risk: float) -> None:
    confidence, wrong = dev(error)
    policy = fit_policy(confidence, wrong)
    assert policy.fitted is not None
    assert (policy.fitted.target, policy.fitted.level) == ("risk", risk)
    accepted = policy.accepts(confidence)
    assert accepted.mean() >= 0.5
    assert wrong[accepted].mean() <= risk


def test_fit_policy_without_a_reachable_risk_accepts_the_more_certain_half() -> None:
    confidence = np.linspace(0.0, 1.0, 100)
    policy = fit_policy(confidence, np.ones(100))
    assert policy.fitted is not None
    assert policy.fitted.target == "coverage"
    assert (policy.accepts(confidence) == (confidence >= np.median(confidence))).all()


def test_fit_policy_of_fewer_dialogues_bounds_a_higher_risk() -> None:
    confidence, wrong = dev(0.17)
    groups = np.arange(len(wrong)) % 12
    alone, grouped = fit_policy(confidence, wrong), fit_policy(confidence, wrong, groups=groups)
    assert alone.fitted is not None
    assert grouped.fitted is not None
    assert alone.fitted.target == "risk"
    assert grouped.fitted.target == "coverage" or grouped.fitted.level >= alone.fitted.level


@pytest.mark.parametrize(("kind", "most"), [("int8", 0.01), ("int4", 0.15)])
def test_compress_in_place_sets_the_weights_the_artefact_restores(kind: str, most: float) -> None:
    from erc.persistence.delta import decode, encode

    torch.manual_seed(0)
    network = nn.Linear(64, 64)
    trained = {name: value.clone() for name, value in network.state_dict().items()}
    base = {"weight": trained["weight"] + 0.1 * torch.randn(64, 64)}
    stored = compress_in_place(network, base, kind)  # type: ignore[arg-type]
    again = decode(encode(dict(network.state_dict()), base, kind), base)  # type: ignore[arg-type]
    assert 0 < float((network.weight.detach() - trained["weight"]).abs().max()) < most
    assert stored < sum(value.numel() * 4 for value in trained.values())
    torch.testing.assert_close(again["weight"], network.weight.detach(), atol=1e-3, rtol=0)


def test_compress_in_place_of_kind_none_changes_nothing() -> None:
    network = nn.Linear(8, 8)
    trained = network.weight.detach().clone()
    assert compress_in_place(network, {}, "none") == 4 * (64 + 8)
    assert torch.equal(network.weight, trained)
