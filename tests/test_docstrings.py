"""Every public name has an example in its docstring, and the examples are right."""

from __future__ import annotations

import doctest

import pytest

import minikd
from minikd.exchange import export, teachers

FUNCTIONS = {name: getattr(minikd, name) for name in minikd.__all__} | {
    "export": export.export,
    "from_probabilities": teachers.from_probabilities,
    "read_teacher": teachers.read_teacher,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_example_of_a_public_name_is_right(name: str) -> None:
    value = FUNCTIONS[name]
    if isinstance(value, type) and issubclass(value, minikd.MinikdError) and value is not minikd.MinikdError:
        assert (value.__doc__ or "").strip(), "a sentence is enough for an exception"
        return
    # A fused function is a wrapper; its body has the docstring.
    found = doctest.DocTestFinder(recurse=False).find(getattr(value, "body", value), name, module=False, globs={})
    runner = doctest.DocTestRunner()
    said: list[str] = []
    for test in found:
        runner.run(test, out=said.append)
    results = runner.summarize(verbose=False)
    assert results.attempted > 0, f"{name} has no example"
    assert results.failed == 0, "".join(said)
