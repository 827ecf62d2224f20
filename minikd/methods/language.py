"""Language models of letters: sample words from one, and measure one on words. Two methods here build on it.

A model is an MLP from C one-hot symbols to 27 logits (minikd/data/words.py). Let x_t be the symbols of a word, x_0 the
end mark before it, and the context the last C symbols. Then the model gives the word the probability::

    log p(word) = Σ_t log p(x_t | x_t-C ... x_t-1)          over its letters and the end mark after them

The negative of this sum, divided by the number of symbols, is the NLL a letter, in nats. Its exponential is the
perplexity: the number of equally likely symbols among which the model would be equally uncertain. Sampling works the
same way: draw a symbol, append it to the context, and continue until the end mark is drawn.

Source: Bengio et al. 2003, JMLR 3, "A neural probabilistic language model"; there the symbols are words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import to_numpy
from ..checkpoint import fingerprint
from ..checks import check_count, check_number, check_type, describe
from ..data.source import Source
from ..data.words import ALPHABET, Codes, OneHot, decode, encode, one_hot_rows
from ..mlp import MLP
from ..ops import log_softmax, softmax

SYMBOLS = len(ALPHABET)
LONGEST = 24  # letters after which a sampled word that has not ended is cut off


def context_of(model: Any, name: str = "model") -> int:
    """C, the symbols of context that a language model reads. TypeError or ValueError for a model of another kind."""
    check_type(name, model, MLP, "an MLP")
    inputs, classes = model.sizes[0], model.sizes[-1]
    if inputs % SYMBOLS or classes != SYMBOLS:
        wanted = f"a multiple of {SYMBOLS} inputs and {SYMBOLS} classes, one for each symbol of {ALPHABET}"
        raise ValueError(f"{name} must have {wanted}, got {inputs} inputs and {classes} classes")
    return int(inputs) // SYMBOLS


def check_same_language(student: Any, teacher: Any) -> None:
    """Student and teacher must be two language models with the same alphabet and context."""
    if teacher is student:
        raise ValueError("teacher must be another network than student: a network cannot be its own fixed target")
    contexts = context_of(student, "student"), context_of(teacher, "teacher")
    if contexts[0] != contexts[1]:
        wanted = f"read as many symbols of context as student, {contexts[0]}"
        raise ValueError(f"teacher must {wanted}, got {contexts[1]}")


def next_symbol(model: MLP, context: str) -> NDArray[np.float64]:
    """p(x | context) for each symbol x of ALPHABET, (27,). `context` is a text of letters, such as "_adven".

    End marks may stand at its beginning. A shorter context than the model's is padded with end marks on the left.
    ValueError for a longer one.
    """
    width = context_of(model)
    check_type("context", context, str, "text")
    if not re.fullmatch("_*[a-z]*", context):
        raise ValueError(f"context must be letters from a to z, after end marks _ at most, got {describe(context)}")
    if len(context) > width:
        raise ValueError(f"context must have at most the model's {width} symbols, got {len(context)} in {context!r}")
    codes = np.array([[ALPHABET.index(symbol) for symbol in context.rjust(width, "_")]], np.uint8)
    p: NDArray[np.float64] = _probabilities(model, codes, 1.0)[0]
    return p


def nll_per_letter(model: MLP, words: Sequence[str]) -> float:
    """-log p of these words in nats, divided by the number of their letters and end marks.

    `evaluate` calls it nll. ValueError and TypeError for a wrong model or wrong words: see `check_words`.
    """
    codes, following, _ = encode(words, context_of(model))
    logits = to_numpy(model.predict(OneHot(codes, following))).astype(np.float64)
    return -float(log_softmax(logits)[np.arange(len(logits)), following].mean())


def word_log_likelihood(model: MLP, word: str) -> float:
    """log p(word) in nats: the sum over its letters and the end mark."""
    return -nll_per_letter(model, [word]) * (len(word) + 1)


def perplexity(model: MLP, words: Sequence[str]) -> float:
    """exp(nll_per_letter): 27 for a uniform model, 1 for one that is always certain and correct."""
    return math.exp(nll_per_letter(model, words))


def sample(model: MLP, n: int, temperature: float = 1.0, seed: int = 0) -> list[str]:
    """n words from the model, letter by letter from softmax(z / T), all n words at a time.

    No word is empty, because the end mark is excluded from the first draw. A word is cut off after 24 letters. The
    same seed gives the same words.
    """
    context_of(model)
    rng = np.random.default_rng(check_count("seed", seed, 0))
    return _sample(model, check_count("n", n), check_number("temperature", temperature, 0, open_low=True), rng)


def _sample(model: MLP, n: int, temperature: float, rng: Any) -> list[str]:
    codes = np.zeros((n, context_of(model)), np.uint8)  # of the words that have not ended
    words, going = np.zeros((n, LONGEST), np.uint8), np.arange(n)
    for place in range(LONGEST):
        p = _probabilities(model, codes, temperature)
        p[:, 0] *= place > 0
        below = p.cumsum(axis=1)  # a symbol is drawn where a uniform number falls between two of these
        symbol = (below < rng.random((len(p), 1)) * below[:, -1:]).sum(axis=1)
        words[going, place] = symbol
        codes = np.hstack([codes[:, 1:], symbol[:, None].astype(np.uint8)])[symbol > 0]
        going = going[symbol > 0]
        if not len(going):
            break
    return [word.rstrip("_") for word in decode(words)]


def _probabilities(model: MLP, codes: Codes, temperature: float) -> NDArray[np.float64]:
    """softmax(z / T) after these contexts.  codes (n, C) -> (n, 27)"""
    p: NDArray[np.float64] = softmax(to_numpy(model.predict(one_hot_rows(codes))).astype(np.float64), temperature)
    return p


class Drawn(OneHot):
    """Contexts of fixed words, a share of which is replaced in each epoch by contexts of words that a model samples.

    The attribute `following` (N,) holds the symbol that the speaker drew next, for the rows that were replaced.

    Parameters
    ----------
    fixed : OneHot
        The contexts.
    share : float
        In [0, 1], how many of the rows are replaced. The rows and their replacements are drawn from (seed, epoch), so
        that a resumed run has the same ones.
    speaker : MLP, optional
        The model that samples the words. None means the model in training, as it is when the epoch begins.
    """

    def __init__(self, fixed: OneHot, share: float, speaker: MLP | None = None) -> None:
        super().__init__(fixed.codes, fixed.word)
        self.fixed, self.share, self.speaker = fixed, check_number("share", share, 0, 1), speaker
        self.following = np.zeros(len(fixed), np.int64)
        who = "the student" if speaker is None else fingerprint(speaker.theta)
        self.fingerprint += f", a share of {share} drawn by {who}"

    def begin_epoch(self, model: Any, seed: int, epoch: int) -> None:
        """Draw the rows of this epoch."""
        rng = np.random.default_rng((seed, epoch, 4))
        rows = rng.permutation(len(self))[: round(self.share * len(self))]
        self.codes = self.fixed.codes.copy()
        self.codes[rows], self.following[rows] = self._draw(self.speaker or model, len(rows), rng)

    def _draw(self, model: MLP, rows: int, rng: Any) -> tuple[Codes, NDArray[np.int64]]:
        """`rows` rows of words that the model samples. The last word may be incomplete."""
        words: list[str] = []
        while (missing := rows - sum(len(word) + 1 for word in words)) > 0:
            words += _sample(model, 1 + missing // 8, 1.0, rng)  # a word has about 7 letters and an end mark
        if not words:
            return self.codes[:0], self.following[:0]
        codes, following, _ = encode(words, self.codes.shape[1])
        return codes[:rows], following[:rows]


class Following(Source):
    """The symbols that follow the contexts of a `Drawn` whose share is 1: its labels, (N,)."""

    def __init__(self, drawn: Drawn) -> None:
        self.drawn, self.shape, self.dtype = drawn, drawn.following.shape, drawn.following.dtype
        self.fingerprint = f"what follows {drawn.fingerprint}"

    def __getitem__(self, index: Any) -> NDArray[np.int64]:
        symbols: NDArray[np.int64] = self.drawn.following[index]
        return symbols
