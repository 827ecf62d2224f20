"""What the commands `bench.py` and `growth.py` share: options, settings, and the file that --json names."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from machine import describe
from processes import Setup, command_blas_settings, pin


def add_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The options that both have."""
    add = parser.add_argument
    add("--threads", type=int, default=2, help="threads, and CPUs, for everyone (default 2)")
    add("--rounds", type=int, help="turns of each contender (default 7, with --quick 2)")
    add("--json", type=Path, metavar="FILE", help="write all numbers, and what they were measured on, to this file")
    add("--quick", action="store_true", help="less of everything, to see that it works: the numbers mean little")
    add("--plain-env", action="store_true", help="without the environment variables that the minikd command sets")
    return parser


def start(options: argparse.Namespace, device: str = "cpu") -> tuple[Setup, dict[str, Any]]:
    """The settings that were asked for, and what --json writes, without any section yet.

    From here on this process, and every one that it starts, keeps to as many CPUs as there are threads.
    """
    setup = Setup(
        device=device,
        threads=options.threads,
        rounds=options.rounds or (2 if options.quick else 7),
        seconds=0.1 if options.quick else 0.5,
        quick=options.quick,
        blas_settings={} if options.plain_env else command_blas_settings(),
    )
    settings = {name: getattr(setup, name) for name in ("device", "threads", "rounds", "seconds", "quick")}
    return setup, {"machine": describe(setup, pin(options.threads)), "settings": settings, "sections": {}}


def write(path: Path | None, document: dict[str, Any]) -> None:
    """Replace the file in one go, so that an interruption leaves the last good one."""
    if path is not None:
        new = path.with_name(path.name + ".new")
        new.write_text(json.dumps(document, indent=1) + "\n")
        os.replace(new, path)
