"""The contenders of the section `step`: the same training step in minikd, in PyTorch and in JAX; and the clock.

Each function builds, in its own process, a distillation step for networks of the given sizes on the given device:
forward pass, loss at temperature 4 with a soft weight of 0.9 on given teacher logits, backward pass, Adam. All start
from the parameters of minikd's MLP(sizes, seed=0), compute in float32 (on a GPU too: no TF32), and see one and the
same batch, which lies on the device already. `products_alone` is no contender but the floor under minikd.

Of minikd, only what every version has is used: the process's environment decides which one is imported.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import minikd
from minikd import MLP, Adam, distillation_loss
from minikd.backend import get_xp, to_device, to_numpy

TEMPERATURE, SOFT_WEIGHT, RATE = 4.0, 0.9, 1e-3
CHECKED_STEPS = 10
WARM_UP = 5  # runs before the clock starts: buffers, caches, and whatever a library still has to compile
BLOCK = 0.05  # seconds: long enough that looking at the clock, and waiting at the end, cost nothing

if not Path(minikd.__file__).is_relative_to(os.environ["PYTHONPATH"].split(os.pathsep)[0]):
    raise RuntimeError(f"this process measures the wrong minikd: {minikd.__file__}")


def median_seconds(run: Callable[[], Any], wait: Callable[[Any], Any], seconds: float) -> float:
    """The median time of `run()` over blocks of runs that fill `seconds`, at least three.

    `wait`, given what the last run of a block returned, comes back when the device has done everything; within a
    block nothing waits for anything, as in a training loop that does not look at its losses.
    """
    for _ in range(WARM_UP - 1):
        wait(run())
    started = time.perf_counter()
    wait(run())
    length = max(1, round(BLOCK / (time.perf_counter() - started)))
    blocks: list[float] = []
    end = time.perf_counter() + seconds
    while len(blocks) < 3 or time.perf_counter() < end:
        started = time.perf_counter()
        for _ in range(length):
            value = run()
        wait(value)
        blocks.append((time.perf_counter() - started) / length)
    return median(blocks)


@dataclass
class Training:
    """A contender that is ready to run."""

    step: Callable[[], Any]  # one training step; returns its loss, wherever that is
    wait: Callable[[Any], Any]  # given the last loss, returns when the device has done everything
    logits: Callable[[], Any] | None  # of the batch, from the parameters as they are now; None where nothing learns
    note: str = ""

    def check(self) -> dict[str, Any]:
        """The losses of the first steps, and the logits of the batch after them: the same for all contenders."""
        losses = [float(self.step()) for _ in range(CHECKED_STEPS if self.logits else 0)]
        return {"losses": losses, "logits": np.asarray(self.logits()).tolist()} if self.logits else {}

    def describe(self) -> str:
        """Which of several ways of running was the fastest, where there was a choice."""
        return self.note

    def time(self, seconds: float) -> float:
        """Seconds a step."""
        return median_seconds(self.step, self.wait, seconds)


def batch_of(sizes: Sequence[int], batch: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The batch that everyone trains on: x (B, D), labels (B,), the teacher's logits (B, K)."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batch, sizes[0])).astype("float32")
    labels = rng.integers(0, sizes[-1], batch)
    return x, labels, 3 * rng.standard_normal((batch, sizes[-1])).astype("float32")


def parameters_of(sizes: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The weights (inputs, outputs) and biases that everyone starts from."""
    model = MLP(sizes, seed=0)
    return list(zip(model.weights, model.biases, strict=True))


def with_minikd(sizes: Sequence[int], batch: int, device: str, seed: int = 1) -> Training:
    """minikd, called as `fit` calls it."""
    model = MLP(sizes, seed=0, device=device)
    optimizer = Adam(model, lr=RATE)
    x, labels, teacher_logits = (to_device(array, device) for array in batch_of(sizes, batch, seed))

    def step() -> Any:
        logits = model.forward(x, train=True)
        loss, dlogits = distillation_loss(
            logits, labels, teacher_logits, temperature=TEMPERATURE, soft_weight=SOFT_WEIGHT
        )
        model.backward(dlogits, need_dx=False)
        optimizer.step()
        return loss

    return Training(step, waiting(device), lambda: to_numpy(model.forward(x)))


def products_alone(sizes: Sequence[int], batch: int, device: str, seed: int = 1) -> Training:
    """The matrix products of minikd's step and nothing else, through the same library and into arrays made before."""
    xp = get_xp(device)
    x, *_ = batch_of(sizes, batch, seed)
    W = [to_device(weights, device) for weights, _ in parameters_of(sizes)]
    a = [to_device(x, device), *(xp.empty((batch, width), "float32") for width in sizes[1:])]
    d = [xp.empty_like(array) for array in a[:-1]]
    d.append(to_device(np.full((batch, sizes[-1]), 0.01, "float32"), device))
    dW = [xp.empty_like(weights) for weights in W]

    def step() -> None:
        for i in range(len(W)):
            xp.matmul(a[i], W[i], out=a[i + 1])
        for i in reversed(range(len(W))):
            if i:
                xp.matmul(d[i + 1], W[i].T, out=d[i])
            xp.matmul(a[i].T, d[i + 1], out=dW[i])

    return Training(step, waiting(device), None)


def waiting(device: str) -> Callable[[Any], Any]:
    """NumPy is done when it returns; CuPy is not."""
    if device == "cpu":
        return lambda loss: loss
    stream = get_xp(device).cuda.get_current_stream()
    return lambda loss: stream.synchronize()


def with_torch(sizes: Sequence[int], batch: int, device: str, seed: int = 1) -> Training:
    """PyTorch as most people run it, with the fused Adam, which is its fastest."""
    return _torch_training(sizes, batch, device, seed)


