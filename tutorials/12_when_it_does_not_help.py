# %% [markdown]
# # 12 · When does distillation not help?
#
# **In short.** It does not help if labels suffice. With 50 of 899 images of digits, a student errs on 8.7 % of the test
# images with a teacher and on 19.2 % without. With all of them, a gain is undecided (−0.07 ± 0.25 points), and label
# smoothing, which has no knowledge, does better. A teacher does not help either if it is worse than the student alone,
# if the student is far too small, or if the code has a bug. Of ten mistakes found in published code, most pass a
# gradient check and hardly show in training. A test of one line finds each.
#
# - **What you will learn:** when a teacher helps, hurts or is undecided, and how to find ten published bugs
# - **Prerequisites:** tutorials 03 to 05
# - **Hours:** 2.5
#
# Papers report what worked. This tutorial looks for the limits. On one small task we change the data, the baselines,
# the teacher, the student and the code, and measure with ten seeds each time whether a teacher helps.

# %%
import os
from functools import cache, partial

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
from minikd.data import few
from minikd.experiments.intervals import mean_interval, verdict
from minikd.methods.sp import sp_loss
from minikd.ops import softmax_backward
from minikd.optim import cosine
from minikd.report import plots
from minikd.report.run_plots import errors_by_images

FAST = bool(os.environ.get("MINIKD_FAST"))
SEEDS = range(2 if FAST else 10)
data = load_data("digits")
x, y, K = data.x_train, data.y_train, len(data.class_names)
ALL, FEW = len(x), 100  # training images: all 899, and the number that most students are shown
T, w = 4.0, 0.9  # temperature, and the weight of the teacher's part

# %% [markdown]
# ## The right loss
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
print(f"by hand and minikd's distillation_loss, largest difference: {largest:.0e}")

# %% [markdown]
# ## 1. If data suffice
#
# The teacher has two layers of 256 units with dropout, and learns from all 899 training images. The student has 64
# units and is shown some of them, drawn anew for each seed. It learns from their labels alone, from smoothed labels (a
# tenth of the probability spread over all classes), or from the teacher's answers. All three have the same images,
# initial weights, number of steps and learning rate (section 2 tunes the rate for each).


