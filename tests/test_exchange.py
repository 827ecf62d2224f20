"""Teachers and students of other frameworks: the real PyTorch, Keras and ONNX Runtime say the same as minikd."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import fuzz
import numpy as np
import pytest
from helpers import assert_close, import_torch, sample, some_labels
from safetensors.numpy import save_file

from minikd import MLP, CheckpointError, cross_entropy, distill, evaluate, fit, load_data, softmax
from minikd.backend import to_device
from minikd.cli import distill as command
from minikd.cli.main import main
from minikd.exchange import Answers, from_probabilities, onnx_file, read_teacher
from minikd.exchange.cost import multiply_adds
from minikd.exchange.export import export
from minikd.experiments.summary import cells
from minikd.report import html as report
from minikd.scale.stream import Stream

pytestmark = pytest.mark.extras

ROOT = Path(__file__).parents[1]
X = np.random.default_rng(5).standard_normal((2500, 64)).astype("float32")
ACTIVATIONS = ["relu", "tanh", "sigmoid", "gelu"]


def import_onnx() -> Any:
    """The package onnx; the test is skipped where it or ONNX Runtime is not installed."""
    pytest.importorskip("onnxruntime", reason="pip install 'minikd[onnx]'")
    return pytest.importorskip("onnx", reason="pip install 'minikd[onnx]'")


def import_keras() -> Any:
    import_torch()
    os.environ.setdefault("KERAS_BACKEND", "torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("keras", reason="pip install keras")


def torch_network(activation: str = "relu", sizes: tuple[int, ...] = (64, 12, 9, 10)) -> Any:
    torch = import_torch()
    torch.manual_seed(1)
    act = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "sigmoid": torch.nn.Sigmoid, "gelu": torch.nn.GELU}[activation]
    layers: list[Any] = []
    for n, m in pairwise(sizes):
        layers += [torch.nn.Linear(n, m), act()]
    return torch.nn.Sequential(*layers[:-1])


def said(net: Any, x: np.ndarray = X) -> np.ndarray:
    """What a PyTorch network says of x."""
    return np.asarray(net(import_torch().tensor(x)).detach().numpy())


def state(path: Path, **tensors: Any) -> Path:
    """A safetensors file of arrays, names with __ for a dot."""
    save_file({name.replace("__", "."): np.ascontiguousarray(a, np.float32) for name, a in tensors.items()}, path)
    return path


@pytest.fixture(scope="module")
def logits_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Logits on the training digits, from a network that nobody has."""
    path, data, model = (
        tmp_path_factory.mktemp("answers") / "logits.npy",
        load_data("digits"),
        MLP((64, 16, 10), seed=3),
    )
    fit(model, data.x_train, data.y_train, loss=cross_entropy)
    np.save(path, model.predict(data.x_train))
    return path


# ---- teachers in -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_state_dict_of_pytorch_becomes_a_network_with_the_same_logits(activation: str, tmp_path: Path) -> None:
    net = torch_network(activation)
    from safetensors.torch import save_file as save

    save(net.state_dict(), tmp_path / "t.safetensors")
    teacher = read_teacher(tmp_path / "t.safetensors", activation=activation)
    assert isinstance(teacher, MLP) and teacher.sizes == (64, 12, 9, 10)
    assert_close(teacher.predict(X), said(net), 1e-5)


def test_layers_of_pytorch_in_bfloat16_and_float64_are_read(tmp_path: Path) -> None:
    torch, net = import_torch(), torch_network()
    from safetensors.torch import save_file as save

    for name, dtype in (("bf16", torch.bfloat16), ("f64", torch.float64)):
        net = net.to(dtype)
        save(net.state_dict(), tmp_path / f"{name}.safetensors")
        teacher = read_teacher(tmp_path / f"{name}.safetensors", activation="relu")
        assert teacher.dtype == ("float64" if name == "f64" else "float32")  # type: ignore[union-attr]
        assert_close(teacher.predict(X), said(net.to(torch.float32)), 1e-5)  # type: ignore[union-attr]


