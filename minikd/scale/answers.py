"""Cached teacher logits: computed once, written to a file, and looked up by index for any student.

The file is a plain `.npy` of logits (N, K), so that any framework can write or read it. A `.json` file beside it
contains fingerprints of the samples in their order, of the logits, and of the teacher. So a file that is stale,
shuffled, cut short or of another data set is an error, and does not silently give a bad student::

    logits = cached_logits("answers.npy", teacher, x)                 computes the logits, or reads them
    stamp("answers.npy", x, "resnet50")                               once, for a file that another framework wrote
    distill(student, read_logits("answers.npy", x), x, labels)

Neither the samples nor the logits need to fit in memory. If x is a Stream (stream.py), the logits are a Stream also. If
a process is killed before its file is complete, the next call continues it.

With many classes the k largest logits of a teacher contain nearly all information. `cached_logits(..., top=k)` keeps
these logits of each row, their classes, and the logarithm of the sum of the other exponentials, l = log sum_rest
e^(v_j): 2 k + 1 numbers instead of K. When the file is read, each of the K - k others has the same logit::

    v_j = l - log(K - k)

So at temperature 1 the k largest probabilities are exact, and the rest is spread evenly. At a higher temperature the k
largest are slightly wrong, because an even rest has the largest weight among all rests with this sum. `top_error`
measures the difference.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import Array, to_numpy, xp_of
from ..checkpoint import write_atomically
from ..checks import check_count, check_finite, check_matrix, check_number, is_array
from ..errors import CheckpointError
from ..exchange.teachers import read_npy
from ..metrics import Classifier, Predictor
from ..mlp import MLP, PIECE
from ..ops import log_softmax
from .stream import Stream

PathLike = str | os.PathLike[str]
RECHECKED_ROWS = 16  # rows that a teacher function computes again, to see whether it is still the same teacher
ROWS_AT_A_TIME = 8 * PIECE  # rows that a teacher computes at a time; a kill can lose this many
RECHECK_TOLERANCE = 1e-3  # between two results of one teacher: another device or batch rounds differently


class Top:
    """The k largest logits of each row and the sum of the rest, (N, 2 k + 1), read as (N, classes) logits."""

    def __init__(self, packed: Any, classes: int) -> None:
        self.packed, self.k = packed, (packed.shape[1] - 1) // 2
        self.shape, self.dtype, self.ndim = (packed.shape[0], classes), np.dtype("float32"), 2

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, which: Any) -> np.ndarray:
        packed, rest = np.asarray(self.packed[which]), self.shape[1] - self.k
        logits = np.repeat(packed[..., -1:] - np.float32(np.log(rest)), self.shape[1], axis=-1)
        np.put_along_axis(logits, packed[..., self.k : -1].astype(np.int64), packed[..., : self.k], axis=-1)
        return logits


def keep_top(logits: np.ndarray, k: int) -> np.ndarray:
    """The k largest of K logits a row, their classes, and log sum e^v of the others.  (B, K) -> (B, 2 k + 1) float32"""
    if not 1 <= check_count("top", k) < logits.shape[1]:
        raise ValueError(f"top must be less than the {logits.shape[1]} classes, got {k}")
    order = np.argsort(-logits, axis=1, kind="stable").astype(np.int64)
    v = np.take_along_axis(logits.astype(np.float64), order, axis=1)  # (B, K), the largest first
    largest_of_rest = v[:, k : k + 1]
    rest = largest_of_rest + np.log(np.exp(v[:, k:] - largest_of_rest).sum(axis=1, keepdims=True))
    return np.hstack([v[:, :k], order[:, :k], rest]).astype(np.float32)


def top_error(logits: Array, ks: Sequence[int], temperature: float = 1.0) -> dict[int, float]:
    """For each k the mean KL(all logits || the k largest and an even rest) of soft targets, in nats."""
    check_number("temperature", temperature, 0, open_low=True)
    v = to_numpy(logits)
    logq = log_softmax(v.astype(np.float64), temperature)
    found = {}
    for k in ks:
        logp = log_softmax(Top(keep_top(v, k), v.shape[1])[:].astype(np.float64), temperature)
        found[k] = float((np.exp(logq) * (logq - logp)).sum(axis=1).mean())
    return found


def fingerprint(array: Any) -> str:
    """A hash of an array's shape, its values as float32, and their order."""
    sha = hashlib.sha256(str(tuple(array.shape)).encode())
    for _, piece in _pieces(array):
        sha.update(_bytes(piece))
    return sha.hexdigest()


