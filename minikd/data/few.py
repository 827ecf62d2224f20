"""A few training samples, drawn by a seed: what a student is shown where labels are scarce."""

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
    """Indices of `images` samples (None: all) of the classes not in `without`, in ascending order.

    labels (N,). Every such sample is as likely to be drawn as any other, so that classes come as often as they happen
    to. With the same seed, a larger number of samples contains every smaller one.

    words  (N,), the number of the word that each row is a letter of: then `images` counts words, of which all rows of
           known classes come

    ValueError for more samples than there are, for fewer than there are classes, and where no two classes are left.
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
