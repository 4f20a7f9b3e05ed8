import numpy as np
import pytest

from erc.uncertainty import resampling
from erc.uncertainty.resampling import Interval, group_draws


def test_every_draw_has_as_many_groups_as_the_data():
    draws = np.concatenate(list(group_draws(7, 50, seed=0)))
    assert draws.shape == (50, 7)
    assert (draws.sum(axis=1) == 7).all()


def test_draws_do_not_depend_on_the_chunks(monkeypatch):
    whole = np.concatenate(list(group_draws(7, 50, seed=0)))
    monkeypatch.setattr(resampling, "_CELLS", 21)
    np.testing.assert_array_equal(np.concatenate(list(group_draws(7, 50, seed=0))), whole)


def test_groups_are_drawn_evenly():
    draws = np.concatenate(list(group_draws(10, 2_000, seed=1)))
    np.testing.assert_allclose(draws.mean(axis=0), 1.0, atol=0.1)
    np.testing.assert_allclose(draws.var(), 0.9, atol=0.05)  # binomial(10, 1/10)


def test_interval_bounds_are_percentiles_of_the_replicates():
    interval = Interval.of(50.0, np.arange(101.0), level=0.9)
    assert (interval.low, interval.high) == pytest.approx((5.0, 95.0))
