"""Training on rows of a file that is larger than memory: `Stream`, a Source (minikd/data/source.py), reads them.

For example::

    x, labels = streams(np.memmap("x.f4", "f4", "r", shape=(N, 784)), np.load("labels.npy"))
    fit(model, x, labels, loss=cross_entropy)

The rows come from a np.memmap, or from anything else that has shape, dtype and slices like an array, such as a data set
of h5py. Drawing single rows at random from a file would be slow, so the order of an epoch is shuffled by blocks. The
file is cut into blocks of neighbouring rows (BLOCK bytes of x and targets together), and the blocks are shuffled. Then
each GROUP of blocks is read into memory, and the rows within the group are shuffled. Each row comes once an epoch, and
the order is drawn from (seed, epoch) alone. Arrays in memory keep their full shuffle.

The effect on training: the samples of a batch come from GROUP places of the file and not from everywhere. If the file
is sorted by class, the share s of a class varies from group to group by about sqrt(s (1 - s) / GROUP), 0.02 for ten
classes. If neighbouring rows are not alike, it varies no more than in any batch.

Two groups are held at a time, so 2 · GROUP · BLOCK bytes: 128 MiB.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np

from ..checks import check_count, describe, is_array
from ..data.source import Source
from ..ops import take_rows

BLOCK, GROUP = 2**18, 256  # bytes of neighbouring rows; blocks whose rows are shuffled among each other
READ_BYTES = 2**25  # bytes read at a time when a whole source is read


def streams(x: Any, *targets: Any) -> tuple[Any, ...]:
    """x (N, D) and targets (N, ...) as Streams with blocks of the same rows, for `fit`.

    Targets that are arrays in memory are returned as they are.
    """
    arrays = [a for a in (x, *targets) if not isinstance(a, np.ndarray) or isinstance(a, np.memmap)]
    rows = max(1, BLOCK // max(1, sum(row_bytes(a) for a in arrays)))
    return Stream(x, rows), *(Stream(t, rows) if any(t is a for a in arrays) else t for t in targets)


def row_bytes(array: Any) -> int:
    """Bytes of one row."""
    return int(max(1, np.dtype(array.dtype).itemsize * np.prod(array.shape[1:], dtype=np.int64)))


class Stream(Source):
    """Rows that are read from an array in a file: stream[a:b] reads one piece, stream[index] reads whole blocks.

    For stream[index] blocks are kept in memory: the last ones that were read, as many as two groups have.

    Parameters
    ----------
    array : np.memmap or similar
        Anything with shape, dtype and slices like an array.
    rows : int, optional
        The rows of a block; by default as many as have BLOCK bytes. Targets must have blocks of the same rows as x: see
        `streams`.

    Raises
    ------
    TypeError
        `array` has no shape or dtype.
    """

    def __init__(self, array: Any, rows: int | None = None) -> None:
        if not is_array(array):
            raise TypeError(f"array must be a np.memmap or another array with shape and dtype, got {describe(array)}")
        self.array: Any = array
        self.shape, self.dtype = tuple(array.shape), np.dtype(array.dtype)
        self.rows = max(1, BLOCK // row_bytes(array)) if rows is None else check_count("rows", rows)
        self._kept: Any = None  # the blocks in memory, one after the other
        self._held: Any = None  # the number of the block in each slot
        self._slots: Any = None  # of each block: its slot, or -1
        self._next = 0  # the slot for the next block that is read

    def __getitem__(self, which: Any) -> np.ndarray:
        return self._read(*which.indices(len(self))[:2]) if isinstance(which, slice) else self._gather(which)

    def _read(self, start: int, stop: int) -> np.ndarray:
        """Consecutive rows, in memory of their own."""
        found = np.array(self.array[start:stop])
        forget(self.array)
        return found

    def _gather(self, index: np.ndarray) -> np.ndarray:
        blocks, within = np.divmod(index, self.rows)
        needed = np.unique(blocks)
        if self._kept is None:
            self._slots = -np.ones(-(-len(self) // self.rows), np.int64)
            slots = min(2 * GROUP, len(self._slots))
            self._kept = np.empty((slots * self.rows, *self.shape[1:]), self.dtype)
            self._held = -np.ones(slots, np.int64)
        if len(needed) > len(self._held):  # a batch larger than what is kept
            half = len(index) // 2
            return np.concatenate([self._gather(index[:half]), self._gather(index[half:])])
        missing = needed[self._slots[needed] < 0]
        if len(missing):
            self._load(missing, set(needed.tolist()))
        found: np.ndarray = take_rows(self._kept, self._slots[blocks] * self.rows + within)
        return found

    def _load(self, missing: np.ndarray, needed: set[int]) -> None:
        """Read blocks into the slots of the oldest blocks, except those that this batch needs."""
        for block in missing.tolist():
            while (old := int(self._held[self._next])) in needed:
                self._next = (self._next + 1) % len(self._held)
            if old >= 0:
                self._slots[old] = -1
            start, low = block * self.rows, self._next * self.rows
            stop = min(start + self.rows, len(self))
            self._kept[low : low + stop - start] = self.array[start:stop]
            self._slots[block], self._held[self._next] = self._next, block
            self._next = (self._next + 1) % len(self._held)
        forget(self.array)

    def __array__(self, *args: Any, **options: Any) -> np.ndarray:
        return np.asarray(self[:], *args, **options)

    def order(self, seed: int, epoch: int) -> Order:
        """All rows, shuffled by blocks."""
        return Order(len(self), self.rows, seed, epoch)

    def check(self, look: Callable[[Any], None]) -> None:
        """Call look(rows) for the whole source, a piece at a time. Its errors say in which piece they are."""
        for start, piece in self.pieces():
            try:
                look(piece)
            except ValueError as error:
                raise ValueError(f"{error} (counted from row {start})" if start else str(error)) from None

    @cached_property
    def fingerprint(self) -> str:  # type: ignore[override]
        """A checksum of the rows, and how their order is made."""
        crc = 0
        for _, piece in self.pieces():
            crc = zlib.crc32(np.ascontiguousarray(piece).data, crc)
        return f"{crc}, {GROUP} blocks of {self.rows} rows"

    def pieces(self) -> Iterator[tuple[int, np.ndarray]]:
        """The whole source from beginning to end, with the number of each piece's first row."""
        step = max(1, READ_BYTES // row_bytes(self))
        for start in range(0, len(self), step):
            yield start, self[start : start + step]


def forget(array: Any) -> None:
    """Release the memory through which a file was read, which would count as ours. The system's cache keeps it."""
    mapping: Any = getattr(array, "_mmap", None)
    # In mode "c" the memory holds the only copy of what the user has written.
    if isinstance(array, np.memmap) and array.mode != "c" and hasattr(mapping, "madvise"):
        mapping.madvise(mmap.MADV_DONTNEED)


class Order:
    """Rows 0 to n - 1 shuffled by blocks, as the docstring of this module describes, computed one group at a time."""

    def __init__(self, n: int, rows: int, seed: int, epoch: int) -> None:
        self.n, self.rows, self.seed, self.epoch = n, rows, seed, epoch
        self.blocks = np.random.default_rng((seed, epoch)).permutation(-(-n // rows))
        sizes = np.minimum(rows, n - self.blocks * rows)  # one block may be short, wherever it is in the order
        self.ends = np.cumsum(np.add.reduceat(sizes, np.arange(0, len(sizes), GROUP)))
        self._group, self._rows = -1, np.empty(0, np.int64)

    def __getitem__(self, window: slice) -> np.ndarray:
        start, stop, _ = window.indices(self.n)
        first, last = np.searchsorted(self.ends, (start, stop - 1), side="right")
        parts = []
        for group in range(first, last + 1):
            end = int(self.ends[group])
            rows = self._take_rows(group)
            parts.append(rows[max(0, start - end + len(rows)) : stop - end + len(rows)])
        return np.concatenate(parts)

    def _take_rows(self, group: int) -> np.ndarray:
        if group != self._group:
            starts = self.blocks[group * GROUP : (group + 1) * GROUP] * self.rows
            rows = (starts[:, None] + np.arange(self.rows)).ravel()
            rng = np.random.default_rng((self.seed, self.epoch, 3, group))
            self._group, self._rows = group, rng.permutation(rows[rows < self.n])
        return self._rows
