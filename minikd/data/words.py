"""Guess the next letter of an English word from the six before it: a minimal language model.

A network that gives the probability of each next symbol, given those before it, is a language model (Bengio et al.
2003). Here a symbol is one of 26 letters or the end mark "_", which ends a word and pads a context on the left::

    adventure    ______ -> a    _____a -> d    ...    enture -> _

A sample is a context of CONTEXT symbols, and its label is the next symbol. The context enters as one-hot columns, 27
for each symbol. All training rows would take 130 MB, so `OneHot` keeps the codes and makes rows batch by batch.

The words are those of SCOWL's list american-english-small that consist of 3 to 12 plain lower-case letters. With `text`
the content of that list (Debian's package wamerican-small, of 2020), the file was made by::

    gzip.compress("\\n".join(plain_words(text)).encode(), 9, mtime=0)

The split is by word. A network that has seen "walk" knows most of "walked", so words that derive from each other stay
in one part. Two words are joined if one becomes the other in one of these steps::

    drop an ending     s, es, d, ed, er, ers, est, ing or ly            walks, walked -> walk
    and then perhaps   add e, turn a last i into y, or halve a double   baking -> bake, cities -> city, running -> run
    or                 turn a last ly into le                           gently -> gentle

A step must lead to another word of the list. Words that are joined, directly or through others, form a group. This
joins some words that only look related (ten, tend, tense), which does no harm. It leaves irregular forms apart (knife,
knives). The groups are put in the order of the SHA-256 of their first words, and each goes to the first part that has
room for it: train (24,000 words), validation (half of the rest) and test. No random generator is involved, so the split
is the same everywhere.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import describe
from ..errors import DataError
from .dataset import Data, Dataset, Labels
from .source import Source

SHA256 = "3da22f4d277d37d44c8e40d078589367bc323d194395fc113a78560a187411ab"  # of words.txt.gz
ALPHABET = "_abcdefghijklmnopqrstuvwxyz"  # a symbol's code is its place; 0 is the end mark
CONTEXT = 6  # symbols
TRAIN = 24_000  # words
ENDINGS = ("s", "es", "d", "ed", "er", "ers", "est", "ing", "ly")

Codes = NDArray[np.uint8]


class OneHot(Source):
    """Contexts as one-hot rows, which are made when they are read: codes (N, C) -> rows (n, 27 C) of float32.

    Parameters
    ----------
    codes : uint8 array (N, C)
        Symbols as places in ALPHABET.
    word : integer array (N,)
        The number of the word that each row is from.
    """

    def __init__(self, codes: Codes, word: NDArray[np.int64]) -> None:
        self.codes, self.word = codes, word
        self.shape, self.dtype = (len(codes), codes.shape[1] * len(ALPHABET)), np.dtype("float32")
        self.fingerprint = f"one-hot {self.shape}, {zlib.crc32(np.ascontiguousarray(codes).data)}"

    def __getitem__(self, which: Any) -> NDArray[np.float32]:
        return one_hot_rows(self.codes[which])

    def __array__(self, *args: Any, **options: Any) -> Any:
        return np.asarray(self[:], *args, **options)

    @property
    def words(self) -> int:
        """How many words the rows are from."""
        return len(np.unique(self.word))

    def take(self, rows: Any) -> OneHot:
        """The part with these rows, a slice or an index."""
        return OneHot(self.codes[rows], self.word[rows])


def one_hot_rows(codes: Codes) -> NDArray[np.float32]:
    """1 in the column of each symbol and 0 elsewhere.  codes (n, C) -> (n, 27 C), or (C,) -> (27 C,)"""
    symbols = np.eye(len(ALPHABET), dtype=np.float32)[codes]  # (n, C, 27)
    return symbols.reshape(*codes.shape[:-1], codes.shape[-1] * len(ALPHABET))


def check_words(words: Any) -> None:
    """`words` must be a list of words of plain lower-case letters. ValueError or TypeError, which names the word."""
    if not isinstance(words, list | tuple) or not words:
        raise TypeError(f"words must be a list of at least one word, got {describe(words)}")
    for i, word in enumerate(words):
        if not isinstance(word, str):
            raise TypeError(f"words[{i}] must be a word, got {describe(word)}")
        if not re.fullmatch("[a-z]+", word):
            came = f"{(found := re.search('[^a-z]', word)) and found[0]!r} in {word!r}" if word else "an empty word"
            raise ValueError(f"words[{i}] must consist of letters from a to z, got {came}")


def encode(words: Sequence[str], context: int = CONTEXT) -> tuple[Codes, Labels, NDArray[np.int64]]:
    """The samples of some words, in their order: a word of n letters gives n + 1.

    Returns codes (N, context) of the symbols before each symbol, the symbol (N,), and the number of its word (N,).
    ValueError and TypeError if `words` is not a list of words, see `check_words`.
    """
    check_words(words)
    text = "".join(f"{'_' * context}{word}_" for word in words)
    places = np.zeros(128, np.uint8)
    places[np.frombuffer(ALPHABET.encode(), np.uint8)] = np.arange(len(ALPHABET))
    windows = np.lib.stride_tricks.sliding_window_view(places[np.frombuffer(text.encode(), np.uint8)], context + 1)
    samples = np.array([len(word) + 1 for word in words])
    word = np.repeat(np.arange(len(words)), samples)
    # `context` end marks come before each word, so each word shifts the windows of later words by that many.
    found = windows[np.arange(len(word)) + context * word]  # (N, context + 1)
    return found[:, :-1], found[:, -1].astype(np.int64), word


def decode(codes: Codes) -> list[str]:
    """Codes (N, C) as text: N strings of C symbols."""
    letters = np.frombuffer(ALPHABET.encode(), np.uint8)[codes].tobytes().decode()
    width = codes.shape[1]
    return [letters[start : start + width] for start in range(0, len(letters), width)]


def plain_words(text: str) -> list[str]:
    """The words of a list, one a line, that have 3 to 12 letters, all of them from a to z; sorted."""
    return sorted({word for word in text.split("\n") if re.fullmatch("[a-z]{3,12}", word)})


def stems(word: str) -> Iterator[str]:
    """The words from which a word may derive, by the steps in the docstring above. Most of them do not exist."""
    for ending in ENDINGS:
        stem = word.removesuffix(ending)
        if stem not in ("", word):
            yield from (stem, f"{stem}e")
            if stem[-1] == "i":
                yield f"{stem[:-1]}y"
            if stem[-1] == stem[-2:-1]:
                yield stem[:-1]
    if word.endswith("ly"):
        yield f"{word[:-1]}e"


def groups(words: Sequence[str]) -> list[list[str]]:
    """Words that derive from each other, directly or through other words. Each group begins with its first word."""
    first = {word: word for word in words}  # an earlier word of the group, and so on to the first word of the group

    def find(word: str) -> str:
        while first[word] != word:
            word = first[word]
        return word

    for word in words:
        for stem in stems(word):
            if stem in first:
                low, high = sorted((find(stem), find(word)))
                first[high] = low
    found: dict[str, list[str]] = {}
    for word in sorted(words):
        found.setdefault(find(word), []).append(word)
    return list(found.values())


@cache
def split_words() -> dict[str, list[str]]:
    """The words of each part, "train", "val" and "test", in alphabetical order.

    DataError if the file in the package is damaged.
    """
    raw = Path(__file__).with_name("words.txt.gz").read_bytes()
    if hashlib.sha256(raw).hexdigest() != SHA256:
        raise DataError("the words.txt.gz inside minikd is damaged: reinstall it, pip install --force-reinstall minikd")
    words = gzip.decompress(raw).decode().split("\n")
    parts: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    room = {"train": TRAIN, "val": (len(words) - TRAIN) // 2, "test": len(words)}
    for group in sorted(groups(words), key=lambda group: hashlib.sha256(group[0].encode()).digest()):
        part = next(part for part in parts if len(parts[part]) + len(group) <= room[part])
        parts[part] += group
    return {part: sorted(found) for part, found in parts.items()}


def real_words() -> frozenset[str]:
    """All words of all parts."""
    return frozenset(word for words in split_words().values() for word in words)


def load() -> Data:
    """Letters of words: x (N, 162) one-hot rows, as OneHot; y the next symbol, 0 to 26.

    DataError if the file in the package is damaged.

    Source: SCOWL, Kevin Atkinson, wordlist.aspell.net.
    """
    arrays: list[Any] = []
    for words in split_words().values():
        codes, following, word = encode(words)
        arrays += [OneHot(codes, word), following]
    return Data._make([*arrays, tuple(ALPHABET), None])


def test_texts() -> list[str]:
    """The contexts of the test part with the symbol to guess, such as "_adven → t", one for each row of x_test."""
    codes, following, _ = encode(split_words()["test"])
    return [f"{context} → {ALPHABET[symbol]}" for context, symbol in zip(decode(codes), following, strict=True)]


DATASET = Dataset(
    summary="the next letter of 38,842 English words, from the 6 before it as 162 one-hot columns, 27 symbols "
    "(inside the package)",
    source="http://wordlist.aspell.net",
    licence="free to use, copy and sell with its notice, minikd/data/LICENSE-words.txt",
    citation="Kevin Atkinson: Spell Checker Oriented Word Lists (SCOWL), list american-english-small",
    files=(),
    load=load,
    noun="words",
    rows="letters",
    test_texts=test_texts,
)
