"""Gradient checking: perturb each parameter a little, and compare the change of the loss with the gradient.

The slope of f along coordinate j is measured by central differences in float64::

    d(h) = (f(theta + h e_j) - f(theta - h e_j)) / 2h = f' + h² f''' / 6 + ...

Two step sizes are combined so that the h² term cancels (Richardson extrapolation)::

    (4 d(h/2) - d(h)) / 3 = f' + O(h⁴)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .backend import Array, to_numpy, xp_of
from .checks import check_blocks, check_count, check_number, check_type, wrong

TOLERANCE = 1e-7  # a relative error below this is "ok" in the printed table
Function = Callable[[Any], Any]  # theta -> a number
Blocks = Array | Mapping[str, Array]  # one array, or arrays by block name
Perturb = Callable[[float], None]  # t -> theta moved by t, in place; 0 puts it back exactly
COARSE = "\nf returns a number that fits in float32: if f computes in float32, differences are too coarse to tell"
STEP = 1e-3  # balances the truncation error, h⁴ f''''' / 480, against rounding, about eps |f| / h


class Check(NamedTuple):
    """One line of the report: the worst coordinate of a block, or the worst of the random directions."""

    block: str
    coordinate: str
    analytic: float
    numeric: float = math.nan
    relative_error: float = math.nan
    checked: int = 1


def _error(check: Check) -> float:
    return np.inf if np.isnan(check.relative_error) else check.relative_error


class GradientReport(NamedTuple):
    """The result of `check_gradients`, one `Check` a block. `print(report)` shows the table.

    Parameters
    ----------
    checks : tuple of Check
        The worst coordinate of each block, and the worst random direction. A Check has block, coordinate, analytic,
        numeric, relative_error and checked.
    hint : str
        Why a correct gradient may fail here, or "".

    Examples
    --------
    >>> import numpy as np
    >>> from minikd import check_gradients
    >>> theta = np.array([1.0, 2.0])
    >>> report = check_gradients(lambda t: (t**2).sum(), theta, np.array([2.0, 5.0]), n_directions=0)
    >>> report.worst.coordinate, report.worst.analytic, round(report.worst.numeric, 6)
    ('[1]', 5.0, 4.0)
    >>> report.assert_ok()  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    AssertionError: the gradient is wrong, or f is not smooth here:...
    """

    checks: tuple[Check, ...]
    hint: str = ""  # why a correct gradient may fail here

    @property
    def worst(self) -> Check:
        """The check with the largest relative error. NaN counts as the largest."""
        return max(self.checks, key=_error)

    @property
    def max_relative_error(self) -> float:
        """The largest relative error of all checks."""
        return self.worst.relative_error

    def assert_ok(self, tolerance: float = TOLERANCE) -> None:
        """AssertionError, with the table, unless every relative error is below `tolerance`."""
        check_number("tolerance", tolerance, 0, open_low=True)
        if not self.max_relative_error < tolerance:
            raise AssertionError(f"the gradient is wrong, or f is not smooth here:\n{self.table(tolerance)}{self.hint}")

    def table(self, tolerance: float = TOLERANCE) -> str:
        """The report as text: block, worst coordinate, its analytic and numeric slope, their relative error."""
        head = f"{'block':<12}{'worst at':>12}{'analytic':>15}{'numeric':>15}{'rel. error':>12}{'checked':>9}"
        lines = [
            f"{c.block:<12}{c.coordinate:>12}{c.analytic:>15.6e}{c.numeric:>15.6e}{c.relative_error:>12.1e}{c.checked:>9}"
            f"  {'ok' if c.relative_error < tolerance else 'NOT OK'}"
            for c in self.checks
        ]
        return "\n".join([head, *lines])

    def __str__(self) -> str:
        return self.table()


def check_gradients(
    f: Function,
    theta: Blocks,
    grad: Blocks,
    *,
    n_coordinates: int | None = None,
    n_directions: int = 5,
    step: float | None = None,
) -> GradientReport:
    """Compare a claimed gradient `grad` of the function f at `theta` with central differences.

    Parameters
    ----------
    f : callable
        f(theta) -> a number. It may use its argument, or be a closure over theta: theta is changed in place, and
        restored bit for bit. With dropout inside, f must draw the same mask every time.
    theta, grad : float64 array, or mapping of str to float64 array
        Two arrays of one shape, or two dictionaries of arrays by block name ("W1", "b1", ...). Each block has its own
        line in the report.
    n_coordinates : int, optional
        How many coordinates of each block to check, drawn at random. None checks all, 0 none.
    n_directions : int
        How many random directions through all blocks to check.
    step : float, optional
        h, by default 1e-3.

    Returns
    -------
    GradientReport
        Its `assert_ok()` raises an AssertionError if the gradient is wrong.

    Raises
    ------
    ValueError, TypeError
        An argument is wrong, or f does not return one number. The message names the argument.

    Notes
    -----
    The relative error is::

        |analytic - numeric| / max(|analytic|, |numeric|, floor)

    The floor is a hundredth of the block's largest slope, or 1e-5 times the absolute value of f if that is larger.
    Slopes below the floor drown in rounding errors, which are about 1e-13 times f. A coordinate that disagrees is tried
    again with h/10 and h/100. These smaller steps avoid a kink, for example of relu, and do not help a wrong gradient.

    References
    ----------
    Goodfellow, Bengio & Courville 2016, "Deep Learning", section 11.5.

    Examples
    --------
    >>> import numpy as np
    >>> from minikd import check_gradients
    >>> theta = np.array([0.5, -1.0, 2.0])
    >>> report = check_gradients(lambda t: np.sin(t).sum(), theta, np.cos(theta))
    >>> report.assert_ok(1e-8)
    >>> report.worst.relative_error < 1e-10
    True
    """
    check_type("f", f, Callable, "a function")
    blocks, grads = check_blocks("theta", theta), check_blocks("grad", grad)
    if set(blocks) != set(grads):
        raise ValueError(f"grad must have the blocks of theta, {', '.join(blocks)}, got {', '.join(grads)}")
    for name, block in blocks.items():
        if grads[name].shape != block.shape:
            which = f"[{name!r}]" if isinstance(theta, Mapping) else ""
            raise wrong(f"grad{which}", f"have the shape of theta{which}, {block.shape}", grads[name])
    h = STEP if step is None else check_number("step", step, 0, open_low=True)
    if check_count("n_directions", n_directions, 0) == 0 and n_coordinates == 0:
        raise ValueError("n_directions must be at least 1 where n_coordinates is 0, or nothing would be checked; got 0")
    # Copies, because f may run a backward pass that overwrites the array that is being checked.
    claimed = {name: np.array(to_numpy(g)) for name, g in grads.items()}
    value = _number(f(theta))
    noise, hint = abs(value) / 1e5, COARSE if (math.frexp(value)[0] * 2**24).is_integer() else ""
    rng = np.random.default_rng(0)
    checks = []
    for name, block in blocks.items():
        chosen = np.arange(block.size)
        if n_coordinates is not None and check_count("n_coordinates", n_coordinates, 0) < block.size:
            chosen = np.sort(rng.choice(block.size, n_coordinates, replace=False))
        floor = max(float(np.abs(claimed[name]).max()) / 100, noise)
        checks.append([_compare(f, theta, *_along(name, block, claimed[name], j), h, floor) for j in chosen])
    along = [_along_any(blocks, claimed, rng, k) for k in range(n_directions)]
    checks.append([_compare(f, theta, *direction, h, noise) for direction in along])
    return GradientReport(tuple(_worst(found) for found in checks if found), hint)


def _along(name: str, block: Array, claimed: np.ndarray, j: int) -> tuple[Perturb, Check]:
    """How to perturb coordinate j of a block, and the claimed slope there."""
    at = tuple(int(i) for i in np.unravel_index(j, block.shape))
    one = block[(*at[:-1], slice(at[-1], at[-1] + 1))] if at else block[None]  # a view of the one coordinate
    return _perturb({name: one}, {name: np.ones(1)}), Check(name, str(list(at)), float(claimed[at]))


def _along_any(blocks: dict[str, Any], claimed: dict[str, Any], rng: Any, k: int) -> tuple[Perturb, Check]:
    """How to perturb all blocks along a random unit direction u, and the claimed slope, grad · u."""
    u = {name: rng.standard_normal(block.shape) for name, block in blocks.items()}
    length = math.sqrt(sum(float((d * d).sum()) for d in u.values()))
    slope = sum(float((claimed[name] * d).sum()) for name, d in u.items()) / length
    return _perturb(blocks, {name: d / length for name, d in u.items()}), Check("directions", f"[{k}]", slope)


def _perturb(blocks: dict[str, Array], direction: dict[str, np.ndarray]) -> Perturb:
    """A function that moves the blocks by t along a unit direction u. The slope along u must be grad · u.

    A random direction gives one number that depends on every coordinate.
    """
    u = {name: xp_of(block).asarray(direction[name]) for name, block in blocks.items()}
    originals = {name: block.copy() for name, block in blocks.items()}

    def perturb(t: float) -> None:
        for name, block in blocks.items():
            block[...] = originals[name] + t * u[name] if t else originals[name]  # -0.0 + 0.0 would be 0.0

    return perturb


def _compare(f: Function, theta: Any, perturb: Perturb, check: Check, h: float, floor: float) -> Check:
    """Fill in the measured slope: the best of h, h/10 and h/100. The last two are tried only if h disagrees."""

    def value(t: float) -> float:
        perturb(t)
        try:
            return _number(f(theta))
        finally:
            perturb(0.0)

    def central(h: float) -> float:
        return (value(h) - value(-h)) / (2 * h)

    tries = []
    for step in (h, h / 10, h / 100):
        numeric = (4 * central(step / 2) - central(step)) / 3
        scale = max(abs(check.analytic), abs(numeric), floor)
        error = abs(check.analytic - numeric) / scale if scale else 0.0
        tries.append(check._replace(numeric=numeric, relative_error=error))
        if error < TOLERANCE:
            break
    return min(tries, key=_error)


def _number(value: Any) -> float:
    if value is None or isinstance(value, tuple | list) or getattr(value, "size", 1) != 1:
        hint = "; a loss of minikd returns (loss, dlogits): take [0]" if isinstance(value, tuple) else ""
        raise wrong("f", "return one number", value, "; did it forget to return?" if value is None else hint, TypeError)
    return float(value)


def _worst(checks: list[Check]) -> Check:
    """The check with the largest relative error, and how many there were."""
    return max(checks, key=_error)._replace(checked=len(checks))
