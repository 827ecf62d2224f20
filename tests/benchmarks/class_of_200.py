"""Grade a class of 200, right, wrong, empty and hostile: `python tests/benchmarks/class_of_200.py [--jobs 2]`.

Prints the minutes that it took, and exits with 1 where a grade is not what it should be: 115 for the reference, 0 for
the empty skeleton, and for each case of tests/hostile.py what it deserves in E1 and E4.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

SIZE = 200


def main() -> None:
    """Make the class, grade it, compare."""
    import shutil

    from coursework import COURSE
    from hostile import CASES, HONEST
    from test_course_hostile import write

    from minikd.course.grading.gradebook import grade_class

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="submissions at a time (default 2)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "class"
        folder.mkdir()
        odd = [*CASES, *HONEST]
        wanted: dict[str, object] = {}
        others = cycle(["reference", "reference", "skeleton"])
        for i, case in enumerate([*odd, *islice(others, SIZE - len(odd))]):
            name = f"{i:03d}"
            wanted[name] = case
            if isinstance(case, str):
                shutil.copytree(COURSE / case, folder / name)
            else:
                write(case, folder / name)
        begun = time.monotonic()
        grades = grade_class(folder, Path(temporary) / "grades.csv", jobs=options.jobs)
        minutes = (time.monotonic() - begun) / 60
    bad = []
    for graded in grades:
        case = wanted[graded.student]
        if isinstance(case, str):
            right = graded.score() == (115 if case == "reference" else 0)
        else:
            right = (graded.score("E1"), graded.score("E4")) == (case.e1, case.e4)
        if not right:
            bad.append(f"{graded.student} {case if isinstance(case, str) else case.name}: {graded.score():g}")
    how = f"{len(odd)} of them hostile, broken or odd, {options.jobs} at a time"
    print(f"{len(grades)} submissions, {how}: {minutes:.1f} minutes")
    print(f"{len(bad)} grades are not what they should be" + "".join(f"\n  {line}" for line in bad))
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
