# %% [markdown]
# # 12 · When does distillation not help?
#
# **In short.** When labels would have done as well, when the teacher is bad, when the rival was kept small. On eight
# hidden units and small digits, five seeds cannot show that a good teacher saves errors, and show clearly that a bad
# one costs some. And when there is a bug: ten mistakes that were found in published distillation code, most of which
# pass a gradient check and hardly show in training, each fall to a test of one line.
#
# Papers report what worked. This tutorial looks for the edges: on one small task we change the rivals, the teacher,
# the student and the code, and measure each time, with five seeds and an interval, whether a teacher is worth having.

# %%
import os
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from minikd import (
    MLP,
    Adam,
    check_gradients,
    cross_entropy,
    distill,
    distillation_loss,
    evaluate,
    fit,
    load_data,
    log_softmax,
    soft_cross_entropy,
    softmax,
)
from minikd.experiments.intervals import mean_interval
from minikd.methods.sp import sp_loss
from minikd.ops import softmax_backward
from minikd.optim import cosine
from minikd.report import plots

FAST = bool(os.environ.get("MINIKD_FAST"))
SEEDS = range(2 if FAST else 5)
EPOCHS = 5 if FAST else 30
data = load_data("digits")
x, y, K = data.x_train, data.y_train, len(data.class_names)
T, w = 4.0, 0.9  # temperature, and the weight of the teacher's part

# %% [markdown]
# ## The right thing first
#
# Everything below is compared with the distillation loss of tutorial 03. With the student's logits $z$, the teacher's
# $v$, the labels $y$ as one-hot rows, $p = \mathrm{softmax}(z)$, $p^T = \mathrm{softmax}(z/T)$ and
# $q^T = \mathrm{softmax}(v/T)$,
#
# $$ L = (1-w)\, \mathrm{CE}(y, p) + w\, T^2\, \mathrm{CE}(q^T, p^T), \qquad
# \frac{dL}{dz} = \frac{(1-w)(p - y) + w\,T\,(p^T - q^T)}{B} . $$


# %%
def hard_part(z, y):
    p, rows = softmax(z), np.arange(len(z))  # (B, K), (B,)
    return -log_softmax(z)[rows, y].mean(), (p - np.eye(K)[y]) / len(z)  # L, (B, K)


def soft_part(z, v):
    q, logp = softmax(v, T), log_softmax(z, T)  # (B, K), (B, K)
    return -T * T * (q * logp).sum() / len(z), T * (np.exp(logp) - q) / len(z)  # L, (B, K)


def mix(hard, soft):
    return tuple((1 - w) * a + w * b for a, b in zip(hard, soft, strict=True))


def right(z, y, v):
    return mix(hard_part(z, y), soft_part(z, v))


rng = np.random.default_rng(0)
z_try, v_try, y_try = 4 * rng.normal(size=(16, K)), 4 * rng.normal(size=(16, K)), rng.integers(0, K, 16)
minikds = distillation_loss(z_try, y_try, v_try, temperature=T, soft_weight=w)
largest = max(float(np.abs(a - b).max()) for a, b in zip(right(z_try, y_try, v_try), minikds, strict=True))
print(f"largest difference from minikd's distillation_loss: {largest:.0e}")

# %% [markdown]
# The teacher has two layers of 128 units and dropout, the student 8 hidden units: for ten digits that is scant. They
# are tanh units, for among eight relu units a few that never become active would let luck decide. A number after ± is
# half of a 95 % interval over seeds (tutorial 04); differences are paired, seed by seed.


# %%
def train(loss, *targets, seed, hidden=(8,), lr=0.03, epochs=EPOCHS, images=x, outputs=K, **kind):
    model = MLP((images.shape[1], *hidden, outputs), seed=1000 + seed, **{"activation": "tanh", **kind})
    settings = {"epochs": epochs, "batch_size": 32, "schedule": cosine(), "seed": seed, "progress": False}
    fit(model, images, targets, loss=loss, optimizer=Adam(model, lr), **settings)
    return model


big = {"hidden": (128, 128), "activation": "relu", "dropout": (0, 0.3, 0.3), "lr": 2e-3}
taught_loss = partial(distillation_loss, temperature=T, soft_weight=w)
teachers = [train(cross_entropy, y, seed=seed, **big) for seed in SEEDS]
knowledge = [teacher.predict(x) for teacher in teachers]  # (N, K) each


def smoothed(labels, share=0.1):
    return ((1 - share) * np.eye(K)[labels] + share / K).astype(np.float32)  # (N, K)


def scores(models, part="test"):
    # Errors in percent, and NLL in nats, of one model a seed: (seeds, 2).
    images, labels = (data.x_val, data.y_val) if part == "val" else (data.x_test, data.y_test)
    found = [evaluate(model, images, labels) for model in models]
    return np.array([(100 * (1 - s.accuracy), s.nll) for s in found])


def say(name, values, digits=2):
    mean, half = mean_interval(values)
    print(f"{name:<58}{mean:+9.{digits}f} ± {half:.{digits}f}")