def _bytes(rows: Array) -> Any:
    return np.ascontiguousarray(to_numpy(rows), dtype="<f4").data.cast("B")


def _pieces(array: Any) -> Iterator[tuple[int, Array]]:
    array = _opened(array)
    return array.pieces() if isinstance(array, Stream) else iter([(0, array)])


def _opened(array: Any) -> Any:
    """A Stream over an array that is in a file. An array in memory or on a GPU is returned as it is."""
    in_file = isinstance(array, np.memmap) or (xp_of(array) is np and not isinstance(array, np.ndarray | Stream))
    return Stream(array) if in_file and is_array(array) else array


def cached_logits(path: PathLike, teacher: Classifier, x: Any, top: int | None = None) -> Any:
    """The logits (N, K) of `teacher` for x: read from `path` if it exists, otherwise computed and written.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    teacher : MLP or callable
        An MLP, whose weights are compared with those that made the file, or a function x -> logits, which is called
        again for a few rows.
    x : array or Stream (N, D)
        The samples.
    top : int, optional
        Keep only this many of the K logits. What is returned can be read like an (N, K) array.

    Returns
    -------
    array or Stream (N, K)
        The logits.

    Raises
    ------
    CheckpointError
        The file belongs to another teacher, to other samples or to another order of them, or is damaged.
    """
    x = _opened(x)
    x = check_matrix("x", x)
    if not Path(path).exists():
        _compute_all(path, teacher, x, top)
        return read_logits(path, x)
    logits = read_logits(path, x)
    known_top = _read_stamp(path).get("top")
    if known_top != top:
        raise CheckpointError(f"{path} holds the {known_top or 'K'} largest logits of each row, not {top or 'all'}")
    if isinstance(teacher, MLP):
        known = _read_stamp(path).get("teacher")
        if known != _identity(teacher):
            raise CheckpointError(f"{path} holds the answers of another teacher, {known}: delete it to ask this one")
        return logits
    rows = np.linspace(0, len(x) - 1, min(RECHECKED_ROWS, len(x))).astype(int)
    now = np.asarray(to_numpy(Predictor(teacher, "teacher", logits.shape[1]).logits(x[rows])))
    now = now if top is None else Top(keep_top(now, top), now.shape[1])[:]
    if not np.allclose(now, logits[rows], rtol=RECHECK_TOLERANCE, atol=RECHECK_TOLERANCE):
        raise CheckpointError(f"{path} holds other answers than teacher gives now: delete it to ask again")
    return logits


def _compute_all(path: PathLike, teacher: Classifier, x: Any, top: int | None) -> None:
    """Write the answer file and its stamp. A file that was begun for the same samples and teacher is continued.

    Until it is complete, its rows are in PATH.part, and PATH.part.json describes those that are written.
    """
    part, identity = f"{os.fspath(path)}.part", {"teacher": _identity(teacher), "shape": list(x.shape), "top": top}
    begun = _read_begun(part, identity)
    done, classes = begun.get("rows", 0), begun.get("classes")
    samples, rows = hashlib.sha256(str(tuple(x.shape)).encode()), None
    for start in range(0, len(x), ROWS_AT_A_TIME):
        piece = x[start : start + ROWS_AT_A_TIME]
        samples.update(_bytes(piece))
        if start + len(piece) <= done:  # these rows are done, if the samples are still the same
            if begun and start + len(piece) == done and samples.hexdigest() != begun["samples"]:
                raise CheckpointError(f"{part} was begun for other samples than x: delete it to ask again")
            continue
        logits = np.asarray(to_numpy(Predictor(teacher, "teacher", classes).logits(piece)))
        classes = logits.shape[1]
        found = logits if top is None else keep_top(logits, top)
        if rows is None:
            rows = _open(part, "r+" if done else "w+", found.dtype, (len(x), found.shape[1]))
        rows[start : start + len(piece)] = found
        rows.flush()
        now = {**identity, "rows": start + len(piece), "classes": classes, "samples": samples.hexdigest()}
        write_atomically(f"{part}.json", json.dumps(now).encode(), sync=False)
    del rows
    more: dict[str, Any] = {} if top is None else {"top": top, "classes": classes}
    # The stamp comes first: a file without its stamp is refused, but a stamp without its file is written again.
    _write_stamp(path, _identity(teacher), samples.hexdigest(), fingerprint(read_npy(part)), **more)
    os.replace(part, path)
    Path(f"{part}.json").unlink()


