"""The sections `step`, `predict` and `fit`: minikd against its rivals and against itself, in turn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from processes import Setup, Worker, WorkerError, failure, in_turn
from report import Results, row_of, say, section_tables

TOLERANCE = 1e-4  # root mean square of differences from minikd's losses and logits, as a part of the largest
REFERENCE = "plain"
# Of the batches to agree on. Where rounding takes an input of a ReLU to the other side of 0, or a gradient that is
# almost 0, Adam makes a whole step of it. That is bad luck with one batch; an error shows with every one.
SEEDS = (3, 4, 5)

STEP_CONTENDERS = {
    "plain": "contenders:with_minikd",
    "fast": "contenders:with_minikd",
    "old": "contenders:with_minikd",
    "torch": "contenders:with_torch",
    "compile": "contenders:with_compiled_torch",
    "jax": "contenders:with_jax",
    "floor": "contenders:products_alone",
}
STEP_RATIOS = ["fast/old", "fast/torch", "fast/compile", "fast/jax", "floor/fast"]
STEP_RATIOS += ["plain/old", "plain/torch", "plain/compile", "plain/jax", "floor/plain"]

PREDICT_CONTENDERS = {
    "plain": "predictors:with_minikd",
    "fast": "predictors:with_minikd",
    "old": "predictors:with_minikd",
    "torch": "predictors:with_torch",
    "onnx": "predictors:with_onnxruntime",
}
PREDICT_RATIOS = ["fast/old", "fast/torch", "fast/onnx", "plain/old", "plain/torch", "plain/onnx"]

BATCH = 128
WAYS = ("steps", "fit", "distill")
FIT_RATIOS = ["fit/steps", "fit call/steps", "distill/fit"]
MORE_WAYS, MORE_RATIOS = ("dropout", "jitter"), ["dropout/fit", "jitter/fit"]


def step_cases(setup: Setup) -> list[dict[str, Any]]:
    """The networks of the section `step`."""
    cases = [
        {"network": "64-32-10", "batch": 32},
        {"network": "784-30-30-10", "batch": 128},
        {"network": "784-300-300-10", "batch": 128},
        {"network": "784-800-800-10", "batch": 128},
        {"network": "784-1200-1200-10", "batch": 128},
        {"network": "784-1200-1200-10", "batch": 512},
    ]
    return cases[:3] if setup.quick else cases


def predict_cases(setup: Setup) -> list[dict[str, Any]]:
    """The networks of the section `predict`."""
    return [{"network": f"784-{n}-{n}-10", "batch": batch} for n in (300, 1200) for batch in (1, 10_000)]


def fit_cases(setup: Setup) -> list[dict[str, Any]]:
    """The networks of the section `fit`; a wide one takes as long for fewer samples."""
    samples = {300: 25_600, 800: 6_400, 1200: 6_400}
    return [
        {"network": f"784-{n}-{n}-10", "samples": 1_280 if setup.quick else samples[n], "minikd": name}
        for n in samples
        for name in ("plain", "fast")
    ]


def measure_step(setup: Setup, workers: dict[str, Worker], case: dict[str, Any]) -> dict[str, Any]:
    """Seconds of a distillation step, and how they compare."""
    return _compete(setup, workers, STEP_CONTENDERS, STEP_RATIOS, case)


def measure_predict(setup: Setup, workers: dict[str, Worker], case: dict[str, Any]) -> dict[str, Any]:
    """Seconds of the logits of a batch, and how they compare."""
    return _compete(setup, workers, PREDICT_CONTENDERS, PREDICT_RATIOS, case)


def measure_fit(setup: Setup, workers: dict[str, Worker], case: dict[str, Any]) -> dict[str, Any]:
    """Seconds of an epoch in each way, all in one process, in turn; more ways for the widest network."""
    say(f"fit: {case['network']}, {case['minikd']}")
    worker, more = workers[case["minikd"]], "1200" in case["network"]
    ways = (*WAYS, *(MORE_WAYS if more else ()))
    try:
        arguments = {"sizes": _sizes(case), "samples": case["samples"], "batch": BATCH, "device": setup.device}
        worker.make("epochs:Epochs", **arguments)
        results = in_turn({name: partial(worker.call, name) for name in ways}, setup.rounds)
    except WorkerError as error:
        results = {name: failure(error) for name in ways}
    return row_of(case, results, FIT_RATIOS + (MORE_RATIOS if more else []))


def step_table(rows: Sequence[dict[str, Any]]) -> str:
    """The tables of `measure_step`."""
    return f"### A distillation step: forward, loss, backward, Adam\n\n{section_tables(rows)}"


def predict_table(rows: Sequence[dict[str, Any]]) -> str:
    """The tables of `measure_predict`."""
    return f"### The logits of a batch\n\n{section_tables(rows)}"


def fit_table(rows: Sequence[dict[str, Any]]) -> str:
    """The tables of `measure_fit`."""
    return f"### An epoch on MNIST, batch {BATCH}, and as many bare steps on one batch\n\n{section_tables(rows)}"


def _compete(
    setup: Setup,
    workers: dict[str, Worker],
    contenders: dict[str, str],
    ratios: Sequence[str],
    case: dict[str, Any],
) -> dict[str, Any]:
    """Build a case everywhere, compare what comes out with the reference, and time in turn what agrees."""
    say(f"{case['network']}, batch {case['batch']}")
    out: Results = {}
    measures, references = {}, {}
    for name, target in contenders.items():
        made = {"sizes": _sizes(case), "batch": case["batch"], "device": setup.device}
        try:
            if name == REFERENCE:
                for seed in SEEDS:
                    workers[name].make(target, **made, seed=seed)
                    references[seed] = workers[name].call("check")
            found = _agreement(workers[name], target, made, references)
            note = workers[name].call("describe")
        except WorkerError as error:
            out[name] = failure(error)
            continue
        out[name] = {"note": note, **found} if note else found
        if "message" not in found:
            measures[name] = partial(workers[name].call, "time", seconds=setup.seconds)
    for name, result in in_turn(measures, setup.rounds).items():
        out[name] |= result
    return row_of(case, out, ratios)


def _agreement(worker: Worker, target: str, made: dict[str, Any], references: dict[int, Any]) -> dict[str, Any]:
    """Build a contender on the first batch on which it agrees with the reference, and say how closely."""
    if not references:
        raise WorkerError(f"there is no {REFERENCE} to compare with")
    least = math.inf
    for seed, reference in references.items():
        worker.make(target, **made, seed=seed)
        difference = _difference(worker.call("check"), reference)
        if difference <= TOLERANCE:
            return {"difference": difference, "seed": seed}
        least = min(least, difference)
    message = f"losses or logits differ from minikd's by {least:.1e} of the largest"
    return {"status": "differs", "message": message}


def _difference(answer: dict[str, Any], reference: dict[str, Any]) -> float:
    """How far losses and logits are from the reference: the root of the mean square, as a part of the largest."""
    differences = [0.0]  # the floor has no answer
    for name, values in answer.items():
        expected = np.array(reference[name])
        differences.append(np.sqrt(((np.array(values) - expected) ** 2).mean()) / np.abs(expected).max())
    return float(np.max(differences))  # unlike max, it keeps NaN


def _sizes(case: dict[str, Any]) -> list[int]:
    return list(map(int, case["network"].split("-")))