# %% [markdown]
# ## 1. When the rival was kept small
#
# The easiest way to make distillation look good is to compare it with a badly trained student. Two things are owed to
# the student on labels alone. First a **learning rate of its own**: the losses have slopes of other sizes, and a rate
# that suits one need not suit the other. We choose it on validation images, for each of three ways to learn: labels,
# smoothed labels (a tenth of the probability spread over all classes, the control of tutorial 04), and a teacher.

# %%
ways = {
    "labels alone": (cross_entropy, lambda seed: (y,)),
    "smoothed labels": (soft_cross_entropy, lambda seed: (smoothed(y),)),
    "taught": (taught_loss, lambda seed: (y, knowledge[seed])),
}
rates, best, models = (0.03,) if FAST else (0.01, 0.03, 0.06), {}, {}
for name, (loss, targets) in ways.items():
    tried = {lr: [train(loss, *targets(seed), seed=seed, lr=lr) for seed in SEEDS] for lr in rates}
    wrong = {lr: scores(students, "val")[:, 0].mean() for lr, students in tried.items()}
    best[name] = min(wrong, key=wrong.get)
    models[name] = tried[best[name]]
    print(f"{name:<16}", *(f"{lr:g}: {e:5.2f} %" for lr, e in wrong.items()), f"  chosen {best[name]:g}", sep="   ")

test = {name: scores(students) for name, students in models.items()} | {"teacher": scores(teachers)}  # (seeds, 2)
for name, s in test.items():
    (e, e_half), (nll, nll_half) = mean_interval(s[:, 0]), mean_interval(s[:, 1])
    print(f"{name:<16} test errors {e:5.2f} ± {e_half:.2f} %, NLL {nll:.3f} ± {nll_half:.3f} nats")
gain = test["labels alone"] - test["taught"]  # (seeds, 2)
say("gain of being taught, percentage points of test errors", gain[:, 0])

# %% [markdown]
# Second, an **equal budget**. Whoever distils has trained a teacher, too. What if the student on labels alone gets
# that time? Measured by the clock, our teacher takes about as long as three of these students (small networks cost
# little but overhead); by multiplications, some forty times as long. So let labels alone have three and nine times the
# epochs.

# %%
longer = {1: models["labels alone"]}
for factor in (3,) if FAST else (3, 9):
    longer[factor] = [
        train(cross_entropy, y, seed=seed, lr=best["labels alone"], epochs=factor * EPOCHS) for seed in SEEDS
    ]
budget = {factor: test["taught"] - scores(students) for factor, students in longer.items()}  # (seeds, 2) each
for factor, difference in budget.items():
    say(f"taught, less labels alone with {factor}x the epochs: errors, %", difference[:, 0])

# %% [markdown]
# **What to notice.** Labels alone do best with the smallest rate here, and hardly mind which; a teacher wants a larger
# one. Had we fixed one rate for both, that choice would have decided who wins on validation images: at 0.01 labels
# alone, at 0.03 the teacher. With a rate for each, the gain on test images is a fraction of a point, and its interval
# reaches well below 0. With three times the epochs labels alone have caught up: what is left of the difference is next
# to nothing. "Five seeds cannot show it" does not mean that there is no gain. It means that nobody may report one.
#
# ## 2. When it is regularisation that helps
#
# A soft target does two things at once. It keeps the student from being too sure, as any softened label would
# (**regularisation**: whatever keeps a network from trusting its training images too far); and it says which other
# digits this one resembles. Only the second needs a teacher. Label smoothing is the control: it softens, and knows
# nothing. So the gain splits, with $E$ for errors, into
#
# $$ E_{\text{labels}} - E_{\text{taught}} = \underbrace{(E_{\text{labels}} - E_{\text{smoothed}})}_{\text{softening}} +
# \underbrace{(E_{\text{smoothed}} - E_{\text{taught}})}_{\text{what the teacher knows}} . $$

# %%
softening = test["labels alone"] - test["smoothed labels"]  # (seeds, 2)
knows = test["smoothed labels"] - test["taught"]  # (seeds, 2)
parts = {"softening": softening, "what the teacher knows": knows, "together": gain}
for name, part in parts.items():
    say(f"{name}: percentage points of test errors", part[:, 0])
print(f"share of softening in the gain: {100 * softening[:, 0].mean() / gain[:, 0].mean():.0f} % (a ratio of means)")

# %% [markdown]
# **A teacher that learned from smoothed labels.** Müller, Kornblith and Hinton (2019) found that such a teacher can be
# better itself and yet teach worse. Smoothing asks for the same small probability in every wrong class, whatever the
# image, and so erases what made one 7 more like a 1 and another more like a 9. We can see the erasing: for each class,
# how much do the log probabilities of the wrong classes differ from image to image? And we can see the student.

# %%
smooth_teachers = [train(soft_cross_entropy, smoothed(y), seed=seed, **big) for seed in SEEDS]
smooth_knowledge = [teacher.predict(x) for teacher in smooth_teachers]  # (N, K) each


def spread(v):
    # Standard deviation over the images of a class, of the log probabilities of the other classes; the mean of all.
    logq = log_softmax(v.astype(np.float64))  # (N, K)
    return np.mean([np.delete(logq[y == k], k, axis=1).std(axis=0) for k in range(K)])


