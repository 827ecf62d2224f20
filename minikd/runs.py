"""What long runs share: seeds side by side in processes, and a note of the machine that they ran on."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from multiprocessing import get_context
from typing import Any

from .blas import processor


def in_processes(function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], jobs: int) -> list[Any]:
    """function(*task) for each task, so many at a time, in processes that share the cores out; results in order.

    `function` must be one that a fresh process can import.
    """
    # A fresh process reads this when its NumPy loads.
    os.environ["OPENBLAS_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // jobs))
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        return list(pool.map(function, *zip(*tasks, strict=True)))


@contextmanager
def beside(function: Callable[..., Any], *arguments: Any) -> Iterator[None]:
    """Run function(*arguments) in a process of its own while the block runs, on another core; raises what it raises.

    `function` must be one that a fresh process can import. With one core it runs afterwards.
    """
    if (os.cpu_count() or 1) < 2:
        yield
        function(*arguments)
        return
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        running = pool.submit(function, *arguments)
        yield
        running.result()


def machine() -> dict[str, Any]:
    """What the numbers were measured on and with."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": os.environ.get("OPENBLAS_NUM_THREADS", "one a core"),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("minikd", "numpy")}},
    }