# %%
def train(loss, *targets, seed, rows, hidden=(64,), lr=0.03, epochs=None, first=1000, **kind):
    # targets (N, ...) are those of all training images; the network is shown the images of `rows`
    model = MLP((x.shape[1], *hidden, K), seed=first + seed, **kind)
    epochs = (epochs or max(30, 100 * FEW // len(rows))) // (2 if FAST else 1)  # as many steps if images are few
    options = {"epochs": epochs, "batch_size": 32, "schedule": cosine(), "seed": seed, "progress": False}
    shown = tuple(t if callable(t) else t[rows] for t in targets)  # (n, ...) each
    fit(model, x[rows], shown, loss=loss, optimizer=Adam(model, lr), **options)
    return model


def train_teacher(loss, targets, seed, n=ALL):
    kind = {"hidden": (256, 256), "dropout": (0, 0.5, 0.5), "lr": 3e-3, "epochs": 20 * ALL // n, "first": 0}
    return train(loss, targets, seed=seed, rows=few(y, n, seed=seed), **kind)


def smoothed(labels, share=0.1):
    return ((1 - share) * np.eye(K)[labels] + share / K).astype(np.float32)  # (N, K)


def errors(models, images=data.x_test, labels=data.y_test):
    return np.array([100 * (1 - evaluate(model, images, labels).accuracy) for model in models])  # (seeds,), %


def val_nll(models):
    return np.array([evaluate(model, data.x_val, data.y_val).nll for model in models])  # (seeds,), nats


def print_gain(name, gain):
    mean, half = mean_interval(gain)  # gain (seeds,): points fewer errors, paired by seed
    verdicts.append(verdict(mean, half))
    print(f"{name:<68}{mean:+7.2f} ± {half:.2f}  {verdicts[-1]}")


def pm(name, values):
    mean, half = mean_interval(values)
    return f"{name} {mean:5.2f} ± {half:.2f}"


verdicts = []  # all verdicts, in order
taught = partial(distillation_loss, temperature=T, soft_weight=w)
teachers = [train_teacher(cross_entropy, y, seed) for seed in SEEDS]
knowledge = [teacher.predict(x) for teacher in teachers]  # (N, K) each
ways = {
    "labels": (cross_entropy, lambda seed: (y,)),
    "smoothed": (soft_cross_entropy, lambda seed: (smoothed(y),)),
    "distilled": (taught, lambda seed: (y, knowledge[seed])),
}


@cache
def students(way, n, lr=0.03, **options):
    loss, targets = ways[way]
    return [train(loss, *targets(seed), seed=seed, rows=few(y, n, seed=seed), lr=lr, **options) for seed in SEEDS]


# %% tags=["cover"]
counts = (50, ALL) if FAST else (50, 100, 200, 400, ALL)
teacher_errors = errors(teachers)
curves = {way: np.array([errors(students(way, n, 0.03)) for n in counts]).T for way in ways}  # (seeds, counts) each
words = {"xlabel": "training images that the student is shown", "last": f"all {ALL}"}
title = "The fewer images a student is shown, the more a teacher helps"
figure = errors_by_images(counts, curves, teacher_errors, title=title, **words)
figure.set_size_inches(5.8, 3.5)
plots.show(figure)

# %%
gains = curves["labels"] - curves["distilled"]  # (seeds, counts)
print("gains are in points of errors: mean, half-width of the 95 % interval, verdict\n")
for j, n in enumerate(counts):
    print(f"{n} images: test errors, %", *(pm(f"  {way}", curves[way][:, j]) for way in ways))
    print_gain("  gain of distillation over labels alone", gains[:, j])
words = f"gain of distillation with {counts[1]} images over labels alone with {counts[-2]}"
print_gain(words, curves["labels"][:, -2] - curves["distilled"][:, 1])

# %% [markdown]
# **What to notice.** With few images the gap is wide: with 50 images a teacher *helps* by 10.5 ± 2.4 points. It closes
# with more: 6.1, 3.0 and 1.1 points, and with all 899 images −0.07 ± 0.25, *undecided*. A distilled student with 100
# images errs on 6.1 %, labels alone with 400 on 5.3 %: the difference is *undecided*. The teacher passes on what it
# learned from images that the student has not seen. A student that has seen them all has little left to learn from it.
#
# ## 2. If the baseline is badly tuned
#
# Distillation looks good against a badly trained student. A fair baseline has its **own learning rate**, chosen on
# validation images, and an **equal budget**: distillation also trains a teacher, with thirty times this student's
# multiplications. We give labels alone nine times the epochs.

# %%
rates, best, test = (0.03,) if FAST else (0.01, 0.03, 0.1), {}, {}
for n in (FEW, ALL):
    print(f"{n} images shown: validation errors in % at each learning rate")
    on_val = {}
    for way in ways:
        tried = {lr: students(way, n, lr) for lr in rates}
        best[way, n] = min(rates, key=lambda lr: val_nll(tried[lr]).sum())  # NLL is less coarse than errors
        test[way, n] = errors(tried[best[way, n]])  # (seeds,)
        on_val[way] = np.array([errors(models, data.x_val, data.y_val) for models in tried.values()])  # (rates, seeds)
        means = "".join(f"{lr:>10g}: {e:5.2f}" for lr, e in zip(rates, on_val[way].mean(axis=1), strict=True))
        print(f"  {way:<9}{means}   chosen {best[way, n]:g}")
    for lr, gain in zip(rates, on_val["labels"] - on_val["distilled"], strict=True):
        print_gain(f"  gain of distillation over labels alone, both at {lr:g}", gain)
for n in (FEW, ALL):
    print_gain(f"{n} images, each at its own rate: gain on test images", test["labels", n] - test["distilled", n])
longer = students("labels", FEW, best["labels", FEW], epochs=(2 if FAST else 9) * 100)
print_gain(f"{FEW} images: gain over labels alone with 9 times the epochs", errors(longer) - test["distilled", FEW])

# %% [markdown]
# **What to notice.** With 100 images, distillation *helps* at each of these rates, but by 5.9 points at 0.01 and by 9.3
# at 0.1, where labels alone get worse. With each at its own rate it helps by 5.5 ± 1.5 points on test images, and nine
# times the epochs do not replace a teacher. With all 899, the rate decides: on validation images it *hurts* at 0.01, is
# *undecided* at 0.03 and *helps* at 0.1 by 0.94 ± 0.86 points, a gain that vanishes if labels alone have their own
# rate. *Undecided* does not mean that there is no gain. It means that none was shown.
#
# ## 3. If regularisation helps, not knowledge
#
# A soft target does two things. It keeps the student from being overconfident, as any softened label does
# (**regularisation**: anything that keeps a network from fitting its training images too closely). And it says which
# other digits this one resembles. Only the second needs a teacher. The control is label smoothing, which softens
# without knowledge. So the gain of smoothing over labels is the effect of softening, and the gain of a teacher over
# smoothing is the effect of its knowledge.

# %%
for n in (FEW, ALL):
    print_gain(f"{n} images, softening: gain of smoothing over labels", test["labels", n] - test["smoothed", n])
    print_gain(f"{n} images, knowledge: gain of the teacher over smoothing", test["smoothed", n] - test["distilled", n])


def taught_by(answers, n=FEW, weight=w):
    # answers: seeds times (N, K)
    loss, lr = partial(distillation_loss, temperature=T, soft_weight=weight), best["distilled", n]
    return [train(loss, y, v, seed=s, rows=few(y, n, seed=s), lr=lr) for s, v in zip(SEEDS, answers, strict=True)]


light = errors(taught_by(knowledge, ALL, 0.1))  # (seeds,): the weight that tutorial 05 finds for all images
print_gain(f"{ALL} images, w = 0.1: gain over labels alone", test["labels", ALL] - light)
print_gain(f"{ALL} images, w = 0.1: gain over smoothed labels", test["smoothed", ALL] - light)

# %% [markdown]
# **A teacher that learned from smoothed labels.** Müller, Kornblith and Hinton (2019) found that such a teacher can be
# better itself but teach worse. Smoothing asks for the same small probability in every wrong class of every image. So
# it erases that one 7 is more like a 1 and another more like a 9. To show this we measure, for each class, how much the
# log probabilities of the wrong classes vary between images.

# %%
smooth_teachers = [train_teacher(soft_cross_entropy, smoothed(y), seed) for seed in SEEDS]
smooth_knowledge = [teacher.predict(x) for teacher in smooth_teachers]  # (N, K) each


def spread(v):
    # standard deviation of each log probability over the images of a class; mean over classes and other classes
    logq = log_softmax(v.astype(np.float64))  # (N, K)
    return np.mean([np.delete(logq[y == k], k, axis=1).std(axis=0) for k in range(K)])


spreads = np.array([[spread(v) for v in vs] for vs in (knowledge, smooth_knowledge)])  # (2, seeds)
for name, values in zip(("labels", "smoothed labels"), spreads, strict=True):
    print(pm(f"spread of the log probabilities, teacher on {name}, nats", values))
print_gain("teacher on smoothed labels: gain over the teacher on labels", teacher_errors - errors(smooth_teachers))
of_smooth, of_labels = taught_by(smooth_knowledge), students("distilled", FEW, best["distilled", FEW])
print_gain("its student, shown 100 images: gain over the other's student", errors(of_labels) - errors(of_smooth))
nll_lost = val_nll(of_smooth) - val_nll(of_labels)  # (seeds,)
print(pm("validation NLL, its student minus the other's student, nats", nll_lost))

# %% [markdown]
# **Is it the size of its logits?** A smoothed teacher is less confident: its logits are smaller. If this is what hurts
# its student, scaling corrects it, because it keeps the order and the ratios of the logits. So we make the smoothed
# teacher's logits as large as the other's, and the other's half and twice as large.


# %%
def size(v):
    return (v - v.mean(axis=1, keepdims=True)).std()  # v (N, K); softmax does not depend on the mean of a row


sizes = np.array([[size(v) for v in vs] for vs in (knowledge, smooth_knowledge)])  # (2, seeds)
for name, values in zip(("labels", "smoothed labels"), sizes, strict=True):
    print(pm(f"size of the logits, teacher on {name}", values))
enlarged = [v * a / b for v, a, b in zip(smooth_knowledge, *sizes, strict=True)]  # (N, K) each
of_enlarged = taught_by(enlarged)
print_gain("smoothed teacher, logits scaled to the other's size: gain", errors(of_smooth) - errors(of_enlarged))
enlarged_nll = val_nll(of_enlarged) - val_nll(of_labels)  # (seeds,)
print(pm("validation NLL, its student minus that of the teacher on labels, nats", enlarged_nll))
for factor in (0.5, 2.0):
    of_scaled = taught_by([factor * v for v in knowledge])
    print_gain(
        f"teacher on labels, logits × {factor:g}: gain over unscaled logits", errors(of_labels) - errors(of_scaled)
    )

# %% [markdown]
# **What to notice.** With 100 images, the teacher's knowledge is most of the gain: 4.8 ± 1.7 points, and softening
# alone 0.8 ± 0.5. With all 899, smoothed labels *help* by 1.06 ± 0.38 points, and the teacher's knowledge *hurts* by
# 1.14 ± 0.34. With a weight of 0.1, which is better for all images (tutorial 05), a teacher *helps* by 0.34 ± 0.24
# points against labels alone, and still *hurts* against smoothed labels: use smoothing instead.
#
# The smoothed teacher is partly as Müller et al. describe it. The spread within classes, which holds the dark
# knowledge, falls to a third. The teacher itself errs less, by 0.5 ± 0.3 points. Its student's NLL is worse by 0.18 ±
# 0.01 nats; in errors, −0.2 ± 0.7 points are *undecided*. On MNIST, with larger networks and five seeds, +0.12 points
# of errors (−0.02 to +0.26) are *undecided* as well. There, scaling the smoothed teacher's logits to the other's size
# does not help its student: `minikd reproduce muller2019 --committed`.
#
# The size of the logits is part of the reason. The smoothed teacher's are a third as large. Scaled to the other's size
# they cost the student 0.06 ± 0.02 nats instead of 0.18. So two thirds of the loss in NLL came from the size, and one
# third from what smoothing erased. But larger is not better: doubled logits of the teacher on labels *hurt* by 0.9 ±
# 0.7 points, and halved ones are *undecided*. Halving logits is the same as doubling the teacher's temperature. In
# Hinton's full experiment on MNIST both are *undecided*: halved logits change 88 errors by −4 (−18 to +9), doubled ones
# by +3 (−7 to +13), over five seeds (`minikd reproduce hinton2015 --committed`).
#
# ## 4. If the teacher is bad
#
# How good must a teacher be? We spoil teachers in two ways. Some learn from wrong labels: a part of the training images
# gets random labels. Others learn from few images, one of them from the same 100 as its student. The student's own
# labels stay right, with a tenth of the weight.


# %%
def spoilt_teacher(seed, noise=0.0, n=ALL):
    rng = np.random.default_rng((seed, 7))
    labels = np.where(rng.random(len(y)) < noise, rng.integers(0, K, len(y)), y)  # (N,)
    return train_teacher(cross_entropy, labels, seed, n)


kinds = {"all labels right": {}}
kinds |= {f"{100 * noise:.0f} % random labels": {"noise": noise} for noise in ((0.8,) if FAST else (0.3, 0.8))}
kinds |= {f"{n} images": {"n": n} for n in ((50,) if FAST else (200, 100, 50))}
bad = {}
for name, how in kinds.items():
    spoilt = [spoilt_teacher(seed, **how) for seed in SEEDS] if how else teachers
    answers = [teacher.predict(x) for teacher in spoilt]  # (N, K) each
    bad[name] = errors(spoilt), *(errors(taught_by(answers, n)) for n in (FEW, ALL))  # (seeds,) each
    print(pm(f"teacher, {name:<21}", bad[name][0]), "%")
    for n, mine in zip((FEW, ALL), bad[name][1:], strict=True):
        print_gain(pm(f"  student shown {n}", mine) + " %: gain over labels alone", test["labels", n] - mine)

# %%
figure = Figure(figsize=(6.4, 4.0), layout="constrained")
axes = figure.subplots()
for n, i, fill, grey in ((FEW, 1, "full", "#BBBBBB"), (ALL, 2, "none", "#DDDDDD")):
    mean, half = mean_interval(test["labels", n])
    axes.axhspan(mean - half, mean + half, color=grey, label=f"labels alone, {n} images")
    axes.plot([], [], "o", color="#777777", fillstyle=fill, label=f"distilled, {n} images")
    for name, values in bad.items():
        (tx, th), (sx, sh) = mean_interval(values[0]), mean_interval(values[i])
        marker, colour = {"images": ("s", "#009E73"), "labels": ("o", "#D55E00")}.get(name.split()[-1], ("D", "k"))
        axes.errorbar(tx, sx, xerr=th, yerr=sh, fmt=marker, color=colour, fillstyle=fill, capsize=3)
        if ("random" in name) == (n == ALL):  # names of teachers, below or above their students
            up, place = (-sh, "top") if n == ALL else (sh, "bottom")
            axes.text(tx, sx + 1.2 * up, name, fontsize=8, ha="center", va=place)
axes.axline((3, 3), (20, 20), ls=":", color="#777777", label="student equal to its teacher")
axes.set(xscale="log", yscale="log", xlabel="test errors of the teacher, %", ylabel="test errors of the student, %")
axes.set(xlim=(2, 40), ylim=(2, 40), title="Errors of teachers and of their students")
for axis in (axes.xaxis, axes.yaxis):
    axis.set_ticks((2, 5, 10, 20, 40), (2, 5, 10, 20, 40))
axes.minorticks_off()
axes.legend(loc="upper left", fontsize=8)
plots.show(figure)

# %% [markdown]
# **What to notice.** With 100 images, the student alone errs on 11.7 %. The four teachers that err less *help*, and the
# two that err more *hurt*. Even after 30 % random labels the gain is 3.1 ± 0.9 points. The teacher that has seen no
# more than the student errs on 9.9 %, perhaps because it is larger and has dropout. It helps by 1.25 ± 0.60 points,
# less than a quarter of the full gain: the rest is knowledge from more images. With all 899, the student alone errs on
# 3.1 %, and every spoilt teacher *hurts*.
#
# The two kinds of spoilt teachers differ. The errors of a teacher that saw few images are consistent, and its student
# learns to make them: those points lie near the dotted line. A teacher that learned from wrong labels errs at random,
# and random errors average out over many images: after 80 % random labels the teacher errs on 25 %, its student on 14.3
# % with 100 images and on 6.8 % with 899.
#
# ## 5. If the student is too small
#
# A teacher can only help with what the student can represent but does not find alone. We change the width of the
# student. Its units are tanh, because of two relu units one might never become active, and then chance would decide.

# %%
widths = (4, 16) if FAST else (2, 4, 8, 16)
for H in widths:
    found = []
    for way in ("labels", "distilled"):
        tried = [students(way, FEW, lr, hidden=(H,), activation="tanh") for lr in rates[:2]]
        found.append(errors(min(tried, key=lambda models: val_nll(models).sum())))  # each width has its own rate
    print_gain(pm(f"{H:>2} hidden units, labels alone", found[0]) + " %: gain of distillation", found[0] - found[1])

# %% [markdown]
# **What to notice.** With 2 hidden units a teacher *hurts* by 3.9 ± 2.7 points, perhaps because two numbers cannot
# determine ten, while with labels only the largest must be right. With 4 it is *undecided*, and from 8 on a teacher
# *helps*.
#
# ## 6. If there is a bug: ten exhibits
#
# The following ten mistakes were found in published code for distillation. The authors are not named, because all of
# the mistakes are easily made. Each exhibit shows the broken lines beside the right ones, and says **what** the mistake
# is, its **symptom**, and the **test**, one line that the right code passes and the broken code fails.
#
# Each exhibit has the same measurements. *Gradient check*: does the code's gradient belong to its own loss (tutorial
# 01)? *Gradient*: the length of the student's gradient for a batch, as a multiple of the right one, and the cosine of
# the angle between the two. *Training*: how much larger or smaller than with the right code is the NLL on validation
# images, after training on 100 images?

# %%
n_try = 24
xb, yb, vb = x[:n_try], y[:n_try], knowledge[0][:n_try].astype(np.float64)  # (B, D), (B,), (B, K)
half_trained = train(right, y, knowledge[0], seed=0, rows=few(y, FEW), epochs=20)  # a student after a short training
zb = half_trained.predict(xb).astype(np.float64)  # (B, K)
exhibits = []


def student_gradient(loss, v, model=half_trained):
    _, dz = loss(model.forward(xb, train=True), yb, v)[:2]
    model.backward(dz)
    return model.grad.copy()  # (P,)


def nll_after(loss, v_of, **options):
    options = {"lr": best["distilled", FEW], **options}
    trained = [train(loss, y, v_of(seed), seed=seed, rows=few(y, FEW, seed=seed), **options) for seed in SEEDS]
    return val_nll(trained)  # (seeds,)


right_nll = nll_after(right, lambda seed: knowledge[seed])  # (seeds,)


def exhibit(name, broken, v=vb, *, true=None, got=None, nll=None, true_nll=right_nll, tests):
    report = check_gradients(lambda z: broken(z, yb, v)[0], zb, broken(zb, yb, v)[1], n_coordinates=50)
    error = report.max_relative_error
    true = student_gradient(right, vb) if true is None else true  # (P,)
    got = student_gradient(broken, v) if got is None else got  # (P,)
    nll = nll_after(broken, lambda seed: knowledge[seed]) if nll is None else nll  # (seeds,)
    size, true_size = np.linalg.norm(got), np.linalg.norm(true)
    ratio, angle, passed = size / true_size, got @ true / (size * true_size), error < 1e-6
    mean, half = mean_interval(nll - true_nll)
    row = {"name": name, "passed": passed, "ratio": ratio, "cosine": angle, "nll": nll - true_nll, "tests": tests}
    exhibits.append(row)
    print(f"gradient check  {'passes' if passed else 'FAILS'} ({error:.0e})")
    print(f"gradient        length {ratio:.3f} of the right one, cosine {angle:.3f}")
    print(f"training        NLL {mean:+.3f} ± {half:.3f} nats more than the right code ({true_nll.mean():.3f})")
    words = ["passes" if test else "FAILS" for test in tests]  # of the right code, of the broken code
    print(f"test            right code {words[0]}, broken code {words[1]}")


# %% [markdown]
# ### Exhibit 1: T² is missing
#
# - **What.** The teacher's part without the factor $T^2$.
# - **Symptom.** Hardly any. The part's gradient shrinks like $1/T^2$, so at $T = 4$ the teacher has a sixteenth of the
#   weight in `soft_weight`, and tuning $T$ also changes the weight.
# - **Test.** At high temperatures, doubling $T$ must not change the gradient.


# %%
def without_t2(z, y, v):
    soft, dsoft = soft_cross_entropy(z, softmax(v, T).astype(z.dtype), temperature=T)  # L, (B, K)
    return mix(hard_part(z, y), (soft, dsoft))  # right: (T * T * soft, T * T * dsoft)


def soft_slope(T, factor):
    return factor * np.linalg.norm(soft_cross_entropy(zb, softmax(vb, T), temperature=T)[1])


tests = [bool(soft_slope(400, 400**n) > 0.9 * soft_slope(200, 200**n)) for n in (2, 0)]  # with T², and without
exhibit("T² missing", without_t2, tests=tests)

# %% [markdown]
# ### Exhibit 2: the mean over classes
#
# - **What.** The divergence is averaged over the batch **and** over the classes, which is a library's default. The
#   formula sums over classes.
# - **Symptom.** The teacher has $1/K$ of its weight: a tenth with 10 classes, a thousandth with 1,000.
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
exhibit("mean over classes", mean_over_classes, tests=tests)

# %% [markdown]
# ### Exhibit 3: softmax twice
#
# - **What.** The network ends in a softmax, and the loss, which takes logits, applies another. The gradient goes back
#   through both.
# - **Symptom.** Training works, but slowly. Numbers between 0 and 1 are poor logits: with $K = 10$ the second softmax
#   can give a class at most $e / (e + 9) = 0.23$.
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


exhibit("softmax twice", softmax_twice, tests=(nothing_to_learn(right), nothing_to_learn(softmax_twice)))

# %% [markdown]
# ### Exhibit 4: the logarithm of 0
#
# - **What.** `log(softmax(z))` in two steps. A probability that is smaller than the smallest number becomes 0, its
#   logarithm is $-\infty$, and $0 \cdot \infty$ is not a number.
# - **Symptom.** None at first, and NaN as soon as one logit is far enough from the others.
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
exhibit("log of softmax", log_of_softmax, tests=tests)

# %% [markdown]
# ### Exhibit 5: the KL divergence is reversed
#
# - **What.** $\mathrm{KL}(p \Vert q)$ instead of $\mathrm{KL}(q \Vert p)$: the arguments of a library's function were
#   taken in the order of the formula. With $p = p^T$, $q = q^T$ and $r_j = \log (p_j / q_j)$ the gradient is $T\, p_j
#   (r_j - \sum_k p_k r_k) / B$.
# - **Symptom.** The gradient vanishes at the right place, so training ends well. Before that it does not penalise a
#   student that leaves out what the teacher finds possible.
# - **Test.** If a student is certain of one class and its teacher gives two classes a half each, the loss must grow
#   without bound, above $T^2 \log 2$.


# %%
def reversed_kl(z, y, v):
    p = softmax(z, T)  # (B, K)
    r = log_softmax(z, T) - log_softmax(v, T)  # (B, K)
    kl = (p * r).sum(axis=1, keepdims=True)  # (B, 1); right: q * (log q - log p)
    return mix(hard_part(z, y), (T * T * kl.mean(), T * p * (r - kl) / len(z)))


certain, split = 400 * np.eye(K)[:1], 400 * (np.eye(K)[:1] + np.eye(K)[1:2])  # (1, K), (1, K)
label = np.zeros(1, int)
tests = [bool(loss(certain, label, split)[0] > w * T * T * np.log(2) + 1) for loss in (right, reversed_kl)]
exhibit("KL reversed", reversed_kl, tests=tests)

# %% [markdown]
# ### Exhibit 6: the teacher is the student
#
# - **What.** `teacher = student` instead of a copy, or one network is passed twice. Then $q^T = p^T$.
# - **Symptom.** The teacher's part has no gradient, so the student learns only from the labels, at a tenth of their
#   weight. The loss of that part still changes, so the gradient check fails.
# - **Test.** `teacher is not student`; minikd raises a ValueError.


# %%
def its_own_teacher(z, y, v):
    return right(z, y, z)  # right: right(z, y, v)


def accepted(teacher, student):
    try:
        distill(student, teacher, xb, yb, epochs=1, optimizer=Adam(student, 0.01), progress=False)
    except ValueError as error:
        print("minikd:", str(error).split(":")[0])
        return False
    return True


student = MLP(half_trained.sizes)
alias = student  # right: a copy of it, or another network
exhibit("teacher is student", its_own_teacher, tests=(accepted(teachers[0], student), accepted(alias, student)))

# %% [markdown]
# ### Exhibit 7: the teacher in training mode
#
# - **What.** The teacher answers in training mode: with dropout on, it drops different units each time.
# - **Symptom.** An image gets a different answer in each epoch, so the loss is noisier. There is little else to see.
# - **Test.** It gives the same answer twice.


# %%
def with_dropout(seed):
    teacher = teachers[seed]
    teacher.seed_dropout(seed)  # the same dropout in each run of this tutorial
    return lambda images: teacher.forward(images, train=True).copy()  # right: teacher.predict(images)


noisy = with_dropout(0)


def noisy_teacher(z, y, v):
    return right(z, y, noisy(xb).astype(z.dtype))


tests = [bool(np.array_equal(ask(xb), ask(xb))) for ask in (teachers[0].predict, noisy)]
noisy_gradient = student_gradient(noisy_teacher, vb)  # (P,)
nll = nll_after(right, with_dropout)
exhibit("teacher with dropout on", noisy_teacher, got=noisy_gradient, nll=nll, tests=tests)

# %% [markdown]
# ### Exhibit 8: the student in evaluation mode
#
# - **What.** The student was evaluated between two epochs and not switched back, so it trains in evaluation mode, with
#   dropout off. Here the right student has dropout of 0.2 on its hidden units, and is compared with itself.
# - **Symptom.** Two settings of dropout give the same curve.
# - **Test.** In training, two passes of the same batch differ.

# %%
dropout_on = MLP(half_trained.sizes, dropout=(0, 0.2))
dropout_on.theta[...] = half_trained.theta
dropout_off = MLP(half_trained.sizes)  # without dropout, as in evaluation mode
dropout_off.theta[...] = half_trained.theta


def passes_differ(model):
    return not np.array_equal(model.forward(xb, train=True).copy(), model.forward(xb, train=True))


tests = (passes_differ(dropout_on), passes_differ(dropout_off))
true, got = student_gradient(right, vb, dropout_on), student_gradient(right, vb, dropout_off)  # (P,), (P,)
true_nll = nll_after(right, lambda seed: knowledge[seed], dropout=(0, 0.2))
exhibit("student in evaluation mode", right, true=true, got=got, nll=right_nll, true_nll=true_nll, tests=tests)

# %% [markdown]
# ### Exhibit 9: the wrong norm
#
# - **What.** Methods that compare the similarities between images (here Tung and Mori 2019, on logits) scale each row
#   of $G = z z^\top$ to length 1. A library's `normalize` was called with `p=1`: the sum of absolute values is 1, not
#   the sum of squares.
# - **Symptom.** For a batch of $B$ the loss is about $B$ times too small, so the published weight no longer fits.
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


def sp_total(z, y, v, norm=None, gamma=30.0):
    (hard, dhard), (soft, dsoft) = hard_part(z, y), similarities(z, v, norm)
    return hard + gamma * soft, dhard + gamma * dsoft


sp_difference = max(float(np.abs(a - b).max()) for a, b in zip(similarities(zb, vb, l2), sp_loss(zb, vb), strict=True))
print(f"right code and minikd's sp_loss, largest difference: {sp_difference:.0e}")
right_sp, l1_sp = partial(sp_total, norm=l2), partial(sp_total, norm=l1)
tests = [bool(np.allclose(((zb @ zb.T / norm(zb @ zb.T)) ** 2).sum(axis=1), 1)) for norm in (l2, l1)]
true, true_nll = student_gradient(right_sp, vb), nll_after(right_sp, lambda seed: knowledge[seed])
exhibit("L1 norm for L2", l1_sp, true=true, true_nll=true_nll, tests=tests)

# %% [markdown]
# ### Exhibit 10: answers to other images
#
# - **What.** The teacher's logits were computed once and stored, and the images were shuffled afterwards, or during the
#   computation. Image and answer no longer belong together.
# - **Symptom.** This mistake is obvious: the NLL ends above that of equal probabilities, $\log 10 \approx 2.30$.
# - **Test.** The stored answers agree with the labels as often as the teacher is right.


# %%
def mismatched(v):
    return v[np.random.default_rng(3).permutation(len(v))]  # right: v


accuracy = evaluate(teachers[0], x, y).accuracy
tests = [bool(abs((v.argmax(axis=1) == y).mean() - accuracy) < 1e-9) for v in (knowledge[0], mismatched(knowledge[0]))]
nll = nll_after(right, lambda seed: mismatched(knowledge[seed]))  # (seeds,)
exhibit("mismatched logits", right, v=mismatched(vb), nll=nll, tests=tests)

# %% [markdown]
# ### All ten in one picture

# %%
figure = Figure(figsize=(9.2, 4.3), layout="constrained")
panels = figure.subplots(1, 3, sharey=True)
at = np.arange(len(exhibits))
panels[0].scatter([h["ratio"] for h in exhibits], at, color="#0072B2", zorder=3)
panels[0].set(xscale="log", xlabel="length of the gradient,\nrelative to the right one", xlim=(0.05, 8))
panels[0].set_xticks((0.1, 0.3, 1, 3), (0.1, 0.3, 1, 3))
panels[1].scatter([h["cosine"] for h in exhibits], at, color="#0072B2", zorder=3)
panels[1].set(xlabel="cosine of the angle between\nthe gradient and the right one", xlim=(-0.4, 1.1))
for h, k in zip(exhibits, at, strict=True):
    mean, half = mean_interval(h["nll"])
    panels[2].errorbar(mean, k, xerr=half, fmt="o", color="#D55E00" if mean - half > 0 else "#0072B2", capsize=3)
panels[2].set_xscale("symlog", linthresh=0.1)
panels[2].set(xlabel="validation NLL minus that of\nthe right code, nats, 95 %")
panels[2].set_xticks((-0.1, 0, 0.1, 1), (-0.1, 0, 0.1, 1))
for axes, line in zip(panels, (1, 1, 0), strict=True):
    axes.axvline(line, color="black", lw=0.8)
    axes.grid(True, alpha=0.3)
    axes.minorticks_off()
names = [f"{h['name']}{'' if h['passed'] else ' *'}" for h in exhibits]
panels[0].set_yticks(at, [f"{k + 1}  {name}" for k, name in enumerate(names)])
panels[0].invert_yaxis()
figure.suptitle("Ten bugs (*: fails the gradient check; orange: NLL significantly higher)")
plots.show(figure)

# %% [markdown]
# **What to notice.** The two usual checks miss most of these bugs. A **gradient check** passes eight of ten, because
# the code computes the right gradient of the wrong loss. It fails only if the loss itself changes when it should not
# (exhibit 6) or differs each time (exhibit 7). **Training** shows three: softmax twice, the student as its own teacher,
# which loses the whole gain of a teacher, and the shuffled answers. The other seven change the NLL by less than 0.05
# nats, up or down. The first two cost less than 0.02, because a smaller weight does nearly as well here (tutorial 05),
# and exhibit 8 even ends better than the right code. These bugs show only in comparison with the right code. So such
# code gets published, and its comparisons mean nothing: the measured method is not the described one.
#
# Identities find them: facts that hold for any data. The gradient is zero at $z = v$. One-hot targets give
# cross-entropy. The gradient has a constant size at high $T$. The same image gets the same answer twice. Each takes one
# line. minikd's own tests have many such lines, and its `distill(m, m, ...)` raises an error.
#
# ## Exercises
#
# **1.** A teacher that learned from 80 % random labels hurts. Does it hurt less with a smaller `soft_weight`? Try 0.1
# and 0.5.
#
# <details><summary>Answer</summary>
#
# Yes. Shown 100 images, at 0.9 it *hurts* by 2.7 ± 1.7 points; at 0.5 it *helps* by 1.2 ± 0.7 and at 0.1 by 1.8 ± 0.9:
# `taught_by(answers, FEW, 0.5)` of the last spoilt teachers with random labels. Even this teacher is right three times
# in four. A teacher of unknown quality should not have nine tenths of the weight.
#
# </details>
#
# **2.** In exhibit 3 the loss of softmax applied twice has a lower bound, however well the student learns. What is it
# for one-hot targets and $K = 10$?
#
# <details><summary>Answer</summary>
#
# The first softmax gives at best 1 for the right class and 0 for the others. The second makes $e / (e + 9)$ of that, so
# the loss is at least $\log(1 + 9/e) \approx 1.46$ nats: `log_softmax(np.eye(10)[:1])[0, 0]` shows it. A training loss
# that levels out at a number that depends on $K$ alone suggests this bug.
#
# </details>
#
# **3.** Derive the gradient of exhibit 5, $\mathrm{KL}(p \Vert q)$ with $p = \mathrm{softmax}(z/T)$, and say why it
# does not penalise missing classes.
#
# <details><summary>Answer</summary>
#
# $\mathrm{KL} = \sum_k p_k r_k$ with $r_k = \log p_k - \log q_k$. A change of $p$ changes it by
# $\sum_k (r_k + 1)\, dp_k$, and $\sum_k dp_k = 0$. With $dp_k = p_k ([k = j] - p_j)\, dz_j / T$ this is
# $p_j (r_j - \sum_k p_k r_k)\, dz_j / T$; times $T^2$, it is the code. The reason is the factor $p_j$: if the student
# gives a class probability 0, the slope is also 0, whatever the teacher says. In the right order the slope is
# $p_j - q_j$, which is nonzero as long as they differ.
#
# </details>
#
# ## Sources
#
# - Hinton, Vinyals, Dean (2015): *Distilling the Knowledge in a Neural Network*. arXiv 1503.02531 (the loss, and T²).
# - Müller, Kornblith, Hinton (2019): *When Does Label Smoothing Help?* arXiv 1906.02629 (the smoothed teacher).
# - Yuan, Tay, Li, Wang, Feng (2020): *Revisiting Knowledge Distillation via Label Smoothing Regularization*. arXiv
#   1909.11723 (bad teachers, regularisation).
# - Mirzadeh et al. (2020): *Improved Knowledge Distillation via Teacher Assistant*. arXiv 1902.03393 (small students).
# - Tung, Mori (2019): *Similarity-Preserving Knowledge Distillation*. arXiv 1907.09682 (exhibit 9).
#
# Next: `13_gpu_and_machines`, the same code on a GPU and on several machines.

# %%
# What the text claims, checked each time this runs.
assert largest < 1e-12 and sp_difference < 1e-12
assert (gains[:, 0] > 3).all() and gains[:, 0].mean() > gains[:, -1].mean() + 3  # the gap, and that it shrinks
assert (spreads[1] < 0.5 * spreads[0]).all() and (nll_lost > 0).all()  # smoothing erases knowledge
assert (sizes[1] < 0.5 * sizes[0]).all() and enlarged_nll.mean() < 0.6 * nll_lost.mean()  # and makes logits smaller
assert (bad["80 % random labels"][2] > test["labels", ALL]).all()  # a bad teacher hurts
assert len(exhibits) == 10 and all(h["tests"][0] and not h["tests"][1] for h in exhibits)
assert [h["name"] for h in exhibits if not h["passed"]] == ["teacher is student", "teacher with dropout on"]
visible = ("softmax twice", "teacher is student", "mismatched logits")
found = {h["name"]: mean_interval(h["nll"]) for h in exhibits}
assert all(mean > 0.05 if name in visible else abs(mean) < 0.05 for name, (mean, _) in found.items())
if not FAST:
    helps, hurts, undecided = "helps", "hurts", "undecided"
    assert verdicts == [
        *(helps, helps, helps, helps, undecided, undecided),  # 1: by images; 100 with a teacher, 400 without
        *(helps, helps, helps, hurts, undecided, helps, helps, undecided, helps),  # 2: by rates; own rates; budget
        *(helps, helps, helps, hurts, helps, hurts, helps, undecided),  # 3: the split; w = 0.1; smoothed teacher
        *(undecided, undecided, hurts),  # 3: the size of the logits
        *(helps, undecided, helps, hurts, hurts, hurts, helps, hurts, helps, hurts, hurts, hurts),  # 4: 100, 899 images
        *(hurts, undecided, helps, helps),  # 5: by width
    ]
    better = [values[0].mean() < test["labels", FEW].mean() for values in bad.values()]
    assert better == [word == helps for word in verdicts[26:38:2]]  # helps if it errs less than the student alone
    assert all(found[name][0] > found[name][1] for name in visible) and sum(found["student in evaluation mode"]) < 0
    assert max(found[name][0] for name in ("T² missing", "mean over classes")) < 0.02
