"""The form of a data set: six arrays and the names of its classes once loaded, and its entry in the catalogue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .download import RemoteFile

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


class Data(NamedTuple):
    """A data set in three parts: train on `train`, make every choice on `val`, and use `test` once, at the end.

    Each x is float32, C-contiguous, of shape (N, D), one sample a row, or a Source of such rows (`OneHot` of words.py).
    Each y is int64, of shape (N,), class indices in [0, K). `class_names` has K names. `image_shape` is the (height,
    width) to which a row can be reshaped for display, or None if a row is no image.
    """

    x_train: Any
    y_train: Labels
    x_val: Any
    y_val: Labels
    x_test: Any
    y_test: Labels
    class_names: tuple[str, ...]
    image_shape: tuple[int, int] | None

    @property
    def n_train(self) -> int:
        """How many training samples there are, in the unit in which `few` counts them: rows, or words."""
        return int(getattr(self.x_train, "words", len(self.x_train)))


class Dataset(NamedTuple):
    """An entry of the catalogue: what it is, its source, licence and files, and the function that loads it."""

    summary: str
    source: str
    licence: str
    citation: str
    files: tuple[RemoteFile, ...]  # none where the data come inside the package
    load: Callable[[], Data]
    noun: str = "images"  # what the samples are called
    rows: str = ""  # what the rows are called, if a sample has several
    # What each row of x_test was made from, in the same order, if people cannot read the row itself.
    test_texts: Callable[[], list[str]] | None = None
    test_sounds: Callable[[], list[NDArray[np.int16]]] | None = None  # (samples,) each, 8,000 a second


def split_rows(x: Floats, y: Labels, split: NDArray[Any]) -> tuple[Floats, Labels, Floats, Labels, Floats, Labels]:
    """Split x (N, D) and y (N,) by `split` (N,), which is "train", "val" or "test" for each row."""
    train, val, test = (split == part for part in ("train", "val", "test"))
    return x[train], y[train], x[val], y[val], x[test], y[test]
