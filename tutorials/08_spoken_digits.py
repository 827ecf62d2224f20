# %% [markdown]
# # 08 · Can a small network recognise spoken digits, even of a new speaker?
#
# **In short.** Yes, for a speaker from the training data. A few steps of arithmetic make a small picture of the sound,
# and a student with 16 hidden units, a twentieth of the teacher's size, misclassifies about one in twenty. With 100
# labelled recordings instead of 2,400 a student misclassifies three in ten, and half as many if it learns from a
# teacher that was trained on all of them. With a new speaker, teacher and students misclassify one in three. In int8
# the student takes 17 kB, and misclassifies 4 more recordings of 1,500.
#
# - **What you will learn:** how sound becomes a log-mel picture, how speakers change a test, and what int8 costs
# - **Prerequisites:** tutorial 04; complex numbers for the Fourier transform
# - **Hours:** 2
#
# A microphone delivers thousands of numbers a second, and a single number means nothing. Here we turn them into a small
# picture of the sound, step by step. Then a large network teaches a small one to read these pictures. In the end we
# test both on a speaker who is not in the training data.

# %%
import os
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib.figure import Figure

from minikd import MLP, Adam, cross_entropy, evaluate, fit, load_data, softmax
from minikd.data import few, fsdd
from minikd.exchange.c_file import write_c
from minikd.exchange.cost import precision_table
from minikd.exchange.int8 import quantise
from minikd.experiments.config import FEW, RECIPES
from minikd.experiments.intervals import mean_interval, verdict
from minikd.experiments.text import text_table
from minikd.methods import METHODS
from minikd.optim import cosine
from minikd.report import plots

FAST = bool(os.environ.get("MINIKD_FAST"))  # set by the tests: less training, the same claims
recordings = fsdd.recordings()  # each with digit, speaker, take and samples
digits = np.array([r.digit for r in recordings])  # (N,)
speakers = np.array([r.speaker for r in recordings])  # (N,)
parts = np.array([fsdd.part_of(r) for r in recordings])  # (N,): "train", "val" or "test"
seconds = np.array([len(r.samples) for r in recordings]) / 8000  # (N,)
people = np.unique(speakers)
print(f"{len(recordings):,} recordings of {len(people)} speakers: {', '.join(people)}")
print(f"length {seconds.min():.2f} to {seconds.max():.2f} s, median {np.median(seconds):.2f} s")
print({str(part): int((parts == part).sum()) for part in np.unique(parts)})

# %% [markdown]
# ## The data
#
# In the Free Spoken Digit Dataset six people say each digit fifty times. The first five **takes** are for the test, the
# next five for validation, and the other forty for training. So all six speakers are in all parts; we come back to
# that.
#
# A recording is a list of air pressures $s_n$, 8,000 a second. They are whole numbers, which we divide by 32,768 to get
# values between −1 and 1. If we shift the recording by a thousandth of a second, every number changes, but it sounds
# the same. An ear hears how strong each pitch is, and how that changes.
#
# ## Step 1: frames
#
# Within 25 milliseconds (200 samples) speech hardly changes. Cut 32 such **frames** from each recording, evenly spaced
# from its beginning to its end. So a slow word and a fast word give the same number of frames.
#
# ## Step 2: a window
#
# A frame begins and ends abruptly, and such an edge sounds like a click, which contains all pitches. So fade each frame
# in and out with the **Hann window**, one period of a cosine from 0 up to 1 and back:
#
# $$ w_n = \tfrac12 - \tfrac12 \cos \frac{2 \pi n}{199}, \qquad n = 0, \dots, 199 . $$
#
# ## Step 3: how strong is each pitch?
#
# Multiply the frame by a wave of frequency $f$ and sum up. If the frame contains this frequency, the products have one
# sign and the sum is large; otherwise they cancel. A complex number combines a cosine and a sine, so the phase of the
# wave does not matter. This is the **Fourier transform**. We take the frequencies $f_k = 8000\, k / 256$ Hz, and the
# squared absolute value, the **power**:
#
# $$ P_k = \Big| \sum_{n=0}^{199} w_n s_n\, e^{-2 \pi i\, k n / 256} \Big|^2, \qquad k = 0, \dots, 128 . $$
#
# The sum over all $n$ for all $k$ is a matrix product. The **fast** Fourier transform, FFT, gives the same numbers with
# fewer multiplications, because it halves the sum repeatedly. It needs as many samples as frequencies, so 56 zeros
# follow the frame.

