"""Images moved by a few pixels: more training data from the same images, because a moved digit is the same digit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..backend import Array, xp_of
from ..checks import check_count, check_matrix


def jitter(image_shape: tuple[int, int], pixels: int = 2) -> Callable[[Array, Any], Array]:
    """A function for the `augment` of `fit`: it moves each image by up to `pixels` rows and columns, at random.

    The pixels that move in over an edge are 0; those that move out are lost.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width).
    pixels : int
        The largest shift, at least 0 and less than height and width.

    Returns
    -------
    callable
        A function of x (B, height · width) and a generator, that returns the same shape.

    Raises
    ------
    ValueError, TypeError
        An argument is not a size, or `pixels` is too large.

    References
    ----------
    Hinton, Vinyals & Dean 2015, arXiv 1503.02531, section 3, which moves MNIST by up to two pixels.
    """
    if not isinstance(image_shape, tuple | list) or len(image_shape) != 2:
        raise TypeError(f"image_shape must be a pair (height, width), got {image_shape!r}")
    height, width = (check_count(f"image_shape[{i}]", size) for i, size in enumerate(image_shape))
    if check_count("pixels", pixels, 0) >= min(height, width):
        raise ValueError(f"pixels must be less than the picture's size {(height, width)}, got {pixels}")
    return partial(_moved, height=height, width=width, pixels=int(pixels))


def _moved(x: Array, rng: Any, *, height: int, width: int, pixels: int) -> Array:
    x = check_matrix("x", x, columns=height * width)
    xp, n = xp_of(x), len(x)
    # Each image lies on a larger sheet of zeros. A window of the image's size is moved over the sheet.
    sheets = xp.zeros((n, height + 2 * pixels, width + 2 * pixels), x.dtype)
    sheets[:, pixels : pixels + height, pixels : pixels + width] = x.reshape(n, height, width)
    windows = xp.lib.stride_tricks.sliding_window_view(sheets, (height, width), axis=(1, 2))  # views
    down, right = rng.integers(0, 2 * pixels + 1, size=(2, n))
    return windows[xp.arange(n), down, right].reshape(n, height * width)
