"""Spoken digits: 3,000 recordings of six people saying "zero" to "nine", each turned into a small picture of its sound.

A recording is a list of air pressures, 8,000 a second. The ear does not follow each of them. It hears how strong each
pitch is, and how that changes. So we cut the recording into short frames, measure the power at each pitch in each
frame, and take logarithms, because we hear loudness and pitch as ratios. Such a log-mel spectrogram has been the usual
first step of speech recognition since Davis and Mermelstein (1980). Here it is written in NumPy.

The split is the data set's own: takes 0–4 of each digit by each speaker are the test part, and the rest are for
training. We use takes 5–9 of these for validation. The same six people speak in all three parts. To measure the error
on a new speaker, start from `recordings()`, which names the speaker of each recording, and make other parts.
"""

from __future__ import annotations

import hashlib
import io
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .dataset import Data, Dataset, Floats, split_rows
from .download import RemoteFile, read

RATE = 8000  # samples a second
FRAME = 200  # samples in a frame: 25 milliseconds, in which speech hardly changes
FFT = 256  # length of the Fourier transform, the frame with zeros behind it
MELS = 32
FRAMES = 32
COMMIT = "26eb9aaf76e81b692f806f9140c2d2777410d7a1"


class Recording(NamedTuple):
    """One spoken digit: the digit, the speaker, which of the 50 takes it is, and the sound, int16 (samples,)."""

    digit: int
    speaker: str
    take: int
    samples: NDArray[np.int16]


def unzip(raw: bytes) -> tuple[dict[str, bytes], str]:
    """The WAV files in the archive by name, and the SHA-256 of their list.

    GitHub does not promise that an archive keeps its bytes, so we check the recordings. The list is what `LC_ALL=C
    sha256sum *.wav` prints in their folder: one line "SHA-256, two spaces, name" for each.
    """
    import zipfile

    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        names = (name for name in archive.namelist() if name.endswith(".wav"))
        wavs = {name.rsplit("/")[-1]: archive.read(name) for name in names}
    lines = (f"{hashlib.sha256(wavs[name]).hexdigest()}  {name}\n" for name in sorted(wavs))
    return wavs, hashlib.sha256("".join(lines).encode()).hexdigest()


ARCHIVE = RemoteFile(
    f"fsdd/free-spoken-digit-dataset-{COMMIT}.zip",
    (f"https://github.com/Jakobovski/free-spoken-digit-dataset/archive/{COMMIT}.zip",),
    "1801eae019c063377d98f831d3f93574f259475df7332bb0e3d1b080fb5e6959",
    unzip,
)


def recordings() -> list[Recording]:
    """All 3,000 recordings, sorted by digit, then speaker, then take (0–49).

    DataError if the archive cannot be downloaded.

    Source: Jackson et al., Free Spoken Digit Dataset, version of the commit above.
    """
    import wave

    found = []
    for name, content in read(ARCHIVE).items():
        digit, speaker, take = name.removesuffix(".wav").split("_")
        with wave.open(io.BytesIO(content)) as wav:  # one channel, 16 bits, 8,000 Hz
            samples = np.frombuffer(wav.readframes(wav.getnframes()), np.int16)
        found.append(Recording(int(digit), speaker, int(take), samples))
    return sorted(found, key=lambda recording: recording[:3])


def mel_filters() -> NDArray[np.float64]:
    """Triangular filters, (MELS, FFT // 2 + 1): the weight of each frequency of the Fourier transform in each mel band.

    The mel scale measures pitch in steps that sound equal: mel(f) = 2595 log10(1 + f / 700) for f in Hz (O'Shaughnessy
    1987). Take MELS + 2 points, evenly spaced in mel from 0 Hz to RATE / 2. Filter m rises from 0 at point m to 1 at
    point m + 1 and falls back to 0 at point m + 2, along straight lines in Hz.
    """
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    points = 700 * (10 ** (np.linspace(0, top, MELS + 2) / 2595) - 1)  # (MELS + 2,) in Hz
    low, peak, high = points[:-2, None], points[1:-1, None], points[2:, None]  # (MELS, 1) each
    f = np.fft.rfftfreq(FFT, 1 / RATE)  # (FFT // 2 + 1,) in Hz
    return np.maximum(0, np.minimum((f - low) / (peak - low), (high - f) / (high - peak)))


def log_mel(samples: NDArray[np.int16]) -> Floats:
    """The log-mel spectrogram of a recording.  samples (n,) int16 -> (MELS, FRAMES), in nats

    FRAMES frames of FRAME samples start at evenly spaced places from the first sample to the last that leaves room. So
    a word that is said slowly or quickly fills the same picture. With w the Hann window and M the mel filters::

        P[k, t] = |sum_n w[n] s[start_t + n] exp(-2 pi i k n / FFT)|²
        S[m, t] = log(sum_k M[m, k] P[k, t] + 1e-6)

    where s is in [-1, 1). The 1e-6 keeps the logarithm of silence finite. A recording shorter than a frame is padded
    with silence.
    """
    s = np.pad(samples / 32768, (0, max(0, FRAME - len(samples))))
    starts = np.arange(FRAMES) * (len(s) - FRAME) // (FRAMES - 1)
    frames = s[starts[:, None] + np.arange(FRAME)] * np.hanning(FRAME)  # (FRAMES, FRAME)
    power = np.abs(np.fft.rfft(frames, FFT)) ** 2  # (FRAMES, FFT // 2 + 1)
    s_mel: Floats = np.log(mel_filters() @ power.T + 1e-6).astype(np.float32)  # (MELS, FRAMES)
    return s_mel


def part_of(recording: Recording) -> str:
    """The part to which a recording belongs by its take: "train", "val" or "test"."""
    return "test" if recording.take < 5 else "val" if recording.take < 10 else "train"


def test_sounds() -> list[NDArray[np.int16]]:
    """The recordings of the test part, one for each row of x_test. DataError as in `load`."""
    return [recording.samples for recording in recordings() if part_of(recording) == "test"]


def load() -> Data:
    """Spoken digits: x (2,400 / 300 / 300, MELS · FRAMES); y the digit.

    Each feature is shifted and scaled to mean 0 and standard deviation 1 over the training part. DataError if the
    archive cannot be downloaded.
    """
    everything = recordings()
    x = np.stack([log_mel(recording.samples).ravel() for recording in everything])  # (3000, MELS * FRAMES)
    y = np.array([recording.digit for recording in everything], np.int64)
    split = np.array([part_of(recording) for recording in everything])
    train = x[split == "train"]
    x = (x - train.mean(axis=0)) / train.std(axis=0)
    return Data(*split_rows(x, y, split), class_names=tuple("0123456789"), image_shape=(MELS, FRAMES))


DATASET = Dataset(
    summary="spoken digits, 3,000 recordings of 6 speakers as 32×32 log-mel spectrograms, 10 classes (16 MB)",
    source="https://github.com/Jakobovski/free-spoken-digit-dataset",
    licence="CC BY-SA 4.0",
    citation="Jackson et al.: Free Spoken Digit Dataset. https://doi.org/10.5281/zenodo.1342401",
    files=(ARCHIVE,),
    load=load,
    noun="recordings",
    test_sounds=test_sounds,
)
