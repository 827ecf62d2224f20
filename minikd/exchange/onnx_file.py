"""ONNX files: any network as a teacher, run by ONNX Runtime, and an MLP written as ONNX, checked before it is saved.

It needs the extra `onnx`. A file with its weights in a second file (`NAME.onnx.data`) is read as one with its weights
inside.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import Array, to_numpy
from ..checkpoint import write_atomically
from ..checks import check_matrix
from ..errors import CheckpointError
from ..fast.threads import blas_threads
from ..mlp import MLP, PIECE

TYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}
OPSET = 17
LOGIT_TOLERANCE = 1e-5  # between minikd's logits and ONNX Runtime's, absolute and relative


def packages(path: Any) -> tuple[Any, Any]:
    """The packages onnx and onnxruntime. If they are missing, a CheckpointError that says how to install them."""
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise CheckpointError(f"{path} needs {error.name}: pip install 'minikd[onnx]'") from error
    return onnx, onnxruntime


class OnnxNetwork:
    """A network x (N, D) -> logits (N, K) in an ONNX file.

    The file must have one input, a batch first, of D numbers a sample in any shape, and one output, or one with the
    name "logits". If the file fixes the batch size, the last piece is filled up to it. `inputs` and `classes` are D and
    K, or None if the file leaves them open. All errors are CheckpointError, with the file's name.
    """

    def __init__(self, path: str | os.PathLike[str], content: bytes | None = None) -> None:
        onnx, onnxruntime = packages(path)
        self.path = Path(path)
        self._model, self.content = _read(self.path, content, onnx)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = blas_threads() or 0  # as many as minikd; 0: one for each core
        try:
            self._session = onnxruntime.InferenceSession(self.content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions have no common base class
            raise CheckpointError(f"{path}: ONNX Runtime cannot load it: {_line(error)}") from error
        self._input = self._one("input", self._session.get_inputs())
        self._output = self._one("output", self._session.get_outputs())
        if self._input.type not in TYPES:
            raise CheckpointError(f"{path}: input {self._input.name!r} is {self._input.type}, wanted floats")
        if len(self._input.shape) < 2 or len(self._output.shape) != 2:
            shapes = f"{self._input.shape} to {self._output.shape}"
            raise CheckpointError(f"{path} maps {shapes}, wanted a batch of samples to logits (N, K)")
        self._refuse_probabilities()
        self.batch, *self._shape = (n if isinstance(n, int) else None for n in self._input.shape)
        known = [n for n in self._shape if n is not None]
        self.inputs = math.prod(known) if len(known) == len(self._shape) else None
        self.classes = self._output.shape[1] if isinstance(self._output.shape[1], int) else None
        self.num_params = sum(
            math.prod(t.dims) for t in self._model.graph.initializer if t.dims and t.data_type in (1, 10, 11, 16)
        )
        self.multiply_adds = _multiply_adds(self._model, onnx)

    def _one(self, kind: str, candidates: list[Any]) -> Any:
        named = (
            [c for c in candidates if c.name == "logits"] if kind == "output" and len(candidates) > 1 else candidates
        )
        if len(named) != 1:
            names = ", ".join(c.name for c in candidates) or "none"
            hint = " or one called 'logits'" if kind == "output" else ""
            raise CheckpointError(f"{self.path} has the {kind}s {names}; wanted one{hint}")
        return named[0]

    def _refuse_probabilities(self) -> None:
        last = next((node for node in self._model.graph.node if self._output.name in node.output), None)
        if last is not None and last.op_type in ("Softmax", "Sigmoid"):
            words = f"ends with {last.op_type} (node {last.name!r}), so it gives probabilities"
            raise CheckpointError(f"{self.path} {words}; wanted logits: export the network without its last activation")

    def predict(self, x: Array) -> np.ndarray:
        """Logits (N, K) for any number of rows x (N, D), PIECE rows at a time, in the type that the file gives."""
        x = to_numpy(x)
        x = check_matrix("x", x, columns=self.inputs)
        shape = self._shape if self.inputs is not None else [x.shape[1]]
        if len(self._input.shape) != 1 + len(shape):
            raise CheckpointError(
                f"{self.path} takes samples of shape {self._input.shape[1:]}, minikd has rows of numbers"
            )
        size, pieces = self.batch or PIECE, []
        for start in range(0, len(x), size):
            piece = x[start : start + size].astype(TYPES[self._input.type], copy=False)
            rows = len(piece)
            if self.batch and rows < size:
                piece = np.concatenate([piece, np.repeat(piece[-1:], size - rows, axis=0)])
            try:
                (logits,) = self._session.run([self._output.name], {self._input.name: piece.reshape(-1, *shape)})
            except Exception as error:
                raise CheckpointError(f"{self.path}: ONNX Runtime cannot run it: {_line(error)}") from error
            if logits.ndim != 2 or len(logits) != len(piece):
                raise CheckpointError(f"{self.path} gave {logits.shape} for {len(piece)} samples, wanted logits (N, K)")
            pieces.append(logits[:rows])
        return np.concatenate(pieces)

    __call__ = predict

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network, weights inside, to one file, atomically."""
        write_atomically(path, self.content)


