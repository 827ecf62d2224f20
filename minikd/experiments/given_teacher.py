"""A teacher that a run was given: the run's folder keeps what it needs of it, should the file change or go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..exchange.onnx_file import OnnxNetwork
from ..exchange.teachers import Answers, Teacher, read_teacher
from .files import read_json, write_json

COPY = "teacher-0"  # the copy in the folder of a run, with a suffix that tells its kind


def keep_copy(teacher: Teacher, folder: Path) -> None:
    """Put into the folder of a run what it needs of a given teacher: the network, or the fingerprint of its answers."""
    if isinstance(teacher, Answers):
        content = {"answers": teacher.path, "shape": teacher.shape, "sha256": teacher.sha256}
        write_json(folder / f"{COPY}.json", content)
    else:
        teacher.save(folder / f"{COPY}{'.onnx' if isinstance(teacher, OnnxNetwork) else '.safetensors'}")


def read_copy(folder: Path, device: str = "cpu") -> Teacher | None:
    """What `keep_copy` has put there, answers without their logits; None where there is nothing."""
    for suffix in (".safetensors", ".onnx"):
        if (path := folder / f"{COPY}{suffix}").exists():
            return read_teacher(path, device=device)
    path = folder / f"{COPY}.json"
    return read_json(path, "the fingerprint of a file of answers", _answers) if path.exists() else None


def _answers(content: Any) -> Answers:
    return Answers(str(content["answers"]), tuple(content["shape"]), str(content["sha256"]))


def given_teacher(folder: Path, path: str, activation: str | None, device: str) -> Teacher:
    """The teacher of a run: its copy, or, at the run's beginning, the file itself. Answers must not have changed."""
    copy = read_copy(folder, device)
    if copy is not None and not isinstance(copy, Answers):
        return copy
    teacher = read_teacher(path, activation=activation, device=device)
    if copy is not None and (not isinstance(teacher, Answers) or teacher.sha256 != copy.sha256):
        raise CheckpointError(f"{path} has changed since the run in {folder} began: put the old file back")
    return teacher
