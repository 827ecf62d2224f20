"""The cost of a network in use: bytes, multiply-adds, time. They measure what distillation saves."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np

from ..backend import get_xp, to_device, to_numpy
from ..metrics import evaluate
from ..mlp import MLP
from .int8 import Int8Network
from .onnx_file import OnnxNetwork

Network = MLP | OnnxNetwork
BATCH = 256
REPEATS = {1: 200, BATCH: 40}  # predictions of each network that are timed, by batch


def size_in_bytes(network: Network) -> int:
    """Bytes of the parameters. For an ONNX file, bytes of the file with its graph."""
    return int(network.theta.nbytes) if isinstance(network, MLP) else len(network.content)


def multiply_adds(network: Network) -> int | None:
    """Multiply-adds of the matrix products for one sample, Σ inputs · outputs. None if they are not known."""
    if isinstance(network, MLP):
        return sum(n * m for n, m in pairwise(network.sizes))
    return network.multiply_adds


def latencies(networks: Sequence[Network], x: np.ndarray, batch: int) -> list[list[float]]:
    """Seconds that each network takes to predict `batch` rows of x: one list of REPEATS[batch] times for each network.

    Each network is warmed up first. Then the networks take turns, so that other load on the machine slows all of them
    alike.
    """
    rows = np.resize(x, (batch, x.shape[1])).astype(np.float32)
    calls = [_call(network, rows) for network in networks]
    for call in calls:
        for _ in range(5):
            call()
    times: list[list[float]] = [[] for _ in networks]
    for _ in range(REPEATS[batch]):
        for call, mine in zip(calls, times, strict=True):
            started = time.perf_counter()
            call()
            mine.append(time.perf_counter() - started)
    return times


def _call(network: Network, rows: np.ndarray) -> Callable[[], Any]:
    if not isinstance(network, MLP) or network.device == "cpu":
        return lambda: network.predict(rows)
    xp, placed = get_xp(network.device), to_device(rows, network.device)

    def call() -> None:
        network.predict(placed)
        xp.cuda.Device().synchronize()

    return call


def cost_table(names: Sequence[str], networks: Sequence[Network], x: np.ndarray) -> list[list[str]]:
    """The cells of a table: one row a cost, one column a network. With two networks, the last column is their ratio.

    A time is the median of the repeats. The ratio of times is the median of the ratios within a turn.
    """
    rows: list[list[str]] = [["cost", *names]]
    for title, values in (
        ("parameters", [network.num_params for network in networks]),
        ("bytes", [size_in_bytes(network) for network in networks]),
        ("multiply-adds a sample", [multiply_adds(network) for network in networks]),
    ):
        known = [value for value in values if value]
        ratio = f"{known[0] / known[1]:.2f}" if len(known) == 2 else "-"
        rows.append([title, *("-" if value is None else f"{value:,}" for value in values), ratio])
    for batch in (1, BATCH):
        times = latencies(networks, x, batch)
        ratio = f"{median(a / b for a, b in zip(*times, strict=True)):.2f}" if len(times) == 2 else "-"
        rows.append([f"µs a batch of {batch}", *(f"{1e6 * median(mine):,.1f}" for mine in times), ratio])
    rows[0].append(" / ".join(names))
    return [row[: 1 + len(names) + (len(names) > 1)] for row in rows]


def precision_table(model: MLP, x: Any, labels: np.ndarray, int8: Int8Network | None = None) -> list[list[str]]:
    """The cells of a table: the cost of the network in float32, in float16 and, if it is given, in int8.

    One row a precision: bytes of its parameters (int8: of its tables), errors on x (N, D), agreement with the network
    as it is, NLL in nats. float16 is for storage: the parameters are rounded, and the network computes as before.
    """
    precisions: list[tuple[str, int, Any]] = []
    for dtype in ("float32", "float16"):
        largest = float(np.finfo(dtype).max)
        theta = to_numpy(model.theta).clip(-largest, largest).astype(dtype).astype(model.dtype)
        rounded = MLP.from_arrays({"theta": theta}, model.metadata(), model.device, f"the network in {dtype}")
        precisions.append((dtype, np.dtype(dtype).itemsize * model.num_params, rounded))
    if int8 is not None:
        precisions.append(("int8", int8.nbytes, int8.predict))
    rows = [["weights", "bytes", "errors", "agreement", "NLL"]]
    for name, size, network in precisions:
        scores = evaluate(network, x, labels, teacher=model)
        agreement = f"{100 * scores.agreement:.2f} %"
        rows.append([name, f"{size:,}", f"{scores.errors:,}", agreement, f"{scores.nll:.4f}"])
    return rows