def with_compiled_torch(sizes: Sequence[int], batch: int, device: str, seed: int = 1) -> Training:
    """PyTorch with torch.compile: of network and loss, or of Adam too, whichever is faster for this network.

    Both are built and timed for a moment. The compiled Adam must win by 3 %: it rounds more than the others do, for it
    works out Adam's bias corrections in float32.
    """
    import torch

    compilers: dict[str, dict[str, Any]] = {"loss compiled, fused Adam": {}, "loss and Adam compiled": {"adam": True}}
    timed, errors = {}, []
    for note, options in compilers.items():
        torch._dynamo.reset()
        try:
            timed[note] = _torch_training(sizes, batch, device, seed, compiled=True, **options).time(0.2)
            timed[note] *= 1.03 if options else 1
        except Exception as error:  # what a compiler may raise is open; the other way may still do
            errors.append(error)
    if not timed:
        raise errors[0]
    note = min(timed, key=timed.__getitem__)
    torch._dynamo.reset()
    training = _torch_training(sizes, batch, device, seed, compiled=True, **compilers[note])
    training.note = note
    return training


def _torch_training(
    sizes: Sequence[int], batch: int, device: str, seed: int, *, compiled: bool = False, adam: bool = False
) -> Training:
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    network = torch_network(sizes, device)
    x, labels, teacher_logits = (torch.tensor(array, device=device) for array in batch_of(sizes, batch, seed))

    def loss_of(x: Any, labels: Any, teacher_logits: Any) -> Any:
        logits = network(x)
        soft = F.cross_entropy(logits / TEMPERATURE, F.softmax(teacher_logits / TEMPERATURE, dim=1))
        return (1 - SOFT_WEIGHT) * F.cross_entropy(logits, labels) + SOFT_WEIGHT * TEMPERATURE**2 * soft

    if compiled:
        loss_of = torch.compile(loss_of, mode="reduce-overhead" if device == "cuda" else "default")
    if adam:  # the compiler wants its rate as a tensor, and does not take the fused Adam: it fuses Adam itself
        rate = torch.tensor(RATE, device=device)
        optimizer = torch.optim.Adam(network.parameters(), lr=rate, capturable=device == "cuda")
        update = torch.compile(optimizer.step)
    else:
        optimizer = torch.optim.Adam(network.parameters(), lr=RATE, fused=True)
        update = optimizer.step

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(x, labels, teacher_logits)
        loss.backward()
        update()
        return loss.detach()

    def logits() -> np.ndarray:
        with torch.inference_mode():
            return network(x).cpu().numpy()

    return Training(step, torch_waiting(device), logits)


def torch_network(sizes: Sequence[int], device: str) -> Any:
    """torch.nn.Sequential with minikd's parameters; PyTorch keeps weights as (outputs, inputs)."""
    import torch

    layers: list[Any] = []
    for weights, biases in parameters_of(sizes):
        layer = torch.nn.Linear(*weights.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(weights.T))
            layer.bias.copy_(torch.tensor(biases))
        layers += [layer, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1]).to(device)


def torch_waiting(device: str) -> Callable[[Any], Any]:
    """On the CPU, PyTorch is done when it returns."""
    import torch

    return (lambda value: torch.cuda.synchronize()) if device == "cuda" else (lambda value: value)


def with_jax(sizes: Sequence[int], batch: int, device: str, seed: int = 1) -> Training:
    """JAX, the whole step compiled into one function, which may write over the parameters and Adam's state."""
    import jax
    from jax import numpy as jnp

    jax.config.update("jax_default_matmul_precision", "highest")  # float32 and not TF32, as the others
    where = jax.devices(device)[0]
    put = partial(jax.device_put, device=where)
    x, labels, teacher_logits = (put(array) for array in batch_of(sizes, batch, seed))

    def forward(parameters: Any, x: Any) -> Any:
        *hidden, (W, b) = parameters
        for V, c in hidden:
            x = jax.nn.relu(x @ V + c)
        return x @ W + b

    def loss_of(parameters: Any, x: Any, labels: Any, teacher_logits: Any) -> Any:
        logits = forward(parameters, x)
        hard = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).mean()
        targets = jax.nn.softmax(teacher_logits / TEMPERATURE)
        soft = -(targets * jax.nn.log_softmax(logits / TEMPERATURE)).sum(axis=1).mean()
        return (1 - SOFT_WEIGHT) * hard + SOFT_WEIGHT * TEMPERATURE**2 * soft

    @partial(jax.jit, donate_argnums=0)
    def update(state: Any, x: Any, labels: Any, teacher_logits: Any) -> Any:
        parameters, m, v, t = state
        loss, grads = jax.value_and_grad(loss_of)(parameters, x, labels, teacher_logits)
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
        # 1 - β^t, without the rounding of β^t, which is close to 1
        rate, root = RATE / -jnp.expm1(t * math.log(0.9)), jnp.sqrt(-jnp.expm1(t * math.log(0.999)))
        parameters = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) / root + 1e-8), parameters, m, v)
        return (parameters, m, v, t), loss

    # Copies, for a device_put on the CPU may share NumPy's memory, which must not be donated.
    parameters = jax.tree.map(lambda p: put(p).copy(), parameters_of(sizes))
    zeros = [jax.tree.map(jnp.zeros_like, parameters) for _ in "mv"]
    state = (parameters, *zeros, put(np.float32(0)))

    def step() -> Any:
        nonlocal state
        state, loss = update(state, x, labels, teacher_logits)
        return loss

    # The loss of a step may be there before its update is.
    return Training(step, lambda loss: jax.block_until_ready((state, loss)), lambda: forward(state[0], x))
