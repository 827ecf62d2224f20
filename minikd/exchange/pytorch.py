"""PyTorch's `state_dict` of an MLP, as a safetensors file: its names and layout of layers, for reading and writing.

A Linear layer holds weight (outputs, inputs) and bias (outputs,), so that PyTorch's z = x weightᵀ + bias is z = x W + b
with W = weightᵀ. A file of tensors contains neither their order nor the activation between layers. The order is taken
from the names and sizes, and only if they leave exactly one order. The activation is taken from the file's metadata, or
else the caller must give it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..checkpoint import write_atomically
from ..checks import check_choice
from ..errors import CheckpointError
from ..mlp import MLP
from ..ops import ACTIVATIONS

TYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}  # and BF16, which is the upper half of an F32
TRIES = 10_000  # steps in the search for an order of the layers
Layers = dict[str, dict[str, np.ndarray]]  # name -> weight, bias


def write_state_dict(model: MLP, path: str | os.PathLike[str]) -> None:
    """Write what `torch.nn.Sequential(Linear, activation, Linear, ...)` loads: "0.weight", "0.bias", "2.weight", ..."""
    from safetensors.numpy import save

    from ..backend import to_numpy

    tensors = {}
    for i, (W, b) in enumerate(zip(model.weights, model.biases, strict=True)):
        tensors[f"{2 * i}.weight"] = np.ascontiguousarray(to_numpy(W).T)
        tensors[f"{2 * i}.bias"] = np.ascontiguousarray(to_numpy(b))
    write_atomically(path, save(tensors, {"format": "pt", "activation": model.activation}))


def read_state_dict(
    path: str | os.PathLike[str], metadata: Mapping[str, str], activation: str | None = None, device: str = "cpu"
) -> MLP:
    """The MLP in a safetensors file of Linear layers, with the given activation or the one in `metadata`.

    CheckpointError, which names the layer, if the file is not an MLP whose layers chain in exactly one order.
    """
    layers = _layers(_tensors(path), path)
    order = _order(layers, path)
    if len(order) > 1:
        activation = _activation(path, metadata.get("activation"), activation)
    sizes = [layers[order[0]]["weight"].shape[1], *(len(layers[name]["weight"]) for name in order)]
    dtype = "float64" if all(a.dtype == np.float64 for layer in layers.values() for a in layer.values()) else "float32"
    model = MLP(sizes, activation=activation or "relu", device=device, dtype=dtype)
    for W, b, name in zip(model.weights, model.biases, order, strict=True):
        W[...] = model._xp.asarray(layers[name]["weight"].T.astype(dtype))
        b[...] = model._xp.asarray(layers[name]["bias"].astype(dtype))
    return model


def _activation(path: Any, noted: str | None, given: str | None) -> str:
    if given is not None:
        check_choice("activation", given, ACTIVATIONS)
    if noted is not None and noted not in ACTIVATIONS:
        raise CheckpointError(f"{path} notes the activation {noted[:60]!r}, minikd has {', '.join(ACTIVATIONS)}")
    if noted is not None and given is not None and noted != given:
        raise CheckpointError(f"{path} notes the activation {noted}, but activation {given} was asked for")
    if noted is None and given is None:
        raise CheckpointError(
            f"{path} does not tell which activation stands between its layers: say it with --activation (in Python, "
            f"read_teacher(path, activation=...)), one of {', '.join(ACTIVATIONS)}"
        )
    return str(given or noted)


def _tensors(path: Any) -> dict[str, np.ndarray]:
    """Every tensor of a safetensors file. CheckpointError for numbers that are not finite floats."""
    from safetensors import SafetensorError, deserialize

    try:
        found = deserialize(Path(path).read_bytes())  # type: ignore[no-untyped-call]
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except (SafetensorError, ValueError, MemoryError) as error:
        raise CheckpointError(f"{path} is not a whole safetensors file: {error}") from error
    tensors = {}
    for name, entry in found:
        if entry["dtype"] == "BF16":
            wide = np.frombuffer(entry["data"], "<u2").astype("<u4") << 16
            array = wide.view("<f4").reshape(entry["shape"])
        elif entry["dtype"] in TYPES:
            array = np.frombuffer(entry["data"], TYPES[entry["dtype"]]).reshape(entry["shape"])
        else:
            _refuse(path, name, f"holds {entry['dtype']} numbers {_why(name)}", "F16, BF16, F32 or F64")
        if not np.isfinite(array).all():
            _refuse(path, name, "holds NaN or infinity", "finite numbers")
        tensors[name] = array
    return tensors


def _layers(tensors: Mapping[str, np.ndarray], path: Any) -> Layers:
    """The tensors by layer, each checked to be a Linear layer with a bias."""
    layers: Layers = {}
    for name, array in sorted(tensors.items(), key=lambda item: _natural(item[0])):
        layer, _, part = name.rpartition(".")
        if part not in ("weight", "bias"):
            _refuse(path, name, f"is no weight or bias of a Linear layer {_why(name)}", "Linear layers alone")
        layers.setdefault(layer, {})[part] = array
    if not layers:
        raise CheckpointError(f"{path} holds no tensors, wanted the state_dict of Linear layers")
    for layer, parts in layers.items():
        if "weight" not in parts:
            _refuse(path, layer, "has a bias but no weight", "both")
        shape = parts["weight"].shape
        if len(shape) != 2 or 0 in shape:
            why = {1: " (a normalisation layer has such)", 3: " (a convolution)", 4: " (a convolution)"}
            words = f"has a weight of shape {shape}{why.get(len(shape), '')}"
            _refuse(path, layer, words, "Linear layers alone, with weights (outputs, inputs)")
        if "bias" not in parts:
            words = "has no bias (an embedding, or Linear(bias=False))"
            _refuse(path, layer, words, f"a bias of shape ({shape[0]},): for a Linear layer without one add zeros")
        if parts["bias"].shape != shape[:1]:
            _refuse(
                path, layer, f"has a bias of shape {parts['bias'].shape}", f"({shape[0]},), as its weight is {shape}"
            )
    return layers


def _order(layers: Layers, path: Any) -> list[str]:
    """The one order in which each layer takes the outputs of the layer before, and numbered names count up."""
    names = list(layers)  # in natural order
    if len(names) > 500:
        raise CheckpointError(f"{path} holds {len(names)} layers, wanted at most 500")
    before = {name: {n for n in names[:i] if _pattern(n) == _pattern(name)} for i, name in enumerate(names)}
    found: list[list[str]] = []
    stack: list[list[str]] = [[]]
    for _ in range(TRIES):
        if not stack or len(found) > 1:
            break
        order = stack.pop()
        if len(order) == len(names):
            found.append(order)
        for name in reversed(names):
            fits = not order or len(layers[order[-1]]["weight"]) == layers[name]["weight"].shape[1]
            if name not in order and fits and before[name] <= set(order):
                stack.append([*order, name])
    if not found:
        for one, other in pairwise(names):
            gives, takes = len(layers[one]["weight"]), layers[other]["weight"].shape[1]
            if gives != takes:
                _refuse(path, other, f"takes {takes} inputs, but layer {one!r} gives {gives}", "layers that chain")
    if len(found) != 1:
        some = ", ".join(map(repr, names[:8]))
        raise CheckpointError(
            f"{path}: the order of the layers {some} is not clear: give them names that count, 0, 1, 2"
        )
    return found[0]


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts "layer.10" after "layer.9"."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def _pattern(name: str) -> str:
    """What numbered siblings have in common: "fc1" and "fc2" are both "fc#"."""
    return re.sub(r"\d+", "#", name)


def _why(name: str) -> str:
    part = name.rpartition(".")[2]
    if part in ("running_mean", "running_var", "num_batches_tracked"):
        return "(of a batch normalisation)"
    return "(of a recurrent layer)" if part.startswith(("weight_ih", "weight_hh", "bias_ih", "bias_hh")) else ""


def _refuse(path: Any, layer: str, came: str, wanted: str) -> NoReturn:
    raise CheckpointError(f"{path}: layer {layer!r} {came.strip()}; wanted {wanted}")
