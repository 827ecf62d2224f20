"""`python tests/no_pictures.py ARGUMENTS` is `minikd ARGUMENTS` that draws nothing: for tests of anything else.

Drawing takes most of a short run's time. The files of pictures and the report are there as ever, but empty.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minikd.cli.main import main
from minikd.report import html, plots, run_plots

PICTURES = {
    plots: ("comparison", "heat_maps"),
    run_plots: ("learning_curves", "dark_knowledge", "confusions", "reliabilities"),
}


def draw_nothing(set_attribute: Callable[[Any, str, Any], None] = setattr) -> None:
    """Let the commands leave empty pictures, and reports with empty pictures in them."""
    for module, names in PICTURES.items():
        for name in names:
            assert hasattr(module, name), name
            set_attribute(module, name, lambda *of, **options: None)
    set_attribute(plots, "svg", lambda figure: "<svg></svg>")
    set_attribute(plots, "save", lambda figure, path: Path(path).write_bytes(b""))


def report_nothing(set_attribute: Callable[[Any, str, Any], None] = setattr) -> None:
    """Let the commands leave empty reports."""
    set_attribute(html, "write", write_empty_report)


def write_empty_report(folder: Path) -> Path:
    """In place of the report."""
    (folder / html.NAME).write_bytes(b"")
    return folder / html.NAME


if __name__ == "__main__":
    draw_nothing()
    report_nothing()
    sys.exit(main(sys.argv[1:]))
