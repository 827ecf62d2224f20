"""How many threads NumPy's matrix products use: what the user's environment sets, or what a task needs.

Small products are fastest on one thread. Two threads would mostly wait for each other, and if another program keeps a
core busy, they would wait hundreds of times as long as they work. Processes that share a machine should each use their
share of its cores.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

# The variables that a user can set. Each library of matrix products reads its own, or else OMP_NUM_THREADS.
VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "OMP_NUM_THREADS")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chosen_by_user() -> str | None:
    """The environment variable by which the user has set the number of threads, or None."""
    return next((name for name in VARIABLES if os.environ.get(name)), None)


def blas_threads() -> int | None:
    """How many threads matrix products use now, or None if the library does not report it."""
    from threadpoolctl import threadpool_info

    return max((library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"), default=None)


@contextmanager
def limited_blas(threads: int | None) -> Iterator[None]:
    """Within the block, matrix products use at most this many threads; afterwards, as many as before.

    None sets no limit. A number that the user has set wins.
    """
    if threads is None or chosen_by_user():
        yield
        return
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads, user_api="blas"):
        yield