# %%
RATE, FRAME, FFT, MELS, FRAMES = 8000, 200, 256, 32, 32
one = next(r for r in recordings if (r.digit, r.speaker, r.take) == (6, "george", 10))
s = one.samples / 32768  # (samples,), between -1 and 1
starts = np.arange(FRAMES) * (len(s) - FRAME) // (FRAMES - 1)  # (FRAMES,): the first sample of each frame
frames = np.stack([s[start : start + FRAME] for start in starts])  # (FRAMES, FRAME)
w = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / (FRAME - 1))  # (FRAME,)
n, k = np.arange(FRAME), np.arange(FFT // 2 + 1)  # (FRAME,), (129,)
waves = np.exp(-2j * np.pi * n[:, None] * k / FFT)  # (FRAME, 129)
power = np.abs((w * frames) @ waves) ** 2  # (FRAMES, 129)
fast = np.abs(np.fft.rfft(w * frames, FFT)) ** 2  # (FRAMES, 129)
f = k * RATE / FFT  # (129,) in Hz
print(f"“six”, {len(s) / RATE:.2f} s; strongest frequency in the middle frame: {f[power[FRAMES // 2].argmax()]:.0f} Hz")
print(f"sum and FFT: largest difference {np.abs(power - fast).max():.0e}, with powers up to {power.max():.0f}")

# %% [markdown]
# ## Step 4: the mel scale
#
# We hear pitch in ratios, not in differences: from 200 to 400 Hz is an octave, from 3,200 to 3,400 Hz about a semitone.
# Equal differences sound equal only at low pitches. So a scale $m(f)$ of steps that sound equal should have a constant
# slope far below some frequency $f_0$, and a slope that falls as $1/f$ far above. The simplest such scale has
# $dm/df = c / (f_0 + f)$, and with $m(0) = 0$ its integral is
#
# $$ m(f) = c\, \log\Big(1 + \frac{f}{f_0}\Big) . $$
#
# Experiments suggest $f_0 = 700$ Hz. The constant is a convention: 1,000 Hz are 1,000 **mel**, so
# $c = 1000 / \log(1 + 1000/700)$, or 2595 for the logarithm to base 10.
#
# Now sum the power in 32 bands that are equally wide in mel. Take 34 points, evenly spaced in mel from 0 to 4,000 Hz.
# Band $m$ is a triangle that rises from 0 at point $m$ to 1 at the next point and falls to 0 at the one after.
# Neighbouring bands overlap by half, so a pitch between two bands counts partly for both.
#
# ## Step 5: the logarithm
#
# Loudness is also heard in ratios: $S_{mt} = \log(\sum_k M_{mk} P_{tk} + 10^{-6})$. The small number keeps the
# logarithm of silence finite.


# %%
def mel(f):
    return 2595 * np.log10(1 + f / 700)


def hertz(m):
    return 700 * (10 ** (m / 2595) - 1)  # mel, solved for f


points = hertz(np.linspace(0, mel(RATE / 2), MELS + 2))  # (MELS + 2,) in Hz
M = np.zeros((MELS, FFT // 2 + 1))  # (MELS, 129)
for m in range(MELS):
    low, peak, high = points[m : m + 3]
    M[m] = np.maximum(0, np.minimum((f - low) / (peak - low), (high - f) / (high - peak)))  # (129,)


def log_mel_by_hand(samples):
    s = samples / 32768  # (samples,)
    starts = np.arange(FRAMES) * (len(s) - FRAME) // (FRAMES - 1)  # (FRAMES,)
    frames = s[starts[:, None] + np.arange(FRAME)] * w  # (FRAMES, FRAME)
    power = np.abs(np.fft.rfft(frames, FFT)) ** 2  # (FRAMES, 129)
    return np.log(M @ power.T + 1e-6)  # (MELS, FRAMES)


S = np.log(M @ power.T + 1e-6)  # (MELS, FRAMES)
print(f"1,000 Hz are {mel(1000):.2f} mel; 1000 / log10(1 + 1000/700) = {1000 / np.log10(1 + 1000 / 700):.0f}")
print(f"the lowest band is {points[2] - points[0]:.0f} Hz wide, the highest {points[-1] - points[-3]:.0f} Hz")
print(f"by hand and minikd's `log_mel`: largest difference {np.abs(S - fsdd.log_mel(one.samples)).max():.0e}")

# %% tags=["cover"]
figure = Figure(figsize=(5.6, 3.8), layout="constrained")
(wave, spectrum), (filters, picture) = figure.subplots(2, 2)
wave.plot(np.arange(len(s)) / RATE, s, color="#0072B2", lw=0.6)
for start in starts[[4, 20]]:
    wave.axvspan(start / RATE, (start + FRAME) / RATE, color="#D55E00", alpha=0.3, lw=0)
wave.set(title="Two of 32 frames shaded", xlabel="time, s", ylabel="pressure")
middle = (starts[[0, -1]] + FRAME / 2) / RATE  # of the first and the last frame
look = {"cmap": "magma", "origin": "lower", "aspect": "auto", "interpolation": "nearest"}
spectrum.imshow(np.log(power.T + 1e-6), extent=(*middle, 0, RATE / 2), **look)
spectrum.set(title="Log power", xlabel="time, s", ylabel="frequency, Hz")
for m in range(MELS):
    filters.plot(f, M[m], color=("#0072B2", "#D55E00", "#009E73")[m % 3], lw=1)
filters.set(title="32 bands of the mel scale", xlabel="frequency, Hz", ylabel="weight")
picture.imshow(S, extent=(*middle, 0, MELS), **look)
picture.set(title="Log-mel picture", xlabel="time, s", ylabel="mel band")
figure.suptitle("“Six”: from air pressure to 32 × 32 numbers (brighter: stronger)")
plots.show(figure)

# %% [markdown]
# **What to notice.** The "s" at the beginning is a faint hiss. The vowel is by far the loudest part. Its fine
# horizontal stripes are the harmonics of the voice, and its broad bright bands, low and high with a dark gap between
# them, are typical of an "i". The "k" is silence and then a click, the thin vertical line through all pitches. The last
# "s" hisses again. Half of the mel bands lie below about 1,100 Hz: the lower quarter of the spectrum fills the lower
# half of the picture, and the harmonics are smoothed away. The rest tells vowels apart rather than voices.
#
# ## All recordings
#
# Last, shift and scale each of the 1,024 numbers to mean 0 and standard deviation 1 over the training part. `load_data`
# returns the result.

# %%
pictures = np.stack([log_mel_by_hand(r.samples).ravel() for r in recordings])  # (N, 1024)


def standardised(learn):
    mean, deviation = pictures[learn].mean(axis=0), pictures[learn].std(axis=0)  # (1024,), (1024,)
    return ((pictures - mean) / deviation).astype(np.float32)  # (N, 1024)


x, train, test = standardised(parts == "train"), parts == "train", parts == "test"  # (N, 1024), (N,), (N,)
data = load_data("fsdd")
difference = max(np.abs(x[train] - data.x_train).max(), np.abs(x[test] - data.x_test).max())
print(f"by hand and `load_data`, {train.sum() + test.sum():,} recordings: largest difference {difference:.0e}")

# %% [markdown]
# ## A student for a small device
#
# An MLP of 16 hidden units can run with little memory and power, for example in a switch or a hearing aid. What does it
# cost? A layer from $a$ to $b$ numbers has $ab + b$ parameters, of 4 bytes each in float32, and does $ab$
# multiplications with an addition each. The picture also costs: an FFT of length 256 does about
# $2 \cdot 256 \log_2 256$ multiplications, and the mel bands do one for each nonzero number in $M$.

# %%
recipe = RECIPES["fsdd"]
widths = (64,) if FAST else (256, 256)
sizes = {"teacher": (1024, *widths, 10), "student": (1024, *recipe["student"], 10)}
for name, layers in sizes.items():
    products = sum(a * b for a, b in pairwise(layers))
    parameters = products + sum(layers[1:])
    print(f"{name}: {parameters:>7,} parameters, {4 * parameters:>9,} bytes, {products:>7,} multiply-adds per word")
per_frame = FRAME + 2 * FFT * np.log2(FFT) + np.count_nonzero(M)  # window, FFT, bands
print(f"log-mel picture: about {FRAMES * per_frame:,.0f} multiplications per word")

# %% [markdown]
# The student has a twentieth of the teacher's parameters, and costs less than the picture that it classifies.
#
# ## Five seeds
#
# As in `07`, there is a teacher, and the same student is trained three times: from labels alone, from smoothed labels,
# and distilled. The settings are minikd's recipe for these data, chosen on the validation part.

# %%
seeds = 2 if FAST else 5
epochs, teacher_epochs = (12, 10) if FAST else (recipe["epochs"], recipe["teacher_epochs"])
kinds, T = ("teacher", "labels", "smoothed", "distilled"), 4.0


def train_teacher(x, y, seed):
    teacher = MLP(sizes["teacher"], dropout=(0.0, *(0.5 for _ in widths)), seed=seed)
    options = {"epochs": teacher_epochs, "batch_size": 32, "schedule": cosine(), "seed": seed, "progress": False}
    fit(teacher, x, y, loss=cross_entropy, optimizer=Adam(teacher, recipe["teacher_lr"]), **options)
    return teacher


def with_students(teacher, x, y, seed, layers=sizes["student"], epochs=epochs, T=T):
    networks, options = {"teacher": teacher}, {"batch_size": 32, "schedule": cosine(), "seed": seed, "progress": False}
    options |= {"optimizer": partial(Adam, lr=recipe["lr"]), "epochs": epochs}
    for kind in kinds[1:]:
        networks[kind] = student = MLP(layers, seed=1000 + seed)
        if kind == "distilled":
            METHODS["kd"].train(student, teacher, x, y, temperature=T, soft_weight=0.9, **options)
        else:
            smoothing = 0.1 if kind == "smoothed" else 0.0  # 0: the labels as they are
            METHODS["label-smoothing"].train(student, teacher, x, y, smoothing=smoothing, **options)
    return networks


def pm(values, digits, sign=""):
    mean, half = mean_interval(list(values))
    return f"{mean:{sign}.{digits}f} ± {half:.{digits}f}"


def judged(gains, digits, unit=""):
    return f"{pm(gains, digits, '+')}{unit}: {verdict(*mean_interval(list(gains)))}"


def test_table(runs):
    scores = {kind: [evaluate(run[kind], x[test], digits[test]) for run in runs] for kind in kinds}
    table = {name: {kind: np.array([s[name] for s in scores[kind]]) for kind in kinds} for name in ("errors", "nll")}
    print(f"{test.sum()} test recordings of known speakers, {seeds} seeds: mean and 95 % interval\n")
    print(f"{'':<11}{'errors':>12}{'NLL, nats':>17}   reduction against labels alone, paired by seed")
    for kind in kinds:
        row = f"{kind:<11}{pm(table['errors'][kind], 1):>12}{pm(table['nll'][kind], 3):>17}"
        if kind in ("smoothed", "distilled"):
            fewer, lower = (table[name]["labels"] - table[name][kind] for name in ("errors", "nll"))  # (seeds,) each
            row += f"   errors {judged(fewer, 1)}; NLL {judged(lower, 3)}"
        print(row)
    return table


learn = np.flatnonzero(train)[:: 4 if FAST else 1]
known = []
for seed in range(seeds):
    teacher = train_teacher(x[learn], digits[learn], seed)
    known.append(with_students(teacher, x[learn], digits[learn], seed))
table = test_table(known)

# %% [markdown]
# All students misclassify about one in twenty. In errors, smoothing (0.8 ± 4.1 fewer) and distillation (1.0 ± 2.6) are
# undecided: with 2,400 labels the student is nearly as good as its teacher, and a dozen misclassified recordings of 300
# are too few for a precise measurement. In NLL distillation is also undecided. The distilled students vary less: their
# interval is much narrower than that of students on labels.
#
# ## A hundred recordings
#
# Labels are expensive, because a person must listen to each recording. So the student is now shown 100 of the 2,400,
# drawn by its seed, fewer than two for each speaker and digit. The teacher is the one above. It has learned from all
# 2,400, which may belong to someone else. The student has 32 hidden units, and the temperature is 8: minikd's recipe
# for few recordings, chosen on the validation part.

# %%
recipe_of_few, how = FEW["fsdd"], {"layers": (1024, 32, 10)}
how |= {"epochs": 60 if FAST else recipe_of_few["epochs"], "T": recipe_of_few["temperature"]}
by_few = []
for seed, run in enumerate(known):
    rows = learn[few(digits[learn], recipe_of_few["images"], seed=seed)]  # (100,)
    by_few.append(with_students(run["teacher"], x[rows], digits[rows], seed, **how))
few_table = test_table(by_few)

# %% [markdown]
# **Distillation helps:** the student misclassifies 43 of 300 recordings instead of 94, 51 ± 10 fewer, and its NLL falls
# to about a third. Label smoothing, which has no knowledge, is undecided in errors (1.4 ± 4.7 fewer). So knowledge
# helps: the teacher's answers to 100 recordings contain part of what it learned from 2,300 others.
#
# ## Which digits sound similar?
#
# We take the mean of the teacher's softened answers to all test recordings of a digit,
# $M_{kj} = \frac{1}{N_k} \sum_{i : y_i = k} q^T_{ij}$, at the temperature of the student's training.

# %%
q = np.mean([softmax(run["teacher"].predict(x[test]).astype(np.float64), T) for run in known], axis=0)  # (N, 10)
mean_answers = np.stack([q[digits[test] == d].mean(axis=0) for d in range(10)])  # (10, 10)
words = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
figure = Figure(figsize=(4.8, 3.8), layout="constrained")
axes = figure.subplots()
image = axes.imshow(100 * np.where(np.eye(10, dtype=bool), np.nan, mean_answers), cmap="Blues")
axes.set_xticks(range(10), words, rotation=45)
axes.set_yticks(range(10), words)
axes.set(xlabel="answer", ylabel="spoken digit", title=f"Mean softened answers of the teacher, T = {T:.0f}")
figure.colorbar(image, ax=axes, label="probability, %")
plots.show(figure)
symmetric = mean_answers + mean_answers.T
pairs = sorted(((symmetric[a, b] / 2, words[a], words[b]) for a in range(10) for b in range(a)), reverse=True)
print("most similar: ", ", ".join(f"{a}–{b} {100 * value:.1f} %" for value, a, b in pairs[:4]))
print("least similar:", ", ".join(f"{a}–{b} {100 * value:.1f} %" for value, a, b in pairs[-4:]))

# %% [markdown]
# "Eight" is most similar to "six", and "six" to "eight": each has a vowel made at the front of the mouth, and then a
# silence and a click. "Nine" and "one" end in the same "n". "Three" is similar to "six" and to "two", and both to
# "three". But "four" is hardly ever similar to "three". The labels contain none of this. The matrix is not symmetric:
# an "eight" is taken for a "six" more often than a "six" for an "eight".
#
# ## A new speaker
#
# So far the six speakers of the test were also in the training data. A device must understand new speakers. So leave
# one speaker out: train teacher and students on the other five, with means and deviations over these alone, and test on
# all 500 recordings of the sixth. We do this for each of the six speakers. Each gives a pair of students to compare,
# and the interval is now over speakers.

# %%
left_out = people[:3] if FAST else people
results = {}
for seed, who in enumerate(left_out):
    learn = train & (speakers != who)  # (N,)
    x_without = standardised(learn)  # (N, 1024): mean and deviation without this speaker
    rows = np.flatnonzero(learn)[:: 4 if FAST else 1]
    teacher = train_teacher(x_without[rows], digits[rows], seed)
    networks = with_students(teacher, x_without[rows], digits[rows], seed)
    of_speaker = speakers == who  # (N,)
    results[who] = {kind: evaluate(networks[kind], x_without[of_speaker], digits[of_speaker]) for kind in kinds}
    results[who]["logits"] = {kind: networks[kind].predict(x_without[of_speaker]) for kind in kinds}  # (500, 10) each

# %%
print("errors in %: speaker left out of training / speaker included (test takes)\n")
print(f"{'':<11}" + "".join(f"{kind:>16}" for kind in kinds))
unseen = {
    kind: np.array([100 - 100 * results[who][kind].accuracy for who in left_out]) for kind in kinds
}  # (speakers,)
seen = {kind: np.zeros(len(left_out)) for kind in kinds}  # (speakers,)
for i, who in enumerate(left_out):
    of_speaker = test & (speakers == who)  # (N,)
    for kind in kinds:
        seen[kind][i] = 100 * np.mean(
            [(run[kind].predict(x[of_speaker]).argmax(axis=1) != digits[of_speaker]).mean() for run in known]
        )
    print(f"{who:<11}" + "".join(f"{f'{unseen[kind][i]:.0f} / {seen[kind][i]:.0f}':>16}" for kind in kinds))
print(f"{'mean':<11}" + "".join(f"{f'{unseen[kind].mean():.0f} / {seen[kind].mean():.0f}':>16}" for kind in kinds))
nll = {kind: np.array([results[who][kind].nll for who in left_out]) for kind in kinds}  # (speakers,)
print("\nspeakers left out: reduction against labels alone, paired by speaker, mean and 95 % interval")
for kind in ("smoothed", "distilled"):
    fewer, lower = unseen["labels"] - unseen[kind], nll["labels"] - nll[kind]  # (speakers,) each
    print(f"{kind:<11}errors {judged(fewer, 1, ' points')}; NLL {judged(lower, 2, ' nats')}")
print(f"distilled against smoothed: NLL {judged(nll['smoothed'] - nll['distilled'], 2, ' nats')}")
confidence = {
    kind: np.mean([softmax(results[who]["logits"][kind]).max(axis=1).mean() for who in left_out]) for kind in kinds
}
print("\nspeakers left out: mean confidence, %: ", ", ".join(f"{kind} {100 * confidence[kind]:.0f}" for kind in kinds))
print("                   mean accuracy, %:   ", ", ".join(f"{kind} {100 - unseen[kind].mean():.0f}" for kind in kinds))

# %%
looks = {
    "teacher": ("#000000", "s"),
    "labels": ("#D55E00", "o"),
    "smoothed": ("#56B4E9", "^"),
    "distilled": ("#009E73", "D"),
}
figure = Figure(figsize=(8, 3.5), layout="constrained")
left, right = figure.subplots(1, 2)
at = np.arange(len(left_out))
for shift, kind in zip((-0.24, -0.08, 0.08, 0.24), kinds, strict=True):
    colour, marker = looks[kind]
    left.vlines(at + shift, seen[kind], unseen[kind], color=colour, lw=1)
    left.plot(at + shift, seen[kind], marker, color=colour, mfc="white", ms=5)
    left.plot(at + shift, unseen[kind], marker, color=colour, ms=6, label=kind)
    right.plot(at + shift, nll[kind], marker, color=colour, ms=6)
left.set(ylabel="errors, %", title="Speaker included (hollow) or left out (full)")
right.axhline(np.log(10), color="#777777", lw=1, ls="--")
right.annotate(
    "equal probabilities", (0.98, np.log(10)), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=9
)
right.set(ylabel="NLL, nats", title="Speaker left out")
for axes in (left, right):
    axes.set_xticks(at, left_out)
    axes.set_xlabel("speaker")
figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
plots.show(figure)

# %% [markdown]
# **What to notice.** The test above did not show this. With a new speaker, errors rise from one in twenty to one in
# three, and very unevenly: networks that were trained without theo classify nine in ten of his digits correctly, but
# about half of those of george, lucas and nicolas are misclassified. Five voices are too few to learn what is common to
# all voices, and a test with known speakers cannot show it.
#
# Does distillation help with new speakers? It is undecided in errors, 3.6 ± 6.1 points fewer, and in NLL, 1.1 ± 1.3
# nats lower. Smoothing, which has no knowledge, is also undecided, with 2.7 ± 6.0 points and 1.9 ± 2.0 nats. With
# labels alone, students are confident in their mistakes, and the NLL of some is worse than that of equal probabilities
# ($\log 10 \approx 2.3$). This teacher was trained on the same five speakers as its student, so it has little to add,
# unlike the teacher of the hundred recordings. The teacher and its students are also overconfident. Only with smoothed
# labels are the students well calibrated on average. (The six trainings share most of their speakers, so the six
# differences are not independent, and the intervals are more likely too narrow than too wide.)
#
# ## int8 for a microcontroller
#
# A microcontroller may have 32 KiB of flash and no floating-point unit, and the student's parameters take 66,280 bytes
# in float32. **Quantisation** stores each real number $r$ as an integer $q$ of 8 bits, with a **scale** $s$ and a
# **zero point** $z$:
#
# $$ r = s\, (q - z), \qquad q \in \{-128, \dots, 127\} . $$
#
# The weights to output $k$ have a scale of their own, $s_k = \max_d |w_{dk}| / 127$, and $z = 0$. Inputs, hidden units
# and logits have one scale and one zero point each, which follow from the smallest and the largest value on the
# training recordings. If we put this into $r_k = \sum_d w_{dk} x_d + b_k$, nearly everything becomes an integer:
#
# $$ q_k = z_r + M_k \Big( \sum_d W_{kd}\, (q_d - z_x) + B_k \Big), \qquad M_k = \frac{s_x s_k}{s_r} . $$
#
# $M_k$ is the only real number left. It is stored as an integer over a power of 2, so that the chip multiplies and
# shifts. $q_k$ is rounded and clamped to 8 bits. TensorFlow Lite computes like this; `minikd/exchange/int8.py` has the
# derivation. What does it cost?

# %%
students = [run["distilled"] for run in known]
in_int8 = [quantise(student, x[train]) for student in students]  # int8 networks; ranges from training recordings
print(text_table(precision_table(students[0], x[test], digits[test], in_int8[0]), gap="  "))
before, after = (
    [evaluate(network, x[test], digits[test]) for network in networks]
    for networks in (students, [network.predict for network in in_int8])
)
print("\nerrors by seed, float32:", *(scores.errors for scores in before))
print("errors by seed, int8:   ", *(scores.errors for scores in after))
change = np.array([b.nll - a.nll for a, b in zip(before, after, strict=True)])  # (seeds,)
print(f"NLL, int8 minus float32: {change.min():+.4f} to {change.max():+.4f} nats\n")
with TemporaryDirectory() as folder:
    for name, network in {"float32": students[0], "int8": in_int8[0]}.items():
        print(f"{name}: {write_c(network, file := Path(folder) / 'student.c')}")
    source = file.read_text(encoding="utf-8")
print("\n" + source[source.rindex("void student_forward(") : source.index("\n#ifdef")])

# %% [markdown]
# **What to notice.** The tables shrink from 66,280 to 16,778 bytes, to a quarter, and fit into 32 KiB of flash. Sample,
# hidden units and logits take 1,050 bytes of RAM instead of 4,200. Over the five seeds int8 misclassifies 73 of 1,500
# recordings, float32 69. The NLL changes by at most 0.004 nats. float16 halves the bytes and costs no additional error
# here, but a chip without a floating-point unit must compute each product in software.
#
# The C file contains the tables, this function, and two more that convert the sample and the logits. It needs no
# library and allocates no memory. This command also writes it: `minikd export student.safetensors --to c --int8 --data
# fsdd`.
#
# ## Exercises
#
# **1.** How many hidden units are needed? Train students with 2, 4, 8 and 16 units on labels, one seed each, and count
# the errors on the 300 validation recordings. What does halving the units save?
#
# <details><summary>Answer</summary>
#
# We got 145, 37, 20 and 16 errors, with 2,080, 4,150, 8,290 and 16,570 parameters. Halving the units halves nearly
# everything, because each of the 1,024 inputs has a weight to every unit. From 16 to 8 this costs little. With 2 units
# the student must tell ten digits apart by points in a plane. (With one seed a difference of four errors means
# nothing.)
#
# </details>
#
# **2.** Take a tone of 1,010 Hz, 200 samples long, and compute its power with and without the Hann window. Which share
# of the power is more than 200 Hz away from the tone?
#
# <details><summary>Answer</summary>
#
# 2.0 % without, 0.0004 % with. 2 % matters because we take logarithms: a loud vowel would spread 2 % of its power over
# the whole spectrum, and hide everything that is a hundred times weaker, such as the hiss of an "s".
#
# </details>
#
# **3.** The speakers are not equally loud: the median of the largest sample is more than ten times lower in theo's
# recordings than in jackson's. Does loudness make a new speaker hard to understand? Subtract from each log-mel picture
# its own mean, and repeat the experiment with students on labels.
#
# <details><summary>Answer</summary>
#
# Subtracting a constant from logarithms divides the powers by a constant, so the pictures no longer depend on loudness.
# It does not help: 38 % of the new speakers' digits are misclassified instead of 37 %, and 70 % instead of 56 % for
# george. Theo, the quietest, was understood best already. So the difference must come from the voices, accents and
# microphones.
#
# </details>
#
# ## Sources
#
# - Jackson et al.: *Free Spoken Digit Dataset*, doi 10.5281/zenodo.1342401 (the recordings).
# - Davis, Mermelstein (1980): *Comparison of Parametric Representations for Monosyllabic Word Recognition*. IEEE
#   Transactions on ASSP 28 (bands of the mel scale as the input of speech recognition).
# - O'Shaughnessy (1987): *Speech Communication: Human and Machine*. Addison-Wesley (the formula of the mel scale).
# - Hinton, Vinyals, Dean (2015): *Distilling the Knowledge in a Neural Network*. arXiv 1503.02531 (section 5 is about
#   speech).
# - Jacob et al. (2017): *Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference*.
#   arXiv 1712.05877 (int8 with scales and zero points).
# - Szegedy et al. (2016): *Rethinking the Inception Architecture*. arXiv 1512.00567 (label smoothing).
#
# Next: `09_beyond_logits`, what else a teacher can pass on.

# %%
# What the text claims, checked each time this runs.
assert np.abs(power - fast).max() < 1e-9 * power.max() and abs(mel(1000) - 1000) < 0.1
assert np.abs(hertz(mel(f)) - f).max() < 1e-9 and (M.sum(axis=1) > 0).all()
assert np.abs(S - fsdd.log_mel(one.samples)).max() < 1e-5 and difference < 1e-4
assert known[0]["distilled"].num_params == 1024 * 16 + 16 + 16 * 10 + 10
assert in_int8[0].nbytes == 16_778 and all(abs(a.errors - b.errors) <= 3 for a, b in zip(before, after, strict=True))
assert np.abs(change).max() < 0.01
assert all((unseen[kind] > seen[kind]).mean() > 0.6 and unseen[kind].mean() > seen[kind].mean() + 5 for kind in kinds)
assert confidence["smoothed"] < confidence["labels"] and nll["smoothed"].mean() < nll["labels"].mean()
fewer = {kind: few_table["errors"]["labels"] - few_table["errors"][kind] for kind in ("smoothed", "distilled")}
assert fewer["distilled"].mean() > max(0, fewer["smoothed"].mean())
if not FAST:
    assert all(table["errors"][kind].mean() < 20 for kind in kinds)
    assert judged(fewer["distilled"], 1).endswith("helps") and judged(fewer["smoothed"], 1).endswith("undecided")
    assert few_table["errors"]["distilled"].mean() < few_table["errors"]["labels"].mean() / 2
    assert 2.5 < few_table["nll"]["labels"].mean() / few_table["nll"]["distilled"].mean() < 3.5
    for kind in ("smoothed", "distilled"):
        assert judged(table["errors"]["labels"] - table["errors"][kind], 1).endswith("undecided")
        assert judged(unseen["labels"] - unseen[kind], 1).endswith("undecided")
        mean, half = mean_interval(list(nll["labels"] - nll[kind]))
        assert 0 < mean < 1.15 * half
    assert {pairs[0][1], pairs[0][2]} == {"six", "eight"} and mean_answers[8, 6] > mean_answers[6, 8]
    assert 2 * table["nll"]["distilled"].std() < table["nll"]["labels"].std()  # distilled students vary less
    assert all(unseen[kind].mean() > 25 for kind in kinds) and nll["labels"].max() > np.log(10)
    excess = {kind: 100 * confidence[kind] - (100 - unseen[kind].mean()) for kind in kinds}  # excess confidence, points
    assert min(excess["teacher"], excess["labels"], excess["distilled"]) > 10 and abs(excess["smoothed"]) < 10
