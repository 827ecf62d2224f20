# %% [markdown]
# # 06 · Can a student read a digit that it was never shown?
#
# **In short.** Mostly, yes. A student that learns from a teacher's softened answers and never sees a 3 still reads four
# 3s in five, because the teacher's answers to other digits tell what a 3 looks like. Only the frequency of 3s is
# learned wrongly. It is one number, a bias, which can be corrected without the label of a single 3. Then the student
# reads more than nine in ten.
#
# - **What you will learn:** how soft targets pass on a class that the student never sees, and how to correct its bias
# - **Prerequisites:** tutorials 03 and 04
# - **Hours:** 1.5
#
# Hinton, Vinyals and Dean introduced distillation with this experiment on MNIST in 2015. We repeat it at a smaller
# scale, with fewer images and smaller networks, in a few minutes. At the end we compare the paper's numbers with those
# of minikd's full study.

# %%
import os

import numpy as np
from matplotlib.figure import Figure

from minikd import MLP, Adam, cross_entropy, distill, distillation_loss, evaluate, fit, load_data, softmax
from minikd.data import jitter
from minikd.experiments.intervals import mean_interval
from minikd.optim import cosine
from minikd.report import plots
from minikd.reproduce import STUDIES, committed
from minikd.reproduce.hinton2015 import offset_to_share

FAST = bool(os.environ.get("MINIKD_FAST"))
SEEDS, N = (2, 1000) if FAST else (5, 5000)
data = load_data("mnist")
x, y = data.x_train[:N], data.y_train[:N]  # (N, D), (N,)
K, shape = len(data.class_names), data.image_shape
print(f"{N:,} training images, {len(data.x_val):,} validation images, {len(data.x_test):,} test images")

# %% [markdown]
# ## The teacher sees moved images
#
# The paper's teacher knows more than its student could learn from the images alone, because of two techniques. It
# learns with **dropout** (a random part of the units is set to 0 in each step, so that no unit can rely on another).
# And it sees every image moved by up to two pixels, anew each time. A moved 7 is still a 7, and a teacher that has seen
# it in 25 places knows that. This is called **jitter**, a kind of data augmentation. The student sees the plain images
# only.
#
# To move an image, put it on a larger empty sheet and cut out a window of the image's size at a random place. With $s$
# for the sheet, and $r$ rows and $c$ columns drawn uniformly from $0, \dots, 4$,
#
# $$ x'_{ij} = s_{i + r,\ j + c}, \qquad s_{i + 2,\ j + 2} = x_{ij}, \qquad s = 0 \text{ elsewhere.} $$


# %%
def moved(x, rng, pixels=2):
    height, width = shape
    down, right = rng.integers(0, 2 * pixels + 1, size=(2, len(x)))  # (B,), (B,)
    out = np.empty_like(x)  # (B, D)
    for i, image in enumerate(x.reshape(-1, height, width)):
        sheet = np.zeros((height + 2 * pixels, width + 2 * pixels), x.dtype)
        sheet[pixels : pixels + height, pixels : pixels + width] = image
        out[i] = sheet[down[i] : down[i] + height, right[i] : right[i] + width].ravel()
    return out


ours = moved(x[:200], np.random.default_rng(5))  # (200, D)
theirs = jitter(shape, 2)(x[:200], np.random.default_rng(5))  # (200, D)
jitter_difference = float(np.abs(ours - theirs).max())
print(f"largest difference between our moved images and minikd's: {jitter_difference}")
plots.show(plots.image_grid(moved(np.repeat(x[:1], 10, axis=0), np.random.default_rng(1)), shape))

# %% [markdown]
# ## The student's step
#
# The student learns from the teacher's answers alone, without labels. With soft weight 1, the distillation loss of
# tutorial 03 is $L = T^2\, \mathrm{CE}(q^T, p^T)$, with the student's $p^T = \mathrm{softmax}(z/T)$ and the teacher's
# $q^T = \mathrm{softmax}(v/T)$, and its gradient is
#
# $$ \frac{dL}{dz} = \frac{T\,(p^T - q^T)}{B} . $$
#
# This is one line of NumPy. We train with `distill`, so we first check that it takes this step.


