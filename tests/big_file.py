"""What tests/test_stream.py runs in a process of its own: `python big_file.py FILE`, training on 8 GB.

Prints, as JSON: the peak of resident memory, in MB, before and after training on every row of the file, and the
processor time of a step of the same network on rows of the file and on rows in memory, in turn, a pair a round.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from minikd import MLP, cross_entropy, fit
from minikd.stream import Stream, forget

ROWS, COLUMNS, STEPS, WARM = 2_600_000, 784, 250, 30


class Enough(Exception):
    """As many steps as are timed have been taken."""


def peak() -> int:
    """The most resident memory that this process has had, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


def time_a_step(x: Any, labels: np.ndarray) -> float:
    """Seconds of processor time, of 784-300-300-10 at batch 128."""
    times: list[float] = []

    def watched(logits: Any, labels: Any) -> Any:
        times.append(time.process_time())
        if len(times) > WARM + STEPS:
            raise Enough
        return cross_entropy(logits, labels)

    try:
        fit(MLP((COLUMNS, 300, 300, 10)), x, labels, loss=watched, batch_size=128, progress=False)
    except Enough:
        return (times[-1] - times[WARM]) / STEPS
    raise AssertionError("there were too few steps")


def main() -> None:
    """Make the file, train, and say what it took."""
    path = Path(sys.argv[1])
    with open(path, "wb") as file:
        file.truncate(ROWS * COLUMNS * 4)  # full of holes, which are read as 0
    x = np.memmap(path, "f4", "r+", shape=(ROWS, COLUMNS))
    some = np.random.default_rng(0).random((1000, COLUMNS), dtype="f4")
    for start in range(0, ROWS, ROWS // 20):  # a pattern here and there
        x[start : start + len(some)] = some
    x.flush()
    forget(x)
    labels = np.arange(ROWS) % 10
    before = peak()
    history = fit(MLP((COLUMNS, 16, 10)), x, labels, loss=cross_entropy, epochs=1, batch_size=8192, progress=False)
    after = peak()
    n = 60_000
    part, in_memory = np.memmap(path, "f4", "r", shape=(n, COLUMNS)), np.array(Stream(x)[:n])
    rounds = [(time_a_step(part, labels[:n]), time_a_step(in_memory, labels[:n])) for _ in range(4)]
    print(json.dumps({"before": before, "after": after, "loss": history["loss"], "rounds": rounds}))


if __name__ == "__main__":
    main()
