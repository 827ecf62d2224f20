"""The picture of `growth.py`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

# Okabe and Ito's colours, which colour-blind readers tell apart; the two also differ as points and as a line.
MEASURED, THEORY = "#0072B2", "#D55E00"
AXES = {
    "width": "hidden units w\n(784-w-w-10)",
    "depth": "hidden layers\nof 256 units",
    "batch": "batch size\n(784-300-300-10)",
    "classes": "classes K\n(784-300-K)",
    "samples": "samples\nof an epoch",
}
ROWS = (
    ("time", "median_seconds", "predicted_work", 1e3, "time of a step or epoch (ms)"),
    ("memory", "bytes", "predicted_bytes", 1e-6, "peak memory (MB)"),
)


def draw(section: dict[str, Any], path: Path) -> None:
    """Time above and memory below, a column for each thing that grows; both axes logarithmic."""
    sweeps = section["sweeps"]
    with plt.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure, grid = plt.subplots(2, len(sweeps), figsize=(9, 5), sharey="row", layout="constrained")
        for row, (what, measured, predicted, scale, label) in zip(grid, ROWS, strict=True):
            row[0].set_ylabel(label)
            for ax, (name, sweep) in zip(row, sweeps.items(), strict=True):
                if what in sweep["slopes"]:
                    _panel(ax, sweep, what, measured, predicted, scale)
                    ax.set_xlabel(AXES[name])
                else:
                    ax.axis("off")
        handles, labels = grid[0][0].get_legend_handles_labels()
        grid[1][-1].legend(handles, labels, loc="center", frameon=False)
        figure.savefig(path, dpi=200)
        plt.close(figure)


def _panel(ax: Axes, sweep: dict[str, Any], what: str, measured: str, predicted: str, scale: float) -> None:
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
