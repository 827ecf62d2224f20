"""The settings of a run, the defaults for each data set, and the file that keeps the settings in the run's folder."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import DEVICES
from ..checks import check_choice, check_count, check_number, check_type
from ..data import DATASETS
from ..methods import METHODS
from ..ops import ACTIVATIONS
from .files import make_folder, read_json, write_json

# For each data set, the defaults that differ from Config's if the student is shown all samples. All were chosen on
# validation data.
RATES = {"images": None, "lr": 3e-3, "teacher_lr": 1e-3}
RECIPES: dict[str, dict[str, Any]] = {
    "digits": {"images": None, "teacher_epochs": 50, "teacher_lr": 2e-3},
    "mnist": RATES | {"student": (100,), "temperature": 2.0, "epochs": 20, "teacher_epochs": 15, "batch_size": 128},
    "fsdd": RATES | {"student": (16,), "epochs": 60, "teacher_epochs": 30},
    "udhr": RATES | {"student": (16,), "temperature": 2.0, "epochs": 20, "teacher_epochs": 10, "batch_size": 128},
    # A language model is sampled at T = 1, so its probabilities are learnt at T = 1.
    "words": {
        **{"images": None, "temperature": 1.0, "soft_weight": 1.0, "epochs": 5, "batch_size": 64, "lr": 3e-3},
        **{"teacher_epochs": 6, "teacher_lr": 2e-3},
    },
}
# Defaults on top of RECIPES if the student is shown a few samples. With 50, 100 and 200 digits, the distilled student
# makes 0.52, 0.48 and 0.50 times the validation errors of the student on labels (10 seeds; T = 4, soft weight 0.9).
FEW: dict[str, dict[str, Any]] = {
    "digits": {"images": 100, "teacher_epochs": 20, "teacher_lr": 3e-3, "all_epochs": 30},
    "mnist": {
        "images": 1000,
        "epochs": 150,
        "batch_size": 64,
        "temperature": 8.0,
        "teacher_epochs": 10,
        "all_epochs": 10,
    },
    "fsdd": {"images": 100, "student": (32,), "epochs": 200, "temperature": 8.0, "all_epochs": 60},
    "udhr": {"images": 500, "student": (64,), "epochs": 100, "batch_size": 32, "temperature": 4.0, "all_epochs": 20},
    "words": {"images": 500, "epochs": 20, "lr": 1e-2, "all_epochs": 5},
}


@dataclass(frozen=True)
class Config:
    """The settings of a run. Two runs with the same settings on the same machine end with the same bits.

    Parameters
    ----------
    data : str
        Name of the data set.
    teacher, student : tuple of int
        Widths of the hidden layers.
    method : str
        A name in METHODS.
    temperature, soft_weight : float
        Options of the method "kd". The other methods keep their defaults.
    epochs, lr
        Epochs and learning rate of the students. Learning rates fall along a cosine to zero.
    teacher_epochs, teacher_lr
        Those of the teacher.
    batch_size, seeds, device
        Samples per step, number of repetitions, and "cpu" or "cuda".
    teacher_from : str or None
        The file of a trained teacher for all seeds (see exchange/teachers.py).
    trust_teacher : bool
        Whether answers in that file may disagree with the labels.
    activation : str or None
        Activation of the given teacher's hidden layers, if its file does not contain it.
    images : int or None
        Number of training samples that the student is shown, drawn by the seed; None for all. The teacher is trained
        on all. On the data set words it is the number of words.
    without : tuple of str
        Classes that the student is not shown.
    all_epochs : int
        Epochs of the student that is shown all samples, for comparison.
    """

    data: str = "digits"
    teacher: tuple[int, ...] = (256, 256)
    student: tuple[int, ...] = (64,)
    method: str = "kd"
    temperature: float = 4.0
    soft_weight: float = 0.9
    epochs: int = 100
    teacher_epochs: int = 20
    batch_size: int = 32
    lr: float = 3e-2
    teacher_lr: float = 3e-3
    seeds: int = 5
    device: str = "cpu"
    teacher_from: str | None = None
    trust_teacher: bool = False
    activation: str | None = None
    images: int | None = 100
    without: tuple[str, ...] = ()
    all_epochs: int = 30

    def __post_init__(self) -> None:
        check_choice("data", self.data, DATASETS)
        check_choice("device", self.device, DEVICES)
        check_choice("method", self.method, METHODS)
        if self.activation is not None:
            check_choice("activation", self.activation, ACTIVATIONS)
        for name in ("activation", "trust_teacher"):
            if getattr(self, name) and self.teacher_from is None:
                raise ValueError(f"{name} belongs to --teacher-from, and none was given: leave it out")
        for name in ("teacher", "student"):
            for width in getattr(self, name):
                check_count(f"{name} widths", width)
        for name in ("epochs", "teacher_epochs", "all_epochs", "batch_size", "seeds"):
            check_count(name, getattr(self, name))
        if self.images is not None:
            check_count("images", self.images)
        for name in ("temperature", "lr", "teacher_lr"):
            check_number(name, getattr(self, name), 0, open_low=True)
        check_number("soft_weight", self.soft_weight, 0, 1)
        for words in (*self.without, self.teacher_from or ""):
            check_type("without and teacher_from", words, str, "text")

    @classmethod
    def for_data(cls, data: str = "digits", **given: Any) -> Config:
        """The recipe of a data set with the given changes. ValueError and TypeError for invalid settings.

        `images` is None for all samples; the default is the data set's own small number. With another number, the
        student is trained for the same number of steps.
        """
        if "epochs" in given:  # a user who sets `epochs` most likely wants the whole run shorter or longer
            given = {"teacher_epochs": given["epochs"], "all_epochs": given["epochs"], **given}
        recipe, few = RECIPES.get(data, {}), FEW.get(data, {})
        if given.get("images", 0) is None:
            return cls(data=data, **{**recipe, **given})
        images = given.pop("images", None)
        config = cls(data=data, **{**recipe, **few, **given})
        if images is None:
            return config
        return replace(config, images=images) if "epochs" in given else config.shown(images)

    def shown(self, images: int | None) -> Config:
        """The same with another number of images for the student and as many steps, at least `all_epochs` epochs."""
        epochs = self.all_epochs
        if images is not None and self.images is not None:
            epochs = max(epochs, self.epochs * self.images // check_count("images", images))
        return replace(self, images=images, epochs=epochs)

    @classmethod
    def read(cls, folder: Path) -> Config:
        """The settings of the run in `folder`. CheckpointError if it is not the folder of a run."""
        missing = f"{folder} is not the folder of a run: it has no config.json"
        path = folder / "config.json"
        return read_json(path, "the settings of a run", lambda content: cls.from_json(content["settings"]), missing)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Config:
        """The settings from a dict as made by `asdict`, or read from JSON. ValueError, TypeError, AttributeError."""
        lists: dict[str, Any] = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**{**values, **lists})

    def write(self, folder: Path) -> None:
        """Begin a run: make the folder, and write the settings and versions into it."""
        from .. import __version__

        make_folder(folder)
        versions = {"minikd": __version__, "numpy": np.__version__, "python": platform.python_version()}
        content = {"settings": asdict(self), "versions": versions, "machine": platform.machine()}
        write_json(folder / "config.json", content)
