"""The students of a class: roster, submissions and manual corrections together. Tables and feedback use this list."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from .collect import id_key, name_key
from .grade import Grade
from .roster import Note, Person
from .submission import SubmissionError


@dataclass
class Member:
    """A student of a class: a person on the roster, a submission, or both.

    Parameters
    ----------
    grade : Grade or None
        None if there is no submission.
    max_score : float
        The maximum of the points.
    identifier, name : str
        From the roster; without an entry there, the identifier is the name of the submission.
    known_as : frozenset
        Keys by which the roster recognises the student; empty for a submission of nobody on the roster.
    remark : str
        For example "no submission".
    notes : list of Note
        Manual corrections.
    """

    grade: Grade | None  # None if there is no submission
    max_score: float
    identifier: str
    name: str = ""
    known_as: frozenset[str] = frozenset()
    remark: str = ""
    notes: list[Note] = field(default_factory=list)

    @property
    def student(self) -> str:
        """The submission's name."""
        return self.grade.student if self.grade else ""

    def score(self, exercise: str | None = None) -> float:
        """The points of an exercise, or of all exercises, including manual corrections."""
        by_hand = math.fsum(note.points for note in self.notes if exercise in (None, note.exercise))
        return (self.grade.score(exercise) if self.grade else 0.0) + by_hand


def members(grades: Sequence[Grade], roster: Sequence[Person] = (), notes: Sequence[Note] = ()) -> list[Member]:
    """The students of a class in the roster's order, then other submissions. Without a roster, the order of grading."""
    most = max((grade.max_score() for grade in grades), default=0.0)
    listed = {p: Member(None, most, p.identifier, p.name, p.known_as, "no submission") for p in roster}
    others = []
    for grade in grades:
        fitting, remark = [listed[person] for person in _who(grade, roster)], ""
        if len(fitting) == 1 and fitting[0].grade is None:
            fitting[0].grade, fitting[0].remark = grade, ""
            continue
        if len(fitting) == 1:
            remark = f"not counted: {fitting[0].student} is also a submission of {fitting[0].identifier}"
        elif fitting:
            remark = f"fits several on the roster: {', '.join(sorted(member.identifier for member in fitting))}"
        elif roster:
            remark = "not on the roster"
        others.append(Member(grade, most, grade.student, remark=remark))
    everybody = [*listed.values(), *others]
    _add_notes(everybody, notes)
    return everybody


def _who(grade: Grade, roster: Sequence[Person]) -> set[Person]:
    """The people on the roster who match all keys of a submission's owner or, if there are none, some of the keys."""
    keys = grade.known_as or [id_key(grade.student), name_key(grade.student)]
    fitting = [{person for person in roster if key in person.known_as} for key in keys]
    return set.intersection(*fitting) or set.union(*fitting)


def _add_notes(everybody: Sequence[Member], notes: Sequence[Note]) -> None:
    named: dict[str, list[Member]] = {}
    for member in everybody:
        for key in member.known_as | {id_key(member.identifier), id_key(member.student)}:
            named.setdefault(key, []).append(member)
    for note in notes:
        fitting = named.get(id_key(note.student), []) if note.student else []
        if len(fitting) != 1:
            wanted = "an identifier of the roster, or a student of the table of grades"
            what = f"fits {len(fitting)} students" if fitting else "is nobody"
            raise SubmissionError(f"{note.where}: identifier must be {wanted}; {note.student!r} {what}")
        fitting[0].notes.append(note)
