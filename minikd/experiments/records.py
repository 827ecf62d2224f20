"""The records that a comparison and a sweep keep of each trained network, and how records are grouped."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ..data import Data
from ..metrics import evaluate
from .summary import Trained

Record = dict[str, Any]
Setting = TypeVar("Setting")


def scores_of(trained: Trained, data: Data) -> dict[str, float]:
    """The test scores of a network, and its validation accuracy and NLL, which are used to choose settings."""
    validation = evaluate(trained.model, data.x_val, data.y_val)
    return {"val_accuracy": validation.accuracy, "val_nll": validation.nll, **trained.scores}


def score(record: Record, name: str, part: str = "val_") -> float:
    """A student's errors in percent or NLL in nats, on validation samples or, with part "", on test samples."""
    return float(100 - 100 * record[f"{part}accuracy"] if name == "error" else record[f"{part}nll"])


def grouped(records: Iterable[Record], setting_of: Callable[[Record], Setting]) -> dict[Setting, list[Record]]:
    """The records of each setting, in their order. A setting with a diverged student is left out."""
    groups: dict[Setting, list[Record]] = {}
    for record in records:
        groups.setdefault(setting_of(record), []).append(record)
    return {setting: group for setting, group in groups.items() if not any("failed" in r for r in group)}