# %%
def soft_gradient(z, v, T):
    return T * (softmax(z, T) - softmax(v, T)) / len(z)  # (B, K)


rng = np.random.default_rng(0)
z_try, v_try = 5 * rng.normal(size=(2, 64, K))  # (B, K) each
_, dz = distillation_loss(z_try, None, v_try, temperature=20, soft_weight=1.0)
gradient_difference = float(np.abs(dz - soft_gradient(z_try, v_try, 20)).max())
print(f"largest difference between this gradient and distillation_loss: {gradient_difference:.0e}")

# %% [markdown]
# Student and teacher are trained with the same optimizer, Adam with a rate that falls to 0 along a cosine. All students
# of a seed start from the same weights and see the same batches.


# %%
def options(model, seed, epochs, lr=3e-3):
    settings = {"epochs": epochs, "batch_size": 64, "schedule": cosine(), "seed": seed, "progress": False}
    return {"optimizer": Adam(model, lr), **settings}


def train_teacher(seed):
    teacher = MLP((784, 400, 400, K), dropout=(0.1, 0.3, 0.3), seed=seed)
    fit(teacher, x, y, loss=cross_entropy, augment=jitter(shape, 2), **options(teacher, seed, 8 if FAST else 30, 1e-3))
    return teacher


def train_student(seed, logits=None, T=1, kept=slice(None), lr=3e-3):
    # On the images kept: with the labels, or with the teacher's logits (N, K) where they are given.
    student = MLP((784, 200, 200, K), seed=1000 + seed)
    settings = options(student, seed, 5 if FAST else 20, lr)
    if logits is None:
        fit(student, x[kept], y[kept], loss=cross_entropy, **settings)
    else:
        distill(student, logits[kept], x[kept], None, temperature=T, soft_weight=1.0, **settings)
    return student


teachers = [train_teacher(seed) for seed in range(SEEDS)]
teacher_logits = [teacher.predict(x) for teacher in teachers]  # (N, K) each: for the images that are not moved
for lr in (3e-3,) if FAST else (1e-3, 3e-3, 1e-2):
    alone, distilled = train_student(0, lr=lr), train_student(0, teacher_logits[0], T=20, lr=lr)
    wrong = [evaluate(model, data.x_val, data.y_val).errors for model in (alone, distilled)]
    print(f"learning rate {lr:<5g}: {wrong[0]} validation errors on labels alone, {wrong[1]} distilled at T = 20")

# %% [markdown]
# A method looks weak with an unsuitable learning rate, so we try three rates on validation images for each. On labels
# alone 0.003 is the best; for the distilled student 0.003 and 0.01 are close. From here on all students use 0.003. From
# now on we use the test images, but choose nothing by them.
#
# ## First question: labels, or soft targets?

# %%
students = {"labels alone": [train_student(seed) for seed in range(SEEDS)]}
for T in (20,) if FAST else (1, 4, 20):
    students[f"distilled, T = {T}"] = [train_student(seed, teacher_logits[seed], T) for seed in range(SEEDS)]
errors = {
    name: np.array([evaluate(model, data.x_test, data.y_test).errors for model in models])  # (seeds,)
    for name, models in {"teacher": teachers, **students}.items()
}
print(f"errors on {len(data.y_test):,} test images, {SEEDS} seeds: mean, and reduction against labels alone (paired)")
for name, e in errors.items():
    mean, half = mean_interval(e)
    fewer, half_fewer = mean_interval(errors["labels alone"] - e)
    gain = "" if name == "labels alone" else f"{fewer:10.0f} ± {half_fewer:.0f}"
    print(f"{name:<18}{mean:6.0f} ± {half:.0f}{gain}")

# %%
figure = Figure(figsize=(7, 3.4), layout="constrained")
axes = figure.subplots()
for at, e in enumerate(errors.values()):
    mean, half = mean_interval(e)
    axes.errorbar(at, mean, yerr=half, fmt="o", color="#0072B2", capsize=4, zorder=3)
    axes.plot(np.full(SEEDS, at) + 0.15, e, ".", color="#999999")
