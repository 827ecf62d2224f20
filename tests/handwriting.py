"""Ten digits as strokes of a pen, and how to draw them with the mouse on the page of `minikd draw`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def arc(x: float, y: float, wide: float, tall: float, start: float, end: float) -> list[tuple[float, float]]:
    """Points of an ellipse between two angles in degrees, clockwise from the right."""
    angles = np.radians(np.linspace(start, end, 21))
    return [(x + wide * math.cos(angle), y + tall * math.sin(angle)) for angle in angles]


EIGHT = [(0.5 + 0.24 * math.sin(2 * t), 0.5 - 0.42 * math.cos(t)) for t in np.linspace(0, 2 * math.pi, 37)]
# The strokes of each digit, in a box of 1×1.
DIGITS = (
    [arc(0.5, 0.5, 0.28, 0.42, -90, 270)],
    [[(0.58, 0.08), (0.46, 0.92)]],
    [[*arc(0.5, 0.3, 0.25, 0.22, 190, 380), (0.55, 0.62), (0.25, 0.9), (0.8, 0.88)]],
    [arc(0.45, 0.29, 0.25, 0.21, -150, 85) + arc(0.45, 0.71, 0.29, 0.21, -80, 150)],
    [[(0.32, 0.08), (0.22, 0.52), (0.78, 0.5)], [(0.66, 0.12), (0.6, 0.92)]],
    [[(0.74, 0.1), (0.36, 0.1), (0.32, 0.44), *arc(0.46, 0.66, 0.27, 0.24, -115, 150)]],
    [[(0.62, 0.08), (0.42, 0.28), (0.31, 0.5), *arc(0.5, 0.69, 0.21, 0.21, 180, -190)]],
    [[(0.24, 0.12), (0.76, 0.12), (0.6, 0.45), (0.42, 0.92)]],
    [EIGHT],
    [[*arc(0.48, 0.31, 0.22, 0.22, -10, -370), (0.69, 0.5), (0.62, 0.92)]],
)
PLACES = ((0.5, 0.5, 0.8), (0.3, 0.35, 0.5), (0.66, 0.6, 0.6))  # of the middle, and the size, in the canvas


# Moves of the pointer through some points, in one go, because a move from outside takes the time of a frame.
MOVES = """points => {
  for (const [clientX, clientY] of points) {
    canvas.dispatchEvent(new PointerEvent('pointermove', { pointerId: 1, clientX, clientY, buttons: 1 }));
  }
}"""


def draw(
    page: Any,
    strokes: Sequence[Sequence[tuple[float, float]]],
    place: tuple[float, float, float] = PLACES[0],
    by_hand: bool = False,
) -> None:
    """Draw strokes with the mouse; with `by_hand` every move is the mouse's own."""
    page.locator("#canvas").scroll_into_view_if_needed()
    box = page.locator("#canvas").bounding_box()
    x0, y0, size = place
    for stroke in strokes:
        points = [
            (box["x"] + box["width"] * (x0 + size * (x - 0.5)), box["y"] + box["height"] * (y0 + size * (y - 0.5)))
            for x, y in stroke
        ]
        page.mouse.move(*points[0])
        page.mouse.down()
        if not by_hand:
            page.evaluate(MOVES, points[1:])
        for point in points[1:] if by_hand else points[-1:]:
            page.mouse.move(*point)
        page.mouse.up()
