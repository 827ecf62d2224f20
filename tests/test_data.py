"""The data sets are what they say: counts, shapes, ranges, parts that share nothing, and something to learn in each."""

from __future__ import annotations

import io
import subprocess
import sys
import tracemalloc
import zipfile
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minikd.data import DATASETS, Data, digits, fetch, few, fsdd, load_data, mnist, udhr
from minikd.errors import DataError

pytestmark = pytest.mark.extras

ROOT = Path(__file__).resolve().parents[1]

# name: rows of train, val and test; columns; classes; test accuracy of the nearest class mean
FACTS = {
    "digits": ((899, 362, 536), 64, 10, 0.905),
    "mnist": ((50000, 10000, 10000), 784, 10, 0.820),
    "fsdd": ((2400, 300, 300), 1024, 10, 0.477),
    "udhr": ((15043, 1936, 1484), 1024, 26, 0.780),
    "words": ((209219, 64171, 65305), 162, 27, 0.155),
}
INSIDE = {"digits": "digits.npz", "words": "words.txt.gz"}  # the package


@cache
def loaded(name: str) -> Data:
    return load_data(name)


@pytest.fixture(params=list(FACTS))
def name(request: pytest.FixtureRequest) -> str:
    """The name of a data set whose files are there."""
    if DATASETS[request.param].files:
        request.getfixturevalue("data_dir")
    return str(request.param)


def parts_of(data: Data) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    return [(data.x_train, data.y_train), (data.x_val, data.y_val), (data.x_test, data.y_test)]


def rows_as_bytes(x: NDArray[np.float32]) -> set[bytes]:
    return {row.tobytes() for row in x}


def test_every_data_set_has_its_facts_checked_here() -> None:
    assert set(FACTS) == set(DATASETS)


def test_shapes_types_and_counts_are_as_promised(name: str) -> None:
    data, (rows, columns, classes, _) = loaded(name), FACTS[name]
    assert Data._fields[:6] == ("x_train", "y_train", "x_val", "y_val", "x_test", "y_test")
    for (x, y), n in zip(parts_of(data), rows, strict=True):
        assert x.dtype == np.float32 and x.shape == (n, columns)
        some = x[::9] if name == "words" else x  # a Source, see test_words.py
        assert some.dtype == np.float32 and some.flags.c_contiguous
        assert y.dtype == np.int64 and y.shape == (n,)
        assert np.isfinite(some).all()
        assert set(y.tolist()) == set(range(classes))
    assert len(data.class_names) == len(set(data.class_names)) == classes
    assert data.image_shape is None or np.prod(data.image_shape) == columns


def test_every_class_has_its_share_of_every_part(name: str) -> None:
    data, classes = loaded(name), FACTS[name][2]
    if name == "words":
        pytest.skip("letters are not equally frequent")
    for _, y in parts_of(data):
        share = np.bincount(y) * classes / len(y)  # 1 where all classes have as many
        assert 0.75 < share.min() <= share.max() < 1.25, share


def test_no_example_is_in_two_parts(name: str) -> None:
    if name == "words":
        pytest.skip("words are not in two parts, see test_words.py; contexts such as ______ are")
    train, val, test = (rows_as_bytes(x) for x, _ in parts_of(loaded(name)))
    assert not train & val and not train & test and not val & test


def test_loading_again_gives_the_same_bits(name: str) -> None:
    for first, again in zip(loaded(name), load_data(name), strict=True):
        assert np.array_equal(getattr(first, "codes", first), getattr(again, "codes", again))


def test_the_nearest_class_mean_finds_something_to_learn(name: str) -> None:
    data, (*_, classes, accuracy) = loaded(name), FACTS[name]
    means = np.stack([data.x_train[np.flatnonzero(data.y_train == k)].mean(axis=0) for k in range(classes)])  # (K, D)
    distance = (means**2).sum(axis=1) - 2 * data.x_test[:] @ means.T  # (N, K), but for a constant of each row
    assert abs((distance.argmin(axis=1) == data.y_test).mean() - accuracy) < 0.01


def test_images_are_between_paper_and_ink() -> None:
    x = loaded("digits").x_train
    assert x.min() == 0 and x.max() == 1 and np.array_equal(x * 16, np.round(x * 16))


def test_catalogue_says_whose_the_data_are(name: str) -> None:
    entry = DATASETS[name]
    assert entry.summary and entry.citation and entry.licence and entry.source.startswith("http")
    assert (name in INSIDE) == (not entry.files)
    for file in entry.files:
        assert file.path.startswith(f"{name}/") and all(url.startswith("https://") for url in file.urls) and file.urls


