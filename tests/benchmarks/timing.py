"""How a contender is timed; runs inside the workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

WARM_UP = 5  # runs before the clock starts: buffers, caches, and whatever a library still has to compile
BLOCK = 0.05  # seconds: long enough that looking at the clock, and waiting at the end, cost nothing


def median_seconds(run: Callable[[], Any], wait: Callable[[Any], Any], seconds: float) -> float:
    """The median time of `run()` over blocks of runs that fill `seconds`, at least three.

    `wait`, given what the last run of a block returned, comes back when the device has done everything; within a
    block nothing waits for anything, as in a training loop that does not look at its losses.
    """
    for _ in range(WARM_UP - 1):
        wait(run())
    started = time.perf_counter()
    wait(run())
    length = max(1, round(BLOCK / (time.perf_counter() - started)))
    blocks: list[float] = []
    end = time.perf_counter() + seconds
    while len(blocks) < 3 or time.perf_counter() < end:
        started = time.perf_counter()
        for _ in range(length):
            value = run()
        wait(value)
        blocks.append((time.perf_counter() - started) / length)
    return median(blocks)