spreads = np.array([[spread(v) for v in vs] for vs in (knowledge, smooth_knowledge)])  # (2, seeds)
of_smooth = [train(taught_loss, y, smooth_knowledge[s], seed=s, lr=best["taught"]) for s in SEEDS]
smooth_scores = {"teacher": scores(smooth_teachers), "student": scores(of_smooth)}
say("spread of the log probabilities, teacher on labels, nats", spreads[0])
say("spread of the log probabilities, teacher on smoothed labels", spreads[1])
say("errors by smoothing, of the teacher, points", (smooth_scores["teacher"] - test["teacher"])[:, 0])
say("errors by smoothing, of its student, points", (smooth_scores["student"] - test["taught"])[:, 0])
say("NLL by smoothing, of its student, nats", (smooth_scores["student"] - test["taught"])[:, 1], 3)

# %% [markdown]
# **What to notice.** The split of the gain is a split of something that is itself in doubt: both parts have intervals
# that contain 0, so the share of softening, a ratio of two uncertain numbers, says next to nothing. (Such shares are
# reported all the same.) The scores tell more: smoothing costs NLL, since its student is never sure, and a teacher
# does not.
#
# The smoothed teacher is what Müller et al. describe, in part. The spread within classes, where the dark knowledge is,
# falls to about a third: that is beyond doubt. The teacher itself makes slightly fewer errors. Its student pays in
# NLL, with an interval far from 0; in errors no difference can be shown here. On MNIST, with larger networks, it can:
# see `minikd reproduce muller2019 --committed`.
#
# ## 3. When the teacher is bad
#
# How good must a teacher be? We spoil some in two ways. Some learn from wrong labels: a part of the training images
# gets a label drawn at random. Others learn from few images. The student's own labels remain right in both cases, all
# of them, with the tenth of the weight that they always have.


# %%
def spoilt_teacher(seed, noise=0.0, few=None):
    rng = np.random.default_rng((seed, 7))
    labels = np.where(rng.random(len(y)) < noise, rng.integers(0, K, len(y)), y)  # (N,)
    images = x[:few]  # (n, D)
    epochs = EPOCHS * len(x) // max(len(images), len(x) // 12)  # few images, more epochs: much the same number of steps
    return train(cross_entropy, labels[:few], seed=seed, images=images, epochs=epochs, **big)


kinds = {"all labels right": {}}
kinds |= {
    f"{100 * noise:.0f} % of labels at random": {"noise": noise} for noise in ((0.8,) if FAST else (0.3, 0.6, 0.8))
}
kinds |= {f"{few} images": {"few": few} for few in ((30,) if FAST else (200, 80, 30))}
bad = {}
for name, how in kinds.items():
    spoilt = [spoilt_teacher(seed, **how) for seed in SEEDS] if how else teachers
    students = [
        train(taught_loss, y, t.predict(x), seed=s, lr=best["taught"]) for s, t in zip(SEEDS, spoilt, strict=True)
    ]
    bad[name] = scores(spoilt)[:, 0], scores(students)[:, 0]  # (seeds,), (seeds,)
    (tx, th), (sx, sh) = (mean_interval(values) for values in bad[name])
    mean, half = mean_interval(test["labels alone"][:, 0] - bad[name][1])
    word = "helps" if mean > half else "harms" if mean < -half else "undecided"
    print(f"{name:<25} teacher {tx:4.1f} ± {th:3.1f} %  student {sx:4.1f} ± {sh:3.1f} %  {word}")

# %%
figure = Figure(figsize=(7, 4.2), layout="constrained")
axes = figure.subplots()
for name, (teacher_errors, student_errors) in bad.items():
    (tx, th), (sx, sh) = mean_interval(teacher_errors), mean_interval(student_errors)
    marker, colour = ("s", "#009E73") if "images" in name else ("o", "#D55E00") if "random" in name else ("D", "black")
    axes.errorbar(tx, sx, xerr=th, yerr=sh, fmt=marker, color=colour, capsize=3)
    place = {"xytext": (-6, 6), "ha": "right"} if "images" in name else {"xytext": (7, -12)}
    paper = {"fc": "white", "ec": "none", "alpha": 0.8, "pad": 0.5}  # so that no line runs through a name
    axes.annotate(name, (tx, sx), textcoords="offset points", fontsize=8, bbox=paper, **place)
mean, half = mean_interval(test["labels alone"][:, 0])
axes.axhspan(mean - half, mean + half, color="#999999", alpha=0.3, label="the same student on labels alone")
limit = 1.1 * max(teacher_errors.mean() for teacher_errors, _ in bad.values())
axes.plot([0, limit], [0, limit], ls=":", color="#777777", label="as many errors as its teacher")
axes.set(
    xlabel="test errors of the teacher, %",
    ylabel="test errors of the student, %",
    xlim=(0, 1.4 * limit),
    ylim=(0, None),
)
axes.set_title("How bad may a teacher be?")
axes.legend(loc="upper left", fontsize=9)
plots.show(figure)

