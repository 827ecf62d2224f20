"""What the report's explorer shows: a choice of test samples, and the logits of each network for them.

A page of one file has no room for all test samples. It holds those that a network gets wrong, those about which the
teacher is least sure, and an equal share of every class.
"""

from __future__ import annotations

import io
import re
import wave
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Data, Dataset
from ..data.fsdd import RATE, log_mel
from ..ops import softmax

LIMIT = 600  # samples
ROOM = 1_150_000  # bytes of the page for them
HARD = 0.75  # the share of samples that are chosen because they are hard


@dataclass(frozen=True)
class Network:
    """A network of the explorer: its name, its logits on the test samples (N, K), and how the page treats it.

    kind     its colour: a key of run_plots.COLOURS
    always   whether it is always shown, or only where it is the student that was picked
    model    the network itself
    """

    name: str
    kind: str
    logits: np.ndarray
    always: bool = True
    model: Any = None


def choose(logits: Sequence[np.ndarray], labels: np.ndarray, limit: int) -> NDArray[np.intp]:
    """At most `limit` of N samples, as sorted indices.

    A share of HARD are samples that some network gets wrong, then those about which the teacher is least sure: with
    the smallest p_1 - p_2 of its two likeliest classes. The others are taken from the classes in turn.

    Parameters
    ----------
    logits : sequence of arrays (N, K)
        One array a network, the teacher's first.
    labels : array (N,)
        The true classes.
    limit : int
        The largest number of samples.
    """
    if len(labels) <= limit:
        return np.arange(len(labels))
    p = np.sort(softmax(logits[0].astype(np.float64)), axis=1)
    right = np.all([z.argmax(axis=1) == labels for z in logits], axis=0)
    hard = np.lexsort((p[:, -1] - p[:, -2], right))[: int(HARD * limit)]
    rest = np.setdiff1d(np.arange(len(labels)), hard)
    turn = np.empty(len(rest), int)  # the position of a sample among those of its class
    for label in np.unique(labels[rest]):
        mine = labels[rest] == label
        turn[mine] = np.arange(mine.sum())
    even = rest[np.argsort(turn, kind="stable")[: limit - len(hard)]]
    return np.sort(np.concatenate([hard, even]))


def pack(
    data: Data, dataset: Dataset, networks: Sequence[Network], temperature: float, soft_weight: float
) -> dict[str, Any]:
    """What the page's script needs, ready for JSON. Arrays are base64 of little-endian float32 or of bytes."""
    texts = dataset.test_texts() if dataset.test_texts else None
    recordings = dataset.test_sounds() if dataset.test_sounds else []
    sounds = [_wav(samples) for samples in recordings]
    pictures = np.stack([log_mel(samples).ravel() for samples in recordings]) if sounds else data.x_test
    pixels = _pixels(pictures) if data.image_shape else None  # (N, height · width)
    sound = sum(map(len, sounds)) / len(sounds) if sounds else 0
    each = 4 / 3 * (4 * len(data.class_names) * len(networks) + (0 if pixels is None else pixels.shape[1]) + sound)
    chosen = choose([n.logits for n in networks], data.y_test, min(LIMIT, int(ROOM / each)))
    return {
        "noun": (dataset.rows or dataset.noun).removesuffix("s"),
        "classes": list(data.class_names),
        "total": len(data.y_test),
        "index": chosen.tolist(),
        "labels": data.y_test[chosen].tolist(),
        "networks": [
            {"name": n.name, "kind": n.kind, "always": n.always, "logits": _base64(n.logits[chosen].astype("<f4"))}
            for n in networks
        ],
        "shape": data.image_shape,
        "pixels": None if pixels is None else _packed(pixels[chosen]),
        "texts": [texts[i] for i in chosen] if texts else None,
        "sounds": [b64encode(sounds[i]).decode() for i in chosen] if sounds else None,
        "temperature": temperature,
        "softWeight": soft_weight,
    }


def pack_pixels(x: np.ndarray) -> str:
    """Pictures x (N, D) as bytes, packed as base64."""
    return _packed(_pixels(x))


def _pixels(x: np.ndarray) -> NDArray[np.uint8]:
    """Pictures as bytes, 0 for white and 255 for black; if x exceeds [0, 1], from its 1 % to its 99 % quantile."""
    low, high = (0.0, 1.0) if 0 <= x.min() <= x.max() <= 1 else np.quantile(x, (0.01, 0.99))
    pixels: NDArray[np.uint8] = np.rint(255 * np.clip((x - low) / (high - low), 0, 1)).astype(np.uint8)
    return pixels


def _packed(pixels: NDArray[np.uint8]) -> str:
    """Bytes as base64, each run of zeros as 0 and its length, because most of a drawing is paper."""
    runs = re.sub(rb"\0{1,255}", lambda run: bytes((0, len(run[0]))), pixels.tobytes())
    return b64encode(runs).decode()


def _wav(samples: NDArray[np.int16]) -> bytes:
    """A sound as a WAV file, one channel of 16 bits."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()


def _base64(array: np.ndarray) -> str:
    return b64encode(array.tobytes()).decode()
