"""The workplace of a study for one seed: training images with their labels, and test images without labels.

The labels of the test images are hidden in an `Exam`, which returns scores but never labels. So no study can train on
test labels, choose by them or correct a bias by them. One method breaks this rule, because a paper did so; its name
says so.
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

Notify = Callable[[str, int, History], None]  # (network, number of epochs, history so far)


class Exam:
    """Images x (N, D) for evaluation, and scores on them. Their labels stay hidden."""

    def __init__(self, x: np.ndarray, labels: np.ndarray) -> None:
        self.x, self._labels = x, labels

    def logits(self, model: Any) -> np.ndarray:
        """The logits of a classifier for the images, (N, K), in NumPy."""
        return np.asarray(to_numpy(Predictor(model).logits(self.x)))

    def errors(self, model: Any, only: int | None = None) -> int:
        """The number of misclassified images; with `only`, among those of this class.

        `model` is an MLP, a callable x -> logits, or the logits (N, K).
        """
        wrong = self.logits(model).argmax(axis=1) != self._labels
        return int(wrong.sum() if only is None else wrong[self._labels == only].sum())

    def percent(self, model: Any) -> float:
        """The share of misclassified images, in percent."""
        return 100 * self.errors(model) / len(self._labels)

    def percent_of_groups(self, model: Any, groups: np.ndarray) -> float:
        """The share of images classified into the wrong group, in percent.  groups (K,): the group of each class"""
        wrong = groups[self.logits(model).argmax(axis=1)] != groups[self._labels]
        return 100 * float(wrong.mean())

    def nll(self, model: Any) -> float:
        """-mean log p(label), in nats."""
        return float(evaluate(self.logits(model), self.x, self._labels).nll)

    def offset_tuned_on_test(self, logits: np.ndarray, classes: Sequence[int]) -> float:
        """The offset of the logits (N, K) of `classes` that gives the fewest errors, tuned on test labels.

        It is used for rows that repeat what a paper did. The errors change only at the margins of images. So the best
        offset is taken in the middle between two neighbouring margins, and all of these are tried at once.
        """
        inside = np.isin(np.arange(logits.shape[1]), classes)
        best_in, best_out = (np.where(mask, logits, -np.inf) for mask in (inside, ~inside))
        margin = best_out.max(axis=1) - best_in.max(axis=1)  # (N,): an offset above it puts the image into `classes`
        order = np.argsort(margin)
        wrong_in = (best_in.argmax(axis=1) != self._labels)[order]
        wrong_out = (best_out.argmax(axis=1) != self._labels)[order]
        # The first n images in order of margin are put into `classes` and count by wrong_in, the others by wrong_out.
        errors = np.append(0, wrong_in.cumsum()) + np.append(wrong_out[::-1].cumsum()[::-1], 0)
        n, edges = int(errors.argmin()), np.concatenate(([margin.min() - 1], margin[order], [margin.max() + 1]))
        return float((edges[n] + edges[n + 1]) / 2)


class Lab:
    """The data, the evaluation and the networks of a study for one seed.

    Parameters
    ----------
    data : Data
        Training images become `x` (N, D) with labels `y` (N,), including the validation part unless they are a Source.
        Test images become `exam`.
    folder : Path
        Where networks are kept.
    seed : int
        From 0.
    device : str
        "cpu" or "cuda".
    notify : callable
        Called after each epoch.
    validation : bool
        Train on the training part only and evaluate on the validation part, to choose settings.
    name : str
        Name of the data set.
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
        """Height and width of the images. ValueError if the data are not images."""
        if self._image_shape is None:
            raise ValueError("data must be pictures, got data without an image_shape")
        return self._image_shape

    def on(self, name: str) -> Lab:
        """The lab of the same seed for the data set of this name, which may be the present one."""
        if name == self.name:
            return self
        other = Lab(load_data(name), self.folder, self.seed, self.device, self.notify, self.validation, name)
        other._networks = self._networks
        return other

    def network(self, *hidden: int, outputs: int | None = None, dropout: Any = 0.0, number: int = 0) -> MLP:
        """A new network with these hidden layers. Its weights depend on the lab's seed and `number`.

        Students to be compared get the same number, and therefore the same initial weights if their sizes agree.
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
        """Options for `fit` and `distill` to train the network called `name`.

        The learning rate falls along a cosine to zero, and the last epoch counts. The network's file in the folder is
        also the checkpoint of its training: a finished network is loaded, an interrupted one is continued.
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
        """The network of this name, trained before."""
        return MLP.load(self._path(name), self.device)

    def keep(self, name: str, model: MLP) -> None:
        """Save a network that was not trained by `fit`."""
        model.save(self._path(name))

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}-{self.seed}.safetensors"

    def seconds(self) -> float:
        """Training seconds of this lab's networks, summed over interrupted runs."""
        files = (load_arrays(path)[1]["training"] for path in self._networks.values())
        return float(sum(json.loads(training)["seconds"] for training in files))
