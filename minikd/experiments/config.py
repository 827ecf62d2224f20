"""The settings of a run, the defaults of each data set, and how they are kept in the run's folder."""

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

# Where a data set calls for other defaults than Config's, if the student is shown all samples. All were chosen on
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
# And on top of these, if it is shown a few. With 50, 100 and 200 digits the distilled student makes 0.52, 0.48 and 0.50
# times the validation errors of its twin on labels (10 seeds; T = 4, soft weight 0.9).
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
    """What a run is made of; two runs with the same settings on the same machine end with the same bits.

    teacher and student are widths of hidden layers; epochs and lr are the students', teacher_epochs and teacher_lr
    the teacher's, and learning rates fall along a cosine to zero. The student is shown `images` training samples (None:
    all), drawn by the seed, of no class that `without` names; the teacher has seen all. On the data set words, `images`
    counts words. all_epochs are those of the student that is shown all samples, for comparison. `teacher_from` names
    the file of a trained teacher (see exchange/teachers.py), for all seeds; `activation` is that of its hidden layers,
    if the file does not tell, and with `trust_teacher` answers in a file may disagree with the labels.
    `temperature` and `soft_weight` are options of the method "kd"; the others keep their defaults.
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
        """The recipe of a data set, changed by what is given. ValueError and TypeError for settings that cannot be.

        images   None for all; by default the data set's own few. Another number is trained on for as many steps
        """
        if "epochs" in given:  # whoever sets one of the three most likely wants a shorter or longer run in all
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
        """The same with another number of images for the student: as many steps, but at least `all_epochs` epochs."""
        epochs = self.all_epochs
        if images is not None and self.images is not None:
            epochs = max(epochs, self.epochs * self.images // check_count("images", images))
        return replace(self, images=images, epochs=epochs)

    @classmethod
    def read(cls, folder: Path) -> Config:
        """The settings of the run in `folder`. CheckpointError where there are none."""
        missing = f"{folder} is not the folder of a run: it has no config.json"
        path = folder / "config.json"
        return read_json(path, "the settings of a run", lambda content: cls.from_json(content["settings"]), missing)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Config:
        """The settings as `asdict` gives them, or as they are read from JSON. ValueError, TypeError, AttributeError."""
        lists: dict[str, Any] = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**{**values, **lists})

    def write(self, folder: Path) -> None:
        """Begin a run: make the folder, and note the settings and versions in it."""
        from .. import __version__

        make_folder(folder)
        versions = {"minikd": __version__, "numpy": np.__version__, "python": platform.python_version()}
        content = {"settings": asdict(self), "versions": versions, "machine": platform.machine()}
        write_json(folder / "config.json", content)
