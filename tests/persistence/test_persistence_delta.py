"""Weights stored as a compressed difference: error, content and size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from erc.errors import ArtefactError
from erc.models.encoder.encoder import DEFAULT_ENCODER, resolve_encoder
from erc.persistence.delta import DeltaKind, decode, encode

SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 9))


def _pair(shape: tuple[int, int], seed: int, size: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(shape, generator=generator) * 0.05
    return {"w": base + torch.randn(shape, generator=generator) * size}, {"w": base}


@settings(deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 99), size=st.sampled_from([1e-3, 1e-2, 1.0]))
def test_delta_int8_error_is_at_most_half_a_step_of_each_row(
    shape: tuple[int, int], seed: int, size: float
) -> None:
    weights, base = _pair(shape, seed, size)
    restored = decode(encode(weights, base, "int8"), base)["w"]
    peak = (weights["w"] - base["w"]).abs().amax(dim=1, keepdim=True)
    # Half a step of peak / 127. The half-precision step adds an error of 2^-11 or 3e-8, times 127 in the
    # largest entry.
    assert ((restored - weights["w"]).abs() <= peak * (0.5 / 127 + 2**-11) + 127 * 3e-8).all()


@settings(deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 99))
def test_delta_int4_error_is_at_most_that_of_plain_rounding(shape: tuple[int, int], seed: int) -> None:
    weights, base = _pair(shape, seed, 1e-2)
    difference = weights["w"] - base["w"]
    step = (difference.abs().amax(dim=1, keepdim=True) / 7).half().float()
    plain = ((difference / step).round().clamp(-7, 7) * step - difference).square().sum(dim=1)
    found = (decode(encode(weights, base, "int4"), base)["w"] - weights["w"]).square().sum(dim=1)
    assert (found <= plain * 1.001 + 1e-12).all()


def test_delta_int4_clips_a_single_large_entry_to_reduce_the_error() -> None:
    base = torch.zeros(1, 64)
    weights = torch.full((1, 64), 0.055)
    weights[0, 0] = 0.8
    restored = decode(encode({"w": weights}, {"w": base}, "int4"), {"w": base})["w"]
    assert restored[0, 0] < 0.79
    assert (
        restored - weights
    ).square().sum() < 0.7 * 63 * 0.055**2  # error of plain rounding, which sets every small entry to 0


@pytest.mark.parametrize("columns", [1, 2, 3, 8, 9])
def test_delta_int4_packs_two_codes_per_byte_for_any_number_of_columns(columns: int) -> None:
    base = torch.zeros(3, columns)
    codes = torch.arange(3 * columns).view(3, columns) % 15 - 7
    codes[:, 0] = 7  # the step is exactly 0.5
    stored = encode({"w": codes * 0.5}, {"w": base}, "int4")
    packed = next(value for name, value in stored.items() if value.dtype == torch.uint8)
    assert packed.shape == (3, -(-columns // 2))
    assert torch.equal(decode(stored, {"w": base})["w"], codes * 0.5)


@pytest.mark.parametrize("kind", ["int8", "int4", "none"])
def test_delta_of_restored_weights_is_exact(kind: DeltaKind) -> None:
    """So parameters fitted on the restored weights stay valid after saving and loading."""
    weights, base = _pair((20, 33), 1, 3e-3)
    weights["bias"], weights["new"] = torch.randn(7), torch.randn(4, 4)
    base["bias"] = torch.zeros(7)
    once = decode(encode(weights, base, kind), base)
    twice = decode(encode(once, base, kind), base)
    assert once.keys() == weights.keys()
    assert all(torch.equal(once[name], twice[name]) for name in once)


def test_delta_none_is_exact_and_needs_no_base() -> None:
    weights, _ = _pair((5, 7), 2, 1.0)
    weights["b"] = torch.randn(3) * 1e-9
    restored = decode(encode(weights, {}, "none"), {})
    assert all(torch.equal(restored[name], weights[name]) for name in weights)


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_delta_stores_no_unchanged_weights(kind: DeltaKind) -> None:
    weights, base = _pair((4, 6), 3, 1e-2)
    base["still"] = weights["still"] = torch.randn(50, 8)
    stored = encode(weights, base, kind)
    assert not any(name.startswith("still") for name in stored)
    assert torch.equal(decode(stored, base)["still"], base["still"])


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_delta_of_an_unchanged_row_is_exact(kind: DeltaKind) -> None:
    weights, base = _pair((4, 6), 4, 1e-2)
    weights["w"][2] = base["w"][2]
    assert torch.equal(decode(encode(weights, base, kind), base)["w"][2], base["w"][2])


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_delta_round_trips_through_a_file(kind: DeltaKind, tmp_path: Path) -> None:
    weights, base = _pair((9, 11), 5, 1e-2)
    stored = encode(weights, base, kind)
    save_file(stored, tmp_path / "w.safetensors")
    assert torch.equal(decode(load_file(tmp_path / "w.safetensors"), base)["w"], decode(stored, base)["w"])


def test_delta_does_not_share_memory_with_its_base() -> None:
    base = {"w": torch.zeros(2, 2)}
    decode({}, base)["w"].fill_(5.0)
    assert not base["w"].any()


@pytest.mark.parametrize("damage", ["no such base", "other shape", "no scales", "no columns"])
def test_delta_with_a_mismatched_base_or_missing_part_raises_an_artefact_error(damage: str) -> None:
    weights, base = _pair((4, 6), 6, 1e-2)
    stored = encode(weights, base, "int4")
    if damage == "no such base":
        base = {"v": base["w"]}
    elif damage == "other shape":
        base = {"w": torch.zeros(4, 8)}
    else:
        del stored[
            next(
                name
                for name in stored
                if name.endswith({"no scales": "::scales", "no columns": "::columns"}[damage])
            )
        ]
    with pytest.raises(ArtefactError, match="'w'"):
        decode(stored, base)


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_delta_refuses_non_finite_weights(kind: DeltaKind) -> None:
    weights, base = _pair((4, 6), 7, 1e-2)
    weights["w"][1, 2] = float("nan")
    with pytest.raises(ArtefactError, match=r"'w' .* not finite"):
        encode(weights, base, kind)


def test_delta_of_the_default_encoder_stays_within_twelve_megabytes() -> None:
    """As after training, every matrix except the frozen word embeddings has changed."""
    base = load_file(Path(resolve_encoder(DEFAULT_ENCODER)) / "model.safetensors")
    base = {name: value.float() for name, value in base.items() if value.is_floating_point()}
    frozen = "embeddings.word_embeddings.weight"
    weights = {
        name: value if name.endswith(frozen) else value + 0.01 * value.roll(1, dims=-1)
        for name, value in base.items()
    }
    assert any(name.endswith(frozen) for name in base)
    for kind, limit in (("int8", 12_000_000), ("int4", 6_500_000)):
        stored = encode(weights, base, kind)  # type: ignore[arg-type]
        assert sum(value.numel() * value.element_size() for value in stored.values()) < limit


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_large_new_matrix_is_stored_in_int8_and_restored_within_half_a_step(kind: str) -> None:
    torch.manual_seed(3)
    value = torch.randn(64, 96)
    stored = encode({"gru.weight": value}, {}, kind)  # type: ignore[arg-type]
    assert sum(part.numel() * part.element_size() for part in stored.values()) == 64 * 96 + 2 * 64
    step = value.abs().amax(dim=1, keepdim=True) / 127
    assert bool(((decode(stored, {})["gru.weight"] - value).abs() <= 0.51 * step).all())