def test_layers_are_ordered_by_numbers_and_sizes_and_not_as_text(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    model = MLP((4, *[3] * 11, 2), seed=2)
    tensors: dict[str, Any] = {}
    for i in rng.permutation(12):
        name = "head" if i == 11 else f"fc{i}"  # as text, fc10 comes before fc2
        tensors |= {f"{name}__weight": model.weights[i].T, f"{name}__bias": model.biases[i]}
    teacher = read_teacher(state(tmp_path / "t.safetensors", **tensors), activation="relu")
    assert isinstance(teacher, MLP)
    assert teacher.theta.tobytes() == model.theta.tobytes()


W1, W2 = np.ones((5, 4)), np.ones((3, 5))
GOOD = {"a__weight": W1, "a__bias": np.ones(5), "b__weight": W2, "b__bias": np.ones(3)}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a convolution": ({"conv__weight": np.ones((8, 1, 3, 3)), "conv__bias": np.ones(8)}, "'conv'.*convolution"),
    "a batch normalisation": ({"bn__running_mean": np.ones(5)}, "'bn.running_mean'.*batch normalisation"),
    "a layer normalisation": ({"ln__weight": np.ones(5), "ln__bias": np.ones(5)}, "'ln'.*normalisation"),
    "a recurrent layer": ({"rnn__weight_ih_l0": np.ones((5, 4))}, "'rnn.weight_ih_l0'.*recurrent"),
    "a missing bias": ({"c__weight": np.ones((2, 3))}, r"'c' has no bias.*\(2,\)"),
    "a missing weight": ({"c__bias": np.ones(2)}, "'c' has a bias but no weight"),
    "a bias of another size": ({"b__bias": np.ones(4)}, r"'b' has a bias of shape \(4,\).*\(3,\)"),
    "layers that do not chain": ({"c__weight": np.ones((2, 7)), "c__bias": np.ones(2)}, "'c' takes 7.*'b' gives 3"),
    "NaN": ({"b__bias": np.full(3, np.nan)}, "'b.bias' holds NaN"),
    "two orders": (
        {"c__weight": np.eye(3), "c__bias": np.ones(3), "d__weight": np.eye(3), "d__bias": np.ones(3)},
        "order of the layers 'a', 'b', 'c', 'd' is not clear",
    ),
}


@pytest.mark.parametrize(("more", "words"), BAD.values(), ids=BAD)
def test_what_is_no_mlp_is_refused_by_the_name_of_its_layer(more: dict[str, Any], words: str, tmp_path: Path) -> None:
    assert isinstance(read_teacher(state(tmp_path / "good.safetensors", **GOOD), activation="relu"), MLP)
    with pytest.raises(CheckpointError, match=words) as caught:
        read_teacher(state(tmp_path / "t.safetensors", **{**GOOD, **more}), activation="relu")
    assert "t.safetensors" in str(caught.value)


def test_whole_numbers_are_refused_by_the_name_of_their_layer(tmp_path: Path) -> None:
    save_file({"a.weight": np.ones((2, 2), np.int64)}, tmp_path / "t.safetensors")
    with pytest.raises(CheckpointError, match=r"'a.weight' holds I64"):
        read_teacher(tmp_path / "t.safetensors")


def test_the_activation_is_asked_for_and_must_not_contradict_the_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"does not tell which activation.*--activation"):
        read_teacher(state(tmp_path / "t.safetensors", **GOOD))
    one = state(tmp_path / "one.safetensors", a__weight=W1, a__bias=np.ones(5))
    assert isinstance(read_teacher(one), MLP)  # one layer has none
    MLP((4, 5, 3), activation="tanh").save(tmp_path / "own.safetensors")
    export(MLP((4, 5, 3), activation="tanh"), tmp_path / "out.safetensors", "pytorch")
    for name in ("own", "out"):
        assert read_teacher(tmp_path / f"{name}.safetensors").activation == "tanh"  # type: ignore[union-attr]
        with pytest.raises(CheckpointError, match="notes the activation tanh, but activation relu"):
            read_teacher(tmp_path / f"{name}.safetensors", activation="relu")


