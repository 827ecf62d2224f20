"""Find the mistake behind a wrong number, by comparing it with the results of a few known mistakes.

A diagnosis names the mistake and asks a question. It never shows the formula that is wanted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

SAME = 1e-6  # relative to the largest entry: below this, two results differ by rounding only
POWERS = {1: "", 2: "²"}
QUESTIONS = {
    "T": "what does the loss multiply by, and what does the chain rule divide by?",
    "B": "how often is the sum over the batch divided by B?",
    "K": "is there a mean or a sum over the classes that does not belong there?",
    "2": "is a factor of 2 left over, or lost?",
}


@dataclass(frozen=True)
class Clues:
    """What a check knows about its example.

    Parameters
    ----------
    factors : mapping
        Factors by which results are often wrong, by name: {"T": 4.0, "B": 5, "K": 7}.
    mistakes : sequence of pairs
        A known mistake in words, and the wrong result that it gives.
    start : array or None
        Initial values of trained parameters. The change from there is compared instead of the values.
    """

    factors: Mapping[str, float] = field(default_factory=dict)
    mistakes: Sequence[tuple[str, Any]] = ()
    start: Any = None

    def of(self, part: int) -> Clues:
        """The clues about one of the several results of a function."""
        start = None if self.start is None else self.start[part]
        return Clues(self.factors, [(words, results[part]) for words, results in self.mistakes], start)


def diagnose(got: np.ndarray, want: np.ndarray, clues: Clues) -> tuple[str, str]:
    """A short name of the mistake and a sentence about it, or two empty texts. `got` and `want` must differ."""
    start = 0.0 if clues.start is None else clues.start
    if not np.isfinite(got).all() or np.abs(want - start).max(initial=0.0) < SAME:
        return "", ""
    if same(got - start, start - want):
        return "wrong sign", "The sign is reversed, and nothing else: which way does the loss grow?"
    for words, mistaken in clues.mistakes:
        if same(got, mistaken):
            return words, f"You get this result if {words}."
    if got.ndim == 2 and got.shape == want.T.shape and got.size > 1 and same(got.T, want):
        return "transposed", "It is right but transposed: which index comes first?"
    got, want = got - start, want - start
    if not got.any():
        return "zero everywhere", "It is zero everywhere: is it ever filled in?"
    factor = float((got * want).sum() / (want * want).sum())
    if not factor or not same(got, factor * want):
        return "", ""
    size = max(abs(factor), 1 / abs(factor))
    name, symbols = name_of(size, clues.factors)
    if want.size == 1 and not name:  # any two numbers differ by some factor
        return "", ""
    too = "too large by" if abs(factor) > 1 else "too small by"
    sign = ", and of the wrong sign" if factor < 0 else ""
    what = "It is" if want.size == 1 else "All entries are"
    if not name:
        return f"{too} one factor{sign}", f"{what} {too} the factor {size:.6g}{sign}."
    words = f"{too} the factor {name}{sign}"
    return words, f"{what} {too} the factor {size:.6g} = {name}{sign}: {QUESTIONS[symbols[0]]}"


def name_of(size: float, factors: Mapping[str, float]) -> tuple[str, list[str]]:
    """The product of powers of the factors that equals `size` > 1, and its factors: ("T²", ["T"]); else ("", [])."""
    known = {**factors, "2": 2.0}
    found: list[tuple[int, str, list[str]]] = []
    for powers in product(*[range(-2, 3) if name == "T" else range(-1, 2) for name in known]):
        value = float(np.prod([known[name] ** power for name, power in zip(known, powers, strict=True)]))
        if any(powers) and abs(value - size) <= SAME * size:
            over = [name + POWERS[p] for name, p in zip(known, powers, strict=True) if p > 0]
            under = [name + POWERS[-p] for name, p in zip(known, powers, strict=True) if p < 0]
            text = " ".join(over or ["1"]) + "".join(f" / {name}" for name in under)
            symbols = [name for name, power in zip(known, powers, strict=True) if power]
            found.append((sum(map(abs, powers)), text, symbols))
    return min(found)[1:] if found else ("", [])


def same(a: Any, b: Any) -> bool:
    """Whether two results are equal up to rounding."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    scale = float(np.abs(b).max(initial=0.0))
    return a.shape == b.shape and bool(scale > 0 and (np.abs(a - b) <= SAME * scale).all())
