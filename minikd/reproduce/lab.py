"""Where a study works with one seed: training images with their labels, and test images without.

The labels of the test images are locked in an `Exam`, which answers with scores and never with labels, so that no
study can train on them, choose by them or correct a bias by them. One method breaks the rule, as a paper did, and
says so in its name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import to_numpy
from ..checkpoint import load_arrays
from ..checks import is_source
from ..data import Data, load_data
from ..metrics import History, Predictor, evaluate
from ..mlp import MLP
from ..optim import Adam, Optimizer, cosine

Notify = Callable[[str, int, History], None]  # (network, epochs in all, what happened so far)


class Exam:
    """The examined images x (N, D), and scores on them; their labels do not come out."""

    def __init__(self, x: np.ndarray, labels: np.ndarray) -> None:
        self.x, self._labels = x, labels

    def logits(self, model: Any) -> np.ndarray:
        """What a classifier says of the images: (N, K), in NumPy."""
        return np.asarray(to_numpy(Predictor(model).logits(self.x)))

    def errors(self, model: Any, only: int | None = None) -> int:
        """How many images a classifier gets wrong; with `only`, of those of that class.

        model   an MLP, a callable x -> logits, or the logits (N, K)
        """
        wrong = self.logits(model).argmax(axis=1) != self._labels
        return int(wrong.sum() if only is None else wrong[self._labels == only].sum())

    def percent(self, model: Any) -> float:
        """The share of images that a classifier gets wrong, in percent."""
        return 100 * self.errors(model) / len(self._labels)

    def percent_of_groups(self, model: Any, groups: np.ndarray) -> float:
        """The share of images that are put into a class of the wrong group, in percent.  groups (K,): of each class"""
        wrong = groups[self.logits(model).argmax(axis=1)] != groups[self._labels]
        return 100 * float(wrong.mean())

    def nll(self, model: Any) -> float:
        """-mean log p(label), in nats."""
        return float(evaluate(self.logits(model), self.x, self._labels).nll)

    def offset_tuned_on_test(self, logits: np.ndarray, classes: Sequence[int]) -> float:
        """The number that, added to the logits (N, K) of `classes`, leaves the fewest errors: tuned on test labels.

        For rows that show what a paper did. Only between two images' margins does anything change, so the number
        sought lies in the middle between two neighbouring margins, and all of those are tried at once.
        """
        inside = np.isin(np.arange(logits.shape[1]), classes)
        best_in, best_out = (np.where(mask, logits, -np.inf) for mask in (inside, ~inside))
        margin = best_out.max(axis=1) - best_in.max(axis=1)  # (N,): an offset above it makes the image one of `classes`
        order = np.argsort(margin)
        wrong_in = (best_in.argmax(axis=1) != self._labels)[order]
        wrong_out = (best_out.argmax(axis=1) != self._labels)[order]
        # After the first n images, in order of margin, have moved in, they count by wrong_in, the others by wrong_out.
        errors = np.append(0, wrong_in.cumsum()) + np.append(wrong_out[::-1].cumsum()[::-1], 0)
        n, edges = int(errors.argmin()), np.concatenate(([margin.min() - 1], margin[order], [margin.max() + 1]))
        return float((edges[n] + edges[n + 1]) / 2)


class Lab:
    """What a study is given for one seed.

    x, y        all images that may be trained on, (N, D), and their labels (N,); of a Source the training part alone
    exam        the images to be examined on
    seed        from 0;  device  "cpu" or "cuda";  folder  where networks are kept
    validation  train on the training images alone, and examine on the validation images: for choosing settings
    name        of the data set
    """

    def __init__(
        self,
        data: Data,
        folder: Path,
        seed: int,
        device: str = "cpu",
        notify: Notify = lambda *words: None,
        validation: bool = False,
        name: str = "mnist",
    ) -> None:
        self.x, self.y = data.x_train, data.y_train
        if not (validation or is_source(data.x_train)):
            self.x = np.concatenate((data.x_train, data.x_val))
            self.y = np.concatenate((data.y_train, data.y_val))
        self.exam = Exam(data.x_val, data.y_val) if validation else Exam(data.x_test, data.y_test)
        self._image_shape, self.n_classes = data.image_shape, len(data.class_names)
        self.folder, self.seed, self.device, self.notify = folder, seed, device, notify
        self.validation, self.name = validation, name
        self._networks: dict[str, Path] = {}

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width of the images. ValueError for data that are none."""
        if self._image_shape is None:
            raise ValueError("data must be pictures, got data without an image_shape")
        return self._image_shape

    def on(self, name: str) -> Lab:
        """The lab of the same seed on the data set of that name, which may be this one's."""
        if name == self.name:
            return self
        other = Lab(load_data(name), self.folder, self.seed, self.device, self.notify, self.validation, name)
        other._networks = self._networks
        return other

    def network(self, *hidden: int, outputs: int | None = None, dropout: Any = 0.0, number: int = 0) -> MLP:
        """A fresh network with these hidden layers; its weights come from the lab's seed and `number`.

        Students that are compared get the same number, and so the same initial weights where their sizes agree.
        """
        sizes = (self.x.shape[1], *hidden, outputs or self.n_classes)
        return MLP(sizes, dropout=dropout, seed=1000 * number + self.seed, device=self.device)

    def training(
        self,
        name: str,
        model: MLP,
        *,
        epochs: int,
        lr: float,
        batch_size: int,
        optimizer: Callable[..., Optimizer] = Adam,
        **options: Any,
    ) -> dict[str, Any]:
        """How a study trains the network called `name`: options for `fit` and `distill`.

        The rate falls along a cosine to zero, and the last epoch counts. The network's file in the folder is also
        the checkpoint of its training: what is finished is read, and what was interrupted goes on.
        """
        path = self._networks[name] = self._path(name)

        def callback(model: MLP, history: History) -> None:
            self.notify(name, epochs, history)

        return {
            "optimizer": optimizer(model, lr, **options),
            "epochs": epochs,
            "batch_size": batch_size,
            "schedule": cosine(),
            "seed": self.seed,
            "checkpoint": path,
            "resume": True,
            "progress": False,
            "callbacks": (callback,),
        }

    def read(self, name: str) -> MLP:
        """The network of that name, trained before."""
        return MLP.load(self._path(name), self.device)

    def keep(self, name: str, model: MLP) -> None:
        """Save a network that was not trained by `fit`."""
        model.save(self._path(name))

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}-{self.seed}.safetensors"

    def seconds(self) -> float:
        """How long the networks of this lab were trained, those of interrupted runs added up."""
        files = (load_arrays(path)[1]["training"] for path in self._networks.values())
        return float(sum(json.loads(training)["seconds"] for training in files))
