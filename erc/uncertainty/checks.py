"""Shape and range checks of this package; each error names the argument and both sizes."""

from __future__ import annotations

from typing import Any

import numpy as np


def as_matrix(values: Any, *, name: str, columns: int | None = None) -> np.ndarray:
    """`values` as a finite float64 matrix (B, C).

    Raises:
        ValueError: For another number of dimensions or columns, or a value that is not finite.
    """
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2:
        raise ValueError(f"{name} has shape {matrix.shape}: expected two dimensions (utterances, labels)")
    if columns is not None and matrix.shape[1] != columns:
        raise ValueError(f"{name} has {matrix.shape[1]} labels where {columns} are expected")
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name} holds a value that is not finite")
    return matrix


def as_probabilities(values: Any, *, name: str = "probabilities", ndim: int = 2) -> np.ndarray:
    """`values` as float64 in [0, 1] with `ndim` dimensions.

    A softmax in half precision may leave [0, 1] by up to 0.001; such values are clamped.

    Raises:
        ValueError: For another number of dimensions, or a value that is further outside or not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != ndim:
        raise ValueError(f"{name} has shape {array.shape}: expected {ndim} dimensions")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds a value that is not finite")
    if array.size and (array.min() < -1e-3 or array.max() > 1 + 1e-3):
        raise ValueError(
            f"{name} ranges over [{array.min():.4g}, {array.max():.4g}]: expected [0, 1]; were logits passed?"
        )
    return np.clip(array, 0.0, 1.0)


def as_multi_hot(values: Any, *, shape: tuple[int, ...], name: str = "targets") -> np.ndarray:
    """`values` as booleans of `shape`.

    Raises:
        ValueError: For another shape, or a value other than 0 and 1: soft labels are not rounded.
    """
    array = np.asarray(values)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape} where {shape} is expected")
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name} must hold only 0 and 1")
    return array.astype(bool)


def as_classes(values: Any, *, rows: int, classes: int, name: str = "targets") -> np.ndarray:
    """`values` as class indices (B,) in 0..classes-1.

    Raises:
        ValueError: For another shape, values that are not integers, or a value out of range.
    """
    array = np.asarray(values)
    if array.shape != (rows,):
        raise ValueError(f"{name} has shape {array.shape} where {(rows,)} is expected")
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} must be integer class indices, not {array.dtype}")
    if rows and (array.min() < 0 or array.max() >= classes):
        raise ValueError(
            f"{name} ranges over [{array.min()}, {array.max()}] where 0..{classes - 1} is expected"
        )
    return array.astype(np.int64)


def as_vector(values: Any, *, name: str, rows: int | None = None) -> np.ndarray:
    """`values` as a finite float64 vector (B,).

    Raises:
        ValueError: For another shape, or a value that is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or (rows is not None and len(array) != rows):
        raise ValueError(
            f"{name} has shape {array.shape} where ({'B' if rows is None else rows},) is expected"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds a value that is not finite")
    return array


def group_index(groups: Any | None, *, rows: int) -> tuple[np.ndarray, int]:
    """Group numbers (B,) from 0, and the number of groups; without groups every row is its own group.

    `groups` are dialogue ids of any hashable kind. Turns of one dialogue are not independent, so folds,
    resamples and guarantees are drawn over dialogues.

    Raises:
        ValueError: If `groups` has another length than `rows`.
    """
    if groups is None:
        return np.arange(rows), rows
    array = np.asarray(groups)
    if array.shape != (rows,):
        raise ValueError(f"groups has shape {array.shape} where {(rows,)} is expected")
    names, index = np.unique(array, return_inverse=True)
    return index.reshape(-1), len(names)
