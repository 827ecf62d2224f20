"""How many threads NumPy's matrix products use: as many as the user's environment says, or as many as a task needs.

Small products want one thread: two would mostly wait for each other, and where another program keeps a core busy they
would wait hundreds of times as long as they work. Processes that share a machine want a share of its cores each.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

# What the user can set; each library of matrix products reads its own, and OMP_NUM_THREADS where that is missing.
VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "OMP_NUM_THREADS")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chosen_by_user() -> str | None:
    """The environment variable by which the user has chosen the number of threads; None where there is none."""
    return next((name for name in VARIABLES if os.environ.get(name)), None)


def blas_threads() -> int | None:
    """How many threads matrix products use just now; None where the library does not say."""
    from threadpoolctl import threadpool_info

    return max((library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"), default=None)


@contextmanager
def limited_blas(threads: int | None) -> Iterator[None]:
    """Matrix products use at most so many threads within the block, and as many as before after it.

    None sets no limit. What the user has chosen wins.
    """
    if threads is None or chosen_by_user():
        yield
        return
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads, user_api="blas"):
        yield