# %% [markdown]
# **What to notice.** Even the best teacher's student lies inside the band, or close to it. Bad teachers lead out of
# it, upwards. It does not take a very bad one: the teacher that learned from 30 % random labels makes about as many
# errors as the student on labels alone, and already harms it, perhaps because its answers are blurred by the chance
# that it has seen. Two kinds of badness differ. A teacher that saw few images errs in a consistent way, and its
# student learns to err like it: those points lie on the dotted line or near it. One that learned from wrong labels
# errs at random, and random errors can average out: at 80 % its student makes half of its errors (at 30 % and 60 % no
# such thing can be shown). So the question for a teacher is not only how often it is wrong, but whether it is wrong in
# the same way each time.
#
# ## 4. When the student is too small, or the task too easy
#
# A teacher can only help with what the student could do but would not find. We change the width of the student, and
# leave the rest as it is. At the end we take a task with nothing left to learn: only the digits 0 and 1.

# %%
widths = (4, 16) if FAST else (2, 4, 8, 16, 32, 64)
by_width = {"labels alone": [], "taught": []}
for H in widths:
    for name, runs in by_width.items():
        loss, targets = ways[name]
        tried = {lr: [train(loss, *targets(s), seed=s, hidden=(H,), lr=lr) for s in SEEDS] for lr in rates[:2]}
        wrong = {lr: scores(students, "val")[:, 0].mean() for lr, students in tried.items()}
        runs.append(scores(tried[min(wrong, key=wrong.get)])[:, 0])  # each width has a rate of its own, too
by_width = {name: np.array(runs).T for name, runs in by_width.items()}  # (seeds, widths) each
differences = by_width["labels alone"] - by_width["taught"]  # (seeds, widths)
for H, column in zip(widths, differences.T, strict=True):
    say(f"{H:>2} hidden units: gain of being taught, points of errors", column)

figure = plots.lines(widths, by_width, xlabel="hidden units of the student", ylabel="test errors, %")
figure.axes[0].set(xscale="log", yscale="log", title="The same teachers, students of many widths")
figure.axes[0].set_xticks(widths, widths)
figure.axes[0].minorticks_off()
figure.axes[0].set_yticks((2, 5, 10, 20, 50), (2, 5, 10, 20, 50))
plots.show(figure)

# %%
two = y < 2  # (N,)
easy = {"labels alone": [], "taught": []}
for seed in SEEDS:
    options = {"seed": seed, "images": x[two], "lr": 0.02, "outputs": 2}
    teacher = train(cross_entropy, y[two], **{**options, **big})
    easy["labels alone"].append(train(cross_entropy, y[two], **options))
    easy["taught"].append(train(taught_loss, y[two], teacher.predict(x[two]), **options))
of_two = data.y_test < 2  # (N_test,)
easy_errors = {
    name: [evaluate(model, data.x_test[of_two], data.y_test[of_two]).errors for model in found]
    for name, found in easy.items()
}
print(f"0 or 1: errors on {of_two.sum()} test images, seed by seed")
for name, e in easy_errors.items():
    print(f"{name:<13}", *e)

# %% [markdown]
# **What to notice.** With 2 hidden units being taught costs some ten points, perhaps because two numbers cannot hold
# what ten are asked for, and the student that only has to get the largest right does better. With 32 and 64 there is
# nothing left to gain, and the taught student does slightly worse (with 64 the interval just touches 0). Only in
# between, with 16, is a gain shown. Take even that with care: of six intervals of 95 %, one may miss by chance, and a
# gain at one width that is not there at its neighbours is the kind of result that should be repeated before it is
# believed. On 0 and 1 nobody makes an error, with a teacher or without: where labels suffice, nothing can be gained.
#
# ## 5. When there is a bug: the museum
#
# What follows are ten mistakes that were found in published code for distillation. Nobody is named; all of them are
# easily made. Each exhibit has the broken lines beside the right ones, and a plate: **what** it is, its **symptom**,
# and the **test**, one line that the right code passes and the broken code fails.
#
# Under each plate stand the same measurements. *Gradient check*: does the code's gradient fit its own loss (tutorial
# 01)? *Gradient*: how long is the student's gradient for a batch, as a multiple of the right one, and what is the
# cosine of the angle between the two? *Training*: how much larger or smaller is the NLL on validation images after a
# short training, against the right code?

# %%
n_try = 24
xb, yb, vb = x[:n_try], y[:n_try], knowledge[0][:n_try].astype(np.float64)  # (B, D), (B,), (B, K)
young = train(right, y, knowledge[0], seed=0, epochs=3)  # a student that has begun to learn
zb = young.predict(xb).astype(np.float64)  # (B, K)
halls = []


def student_gradient(loss, v, model=young):
    _, dz = loss(model.forward(xb, train=True), yb, v)[:2]
    model.backward(dz)
    return model.grad.copy()  # (P,)


def nll_after(loss, v_of, **options):
    trained = [train(loss, y, v_of(seed), seed=seed, lr=best["taught"], **options) for seed in SEEDS]
    return scores(trained, "val")[:, 1]  # (seeds,)


right_nll = nll_after(right, lambda seed: knowledge[seed])  # (seeds,)


