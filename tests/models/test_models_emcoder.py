"""EmCoder: the published size, its dropouts and the encoder interface; learned dropout rates."""

from __future__ import annotations

import pytest
import torch
from conversation_parts import TINY_EMCODER

from erc.models.concrete import ConcreteDropout, learn_dropout
from erc.models.dropout import Draw, SeededDropout, drawn
from erc.models.emcoder import EmCoderEncoder, build_emcoder


def active_dropouts(model: torch.nn.Module) -> list[SeededDropout]:
    return [module for module in model.modules() if isinstance(module, SeededDropout) and module.p > 0]


def test_emcoder_has_the_published_size() -> None:
    with torch.device("meta"):
        model = build_emcoder()
    assert sum(parameter.numel() for parameter in model.parameters()) == 81_772_828
    assert len(active_dropouts(model)) == 13


@torch.no_grad()
def test_emcoder_ignores_padding_and_runs_in_parts() -> None:
    torch.manual_seed(0)
    encoder = EmCoderEncoder(TINY_EMCODER).eval()
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    padded = torch.cat([ids, torch.zeros(1, 3, dtype=torch.long)], dim=1)
    mask = (padded != 0).long()
    whole = encoder(input_ids=ids, attention_mask=torch.ones_like(ids))
    state = encoder.run(encoder.start(input_ids=padded, attention_mask=mask), last=1)
    torch.testing.assert_close(encoder.finish(encoder.run(state, first=1))[:, :5], whole, atol=1e-5, rtol=0)


@torch.no_grad()
def test_emcoder_rotation_depends_on_distances_only() -> None:
    torch.manual_seed(0)
    encoder = EmCoderEncoder(TINY_EMCODER).eval()
    ids = torch.tensor([[5, 6, 7]])
    mask = torch.ones_like(ids)
    near = encoder(input_ids=ids, attention_mask=mask)
    shifted = encoder(input_ids=ids, attention_mask=mask, position_ids=torch.tensor([[40, 41, 42]]))
    spread = encoder(input_ids=ids, attention_mask=mask, position_ids=torch.tensor([[0, 9, 27]]))
    torch.testing.assert_close(near, shifted, atol=1e-5, rtol=0)
    assert (near - spread).abs().max() > 1e-4


def test_emcoder_samples_like_every_classifier() -> None:
    torch.manual_seed(0)
    model = build_emcoder(TINY_EMCODER, emotions=4).eval()
    ids = torch.tensor([[5, 6, 7]])
    logits = model.mc_forward(ids, torch.ones_like(ids), n_samples=3, mode="full")
    assert logits.shape == (3, 1, 4)
    assert float(logits.std(dim=0).min()) > 0


def test_concrete_dropout_drops_at_its_rate_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    site = ConcreteDropout(0.3, site=1).train()
    out = site(torch.ones(400, 100)).detach()
    assert float((out < 0.5).float().mean()) == pytest.approx(0.3, abs=0.02)
    assert float(out.mean()) == pytest.approx(1.0, abs=0.02)
    assert torch.equal(site.eval()(torch.ones(2, 3)), torch.ones(2, 3))


def test_concrete_dropout_learns_its_rate() -> None:
    torch.manual_seed(0)
    site = ConcreteDropout(0.4, site=1).train()
    optimizer = torch.optim.Adam(site.parameters(), lr=0.1)
    for _ in range(60):  # noise only increases this loss, and there is no regulariser, so the rate falls
        optimizer.zero_grad()
        (site(torch.ones(64, 16)) - 1.0).square().mean().backward()
        optimizer.step()
    assert site.p < 0.1


def test_concrete_regulariser_equals_its_formula() -> None:
    site = ConcreteDropout(0.5, site=1)
    value = site.regulariser(
        features=10, weights=torch.full((2, 10), 2.0), weight_scale=0.25, dropout_scale=0.1
    )
    assert float(value.detach()) == pytest.approx(0.25 * 80 / 0.5 + 0.1 * 10 * -0.6931472, rel=1e-5)


def test_concrete_dropout_samples_hard_masks_by_seed() -> None:
    site = ConcreteDropout(0.5, site=1).eval()
    with drawn(Draw(seed=1, samples=(0, 1))):
        first, second = site(torch.ones(2, 64)), site(torch.ones(2, 64))
    assert torch.equal(first, second)
    torch.testing.assert_close(first.unique(), torch.tensor([0.0, 2.0]))
    assert not torch.equal(first[0], first[1])


def test_learn_dropout_replaces_only_active_dropouts() -> None:
    model = build_emcoder(TINY_EMCODER)
    sites = sorted(module.site for module in active_dropouts(model))
    made = learn_dropout(model)
    assert sorted(module.site for module in made) == sites
    assert [module.p for module in made] == pytest.approx([0.1] * len(made))
    assert type(model.head.input_dropout) is SeededDropout
