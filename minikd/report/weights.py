"""Networks that travel in a page, so that a reader can ask them about a drawing or a word of their own.

Weights are packed as float16, which halves their room and changes a probability by less than a thousandth. Where not
all networks fit, the teacher goes first, then those that are always shown, then the others in their order.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend import to_numpy
from ..data import Data
from ..data.words import CONTEXT
from ..mlp import MLP
from .page import SECTIONS
from .samples import Network, pack_pixels

STARTS = 6  # test images of each class to start from


def can_travel(name: str, data: Data, networks: Sequence[Network]) -> bool:
    """Whether one can write samples of the data set `name` by hand, and all networks are minikd's own."""
    written = name in SECTIONS and (name == "words") == (data.image_shape is None)
    return written and all(isinstance(network.model, MLP) for network in networks)


def pack_networks(
    name: str, data: Data, networks: Sequence[Network], temperature: float, soft_weight: float, room: int
) -> dict[str, Any] | None:
    """What the script of a page needs, ready for JSON, with as many networks as fit into `room` bytes; None where
    the teacher and a student do not fit.

    networks  the teacher first; `can_travel` must be true of them
    """
    order = sorted(networks[1:], key=lambda network: not network.always)  # stable: those always shown go first
    packed: dict[str, dict[str, Any]] = {}
    for network in [networks[0], *order]:
        theta = to_numpy(network.model.theta).astype("<f2")
        text = b64encode(theta.tobytes()).decode()
        if len(text) <= room and np.isfinite(theta).all():
            room -= len(text)
            shape = {"sizes": network.model.sizes, "activation": network.model.activation, "theta": text}
            packed[network.name] = {"name": network.name, "kind": network.kind, "always": network.always, **shape}
    if networks[0].name not in packed or len(packed) == 1:
        return None
    start = _starts(data) if data.image_shape else {"context": CONTEXT}
    return {
        "data": name,
        "classes": list(data.class_names),
        **start,
        "levels": 16 if name == "digits" else 255,  # the most that a pixel is
        "networks": [packed[network.name] for network in networks if network.name in packed],
        "leftOut": [network.name for network in networks if network.name not in packed],
        "temperature": temperature,
        "softWeight": soft_weight,
    }


def _starts(data: Data) -> dict[str, Any]:
    """Test images to start from: the first STARTS of each class, class by class in turn."""
    every = range(len(data.class_names))
    of_class = [np.flatnonzero(data.y_test == k)[:STARTS] for k in every]
    chosen = np.array([of_class[k][i] for i in range(STARTS) for k in every if i < len(of_class[k])])
    labels, pixels = data.y_test[chosen].tolist(), pack_pixels(data.x_test[chosen])
    return {"shape": data.image_shape, "index": chosen.tolist(), "labels": labels, "pixels": pixels}
