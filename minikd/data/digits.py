"""Handwritten digits of 8×8 pixels, small enough to be part of the package: no download, and training takes seconds.

These are the 1,797 test images of the UCI set "Optical recognition of handwritten digits", in their original order
(scikit-learn has the same). They are dealt out evenly, class by class, ten images at a time: five for training, two for
validation, three for the test. So each part has about the same share of each digit and of each of the 13 writers, as in
a random split, but without a random generator that might change. It also means that every writer in the test is in
training too. A model would do worse on the writing of strangers.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np

from ..errors import DataError
from .dataset import Data, Dataset, split_rows

SHA256 = "b2dab7b501728c22e9119ad76740b2e17c77a231e42d1e592380d90886f1a05e"  # of digits.npz
DEAL = ("train", "val", "train", "test", "train", "test", "val", "train", "test", "train")


def load() -> Data:
    """Digits: x (899 / 362 / 536, 64) in [0, 1], 0 is paper and 1 is ink; y the digit.

    The split is fixed, see above. DataError if the file in the package is damaged.

    Source: Alpaydin and Kaynak (1998), UCI Machine Learning Repository, DOI 10.24432/C50P49, CC BY 4.0.
    """
    raw = Path(__file__).with_name("digits.npz").read_bytes()
    if hashlib.sha256(raw).hexdigest() != SHA256:
        raise DataError("the digits.npz inside minikd is damaged: reinstall it, pip install --force-reinstall minikd")
    with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"]  # (1797, 8, 8) of 0..16, (1797,)
    x = images.reshape(-1, 64).astype(np.float32) / 16
    place = np.empty(len(labels), int)  # the number of each image among those of its class
    for digit in range(10):
        place[labels == digit] = np.arange((labels == digit).sum())
    parts = split_rows(x, labels.astype(np.int64), np.array(DEAL)[place % len(DEAL)])
    return Data(*parts, class_names=tuple("0123456789"), image_shape=(8, 8))


DATASET = Dataset(
    summary="handwritten digits, 1,797 images of 8×8 pixels, 10 classes (inside the package)",
    source="https://doi.org/10.24432/C50P49",
    licence="CC BY 4.0",
    citation="Alpaydin, Kaynak: Optical Recognition of Handwritten Digits. UCI Machine Learning Repository (1998), "
    "https://doi.org/10.24432/C50P49",
    files=(),
    load=load,
)
