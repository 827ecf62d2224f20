"""The section `fit`: what the training loop costs beside its steps, and dropout and augmentation beside the loop."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from processes import Setup, Worker, WorkerError, failure, in_turn
from report import Results, add_medians, complaints, ratio, ratio_cell, say, table, time_cell

BATCH = 128
# A wide network takes as long for a part of the samples as a narrow one for all.
CASES = (((784, 300, 300, 10), 50_000), ((784, 800, 800, 10), 12_800), ((784, 1200, 1200, 10), 6_400))
QUICK = 2_000
RATIOS = (("fit", "steps"), ("fit call", "steps"), ("distill", "fit"))
EXTRAS = (("dropout", "fit"), ("jitter", "fit"), ("both", "fit"))


def measure(setup: Setup) -> dict[str, Any]:
    """Seconds of an epoch in each way, all in one process, in turn."""
    rows = []
    with setup.workers(["epochs"], minikd=["epochs"]) as workers:
        for sizes, samples in CASES:
            samples = QUICK if setup.quick else samples
            name = "-".join(map(str, sizes))
            say(f"fit: {name}, {samples:,} samples")
            row: dict[str, Any] = {"network": name, "samples": samples}
            results = _take(setup, workers["epochs"], sizes, samples, ("steps", "fit", "distill"), row)
            row |= {"times": results, "ratios": {f"{a}/{b}": ratio(results, a, b) for a, b in RATIOS}}
            rows.append(row)
        say(f"fit: {name} with dropout and jitter")
        extra: dict[str, Any] = {"network": name, "samples": samples}
        results = _take(setup, workers["epochs"], sizes, samples, ("fit", "dropout", "jitter", "both"), extra)
        extra |= {"times": results, "ratios": {f"{a}/{b}": ratio(results, a, b) for a, b in EXTRAS}}
    return {"unit": "seconds", "batch": BATCH, "rows": rows, "extras": extra}


def _take(
    setup: Setup, worker: Worker, sizes: Sequence[int], samples: int, names: Sequence[str], row: dict[str, Any]
) -> Results:
    try:
        worker.make("epochs:Epochs", sizes=sizes, samples=samples, batch=BATCH, device=setup.device)
    except WorkerError as error:
        return {name: failure(error) for name in names}
    return add_medians(in_turn({name: partial(worker.call, name) for name in names}, setup.rounds))


def fit_table(section: dict[str, Any]) -> str:
    """The tables of `measure`."""
    head = ["network", "samples", "steps", "fit", "distill", *(f"{a}/{b}" for a, b in RATIOS)]
    rows = [
        [row["network"], f"{row['samples']:,}"]
        + [time_cell(row["times"], name) for name in ("steps", "fit", "distill")]
        + [ratio_cell(row["ratios"][f"{a}/{b}"]) for a, b in RATIOS]
        for row in section["rows"]
    ]
    extra = section["extras"]
    names = ("fit", "dropout", "jitter", "both")
    more = [[name, time_cell(extra["times"], name), _overhead(extra, name)] for name in names]
    lines = [f"An epoch of fit on MNIST, batch {section['batch']}", "", table(head, rows), ""]
    lines.append("steps: as many bare steps on one batch; fit call: with the checks before the epoch.")
    lines += ["", f"The same with dropout and augmentation, {extra['network']}, {extra['samples']:,} samples", ""]
    lines.append(table(["", "epoch", "over fit (range over rounds)"], more))
    where = [(row["network"], row["times"]) for row in (*section["rows"], extra)]
    return "\n".join([*lines, *complaints(where)])


def _overhead(extra: dict[str, Any], name: str) -> str:
    return "" if name == "fit" else ratio_cell(extra["ratios"][f"{name}/fit"], spread=True)
