"""A summary of a class: the distribution of scores, the most frequent failures, and their diagnoses."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..exercises import EXERCISES
from .members import Member

BINS, SHOWN, BAR = 10, 5, 40  # bins of the histogram; exercises and diagnoses listed; columns of the longest bar


@dataclass(frozen=True)
class Summary:
    """Statistics of a class; lists begin with the most frequent entry."""

    scores: list[float]
    max_score: float
    absent: list[str]  # on the roster, without a submission
    remarks: list[str]  # about submissions that match nobody on the roster
    failed: list[tuple[str, int]]  # exercise, number of students who did not solve it
    diagnoses: list[tuple[str, str, int]]  # exercise, diagnosis, number of students

    @property
    def histogram(self) -> list[int]:
        """The number of scores in each tenth of the points; the full points are in the last."""
        counts = [0] * BINS
        for score in self.scores:
            share = score / self.max_score if self.max_score else 0.0
            counts[min(max(int(BINS * share + 1e-9), 0), BINS - 1)] += 1
        return counts


def summary(members: Sequence[Member]) -> Summary:
    """The summary of all submissions, with manual corrections."""
    failed: Counter[str] = Counter()
    diagnoses: Counter[tuple[str, str]] = Counter()
    grades = [member.grade for member in members if member.grade]
    for grade in grades:
        wrong = [result for result in grade.results if not result.passed and result.max_score > 0]
        failed.update({result.exercise for result in wrong})
        diagnoses.update({(result.exercise, result.diagnosis) for result in wrong if result.diagnosis})
    order = {name: number for number, name in enumerate(EXERCISES)}
    return Summary(
        [member.score() for member in members if member.grade],
        max((member.max_score for member in members), default=0.0),
        [member.identifier for member in members if not member.grade],
        [f"{member.student}: {member.remark}" for member in members if member.grade and member.remark],
        sorted(failed.items(), key=lambda item: (-item[1], order[item[0]])),
        [(*what, n) for what, n in sorted(diagnoses.items(), key=lambda item: (-item[1], order[item[0][0]], item[0]))],
    )


def lines(found: Summary) -> list[str]:
    """The summary as lines of text, at most 80 columns wide except for long names."""
    total, counts = len(found.scores), found.histogram
    said = [f"{total} submissions, median {statistics.median(found.scores or [0]):g} of {found.max_score:g}"]
    for i, count in enumerate(counts):
        low, high = (f"{found.max_score * k / BINS:g}" for k in (i, i + 1))
        bar = "#" * -(-BAR * count // max(counts)) if total else ""
        said.append(f"  {low:>7} to {high:>7}  {count:>4} {bar}".rstrip())
    if found.failed:
        said.append("most often not solved:")
    said += [f"  {n:>4} of {total}  {name} {EXERCISES[name].title}" for name, n in found.failed[:SHOWN]]
    if found.diagnoses:
        said.append("most frequent diagnoses:")
    said += [f"  {n:>4} of {total}  {name} {words}"[:80] for name, words, n in found.diagnoses[:SHOWN]]
    if found.absent:
        said.append(f"no submission ({len(found.absent)}): {', '.join(found.absent)}")
    return said + found.remarks
