"""The interface of rows that are not in an array: the base class of Stream (minikd/scale/stream.py) and others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..backend import Array, shuffled


class Source:
    """Rows that are read or computed when `fit` draws them. A Source replaces an array, x or a target.

    A subclass sets `shape` (N, ...) and `dtype`, and defines `__getitem__` and `fingerprint`. The rest may stay.
    """

    shape: tuple[int, ...]
    dtype: Any
    fingerprint: str  # what a checkpoint records; it must be the same in a resumed run

    def __getitem__(self, index: Any) -> Array:
        """The rows (n, ...) with these numbers, a slice or an array (n,)."""
        raise NotImplementedError

    def order(self, seed: int, epoch: int) -> Any:
        """All row numbers in the order of an epoch, which `fit` slices into batches. It is called for x only."""
        return shuffled(self, seed, epoch)

    def begin_epoch(self, model: Any, seed: int, epoch: int) -> None:
        """Called by `fit` before each epoch. Samples may be drawn here, from the model, the seed and the epoch only."""

    def check(self, look: Callable[[Array], None]) -> None:
        """Call look(rows) for the rows that are known before training, so that bad values are found before training
        starts.
        """

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """The number of dimensions, rows included."""
        return len(self.shape)
