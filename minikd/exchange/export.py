"""Export: an MLP as a file that other programs read. Every file is checked first, and written atomically."""

from __future__ import annotations

import io
import json
import os
from typing import Any

import numpy as np

from ..backend import to_numpy
from ..checkpoint import write_atomically
from ..checks import check_choice, check_type
from ..mlp import MLP
from .c_file import write_c
from .int8 import quantise
from .onnx_file import write_onnx
from .pytorch import write_state_dict

SUFFIXES = {"onnx": ".onnx", "pytorch": ".pytorch.safetensors", "npz": ".npz", "c": ".c"}


def export(model: MLP, path: str | os.PathLike[str], to: str, *, samples: Any = None) -> str:
    """Write the network to `path`.

    Parameters
    ----------
    model : MLP
        The network.
    path : str or os.PathLike
        The file.
    to : str
        "onnx": a graph of Gemm and activations, float32 or float64, batch first, compared with ONNX Runtime to 1e-5.

        "pytorch": safetensors that torch.nn.Sequential(Linear, activation, Linear, ...) loads, weights transposed.

        "npz": arrays W1 (inputs, outputs), b1 (outputs,), W2, ..., and `metadata`, a string of JSON; no pickle.

        "c": a file of C99 for a microcontroller, float32, with functions named after the file (c_file.py).
    samples : array (N, D), optional
        With "c" only: the file computes in int8, with ranges measured on these training samples.

    Returns
    -------
    str
        What was checked, in words.

    Raises
    ------
    CheckpointError
        The file cannot be written, or ONNX Runtime computes other logits.
    ValueError
        C does not support the activation. The message names it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from minikd import MLP
    >>> from minikd.exchange.export import export
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export(MLP((64, 32, 10)), Path(folder, "student.npz"), "npz")
    'arrays W1, b1 to W2, b2, and metadata'
    """
    check_type("model", model, MLP, "an MLP")
    check_choice("to", to, SUFFIXES)
    if to == "onnx":
        return f"ONNX Runtime's logits differ from minikd's by {write_onnx(model, path):.1e} at most"
    if to == "pytorch":
        write_state_dict(model, path)
        return (
            f"layers {', '.join(str(2 * i) for i in range(len(model.weights)))}, with {model.activation} between them"
        )
    if to == "c":
        return write_c(model if samples is None else quantise(model, samples), path)
    _write_npz(model, path)
    return f"arrays W1, b1 to W{len(model.weights)}, b{len(model.weights)}, and metadata"


def _write_npz(model: MLP, path: str | os.PathLike[str]) -> None:
    arrays = {}
    for i, (W, b) in enumerate(zip(model.weights, model.biases, strict=True), 1):
        arrays[f"W{i}"], arrays[f"b{i}"] = to_numpy(W), to_numpy(b)
    metadata = {"sizes": model.sizes, "activation": model.activation, "dtype": model.dtype, "format": "minikd npz 1"}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, metadata=np.array(json.dumps(metadata)), **arrays)
    write_atomically(path, buffer.getvalue())
