"""Every way minikd says no: its exceptions, and the checks that turn a bad argument into a sentence.

Each message names the argument, says what came and what was wanted. The checks use only what NumPy and CuPy
arrays share; those that must look at *values* do so on NumPy alone, since on a GPU a look means waiting for it.
"""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import numpy as np


class MinikdError(Exception):
    """Whatever goes wrong at run time, other than a wrong argument."""


class DeviceError(MinikdError):
    """A device that was asked for is not there."""


class DataError(MinikdError):
    """A data set is unknown, cannot be had, or is not what it should be."""


class CheckpointError(MinikdError):
    """A file cannot be written, or is not a whole and honest minikd file."""


class DivergedError(MinikdError):
    """The loss or the parameters are no longer finite."""


def is_array(value: Any) -> bool:
    """Whether `value` is a NumPy or CuPy array (or anything that walks like one)."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def describe(value: Any) -> str:
    """What came, in a few words: 'float64 array of shape (3, 4)', or the value with its type."""
    if is_array(value):
        return f"{value.dtype} array of shape {tuple(value.shape)}"
    return f"{type(value).__name__} {str(value)[:60]!r}" if isinstance(value, str) else f"{value!r:.60} ({type(value).__name__})"


def check_number(name: str, value: Any, low: float, high: float = math.inf, *, open_low: bool = False) -> float:
    """`value` as a float in [low, high], or (low, high] with `open_low`; infinity and NaN never pass."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {describe(value)}")
    number = float(value)
    if not (low < number if open_low else low <= number) or number > high or not math.isfinite(number):
        top = f"{high:g}]" if math.isfinite(high) else "inf)"
        raise ValueError(f"{name} must be in {'(' if open_low else '['}{low:g}, {top}, got {value!r}")
    return number


def check_count(name: str, value: Any, low: int = 1) -> int:
    """`value` as an int that is at least `low`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, got {describe(value)}")
    if value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}")
    return int(value)


def check_choice(name: str, value: Any, choices: Any) -> None:
    """`value` must be one of `choices`."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a name, got {describe(value)}; known: {', '.join(choices)}")
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def check_matrix(name: str, value: Any, columns: int | None = None, rows: int | None = None) -> None:
    """`value` must be a 2-D array of real numbers with at least one row, and of the given size where one is given."""
    if not is_array(value):
        raise TypeError(f"{name} must be a NumPy or CuPy array, got {describe(value)}")
    if value.ndim != 2:
        hint = f"; for a single sample write {name}[None, :]" if value.ndim == 1 else ""
        raise ValueError(f"{name} must have 2 dimensions, got {describe(value)}{hint}")
    if value.shape[0] == 0 or value.shape[1] == 0:
        raise ValueError(f"{name} must not be empty, got {describe(value)}")
    if value.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers, got {describe(value)}")
    if columns is not None and value.shape[1] != columns:
        raise ValueError(f"{name} must have {columns} columns, got {describe(value)}")
    if rows is not None and value.shape[0] != rows:
        raise ValueError(f"{name} must have {rows} rows, got {describe(value)}")


def check_labels(name: str, value: Any, rows: int, classes: int) -> None:
    """`value` must be integer class indices, shape (rows,), in [0, classes)."""
    if not is_array(value):
        raise TypeError(f"{name} must be a NumPy or CuPy array of integers, got {describe(value)}")
    if value.ndim == 2:
        raise ValueError(
            f"{name} must be class indices of shape ({rows},), got {describe(value)}; "
            f"one-hot labels become indices with {name}.argmax(axis=1)"
        )
    if value.ndim != 1:
        raise ValueError(f"{name} must be class indices of shape ({rows},), got {describe(value)}")
    if value.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers in [0, {classes}), got {describe(value)}; cast with {name}.astype(int)")
    if value.shape[0] != rows:
        raise ValueError(f"{name} must have one entry for each of {rows} rows, got {describe(value)}")
    if isinstance(value, np.ndarray) and not 0 <= value.min() <= value.max() < classes:
        index = int(np.argmax((value < 0) | (value >= classes)))
        raise ValueError(f"{name} must be integers in [0, {classes}), got {value[index]} at index {index}")


def check_finite(name: str, value: Any) -> None:
    """A NumPy array must hold neither NaN nor infinity (a GPU array is not looked at)."""
    if isinstance(value, np.ndarray) and not np.isfinite(value).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
        raise ValueError(f"{name} must be finite, got {value[index]} at index {index}")


def check_same_shape(name: str, value: Any, other_name: str, other: Any) -> None:
    """`value` must have the shape of `other`."""
    if tuple(value.shape) != tuple(other.shape):
        raise ValueError(f"{name} must have the shape of {other_name}, {tuple(other.shape)}, got {describe(value)}")
