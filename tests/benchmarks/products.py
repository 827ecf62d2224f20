"""The matrix products of a training step alone, in NumPy, PyTorch and JAX: `python tests/benchmarks/products.py`.

Those of 784-1200-1200-10, forward and backward, on two threads, without anything else of a step. They say how much of a
difference between steps is one between libraries of products. Unset OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE before.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

ROUNDS, CALLS, REST = 15, 15, 0.15  # seconds of rest, until the threads of the one before sleep


def products(x: Any, h: Any, dz: Any, dlogits: Any, W1: Any, W2: Any, W3: Any) -> tuple[Any, ...]:
    """Three products forward, five backward."""
    return x @ W1, h @ W2, h @ W3, h.T @ dlogits, dlogits @ W3.T, h.T @ dz, dz @ W2.T, x.T @ dz


def contenders(batch: int) -> dict[str, Callable[[], Any]]:
    """Each library's products on the same numbers."""
    rng = np.random.default_rng(0)
    shapes = (batch, 784), (batch, 1200), (batch, 1200), (batch, 10), (784, 1200), (1200, 1200), (1200, 10)
    arrays = [rng.random(shape, dtype="f4") for shape in shapes]
    tensors, on_jax = [torch.from_numpy(a) for a in arrays], [jnp.asarray(a) for a in arrays]
    compiled = jax.jit(products)
    return {
        "numpy": lambda: products(*arrays),
        "torch": lambda: products(*tensors),
        "jax": lambda: jax.block_until_ready(compiled(*on_jax)),
    }


def main() -> None:
    """Measure in turn, and print medians and ratios within rounds."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    torch.set_num_threads(2)
    for batch in (128, 512):
        calls = contenders(batch)
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(ROUNDS):
            for name, call in calls.items():
                found = []
                for _ in range(3 + CALLS):
                    started = time.perf_counter()
                    call()
                    found.append(time.perf_counter() - started)
                times[name].append(float(np.median(found[3:])))
                time.sleep(REST)
        for name, mine in times.items():
            ratio = np.array(mine) / np.array(times["numpy"])
            words = f"{np.median(ratio):.2f} ({np.quantile(ratio, 0.25):.2f} to {np.quantile(ratio, 0.75):.2f})"
            print(f"batch {batch}, {name}: {1e3 * np.median(mine):.1f} ms, over numpy {words}", flush=True)


if __name__ == "__main__":
    main()
