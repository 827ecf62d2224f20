"""The sections `step` and `predict`: minikd against its rivals, each in a process of its own, in turn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from processes import Setup, Worker, WorkerError, failure, in_turn
from report import Results, add_medians, complaints, geometric_mean, ratio, ratio_cell, say, table, time_cell

TOLERANCE = 1e-4  # root mean square of differences from minikd's losses and logits, as a part of the largest

STEP_CASES = (
    ((64, 32, 10), 32),
    ((784, 30, 30, 10), 128),
    ((784, 300, 300, 10), 128),
    ((784, 800, 800, 10), 128),
    ((784, 1200, 1200, 10), 128),
    ((784, 1200, 1200, 10), 512),
)
STEP_CONTENDERS = {
    "minikd": "contenders:with_minikd",
    "torch": "contenders:with_torch",
    "compile": "contenders:with_compiled_torch",
    "jax": "contenders:with_jax",
    "floor": "contenders:products_alone",
}
STEP_RATIOS = (("minikd", "torch"), ("minikd", "compile"), ("minikd", "jax"), ("floor", "minikd"))

PREDICT_CASES = (
    ((784, 300, 300, 10), 1),
    ((784, 300, 300, 10), 10_000),
    ((784, 1200, 1200, 10), 1),
    ((784, 1200, 1200, 10), 10_000),
)
PREDICT_CONTENDERS = {
    "minikd": "predictors:with_minikd",
    "torch": "predictors:with_torch",
    "onnx": "predictors:with_onnxruntime",
}
PREDICT_RATIOS = (("minikd", "torch"), ("minikd", "onnx"))

Case = tuple[Sequence[int], int]


def measure_step(setup: Setup) -> dict[str, Any]:
    """Seconds of a distillation step, and how they compare."""
    cases = STEP_CASES[:3] if setup.quick else STEP_CASES
    return _measure(setup, "step", cases, STEP_CONTENDERS, STEP_RATIOS)


def measure_predict(setup: Setup) -> dict[str, Any]:
    """Seconds of the logits of a batch, and how they compare."""
    return _measure(setup, "predict", PREDICT_CASES, PREDICT_CONTENDERS, PREDICT_RATIOS)


def step_table(section: dict[str, Any]) -> str:
    """The table of `measure_step`."""
    head = "Distillation step: forward, loss, backward, Adam"
    tail = ["floor/m: the part of minikd's time that its matrix products take when they run alone."]
    return _table(section, head, tail, STEP_CONTENDERS, STEP_RATIOS)


def predict_table(section: dict[str, Any]) -> str:
    """The table of `measure_predict`."""
    return _table(section, "Prediction: the logits of a batch", [], PREDICT_CONTENDERS, PREDICT_RATIOS)


def _measure(
    setup: Setup,
    section: str,
    cases: Sequence[Case],
    contenders: dict[str, str],
    ratios: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    rows = []
    with setup.workers(list(contenders), minikd=("minikd", "floor")) as workers:
        for sizes, batch in cases:
            name = "-".join(map(str, sizes))
            say(f"{section}: {name}, batch {batch}")
            results = _compete(setup, workers, contenders, {"sizes": sizes, "batch": batch, "device": setup.device})
            found = {f"{a}/{b}": ratio(results, a, b) for a, b in ratios}
            rows.append({"network": name, "batch": batch, "contenders": results, "ratios": found})
    against = [row["ratios"]["minikd/torch"] for row in rows]
    mean = geometric_mean([value["median"] for value in against if value])
    return {"unit": "seconds", "rows": rows, "geometric_mean": {"minikd/torch": mean}}


def _compete(setup: Setup, workers: dict[str, Worker], contenders: dict[str, str], case: dict[str, Any]) -> Results:
    """Build a case everywhere, compare what comes out with minikd's, and time in turn what agrees."""
    out: Results = {}
    details: dict[str, dict[str, Any]] = {}
    measures, reference = {}, None
    for name, target in contenders.items():
        try:
            workers[name].make(target, **case)
            answer = workers[name].call("check")
            details[name] = {"note": workers[name].call("describe")}
        except WorkerError as error:
            out[name] = failure(error)
            continue
        if name == "minikd":
            reference = answer
        if answer:  # the floor has no answer
            found = _differences(answer, reference)
            details[name] |= {key: value for key, value in found.items() if math.isfinite(value)}
            difference = found["difference"]
            if not difference <= TOLERANCE:
                message = f"losses or logits differ from minikd's by {difference:.1e} of the largest"
                out[name] = {"status": "differs", "message": message}
                continue
        measures[name] = partial(workers[name].call, "time", seconds=setup.seconds)
    out |= in_turn(measures, setup.rounds)
    return add_medians({name: {**details.get(name, {}), **out[name]} for name in contenders})


def _differences(answer: dict[str, Any], reference: dict[str, Any] | None) -> dict[str, float]:
    """How far losses and logits are from the reference, as a part of its largest magnitude: the root of the mean
    square, which decides, and the worst of all numbers, for the file. NaN where there is no reference.

    The worst one is partly luck: where rounding takes an input of a ReLU to the other side of 0, a unit that no other
    sample wakes gets a gradient, and Adam makes a whole step of the smallest one. That shows in that sample's logits.
    """
    if reference is None:
        return {"difference": math.nan}
    mean, worst = 0.0, 0.0
    for name, values in answer.items():
        expected = np.array(reference[name])
        errors = (np.array(values) - expected) / np.abs(expected).max()
        # np.maximum, unlike max, keeps NaN
        mean, worst = np.maximum(mean, np.sqrt((errors**2).mean())), np.maximum(worst, np.abs(errors).max())
    return {"difference": float(mean), "largest_difference": float(worst)}


def _table(
    section: dict[str, Any], title: str, legend: list[str], names: Sequence[str], ratios: Sequence[tuple[str, str]]
) -> str:
    head = ["network", "batch", *names, *(f"{a}/{b}".replace("minikd", "m") for a, b in ratios)]
    rows = [
        [row["network"], f"{row['batch']:,}"]
        + [time_cell(row["contenders"], name) for name in names]
        + [ratio_cell(row["ratios"][f"{a}/{b}"]) for a, b in ratios]
        for row in section["rows"]
    ]
    lines = [title, "", table(head, rows), ""]
    lines.append("m/...: minikd's time over the other's, within a round, median over rounds; below 1 minikd is faster.")
    mean = section["geometric_mean"]["minikd/torch"]
    if mean is not None:
        lines.append(f"Geometric mean of m/torch: {mean:.2f}.")
    where = [(f"{row['network']}, batch {row['batch']}", row["contenders"]) for row in section["rows"]]
    return "\n".join([*lines, *legend, *complaints(where)])
