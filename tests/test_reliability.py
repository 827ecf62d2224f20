"""What goes wrong in a long run: kills, Ctrl-C, other settings, divergence, extreme numbers. Nothing is lost."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_training import bits, blobs, network, noise

import minikd
from minikd import SGD, Adam, AdamW, CheckpointError, DivergedError, History, cross_entropy, distill, fast, fit
from minikd.backend import to_numpy
from minikd.checkpoint import load_arrays
from minikd.mlp import MLP
from minikd.optim import cosine, step_decay

pytestmark = pytest.mark.extras

# ---- killed and resumed ----------------------------------------------------------------------------------------

# A whole program, with everything on that draws random numbers. Running it again goes on where it was killed, which it
# does to itself: at the call or return of a function that its second argument numbers, in training or in saving.
RUN = """
import json, os, signal, sys
from pathlib import Path
import numpy as np
from minikd import MLP, Adam, distill
from minikd.optim import cosine

folder, last, calls = Path(sys.argv[1]), int(sys.argv[2]), 0
rng = np.random.default_rng(0)
x, labels = rng.random((300, 16), dtype="float32"), rng.integers(0, 5, 300)
teacher = MLP((16, 64, 5), seed=1)
student = MLP((16, 64, 64, 5), dropout=(0.1, 0.3, 0.3), seed=2)


def follow(frame, event, argument):
    global calls
    calls += 1
    if calls == last:
        os.kill(os.getpid(), signal.SIGKILL)


# Loading compiled kernels makes many calls: that is done before, so that the kills come in training.
warm = MLP((16, 64, 64, 5), dropout=(0.1, 0.3, 0.3))
distill(warm, teacher, x, labels, epochs=1, batch_size=16, optimizer=Adam(warm, 0.01, weight_decay=1e-4),
        augment=lambda x, rng: x, progress=False)