def plate(name, broken, v=vb, *, true=None, got=None, nll=None, true_nll=right_nll, tests):
    report = check_gradients(lambda z: broken(z, yb, v)[0], zb, broken(zb, yb, v)[1], n_coordinates=50)
    error = report.max_relative_error
    true = student_gradient(right, vb) if true is None else true  # (P,)
    got = student_gradient(broken, v) if got is None else got  # (P,)
    nll = nll_after(broken, lambda seed: knowledge[seed]) if nll is None else nll  # (seeds,)
    size, true_size = np.linalg.norm(got), np.linalg.norm(true)
    ratio, angle, passed = size / true_size, got @ true / (size * true_size), error < 1e-6
    mean, half = mean_interval(nll - true_nll)
    row = {"name": name, "passed": passed, "ratio": ratio, "cosine": angle, "nll": nll - true_nll, "tests": tests}
    halls.append(row)
    print(f"gradient check  {'passes' if passed else 'FAILS'} ({error:.0e})")
    print(f"gradient        {ratio:.3f} times as long, cosine {angle:.3f}")
    print(f"training        NLL {mean:+.3f} ± {half:.3f} nats against the right code ({true_nll.mean():.3f})")
    words = ["passes" if test else "FAILS" for test in tests]  # of the right code, of the broken code
    print(f"test            right code {words[0]}, broken code {words[1]}")


# %% [markdown]
# ### Exhibit 1: the lost T²
#
# - **What.** The teacher's part without the factor $T^2$.
# - **Symptom.** None in any curve. The part's gradient shrinks like $1/T^2$, so at $T = 4$ the teacher counts a
#   sixteenth of what `soft_weight` says, and whoever tunes $T$ tunes the weight without knowing.
# - **Test.** At high temperatures, doubling $T$ must leave the gradient as it is.


# %%
def without_t2(z, y, v):
    soft, dsoft = soft_cross_entropy(z, softmax(v, T).astype(z.dtype), temperature=T)  # L, (B, K)
    return mix(hard_part(z, y), (soft, dsoft))  # right: (T * T * soft, T * T * dsoft)


def soft_slope(T, factor):
    return factor * np.linalg.norm(soft_cross_entropy(zb, softmax(vb, T), temperature=T)[1])


tests = [bool(soft_slope(400, 400**n) > 0.9 * soft_slope(200, 200**n)) for n in (2, 0)]  # with T², and without
plate("T² lost", without_t2, tests=tests)

# %% [markdown]
# ### Exhibit 2: a mean over too much
#
# - **What.** The divergence is averaged over the batch **and** over the classes, as a library's default has it, where
#   the formula sums over classes.
# - **Symptom.** The teacher counts a $K$-th of what it should: with 10 classes a tenth, with 1,000 a thousandth.
# - **Test.** With one-hot targets and $T = 1$, soft cross-entropy is cross-entropy.


# %%
def mean_over_classes(z, y, v):
    soft, dsoft = soft_part(z, v)
    return mix(hard_part(z, y), (soft / K, dsoft / K))  # right: (soft, dsoft)


def soft_mean(z, targets):
    return -(targets * log_softmax(z)).mean()  # right: .sum() / len(z)


def soft_sum(z, targets):
    return -(targets * log_softmax(z)).sum() / len(z)


tests = [bool(abs(f(zb, np.eye(K)[yb]) - cross_entropy(zb, yb)[0]) < 1e-9) for f in (soft_sum, soft_mean)]
plate("mean over classes", mean_over_classes, tests=tests)

# %% [markdown]
# ### Exhibit 3: softmax, twice
#
# - **What.** The network ends in a softmax, and the loss, which wants logits, takes another. Written as it is, its
#   gradient goes back through both.
# - **Symptom.** Training works, slowly. Numbers between 0 and 1 are poor logits: with $K = 10$ the second softmax can
#   give a class at most $e / (e + 9) = 0.23$.
# - **Test.** A student with its teacher's logits has nothing to learn: the gradient is zero.


# %%
def softmax_twice(z, y, v):
    s, q = softmax(z, T), softmax(v, T)  # (B, K), (B, K)
    logp = log_softmax(s)  # (B, K); right: log_softmax(z, T)
    ds = T * T * (np.exp(logp) - q) / len(z)  # (B, K)
    return mix(hard_part(z, y), (-T * T * (q * logp).sum() / len(z), softmax_backward(ds, s, T)))


def nothing_to_learn(loss):
    soft = loss(vb, yb, vb)[1] - (1 - w) * hard_part(vb, yb)[1]  # (B, K): without the labels' part
    return bool(np.abs(soft).max() < 1e-9)


plate("softmax twice", softmax_twice, tests=(nothing_to_learn(right), nothing_to_learn(softmax_twice)))

# %% [markdown]
# ### Exhibit 4: the logarithm of nothing
#
# - **What.** `log(softmax(z))` in two steps. A probability that is smaller than the smallest number becomes 0, its
#   logarithm $-\infty$, and $0 \cdot \infty$ is not a number.
# - **Symptom.** None for days, and then NaN: it waits for the first logit that is far enough from the others.
# - **Test.** Logits of ±10,000 give a finite loss.


# %%
def log_of_softmax(z, y, v):
    e = np.exp(z / T)  # (B, K)
    p, q = e / e.sum(axis=1, keepdims=True), softmax(v, T)  # (B, K), (B, K)
    soft = -T * T * (q * np.log(p)).sum() / len(z)  # right: log_softmax(z, T), which never forms p
    return mix(hard_part(z, y), (soft, T * (p - q) / len(z)))


