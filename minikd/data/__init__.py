"""Data sets: two that come with the package, and three that are downloaded once and checked at every reading.

`load_data("digits")` and `load_data("words")` need no network. The others are read from the folder that the environment
variable MINIKD_DATA_DIR names, or else from the user's cache, and downloaded into it where they are missing.
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
    """The data set of that name, a key of DATASETS; downloaded first where it has to be.

    Raises ValueError for a name that is not known, and DataError, which says what to do, where the files cannot be
    had or are not what they should be.
    """
    check_choice("name", name, DATASETS)
    return DATASETS[name].load()


def fetch(name: str) -> Path:
    """Make sure that the files of a data set are there and right, and return the folder they are in.

    Raises what `load_data` raises.
    """
    check_choice("name", name, DATASETS)
    if not DATASETS[name].files:
        DATASETS[name].load()  # inside the package, and checked as it is read
    for file in DATASETS[name].files:
        read(file)
    return data_dir() / name if DATASETS[name].files else Path(__file__).parent