def _open(path: str, mode: str, dtype: Any, shape: tuple[int, int]) -> Any:
    try:
        return np.lib.format.open_memmap(path, mode, dtype, shape)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}") from error


def _read_begun(part: str, identity: dict[str, Any]) -> dict[str, Any]:
    """What is known of an answer file that was begun. Empty if there is none, or if it is damaged."""
    try:
        known: dict[str, Any] = json.loads(Path(f"{part}.json").read_text(encoding="utf-8"))
        read_npy(part)
        different = [name for name, value in identity.items() if known[name] != value]
        whole = {"rows", "classes", "samples"} <= set(known)
    except (OSError, ValueError, KeyError, TypeError, CheckpointError):
        return {}
    if different:
        raise CheckpointError(f"{part} was begun with another {' and '.join(different)}: delete it to ask again")
    return known if whole else {}


def read_logits(path: PathLike, x: Any) -> Any:
    """The logits (N, K) in a file that was stamped for these samples x, in this order. CheckpointError otherwise.

    If x is in memory, the logits are an array in memory. If x is a Stream, they are a Stream with the same blocks that
    reads them from the file.
    """
    x = _opened(x)
    x = check_matrix("x", x)
    logits, known = read_npy(path, isinstance(x, Stream)), _read_stamp(path)
    if known.get("logits") != fingerprint(logits):
        raise CheckpointError(
            f"{path} has changed since it was stamped: its logits are not those that {path}.json describes"
        )
    if known.get("samples") != fingerprint(x):
        raise CheckpointError(
            f"{path} holds answers about other samples than x, or in another order, but rows are looked up by index"
        )
    if "top" in known:
        packed = Top(logits, known["classes"])
        return Stream(packed, x.rows) if isinstance(x, Stream) else packed[:]
    return Stream(logits, x.rows) if isinstance(x, Stream) else logits


def stamp(path: PathLike, x: Array, teacher: str) -> None:
    """Declare that row i of the `.npy` at `path` holds the logits of `teacher` (any text) for row i of x, and write the
    stamp.
    """
    x = check_matrix("x", x)
    logits = read_npy(path, False)
    check_matrix(f"the array in {path}", logits, rows=len(x))
    check_finite(f"the array in {path}", logits)
    _write_stamp(path, teacher, fingerprint(x), fingerprint(logits))


def _identity(teacher: Classifier) -> str:
    if not isinstance(teacher, MLP):
        return f"function {getattr(teacher, '__qualname__', type(teacher).__name__)}"
    shape = json.dumps(teacher.metadata(), sort_keys=True).encode()
    return f"MLP {hashlib.sha256(shape + to_numpy(teacher.theta).tobytes()).hexdigest()}"


def _write_stamp(path: PathLike, teacher: str, samples: str, logits: str, **more: int) -> None:
    content = {"teacher": teacher, "samples": samples, "logits": logits, **more}
    write_atomically(f"{os.fspath(path)}.json", json.dumps(content, indent=1).encode())


def _read_stamp(path: PathLike) -> dict[str, Any]:
    try:
        known = json.loads(Path(f"{os.fspath(path)}.json").read_text(encoding="utf-8"))
        if not isinstance(known, dict):
            raise ValueError("not an object")
    except FileNotFoundError:
        words = "call minikd.scale.answers.stamp once, if you know that its rows are in the order of x"
        raise CheckpointError(f"{path} has no {path}.json, which describes its samples: {words}") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}.json is damaged: {error}") from error
    return known