def _read(path: Path, content: bytes | None, onnx: Any) -> tuple[Any, bytes]:
    """The parsed model, weights inside, and its bytes."""
    try:
        model = onnx.load_from_string(content) if content is not None else onnx.load(path)
        return model, content or model.SerializeToString()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # errors of protobuf and of onnx, ValueError for more than 2 GB
        raise CheckpointError(f"{path} is not a whole ONNX file: {_line(error)}") from error


def _multiply_adds(model: Any, onnx: Any) -> int | None:
    """Multiply-adds a sample of matrix products and convolutions. None if other layers or open sizes hide some."""
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except Exception:
        return None
    shapes = {t.name: list(t.dims) for t in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes[value.name] = [d.dim_value or None for d in value.type.tensor_type.shape.dim]
    total = 0
    for node in graph.node:
        if node.op_type in ("Gemm", "MatMul", "Conv"):
            out, W = shapes.get(node.output[0], [None]), shapes.get(node.input[1])
            if not W or None in W or None in out[1:]:
                return None
            across = any(a.name == "transB" and a.i for a in node.attribute)
            inner = math.prod(W[1:]) if node.op_type == "Conv" else W[-1] if across else W[-2]
            total += math.prod(out[1:]) * inner
        elif (
            node.op_type in ("ConvTranspose", "LSTM", "GRU", "RNN", "Einsum", "Attention", "Loop", "If", "Scan")
            or node.domain
        ):
            return None
    return total


def write_onnx(model: MLP, path: str | os.PathLike[str]) -> float:
    """Write an MLP as ONNX, input "x" (batch, D), output "logits" (batch, K). Returns the largest difference of the
    logits.

    Before the file is saved at `path`, ONNX Runtime computes logits of random samples. If they differ from minikd's by
    more than 1e-5, nothing is written and a CheckpointError is raised.
    """
    onnx, _ = packages(path)
    content = _proto(model, onnx).SerializeToString()
    x = np.random.default_rng(0).standard_normal((64, model.sizes[0])).astype(model.dtype)
    ours, theirs = to_numpy(model.predict(model._xp.asarray(x))), OnnxNetwork(path, content).predict(x)
    difference = np.abs(ours - theirs)
    if not (difference <= LOGIT_TOLERANCE * np.maximum(1, np.abs(ours))).all():
        words = f"ONNX Runtime's logits differ from minikd's by {difference.max():.2g}, more than {LOGIT_TOLERANCE:g}"
        raise CheckpointError(f"{path} is not written: {words}")
    write_atomically(path, content)
    return float(difference.max())


def _proto(model: MLP, onnx: Any) -> Any:
    """The network as a graph: one Gemm for each layer, and its activation."""
    make, array = onnx.helper, onnx.numpy_helper.from_array
    kind = make.np_dtype_to_tensor_dtype(np.dtype(model.dtype))
    nodes, constants, a = [], [], "x"
    if model.activation == "gelu" and len(model.weights) > 1:  # a = z Φ(z) = z (1 + erf(z / √2)) / 2
        numbers = {"half": 0.5, "one": 1.0, "root": math.sqrt(0.5)}
        constants += [array(np.array(value, model.dtype), name) for name, value in numbers.items()]
    for i, (W, b) in enumerate(zip(model.weights, model.biases, strict=True), 1):
        last = i == len(model.weights)
        z = "logits" if last else f"z{i}"
        constants += [array(to_numpy(W).copy(), f"W{i}"), array(to_numpy(b).copy(), f"b{i}")]
        nodes.append(make.make_node("Gemm", [a, f"W{i}", f"b{i}"], [z], name=f"layer{i}"))
        a = f"a{i}"
        if last:
            break
        if model.activation == "gelu":
            steps = [("Mul", [z, "root"], f"u{i}"), ("Erf", [f"u{i}"], f"e{i}"), ("Add", [f"e{i}", "one"], f"p{i}")]
            if kind == onnx.TensorProto.DOUBLE:  # ONNX Runtime has Erf in float32 only
                down, up = ("Cast", [f"u{i}"], f"v{i}"), ("Cast", [f"w{i}"], f"e{i}")
                steps[1:2] = [down, ("Erf", [f"v{i}"], f"w{i}"), up]
            steps += [("Mul", [z, f"p{i}"], f"q{i}"), ("Mul", [f"q{i}", "half"], a)]
            for op, inputs, output in steps:
                to = onnx.TensorProto.FLOAT if output[0] == "v" else kind
                nodes.append(make.make_node(op, inputs, [output], **({"to": to} if op == "Cast" else {})))
        else:
            nodes.append(make.make_node(model.activation.capitalize(), [z], [a]))
    ends = [
        make.make_tensor_value_info(name, kind, ["batch", size])
        for name, size in (("x", model.sizes[0]), ("logits", model.sizes[-1]))
    ]
    graph = make.make_graph(nodes, "minikd", ends[:1], ends[1:], constants)
    proto = make.make_model(graph, opset_imports=[make.make_opsetid("", OPSET)], producer_name="minikd", ir_version=8)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _line(error: BaseException) -> str:
    """The text of an error on one line. A long one is cut in the middle, because the reason is often at its end."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 500 else f"{text[:250]} … {text[-250:]}"