def test_fetch_returns_the_folder_of_the_files(name: str) -> None:
    folder = fetch(name)
    for file in DATASETS[name].files:
        assert (folder / Path(file.path).name).is_file()
    assert name not in INSIDE or (folder / INSIDE[name]).is_file()


def test_reading_the_data_changes_nothing_in_their_folder(data_dir: Path) -> None:
    def tree() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (data_dir, *data_dir.rglob("*"))}

    before = tree()
    for name in DATASETS:
        fetch(name)
    assert tree() == before


@pytest.mark.parametrize("function", [load_data, fetch])
def test_a_wrong_name_is_answered_with_the_known_ones(function: type) -> None:
    with pytest.raises(ValueError, match="name must be one of digits, mnist, fsdd, udhr, words, got 'mnits'"):
        function("mnits")
    with pytest.raises(TypeError, match="name must be a name, got 3"):
        function(3)


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, minikd.data; minikd.data.load_data('digits');"
        "print([m for m in ('pooch', 'tqdm', 'requests', 'wave', 'xml') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# --- digits


def test_digits_are_the_uci_images_in_their_order() -> None:
    data = loaded("digits")
    # The file begins with 0 to 9 three times; of each digit's first three, the second goes to validation.
    assert data.y_train[:20].tolist() == 2 * list(range(10)) and data.y_val[:10].tolist() == list(range(10))
    first = (data.x_train[0] * 16).astype(int).reshape(8, 8)  # a zero
    assert first.tolist()[0] == [0, 0, 5, 13, 9, 1, 0, 0] and first.tolist()[7] == [0, 0, 6, 13, 10, 0, 0, 0]


def test_digits_are_dealt_evenly_class_by_class() -> None:
    data = load_data("digits")
    for part, share in ((data.y_train, 0.5), (data.y_val, 0.2), (data.y_test, 0.3)):
        counts = np.bincount(part, minlength=10)
        whole = np.bincount(np.concatenate([data.y_train, data.y_val, data.y_test]))
        assert np.abs(counts - share * whole).max() <= 1.1


def test_a_damaged_package_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "SHA256", "0" * 64)
    with pytest.raises(DataError, match="reinstall"):
        load_data("digits")


# --- mnist


def test_idx_files_are_read_as_their_header_says() -> None:
    content = b"\0\0\x08\x02" + (2).to_bytes(4, "big") + (3).to_bytes(4, "big") + bytes(range(6))
    assert mnist.parse_idx(content).tolist() == [[0, 1, 2], [3, 4, 5]]
    for broken in (b"", content[:3], content[:7], content[:-1], content + b"x", b"\0\0\x09" + content[3:]):
        with pytest.raises(DataError, match="not an IDX file"):
            mnist.parse_idx(broken)