far = 1e4 * np.sign(zb)  # (B, K)
with np.errstate(all="ignore"):
    tests = [bool(np.isfinite(loss(far, yb, vb)[0])) for loss in (right, log_of_softmax)]
plate("log of softmax", log_of_softmax, tests=tests)

# %% [markdown]
# ### Exhibit 5: the divergence the wrong way round
#
# - **What.** $\mathrm{KL}(p \Vert q)$ for $\mathrm{KL}(q \Vert p)$: the arguments of a library's function were taken
#   in the order of the formula. With $p = p^T$, $q = q^T$ and $r_j = \log (p_j / q_j)$ the gradient is
#   $T\, p_j (r_j - \sum_k p_k r_k) / B$.
# - **Symptom.** It vanishes at the right place, so training ends well; on the way it forgives a student who leaves out
#   what the teacher thinks possible.
# - **Test.** A student that is sure of one class where its teacher wavers between two must pay without bound, more
#   than $T^2 \log 2$.


# %%
def swapped(z, y, v):
    p = softmax(z, T)  # (B, K)
    r = log_softmax(z, T) - log_softmax(v, T)  # (B, K)
    kl = (p * r).sum(axis=1, keepdims=True)  # (B, 1); right: q * (log q - log p)
    return mix(hard_part(z, y), (T * T * kl.mean(), T * p * (r - kl) / len(z)))


sure, wavers = 400 * np.eye(K)[:1], 400 * (np.eye(K)[:1] + np.eye(K)[1:2])  # (1, K), (1, K)
label = np.zeros(1, int)
tests = [bool(loss(sure, label, wavers)[0] > w * T * T * np.log(2) + 1) for loss in (right, swapped)]
plate("divergence swapped", swapped, tests=tests)

# %% [markdown]
# ### Exhibit 6: one object, two names
#
# - **What.** `teacher = student` where a copy was meant, or one network handed over twice. Then $q^T = p^T$.
# - **Symptom.** The teacher's part has no gradient; what is left of learning are the labels, at a tenth of their
#   weight. Its loss moves all the same, which is why the gradient check speaks up.
# - **Test.** `teacher is not student`; minikd raises a ValueError.


# %%
def its_own_teacher(z, y, v):
    return right(z, y, z)  # right: right(z, y, v)


def can_teach(teacher, student):
    try:
        distill(student, teacher, xb, yb, epochs=1, optimizer=Adam(student, 0.01), progress=False)
    except ValueError as error:
        print("minikd:", str(error).split(":")[0])
        return False
    return True


pupil = MLP(young.sizes, activation="tanh")
alias = pupil  # right: a copy of it, or another network
plate("own teacher", its_own_teacher, tests=(can_teach(teachers[0], pupil), can_teach(alias, pupil)))

# %% [markdown]
# ### Exhibit 7: a teacher that goes on practising
#
# - **What.** The teacher answers in training mode: with dropout on, it drops other units each time it is asked.
# - **Symptom.** An image gets another answer in each epoch, so the loss is noisier; little else.
# - **Test.** Asked twice, it gives the same answer.


# %%
def practising(seed):
    teacher = teachers[seed]
    teacher.seed_dropout(seed)  # its noise, the same whenever this tutorial runs
    return lambda images: teacher.forward(images, train=True).copy()  # right: teacher.predict(images)


noisy = practising(0)


def noisy_teacher(z, y, v):
    return right(z, y, noisy(xb).astype(z.dtype))


tests = [bool(np.array_equal(ask(xb), ask(xb))) for ask in (teachers[0].predict, noisy)]
noisy_gradient = student_gradient(noisy_teacher, vb)  # (P,)
nll = nll_after(right, practising)
plate("teacher with dropout on", noisy_teacher, got=noisy_gradient, nll=nll, tests=tests)

# %% [markdown]
# ### Exhibit 8: a student that does not practise
#
# - **What.** Between two epochs someone evaluated, and nobody switched back: the student trains in evaluation mode,
#   its dropout off. Here the right student has dropout of 0.2 on its hidden units, and is its own measure.
# - **Symptom.** Two settings of dropout that give the same curve.
# - **Test.** In training, two passes of the same batch differ.

# %%
dropping = MLP(young.sizes, activation="tanh", dropout=(0, 0.2))
dropping.theta[...] = young.theta
asleep = MLP(young.sizes, activation="tanh")  # what dropout comes to in evaluation mode
asleep.theta[...] = young.theta


def passes_differ(model):
    return not np.array_equal(model.forward(xb, train=True).copy(), model.forward(xb, train=True))


tests = (passes_differ(dropping), passes_differ(asleep))
true, got = student_gradient(right, vb, dropping), student_gradient(right, vb, asleep)  # (P,), (P,)
true_nll = nll_after(right, lambda seed: knowledge[seed], dropout=(0, 0.2))
plate("student in evaluation mode", right, true=true, got=got, nll=right_nll, true_nll=true_nll, tests=tests)

# %% [markdown]
# ### Exhibit 9: the other norm
#
# - **What.** Methods that compare the similarities between images (here Tung and Mori 2019, on logits) scale each row
#   of $G = z z^\top$ to length 1. A library's `normalize` was called with `p=1`: the sum of absolute values is 1, and
#   not that of squares.
# - **Symptom.** For a batch of $B$ the loss is about $B$ times too small, and the published weight is no longer a
#   weight.
# - **Test.** The squares of a row sum to 1.


