"""What the section `fit` times, in a worker: an epoch of `fit` in several ways, and as many bare steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from contenders import RATE, SOFT_WEIGHT, TEMPERATURE, waiting

from minikd import MLP, Adam, cross_entropy, distill, fit, load_data
from minikd.backend import to_device
from minikd.data import jitter

WARM_UP = 3


class Epochs:
    """One epoch over the first MNIST training samples, in several ways, each with a new network.

    Each way returns seconds by name: those of the epoch by its own clock. `fit` also returns, as "fit call", those of
    the whole call with all that it checks before the epoch.
    """

    def __init__(self, sizes: Sequence[int], samples: int, batch: int, device: str) -> None:
        data = load_data("mnist")
        self.sizes, self.batch = tuple(sizes), batch
        self.device, self.wait = device, waiting(device)
        self.x, self.labels = (to_device(a[:samples], device) for a in (data.x_train, data.y_train))
        rng = np.random.default_rng(2)
        teacher_logits = 3 * rng.standard_normal((len(self.x), sizes[-1])).astype("float32")
        self.teacher_logits = to_device(teacher_logits, device)

    def steps(self) -> dict[str, float]:
        """As many bare steps as an epoch has, with cross_entropy, all on one batch that is never drawn anew."""
        model, optimizer = self._new()
        started = time.perf_counter()
        for _ in range(-(-len(self.x) // self.batch)):
            value = self._step(model, optimizer)
        self.wait(value)
        return {"steps": time.perf_counter() - started}

    def fit(self) -> dict[str, float]:
        """`fit` on labels."""
        return self._fit("fit")

    def distill(self) -> dict[str, float]:
        """`distill` on labels and an array of teacher logits."""

        def train(model: Any, **options: Any) -> Any:
            teacher = {"temperature": TEMPERATURE, "soft_weight": SOFT_WEIGHT}
            return distill(model, self.teacher_logits, self.x, self.labels, **teacher, **options)

        return self._time("distill", train)

    def dropout(self) -> dict[str, float]:
        """`fit` with 0.2 of the inputs dropped, and 0.5 of the hidden units."""
        return self._fit("dropout", dropout=(0.2, *(0.5 for _ in self.sizes[2:])))

    def jitter(self) -> dict[str, float]:
        """`fit` on images that are shifted by up to 2 pixels."""
        return self._fit("jitter", augment=jitter((28, 28), 2))

    def _fit(self, name: str, *, dropout: float | tuple[float, ...] = 0.0, augment: Any = None) -> dict[str, float]:
        def train(model: Any, **options: Any) -> Any:
            return fit(model, self.x, self.labels, loss=cross_entropy, augment=augment, **options)

        return self._time(name, train, dropout)

    def _time(self, name: str, train: Callable[..., Any], dropout: float | tuple[float, ...] = 0.0) -> dict[str, float]:
        model, optimizer = self._new(dropout)
        started = time.perf_counter()
        history = train(model, optimizer=optimizer, epochs=1, batch_size=self.batch, progress=False)
        call = {"fit call": time.perf_counter() - started} if name == "fit" else {}
        return {name: history.seconds, **call}

    def _new(self, dropout: float | tuple[float, ...] = 0.0) -> tuple[Any, Any]:
        """A new network and its Adam after a few steps, which find the memory that they will need."""
        model = MLP(self.sizes, dropout=dropout, seed=0, device=self.device)
        optimizer = Adam(model, lr=RATE)
        for _ in range(WARM_UP):
            self.wait(self._step(model, optimizer))
        return model, optimizer

    def _step(self, model: Any, optimizer: Any) -> Any:
        logits = model.forward(self.x[: self.batch], train=True)
        loss, dlogits = cross_entropy(logits, self.labels[: self.batch])
        model.backward(dlogits, need_dx=False)
        optimizer.step()
        return loss
