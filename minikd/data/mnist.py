"""MNIST: 70,000 handwritten digits of 28×28 pixels, the standard first data set.

The files are in the IDX format: a header of 4-byte big-endian numbers, then one byte a pixel (or a label). The last
10,000 of the 60,000 training images are the validation part, as is usual. The test part is the official one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .dataset import Data, Dataset, Floats
from .download import RemoteFile, gunzip, read

MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
SHA256 = {  # of the decompressed content
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
FILES = tuple(
    RemoteFile(f"mnist/{name}.gz", tuple(f"{mirror}{name}.gz" for mirror in MIRRORS), sha256, gunzip)
    for name, sha256 in SHA256.items()
)


def parse_idx(content: bytes) -> NDArray[np.uint8]:
    """The array in an IDX file of bytes, a read-only view: pixels (N, 28, 28) or labels (N,).

    The header is 0, 0, 8 (for "unsigned bytes") and the number of dimensions, each one byte, then the size of each
    dimension as a 4-byte big-endian number. DataError if header and length do not agree.
    """
    dimensions = content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0
    header = 4 + 4 * dimensions
    shape = np.frombuffer(content[4:header], ">u4").astype(int) if len(content) >= header else np.zeros(0, int)
    if len(shape) == 0 or header + shape.prod() != len(content):
        raise DataError(f"not an IDX file of unsigned bytes: {len(content)} bytes that begin with {content[:4]!r}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def load() -> Data:
    """MNIST: x (50,000 / 10,000 / 10,000, 784) in [0, 1], 0 is paper and 1 is ink; y the digit.

    DataError if the files cannot be downloaded.

    Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", Proceedings of
    the IEEE 86 (1998).
    """
    pixels, labels, pixels_test, labels_test = (parse_idx(read(file)) for file in FILES)
    x, y = _scaled(pixels), labels.astype(np.int64)  # x (60000, 784)
    return Data(
        *(x[:50000], y[:50000], x[50000:], y[50000:]),
        *(_scaled(pixels_test), labels_test.astype(np.int64)),
        class_names=tuple("0123456789"),
        image_shape=(28, 28),
    )


def _scaled(pixels: NDArray[Any]) -> Floats:
    """Pixels 0..255 (N, 28, 28) -> (N, 784) in [0, 1], without a float64 array in between."""
    x: Floats = np.divide(pixels.reshape(len(pixels), -1), 255, dtype=np.float32)
    return x


DATASET = Dataset(
    summary="handwritten digits, 70,000 images of 28×28 pixels, 10 classes (11 MB)",
    source="http://yann.lecun.com/exdb/mnist/",
    licence="CC BY-SA 3.0",
    citation="LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition. "
    "Proceedings of the IEEE 86(11), 2278–2324 (1998)",
    files=FILES,
    load=load,
)
