"""Find submissions that equal one another, or minikd's code, up to names and layout. A result is a hint, not a proof.

A function is reduced to a sequence of tokens without names, texts, comments and white space. Two functions are compared
by the share of runs of five tokens that they have in common (the Jaccard index). Code is only tokenised, never
executed. A source that cannot be tokenised is skipped.
"""

from __future__ import annotations

import io
import keyword
import re
import tokenize
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from ..exercises import EXERCISES
from .submission import Entry, Submission, read_submission, safe_name

NGRAM = 5  # tokens
MIN_TOKENS = 25  # tokens: shorter functions are always similar
THRESHOLD = 0.8
COMMON_SHARE, COMMON_COUNT = 0.25, 6  # runs that a larger share of the class (and more students) use are common code
SKIPPED = {getattr(tokenize, name) for name in "COMMENT NL NEWLINE INDENT DEDENT ENCODING ENDMARKER".split()}  # noqa: SIM905
PACKAGE = Path(__file__).parents[2]

Runs = frozenset[tuple[str, ...]]


@dataclass(frozen=True)
class Pair:
    """Two submissions, and the exercises in which they are similar."""

    one: str
    other: str
    exercises: tuple[str, ...]
    similarity: float  # the mean over those exercises


@dataclass(frozen=True)
class Copy:
    """A function of a submission, and the dotted name of the most similar function of minikd."""

    student: str
    function: str
    original: str
    similarity: float


def similar(paths: Sequence[Path | Entry]) -> list[Pair]:
    """Pairs of submissions that are similar in some exercise, sorted by the number of such exercises."""
    prints = {path: fingerprints(read_submission(path)) for path in paths}
    pairs = []
    for exercise in EXERCISES:
        runs = [p[exercise] for p in prints.values() if exercise in p]
        counts = Counter(run for of_one in runs for run in of_one)
        usual = {run for run, count in counts.items() if count > max(COMMON_COUNT, COMMON_SHARE * len(runs))}
        for p in prints.values():
            if exercise in p:
                p[exercise] = p[exercise] - usual
    for one, other in combinations(paths, 2):
        found = {}
        for exercise in EXERCISES:
            a, b = prints[one].get(exercise, frozenset()), prints[other].get(exercise, frozenset())
            if min(len(a), len(b)) >= MIN_TOKENS // 2 and len(a & b) >= THRESHOLD * len(a | b):
                found[exercise] = len(a & b) / len(a | b)
        if found:
            pairs.append(
                Pair(safe_name(one.name), safe_name(other.name), tuple(found), sum(found.values()) / len(found))
            )
    return sorted(pairs, key=lambda pair: (-len(pair.exercises), -pair.similarity))


def fingerprints(submission: Submission) -> dict[str, Runs]:
    """The runs of tokens of the functions that the submission defines, for each exercise."""
    owners = {function: name for name, exercise in EXERCISES.items() for function in exercise.functions}
    found: dict[str, list[str]] = {}
    for source in submission.texts:
        for function, tokens in functions(source):
            if function in owners:
                found.setdefault(owners[function], []).extend(tokens)
    return {name: runs_of(tokens) for name, tokens in found.items() if len(tokens) >= MIN_TOKENS}


def runs_of(tokens: Sequence[str]) -> Runs:
    """All runs of NGRAM tokens."""
    return frozenset(tuple(tokens[i : i + NGRAM]) for i in range(len(tokens) - NGRAM + 1))


def copies(paths: Sequence[Path | Entry]) -> list[Copy]:
    """Functions similar to one of minikd's own, including the reference solutions, the most similar first."""
    originals = minikds_functions()
    holders: dict[tuple[str, ...], list[str]] = {}  # for each run, the functions of minikd that have it
    for original, runs in originals.items():
        for run in runs:
            holders.setdefault(run, []).append(original)
    found = []
    for path in paths:
        for source in read_submission(path).texts:
            for function, tokens in functions(source):
                runs = runs_of(tokens) if len(tokens) >= MIN_TOKENS else frozenset()
                shared = Counter(original for run in runs for original in holders.get(run, ()))
                likeness = {name: n / (len(runs) + len(originals[name]) - n) for name, n in shared.items()}
                best = max(likeness, key=lambda name: (likeness[name], name), default="")
                if best and likeness[best] >= THRESHOLD:
                    found.append(Copy(safe_name(path.name), safe_name(function), best, likeness[best]))
    return sorted(found, key=lambda copy: -copy.similarity)


def minikds_functions() -> dict[str, Runs]:
    """The runs of minikd's functions by dotted names such as ops.softmax, without those of the skeleton."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        for name, tokens in functions(path.read_text(encoding="utf-8")) if "skeleton" not in parts else ():
            if len(tokens) >= MIN_TOKENS:
                found[".".join((*parts, name))] = runs_of(tokens)
    return found


def functions(source: str) -> list[tuple[str, list[str]]]:
    """(name, tokens) of each top-level function. Names become N, texts T; numbers stay; docstrings are dropped."""
    found: list[tuple[str, list[str]]] = []
    source = re.sub(r"[ \t\f]{100,}", 99 * " ", source)
    depth, inside, before, blanks = 0, False, "", 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            # Before an invalid character, each blank is a token of its own, which takes quadratic time.
            if (blanks := blanks + (token.type == tokenize.ERRORTOKEN and token.string.isspace())) > 100:
                break
            depth += (token.type == tokenize.INDENT) - (token.type == tokenize.DEDENT)
            if token.type == tokenize.NAME and token.start[1] == 0:
                inside = token.string == "def"
                if inside:
                    found.append(("", []))
            elif inside and found[-1][0] == "" and token.type == tokenize.NAME:
                found[-1] = (token.string, [])
            elif inside and token.type not in SKIPPED:
                is_name = token.type == tokenize.NAME and not keyword.iskeyword(token.string)
                text = "N" if is_name else "T" if token.type == tokenize.STRING else token.string
                statement = before in ("\n", "") and token.type == tokenize.STRING  # a docstring, or an unused text
                if not statement:
                    found[-1][1].append(text)
            if token.type not in (tokenize.COMMENT, tokenize.NL):
                before = "\n" if token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT) else token.string
    except (tokenize.TokenError, SyntaxError, RecursionError):
        pass  # the tokens read so far count
    return [(name, tokens) for name, tokens in found if name]
