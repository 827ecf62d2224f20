"""Rows that training draws: from arrays in memory, or block by block from sources that are larger than it.

A source is a np.memmap, or whatever has shape, dtype, ndim and slices like an array: a data set of h5py's, say. To draw
single rows at random from a file would be slow, so the order of an epoch is then shuffled by blocks: the file is cut
into blocks of neighbouring rows (BLOCK bytes of x and targets together), the blocks are shuffled, each GROUP of them is
read into memory, and the rows within a group are shuffled. Each row comes once an epoch, and the order is drawn from
(seed, epoch) alone. Arrays in memory keep their full shuffle; np.asarray(x) makes a memory-mapped array one of them.

What it does to training: the samples of a batch come from GROUP places of the file and not from everywhere. Where the
file is sorted by class, the share s of a class varies from group to group by about sqrt(s (1 - s) / GROUP), 0.02 for
ten classes; where neighbours are not alike, by no more than in any batch.

Two groups are held at a time, so 2 · GROUP · BLOCK bytes: 128 MiB.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from ..backend import Array, to_device, to_numpy
from ..checks import check_samples, check_target, check_targets, is_array
from ..ops import take_rows as rows_of

BLOCK, GROUP = 2**18, 256  # bytes of neighbouring rows; blocks whose rows are shuffled among each other
PIECE = 2**25  # bytes read at a time where a source is gone through from end to end


def reading(value: Any) -> Any:
    """A Stream over a source that is not in memory; anything else, as an array in memory or on a GPU, as it is."""
    if not is_array(value) or isinstance(value, Stream) or hasattr(value, "get"):
        return value
    return Stream(value) if isinstance(value, np.memmap) or not isinstance(value, np.ndarray) else value


class Stream:
    """A source that is read in pieces: stream[a:b] are rows in memory, and so is stream[index] for many numbers.

    For the latter, blocks of `rows` rows are kept: those read last, as many as two groups have.
    """

    def __init__(self, source: Any, rows: int = 1, device: str = "cpu", dtype: Any = None) -> None:
        self.source, self.rows, self.device = source, rows, device
        self.shape, self.dtype = tuple(source.shape), np.dtype(dtype or source.dtype)
        self.ndim = len(self.shape)
        self.row_bytes = max(1, self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64)))
        self._kept: Any = None  # the blocks that are kept, one after the other
        self._held: Any = None  # the number of the block in each slot
        self._slots: Any = None  # of each block: its slot, or -1
        self._next = 0  # the slot for the next block that is read

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, which: Any) -> Array:
        if isinstance(which, slice):
            return to_device(self._read(*which.indices(len(self))[:2]), self.device)
        if isinstance(self.source, np.ndarray) and not isinstance(self.source, np.memmap):
            return to_device(rows_of(self.source, which), self.device)
        return to_device(self._gather(which), self.device)

    def _read(self, start: int, stop: int) -> np.ndarray:
        """Rows that follow each other, in memory of their own."""
        found = np.array(self.source[start:stop], dtype=self.dtype)
        forget(self.source)
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
        found: np.ndarray = rows_of(self._kept, self._slots[blocks] * self.rows + within)
        return found

    def _load(self, missing: np.ndarray, needed: set[int]) -> None:
        """Read blocks into the slots of those that were read first, but for what this batch needs."""
        for block in missing.tolist():
            while (old := int(self._held[self._next])) in needed:
                self._next = (self._next + 1) % len(self._held)
            if old >= 0:
                self._slots[old] = -1
            start, low = block * self.rows, self._next * self.rows
            stop = min(start + self.rows, len(self))
            self._kept[low : low + stop - start] = self.source[start:stop]
            self._slots[block], self._held[self._next] = self._next, block
            self._next = (self._next + 1) % len(self._held)
        forget(self.source)

    def pieces(self) -> Iterator[tuple[int, Array]]:
        """The whole source from end to end, with the number of each piece's first row."""
        step = max(1, PIECE // self.row_bytes)
        for start in range(0, len(self), step):
            yield start, self[start : start + step]


def forget(source: Any) -> None:
    """Let go of the memory through which a file was read, which would count as ours; it stays in the system's cache."""
    mapping: Any = getattr(source, "_mmap", None)
    # In mode "c" what the user has written is nowhere but in that memory.
    if isinstance(source, np.memmap) and source.mode != "c" and hasattr(mapping, "madvise"):
        mapping.madvise(mmap.MADV_DONTNEED)


def in_pieces(teacher: Any, x: Any) -> Any:
    """What a function says of a Stream, asked piece by piece: its logits. Any other teacher, or x, as it is."""
    if not isinstance(x, Stream) or is_array(teacher) or not callable(teacher):
        return teacher
    return np.concatenate([to_numpy(teacher(piece)) for _, piece in x.pieces()])


def opened(x: Any, targets: Any, model: Any) -> tuple[Any, tuple[Any, ...]]:
    """The samples and targets of `fit`, checked and ready to be drawn from, in the model's dtype and on its device."""
    x, device, classes = reading(x), model.device, model.sizes[-1]
    targets = tuple(map(reading, targets)) if isinstance(targets, tuple) else reading(targets)
    check_samples("x", x, model.sizes[0], model.dtype)
    name = "targets[{}]" if isinstance(targets, tuple) else "targets"
    targets = check_targets("targets", targets, len(x), classes)
    arrays = [x, *(t for t in targets if not callable(t))]
    if not any(isinstance(array, Stream) for array in arrays):
        placed = [t if callable(t) else _place(t, device, model.dtype) for t in targets]
        return _place(x, device, model.dtype).astype(model.dtype, copy=False), tuple(placed)
    # The values of a Stream have not been looked at yet.
    _look(x, lambda piece: check_samples("x", piece, model.sizes[0], model.dtype))
    for i, target in enumerate(targets):
        _look(target, partial(_check_rows, name.format(i), classes if i == 0 else None))
    rows = max(1, BLOCK // sum(Stream(array).row_bytes for array in arrays))

    def stream(array: Any, dtype: Any) -> Stream:
        source = array.source if isinstance(array, Stream) else to_numpy(array)
        return Stream(source, rows, device, dtype)

    floats = [model.dtype if not callable(t) and t.dtype.kind == "f" else None for t in targets]
    pairs = zip(targets, floats, strict=True)
    return stream(x, model.dtype), tuple(t if callable(t) else stream(t, dtype) for t, dtype in pairs)


def _place(array: Any, device: str, dtype: str) -> Any:
    array = to_device(array, device)
    return array.astype(dtype, copy=False) if array.dtype.kind == "f" else array


def _check_rows(name: str, classes: int | None, piece: Any) -> None:
    check_target(name, piece, len(piece), classes)


def _look(array: Any, check: Callable[[Any], None]) -> None:
    """Check a Stream's values, a piece at a time."""
    for start, piece in array.pieces() if isinstance(array, Stream) else ():
        try:
            check(piece)
        except ValueError as error:
            raise ValueError(f"{error} (counted from row {start})" if start else str(error)) from None


def shuffled(x: Any, seed: int, epoch: int, device: str) -> Any:
    """The numbers of the rows in the order of an epoch, to be cut into batches: an array, or for a Stream an Order."""
    if isinstance(x, Stream):
        return Order(len(x), x.rows, seed, epoch)
    return to_device(np.random.default_rng((seed, epoch)).permutation(len(x)), device)


class Order:
    """Rows 0 to n - 1 shuffled by blocks, as the head of this file says, and worked out a group at a time."""

    def __init__(self, n: int, rows: int, seed: int, epoch: int) -> None:
        self.n, self.rows, self.seed, self.epoch = n, rows, seed, epoch
        self.blocks = np.random.default_rng((seed, epoch)).permutation(-(-n // rows))
        sizes = np.minimum(rows, n - self.blocks * rows)  # one block, wherever it came to stand, may be short
        self.ends = np.cumsum(np.add.reduceat(sizes, np.arange(0, len(sizes), GROUP)))
        self._group, self._rows = -1, np.empty(0, np.int64)

    def __getitem__(self, window: slice) -> np.ndarray:
        start, stop, _ = window.indices(self.n)
        first, last = np.searchsorted(self.ends, (start, stop - 1), side="right")
        parts = []
        for group in range(first, last + 1):
            end = int(self.ends[group])
            rows = self._rows_of(group)
            parts.append(rows[max(0, start - end + len(rows)) : stop - end + len(rows)])
        return np.concatenate(parts)

    def _rows_of(self, group: int) -> np.ndarray:
        if group != self._group:
            starts = self.blocks[group * GROUP : (group + 1) * GROUP] * self.rows
            rows = (starts[:, None] + np.arange(self.rows)).ravel()
            rng = np.random.default_rng((self.seed, self.epoch, 3, group))
            self._group, self._rows = group, rng.permutation(rows[rows < self.n])
        return self._rows


def checksum(array: Any) -> Any:
    """What a checkpoint tells of an array of data; of a Stream also how its order is made."""
    if not isinstance(array, Stream):
        return zlib.crc32(to_numpy(array).tobytes())
    crc = 0
    for _, piece in array.pieces():
        crc = zlib.crc32(to_numpy(piece).tobytes(), crc)
    return f"{crc}, {GROUP} blocks of {array.rows} rows"
