"""A few training samples, drawn by a seed, for experiments with scarce labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..checks import check_count


def few(
    labels: NDArray[np.integer],
    images: int | None = None,
    *,
    without: Sequence[int] = (),
    seed: int = 0,
    words: NDArray[np.integer] | None = None,
) -> NDArray[np.intp]:
    """Indices of `images` samples of the classes not in `without`, in ascending order.

    Every sample is equally likely to be drawn, so the number of samples of each class is random. With the same seed, a
    larger number of samples contains every smaller one.

    Parameters
    ----------
    labels : integer array (N,)
        The classes of all samples.
    images : int, optional
        How many samples; None takes all.
    without : sequence of int
        Classes that are left out.
    seed : int
        Seeds the draw.
    words : integer array (N,), optional
        The number of the word to which each row belongs. Then `images` counts words, and all rows of a drawn word are
        taken, except those of classes in `without`.

    Returns
    -------
    integer array
        The indices.

    Raises
    ------
    ValueError
        There are fewer samples than `images`, `images` is less than the number of classes, or fewer than two classes
        are left.
    """
    known = np.flatnonzero(~np.isin(labels, without))
    classes = len(np.unique(labels[known]))
    if classes < 2:
        raise ValueError(f"without must leave at least two classes, got {len(without)} of {len(np.unique(labels))}")
    samples = known if words is None else np.unique(words[known])
    count = len(samples) if images is None else check_count("images", images)
    least, said = (classes, f"{classes}, one for each class,") if words is None else (1, "1")
    if not least <= count <= len(samples):
        wanted = f"from {said} to {len(samples):,}, all training samples of these classes"
        raise ValueError(f"images must be {wanted}; got {count:,}")
    drawn = np.sort(np.random.default_rng((seed, 0xFE3)).permutation(samples)[:count])
    return drawn if words is None else known[np.isin(words[known], drawn)]
