"""Data sets: two inside the package, and three that are downloaded once and checked at every reading.

`load_data("digits")` and `load_data("words")` need no network. The others are read from the folder that the environment
variable MINIKD_DATA_DIR names, or else from the user's cache. Missing files are downloaded into it.
"""

from __future__ import annotations

from pathlib import Path

from ..checks import check_choice
from . import digits, fsdd, mnist, udhr, words
from .dataset import Data, Dataset
from .download import data_dir, read
from .few import few
from .jitter import jitter

__all__ = ["DATASETS", "Data", "Dataset", "fetch", "few", "jitter", "load_data"]

DATASETS: dict[str, Dataset] = {
    "digits": digits.DATASET,
    "mnist": mnist.DATASET,
    "fsdd": fsdd.DATASET,
    "udhr": udhr.DATASET,
    "words": words.DATASET,
}


def load_data(name: str) -> Data:
    """The data set of that name, downloaded first if necessary.

    Parameters
    ----------
    name : str
        "digits", "words", "mnist", "fsdd" or "udhr": a key of `minikd.data.DATASETS`.

    Returns
    -------
    Data
        x_train, y_train, x_val, y_val, x_test, y_test, class_names and image_shape. Each x is float32 (N, D), each y
        int64 (N,). See `minikd.data.Data`.

    Raises
    ------
    ValueError
        The name is not known.
    DataError
        The files cannot be downloaded, or their content is not the expected one. The message says what to do.

    References
    ----------
    The file of each data set, such as minikd/data/digits.py, names its source.

    Examples
    --------
    >>> from minikd import load_data
    >>> data = load_data("digits")
    >>> data.x_train.shape, data.y_train.shape, data.image_shape
    ((899, 64), (899,), (8, 8))
    """
    check_choice("name", name, DATASETS)
    return DATASETS[name].load()


def fetch(name: str) -> Path:
    """Make sure that the files of a data set are there and correct, and return their folder.

    It raises the same errors as `load_data`.
    """
    check_choice("name", name, DATASETS)
    if not DATASETS[name].files:
        DATASETS[name].load()  # the data are inside the package, and are checked as they are read
    for file in DATASETS[name].files:
        read(file)
    return data_dir() / name if DATASETS[name].files else Path(__file__).parent
