"""Teachers from anywhere: a file in, whatever can be asked for logits out.

    minikd file                          an MLP
    PyTorch's state_dict, safetensors    an MLP, if its layers are Linear layers that chain (pytorch.py)
    NAME.onnx                            any network x -> logits, run by ONNX Runtime (onnx_file.py)
    NAME.npy                             logits (N, K) that anything made of the training samples, in their order

In Python any callable x -> logits is a teacher, too, without a file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import numpy as np

from ..backend import get_xp, xp_of
from ..checkpoint import FORMAT, fingerprint
from ..checks import as_array, check_matrix, check_number, check_probabilities, is_stochastic
from ..errors import CheckpointError
from ..metrics import is_chance
from ..mlp import MLP
from .onnx_file import OnnxNetwork
from .pytorch import read_state_dict

SUFFIXES = (".safetensors", ".onnx", ".npy")
HINTS = {
    (".pt", ".pth", ".pkl", ".bin"): "a pickle of PyTorch can run code: save model.state_dict() with "
    "safetensors.torch.save_file instead",
    (".keras", ".h5", ".hdf5"): "save a Keras model with model.export(NAME.onnx, format='onnx'), or its answers with "
    "numpy.save(NAME.npy, logits)",
    (".npz",): "save the logits alone, with numpy.save(NAME.npy, logits)",
}
# How files begin that come under another's name, in lower case, and what they are.
DISGUISES = {
    rb"version https://git-lfs": "a pointer of Git LFS: git lfs pull fetches the file itself",
    rb"\s*<(!doctype|html|\?xml)": "a page of the web, and not the file that was to be downloaded",
    rb"pk\x03\x04": "a zip archive, as torch.save and numpy.savez write them: save a state_dict with "
    "safetensors.torch.save_file, logits with numpy.save",
    rb"\x80[\x02-\x05][^\x00]": "a pickle, which can run code when it is read: save a state_dict with "
    "safetensors.torch.save_file, logits with numpy.save",
    rb"\x89hdf": "an HDF5 file: save a Keras model with model.export(NAME.onnx, format='onnx')",
    rb"\x93numpy": "a file of numpy.save: give it the suffix .npy",
    rb".{8}\{": "a safetensors file: give it the suffix .safetensors",
}
LOGITS = "logits (N, K): a row a training sample, a column a class"
ROWS_AT_A_TIME = 65_536  # rows of a file of answers that are looked at at a time


@dataclass(frozen=True)
class Answers:
    """A teacher that is nothing but its logits on the training samples (N, K), mapped from a file.

    It can teach, but not be asked about anything else. In the folder of a run only the rest stands for it, so that a
    resumed run can tell whether the file is still the same, and logits is None.
    """

    path: str
    shape: tuple[int, ...]
    sha256: str
    logits: np.ndarray | None = None
    num_params: None = None


Teacher: TypeAlias = MLP | OnnxNetwork | Answers


def read_teacher(path: str | os.PathLike[str], *, activation: str | None = None, device: str = "cpu") -> Teacher:
    """The teacher in a file of one of the kinds above.

    activation  of the hidden layers of a PyTorch file, which does not tell it; any other file must not contradict it
    device      where an MLP computes; ONNX Runtime computes on the CPU

    CheckpointError, which names the file and, in one, the layer, for what cannot teach.
    """
    get_xp(device)
    try:
        return _read(path, activation, device)
    except CheckpointError as error:
        if disguise := _disguise(Path(path)):
            raise CheckpointError(f"{path} is {disguise}") from error
        raise


def _disguise(path: Path) -> str:
    """What a file is that could not be read as what its name says, by how it begins; "" where that does not tell."""
    with suppress(OSError), path.open("rb") as file:
        head = file.read(64).lower()
        found = (words for start, words in DISGUISES.items() if re.match(start, head, re.DOTALL))
        return next((words for words in found if f"the suffix {path.suffix.lower()}" not in words), "")
    return ""


def _read(path: str | os.PathLike[str], activation: str | None, device: str) -> Teacher:
    file = Path(path)
    if not file.is_file():
        raise CheckpointError(
            f"cannot read {path}: {'it is a directory' if file.is_dir() else 'there is no such file'}"
        )
    suffix = file.suffix.lower()
    if suffix in (".onnx", ".npy") and activation is not None:
        raise CheckpointError(
            f"activation {activation} was given, but {path} is not a file of bare layers: leave it out"
        )
    if suffix == ".onnx":
        return OnnxNetwork(path)
    if suffix == ".npy":
        return _read_answers(path)
    for suffixes, hint in HINTS.items():
        if suffix in suffixes:
            raise CheckpointError(f"{path} is not a file that minikd reads: {hint}")
    metadata = metadata_of(path)
    if metadata.get("format") != FORMAT:
        return read_state_dict(path, metadata, activation, device)
    model = MLP.load(path, device)
    if activation not in (None, model.activation):
        raise CheckpointError(
            f"{path} notes the activation {model.activation}, but activation {activation} was asked for"
        )
    return model


def from_probabilities(teacher: Any, smallest: float = 1e-12) -> Any:
    """A teacher that answers with logits, from one that answers with probabilities: log max(p, smallest).

    teacher  a function x -> probabilities (N, K), or an array of them. A fitted classifier of scikit-learn, say:
             distill(student, from_probabilities(forest.predict_proba), x, labels)

    softmax(log p) = p / sum p = p, so logarithms of probabilities are logits. A temperature makes p^(1/T) of them, up
    to the sum. `predict_log_proba` gives them as well, but -infinity for a probability of 0.
    ValueError and TypeError for numbers that are no probabilities.
    """
    check_number("smallest", smallest, 0, 1, open_low=True)
    if callable(teacher):
        return FromProbabilities(teacher, smallest)
    return _logarithms(as_array("teacher", teacher, "be a function x -> probabilities or an array of them"), smallest)


@dataclass(frozen=True)
class FromProbabilities:
    """A function x -> logits around a function x -> probabilities; see `from_probabilities`."""

    probabilities: Callable[[Any], Any]
    smallest: float

    def __call__(self, x: Any) -> Any:
        """x (N, D) -> (N, K)"""
        return _logarithms(self.probabilities(x), self.smallest)

    @property
    def fingerprint(self) -> str:
        """What a checkpoint records of it."""
        return f"logarithms of {fingerprint(self.probabilities)}, at least {self.smallest}"


def _logarithms(probabilities: Any, smallest: float) -> Any:
    probabilities = check_matrix("the teacher's probabilities", probabilities)
    check_probabilities("the teacher's probabilities", probabilities)
    xp = xp_of(probabilities)
    return xp.log(xp.maximum(probabilities, smallest))


def check_fits(teacher: Teacher, name: str, data: str, x: np.ndarray, classes: int) -> None:
    """The teacher in the file `name` must fit the training samples x (N, D) of `data`; CheckpointError if not."""
    if isinstance(teacher, Answers):
        if teacher.shape != (len(x), classes):
            words = f"holds logits of shape {teacher.shape}, wanted ({len(x)}, {classes})"
            raise CheckpointError(f"{name} {words}: a row a training sample of {data}, a column a class")
        return
    if isinstance(teacher, MLP):
        inputs, outputs = teacher.sizes[0], teacher.sizes[-1]
    else:
        inputs = teacher.inputs or x.shape[1]
        outputs = teacher.classes or teacher.predict(x[:1]).shape[1]
    if (inputs, outputs) != (x.shape[1], classes):
        words = f"takes {inputs} inputs and knows {outputs} classes"
        raise CheckpointError(f"{name} {words}, but {data} has {x.shape[1]} and {classes}")


def check_order(teacher: Teacher, name: str, data: str, labels: np.ndarray) -> None:
    """Answers in the file `name` that have nothing to do with the labels (N,) of the training samples: CheckpointError.

    A network is not looked at: it may be untrained on purpose, but it cannot be about other samples.
    """
    if isinstance(teacher, Answers) and teacher.logits is not None and is_chance(teacher.logits, labels):
        words = f"{name} agrees with the training labels of {data} no more than chance does: its rows must be in the"
        words += " order of the samples, and its columns in that of the classes"
        raise CheckpointError(f"{words}. To use it anyway: --trust-teacher")


def describe_teacher(teacher: Teacher) -> str:
    """A few words for what it is: "256-256", "ONNX network", "answers in a file"."""
    if isinstance(teacher, MLP):
        return "-".join(map(str, teacher.sizes[1:-1])) or "without hidden layers"
    return "ONNX network" if isinstance(teacher, OnnxNetwork) else "answers in a file"


def metadata_of(path: Any) -> dict[str, str]:
    """The text metadata of a safetensors file, {} where it has none. CheckpointError where it is no such file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return dict(file.metadata() or {})
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except (SafetensorError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise CheckpointError(f"{path} is not a whole safetensors file: {error}") from error


def read_npy(path: str | os.PathLike[str], mapped: bool = True, wanted: str = LOGITS) -> np.ndarray:
    """The matrix of numbers in a .npy file, mapped or read. CheckpointError, which says `wanted`, for anything else."""
    try:
        found = np.lib.format.open_memmap(os.fspath(path), mode="r")  # np.load would also read what is no .npy file
        logits = found if mapped else np.array(found)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # a damaged header is Python to NumPy, and may raise whatever its parser has
        words = str(error) or type(error).__name__
        raise CheckpointError(f"{path} is not a whole .npy file of numbers: {words}") from error
    if logits.ndim != 2 or logits.dtype.kind not in "fiu" or not logits.size:
        came = f"{logits.dtype} of shape {logits.shape}"
        raise CheckpointError(f"{path} holds {came}, wanted {wanted}")
    return logits


def _read_answers(path: str | os.PathLike[str]) -> Answers:
    """Logits, mapped from the file and looked at piece by piece: finite, and no probabilities."""
    import hashlib  # here, not above: `import minikd` should cost little more than NumPy

    logits = read_npy(path)
    sha = hashlib.sha256(f"{logits.dtype.str}{logits.shape}".encode())
    sums_to_one = True
    for start in range(0, len(logits), ROWS_AT_A_TIME):
        piece = np.ascontiguousarray(logits[start : start + ROWS_AT_A_TIME])
        if not np.isfinite(piece).all():
            row, column = (int(i) for i in np.argwhere(~np.isfinite(piece))[0])
            _refuse(path, f"{piece[row, column]} in row {start + row}, column {column}", "finite logits")
        sha.update(piece.view(np.uint8).data)
        sums_to_one &= is_stochastic(piece)
    if sums_to_one:
        _refuse(path, "rows that are not negative and sum to 1", "logits: of probabilities p they are numpy.log(p)")
    return Answers(str(path), logits.shape, sha.hexdigest(), logits)


def _refuse(path: Any, came: str, wanted: str) -> NoReturn:
    raise CheckpointError(f"{path} holds {came}; wanted {wanted}")
