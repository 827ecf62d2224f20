"""Two pictures of the README, drawn from a run of `minikd distill` on digits: the diagram and the student on a chip.

minikd distill --out RUN_FOLDER
python tests/pictures.py RUN_FOLDER docs
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from minikd import MLP, load_data, softmax
from minikd.data import few
from minikd.exchange.cost import precision_table
from minikd.exchange.int8 import quantise
from minikd.report.diagram import distillation
from minikd.report.style import LOOKS, SMALL, log_scale, new_figure, save, styled

TEMPERATURE = 4.0
SEEDS = 5
FLASH = 16_384  # bytes, of an STM32F030F4, a small microcontroller
MODELS = {"teacher": "teacher", "labels alone": "labels", "distilled": "distilled"}


def network(run: Path, name: str, seed: int) -> MLP:
    """A network of the run."""
    return MLP.load(run / f"{name}-{seed}.safetensors")


def diagram(run: Path) -> Any:
    """Of the images that the students are shown, the one of which the teacher finds another class nearest."""
    data = load_data("digits")
    shown = few(data.y_train, 100, seed=0)
    x, y = data.x_train[shown], data.y_train[shown]
    models = [network(run, name, 0) for name in ("teacher", "distilled")]
    p, q = (softmax(model.predict(x), TEMPERATURE) for model in models)  # (100, 10)
    right = (p.argmax(axis=1) == y) & (q.argmax(axis=1) == y)
    at = int(np.where(right, np.sort(p, axis=1)[:, -2], 0).argmax())
    sizes = [f"{model.num_params:,} parameters" for model in models]
    return distillation(x[at].reshape(data.image_shape), (p[at], q[at]), int(y[at]), sizes, TEMPERATURE)


def measured(run: Path) -> dict[tuple[str, str], tuple[int, np.ndarray]]:
    """(network, precision) -> bytes of its tables, and test errors (seeds,)."""
    data = load_data("digits")
    found: dict[tuple[str, str], tuple[int, list[int]]] = {}
    for seed in range(SEEDS):
        for name, file in MODELS.items():
            model = network(run, file, seed)
            for row in precision_table(model, data.x_test, data.y_test, quantise(model, data.x_train))[1:]:
                size, errors = (int(cell.replace(",", "")) for cell in row[1:3])
                found.setdefault((name, row[0]), (size, []))[1].append(errors)
    return {key: (size, np.array(errors)) for key, (size, errors) in found.items()}


@styled
def chip(points: dict[tuple[str, str], tuple[int, np.ndarray]]) -> Any:
    """Test errors against the bytes of a network's tables."""
    figure = new_figure(7, 4)
    axes: Any = figure.subplots()
    for (name, _), (colour, line, marker) in zip(((name, "") for name in MODELS), LOOKS, strict=False):
        mine = {precision: point for (model, precision), point in points.items() if model == name}
        x, y = [size / 1000 for size, _ in mine.values()], [errors.mean() for _, errors in mine.values()]
        axes.plot(x, y, ls=line, marker=marker, color=colour, label=name)
        for precision, at, height in zip(mine, x, y, strict=True):
            beside = (
                {"ha": "left", "xytext": (-6, -16)} if precision == "float32" else {"ha": "center", "xytext": (0, -16)}
            )
            axes.annotate(precision, (at, height), textcoords="offset points", fontsize=SMALL, **beside)
    axes.axvline(FLASH / 1000, color="#555555", lw=1, ls=":")
    axes.text(FLASH / 1000 * 0.97, 42, "16 KiB of flash:\nan STM32F030F4", fontsize=SMALL, ha="right")
    axes.set_xscale("log")
    log_scale(axes.xaxis)
    axes.set(xlabel="size of the network in kB", ylabel="errors on 536 test images", xlim=(4, 500), ylim=(0, None))
    axes.legend(loc="upper right")
    return figure


def main(run: Path, docs: Path) -> None:
    """Both pictures, and the numbers of the second."""
    save(diagram(run), docs / "diagram.png")
    points = measured(run)
    for (name, precision), (size, errors) in points.items():
        print(f"{name:<13} {precision:<8} {size:>8,} bytes {errors.mean():5.1f} ± {errors.std(ddof=1):.1f} errors")
    save(chip(points), docs / "chip.png")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
