"""What several processes gain, and what their sum costs: `python tests/benchmarks/mpi_scaling.py --json FILE`.

    sum    one Allreduce of a float32 vector, against its length, by 2 and 4 processes
    step   a step of fit on labels, by 1 and 2 processes, one thread each, on the same global batch of 256

Each point is measured by an mpiexec of its own and kept in FILE at once, so that a run that is stopped goes on with
what is missing. A point is the median over rounds of wall time; "speed-up" is a ratio of two of them. Then the model

    t = compute / N + alpha log2 N + beta · bytes · 2 (N - 1) / N

is fitted: alpha and beta, relative errors least, to every other length of the sums of 2 processes; compute is what one
process takes. Everything else is predicted. The model leaves out what does not shrink with N: Adam, and the copies
around a sum (the gradient into its buffer, weighed, and back).
Let nothing else run: with fewer free cores than processes, what is measured is the wait for a core.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from datetime import date
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

LENGTHS = (1, 1_000, 10_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
NETWORKS = ((784, 30, 30, 10), (784, 300, 300, 10), (784, 800, 800, 10), (784, 1200, 1200, 10))
BATCH, ROUNDS = 256, 7


def time_sums(length: int) -> float:
    """Seconds of an Allreduce of so many float32 numbers among the processes of this job."""
    import numpy as np
    from mpi4py import MPI

    vector, comm = np.zeros(length, "f4"), MPI.COMM_WORLD
    repeats = max(3, min(1000, 3_000_000 // length))
    rounds = []
    for _ in range(ROUNDS):
        comm.Barrier()
        started = time.perf_counter()
        for _ in range(repeats):
            comm.Allreduce(MPI.IN_PLACE, vector)
        rounds.append((time.perf_counter() - started) / repeats)
    return median(rounds[1:])


def time_steps(sizes: tuple[int, ...]) -> float:
    """Seconds of a step of fit among the processes of this job, or in this one alone."""
    import numpy as np

    from minikd import MLP, cross_entropy, fit
    from minikd.scale.mpi import world
    from minikd.scale.processes import Processes

    rng = np.random.default_rng(0)
    x, labels = rng.random((BATCH * 8, sizes[0]), dtype="f4"), rng.integers(0, sizes[-1], BATCH * 8)
    epochs: list[float] = []
    options = {"epochs": ROUNDS + 1, "batch_size": BATCH, "processes": Processes(world()), "progress": False}
    fit(MLP(sizes), x, labels, loss=cross_entropy, callbacks=[lambda *_: epochs.append(time.perf_counter())], **options)
    return median(b - a for a, b in pairwise(epochs)) / 8


def measure(kind: str, processes: int, what: str) -> float:
    """A point, by this very file under mpiexec."""
    mpiexec = Path(sys.executable).with_name("mpiexec")
    command = [str(mpiexec), "-n", str(processes), sys.executable, __file__, "--point", kind, what]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600, env=environment)
    return float(done.stdout.split()[0])


def parameters(sizes: Any) -> int:
    """How many numbers a gradient has."""
    return sum((n + 1) * m for n, m in pairwise(sizes))


def fitted(points: dict[str, float], lengths: tuple[int, ...]) -> tuple[float, float]:
    """alpha and beta, by least squares of relative errors, from the sums of two processes at these lengths."""
    # t = alpha + beta · bytes for N = 2; divided by t, so that short sums count as much as long ones.
    rows = [(1 / t, 4 * n / t) for n in lengths for t in [points[f"sum 2 {n}"]]]
    aa, ab, bb = (sum(r[i] * r[j] for r in rows) for i, j in ((0, 0), (0, 1), (1, 1)))
    a1, b1 = sum(r[0] for r in rows), sum(r[1] for r in rows)
    determinant = aa * bb - ab * ab
    return (a1 * bb - b1 * ab) / determinant, (aa * b1 - ab * a1) / determinant


def predicted_sum(alpha: float, beta: float, processes: int, length: int) -> float:
    """Seconds of a sum, by the model."""
    return alpha * math.log2(processes) + beta * 4 * length * 2 * (processes - 1) / processes


def report(content: dict[str, Any]) -> str:
    """The points beside what the model says of them."""
    points = content["points"]
    alpha, beta = fitted(points, LENGTHS[::2])
    lines = [f"{content['processor']}, {content['cores']} cores, load {content['load']}, {content['date']}"]
    lines += [
        f"alpha {1e6 * alpha:.1f} µs, beta {1e9 * beta:.3f} ns a byte",
        "",
        "sum of    processes  measured     model",
    ]
    for processes in (2, 4):
        for length in LENGTHS:
            t, model = points[f"sum {processes} {length}"], predicted_sum(alpha, beta, processes, length)
            kind = "fitted" if processes == 2 and length in LENGTHS[::2] else "predicted"
            lines.append(f"{length:>10,} {processes:>8} {1e6 * t:>9.1f} {1e6 * model:>9.1f} µs {kind}")
    lines += ["", "network               1 process  2 processes  model  speed-up"]
    for sizes in NETWORKS:
        name = "-".join(map(str, sizes))
        one, two = points[f"step 1 {name}"], points[f"step 2 {name}"]
        model = one / 2 + predicted_sum(alpha, beta, 2, parameters(sizes))
        numbers = f"{1e3 * one:>9.2f} {1e3 * two:>12.2f} {1e3 * model:>6.2f} ms {one / two:>6.2f}"
        lines.append(f"{name:<20} {numbers}")
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing, and report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, default=Path("mpi_scaling.json"))
    parser.add_argument("--point", nargs=2)
    options = parser.parse_args()
    if options.point:
        kind, what = options.point
        t = time_sums(int(what)) if kind == "sum" else time_steps(tuple(map(int, what.split("-"))))
        from mpi4py import MPI

        if MPI.COMM_WORLD.Get_rank() == 0:
            print(t)
        return
    from minikd.checkpoint import write_atomically
    from minikd.experiments.environment import processor

    about = {"processor": processor(), "cores": os.cpu_count(), "date": str(date.today()), "load": os.getloadavg()[0]}
    content = json.loads(options.json.read_text()) if options.json.exists() else {**about, "points": {}}
    jobs = [("sum", n, str(length)) for length in LENGTHS for n in (2, 4)]
    jobs += [("step", n, "-".join(map(str, sizes))) for sizes in NETWORKS for n in (1, 2)]
    for kind, processes, what in jobs:
        name = f"{kind} {processes} {what}"
        if name not in content["points"]:
            content["points"][name] = measure(kind, processes, what)
            write_atomically(options.json, json.dumps(content, indent=1).encode())
    print(report(content))


if __name__ == "__main__":
    main()