axes.set_xticks(range(len(errors)), errors)
axes.set(ylabel=f"errors on {len(data.y_test):,} test images", title="Errors of teacher and students", ylim=(0, None))
axes.grid(True, axis="y", alpha=0.3)
plots.show(figure)

# %% [markdown]
# **What to notice.** Blue shows the mean over seeds and its 95 % interval, and grey shows single seeds. The students
# start from the same weights and take the same number of steps on the same images. At T = 4 and T = 20 the distilled
# students make about 80 errors fewer than the one on labels alone, of some 480, and the interval of the difference is
# far from 0. This is about half of the way to the teacher. They have learned part of what it learned from moved images,
# although they have seen none. At T = 1, where the answers look almost like labels, the gain is less than half as
# large. The paper's T = 20 does as well as 4 here: a student with a few hundred units can use all ten numbers, although
# they are small. (The paper found that all T above 8 do about as well for students of 300 units a layer or more, and
# that 2.5 to 4 are better for 30 units.)
#
# ## Second question: a digit that is left out
#
# Now we remove every 3 from the transfer set, the images on which the student learns from the teacher. The teacher has
# seen 3s, but the student never sees one. In the paper's words, it is "a mythical digit". The student can only learn
# about 3s from the answers to other pictures. Here are the pictures, none of them a 3, to which the teacher's softened
# answer gives class 3 the most.

# %% tags=["cover"]
T = 20
not_3 = y != 3  # (N,): what stays in the transfer set
q = softmax(teacher_logits[0].astype(np.float64), T)  # (N, K)
similar = np.argsort(-np.where(not_3, q[:, 3], 0), kind="stable")[:20]  # (20,): most similar to a 3
figure = plots.image_grid(x[similar], shape, [f"a {y[i]}: {100 * q[i, 3]:.0f} %" for i in similar])
figure.suptitle("Images of other digits, with the teacher's probability of class 3 at T = 20")
plots.show(figure)
print(f"mean probability of class 3 over all images of other digits: {100 * q[not_3, 3].mean():.1f} %")

# %% [markdown]
# At T = 20 the answers are flat: a class without evidence for or against it gets about a tenth. Only the difference
# from that carries information. Most of these pictures show a part of a 3, an upper bow or an open left side, and the
# number says how similar to a 3 they are. There are thousands of such hints. Low numbers are also hints, because they
# say what does *not* look like a 3. What can students learn from them?

# %%
no_3 = [train_student(seed, teacher_logits[seed], T, kept=not_3) for seed in range(SEEDS)]
z_test = [model.predict(data.x_test).astype(np.float64) for model in no_3]  # (N_test, K) each
is_3 = data.y_test == 3  # (N_test,)


def errors_on(z, offset=0.0):
    # Errors on 3s and on the other digits, with an offset added to the logit of class 3.
    shifted = z + offset * (np.arange(K) == 3)  # (N_test, K)
    wrong = shifted.argmax(axis=1) != data.y_test  # (N_test,)
    return np.array([wrong[is_3].sum(), wrong[~is_3].sum()])  # (2,)


plain = np.array([errors_on(z) for z in z_test])  # (seeds, 2)
recall = 100 * (1 - plain[:, 0] / is_3.sum())  # (seeds,)
mean, half = mean_interval(recall)
print(f"students trained without 3s classify {mean:.1f} ± {half:.1f} % of {is_3.sum():,} test 3s correctly")
print("misclassified 3s, seed by seed:", plain[:, 0])

# %% [markdown]
# ## The error is a bias
#
# Look at the bias $b_3$ of the output layer, the number that is added to the logit of class 3 for every picture. Its
# gradient is the column sum of $dz$ (tutorial 01), so
#
# $$ \frac{dL}{db_3} = \frac{T}{B} \sum_i \left( p^T_{i3} - q^T_{i3} \right) . $$
#
# Training ends where this is about 0, where the student gives class 3 the same average probability **over the transfer
# set** as the teacher. But the transfer set holds no 3s, so the teacher gives class 3 little. So the student learns two
# things. The differences between pictures teach it what a 3 looks like. The average teaches it that 3s are rare, which
# is wrong. (On labels alone $q_{i3} = 0$ for all of these pictures, so the gradient is always positive, and $b_3$ falls
# without end.)

