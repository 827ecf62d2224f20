"""Files of named arrays that are complete and unaltered, or not there at all.

The format is safetensors: a header of names, shapes and text metadata, then raw numbers. Nothing in it can run code, so
it is safe to open a file from a stranger. Two things are added here. Saving is atomic: a full disk or a kill leaves the
old file as it was. And the metadata contains a SHA-256 of everything else, so that a file that was cut short or altered
is recognised. This module does not know what a network is.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .backend import to_numpy
from .errors import CheckpointError

FORMAT, VERSION = "minikd", "1"
PathLike = str | os.PathLike[str]


def save_arrays(path: PathLike, arrays: Mapping[str, Any], metadata: Mapping[str, str], *, sync: bool = True) -> None:
    """Write arrays (CPU or GPU, at least one dimension) and text metadata to `path`, atomically.

    With sync=False the call does not wait for the disk, because that would cost short epochs more time than training.
    The file is then safe against a kill and a full disk, but not against a power cut. After a power cut it may be
    damaged, and `load_arrays` reports that. CheckpointError if the file cannot be written; `path` then holds what it
    held before.
    """
    from safetensors.numpy import save

    host = {name: np.ascontiguousarray(to_numpy(array)) for name, array in arrays.items()}
    header = {**metadata, "format": FORMAT, "version": VERSION}
    write_atomically(path, save(host, {**header, "sha256": _digest(host, header)}), sync=sync)


def load_arrays(path: PathLike) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, str]]:
    """Read what `save_arrays` wrote: NumPy arrays and metadata.

    CheckpointError for a file that is missing, truncated or altered, or that has another format or version.
    """
    from safetensors import SafetensorError, safe_open

    if Path(path).is_dir():
        raise CheckpointError(f"cannot read {path}: it is a directory")
    try:
        with safe_open(path, framework="np") as file:
            header = dict(file.metadata() or {})
            if header.get("format") != FORMAT:
                raise CheckpointError(f"{path} is a safetensors file, but not one that minikd wrote")
            if header.get("version") != VERSION:
                found = header.get("version", "")[:20]
                raise CheckpointError(f"{path} has format version {found!r}; this minikd reads version {VERSION}")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError, OverflowError, MemoryError) as error:
        words = f"{str(error)[:200]}; it begins with {np.fromfile(path, np.uint8, 24).tobytes()!r}"
        raise CheckpointError(f"{path} is not a whole safetensors file: {words}") from error
    if header.pop("sha256", None) != _digest(arrays, header):
        words = "was altered or damaged after it was written: its SHA-256 does not match its contents"
        raise CheckpointError(f"{path} {words}")
    return arrays, header


def write_atomically(path: PathLike, content: bytes, *, sync: bool = True) -> None:
    """Write bytes so that `path` holds either all of them or what it held before, whatever happens in between.

    CheckpointError if the file cannot be written.
    """
    # The new file is complete and on the disk before it gets the name of the old one, which is one atomic step.
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        kept = "the file there before, if any, is untouched"
        raise CheckpointError(f"cannot write {target}: {error.strerror or error}; {kept}") from error
    finally:
        with suppress(OSError):  # it is not there after success, or if it could not be created
            temporary.unlink()


def save_run(path: PathLike, theta: Any, metadata: Mapping[str, str], state: Any, progress: Any) -> None:
    """Write a training run: the parameters with their metadata, the optimizer's state, and the progress.

    `state` is {"t": steps, name: vector, ...}. `progress` holds plain values, among them "settings" and the history.
    """
    arrays = {f"optimizer.{name}": vector for name, vector in state.items() if name != "t"}
    training = json.dumps({**progress, "t": state["t"]})
    save_arrays(path, {"theta": theta, **arrays}, {**metadata, "training": training}, sync=False)


def run_in(path: Any, arrays: Mapping[str, Any], metadata: Mapping[str, str], settings: Mapping[str, Any]) -> Any:
    """(state, progress) as `save_run` wrote them. CheckpointError if the file has other `settings`."""
    progress = json.loads(metadata["training"])
    then, now = {**progress["settings"], **metadata}, json.loads(json.dumps(settings))
    different = [f"{name} (then {then.get(name)}, now {now[name]})" for name in now if then.get(name) != now[name]]
    if different:
        raise CheckpointError(f"{path} belongs to another run, with a different {'; '.join(different)}")
    vectors = {name.removeprefix("optimizer."): array for name, array in arrays.items() if name != "theta"}
    return {"t": progress["t"], **vectors}, progress


def fingerprint(value: Any) -> Any:
    """What a checkpoint records of data or of a function, so that a run is not resumed with others.

    An array gives a checksum, an object its attribute `fingerprint`, a function its name, and a partial function also
    its keyword arguments. All of them are the same in every process.
    """
    if hasattr(value, "fingerprint"):
        return value.fingerprint
    if isinstance(value, partial):
        options = {k: fingerprint(v) if hasattr(v, "dtype") else v for k, v in value.keywords.items()}
        return f"{fingerprint(value.func)} {options}"
    if callable(value):
        return getattr(value, "__qualname__", type(value).__name__)
    return zlib.crc32(np.ascontiguousarray(to_numpy(value)).data)


def _digest(arrays: Mapping[str, np.ndarray[Any, Any]], metadata: Mapping[str, str]) -> str:
    import hashlib  # here, not above: `import minikd` should cost little more than NumPy

    sha = hashlib.sha256()
    for name, text in sorted(metadata.items()):
        sha.update(f"{name}={text}\0".encode())
    for name, array in sorted(arrays.items()):
        sha.update(f"{name}:{array.dtype}:{array.shape}\0".encode())
        sha.update(np.ascontiguousarray(array).view(np.uint8).data)
    return sha.hexdigest()
