"""What the mathematics need not know, and what makes it fast: memory that is used again, rows by index, all cores.

CuPy sees to all of this itself, so for its arrays these are one-liners.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import copy_context
from functools import cache
from typing import Any

import numpy as np

from ..backend import Array

# ---- memory ---------------------------------------------------------------------------------------------------


class _Kept(threading.local):
    """Arrays that `empty` has handed out, by shape and type; each thread has its own."""

    def __init__(self) -> None:
        self.arrays: dict[Any, list[Array]] = {}
        self.bytes = 0  # in all of them


_KEPT = _Kept()
KEPT_EACH, KEPT_BYTES = 4, 256 * 2**20  # the most arrays of a shape that are remembered, and the most memory in all


def _unheld(arrays: list[Array], references: int) -> Array:
    """The first of the arrays to which Python counts that many references."""
    for array in arrays:
        if sys.getrefcount(array) == references:
            return array
    return None


# What it counts, looking from there, where nothing but the list refers to the array: 3, or less in newer Pythons. -1,
# so that nothing is ever used again, where it counts otherwise: not at all, or with a debugger that looks on.
_UNHELD = next((n for n in range(4) if _unheld([np.empty(0)], n) is not None), -1)


def empty(xp: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """An uninitialised array, as `xp.empty` makes, but in the memory of an earlier one that nobody holds any more.

    Each training step needs arrays of the same shapes as the one before, and NumPy would ask the system for them
    anew. An array is free when Python counts no reference to it but ours. Callers get a view, which counts too, as does
    a view of the view: whatever they still hold, or a part of it, is never written over, and what they do to its shape
    or flags stays theirs.
    """
    if xp is not np:
        return xp.empty(shape, dtype)
    kept = _KEPT.arrays.get((shape, dtype))
    array = _unheld(kept, _UNHELD) if kept else None
    return (_make(shape, dtype) if array is None else array).view()


def _make(shape: tuple[int, ...], dtype: Any) -> Array:
    array = np.empty(shape, dtype)
    _KEPT.bytes += array.nbytes
    if _KEPT.bytes > KEPT_BYTES:  # begin anew: whoever holds an array keeps it
        _KEPT.arrays.clear()
        _KEPT.bytes = array.nbytes
    kept = _KEPT.arrays.setdefault((shape, dtype), [])
    kept.append(array)
    if len(kept) > KEPT_EACH:  # the oldest is held by somebody, and now theirs alone
        _KEPT.bytes -= kept.pop(0).nbytes
    return array


@cache
def ones(xp: Any, n: int, dtype: Any) -> Array:
    """n ones, made once; to be looked at only."""
    return xp.ones(n, dtype)


@cache
def count(xp: Any, n: int) -> Array:
    """0, 1, ..., n - 1, made once; to be looked at only."""
    return xp.arange(n)


def rows_of(array: Array, index: Array) -> Array:
    """array[index] for whole numbers that are in range; of a NumPy array, in memory that is used again."""
    if not isinstance(array, np.ndarray):
        return array[index]
    out = empty(np, (len(index), *array.shape[1:]), array.dtype)
    # The usual mode, "raise", would make a second copy, to have something to throw away on error.
    return np.take(array, index, axis=0, out=out, mode="clip")


# ---- cores ----------------------------------------------------------------------------------------------------


def threads() -> int:
    """As many as NumPy's BLAS uses: OPENBLAS_NUM_THREADS or OMP_NUM_THREADS, or one for each core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        if os.environ.get(name, "").isdecimal():
            return max(1, min(cores, int(os.environ[name])))
    return cores


THREADS = threads()
FEW = 4  # with fewer pieces than this, waking a helper costs about as much as it saves
_helpers: list[Any] = []  # a pool of threads, made when first needed
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_helpers.clear)  # threads do not live on in a forked process


def on_all_cores(work: Callable[..., None], pieces: Sequence[tuple[Any, ...]]) -> None:
    """work(*piece) for every piece, on this thread and, where there are several, on helpers beside it.

    That helps where `work` is NumPy's on large arrays, for NumPy lets go of Python's lock while it computes.
    """
    if len(pieces) < FEW or THREADS < 2:
        for piece in pieces:
            work(*piece)
        return
    if not _helpers:
        from concurrent.futures import ThreadPoolExecutor

        _helpers.append(ThreadPoolExecutor(THREADS - 1, thread_name_prefix="minikd"))
    todo = deque(pieces)

    def work_off() -> None:
        while True:
            try:
                piece = todo.popleft()  # one indivisible step, so no two threads get the same
            except IndexError:
                return
            work(*piece)

    # Each in a copy of the context, which holds NumPy's error settings.
    helpers = min(THREADS, len(pieces)) - 1
    futures = [_helpers[0].submit(copy_context().run, work_off) for _ in range(helpers)]
    try:
        work_off()
    finally:  # also after an error: nobody may go on writing when this returns
        todo.clear()
        for future in futures:
            if not future.cancel():  # where it never got a core, there is nothing left for it to do
                future.result()