# %%
for name, some in (("transfer set, no 3s", not_3), ("all images", slice(None))):
    student_mean = softmax(no_3[0].predict(x[some]), T)[:, 3].mean()
    print(f"mean of class 3 at T = 20, {name:<19}: student {student_mean:.3f}, teacher {q[some, 3].mean():.3f}")

# %% [markdown]
# How can we correct it? Suppose that the probabilities of a network are right for data in which class $k$ has the share
# $\tilde\pi_k$. By Bayes' rule they are
#
# $$ \tilde p(k \mid x) = \frac{f_k(x)\, \tilde\pi_k}{\sum_j f_j(x)\, \tilde\pi_j}, \qquad
# \tilde z_k = \log f_k(x) + \log \tilde\pi_k + \mathrm{const}, $$
#
# with $f_k$ the density of pictures of class $k$, which does not depend on how frequent the class is. In other data,
# with shares $\pi_k$, only the shares change. So the logit of a class moves by the same number for all pictures:
#
# $$ z_k = \tilde z_k + \log \pi_k - \log \tilde\pi_k . $$
#
# A number that is added to a logit for every picture is a bias. If only class 3 has become more frequent and the others
# keep their proportions, it is the difference of two log odds, to be added to $z_3$ alone:
#
# $$ \delta = \log\frac{\pi_3}{1 - \pi_3} - \log\frac{\tilde\pi_3}{1 - \tilde\pi_3} . $$
#
# $\pi_3$ is the share of 3s in training, about a tenth. $\tilde\pi_3$ is the student's average probability of class 3
# over the pictures that it has learned from. Nothing else is needed, and no picture of a 3.

# %%
share = float((y == 3).mean())


def log_odds(p):
    return np.log(p / (1 - p))


def offset_by_odds(student):
    student_share = softmax(student.predict(x[not_3]).astype(np.float64))[:, 3].mean()
    return log_odds(share) - log_odds(student_share)


by_odds = np.array([offset_by_odds(student) for student in no_3])  # (seeds,)
print(f"share of 3s: {share:.3f}; δ by log odds, seed by seed:", by_odds.round(2))

# %% [markdown]
# This assumes that the student's probabilities are right. But they were trained at T = 20, where they are not
# calibrated probabilities, and they are used at T = 1. **Counting** assumes only that the order of the pictures is
# right: choose $\delta$ so that the share of training pictures that are read as 3 is the true share of 3s. Picture $i$
# is read as 3 as soon as $\delta$ exceeds its margin, the best other logit minus that of class 3,
#
# $$ m_i = \max_{k \neq 3} z_{ik} - z_{i3}, $$
#
# so sort the margins and put $\delta$ behind the first $\pi_3 N$ of them. This uses the pictures of 3s for one number,
# but not their labels. minikd's study of the paper does the same.


# %%
def offset_by_count(z, share):
    others = np.delete(z, 3, axis=1)  # (N, K - 1)
    margins = np.sort(others.max(axis=1) - z[:, 3])  # (N,)
    n = round(share * len(z))
    return (margins[n - 1] + margins[n]) / 2  # halfway between two margins


by_count = np.array([offset_by_count(model.predict(x), share) for model in no_3])  # (seeds,)
theirs = np.array([offset_to_share(model.predict(x), (3,), share) for model in no_3])  # (seeds,)
print("δ by counting, seed by seed:", by_count.round(2))
print(f"largest difference from minikd's offset_to_share: {np.abs(by_count - theirs).max():.0e}")

# %% [markdown]
# The paper chose the number that gave the fewest errors **on the test set** instead. This uses the labels that measure
# the result, so it shows what the best bias could do, not what can be expected. We draw it because the paper did so,
# and conclude nothing from it.