sys.setprofile(follow)
history = distill(
    student, teacher, x, labels,
    epochs=30, batch_size=16, seed=3, optimizer=Adam(student, 0.01, weight_decay=1e-4), schedule=cosine(warmup=0.1),
    augment=lambda x, rng: x + 0.1 * rng.random(x.shape, dtype="float32"), validation=(x[:100], labels[:100]),
    checkpoint=folder / "run.safetensors", resume=True,
)
sys.setprofile(None)
student.save(folder / "end.safetensors")
(folder / "history.json").write_text(json.dumps(history.rows))
print(calls)
"""


def run(folder: Path, last: int = 0) -> subprocess.CompletedProcess[str]:
    """The program above from its beginning, or from where it was killed, until its `last` call; 0 for its end."""
    folder.mkdir(exist_ok=True)
    paths = {"PYTHONPATH": str(Path(minikd.__file__).parents[1]), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RUN, str(folder), str(last)]
    return subprocess.run(command, env={**os.environ, **paths}, capture_output=True, text=True, timeout=120)


def result(folder: Path) -> tuple[bytes, list[dict[str, float]]]:
    """The weights and the history at the end of the run."""
    return bits(MLP.load(folder / "end.safetensors")), json.loads((folder / "history.json").read_text())


def epochs_done(folder: Path) -> int:
    """How far the checkpoint is; 0 where there is none."""
    if not (folder / "run.safetensors").exists():
        return 0
    return len(json.loads(load_arrays(folder / "run.safetensors")[1]["training"])["rows"])


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[bytes, list[dict[str, float]]], int]:
    """The result of a run that is left alone, and how many calls it makes."""
    folder = tmp_path_factory.mktemp("alone")
    done = run(folder)
    assert done.returncode == 0, done.stderr
    return result(folder), int(done.stdout)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_moments_ends_with_the_same_bits_as_one_left_alone(
    kills: int, alone: tuple[tuple[bytes, list[dict[str, float]]], int], tmp_path: Path
) -> None:
    expected, calls = alone
    assert len(expected[1]) == 30
    rng, moments, finished, folder = random.Random(0), [], 0, tmp_path / "killed 0"
    while len(moments) < kills or not (folder / "end.safetensors").exists():
        # Anything from a kill before the first epoch to one after the last; after so many kills, none.
        done = run(folder, rng.randrange(1, int(0.6 * calls)) if len(moments) < kills else 0)
        if done.returncode == -signal.SIGKILL:
            moments.append(epochs_done(folder))
            continue
        assert done.returncode == 0, done.stderr
        assert result(folder) == expected
        if len(moments) < kills:
            finished += 1
            folder = tmp_path / f"killed {finished}"
    assert result(folder) == expected
    assert len(set(moments)) >= min(kills - 1, 5), f"the kills came after epochs {moments}"


def run_in_parts(path: Path, device: str, interrupt: Callable[[], None], **options: Any) -> tuple[MLP, History, int]:
    """Train to the end, going on after each KeyboardInterrupt with a new network, as a new process would."""
    x, labels = blobs(40)
    for attempt in range(1000):
        student = network(device, dropout=0.2)

        def loss(logits: Any, labels: Any) -> Any:
            interrupt()
            return cross_entropy(logits, labels)

        arguments = {"optimizer": Adam(student, 0.01), "schedule": cosine(0.2), "validation": (x, labels)} | options
        try:
            history = fit(
                student,
                x,
                labels,
                loss=loss,
                epochs=6,
                batch_size=16,
                augment=noise,
                checkpoint=path,
                resume=True,
                **arguments,
            )
        except KeyboardInterrupt:
            continue
        return student, history, attempt
    raise AssertionError("the run does not get anywhere")


def test_ctrl_c_after_any_epoch_changes_nothing_in_the_end(tmp_path: Path, device: str) -> None:
    stops = []

    def stop(model: MLP, history: History) -> None:
        if len(history) not in stops:
            stops.append(len(history))
            raise KeyboardInterrupt

    alone, expected, _ = run_in_parts(tmp_path / "alone", device, lambda: None)
    stopped, history, attempts = run_in_parts(tmp_path / "stopped", device, lambda: None, callbacks=[stop])
    assert stops == [1, 2, 3, 4, 5, 6] and attempts == 6
    assert bits(stopped) == bits(alone)
    assert history.rows == expected.rows


def test_ctrl_c_in_the_middle_of_epochs_changes_nothing_in_the_end(tmp_path: Path, device: str) -> None:
    rng = random.Random(1)

    def maybe() -> None:
        if rng.random() < 0.25:
            raise KeyboardInterrupt

    alone, expected, _ = run_in_parts(tmp_path / "alone", device, lambda: None)
    stopped, history, attempts = run_in_parts(tmp_path / "stopped", device, maybe)
    assert attempts >= 3
    assert bits(stopped) == bits(alone)
    assert history.rows == expected.rows


@pytest.mark.parametrize(
    "make",
    [
        lambda model: SGD(model, 0.1),
        lambda model: SGD(model, 0.1, momentum=0.9, nesterov=True, max_norm=1.0),
        lambda model: Adam(model, 0.01, weight_decay=0.1),
        lambda model: AdamW(model, 0.01),
    ],
    ids=["SGD", "Nesterov", "Adam", "AdamW"],
)
def test_the_optimizers_state_is_resumed(tmp_path: Path, device: str, make: Callable[[MLP], Any]) -> None:
    x, labels = blobs()

    def stop(model: MLP, history: History) -> None:
        if len(history) == 2:
            raise KeyboardInterrupt

    options = {"loss": cross_entropy, "epochs": 4, "batch_size": 16}
    alone, first, second = network(device), network(device), network(device, seed=9)
    history = fit(alone, x, labels, optimizer=make(alone), **options)
    with pytest.raises(KeyboardInterrupt):
        fit(first, x, labels, optimizer=make(first), checkpoint=tmp_path / "run", callbacks=[stop], **options)
    optimizer = make(second)
    resumed = fit(second, x, labels, optimizer=optimizer, checkpoint=tmp_path / "run", resume=True, **options)
    assert bits(second) == bits(alone)
    assert resumed.rows == history.rows
    assert optimizer.t == 4 * 6


def test_a_run_goes_on_from_its_checkpoint_not_from_the_network_it_is_given(tmp_path: Path, device: str) -> None:
    x, labels = blobs()

    def stop(model: MLP, history: History) -> None:
        if len(history) == 2:
            model.theta[...] = 7
            raise KeyboardInterrupt

    alone, model = network(device), network(device)
    options = {"loss": cross_entropy, "epochs": 4, "batch_size": 16, "checkpoint": tmp_path / "run"}
    fit(alone, x, labels, **{**options, "checkpoint": None})
    optimizer = Adam(model)
    with pytest.raises(KeyboardInterrupt):
        fit(model, x, labels, optimizer=optimizer, callbacks=[stop], **options)
    theta = model.theta
    fit(model, x, labels, optimizer=optimizer, resume=True, **options)
    assert bits(model) == bits(alone)
    assert model.theta is theta  # in place: the views stay views


def test_a_run_on_one_device_goes_on_on_another(tmp_path: Path, device: str) -> None:
    x, labels = blobs()

    def stop(model: MLP, history: History) -> None:
        if len(history) == 2:
            raise KeyboardInterrupt

    options = {"loss": cross_entropy, "epochs": 4, "batch_size": 16, "checkpoint": tmp_path / "run"}
    alone, first, second = network("cpu"), network(device), network("cpu")
    fit(alone, x, labels, **{**options, "checkpoint": None})
    with pytest.raises(KeyboardInterrupt):
        fit(first, x, labels, callbacks=[stop], **options)
    others = fast.name(device) != fast.name("cpu")
    with pytest.warns(UserWarning, match="the last bits may differ") if others else nullcontext():
        fit(second, x, labels, resume=True, **options)
    np.testing.assert_allclose(second.theta, alone.theta, rtol=1e-4, atol=1e-6)


def test_resuming_a_finished_run_gives_its_end_without_training(tmp_path: Path, device: str) -> None:
    x, labels = blobs()
    options = {"loss": cross_entropy, "epochs": 3, "checkpoint": tmp_path / "run"}
    first, second, calls = network(device), network(device, seed=9), []
    history = fit(first, x, labels, **options)
    content = (tmp_path / "run").read_bytes()
    callback = lambda model, history: calls.append(history)  # noqa: E731
    again = fit(second, x, labels, resume=True, callbacks=[callback], **options)
    assert bits(second) == bits(first)
    assert (again.rows, again.seconds) == (history.rows, history.seconds)
    assert not calls and (tmp_path / "run").read_bytes() == content


def test_resume_without_a_file_starts_anew(tmp_path: Path, device: str) -> None:
    x, labels = blobs()
    models = [network(device), network(device)]
    fit(models[0], x, labels, loss=cross_entropy, epochs=2)
    fit(models[1], x, labels, loss=cross_entropy, epochs=2, checkpoint=tmp_path / "run", resume=True)
    assert bits(models[0]) == bits(models[1])
    assert bits(MLP.load(tmp_path / "run")) == bits(models[1])


def test_resume_without_a_checkpoint_is_a_value_error() -> None:
    x, labels = blobs()
    model = network()
    with pytest.raises(ValueError, match="resume=True needs checkpoint"):
        fit(model, x, labels, loss=cross_entropy, resume=True)
    assert bits(model) == bits(network())


def test_without_resume_an_old_checkpoint_is_replaced(tmp_path: Path) -> None:
    x, labels = blobs()
    for seed in (1, 2):
        model = network(seed=seed)
        fit(model, x, labels, loss=cross_entropy, epochs=2, seed=seed, checkpoint=tmp_path / "run")
    assert bits(MLP.load(tmp_path / "run")) == bits(model)


def test_the_time_of_resumed_runs_is_added_up(tmp_path: Path) -> None:
    x, labels = blobs()

    def slow(model: MLP, history: History) -> None:
        history.seconds += 1000
        if len(history) == 2:
            raise KeyboardInterrupt

    options = {"loss": cross_entropy, "epochs": 3, "checkpoint": tmp_path / "run"}
    with pytest.raises(KeyboardInterrupt):
        fit(network(), x, labels, callbacks=[slow], **options)
    assert 1000 < fit(network(), x, labels, resume=True, **options).seconds < 1100


# ---- resumed with other settings -------------------------------------------------------------------------------

X, LABELS = blobs(40)


def teach(path: Path, device: str, **changes: Any) -> tuple[MLP, Any, Callable[[], History]]:
    """A distillation run whose settings `changes` can change: student, optimizer, and the call that resumes it."""
    settings = {
        "student": network,
        "optimizer": lambda model: Adam(model, 0.01),
        "teacher": lambda device: network(device, seed=5),
        "x": X,
        "labels": LABELS,
        "epochs": 3,
        "batch_size": 16,
        "schedule": cosine(0.2),
    } | changes
    student = settings.pop("student")(device)
    optimizer = settings.pop("optimizer")(student)
    teacher = settings.pop("teacher")(device)
    options = {"optimizer": optimizer, "checkpoint": path, "resume": True}
    return student, optimizer, partial(distill, student, teacher, **settings, **options)


OTHER_SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "epochs": ({"epochs": 4}, r"epochs \(then 3, now 4\)"),
    "batch_size": ({"batch_size": 8}, r"batch_size \(then 16, now 8\)"),
    "seed": ({"seed": 1}, r"seed \(then 0, now 1\)"),
    "lr": ({"optimizer": lambda model: Adam(model, 0.02)}, r"optimizer \(then .*0\.01.*, now .*0\.02"),
    "betas": ({"optimizer": lambda model: Adam(model, 0.01, betas=(0.8, 0.9))}, r"optimizer \(then .*0\.999.*0\.8"),
    "weight_decay": ({"optimizer": lambda model: Adam(model, 0.01, weight_decay=0.5)}, r"optimizer .*0\.5"),
    "optimizer": ({"optimizer": lambda model: SGD(model, 0.01)}, r"optimizer \(then .*Adam.*, now .*SGD"),
    "Adam, AdamW": ({"optimizer": lambda model: AdamW(model, 0.01, weight_decay=0.0)}, "optimizer .*AdamW"),
    "temperature": ({"temperature": 3.0}, r"functions .*'temperature': 4\.0.*'temperature': 3\.0"),
    "soft_weight": ({"soft_weight": 0.5}, r"functions .*'soft_weight': 0\.9.*'soft_weight': 0\.5"),
    "no labels": ({"labels": None, "soft_weight": 1.0}, "functions"),
    "no schedule": ({"schedule": None}, "schedule|functions"),
    "another schedule": ({"schedule": step_decay()}, "schedule|functions"),
    "the schedule's options": ({"schedule": cosine(0.5)}, "schedule|functions"),
    "sizes": ({"student": lambda device: MLP((4, 13, 3), device=device)}, r"model .*12.*13"),
    "activation": ({"student": lambda device: network(device, activation="tanh")}, "model .*relu.*tanh"),
    "dropout": ({"student": lambda device: network(device, dropout=0.1)}, r"model .*0\.0.*0\.1"),
    "dtype": ({"student": lambda device: network(device, dtype="float64")}, "model .*float32.*float64"),
    "x": ({"x": X + np.float32(1e-6)}, "data"),
    "rows of x": ({"x": X[:-1], "labels": LABELS[:-1]}, "data"),
    "the order of x": ({"x": X[::-1].copy(), "labels": LABELS[::-1].copy()}, "data"),
    "labels": ({"labels": (LABELS + 1) % 3}, "data"),
    "teacher": ({"teacher": lambda device: network(device, seed=6)}, "data"),
    "augment": ({"augment": noise}, "augment|functions|data"),
    "validation": ({"validation": (X, LABELS)}, "validation|data"),
}


@pytest.mark.parametrize(("changes", "named"), OTHER_SETTINGS.values(), ids=list(OTHER_SETTINGS))
def test_another_run_is_not_resumed_and_the_message_names_the_difference(
    tmp_path: Path, device: str, changes: dict[str, Any], named: str
) -> None:
    path = tmp_path / "run.safetensors"
    teach(path, device)[2]()
    content = path.read_bytes()
    student, optimizer, resume = teach(path, device, **changes)
    before = bits(student)
    with pytest.raises(CheckpointError, match=named) as caught:
        resume()
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert bits(student) == before
    state = optimizer.state()
    assert state.pop("t") == 0 and not any(to_numpy(vector).any() for vector in state.values())
    assert path.read_bytes() == content


def test_other_inputs_with_the_same_targets_are_another_run(tmp_path: Path, device: str) -> None:
    options = {"loss": cross_entropy, "epochs": 2, "checkpoint": tmp_path / "run"}
    fit(network(device), X, LABELS, **options)
    x = X.copy()
    x[7, 2] += np.float32(1e-6)
    model = network(device)
    with pytest.raises(CheckpointError, match=r"data \(then"):
        fit(model, x, LABELS, resume=True, **options)
    assert bits(model) == bits(network(device))


def test_another_augmentation_is_another_run(tmp_path: Path) -> None:
    teach(tmp_path / "run", "cpu", augment=noise)[2]()
    with pytest.raises(CheckpointError, match=r"functions|augment"):
        teach(tmp_path / "run", "cpu", augment=lambda x, rng: x)[2]()


def test_the_same_settings_are_resumed_in_the_next_process_too(tmp_path: Path, device: str) -> None:
    teach(tmp_path / "run", device)[2]()
    student, optimizer, resume = teach(tmp_path / "run", device, x=X.astype(float), schedule=cosine(0.2))
    assert len(resume()) == 3
    assert optimizer.t == 9 and bits(student) == bits(MLP.load(tmp_path / "run"))


def test_a_file_without_the_networks_device_in_it_is_resumed_anywhere(tmp_path: Path, device: str) -> None:
    teach(tmp_path / "run", "cpu")[2]()
    assert b"cpu" not in (tmp_path / "run").read_bytes()


# ---- divergence ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("with_validation", [False, True])
def test_a_run_that_diverges_says_where_and_what_to_try(device: str, dtype: str, with_validation: bool) -> None:
    x, labels = blobs()
    model = MLP((4, 30, 30, 30, 3), device=device, dtype=dtype)
    optimizer = SGD(model, 1e10 if dtype == "float32" else 1e200)
    validation = (x, labels) if with_validation else None
    with pytest.raises(DivergedError) as caught:
        fit(model, x, labels, loss=cross_entropy, optimizer=optimizer, epochs=20, batch_size=30, validation=validation)
    message = str(caught.value)
    assert "\n" not in message
    for pattern in (r"epoch \d", r"batch \d of 3", "smaller learning rate", "1e", "checkpoint"):
        assert re.search(pattern, message), (pattern, message)
    assert optimizer.lr in (1e10, 1e200)


@pytest.mark.parametrize("with_validation", [False, True])
def test_the_checkpoint_of_a_run_that_diverges_is_of_its_last_good_epoch(
    tmp_path: Path, device: str, with_validation: bool
) -> None:
    x, labels = blobs(48)
    model, weights, rows = network(device), [], []

    def keep(model: MLP, history: History) -> None:
        weights.append(bits(model))
        rows.append(list(history.rows))

    with pytest.raises(DivergedError, match=r"in epoch 3, batch [23] of 3: .*learning rate \(now 1e\+30\)"):
        fit(
            model,
            x,
            labels,
            loss=cross_entropy,
            optimizer=SGD(model, 1.0),
            epochs=4,
            batch_size=16,
            schedule=lambda progress: 0.1 if progress < 0.5 else 1e30,
            validation=(x, labels) if with_validation else None,
            checkpoint=tmp_path / "run",
            callbacks=[keep],
        )
    assert len(weights) == 2
    loaded = MLP.load(tmp_path / "run")
    assert bits(loaded) == weights[1] and np.isfinite(loaded.theta).all()
    assert json.loads(load_arrays(tmp_path / "run")[1]["training"])["rows"] == rows[1]


@pytest.mark.parametrize(("factor", "with_validation"), [(1e39, False), (1e39, True), (1e34, True)])
def test_weights_that_explode_in_the_last_step_of_an_epoch_are_found_before_they_are_saved(
    tmp_path: Path, device: str, factor: float, with_validation: bool
) -> None:
    # 1e34 leaves the weights finite, but not what they make of the validation data.
    x, labels = blobs(16)
    model = network(device)
    with pytest.raises(DivergedError, match="in epoch 2, batch 1 of 1"):
        fit(
            model,
            x,
            labels,
            loss=cross_entropy,
            optimizer=SGD(model, 1.0),
            epochs=2,
            batch_size=16,
            schedule=lambda progress: 0.1 if progress < 0.5 else factor,
            validation=(x, labels) if with_validation else None,
            checkpoint=tmp_path / "run",
        )
    assert len(json.loads(load_arrays(tmp_path / "run")[1]["training"])["rows"]) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("step", [0, 2, 4])
def test_a_loss_that_is_not_finite_ends_the_run_where_it_happened(device: str, value: float, step: int) -> None:
    x, labels = blobs(30)
    calls = []

    def loss(logits: Any, labels: Any) -> Any:
        calls.append(1)
        result, dlogits = cross_entropy(logits, labels)
        return (value if len(calls) == step + 1 else result), dlogits

    where = rf"in epoch {step // 3 + 1}, batch {step % 3 + 1} of 3: the loss is {value}"
    with pytest.raises(DivergedError, match=where.replace("-", r"\-")):
        fit(network(device), x, labels, loss=loss, batch_size=10)


def test_a_gradient_that_is_not_a_number_ends_the_run(device: str) -> None:
    x, labels = blobs(30)
    with pytest.raises(DivergedError, match="in epoch 1, batch"):
        fit(network(device), x, labels, loss=lambda logits, labels: (1.0, logits * np.nan), epochs=1)


def test_a_message_about_weights_that_diverged_does_not_blame_a_finite_loss() -> None:
    x, labels = blobs(30)
    with pytest.raises(DivergedError) as caught:
        fit(network(), x, labels, loss=lambda logits, labels: (1.5, logits * np.nan), epochs=1, batch_size=30)
    assert "the loss is 1.5" not in str(caught.value)
    assert "weights" in str(caught.value) or "parameters" in str(caught.value)


def test_after_divergence_a_run_can_be_started_again_from_its_checkpoint(tmp_path: Path, device: str) -> None:
    x, labels = blobs(48)
    model = network(device)
    options = {"loss": cross_entropy, "epochs": 4, "batch_size": 16}
    schedule = lambda progress: 0.1 if progress < 0.5 else 1e30  # noqa: E731
    with pytest.raises(DivergedError):
        optimizer = SGD(model, 1.0)
        fit(model, x, labels, optimizer=optimizer, schedule=schedule, checkpoint=tmp_path / "run", **options)
    model = MLP.load(tmp_path / "run", device)
    history = fit(model, x, labels, optimizer=SGD(model, 0.1), **options)
    assert np.isfinite(history["loss"]).all() and np.isfinite(to_numpy(model.theta)).all()


# ---- extreme numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [1e-30, 1e-4, 1.0, 1e4])
def test_training_is_finite_whatever_the_size_of_the_inputs(device: str, dtype: str, scale: float) -> None:
    x, labels = blobs()
    for activation in ("relu", "tanh", "sigmoid", "gelu"):
        model = network(device, activation=activation, dtype=dtype)
        history = fit(model, x * scale, labels, loss=cross_entropy, epochs=2, validation=(x * scale, labels))
        assert np.isfinite([value for row in history.rows for value in row.values()]).all()
        assert np.isfinite(to_numpy(model.theta)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("temperature", [1e-3, 1.0, 20.0, 1e3])
@pytest.mark.parametrize("kind", ["certain", "certain and wrong", "undecided", "tiny", "shifted"])
def test_distilling_is_finite_whatever_the_teacher_says(device: str, dtype: str, temperature: float, kind: str) -> None:
    x, labels = blobs()
    one_hot = np.eye(3)[labels]
    teacher = {
        "certain": 2e4 * one_hot - 1e4,
        "certain and wrong": 1e4 - 2e4 * one_hot,
        "undecided": 0 * one_hot,
        "tiny": 1e-30 * one_hot,
        "shifted": 1e4 + one_hot,
    }[kind]
    student = network(device, dtype=dtype)
    options = {"temperature": temperature, "epochs": 2, "batch_size": 16, "validation": (x, labels)}
    history = distill(student, teacher, x, labels, optimizer=Adam(student, 0.01), **options)
    assert np.isfinite([value for row in history.rows for value in row.values()]).all()
    assert np.isfinite(to_numpy(student.theta)).all()


def test_inputs_too_large_for_the_models_type_are_refused_in_words() -> None:
    x, labels = blobs()
    model = network()
    with pytest.raises((ValueError, DivergedError), match=r"x must be finite|x .*float32|training diverged"):
        fit(model, x.astype(float) * 1e300, labels, loss=cross_entropy, epochs=1)
    assert bits(model) == bits(network())
