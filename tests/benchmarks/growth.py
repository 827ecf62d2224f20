"""How minikd's cost grows: time and memory of a training step against width, depth, batch and number of classes, and
time of an epoch against number of samples; and whether that is how it should grow.

    python tests/benchmarks/growth.py --json FILE --plot FILE.png

Theory says that time follows the multiply-adds of the matrix products, and memory the bytes of the arrays. Measured
slopes (of the logarithms, by least squares over the upper half of each range) stand beside the slopes of theory
through the same points, so that theory, too, is bent where a part that does not grow is still large.
"""

from __future__ import annotations

import argparse
import math
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from command import add_options, start, write
from machine import Others, headline
from processes import PAUSE, Setup
from report import say, seconds, table

Sizes = tuple[int, ...]
TRACED_STEPS = 3
EPOCH_SIZES, EPOCH_BATCH = (784, 300, 300, 10), 128


@dataclass(frozen=True)
class Sweep:
    """One thing that grows: its values, and the sizes and batch of the network for each."""

    label: str
    values: tuple[int, ...]
    network: Callable[[int], tuple[Sizes, int]]


SWEEPS = {
    "width": Sweep("hidden units w in 784-w-w-10", (64, 128, 256, 512, 1024, 2048), lambda w: ((784, w, w, 10), 128)),
    "depth": Sweep("hidden layers of 256", (1, 2, 4, 8, 16), lambda d: ((784, *[256] * d, 10), 128)),
    "batch": Sweep("batch size", (16, 32, 64, 128, 256, 512, 1024, 2048), lambda b: ((784, 300, 300, 10), b)),
    "classes": Sweep("classes K in 784-300-K", (10, 30, 100, 300, 1000, 3000, 10_000), lambda k: ((784, 300, k), 128)),
    "samples": Sweep("samples of an epoch", (1000, 2000, 4000, 8000, 16_000, 32_000), lambda n: (EPOCH_SIZES, n)),
}


# ---- theory ---------------------------------------------------------------------------------------------------


def predicted_work(sizes: Sequence[int], batch: int) -> int:
    """Multiply-adds of a training step: a product for z and one for dW in each layer, one for dx in all but the first.

    Also those of an epoch, with its samples for the batch.
    """
    products = [n * m for n, m in pairwise(sizes)]
    return batch * (3 * sum(products) - products[0])


def predicted_bytes(sizes: Sequence[int], batch: int) -> int:
    """Bytes of the float32 arrays of a training step: parameters, gradients and Adam's two vectors; z, a and their
    gradient in each hidden layer; and for the outputs the logits, the teacher's softened probabilities and the two
    parts of the loss's gradient.
    """
    parameters = sum((n + 1) * m for n, m in pairwise(sizes))
    return 4 * (4 * parameters + batch * (3 * sum(sizes[1:-1]) + 4 * sizes[-1]))


def slope(values: Sequence[float], costs: Sequence[float]) -> float:
    """The slope of log cost against log value, by least squares, over the upper half of the (logarithmic) range."""
    middle = math.sqrt(values[0] * values[-1])
    points = [(math.log(v), math.log(c)) for v, c in zip(values, costs, strict=True) if v > 0.99 * middle]
    mean_x, mean_y = (sum(column) / len(points) for column in zip(*points, strict=True))
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


# ---- measuring, in a worker -----------------------------------------------------------------------------------


def time_step(sizes: Sequence[int], batch: int, seconds: float) -> float:
    """Seconds of a distillation step, timed as in the section `step`."""
    from contenders import with_minikd

    return with_minikd(sizes, batch, "cpu").time(seconds)


def time_epoch(sizes: Sequence[int], samples: int) -> float:
    """Seconds of an epoch of `fit` on that many random samples, by its own clock; the second one that it runs."""
    import numpy as np

    from minikd import MLP, Adam, cross_entropy, fit

    rng = np.random.default_rng(0)
    x = rng.standard_normal((samples, sizes[0]), dtype="float32")
    labels = rng.integers(0, sizes[-1], samples)
    model = MLP(sizes)
    times: list[float] = []
    fit(
        model,
        x,
        labels,
        loss=cross_entropy,
        optimizer=Adam(model),
        epochs=2,
        batch_size=EPOCH_BATCH,
        progress=False,
        callbacks=[lambda model, history: times.append(history.seconds)],
    )
    return times[1] - times[0]