# %%
def similarities(z, v, norm):
    G, H = z @ z.T, v @ v.T  # (B, B), (B, B)
    size, size_v = norm(G), norm(H)  # (B, 1), (B, 1)
    u, difference = G / size, G / size - H / size_v  # (B, B), (B, B)
    du = 2 * difference / G.size  # (B, B)
    slope = u if norm is l2 else np.sign(G)  # (B, B): how a row's size grows with its entries
    dG = (du - slope * (du * u).sum(axis=1, keepdims=True)) / size  # (B, B)
    return (difference**2).mean(), (dG + dG.T) @ z  # L, (B, K)


def l2(G):
    return np.sqrt((G * G).sum(axis=1, keepdims=True))


def l1(G):
    return np.abs(G).sum(axis=1, keepdims=True)


def alike(z, y, v, norm=None, gamma=30.0):
    (hard, dhard), (soft, dsoft) = hard_part(z, y), similarities(z, v, norm)
    return hard + gamma * soft, dhard + gamma * dsoft


sp_difference = max(float(np.abs(a - b).max()) for a, b in zip(similarities(zb, vb, l2), sp_loss(zb, vb), strict=True))
print(f"largest difference of the right one from minikd's sp_loss: {sp_difference:.0e}")
right_alike, l1_alike = partial(alike, norm=l2), partial(alike, norm=l1)
tests = [bool(np.allclose(((zb @ zb.T / norm(zb @ zb.T)) ** 2).sum(axis=1), 1)) for norm in (l2, l1)]
true, true_nll = student_gradient(right_alike, vb), nll_after(right_alike, lambda seed: knowledge[seed])
plate("L1 for L2", l1_alike, true=true, true_nll=true_nll, tests=tests)

# %% [markdown]
# ### Exhibit 10: answers to other questions
#
# - **What.** The teacher's logits were computed once and kept, and the images were shuffled since, or whatever reads
#   them shuffled while they were computed. Image and answer no longer belong together.
# - **Symptom.** This one nobody overlooks: the NLL ends above that of a network that knows nothing,
#   $\log 10 \approx 2.30$.
# - **Test.** The kept answers agree with the labels as often as the teacher is right.


# %%
def out_of_step(v):
    return v[np.random.default_rng(3).permutation(len(v))]  # right: v


accuracy = evaluate(teachers[0], x, y).accuracy
tests = [bool(abs((v.argmax(axis=1) == y).mean() - accuracy) < 1e-9) for v in (knowledge[0], out_of_step(knowledge[0]))]
nll = nll_after(right, lambda seed: out_of_step(knowledge[seed]))  # (seeds,)
plate("logits out of step", right, v=out_of_step(vb), nll=nll, tests=tests)

# %% [markdown]
# ### The way out: all ten at a glance

# %% tags=["cover"]
figure = Figure(figsize=(9.5, 4.6), layout="constrained")
panels = figure.subplots(1, 3, sharey=True)
at = np.arange(len(halls))
panels[0].scatter([h["ratio"] for h in halls], at, color="#0072B2", zorder=3)
panels[0].set(xscale="log", xlabel="length of the gradient,\nmultiple of the right one", xlim=(0.05, 6))
panels[0].set_xticks((0.1, 0.3, 1, 3), (0.1, 0.3, 1, 3))
panels[1].scatter([h["cosine"] for h in halls], at, color="#0072B2", zorder=3)
panels[1].set(xlabel="cosine of the angle between\nthe gradient and the right one", xlim=(-0.4, 1.1))
for h, k in zip(halls, at, strict=True):
    mean, half = mean_interval(h["nll"])
    panels[2].errorbar(mean, k, xerr=half, fmt="o", color="#D55E00" if mean - half > 0 else "#0072B2", capsize=3)
panels[2].set_xscale("symlog", linthresh=0.1)
panels[2].set(xlabel="validation NLL, more than\nthe right code's, nats, 95 %")
panels[2].set_xticks((-0.1, 0, 0.1, 1), (-0.1, 0, 0.1, 1))
for axes, line in zip(panels, (1, 1, 0), strict=True):
    axes.axvline(line, color="black", lw=0.8)
    axes.grid(True, alpha=0.3)
    axes.minorticks_off()
names = [f"{h['name']}{'' if h['passed'] else ' *'}" for h in halls]
panels[0].set_yticks(at, [f"{k + 1}  {name}" for k, name in enumerate(names)])
panels[0].invert_yaxis()
figure.suptitle("Ten bugs (*: found by a gradient check; right, orange: harm that shows)")
plots.show(figure)

# %%
print(f"{'':<30}{'gradient check':>15}{'length':>9}{'cosine':>9}{'NLL':>16}")
for h in halls:
    mean, half = mean_interval(h["nll"])
    line = f"{h['name']:<30}{'passes' if h['passed'] else 'FAILS':>15}{h['ratio']:>9.3f}{h['cosine']:>9.3f}"
    print(f"{line}{mean:>+9.3f} ± {half:.3f}")