# %%
deltas = np.linspace(-2, 8, 101)  # (101,)
curves = np.array([[errors_on(z, d) for d in deltas] for z in z_test])  # (seeds, 101, 2)
total = curves.sum(axis=2)  # (seeds, 101)
tuned = deltas[total.argmin(axis=1)]  # (seeds,): chosen by test labels
figure = plots.lines(
    deltas,
    {"errors on 3s": curves[:, :, 0], "errors on the other digits": curves[:, :, 1], "all errors": total},
    xlabel="δ, added to the logit of class 3",
    ylabel=f"errors on {len(data.y_test):,} test images",
)
axes = figure.axes[0]
axes.set(
    ylim=(0, 2.2 * total[:, deltas >= 0].mean(axis=0).min()),
    title="Students trained without 3s: errors by the offset δ",
)
for name, d, look in (("log odds", by_odds, "--"), ("count", by_count, "-"), ("test labels", tuned, ":")):
    axes.axvline(d.mean(), color="black", ls=look, lw=1.2, label=f"δ by {name}")
axes.legend(loc="upper right", fontsize=9)
plots.show(figure)

# %%
corrected = {
    "trained without 3s": plain,
    "  δ by log odds": np.array([errors_on(z, d) for z, d in zip(z_test, by_odds, strict=True)]),  # (seeds, 2)
    "  δ by counting": np.array([errors_on(z, d) for z, d in zip(z_test, by_count, strict=True)]),  # (seeds, 2)
    "  δ by test labels (as the paper did)": np.array(
        [errors_on(z, d) for z, d in zip(z_test, tuned, strict=True)]
    ),  # (seeds, 2)
}
with_3s = np.array([errors_on(model.predict(data.x_test)) for model in students["distilled, T = 20"]])  # (seeds, 2)
print(f"{'mean over ' + str(SEEDS) + ' seeds, test errors':<38}{'on 3s':>12}{'on others':>14}{'all':>14}")
for name, e in {"trained with 3s": with_3s, **corrected}.items():
    cells = [mean_interval(values) for values in (e[:, 0], e[:, 1], e.sum(axis=1))]
    print(f"{name:<38}" + "".join(f"{mean:>8.0f} ± {half:<3.0f}" for mean, half in cells))
fewer = (plain - corrected["  δ by counting"]).sum(axis=1)  # (seeds,)
print("reduction of all errors by counting (paired): {:.0f} ± {:.0f}".format(*mean_interval(fewer)))

# %% [markdown]
# **What to notice.** A student that was never shown a 3 reads four in five. Without correction it misses about four
# times as many 3s as a student that has seen them, and it takes other digits for a 3 less often: it has learned that 3s
# are rare.
#
# - **Log odds** overshoot. Now hardly any 3 is missed, but so many other digits are taken for 3s that there are, on
#   average, more errors in all than without any correction. The derivation is right, but its premise is not: after
#   training at T = 20 the student's probabilities at T = 1 are not right for data in which 3s are rare.
# - **Counting** needs no probabilities, only the order of the margins, and it works: far fewer 3s are missed, and there
#   are fewer errors in all (the paired difference is printed above). It comes within a few errors of the best bias on
#   the **test labels**, without using any of them.
#
# The remaining difference to the student that was shown 3s, some fifty errors, is the cost of never having seen one.
#
# ## The full experiment
#
# minikd holds the results of the whole experiment: 60,000 images, a teacher of 1200-1200 and students of 800-800 units,
# five seeds. `minikd reproduce hinton2015 --committed` prints all of them. Here are the rows of this tutorial, with the
# paper's numbers beside ours. In the full study a bias "set by the share" is our $\delta$ by counting.

# %%
study = STUDIES["hinton2015"]
full = committed(study)["values"]
print(f"{'test errors':<58}{'paper':>6}{'minikd, 95 %':>16}")
for row in [row for row in study.rows[:17] if row.paper]:
    mean, half = mean_interval(full[row.measure])
    print(f"{row.words.removesuffix(': errors'):<58}{row.paper:>6g}{mean:>9.1f} ± {half:.1f}")

