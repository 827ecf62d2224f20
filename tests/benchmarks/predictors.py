"""The contenders of the section `predict`: the logits of a batch, from the same network."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from contenders import batch_of, median_seconds, torch_network, torch_waiting, waiting

from minikd import MLP
from minikd.backend import to_device, to_numpy


@dataclass
class Prediction:
    """A contender that is ready to run."""

    predict: Callable[[], Any]
    wait: Callable[[Any], Any]
    logits: Callable[[], np.ndarray]

    def check(self) -> dict[str, Any]:
        """The logits (B, K)."""
        return {"logits": self.logits().tolist()}

    def describe(self) -> str:
        """There is nothing to say."""
        return ""

    def time(self, seconds: float) -> float:
        """Seconds a call."""
        return median_seconds(self.predict, self.wait, seconds)


def with_minikd(sizes: Sequence[int], batch: int, device: str, seed: int = 1) -> Prediction:
    """`model.predict`, which takes a large batch in pieces."""
    model = MLP(sizes, seed=0, device=device)
    x = to_device(batch_of(sizes, batch, seed)[0], device)
    predict = partial(model.predict, x)
    return Prediction(predict, waiting(device), lambda: to_numpy(predict()))


def with_torch(sizes: Sequence[int], batch: int, device: str, seed: int = 1) -> Prediction:
    """torch.nn.Sequential in inference mode."""
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    network = torch_network(sizes, device)
    x = torch.tensor(batch_of(sizes, batch, seed)[0], device=device)

    def predict() -> Any:
        with torch.inference_mode():
            return network(x)

    return Prediction(predict, torch_waiting(device), lambda: predict().cpu().numpy())


def with_onnxruntime(sizes: Sequence[int], batch: int, device: str, seed: int = 1) -> Prediction:
    """ONNX Runtime, with as many threads as the others; on a GPU, rows and logits stay there."""
    import onnxruntime

    from minikd.exchange.export import export

    provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}[device]
    if provider not in onnxruntime.get_available_providers():
        raise ImportError(f"this ONNX Runtime has no {provider}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
    options.inter_op_num_threads = 1
    # TF32 is a setting of the GPU's provider, and off here as for everyone.
    settings = {"use_tf32": "0"} if device == "cuda" else {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        export(MLP(sizes, seed=0), file, "onnx")
        session = onnxruntime.InferenceSession(file, options, providers=[(provider, settings)])
    x = batch_of(sizes, batch, seed)[0]
    if device == "cpu":
        predict = partial(session.run, None, {"x": x})
        return Prediction(predict, lambda value: value, lambda: predict()[0])
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(x, "cuda", 0))
    binding.bind_output("logits", "cuda")
    predict = partial(session.run_with_iobinding, binding)

    def logits() -> np.ndarray:
        predict()
        return binding.copy_outputs_to_cpu()[0]

    return Prediction(predict, lambda value: binding.synchronize_outputs(), logits)
