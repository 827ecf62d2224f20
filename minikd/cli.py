"""The `minikd` command. Without arguments it does its main job: `minikd distill`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from itertools import count
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, NoReturn

from .backend import DEVICES, get_xp
from .data import DATASETS, fetch, load_data
from .errors import CheckpointError, DeviceError, MinikdError, check_count, check_number

if TYPE_CHECKING:
    from .experiment import Config, Experiment, Trained


class Parser(argparse.ArgumentParser):
    """argparse, but a bad argument costs one line, and exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Say it in one line, and exit with 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exits with 0, 1 (it could not be done), 2 (it was asked wrongly) or 130 (Ctrl-C)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given or ["distill"])
    try:
        options.run(options)
    except (DeviceError, CheckpointError) as error:
        sys.exit(_complain(error, 2))
    except MinikdError as error:
        sys.exit(_complain(error, 1))
    except KeyboardInterrupt:
        sys.exit(_complain("stopped", 130))


def _complain(what: object, code: int) -> int:
    print(f"minikd: {what}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="minikd", description="Knowledge distillation from scratch. Without arguments: minikd distill."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    _add_distill(commands)
    _add_evaluate(commands)
    data = commands.add_parser("data", help="list the data sets, or fetch one")
    actions = data.add_subparsers(metavar="ACTION", required=True, parser_class=Parser)
    actions.add_parser("list", help="what there is, where it comes from, its licence").set_defaults(run=_list_data)
    get = actions.add_parser("fetch", help="download a data set and check it")
    get.add_argument("name", choices=DATASETS, metavar="NAME", help=", ".join(DATASETS))
    get.set_defaults(run=_fetch_data)
    return parser


def _add_distill(commands: Any) -> None:
    text = (
        "Train a teacher, and the same small student three times: on labels alone, with label smoothing, and by "
        "distillation. Prints how they compare on test data over several seeds, and leaves networks, numbers and "
        "pictures in a folder. Where a default differs between data sets, the one for digits is shown."
    )
    p = commands.add_parser(
        "distill", help="a teacher teaches a student, compared with the student alone", description=text
    )
    add = p.add_argument
    add("--data", choices=DATASETS, metavar="NAME", help=f"{', '.join(DATASETS)} (default digits)")
    add("--teacher", type=_widths, metavar="N-N", help="widths of the teacher's hidden layers (default 256-256)")
    add("--student", type=_widths, metavar="N", help="widths of the student's hidden layers (default 64)")
    add(
        "--temperature",
        type=_number(0, open_low=True),
        metavar="T",
        help="softens the teacher's probabilities (default 4)",
    )
    add("--soft-weight", type=_number(0, 1), metavar="W", help="the teacher's part of the loss, 0 to 1 (default 0.9)")
    add("--epochs", type=_count, metavar="N", help="passes over the training data (default 100)")
    add("--batch-size", type=_count, metavar="N", help="samples a step (default 32)")
    add("--lr", type=_number(0, open_low=True), metavar="RATE", help="the students' learning rate (default 0.03)")
    add(
        "--teacher-lr",
        type=_number(0, open_low=True),
        metavar="RATE",
        help="the teacher's learning rate (default 0.002)",
    )
    add("--seeds", type=_count, metavar="N", help="how often to repeat everything (default 5)")
    add("--device", choices=DEVICES, metavar="DEVICE", help="cpu, or cuda for an NVIDIA GPU (default cpu)")
    add("--teacher-from", type=_file, metavar="FILE", help="a trained teacher, a minikd file: trains none")
    add("--out", type=Path, metavar="DIR", help="the run's folder (default runs/NAME-1, -2, ...)")
    add("--resume", action="store_true", help="go on with the run in --out, with the settings it has")
    p.set_defaults(run=_distill)


def _add_evaluate(commands: Any) -> None:
    p = commands.add_parser("evaluate", help="measure a trained network on test data")
    p.add_argument("model", type=_file, metavar="MODEL", help="a minikd file")
    p.add_argument("--data", choices=DATASETS, metavar="NAME", required=True, help=", ".join(DATASETS))
    p.add_argument("--teacher", type=_file, metavar="FILE", help="also say how closely MODEL follows this network")
    p.add_argument("--device", choices=DEVICES, default="cpu", metavar="DEVICE", help="cpu or cuda (default cpu)")
    p.set_defaults(run=_evaluate)


# ---- types of arguments: each turns text into a value, or says why it cannot ----------------------------------


def _checked(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    def typed(text: str) -> Any:
        try:
            return convert(text)
        except (ValueError, TypeError) as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return typed


def _number(low: float, high: float = float("inf"), open_low: bool = False) -> Callable[[str], Any]:
    return _checked(
        lambda text: check_number("the value", _parse(float, text, "a number"), low, high, open_low=open_low)
    )


def _parse(kind: type, text: str, words: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"the value must be {words}, got {text!r}") from None


@_checked
def _count(text: str) -> int:
    return check_count("the value", _parse(int, text, "a whole number"))


@_checked
def _widths(text: str) -> tuple[int, ...]:
    words = "whole numbers with dashes between them, such as 256-256"
    return tuple(check_count("each width", _parse(int, part, words)) for part in text.split("-"))


@_checked
def _file(text: str) -> str:
    if not Path(text).is_file():
        raise ValueError(f"there is no file {text!r}")
    return str(Path(text).resolve())


# ---- the commands ---------------------------------------------------------------------------------------------


def _distill(options: argparse.Namespace) -> None:
    from .experiment import Config, Experiment, table, verdict

    config, folder = _settle(options, Config)
    get_xp(config.device)  # a missing GPU is an error before anything is written
    experiment = Experiment(config, folder)
    if not options.resume:
        config.write(folder)
    print(
        f"{config.data}: teacher {_dashed(experiment.teacher_widths)}, student {_dashed(config.student)}, "
        f"T = {config.temperature:g}, soft weight {config.soft_weight:g}, seeds {config.seeds}, in {folder}/"
    )
    try:
        done = _train(experiment)
        print(f"\n{table(done)}\n\n{fill(verdict(done), 80)}\n")
        _draw(experiment, done)
    except KeyboardInterrupt:
        sys.exit(_complain(f"stopped, and nothing is lost. To go on: minikd distill --resume --out {folder}", 130))
    print(f"Networks, numbers and pictures are in {folder}/")


def _settle(options: argparse.Namespace, config_type: type[Config]) -> tuple[Config, Path]:
    """The settings and the folder of the run that was asked for. CheckpointError where they cannot be had."""
    given = {f.name: getattr(options, f.name) for f in fields(config_type) if getattr(options, f.name) is not None}
    if options.resume:
        if options.out is None:
            raise CheckpointError("--resume needs --out, the folder of the run to go on with")
        config = config_type.read(options.out)
        for name, value in given.items():
            if getattr(config, name) != value:
                flag = "--" + name.replace("_", "-")
                raise CheckpointError(
                    f"{options.out} was started with another {flag}: leave it out, or start a new run"
                )
        return config, options.out
    config = config_type.for_data(**given)
    folder = options.out or _free_folder(config.data)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CheckpointError(f"{folder} is there already: choose another --out, or go on with --resume")
    return config, folder


def _free_folder(name: str) -> Path:
    return next(folder for n in count(1) if not (folder := Path("runs") / f"{name}-{n}").exists())


def _dashed(widths: Sequence[int]) -> str:
    return "-".join(str(width) for width in widths) or "without hidden layers"


def _train(experiment: Experiment) -> list[Trained]:
    from tqdm import tqdm

    # Where nobody watches (a log file, say), a line now and then is enough.
    interval = 0.1 if sys.stderr.isatty() else 10
    with tqdm(total=experiment.total_epochs, unit="epoch", mininterval=interval, dynamic_ncols=True) as bar:

        def notify(epochs: int, words: str) -> None:
            bar.set_description(words, refresh=False)
            bar.update(epochs)

        experiment.notify = notify
        return experiment.run()


def _draw(experiment: Experiment, done: list[Trained]) -> None:
    """The pictures of a run; those that look at single networks take the first seed's."""
    from . import plots
    from .experiment import NAMES

    first = {NAMES[t.kind]: t.model for t in done if t.seed == 0}
    some = {name: model for name, model in first.items() if name != NAMES["smoothed"]}
    for name, figure in (
        ("learning-curves", plots.learning_curves(done, NAMES)),
        ("dark-knowledge", plots.dark_knowledge(some, experiment.data)),
        ("confusion", plots.confusions(some, experiment.data)),
        ("reliability", plots.reliabilities(first, experiment.data)),
    ):
        plots.save(figure, experiment.folder / f"{name}.png")


def _evaluate(options: argparse.Namespace) -> None:
    from .metrics import evaluate
    from .mlp import MLP

    data = load_data(options.data)
    models = [MLP.load(path, options.device) for path in (options.model, options.teacher) if path is not None]
    for model, path in zip(models, (options.model, options.teacher), strict=False):
        if (model.sizes[0], model.sizes[-1]) != (data.x_test.shape[1], len(data.class_names)):
            raise CheckpointError(
                f"{path} is a network of sizes {_dashed(model.sizes)}, which does not fit {options.data}"
            )
    print(f"{options.model}: {_dashed(models[0].sizes)}, {models[0].activation}, {models[0].num_params:,} parameters")
    scores = evaluate(models[0], data.x_test, data.y_test, teacher=models[1] if len(models) > 1 else None)
    print(f"on the {len(data.y_test):,} test samples of {options.data}:")
    for name, value in scores.items():
        print(f"  {name:<10} {value:>8.4f}" if isinstance(value, float) else f"  {name:<10} {value:>8}")


def _list_data(options: argparse.Namespace) -> None:
    for name, dataset in DATASETS.items():
        print(f"{name:<8}{dataset.summary}\n{'':8}{dataset.licence}; {dataset.source}")


def _fetch_data(options: argparse.Namespace) -> None:
    print(f"{options.name} is in {fetch(options.name)}, checked")