# %% [markdown]
# The paper's student without 3s also misses few of them after its bias is corrected. Our full teacher makes some more
# errors than the paper's, and so do its students on plain images. Our students without 3s make fewer errors than the
# paper's. The rows "on mixtures" are an addition: each picture is mixed with another one, and the teacher is asked
# about the mixture. The student on mixtures is trained for 80 epochs, because more epochs still help it. The
# documentation (*The papers' numbers*) says what was tried to reach the paper's numbers.
#
# ## Exercises
#
# **1.** Train the student without 3s on the labels of the images that are left (`train_student(0, kept=not_3)`). How
# many test 3s does it read? How many after its bias is corrected by counting?
#
# <details><summary>Answer</summary>
#
# It reads none of 1,010 test 3s: no label ever named class 3, and its bias fell without end. Counting gives a δ of
# about 18. With it the student reads half of the 3s, but takes some 650 more other digits for a 3 than before. Without
# a teacher it can learn a little: a picture that is unlike all other digits has a small margin. It cannot learn what a
# 3 looks like.
#
# </details>
#
# **2.** Which temperature passes on most about the missing digit? Train students without 3s at T = 1 and T = 4, and
# count the 3s that they miss before and after counting.
#
# <details><summary>Answer</summary>
#
# Before the correction T = 20 and T = 4 do about equally well: with three seeds each, 150 to 210 of 1,010 are missed.
# At T = 1, where the answers give class 3 almost nothing, 400 to 460 are missed. After counting, the order is the same
# and the distance is smaller: 57 to 84 for T = 4 and T = 20, and 97 to 120 for T = 1, which also makes more errors on
# the other digits.
#
# </details>
#
# **3.** Leave only the 7s and the 8s in the transfer set, as the paper did. How many test images does the student read?
# Which number must be added to which logits, if you know that a fifth of all digits are 7s and 8s?
#
# <details><summary>Answer</summary>
#
# `kept = (y == 7) | (y == 8)` leaves 1,012 of 5,000 images. With three seeds the student errs on 47 to 51 % of the test
# images: it reads half of them, although it has seen only two of the ten digits. It has learned that there are only 7s
# and 8s, so it answers 7 and 8 too often: one number must be **subtracted** from both logits. Counting,
# `offset_to_share(student.predict(x), (7, 8), share)` with the share of 7s and 8s, gives about -3.5, and 23 to 29 %
# errors. (The paper, with all 60,000 images: 47.3 %, and 13.2 % with the biases tuned on the test set.)
#
# </details>
#
# ## Sources
#
# - Hinton, Vinyals, Dean (2015): *Distilling the Knowledge in a Neural Network*. arXiv 1503.02531, section 3 (the
#   experiment, the temperatures, the missing digits and the corrected bias).
# - Saerens, Latinne, Decaestecker (2002): *Adjusting the outputs of a classifier to new a priori probabilities: a
#   simple procedure*. Neural Computation 14 (probabilities when classes become more or less frequent).
# - Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov (2014): *Dropout*. JMLR 15.
# - LeCun, Bottou, Bengio, Haffner (1998): *Gradient-based learning applied to document recognition* (MNIST).
#
# Next: `07_languages`, soft answers that show the families of languages.

# %%
# What the text claims, checked each time this runs.
assert jitter_difference == 0
assert gradient_difference < 1e-15
assert np.abs(by_count - theirs).max() < 1e-6
assert recall.mean() > (40 if FAST else 75)  # of 3s, by students trained without them
assert q[similar, 3].min() > (1.05 if FAST else 1.3) * q[not_3, 3].mean()
counted, odds = corrected["  δ by counting"], corrected["  δ by log odds"]  # (seeds, 2) each
assert counted[:, 0].mean() < plain[:, 0].mean() and odds[:, 0].mean() < counted[:, 0].mean()
beyond_best = counted.sum() - corrected["  δ by test labels (as the paper did)"].sum()  # errors, over all seeds
assert beyond_best / SEEDS < (100 if FAST else 25)
assert FAST or 3 < plain[:, 0].mean() / with_3s[:, 0].mean() < 5
assert odds.sum() > counted.sum() > with_3s.sum()
gains = {name: mean_interval(errors["labels alone"] - e) for name, e in errors.items()}
assert FAST or all(mean > half for name, (mean, half) in gains.items() if name != "labels alone")
assert FAST or mean_interval(fewer)[0] > mean_interval(fewer)[1]