# %% [markdown]
# **What to notice.** Most of these bugs are invisible to the two things that people look at. A **gradient check**
# passes eight of ten, because the code computes the right gradient of the wrong loss; it speaks up only where the loss
# itself moves when it should not (exhibit 6) or is different each time (exhibit 7). And **training** ends, within what
# five seeds can tell, where the right code ends: only softmax twice and the answers out of step do harm that shows.
# The student learns from labels in any case, and section 1 said how little a teacher adds here; a bug that silences
# the teacher costs no more than that. This is how such code comes to be published, and the comparison that was made
# with it means nothing: the method that was measured is not the method that was described.
#
# What finds them are identities, things that must be so whatever the data. Nothing to learn at $z = v$. One-hot
# targets give cross-entropy. The size of the gradient at high $T$. The same question twice, the same answer. Each
# costs a line; minikd's own tests are full of such lines, and `distill(m, m, ...)` is an error there.
#
# ## Exercises
#
# **1.** A teacher that learned from 80 % random labels harms. Does it harm less with a smaller `soft_weight`? Try 0.1
# and 0.5.
#
# <details><summary>Answer</summary>
#
# Yes. With five seeds each, at 0.9 its student makes 8.3 ± 1.5 points more errors than on labels alone; at 0.5 and at
# 0.1 no difference can be shown (a gain of -0.0 ± 1.1 and 0.7 ± 0.8). `partial(distillation_loss, temperature=T,
# soft_weight=0.5)` in place of `taught_loss` does it. A teacher that one is not sure of should not have nine tenths of
# the say; which weight is best is again a question for validation images.
#
# </details>
#
# **2.** Exhibit 3 has a floor: however well the student learns, the loss of softmax applied twice stays above a
# number. Which, for one-hot targets and $K = 10$?
#
# <details><summary>Answer</summary>
#
# The first softmax gives at best 1 for the right class and 0 for the others. The second makes $e / (e + 9)$ of that,
# so the loss is at least $\log(1 + 9/e) \approx 1.46$ nats: `log_softmax(np.eye(10)[:1])[0, 0]` shows it. A training
# loss that levels out at a number that depends on $K$ alone is worth a look.
#
# </details>
#
# **3.** Derive the gradient of exhibit 5, $\mathrm{KL}(p \Vert q)$ with $p = \mathrm{softmax}(z/T)$, and say why it
# forgives.
#
# <details><summary>Answer</summary>
#
# $\mathrm{KL} = \sum_k p_k r_k$ with $r_k = \log p_k - \log q_k$. A change of $p$ changes it by
# $\sum_k (r_k + 1)\, dp_k$, and $\sum_k dp_k = 0$. With $dp_k = p_k ([k = j] - p_j)\, dz_j / T$ this is
# $p_j (r_j - \sum_k p_k r_k)\, dz_j / T$; times $T^2$, it is the code. The factor $p_j$ is what forgives: where the
# student gives a class nothing, the slope is nothing, too, whatever the teacher says. In the right order the slope is
# $p_j - q_j$, which is there as long as they differ.
#
# </details>
#
# ## Sources
#
# - Hinton, Vinyals, Dean (2015): *Distilling the Knowledge in a Neural Network*. arXiv 1503.02531 (the loss, and T²).
# - Müller, Kornblith, Hinton (2019): *When Does Label Smoothing Help?* arXiv 1906.02629 (the smoothed teacher).
# - Yuan, Tay, Li, Wang, Feng (2020): *Revisiting Knowledge Distillation via Label Smoothing Regularization*. arXiv
#   1909.11723 (bad teachers, and how much of the gain is regularisation).
# - Mirzadeh et al. (2020): *Improved Knowledge Distillation via Teacher Assistant*. arXiv 1902.03393 (students that
#   are too small for their teacher).
# - Tung, Mori (2019): *Similarity-Preserving Knowledge Distillation*. arXiv 1907.09682 (exhibit 9).
#
# Next: `13_gpu_and_machines`, the same code on a GPU and on several machines.

# %%
# What the text claims, checked each time this runs.
assert largest < 1e-12 and sp_difference < 1e-12
assert test["teacher"][:, 0].mean() < test["labels alone"][:, 0].mean()
assert (spreads[1] < 0.8 * spreads[0]).all()  # smoothing erases
harm = mean_interval(bad["80 % of labels at random"][1] - test["labels alone"][:, 0])
assert harm[0] > (0 if FAST else harm[1])
assert FAST or bad["80 % of labels at random"][1].mean() < 0.7 * bad["80 % of labels at random"][0].mean()
nll_harm = mean_interval((smooth_scores["student"] - test["taught"])[:, 1])
assert FAST or nll_harm[0] > nll_harm[1]
assert sum(map(sum, easy_errors.values())) <= 1
assert len(halls) == 10 and all(h["tests"][0] and not h["tests"][1] for h in halls)
assert [h["name"] for h in halls if not h["passed"]] == ["own teacher", "teacher with dropout on"]
found = {h["name"]: mean_interval(h["nll"]) for h in halls}
harms = ("logits out of step",) if FAST else ("softmax twice", "logits out of step")
for name, (mean, half) in found.items():
    assert mean > half if name in harms else FAST or mean <= half
assert FAST or abs(mean_interval(gain[:, 0])[0]) < mean_interval(gain[:, 0])[1]
