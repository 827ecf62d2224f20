"""Published experiments, with the paper's numbers beside ours: `minikd reproduce`.

Each study is one file. Its docstring describes the paper's protocol, and what we do differently and why.
"""

from __future__ import annotations

from . import capacity, few, generations, hinton2015, language, muller2019, subclass2020, subliminal2025
from .run import Plan, committed, run_study, tell
from .study import Row, Study, judge, study_table, verdict

__all__ = ["STUDIES", "Plan", "Row", "Study", "committed", "judge", "run_study", "study_table", "tell", "verdict"]

STUDIES: dict[str, Study] = {
    module.STUDY.name: module.STUDY
    for module in (hinton2015, muller2019, subclass2020, capacity, generations, subliminal2025, few, language)
}