def peak_bytes(sizes: Sequence[int], batch: int) -> dict[str, int]:
    """The most bytes held at once, from making the network and Adam through some steps; the batch is not counted.

    `building` is the peak of the first part alone, where random numbers are drawn in float64.
    """
    from contenders import batch_of

    from minikd import MLP, Adam, distillation_loss

    x, labels, teacher_logits = batch_of(sizes, batch)
    tracemalloc.start()
    model = MLP(sizes)
    optimizer = Adam(model)
    building = tracemalloc.get_traced_memory()[1]
    for _ in range(TRACED_STEPS):
        logits = model.forward(x, train=True)
        _, dlogits = distillation_loss(logits, labels, teacher_logits)
        model.backward(dlogits, need_dx=False)
        optimizer.step()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"building": building, "peak": peak}


# ---- the section ----------------------------------------------------------------------------------------------


def measure(setup: Setup) -> dict[str, Any]:
    """Every sweep, one round after another, with the slopes of what was found and of theory; on the CPU only."""
    if setup.device != "cpu":
        raise ValueError("it is measured on the CPU only")
    sweeps: dict[str, Any] = {}
    with setup.workers(["growth"], minikd=["growth"]) as workers:
        for name, sweep in SWEEPS.items():
            say(f"growth: {sweep.label}")
            values = sweep.values[:4] if setup.quick else sweep.values
            points = [_point(name, value) for value in values]
            for _ in range(setup.rounds):
                for point in points:
                    time.sleep(PAUSE)
                    arguments = {"sizes": point["sizes"], "batch": point["batch"], "seconds": setup.seconds / 2}
                    if name == "samples":
                        arguments = {"sizes": point["sizes"], "samples": point["value"]}
                    target = "growth:time_epoch" if name == "samples" else "growth:time_step"
                    point["seconds"].append(workers["growth"].run(target, **arguments))
            for point in points:
                point["median_seconds"] = median(point["seconds"])
                if name != "samples":
                    workers["growth"].close()  # a new process: minikd keeps arrays to use them again
                    found = workers["growth"].run("growth:peak_bytes", sizes=point["sizes"], batch=point["batch"])
                    point |= {"bytes": found["peak"], "building_bytes": found["building"]}
            sweeps[name] = {"label": sweep.label, "points": points, "slopes": _slopes(points)}
    return {"sweeps": sweeps}


def _point(name: str, value: int) -> dict[str, Any]:
    sizes, batch = SWEEPS[name].network(value)
    point: dict[str, Any] = {"value": value, "sizes": sizes, "batch": batch, "seconds": []}
    point["predicted_work"] = predicted_work(sizes, batch)
    if name == "samples":
        return point | {"batch": EPOCH_BATCH}
    return point | {"predicted_bytes": predicted_bytes(sizes, batch)}


def _slopes(points: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    slopes = {}
    for what, measured, predicted in (
        ("time", "median_seconds", "predicted_work"),
        ("memory", "bytes", "predicted_bytes"),
    ):
        if measured in points[0]:
            values = [point["value"] for point in points]
            slopes[what] = {
                "measured": slope(values, [point[measured] for point in points]),
                "theory": slope(values, [point[predicted] for point in points]),
            }
    return slopes


def growth_table(section: dict[str, Any]) -> str:
    """The table of `measure`: what each cost grew from and to, and the slopes."""
    rows = []
    for sweep in section["sweeps"].values():
        first, last = sweep["points"][0], sweep["points"][-1]
        for what, slopes in sweep["slopes"].items():
            if what == "time":
                costs = [seconds(point["median_seconds"]) for point in (first, last)]
            else:
                costs = [f"{point['bytes'] / 1e6:.3g} MB" for point in (first, last)]
            values = [f"{point['value']:,}" for point in (first, last)]
            rows.append([sweep["label"], *values, what, *costs, *(f"{s:.2f}" for s in slopes.values())])
    head = ["what grows", "from", "to", "", "from", "to", "slope", "theory"]
    lines = ["How cost grows: slopes of log cost against log value, upper half of each range", "", table(head, rows)]
    return "\n".join([*lines, "", "theory: multiply-adds of the products for time, bytes of the arrays for memory."])


def main() -> None:
    """The command."""
    parser = add_options(argparse.ArgumentParser(description="Measure how minikd's cost grows."))
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw time and memory here, as PNG, SVG or PDF")
    options = parser.parse_args()
    setup, document = start(options)
    print(headline(document["machine"]), flush=True)
    others = Others()
    section = measure(setup)
    print(f"\n{growth_table(section)}\n{others.warning()}", end="")
    document["sections"]["growth"] = {"share_of_others": others.share(), **section}
    write(options.json, document)
    if options.plot:
        from growth_plot import draw

        draw(section, options.plot)


if __name__ == "__main__":
    main()
