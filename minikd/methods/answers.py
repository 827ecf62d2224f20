"""A teacher's answers in a file: asked once, looked up by index ever after, by any student.

The file is a plain `.npy` of logits (N, K), so that any framework can write or read it. Beside it stands a `.json` with
fingerprints: of the samples, in their order, that were asked about, of the logits themselves, and of the teacher. A
file that is stale, shuffled, cut short or of another data set is then an error, and not a bad student.

    logits = cached_logits("answers.npy", teacher, x)                 asks the teacher, or reads what it said before
    stamp("answers.npy", x, "resnet50")                               for a file that another framework wrote: once
    distill(student, read_logits("answers.npy", x), x, labels)
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import Array, to_numpy
from ..checkpoint import write_atomically
from ..errors import CheckpointError, check_finite, check_matrix
from ..metrics import Classifier, logits_of
from ..mlp import MLP

PathLike = str | os.PathLike[str]
ASKED = 16  # rows about which a teacher that is a function is asked again, to see whether it is still the same
TOLERANCE = 1e-3  # between two answers of one teacher: another device or batch rounds differently


def fingerprint(array: Array) -> str:
    """A hash of an array's shape, its values as float32, and their order."""
    values = np.ascontiguousarray(to_numpy(array), dtype="<f4")
    return hashlib.sha256(str(values.shape).encode() + values.tobytes()).hexdigest()


def cached_logits(path: PathLike, teacher: Classifier, x: Array) -> np.ndarray:
    """What `teacher` says of x, (N, K) in NumPy: read from `path` if it is there, asked and written if not.

    teacher  an MLP, whose weights are compared with those that were asked, or a function x -> logits, which is asked
             again about a few rows

    CheckpointError where the file is of another teacher or of other samples, or in another order, or damaged.
    """
    check_matrix("x", x)
    if not Path(path).exists():
        logits = np.asarray(to_numpy(logits_of(teacher, x, None, "teacher")))
        buffer = io.BytesIO()
        np.save(buffer, logits, allow_pickle=False)
        # The stamp first: a file without its stamp is refused, a stamp without its file is written anew.
        _write_stamp(path, x, logits, _identity(teacher))
        write_atomically(path, buffer.getvalue())
        return logits
    logits = read_logits(path, x)
    if isinstance(teacher, MLP):
        known = _read_stamp(path).get("teacher")
        if known != _identity(teacher):
            raise CheckpointError(f"{path} holds the answers of another teacher, {known}: delete it to ask this one")
        return logits
    rows = np.linspace(0, len(x) - 1, min(ASKED, len(x))).astype(int)
    now = np.asarray(to_numpy(logits_of(teacher, x[rows], logits.shape[1], "teacher")))
    if not np.allclose(now, logits[rows], rtol=TOLERANCE, atol=TOLERANCE):
        raise CheckpointError(f"{path} holds other answers than teacher gives now: delete it to ask again")
    return logits


def read_logits(path: PathLike, x: Array) -> np.ndarray:
    """The logits (N, K) in a file that was stamped for these samples x, in this order. CheckpointError otherwise."""
    check_matrix("x", x)
    logits, known = _load(path), _read_stamp(path)
    if known.get("logits") != fingerprint(logits):
        raise CheckpointError(
            f"{path} has changed since it was stamped: its logits are not those that {path}.json tells"
        )
    if known.get("samples") != fingerprint(x):
        raise CheckpointError(
            f"{path} holds answers about other samples than x, or in another order: look up by index would mix them up"
        )
    return logits


def stamp(path: PathLike, x: Array, teacher: str) -> None:
    """Vouch that row i of the `.npy` at `path` is what `teacher` (any words) says of row i of x, and note it beside."""
    check_matrix("x", x)
    logits = _load(path)
    check_matrix(f"the array in {path}", logits, rows=len(x))
    check_finite(f"the array in {path}", logits)
    _write_stamp(path, x, logits, teacher)


def _identity(teacher: Classifier) -> str:
    if not isinstance(teacher, MLP):
        return f"function {getattr(teacher, '__qualname__', type(teacher).__name__)}"
    shape = json.dumps(teacher.metadata(), sort_keys=True).encode()
    return f"MLP {hashlib.sha256(shape + to_numpy(teacher.theta).tobytes()).hexdigest()}"


def _write_stamp(path: PathLike, x: Array, logits: np.ndarray, teacher: str) -> None:
    content = {"teacher": teacher, "samples": fingerprint(x), "logits": fingerprint(logits)}
    write_atomically(f"{os.fspath(path)}.json", json.dumps(content, indent=1).encode())


def _read_stamp(path: PathLike) -> dict[str, Any]:
    try:
        known = json.loads(Path(f"{os.fspath(path)}.json").read_text())
        if not isinstance(known, dict):
            raise ValueError("not an object")
    except FileNotFoundError:
        words = "call minikd.methods.answers.stamp once, where you know that its rows are those of x"
        raise CheckpointError(f"{path} has no {path}.json, which tells what its rows are about: {words}") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}.json is damaged: {error}") from error
    return known


def _load(path: PathLike) -> np.ndarray:
    try:
        logits = np.load(path, allow_pickle=False)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise CheckpointError(f"{path} is not a whole .npy file of numbers: {error}") from error
    if not isinstance(logits, np.ndarray) or logits.ndim != 2 or logits.dtype.kind not in "fiu":
        raise CheckpointError(f"{path} does not hold a matrix of numbers, (N, K)")
    return logits
