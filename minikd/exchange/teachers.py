"""Teachers from files of four kinds::

    minikd file                          an MLP
    PyTorch's state_dict, safetensors    an MLP, if its layers are Linear layers that chain (pytorch.py)
    NAME.onnx                            any network x -> logits, run by ONNX Runtime (onnx_file.py)
    NAME.npy                             logits (N, K) of the training samples, in their order, from any source

In Python any callable x -> logits is a teacher, and it needs no file.
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
# The first bytes, in lower case, of files that often have a wrong name, and what these files are.
DISGUISES = {
    rb"version https://git-lfs": "a pointer of Git LFS: git lfs pull fetches the file itself",
    rb"\s*<(!doctype|html|\?xml)": "a page of the web instead of the file that should have been downloaded",
    rb"pk\x03\x04": "a zip archive, as torch.save and numpy.savez write them: save a state_dict with "
    "safetensors.torch.save_file, logits with numpy.save",
    rb"\x80[\x02-\x05][^\x00]": "a pickle, which can run code when it is read: save a state_dict with "
    "safetensors.torch.save_file, logits with numpy.save",
    rb"\x89hdf": "an HDF5 file: save a Keras model with model.export(NAME.onnx, format='onnx')",
    rb"\x93numpy": "a file of numpy.save: give it the suffix .npy",
    rb".{8}\{": "a safetensors file: give it the suffix .safetensors",
}
LOGITS = "logits (N, K): a row a training sample, a column a class"
ROWS_AT_A_TIME = 65_536  # rows of a file of answers that are checked at a time


@dataclass(frozen=True)
class Answers:
    """A teacher that consists of its logits on the training samples (N, K), mapped from a file.

    It can teach, but it has no logits for other samples. The folder of a run records everything except the logits,
    which are None there, so that a resumed run can check whether the file is still the same.
    """

    path: str
    shape: tuple[int, ...]
    sha256: str
    logits: np.ndarray | None = None
    num_params: None = None


Teacher: TypeAlias = MLP | OnnxNetwork | Answers


def read_teacher(path: str | os.PathLike[str], *, activation: str | None = None, device: str = "cpu") -> Teacher:
    """The teacher in a file of one of the kinds above.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    activation : str, optional
        The activation between the hidden layers of a PyTorch file, which does not contain it. It must agree with any
        other file.
    device : str
        Where an MLP computes. ONNX Runtime computes on the CPU.

    Returns
    -------
    MLP, OnnxNetwork or Answers
        A teacher for `distill`: a network, or `Answers` with its logits.

    Raises
    ------
    CheckpointError
        The file cannot teach. The message names the file and, inside it, the layer.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from minikd import MLP
    >>> from minikd.exchange import read_teacher
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     MLP((64, 32, 10)).save(path := Path(folder, "teacher.safetensors"))
    ...     read_teacher(path).sizes
    (64, 32, 10)
    """
    get_xp(device)
    try:
        return _read(path, activation, device)
    except CheckpointError as error:
        if disguise := _disguise(Path(path)):
            raise CheckpointError(f"{path} is {disguise}") from error
        raise


def _disguise(path: Path) -> str:
    """What a file really is, by its first bytes, if its name says something else; "" if they do not show it."""
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
    """A teacher that gives logits, made from one that gives probabilities: log max(p, smallest).

    Because softmax(log p) = p / sum p = p, logarithms of probabilities are logits. With a temperature they give
    p^(1/T), normalised. `predict_log_proba` of scikit-learn gives them as well, but -infinity for a probability of 0.

    Parameters
    ----------
    teacher : callable or array (N, K)
        A function x -> probabilities, or the probabilities. For example a fitted classifier of scikit-learn:
        `distill(student, from_probabilities(forest.predict_proba), x, labels)`.
    smallest : float
        The least probability, in (0, 1].

    Returns
    -------
    callable or array (N, K)
        A function x -> logits, or the logits.

    Raises
    ------
    ValueError, TypeError
        The numbers are not probabilities, or an argument is wrong.

    Examples
    --------
    >>> import numpy as np
    >>> from minikd import softmax
    >>> from minikd.exchange import from_probabilities
    >>> softmax(from_probabilities(np.array([[0.7, 0.2, 0.1]]))).round(3)
    array([[0.7, 0.2, 0.1]])
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
        """What a checkpoint records of the teacher."""
        return f"logarithms of {fingerprint(self.probabilities)}, at least {self.smallest}"


def _logarithms(probabilities: Any, smallest: float) -> Any:
    probabilities = check_matrix("the teacher's probabilities", probabilities)
    check_probabilities("the teacher's probabilities", probabilities)
    xp = xp_of(probabilities)
    return xp.log(xp.maximum(probabilities, smallest))


def check_fits(teacher: Teacher, name: str, data: str, x: np.ndarray, classes: int) -> None:
    """CheckpointError unless the teacher in the file `name` fits the training samples x (N, D) of `data`."""
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
    """CheckpointError if the logits in the file `name` agree with the training labels (N,) only by chance.

    A network is not checked: it may be untrained on purpose, but its logits always belong to the right samples.
    """
    if isinstance(teacher, Answers) and teacher.logits is not None and is_chance(teacher.logits, labels):
        words = f"{name} agrees with the training labels of {data} no more than chance does: its rows must be in the"
        words += " order of the samples, and its columns in that of the classes"
        raise CheckpointError(f"{words}. To use it anyway: --trust-teacher")


def describe_teacher(teacher: Teacher) -> str:
    """The kind of a teacher in a few words: "256-256", "ONNX network", "answers in a file"."""
    if isinstance(teacher, MLP):
        return "-".join(map(str, teacher.sizes[1:-1])) or "without hidden layers"
    return "ONNX network" if isinstance(teacher, OnnxNetwork) else "answers in a file"


def metadata_of(path: Any) -> dict[str, str]:
    """The text metadata of a safetensors file, {} if it has none. CheckpointError if it is no such file."""
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
        found = np.lib.format.open_memmap(os.fspath(path), mode="r")  # np.load would also read other kinds of files
        logits = found if mapped else np.array(found)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # NumPy parses the header as Python, so a damaged one may raise any error of the parser
        words = str(error) or type(error).__name__
        raise CheckpointError(f"{path} is not a whole .npy file of numbers: {words}") from error
    if logits.ndim != 2 or logits.dtype.kind not in "fiu" or not logits.size:
        came = f"{logits.dtype} of shape {logits.shape}"
        raise CheckpointError(f"{path} holds {came}, wanted {wanted}")
    return logits


def _read_answers(path: str | os.PathLike[str]) -> Answers:
    """Logits, mapped from the file and checked piece by piece: they must be finite and not be probabilities."""
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
