"""The mean of a few runs, its confidence interval, and the verdict that follows from the interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..checks import check_number


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """The mean of independent runs, and the half-width of its confidence interval: t(n - 1) · sd / √n, Student's t.

    The half-width is NaN for a single value, because one run does not show how much runs differ.
    """
    n = len(values)
    check_number("confidence", confidence, 0, math.nextafter(1, 0), open_low=True)
    mean = float(np.mean(values))
    if n < 2:
        return mean, math.nan
    nu = n - 1  # degrees of freedom
    log_scale = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - math.log(nu * math.pi) / 2
    low, high = 0.0, 1e3
    while high - low > 1e-9 * high:  # bisect for the t with `confidence` of the density between -t and t
        t = np.tan(np.linspace(0, math.atan((low + high) / 2), 2001))  # finer near 0, where the density is large
        density = np.exp(log_scale - (nu + 1) / 2 * np.log1p(t * t / nu))
        inside = 2 * float(((density[1:] + density[:-1]) / 2 * np.diff(t)).sum())
        low, high = (t[-1], high) if inside < confidence else (low, t[-1])
    return mean, float(high * np.std(values, ddof=1) / math.sqrt(n))


def verdict(gain: float, half: float) -> str:
    """helps or hurts if the interval gain ± half excludes 0, otherwise undecided. A larger gain is better.

    With a half-width of NaN, which a single run has, the verdict is undecided.
    """
    return "undecided" if not abs(gain) > half else "helps" if gain > 0 else "hurts"
