"""A teacher from a file: the run's folder keeps a copy, because the file may change or be deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..exchange.onnx_file import OnnxNetwork
from ..exchange.teachers import Answers, Teacher, read_teacher
from .files import read_json, write_json

COPY = "teacher-0"  # name of the copy in the folder of a run; its suffix shows its kind


def keep_copy(teacher: Teacher, folder: Path) -> None:
    """Copy a given teacher into the folder of a run: the network, or the fingerprint of its file of answers."""
    if isinstance(teacher, Answers):
        content = {"answers": teacher.path, "shape": teacher.shape, "sha256": teacher.sha256}
        write_json(folder / f"{COPY}.json", content)
    else:
        teacher.save(folder / f"{COPY}{'.onnx' if isinstance(teacher, OnnxNetwork) else '.safetensors'}")


def read_copy(folder: Path, device: str = "cpu") -> Teacher | None:
    """The copy that `keep_copy` made, answers without their logits; None if there is no copy."""
    for suffix in (".safetensors", ".onnx"):
        if (path := folder / f"{COPY}{suffix}").exists():
            return read_teacher(path, device=device)
    path = folder / f"{COPY}.json"
    return read_json(path, "the fingerprint of a file of answers", _answers) if path.exists() else None


def _answers(content: Any) -> Answers:
    return Answers(str(content["answers"]), tuple(content["shape"]), str(content["sha256"]))


def given_teacher(folder: Path, path: str, activation: str | None, device: str) -> Teacher:
    """The teacher of a run: its copy or, in a new run, the file. CheckpointError if a file of answers has changed."""
    copy = read_copy(folder, device)
    if copy is not None and not isinstance(copy, Answers):
        return copy
    teacher = read_teacher(path, activation=activation, device=device)
    if copy is not None and (not isinstance(teacher, Answers) or teacher.sha256 != copy.sha256):
        raise CheckpointError(f"{path} has changed since the run in {folder} began: restore the old file")
    return teacher
