"""What tests/test_stream.py runs in a process of its own: `python big_file.py FILE`, training on 8 GB.

Prints, as JSON: the peak of resident memory, in MB, before and after training on every row of the file; the processor
time of a step of the same network on rows of the file and on rows in memory, in turn, a pair a round, and likewise the
time on the clock; and how fast the disk was, in MB/s, once the system had let go of what it remembered of the file.

Steps are timed from the third group of blocks on, for two groups: before that, the memory in which blocks are kept is
touched for the first time. That costs more than to read them does, but once a run; "first" is the time of those steps.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from minikd import MLP, cross_entropy, fit
from minikd.scale.stream import BLOCK, GROUP, Stream, forget, streams

ROWS, COLUMNS, BATCH, FULL = 2_600_000, 784, 128, 100_000  # the first FULL rows are numbers, and no holes
WARM = STEPS = -(-2 * GROUP * (BLOCK // (4 * COLUMNS + 8)) // BATCH)  # two groups


class Enough(Exception):
    """As many steps as are timed have been taken."""


def peak() -> int:
    """The most resident memory that this process has had, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


def time_a_step(x: Any, labels: np.ndarray) -> tuple[float, float, float]:
    """Seconds of processor time, on the clock, and of processor time before; of 784-300-300-10 at batch 128."""
    times: list[tuple[float, float]] = []

    def watched(logits: Any, labels: Any) -> Any:
        times.append((time.process_time(), time.perf_counter()))
        if len(times) > WARM + STEPS:
            raise Enough
        return cross_entropy(logits, labels)

    try:
        fit(MLP((COLUMNS, 300, 300, 10)), x, labels, loss=watched, batch_size=BATCH, progress=False)
    except Enough:
        (cpu, clock), (cpu_then, clock_then) = times[-1], times[WARM]
        return (cpu - cpu_then) / STEPS, (clock - clock_then) / STEPS, (cpu_then - times[0][0]) / WARM
    raise AssertionError("there were too few steps")


def disk_speed(path: Path) -> float:
    """MB/s at which the FULL first rows come from the disk itself, from end to end."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, FULL * COLUMNS * 4, os.POSIX_FADV_DONTNEED)
    started = time.perf_counter()
    rows = Stream(np.memmap(path, "f4", "r", shape=(FULL, COLUMNS)))
    size = sum(piece.nbytes for _, piece in rows.pieces())
    return size / 1e6 / (time.perf_counter() - started)


def main() -> None:
    """Make the file, train, and say what it took."""
    path = Path(sys.argv[1])
    with open(path, "wb") as file:
        file.truncate(ROWS * COLUMNS * 4)  # full of holes, which are read as 0
    x = np.memmap(path, "f4", "r+", shape=(ROWS, COLUMNS))
    rng = np.random.default_rng(0)
    for start in range(0, FULL, 5000):
        x[start : start + 5000] = rng.random((5000, COLUMNS), dtype="f4")
        forget(x)
    x.flush()
    labels = np.arange(ROWS) % 10
    before = peak()
    history = fit(
        MLP((COLUMNS, 16, 10)), *streams(x, labels), loss=cross_entropy, epochs=1, batch_size=8192, progress=False
    )
    after = peak()
    speed = disk_speed(path)
    part, in_memory = Stream(np.memmap(path, "f4", "r", shape=(FULL, COLUMNS))), Stream(x)[:FULL]
    pairs = np.array([[time_a_step(rows, labels[:FULL]) for rows in (part, in_memory)] for _ in range(4)])
    rounds = {name: pairs[..., i].tolist() for i, name in enumerate(("rounds", "clock", "first"))}
    print(json.dumps({"before": before, "after": after, "loss": history["loss"], "disk": speed, **rounds}))


if __name__ == "__main__":
    main()
