"""The processes of one submission, one after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from .conversation import LOADING_SECONDS, MAX_PROBLEMS, Child, Sources, TimeBudget
from .runner import Runner
from .unprotected import UnprotectedRunner


@dataclass
class Processes:
    """Opens processes with a submission loaded. Use it as a context: at the end none is left.

    A process may be kept for the next check of an exercise, which spares loading the submission again. It is kept only
    while every check that ran in it has passed, see `check_in`.
    """

    runner: Runner | UnprotectedRunner
    sources: Sources
    loading: TimeBudget = field(default_factory=lambda: TimeBudget(LOADING_SECONDS))
    left_out: list[str] = field(default_factory=list)  # what raised in loads, a line each, no line twice
    slowest: float = 0.0  # seconds of a load
    output: str = ""  # what was printed in the last block, without what loading printed
    child: Child | None = None  # the process that is kept
    _kept: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: Any) -> None:
        self.end()

    def end(self) -> None:
        """End the process that is kept."""
        self.child = None
        self._kept.close()

    @contextmanager
    def fresh(self, functions: Sequence[str], budget: TimeBudget) -> Iterator[Child]:
        """A process in which nothing has run, for calls of these functions."""
        self.end()
        left, at_load = self.loading.left, ""
        try:
            with self.runner.open(self.sources, functions, budget, self.loading) as child:
                self.slowest = max(self.slowest, left - self.loading.left)
                new = [line for line in child.left_out if line not in self.left_out]
                self.left_out = (self.left_out + new)[:MAX_PROBLEMS]
                at_load = child.printed()
                yield child
        finally:
            self.output = self.runner.output.removeprefix(at_load)

    @contextmanager
    def kept(self, functions: Sequence[str], budget: TimeBudget) -> Iterator[Child]:
        """The process that the check before has used, for the same functions, or else a fresh one."""
        if self.child is None:
            self.child = self._kept.enter_context(self.fresh(functions, budget))
        self.child.budget, self.child.callbacks = budget, 0
        try:
            yield self.child
        finally:
            self.output = self.child.printed() if self.child else self.output
