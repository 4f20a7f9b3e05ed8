"""Seeded dropout: masks depend on seed, sample, site, position and feature only."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from erc.errors import NoDropoutError
from erc.models.dropout import Draw, SeededDropout, active_draw, drawn, require_dropout


def _draw(
    x: torch.Tensor, *, seed: int = 0, samples: tuple[int, ...] = (0,), site: int = 0, p: float = 0.3
) -> torch.Tensor:
    return Draw(seed=seed, samples=samples).apply(x, site=site, p=p)


def test_draw_drops_the_share_p_and_keeps_the_expectation() -> None:
    x = torch.ones(40, 64, 100)
    y = _draw(x, samples=tuple(range(40)), p=0.3)
    dropped = (y == 0).float().mean().item()
    assert abs(dropped - 0.3) < 0.005  # 256,000 units: three standard errors are 0.003
    assert abs(y.mean().item() - 1.0) < 0.005
    assert y.unique().tolist() == pytest.approx([0.0, 1 / 0.7])


@pytest.mark.parametrize("change", [{"seed": 1}, {"samples": (1,)}, {"site": 1}])
def test_draw_differs_by_seed_by_sample_and_by_site(change: dict[str, int]) -> None:
    x = torch.ones(1, 4, 50)
    assert not torch.equal(_draw(x), _draw(x, **change))  # type: ignore[arg-type]


def test_draw_differs_by_position_and_feature() -> None:
    kept = _draw(torch.ones(1, 64, 50), p=0.5)[0] > 0
    assert len({tuple(row.tolist()) for row in kept}) == 64
    assert len({tuple(column.tolist()) for column in kept.T}) == 50


def test_draw_mask_of_a_shorter_text_is_a_prefix_of_a_longer_one() -> None:
    long = _draw(torch.ones(1, 100, 8))
    for tokens in (1, 31, 32, 33, 64, 99):
        assert torch.equal(_draw(torch.ones(1, tokens, 8)), long[:, :tokens])


def test_draw_gives_every_row_of_a_sample_the_same_mask() -> None:
    y = _draw(torch.ones(6, 5, 16), samples=(0, 1)).view(2, 3, 5, 16)
    assert torch.equal(y[:, 0], y[:, 1])
    assert torch.equal(y[:, 0], y[:, 2])
    assert not torch.equal(y[0, 0], y[1, 0])


def test_draw_of_a_sample_does_not_depend_on_the_other_samples() -> None:
    x = torch.ones(1, 5, 16)
    together = _draw(x.repeat(3, 1, 1), samples=(0, 7, 3))
    assert torch.equal(together[1:2], _draw(x, samples=(7,)))


def test_draw_of_pooled_rows_uses_the_first_position() -> None:
    assert torch.equal(_draw(torch.ones(1, 20)), _draw(torch.ones(1, 1, 20))[:, 0])


def test_draw_follows_given_positions() -> None:
    """Two utterances packed into one row have the same masks as in separate rows."""
    alone = _draw(torch.ones(1, 4, 16))[0]
    packed = Draw(seed=0, samples=(0,), positions=torch.tensor([[0, 1, 2, 3, 0, 1]])).apply(
        torch.ones(1, 6, 16), site=0, p=0.3
    )[0]
    assert torch.equal(packed, torch.cat([alone, alone[:2]]))


def test_draw_refuses_a_row_count_that_samples_do_not_divide() -> None:
    with pytest.raises(ValueError, match="5 rows cannot hold 2 samples"):
        _draw(torch.ones(5, 3), samples=(0, 1))


def test_draw_does_not_use_the_global_generator() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    _draw(torch.ones(1, 4, 9), seed=987654)
    assert torch.equal(torch.rand(3), expected)


def test_seeded_dropout_is_the_identity_in_evaluation_and_noise_in_training() -> None:
    layer, x = SeededDropout(0.5, site=0), torch.ones(1, 400)
    assert torch.equal(layer.eval()(x), x)
    assert 100 < int((layer.train()(x) == 0).sum()) < 300


def test_seeded_dropout_of_rate_zero_is_the_identity_under_a_draw() -> None:
    x = torch.ones(2, 3)
    with drawn(Draw(seed=0, samples=(0,))):
        assert torch.equal(SeededDropout(0.0, site=0).eval()(x), x)


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5])
def test_seeded_dropout_refuses_an_impossible_rate(p: float) -> None:
    with pytest.raises(ValueError, match=f"p={p}"):
        SeededDropout(p, site=0)


def test_drawn_ends_with_its_block_after_an_error_too() -> None:
    outer, inner = Draw(seed=1, samples=(0,)), Draw(seed=2, samples=(0,))

    def fail_inside() -> None:
        with drawn(inner):
            assert active_draw() is inner
            raise RuntimeError("on purpose")

    with drawn(outer):
        with pytest.raises(RuntimeError, match="on purpose"):
            fail_inside()
        assert active_draw() is outer
    assert active_draw() is None


def test_drawn_does_not_affect_another_thread() -> None:
    seen: list[Draw | None] = []
    with drawn(Draw(seed=0, samples=(0,))):
        thread = threading.Thread(target=lambda: seen.append(active_draw()))
        thread.start()
        thread.join()
    assert seen == [None]


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1)), "it has no dropout"),
        (SeededDropout(0.0, site=0), "above 0"),
    ],
)
def test_require_dropout_without_dropout_gives_the_reason(module: nn.Module, words: str) -> None:
    with pytest.raises(NoDropoutError, match=words):
        require_dropout(module, name="the model")


def test_require_dropout_accepts_one_rate_above_zero() -> None:
    require_dropout(nn.Sequential(SeededDropout(0.0, site=0), SeededDropout(0.1, site=1)), name="the model")
