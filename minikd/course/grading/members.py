"""A class: who should have handed in, who has, and what was given by hand. Tables, feedback and summary start here."""

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
    """A student of a class: a person of the roster, a submission, or both."""

    grade: Grade | None  # None where nothing was handed in
    max_score: float
    person: Person | None = None
    remark: str = ""
    notes: list[Note] = field(default_factory=list)

    @property
    def student(self) -> str:
        """The submission's name."""
        return self.grade.student if self.grade else ""

    @property
    def identifier(self) -> str:
        """The roster's identifier, or the submission's name where the roster has none."""
        return self.person.identifier if self.person else self.student

    @property
    def name(self) -> str:
        """The roster's name."""
        return self.person.name if self.person else ""

    @property
    def problems(self) -> list[str]:
        """What the instructor should know: about the roster, and what could not be read."""
        return [self.remark] * bool(self.remark) + (self.grade.problems if self.grade else [])

    def score(self, exercise: str | None = None) -> float:
        """The points of an exercise, or of all, with those given by hand."""
        by_hand = math.fsum(note.points for note in self.notes if exercise in (None, note.exercise))
        return (self.grade.score(exercise) if self.grade else 0.0) + by_hand


def members(grades: Sequence[Grade], roster: Sequence[Person] = (), notes: Sequence[Note] = ()) -> list[Member]:
    """The students of a class in the roster's order, then those who are not on it; without a roster, as graded."""
    most = max((grade.max_score() for grade in grades), default=0.0)
    found: dict[str, Member] = {p.identifier: Member(None, most, p, "no submission") for p in roster}
    others = []
    for grade in grades:
        people, remark = _who(grade, roster), ""
        if len(people) == 1:
            (person,) = people
            member = found[person.identifier]
            if member.grade is None:
                member.grade, member.remark = grade, ""
                continue
            remark = f"not counted: {member.student} is also a submission of {person.identifier}"
        elif roster:
            several = ", ".join(sorted(person.identifier for person in people))
            remark = f"fits several on the roster: {several}" if people else "not on the roster"
        others.append(Member(grade, most, None, remark))
    everybody = [*found.values(), *others]
    _add_notes(everybody, notes)
    return everybody


def _who(grade: Grade, roster: Sequence[Person]) -> set[Person]:
    """The people whom all that is known of a submission's owner fits, or else some of it."""
    keys = grade.known_as or [id_key(grade.student), name_key(grade.student)]
    fitting = [{person for person in roster if key in person.known_as} for key in keys]
    return set.intersection(*fitting) or set.union(*fitting)


def _add_notes(everybody: Sequence[Member], notes: Sequence[Note]) -> None:
    named: dict[str, list[Member]] = {}
    for member in everybody:
        known_as = {key for key in (member.person.known_as if member.person else ()) if key.startswith("id ")}
        for key in known_as | {id_key(member.identifier), id_key(member.student)}:
            named.setdefault(key, []).append(member)
    for note in notes:
        fitting = named.get(id_key(note.student), []) if note.student else []
        if len(fitting) != 1:
            wanted = "an identifier of the roster, or a student of the table of grades"
            what = f"fits {len(fitting)} students" if fitting else "is nobody"
            raise SubmissionError(f"{note.where}: identifier must be {wanted}; {note.student!r} {what}")
        fitting[0].notes.append(note)