@pytest.fixture(scope="module")
def torch_onnx(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A convolutional network of PyTorch, and what torch.onnx.export made of it, weights in a file beside."""
    import_onnx()
    pytest.importorskip("onnxscript", reason="torch.onnx.export needs onnxscript")
    torch, path = import_torch(), tmp_path_factory.mktemp("onnx") / "cnn.onnx"
    torch.manual_seed(0)
    head = torch.nn.Linear(4 * 8 * 8, 10)
    conv = torch.nn.Conv2d(1, 4, 3, padding=1)
    net = torch.nn.Sequential(torch.nn.Unflatten(1, (1, 8, 8)), conv, torch.nn.ReLU(), torch.nn.Flatten(), head).eval()
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (torch.tensor(X[:2]),), path, dynamic_shapes=[{0: "batch"}], verbose=False)
    return net, path


def test_a_convolutional_network_of_pytorch_teaches_as_onnx(torch_onnx: tuple[Any, Path], tmp_path: Path) -> None:
    net, path = torch_onnx
    teacher = read_teacher(path)
    assert isinstance(teacher, onnx_file.OnnxNetwork) and (teacher.inputs, teacher.classes) == (64, 10)
    assert_close(teacher.predict(X), said(net), 1e-5)
    assert teacher.num_params == 4 * 9 + 4 + 256 * 10 + 10
    assert teacher.multiply_adds == 64 * 4 * 9 + 2560
    teacher.save(tmp_path / "alone.onnx")  # without the file of weights beside it
    assert_close(read_teacher(tmp_path / "alone.onnx").predict(X), said(net), 1e-5)
    student, same, y = MLP((64, 10)), MLP((64, 10)), teacher.predict(X).argmax(axis=1)
    distill(student, read_teacher(path), X, y, epochs=1, progress=False)
    distill(same, teacher.predict(X), X, y, epochs=1, progress=False)
    assert student.theta.tobytes() == same.theta.tobytes()


def test_a_network_of_keras_teaches_as_function_as_onnx_and_as_answers(tmp_path: Path) -> None:
    keras = import_keras()
    import_onnx()
    layers = keras.layers
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        net = keras.Sequential([layers.Input((64,)), layers.Dense(12, activation="relu"), layers.Dense(10)])
        logits = net.predict(X, verbose=0)
        net.export(tmp_path / "keras.onnx", format="onnx", verbose=False)
        y = np.arange(len(X)) % 10
        ours = MLP((64, 10))
        distill(ours, lambda x: net.predict(x, verbose=0), X, y, epochs=1, progress=False)
    assert_close(read_teacher(tmp_path / "keras.onnx").predict(X), logits, 1e-5)
    np.save(tmp_path / "keras.npy", logits)
    student = MLP((64, 10))
    distill(student, Stream(read_teacher(tmp_path / "keras.npy").logits), X, y, epochs=1, progress=False)
    assert student.theta.tobytes() == ours.theta.tobytes()


def graph(path: Path, batch: Any = "n", last: str | None = None, inputs: int = 1, kind: int = 1) -> np.ndarray:
    """An ONNX file of one affine layer, and its weights (64, 10)."""
    onnx = import_onnx()
    make, W = onnx.helper, np.random.default_rng(0).standard_normal((64, 10)).astype(np.float32)
    dtype = make.tensor_dtype_to_np_dtype(kind)
    nodes = [make.make_node("MatMul", ["x0", "W"], ["z" if last else "out"])]
    nodes += [make.make_node(last, ["z"], ["out"], name="end")] if last else []
    values = [make.make_tensor_value_info(f"x{i}", kind, [batch, 64]) for i in range(inputs)]
    out = make.make_tensor_value_info("out", kind, [batch, 10])
    made = make.make_graph(nodes, "g", values, [out], [onnx.numpy_helper.from_array(W.astype(dtype), "W")])
    onnx.save(make.make_model(made, opset_imports=[make.make_opsetid("", 17)], ir_version=8), path)
    return W


@pytest.mark.parametrize(("batch", "kind"), [("n", 1), (7, 1), (1, 1), ("n", 11)])
def test_an_onnx_file_runs_in_pieces_whatever_batch_it_fixes_and_in_its_own_type(
    batch: Any, kind: int, tmp_path: Path
) -> None:
    W = graph(tmp_path / "t.onnx", batch, kind=kind)
    assert_close(read_teacher(tmp_path / "t.onnx").predict(X).astype(np.float64), (X @ W).astype(np.float64), 2e-5)


def test_onnx_files_that_cannot_teach_are_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "t.onnx"
    for options, words in (
        ({"last": "Softmax"}, "ends with Softmax.*'end'.*logits"),
        ({"inputs": 2}, "inputs x0, x1; wanted one"),
    ):
        graph(path, **options)  # type: ignore[arg-type]
        with pytest.raises(CheckpointError, match=words):
            read_teacher(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"t\.onnx"):
        read_teacher(path)


def test_without_onnx_runtime_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.onnx").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(CheckpointError, match=r"pip install 'minikd\[onnx\]'"):
        read_teacher(tmp_path / "t.onnx")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.ones(5), r"shape \(5,\), wanted logits"),
        (np.array([["a"]]), "wanted logits"),
        (np.where(np.arange(12).reshape(4, 3) == 7, np.nan, 1.0), "nan in row 2, column 1"),
        (np.full((4, 5), 0.2), r"sum to 1; wanted logits.*numpy\.log"),
    ],
)
def test_answers_that_are_no_logits_are_refused(array: np.ndarray, words: str, tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", array)
    with pytest.raises(CheckpointError, match=words):
        read_teacher(tmp_path / "t.npy")


def test_answers_are_mapped_and_not_loaded(logits_file: Path) -> None:
    answers = read_teacher(logits_file)
    assert isinstance(answers, Answers) and isinstance(answers.logits, np.memmap)


@pytest.mark.parametrize(("name", "words"), [("t.pth", "save_file"), ("t.keras", "model.export"), ("t.npz", "np")])
def test_files_of_other_kinds_are_refused_with_what_to_do(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(CheckpointError, match=words):
        read_teacher(tmp_path / name)


# ---- a run with a given teacher ----------------------------------------------------------------------------------

QUICK = ("--epochs", "1", "--seeds", "1", "--student", "4", "-q")


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the command complains of, in one line and with exit code 2."""
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    printed = capsys.readouterr()
    assert exit.value.code == 2 and printed.err.count("\n") == 1 and not printed.out
    return printed.err


@pytest.mark.slow
def test_a_run_taught_by_a_file_of_logits_says_honestly_that_its_teacher_was_not_tested(
    logits_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, folder = tmp_path / "mine.npy", tmp_path / "run"
    shutil.copy(logits_file, own)
    main(["distill", "--teacher-from", str(own), *QUICK, "--out", str(folder)])
    printed = capsys.readouterr().out
    assert "teacher answers in a file" in printed and re.search(r"^teacher( +-){7}$", printed, re.MULTILINE)
    assert re.search(
        r"^distilled .* - +[\d,]+ +[\d.]+$", printed, re.MULTILINE
    )  # no agreement with an untested teacher
    assert json.loads((folder / "teacher-0.json").read_text())["shape"] == list(np.load(own).shape)
    monkeypatch.setattr(command, "_draw", lambda *of: None)  # once is enough
    before = (folder / "distilled-0.safetensors").read_bytes()
    main(["distill", "--resume", "--out", str(folder), "-q"])
    assert (folder / "distilled-0.safetensors").read_bytes() == before
    (folder / "report.html").unlink()
    main(["explore", "--no-open", str(folder)])
    page = (folder / "report.html").read_text()
    assert f"answers in a file, {len(np.load(own)):,} samples" in page
    assert "<script" not in page and page.count("</section>") == 3 and "Explorer" not in page
    np.save(own, np.load(own) + 1)
    capsys.readouterr()
    words = refused(["distill", "--resume", "--out", str(folder), "-q"], capsys)
    assert "has changed since the run" in words
    assert (folder / "distilled-0.safetensors").read_bytes() == before


def test_a_run_taught_by_onnx_keeps_a_copy_that_report_and_resume_need_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import_onnx()
    model, own, folder = MLP((64, 16, 10), seed=3), tmp_path / "mine.onnx", tmp_path / "run"
    export(model, own, "onnx")
    with monkeypatch.context() as patch:
        patch.setattr(command, "_draw", lambda *of: None)  # what is resumed draws
        main(["distill", "--teacher-from", str(own), *QUICK, "--out", str(folder)])
    own.unlink()
    main(["distill", "--resume", "--out", str(folder), "-q"])
    data = load_data("digits")
    done = report.finished(folder, report.Config.read(folder), data)
    assert done[0].scores == pytest.approx(evaluate(model, data.x_test, data.y_test), abs=1e-6)
    assert cells(done)[1][-2] == f"{model.num_params:,}"
    assert "ONNX network, 1,210 parameters; trained before" in (folder / "report.html").read_text()


def test_a_run_taught_by_pytorch_asks_for_the_activation_and_keeps_a_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, own, folder = MLP((64, 16, 10), seed=3, activation="tanh"), tmp_path / "t.safetensors", tmp_path / "run"
    parts = {f"{i}__{n}": a for i in (0, 1) for n, a in (("weight", model.weights[i].T), ("bias", model.biases[i]))}
    state(own, **parts)
    assert "--activation" in refused(["distill", "--teacher-from", str(own), *QUICK, "--out", str(folder)], capsys)
    assert not folder.exists()
    given = ["--teacher-from", str(own), "--activation", "tanh"]
    monkeypatch.setattr(command, "_draw", lambda *of: None)  # the pictures are another test's
    main(["distill", *given, *QUICK, "--out", str(folder)])
    assert MLP.load(folder / "teacher-0.safetensors").theta.tobytes() == model.theta.tobytes()
    capsys.readouterr()
    words = refused(["distill", "--activation", "tanh", "--out", str(tmp_path / "other")], capsys)
    assert "--activation belongs to --teacher-from" in words


def test_answers_that_do_not_fit_the_data_or_the_method_are_refused_before_anything_is_written(
    logits_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "short.npy", np.load(logits_file)[1:])
    np.save(tmp_path / "narrow.npy", np.load(logits_file)[:, :9])
    folder = str(tmp_path / "run")
    for name in ("short", "narrow"):
        words = refused(["distill", "--teacher-from", str(tmp_path / f"{name}.npy"), "--out", folder], capsys)
        assert str(np.load(logits_file).shape) in words and f"{name}.npy holds logits of shape" in words
    words = refused(["distill", "--teacher-from", str(logits_file), "--method", "fitnets", "--out", folder], capsys)
    assert "fitnets looks at the layers" in words and not Path(folder).exists()


@pytest.mark.parametrize("how", ["rows permuted", "columns rolled", "columns sorted"])
def test_answers_in_another_order_are_refused_and_a_flag_overrules_it(
    how: str, logits_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logits, rng = np.load(logits_file), np.random.default_rng(0)
    changed = {
        "rows permuted": lambda: logits[rng.permutation(len(logits))],
        "columns rolled": lambda: np.roll(logits, 1, axis=1),
        "columns sorted": lambda: np.sort(logits, axis=1),
    }
    path, folder = tmp_path / "l.npy", tmp_path / "run"
    np.save(path, changed[how]())
    words = refused(["distill", "--teacher-from", str(path), *QUICK, "--out", str(folder)], capsys)
    assert f"{path} agrees with the training labels of digits no more than chance does" in words
    assert "--trust-teacher" in words and not folder.exists()
    monkeypatch.setattr(command, "_draw", lambda *of: None)
    main(["distill", "--teacher-from", str(path), "--trust-teacher", *QUICK, "--out", str(folder)])
    main(["distill", "--resume", "--out", str(folder), "-q"])  # it is remembered


def test_a_flag_to_trust_a_teacher_wants_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = refused(["distill", "--trust-teacher", "--out", str(tmp_path / "run")], capsys)
    assert "--trust-teacher belongs to --teacher-from, and none was given" in words


def teach(teacher: Any, labels: np.ndarray, rows: int = 1500) -> list[str]:
    """The warnings of a student's training by `teacher` on so many random samples of four classes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        distill(MLP((64, 4)), teacher, X[:rows], labels, epochs=1)
    return [str(w.message) for w in caught]


def test_an_array_of_answers_is_compared_with_the_labels_and_a_network_is_not() -> None:
    labels = np.random.default_rng(1).integers(0, 4, 1500)
    weak = np.where(np.random.default_rng(2).random(1500) < 0.2, labels, np.random.default_rng(3).integers(0, 4, 1500))
    teacher = 3 * np.eye(4)[weak] + 0.1 * sample(1500, 4)  # right in 40 of 100 cases, chance being 25
    assert teach(teacher, labels) == []
    for wrong in (teacher[::-1].copy(), np.roll(np.eye(4)[labels] * 5 + 0.1, 1, axis=1)):
        (words,) = teach(wrong, labels)
        assert "the largest logit of teacher agrees with the labels no more than chance does" in words
        assert teach(lambda x, wrong=wrong: wrong, labels) == []
    assert teach(MLP((64, 4), seed=9), labels) == []


def test_answers_of_one_class_that_nearly_all_samples_have_are_chance_and_a_right_guess_of_the_rare_is_not() -> None:
    labels = np.arange(1500) % 50 == 0
    assert len(teach(np.eye(4)[np.zeros(1500, int)] * 5 + 0.1, labels.astype(int))) == 1  # right in 98 % of cases
    assert teach(np.eye(4)[(labels & (np.arange(1500) % 100 == 0)).astype(int)] * 5 + 0.1, labels.astype(int)) == []


# ---- files that are not what they seem ---------------------------------------------------------------------------

DISGUISED = {
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
    "an HTML page": (b"\n<!DOCTYPE html><html><title>404</title></html>", "a page of the web"),
    "torch.save": (b"PK\x03\x04\x00\x00\x08\x08\x00\x00archive/data.pkl", "a zip archive, as torch.save"),
    "an old torch.save": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "a pickle, which can run code"),
    "a pickle": (b"\x80\x05\x95\x0c\x00\x00\x00\x00\x00\x00\x00}\x94", "a pickle, which can run code"),
    "HDF5": (b"\x89HDF\r\n\x1a\n\x00\x00\x00", "an HDF5 file"),
}


@pytest.mark.parametrize("suffix", [".safetensors", ".npy", ".onnx"])
@pytest.mark.parametrize("kind", DISGUISED)
def test_the_first_bytes_tell_what_a_file_is_and_so_does_the_message(kind: str, suffix: str, tmp_path: Path) -> None:
    if suffix == ".onnx":
        import_onnx()
    content, words = DISGUISED[kind]
    path = tmp_path / f"teacher{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_teacher(path)
    assert str(caught.value).startswith(f"{path} is ") and words in str(caught.value)
    assert "unsafe" not in str(caught.value)


def test_formats_whose_names_were_mixed_up_are_told_apart(tmp_path: Path, logits_file: Path) -> None:
    shutil.copy(logits_file, tmp_path / "l.safetensors")
    MLP((64, 10)).save(tmp_path / "m.safetensors")
    shutil.copy(tmp_path / "m.safetensors", tmp_path / "m.npy")
    for name, suffix in (("l.safetensors", ".npy"), ("m.npy", ".safetensors")):
        with pytest.raises(CheckpointError, match=rf"{name} is a .*: give it the suffix \{suffix}"):
            read_teacher(tmp_path / name)


def test_a_network_that_is_loaded_directly_shows_how_a_disguised_file_begins(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(DISGUISED["a Git LFS pointer"][0])
    with pytest.raises(CheckpointError, match=r"it begins with b'version https://git-lfs"):
        MLP.load(tmp_path / "m.safetensors")


def test_numpys_own_advice_to_load_a_pickle_is_not_passed_on(tmp_path: Path) -> None:
    np.save(tmp_path / "o.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(CheckpointError, match=r"o\.npy is not a whole \.npy file of numbers: .*Python objects"):
        read_teacher(tmp_path / "o.npy")


def test_a_header_that_is_no_python_is_refused_like_any_other_damage(logits_file: Path, tmp_path: Path) -> None:
    content = logits_file.read_bytes()
    for bad in (
        b"(" * 40,
        b"9" * 60,
        b"\x00" * 20,
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (9**9**9,)",
        b"'" * 3,
    ):
        (tmp_path / "l.npy").write_bytes(content[:10] + bad + content[10 + len(bad) :])
        with pytest.raises(CheckpointError, match=r"l\.npy (is not a whole|holds)"):
            read_teacher(tmp_path / "l.npy")


def test_a_long_reason_of_onnx_runtime_keeps_its_end() -> None:
    words = onnx_file._line(RuntimeError("begins " + 400 * "x y " + "Opset 99 is under development"))
    assert words.startswith("begins") and words.endswith("Opset 99 is under development") and len(words) <= 503


@pytest.mark.slow
def test_damaged_files_of_every_kind_are_refused_in_words(tmp_path: Path) -> None:
    fuzz.make_all(tmp_path)
    kinds = [kind for kind in fuzz.READERS if (tmp_path / kind).exists()]
    assert len(kinds) == len(fuzz.READERS) and fuzz.fuzz(tmp_path, kinds, rounds=6, seed=1) == []


# ---- students out ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_exported_network_says_the_same_in_onnx_runtime_and_in_pytorch(
    activation: str, dtype: str, tmp_path: Path
) -> None:
    import_onnx()
    import onnxruntime

    model = MLP((64, 12, 9, 10), activation=activation, dtype=dtype, seed=4)
    wanted, x = model.predict(X), X.astype(dtype)
    export(model, tmp_path / "s.onnx", "onnx")
    session = onnxruntime.InferenceSession(tmp_path / "s.onnx", providers=["CPUExecutionProvider"])
    for rows in (1, 300):  # the batch is free
        assert_close(session.run(["logits"], {"x": x[:rows]})[0], wanted[:rows], 1e-5)
    assert read_teacher(tmp_path / "s.onnx").multiply_adds == multiply_adds(model) == 64 * 12 + 12 * 9 + 9 * 10
    assert read_teacher(tmp_path / "s.onnx").num_params == model.num_params

    net = torch_network(activation).to(getattr(import_torch(), dtype))
    from safetensors.torch import load_file

    export(model, tmp_path / "s.safetensors", "pytorch")
    net.load_state_dict(load_file(tmp_path / "s.safetensors"))
    assert_close(said(net, x), wanted, 1e-5)
    back = read_teacher(tmp_path / "s.safetensors")
    assert isinstance(back, MLP) and back.metadata() == model.metadata()
    assert back.theta.tobytes() == model.theta.tobytes()


def test_arrays_in_an_npz_are_plain_and_named(tmp_path: Path) -> None:
    model = MLP((64, 12, 10), activation="tanh", seed=4)
    export(model, tmp_path / "s.npz", "npz")
    with np.load(tmp_path / "s.npz", allow_pickle=False) as file:
        assert set(file) == {"W1", "b1", "W2", "b2", "metadata"}
        assert json.loads(str(file["metadata"]))["activation"] == "tanh"
        logits = np.tanh(X @ file["W1"] + file["b1"]) @ file["W2"] + file["b2"]
    assert_close(model.predict(X), logits, 1e-5)


def test_a_file_that_onnx_runtime_does_not_confirm_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import_onnx()
    (tmp_path / "s.onnx").write_bytes(b"what was there before")
    model, right = MLP((64, 12, 10), activation="gelu"), onnx_file._proto

    def wrong(model: MLP, onnx: Any) -> Any:
        model = MLP.from_arrays({"theta": model.theta * 1.001}, model.metadata(), "cpu", "a copy")
        return right(model, onnx)

    monkeypatch.setattr(onnx_file, "_proto", wrong)
    with pytest.raises(CheckpointError, match="is not written: ONNX Runtime's logits differ"):
        export(model, tmp_path / "s.onnx", "onnx")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"what was there before"]


def test_the_command_exports_beside_the_network_and_refuses_what_it_cannot(
    tmp_path: Path, logits_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import_onnx()
    MLP((64, 12, 10)).save(tmp_path / "s.safetensors")
    for to, name in (("onnx", "s.onnx"), ("pytorch", "s.pytorch.safetensors"), ("npz", "s.npz")):
        main(["export", str(tmp_path / "s.safetensors"), "--to", to])
        assert (tmp_path / name).exists() and name in capsys.readouterr().out
    assert "no MLP" in refused(["export", str(tmp_path / "s.onnx"), "--to", "npz"], capsys)
    own = str(tmp_path / "s.safetensors")
    assert "network itself" in refused(["export", own, "--to", "pytorch", "--out", own], capsys)
    gone = str(tmp_path / "no" / "s.npz")
    assert "cannot write" in refused(["export", own, "--to", "npz", "--out", gone], capsys)
    assert "training samples" in refused(["evaluate", str(logits_file), "--data", "digits"], capsys)


def test_evaluate_sets_what_teacher_and_student_cost_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import_onnx()
    student = MLP((64, 8, 10))
    export(MLP((64, 512, 512, 10), seed=1), tmp_path / "t.onnx", "onnx")
    export(student, tmp_path / "s.safetensors", "pytorch")
    files = ["evaluate", str(tmp_path / "s.safetensors"), "--teacher", str(tmp_path / "t.onnx")]
    main([*files, "--data", "digits"])
    printed = capsys.readouterr().out
    rows = {line[:22].strip(): line[22:].split() for line in printed.split("\n\n")[1].splitlines()[1:]}
    assert rows["parameters"] == ["301,066", "610", "493.55"]
    assert rows["multiply-adds a sample"] == ["300,032", "592", "506.81"]
    assert rows["bytes"][:2] == [f"{(tmp_path / 't.onnx').stat().st_size:,}", f"{4 * 610:,}"]
    teacher, ours, ratio = (float(text.replace(",", "")) for text in rows["µs a batch of 256"])
    assert 0 < ours < teacher and ratio > 1  # five hundred times the work
    assert len(rows["µs a batch of 1"]) == 3
    data = load_data("digits")
    assert f"accuracy   {evaluate(student, data.x_test, data.y_test).accuracy:8.4f}" in printed


# ---- the examples ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pytorch", "keras"])
def test_the_example_in_docs_runs_and_its_student_learns(name: str, tmp_path: Path) -> None:
    import_torch()
    if name == "keras":
        import_keras()
    found = re.search(rf"<!-- {name} -->\n```python\n(.*?)```", (ROOT / "docs/exchange.md").read_text(), re.DOTALL)
    assert found
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", found[1]]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, env=environment)
    assert result.returncode == 0, result.stderr
    teacher, student = (float(line.split()[1]) for line in result.stdout.splitlines())
    assert teacher > 0.9 and student > 0.8
    made = {"pytorch": {"teacher.safetensors", "student.safetensors"}, "keras": {"logits.npy"}}[name]
    assert {p.name for p in tmp_path.iterdir()} == made


# ---- teachers that answer with probabilities --------------------------------------------------------------------


def test_logarithms_of_probabilities_teach_as_the_logits_do(device: str) -> None:
    x = to_device(sample(30, 5).astype("float32"), device)
    teacher = MLP((5, 8, 3), seed=1, device=device)
    students = [MLP((5, 4, 3), seed=2, device=device) for _ in range(3)]
    probabilities = softmax(teacher.predict(x))
    by_function = from_probabilities(lambda rows: softmax(teacher.predict(rows)))
    for student, answers in zip(students, (teacher, by_function, from_probabilities(probabilities)), strict=True):
        distill(student, answers, x, None, soft_weight=1.0, epochs=2, progress=False)
    for student in students[1:]:
        assert_close(student.theta, students[0].theta, 1e-5)


def test_a_probability_of_0_becomes_a_finite_logit() -> None:
    logits = from_probabilities(np.array([[1.0, 0.0], [0.25, 0.75]]), smallest=1e-6)
    assert_close(logits, np.log([[1.0, 1e-6], [0.25, 0.75]]))


@pytest.mark.parametrize(
    ("teacher", "error", "message"),
    [
        (
            np.array([[0.5, 0.6]]),
            ValueError,
            "the teacher's probabilities must be probabilities, got row 0 with sum 1.1",
        ),
        (np.array([[1.5, -0.5]]), ValueError, "minimum -0.5"),
        (3, TypeError, r"teacher must be a function x -> probabilities or an array of them, got 3"),
    ],
)
def test_what_is_no_probability_is_refused(teacher: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        from_probabilities(teacher)


def test_a_run_is_resumed_with_the_same_probabilities_only(tmp_path: Path) -> None:
    x, how = sample(20, 5).astype("float32"), {"soft_weight": 1.0, "progress": False, "resume": True}
    how |= {"augment": lambda rows, rng: rows, "checkpoint": tmp_path / "run.safetensors"}
    for epochs, smallest in ((1, 1e-12), (2, 1e-12)):
        student = MLP((5, 4, 3), seed=2)
        distill(student, from_probabilities(first_three, smallest), x, None, epochs=epochs, **how)
    with pytest.raises(CheckpointError, match="belongs to another run"):
        distill(student, from_probabilities(first_three, 1e-6), x, None, epochs=3, **how)


def first_three(rows: Any) -> Any:
    return softmax(rows[:, :3])


@pytest.mark.parametrize("after", ["Identity", "Cast", "Reshape"])
def test_an_onnx_network_that_hides_its_softmax_is_found_out_when_it_teaches(after: str, tmp_path: Path) -> None:
    onnx = import_onnx()
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    extra = {"Cast": {"to": floats}}.get(after, {})
    inputs = ["p", "shape"] if after == "Reshape" else ["p"]
    nodes = [helper.make_node("Softmax", ["x"], ["p"]), helper.make_node(after, inputs, ["logits"], **extra)]
    shape = [onnx.numpy_helper.from_array(np.array([-1, 4]), "shape")] if after == "Reshape" else []
    ends = [helper.make_tensor_value_info(name, floats, ["N", 4]) for name in ("x", "logits")]
    graph = helper.make_graph(nodes, "hidden", ends[:1], ends[1:], shape)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "hidden.onnx")
    teacher = read_teacher(tmp_path / "hidden.onnx")
    with pytest.raises(ValueError, match="must be logits, got probabilities"):
        distill(MLP((4, 3, 4)), teacher.predict, sample(20, 4).astype("float32"), some_labels(20, 4), progress=False)
