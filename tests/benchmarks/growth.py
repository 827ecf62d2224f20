"""The section `growth`: how minikd's time and memory for a training step grow with width, depth, batch and number of
classes, and the time of an epoch with the number of samples; and whether that is how they should grow.

Theory says that time follows the multiply-adds of the matrix products, and memory the bytes of the arrays. Measured
slopes (of the logarithms, by least squares over the upper half of each range) stand beside the slopes of theory
through the same points, so that theory, too, is bent where a part that does not grow is still large.
"""

from __future__ import annotations

import math
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from processes import PAUSE, Setup, Worker
from report import say, seconds, table

Sizes = tuple[int, ...]
TRACED_STEPS = 3
EPOCH_SIZES, EPOCH_BATCH = (784, 300, 300, 10), 128
# Okabe and Ito's colours, which colour-blind readers tell apart; the two also differ as points and as a line.
MEASURED, THEORY = "#0072B2", "#D55E00"


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
    from contenders import batch_of, with_minikd

    from minikd import MLP, Adam, distillation_loss

    with_minikd((4, 3, 3, 2), 2, "cpu").step()  # kernels are compiled, or read, when they are first needed
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


def cases(setup: Setup) -> list[dict[str, Any]]:
    """The names of the sweeps."""
    return [{"sweep": name} for name in SWEEPS]


def measure(setup: Setup, workers: dict[str, Worker], case: dict[str, Any]) -> dict[str, Any]:
    """A sweep, one round after another, with the slopes of what was found and of theory; on the CPU only."""
    name, sweep = case["sweep"], SWEEPS[case["sweep"]]
    say(f"growth: {sweep.label}")
    worker = workers["plain" if "fast" in setup.missing else "fast"]
    points = [_point(name, value) for value in (sweep.values[:4] if setup.quick else sweep.values)]
    for _ in range(setup.rounds):
        for point in points:
            time.sleep(PAUSE)
            if name == "samples":
                found = worker.run("growth:time_epoch", sizes=point["sizes"], samples=point["value"])
            else:
                case_of = {"sizes": point["sizes"], "batch": point["batch"]}
                found = worker.run("growth:time_step", **case_of, seconds=setup.seconds / 2)
            point["seconds"].append(found)
    for point in points:
        point["median_seconds"] = median(point["seconds"])
        if name != "samples":
            worker.close()  # a new process, so that nothing is there already
            found = worker.run("growth:peak_bytes", sizes=point["sizes"], batch=point["batch"])
            point |= {"bytes": found["peak"], "building_bytes": found["building"]}
    return {**case, "minikd": worker.name, "label": sweep.label, "points": points, "slopes": _slopes(points)}


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


def growth_table(rows: Sequence[dict[str, Any]]) -> str:
    """The table of `measure`: what each cost grew from and to, and the slopes."""
    lines = []
    for sweep in rows:
        first, last = sweep["points"][0], sweep["points"][-1]
        for what, slopes in sweep["slopes"].items():
            if what == "time":
                costs = [seconds(point["median_seconds"]) for point in (first, last)]
            else:
                costs = [f"{point['bytes'] / 1e6:.3g} MB" for point in (first, last)]
            values = [f"{point['value']:,}" for point in (first, last)]
            lines.append([sweep["label"], *values, what, *costs, *(f"{s:.2f}" for s in slopes.values())])
    head = ["what grows", "from", "to", "", "from", "to", "slope", "theory"]
    title = "### How cost grows: slopes of log cost against log value, upper half of each range"
    legend = "theory: multiply-adds of the products for time, bytes of the arrays for memory."
    return "\n\n".join([title, table(head, lines), legend])


# ---- the picture ----------------------------------------------------------------------------------------------


AXES = {
    "width": "hidden units w\n(784-w-w-10)",
    "depth": "hidden layers\nof 256 units",
    "batch": "batch size\n(784-300-300-10)",
    "classes": "classes K\n(784-300-K)",
    "samples": "samples\nof an epoch",
}
COSTS = (
    ("time", "median_seconds", "predicted_work", 1e3, "time of a step or epoch (ms)"),
    ("memory", "bytes", "predicted_bytes", 1e-6, "peak memory (MB)"),
)


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Time above and memory below, a column for each thing that grows; both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with plt.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure, grid = plt.subplots(2, len(rows), figsize=(9, 5), sharey="row", layout="constrained")
        for axes, (what, measured, predicted, scale, label) in zip(grid, COSTS, strict=True):
            axes[0].set_ylabel(label)
            for ax, sweep in zip(axes, rows, strict=True):
                if what in sweep["slopes"]:
                    _panel(ax, sweep, what, measured, predicted, scale)
                    ax.set_xlabel(AXES[sweep["sweep"]])
                else:
                    ax.axis("off")
        handles, labels = grid[0][0].get_legend_handles_labels()
        grid[1][-1].legend(handles, labels, loc="center", frameon=False)
        figure.savefig(path, dpi=200)
        plt.close(figure)


def _panel(ax: Any, sweep: dict[str, Any], what: str, measured: str, predicted: str, scale: float) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

    values = [point["value"] for point in sweep["points"]]
    costs = [point[measured] * scale for point in sweep["points"]]
    theory = [point[predicted] for point in sweep["points"]]
    # Theory knows the shape and not the speed of the machine: it is drawn through the geometric mean.
    logs = [math.log(cost / t) for cost, t in zip(costs, theory, strict=True)]
    factor = math.exp(sum(logs) / len(logs))
    ax.plot(values, [factor * t for t in theory], color=THEORY, linewidth=1.5, label="theory, scaled")
    ax.plot(values, costs, "o", color=MEASURED, markersize=4.5, label="measured")
    ax.set_xscale("log")
    ax.set_yscale("log")
    some = sorted({values[0], values[len(values) // 2], values[-1]})
    ax.set_xticks(some, [f"{value:,}" if value < 10_000 else f"{value // 1000}k" for value in some])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.grid(True, color="0.9", linewidth=0.6)
    slopes = sweep["slopes"][what]
    ax.set_title(f"slope {slopes['measured']:.2f}\ntheory {slopes['theory']:.2f}", fontsize=9)