def test_mnist_validation_is_the_end_of_the_training_images(data_dir: Path) -> None:
    data = loaded("mnist")
    assert data.y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert data.y_test[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert data.x_train.min() == 0 and data.x_train.max() == 1
    mean = (data.x_train.sum(dtype=float) + data.x_val.sum(dtype=float)) / (60000 * 784)
    assert abs(mean - 0.1307) < 1e-4  # the number that everybody normalises by


def test_mnist_needs_no_float64_on_the_way(data_dir: Path) -> None:
    tracemalloc.start()
    data = load_data("mnist")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    result = sum(x.nbytes + y.nbytes for x, y in parts_of(data))
    assert result < peak < 1.5 * result  # the bytes of the files are a quarter; float64 would be twice as much


# --- fsdd


def test_recordings_are_complete(data_dir: Path) -> None:
    found = fsdd.recordings()
    assert [recording[:3] for recording in found] == [
        (digit, speaker, take)
        for digit in range(10)
        for speaker in ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
        for take in range(50)
    ]
    assert all(recording.samples.dtype == np.int16 and len(recording.samples) > 1000 for recording in found)


def test_spoken_digits_are_split_as_their_authors_say_and_standardised_over_the_training_part(data_dir: Path) -> None:
    def features(takes: range) -> tuple[NDArray[np.float32], list[int]]:
        part = [recording for recording in fsdd.recordings() if recording.take in takes]
        return np.stack([fsdd.log_mel(r.samples).ravel() for r in part]), [r.digit for r in part]

    data = loaded("fsdd")
    train, train_digits = features(range(10, 50))
    mean, scale = train.mean(axis=0, dtype=float), train.std(axis=0, dtype=float)
    np.testing.assert_allclose(data.x_train, (train - mean) / scale, atol=1e-4)
    assert data.y_train.tolist() == train_digits
    for x, y, takes in ((data.x_test, data.y_test, range(5)), (data.x_val, data.y_val, range(5, 10))):
        raw, spoken = features(takes)
        np.testing.assert_allclose(x, (raw - mean) / scale, atol=1e-4)
        assert y.tolist() == spoken


def test_mel_filters_are_triangles_that_share_every_frequency_between_them() -> None:
    filters = fsdd.mel_filters()
    assert filters.shape == (fsdd.MELS, fsdd.FFT // 2 + 1)
    assert filters.min() == 0 and filters.max() <= 1
    assert (filters.sum(axis=1) > 0.5).all()  # none falls between two frequencies
    hertz = np.fft.rfftfreq(fsdd.FFT, 1 / fsdd.RATE)
    peaks = (filters * hertz).sum(axis=1) / filters.sum(axis=1)
    assert (np.diff(peaks) > 0).all()
    inside = (hertz > peaks[0]) & (hertz < peaks[-1])
    np.testing.assert_allclose(filters.sum(axis=0)[inside], 1, atol=1e-12)  # one rises as its neighbour falls


@pytest.mark.parametrize("hertz", [300, 1000, 2500])
def test_a_pure_tone_lights_the_band_of_its_pitch(hertz: int) -> None:
    tone = (20000 * np.sin(2 * np.pi * hertz * np.arange(4000) / fsdd.RATE)).astype(np.int16)
    picture = fsdd.log_mel(tone)
    assert picture.shape == (fsdd.MELS, fsdd.FRAMES) and picture.dtype == np.float32
    mel = 2595 * np.log10(1 + hertz / 700) / (2595 * np.log10(1 + 4000 / 700)) * (fsdd.MELS + 1) - 1
    assert (np.abs(picture.argmax(axis=0) - mel) <= 1).all()


def test_log_mel_is_the_formula_written_out() -> None:
    samples = np.random.RandomState(0).randint(-3000, 3000, 1500).astype(np.int16)
    t, m, n = 9, 12, np.arange(fsdd.FRAME)
    frame = samples[9 * (1500 - fsdd.FRAME) // 31 :][: fsdd.FRAME] / 32768
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / (fsdd.FRAME - 1))
    power = [
        abs((window * frame * np.exp(-2j * np.pi * k * n / fsdd.FFT)).sum()) ** 2 for k in range(fsdd.FFT // 2 + 1)
    ]
    expected = np.log(fsdd.mel_filters()[m] @ np.array(power) + 1e-6)
    assert abs(fsdd.log_mel(samples)[m, t] - expected) < 1e-5


@pytest.mark.parametrize("length", [0, 1, 199, 200, 201])
def test_silence_and_very_short_recordings_stay_finite(length: int) -> None:
    assert np.allclose(fsdd.log_mel(np.zeros(length, np.int16)), np.log(1e-6))


def test_an_archive_with_other_bytes_but_the_same_recordings_is_right(data_dir: Path) -> None:
    raw = (data_dir / fsdd.ARCHIVE.path).read_bytes()
    wavs, sha256 = fsdd.unzip(raw)
    for change in ("none", "sample", "name", "missing"):
        repacked = io.BytesIO()
        with zipfile.ZipFile(repacked, "w") as archive:
            for i, name in enumerate(sorted(wavs, reverse=True)):
                content = wavs[name]
                if i == 1234 and change == "sample":
                    content = content[:-1] + bytes([content[-1] ^ 1])
                if i == 1234 and change == "missing":
                    continue
                archive.writestr(f"elsewhere/{'x' if i == 1234 and change == 'name' else ''}{name}", content)
        assert (fsdd.unzip(repacked.getvalue())[1] == sha256) == (change == "none")


# --- udhr


def texts_by_part() -> dict[str, list[tuple[str, str]]]:
    """The part of each article: its texts, with their language."""
    texts: dict[str, list[tuple[str, str]]] = {"train": [], "val": [], "test": []}
    for file in udhr.FILES:
        for number, text in enumerate(udhr.articles(udhr.read(file))):
            texts[udhr.PARTS[number % 5]].append((file.path, text))
    return texts


def test_every_translation_has_31_texts_without_titles_and_notes(data_dir: Path) -> None:
    for file in udhr.FILES:
        texts = udhr.articles(udhr.read(file))
        assert len(texts) == 31
        assert all(text == " ".join(text.split()).lower() and len(text) > udhr.WINDOW for text in texts)
    english = udhr.articles(udhr.read(udhr.FILES[list(udhr.LANGUAGES).index("eng")]))
    assert english[3] == "everyone has the right to life, liberty and the security of person."


def test_no_sentence_is_in_two_parts(data_dir: Path) -> None:
    sentences = {
        part: {s.strip() for _, text in texts for s in text.replace(";", ".").replace(":", ".").split(".") if s.strip()}
        for part, texts in texts_by_part().items()
    }
    train, val, test = ({s for s in sentences[part] if len(s) >= udhr.WINDOW} for part in ("train", "val", "test"))
    assert min(len(train), len(val), len(test)) > 200
    assert not train & val and not train & test and not val & test


def test_no_window_is_in_two_parts_and_each_lies_within_an_article_of_its_part(data_dir: Path) -> None:
    codes, y, split = udhr.load_windows()
    windows = {part: {row.tobytes() for row in codes[split == part]} for part in ("train", "val", "test")}
    assert not windows["train"] & windows["val"]
    assert not windows["train"] & windows["test"]
    assert not windows["val"] & windows["test"]
    texts = texts_by_part()
    for i in range(0, len(codes), 7):
        window, path = "".join(map(chr, codes[i])), udhr.FILES[y[i]].path
        assert len(window) == udhr.WINDOW
        assert any(window in text for file, text in texts[split[i]] if file == path)


def test_equal_windows_stay_in_the_test_part_first_and_then_in_the_validation_part() -> None:
    codes = np.array([[1], [1], [1], [2], [2], [3], [3], [4], [4]], np.uint32)
    split = np.array(["train", "val", "test", "train", "val", "train", "train", "test", "test"])
    assert udhr._in_one_part(codes, split).tolist() == [False, False, True, False, True, True, True, True, True]


def test_windows_are_whole_and_start_at_every_step() -> None:
    text = "".join(chr(97 + i % 26) for i in range(50))
    found = ["".join(map(chr, row)) for row in udhr.windows(text, 12)]
    assert found == [text[start : start + udhr.WINDOW] for start in (0, 12, 24)]
    assert len(udhr.windows(text[: udhr.WINDOW], 12)) == 1 and len(udhr.windows("short", 12)) == 0


def test_hashed_n_grams_are_those_of_a_loop_in_plain_python() -> None:
    text = "þetta er ðað sama"
    counts: Counter[int] = Counter()
    for n in (1, 2, 3):
        for start in range(len(text) - n + 1):
            h = 2166136261
            for character in text[start : start + n]:
                h = (h ^ ord(character)) * 16777619 % 2**32
            counts[(h ^ (h >> 16)) % udhr.FEATURES] += 1
    codes = np.array([[ord(c) for c in text], [ord(c) for c in text[::-1]]], np.uint32)
    x = udhr.hash_n_grams(codes)
    assert {column: round(float(v) ** 2) for column, v in enumerate(x[0]) if v} == dict(counts)
    np.testing.assert_allclose((x**2).sum(axis=1), 3 * len(text) - 3, rtol=1e-6)


# ---- a few samples ------------------------------------------------------------------------------------------------

LABELS = np.repeat(np.arange(5), (10, 20, 30, 40, 50))


def test_a_few_samples_are_drawn_by_the_seed_each_once_and_more_contain_fewer() -> None:
    drawn = {n: few(LABELS, n, seed=3) for n in (5, 40, 150)}
    for n, index in drawn.items():
        assert index.shape == (n,) and len(set(index.tolist())) == n and (np.diff(index) > 0).all()
        np.testing.assert_array_equal(index, few(LABELS, n, seed=3))
    assert set(drawn[5]) < set(drawn[40]) < set(drawn[150]) == set(range(150))
    assert set(few(LABELS, 40, seed=4)) != set(drawn[40])


def test_every_sample_is_as_likely_to_be_drawn() -> None:
    counts = np.zeros(150)
    for seed in range(2000):
        counts[few(LABELS, 15, seed=seed)] += 1
    assert abs(counts.mean() - 200) < 1e-9 and np.abs(counts - 200).max() < 5 * 200**0.5  # five standard deviations


def test_samples_of_left_out_classes_are_never_drawn() -> None:
    for n in (None, 3, 60):
        index = few(LABELS, n, without=(1, 4), seed=0)
        assert set(LABELS[index]) <= {0, 2, 3} and len(index) == (n or 80)
    np.testing.assert_array_equal(few(LABELS), np.arange(150))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": 0}, "images must be at least 1, got 0"),
        ({"images": 4}, "images must be from 5, one for each class, to 150, all training samples"),
        ({"images": 151}, "images must be from 5, one for each class, to 150, .*; got 151"),
        ({"images": 81, "without": (1, 4)}, "images must be from 3, one for each class, to 80"),
        ({"without": (0, 1, 2, 3, 4)}, "without must leave at least two classes, got 5 of 5"),
        ({"without": (0, 1, 2, 3)}, "without must leave at least two classes, got 4 of 5"),
    ],
)
def test_a_few_samples_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        few(LABELS, **options)
