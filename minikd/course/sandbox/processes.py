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
    """Opens processes with a submission loaded. Use it in a `with` statement, which ends all of them.

    A process may be kept for the next check of an exercise, so that the submission is not loaded again. It is kept only
    if every check that ran in it has passed; see `check_in`.
    """

    runner: Runner | UnprotectedRunner
    sources: Sources
    loading: TimeBudget = field(default_factory=lambda: TimeBudget(LOADING_SECONDS))
    left_out: list[str] = field(default_factory=list)  # what raised while loading, a line each, without repetition
    slowest: float = 0.0  # seconds of the slowest load
    output: str = ""  # what the last block printed, without the output of loading
    child: Child | None = None  # the process that is kept
    _kept: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: Any) -> None:
        self.end()

    def end(self) -> None:
        """End the kept process."""
        self.child = None
        self._kept.close()

    @contextmanager
    def fresh(self, functions: Sequence[str], budget: TimeBudget) -> Iterator[Child]:
        """A new process, for calls of these functions."""
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
        """The process of the previous check, for the same functions, or a new one."""
        if self.child is None:
            self.child = self._kept.enter_context(self.fresh(functions, budget))
        self.child.budget, self.child.callbacks = budget, 0
        try:
            yield self.child
        finally:
            self.output = self.child.printed() if self.child else self.output
