# %% [markdown]
# # 04 · How does a student learn from a teacher, step by step?
#
# **In short.** Train the teacher on all the data and freeze it. Compute its answers to the student's images once. Then
# train the student in the usual loop, with these answers as an additional target. With 100 images of digits, the
# student errs on 5.6 % of the test images, and the same student on labels alone on 11.5 %. The gain is knowledge,
# mostly from images that the student never sees. With label smoothing or shuffled answers a gain is undecided, and a
# teacher that has seen only the same 100 images gives a quarter of it.
#
# - **What you will learn:** the whole procedure of distillation, controls and paired intervals, and the usual bugs
# - **Prerequisites:** tutorials 01 to 03
# - **Hours:** 2.5
#
# Tutorial 02 showed what soft targets tell, and 03 derived the loss that uses them. Here is the whole procedure. The
# loop is written out in full, including the optimizer, and ends with the same weights as minikd's own functions. The
# teacher has learned from 899 images and the student is shown 100 of them, because a teacher helps most if the student
# has few images. At the end we run the mistakes of a loop that is often printed.

# %%
import os
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from minikd import MLP, Adam, cross_entropy, distill, evaluate, fit, load_data, soft_cross_entropy
from minikd.data import few
from minikd.experiments.intervals import mean_interval, verdict
from minikd.optim import cosine
from minikd.report import plots
from minikd.report.run_plots import errors_by_images

FAST = bool(os.environ.get("MINIKD_FAST"))  # set by the tests: less training, the same claims
SEEDS = 2 if FAST else 5
IMAGES, EPOCHS, TEACHER_EPOCHS = 100, 100, 12 if FAST else 20
B, T, w = 32, 4.0, 0.9  # batch size, temperature, soft weight
options = {"batch_size": B, "schedule": cosine(), "progress": False}

data = load_data("digits")
N, D, K = len(data.x_train), 64, 10
print(f"{N} training images, {len(data.x_val)} validation images, {len(data.x_test)} test images")

# %% [markdown]
# ## Step 1: train a teacher
#
# The teacher is a wide MLP, trained on labels, as in tutorial 01. Two things are new. First, **dropout** sets each
# hidden unit to zero with probability one half, anew in each step, and doubles the others. So the teacher cannot rely
# on any single unit, and its answers stay uncertain where the image is ambiguous. Second, the learning rate falls along
# half a cosine, from its full value to zero.


# %%
def train_teacher(seed, x=data.x_train, y=data.y_train):
    teacher = MLP((D, 256, 256, K), dropout=(0, 0.5, 0.5), seed=seed)
    epochs = TEACHER_EPOCHS * N // len(x)  # fewer images: more epochs, about as many steps
    fit(teacher, x, y, loss=cross_entropy, optimizer=Adam(teacher, lr=3e-3), epochs=epochs, seed=seed, **options)
    return teacher


teachers = [train_teacher(seed) for seed in range(SEEDS)]
teacher = teachers[0]
on_val = evaluate(teacher, data.x_val, data.y_val)
print(f"teacher: {teacher.num_params:,} parameters, {on_val.errors} errors on {len(data.y_val)} validation images")

# %% [markdown]
# ## Step 2: freeze it
#
# From here on the teacher is a fixed function. **Freezing** means three things:
#
# 1. its weights do not change: no optimizer updates them;
# 2. no gradient goes into it: in the student's loss the teacher's logits $v$ are constants, like labels;
# 3. its dropout is off. Dropout is for training. With dropout on, the teacher gives a different answer each time.
#
# We keep a copy of its weights, to check at the end that nothing has changed them. And we compute its answers twice,
# with dropout on and off:


# %%
def softmax(z, T=1.0):
    e = np.exp((z - z.max(axis=1, keepdims=True)) / T)  # (B, K)
    return e / e.sum(axis=1, keepdims=True)  # (B, K)


frozen = teacher.theta.copy()  # (P,)
changes = {}
for train in (True, False):
    first, second = (softmax(teacher.forward(data.x_train, train=train)) for _ in range(2))  # (N, K) each
    changes[train] = np.abs(first - second).max()
    changed = (first.argmax(axis=1) != second.argmax(axis=1)).sum()
    print(f"dropout {'on ' if train else 'off'}: probabilities change by up to {changes[train]:.2f}; ", end="")
    print(f"{changed} of {N} images change class")

# %% [markdown]
# ## Step 3: store its answers
#
# The student is shown 100 of the 899 images; `few` draws them at random from a seed. A fixed function of fixed images
# has fixed values. So we run the teacher once on all 100, and keep an array of logits $V$ with one row for each image.
# A batch of the images with the indices `batch` needs the rows `V[batch]`.


# %%
def student_data(seed, n=IMAGES, without=()):
    drawn = few(data.y_train, n, without=without, seed=seed)  # (n,): indices
    return data.x_train[drawn], data.y_train[drawn]  # (n, D), (n,)


x, y = student_data(0)
V = teacher.predict(x)  # (n, K)

batch = np.random.default_rng(0).permutation(IMAGES)[:B]  # (B,)
fresh = teacher.forward(x[batch])  # (B, K)
rounding = np.abs(V[batch] - fresh).max()
print(f"stored against fresh logits: largest difference {rounding:.0e}; largest logit {np.abs(V).max():.0f}")


# %% [markdown]
# The two may differ by rounding, because a product of larger matrices may be summed in another order.
#
# Stored answers are right only as long as the student sees exactly the images on which the teacher was run. With
# **augmentation** (images moved or turned at random, anew in each epoch) the teacher must answer for the moved image.
# `distill(..., augment=...)` does so.
#
# ## Step 4: the student on labels
#
# First the baseline. The student has 64 hidden units and an eighteenth of the teacher's parameters. Learning rate,
# temperature and soft weight were chosen on validation images (tutorial 05).


# %%
def new_student(seed, dtype="float32"):
    return MLP((D, 64, K), seed=1000 + seed, dtype=dtype)


def train_student(seed, x, targets, loss, epochs=EPOCHS):
    student = new_student(seed)
    fit(student, x, targets, loss=loss, optimizer=Adam(student, lr=0.03), epochs=epochs, seed=seed, **options)
    return student


def errors(model, x=data.x_val, y=data.y_val):
    return 100 * (model.predict(x).argmax(axis=1) != y).mean()  # in %


alone = train_student(0, x, y, cross_entropy)
print(f"student on labels: {alone.num_params:,} parameters, {errors(alone):.1f} % errors on validation images")

# %% [markdown]
# ## Step 5: the same student on soft targets, all by hand
#
# Images, initial weights, batches and number of steps are the same, and only the loss differs. Let $y$ be the one-hot
# label, $p$ the student's probabilities, $p^T$ the same at temperature $T$, $q^T$ the teacher's at $T$, and $w$ the
# soft weight. Tutorial 03 found
#
# $$ L = (1 - w)\,\mathrm{CE}(y, p) + w\,T^2\,\mathrm{CE}(q^T, p^T), $$
#
# $$ dz = \frac{(1 - w)(p - y) + w\,T\,(p^T - q^T)}{B} . $$
#
# Training repeats five things: draw a batch, forward pass, gradient of the loss, backward pass, step. The step is that
# of **Adam**. For each parameter it keeps a running mean $m$ of the gradient $g$ and a running mean $s$ of its square.
# It steps by $m / \sqrt s$, so that each parameter has its own step size:
#
# $$ m \leftarrow 0.9\,m + 0.1\,g, \qquad s \leftarrow 0.999\,s + 0.001\,g^2, $$
#
# $$ \theta \leftarrow \theta - \eta_t\,\frac{m / (1 - 0.9^t)}{\sqrt{s / (1 - 0.999^t)} + 10^{-8}} . $$
#
# Both means start at 0 and are too small at first; the divisions by $1 - 0.9^t$ and $1 - 0.999^t$ correct this, where
# $t$ is the number of the step. The learning rate is $\eta_t = \eta\,(1 + \cos \pi r)/2$, where $r$ goes from 0 to 1
# during the run. We compute in float64, so that rounding stays small over hundreds of steps.

# %%
start = new_student(0, "float64")
theta = {"W1": start.weights[0], "b1": start.biases[0], "W2": start.weights[1], "b2": start.biases[1]}
theta = {name: value.copy() for name, value in theta.items()}
m = {name: np.zeros_like(value) for name, value in theta.items()}
s = {name: np.zeros_like(value) for name, value in theta.items()}

inputs, one_hot = x.astype(np.float64), np.eye(K)[y]  # (n, D), (n, K)
v = V.astype(np.float64)  # (n, K): the teacher's stored logits
t, steps = 0, EPOCHS * int(np.ceil(IMAGES / B))
for epoch in range(EPOCHS):
    order = np.random.default_rng((0, epoch)).permutation(IMAGES)  # (n,)
    for first in range(0, IMAGES, B):
        batch = order[first : first + B]  # (B,): the last batch of an epoch is smaller
        # forward
        a = inputs[batch] @ theta["W1"] + theta["b1"]  # (B, H)
        h = np.maximum(a, 0)  # (B, H)
        z = h @ theta["W2"] + theta["b2"]  # (B, K)
        # the gradient of the loss
        p, pT, qT = softmax(z), softmax(z, T), softmax(v[batch], T)  # (B, K) each
        dz = ((1 - w) * (p - one_hot[batch]) + w * T * (pT - qT)) / len(batch)  # (B, K)
        # backward
        da = (dz @ theta["W2"].T) * (a > 0)  # (B, H)
        gradients = {"W1": inputs[batch].T @ da, "b1": da.sum(axis=0), "W2": h.T @ dz, "b2": dz.sum(axis=0)}
        # step
        rate = 0.03 * (1 + np.cos(np.pi * t / steps)) / 2
        t += 1
        for name, g in gradients.items():
            m[name] = 0.9 * m[name] + 0.1 * g
            s[name] = 0.999 * s[name] + 0.001 * g**2
            theta[name] -= rate * (m[name] / (1 - 0.9**t)) / (np.sqrt(s[name] / (1 - 0.999**t)) + 1e-8)

# %% [markdown]
# The loop does not depend on how the teacher works. `v` could come from a file, from another kind of model, or from
# people who give percentages. Now the same with minikd's function.


# %%
def distilled_student(seed, teacher, x, y, epochs=EPOCHS, dtype="float32", **more):
    student = new_student(seed, dtype)
    more |= {"optimizer": Adam(student, lr=0.03), "epochs": epochs, "seed": seed, **options}
    distill(student, teacher, x, y, temperature=T, soft_weight=w, **more)
    return student


student = distilled_student(0, teacher, x, y, dtype="float64")
theirs = {"W1": student.weights[0], "b1": student.biases[0], "W2": student.weights[1], "b2": student.biases[1]}
gap = max(np.abs(theta[name] - theirs[name]).max() for name in theta)
untouched = np.array_equal(teacher.theta, frozen)
print(f"after {t:,} steps: largest difference between a weight of our loop and of distill {gap:.0e}")
print(f"the teacher's {teacher.num_params:,} parameters are unchanged, bit for bit: {untouched}")

# %% [markdown]
# ## Step 6: does it help, and why?
#
# One student proves nothing, because with other initial weights the result would differ. So we repeat everything for
# five seeds (another teacher, another draw of 100 images, other initial weights) and compute intervals for the mean.
# And *what* helps? Three **controls** change the targets of the same 100 images, and each lacks something that the
# teacher knows.
#
# - **Label smoothing** has no knowledge. It takes a tenth of the probability from the label and spreads it evenly over
#   all classes, $t = 0.9\,y + 0.1 / K$. If it did as well as the teacher, the gain would be regularisation.
# - **Shuffled answers.** In each image the teacher's logits of the nine wrong classes are permuted at random. The
#   confidence of the answer stays the same. *Which* wrong classes are likely is lost.
# - **A teacher of the same 100 images**, which is as large and trained for at least as many steps. It has seen only
#   what the student sees.
#
# These are the targets of two of the 100 images:


# %%
def shuffle_wrong_classes(V, y, seed):
    V, rng = V.copy(), np.random.default_rng(seed)
    for row, label in zip(V, y, strict=True):
        wrong = np.arange(K) != label  # (K,)
        row[wrong] = rng.permutation(row[wrong])
    return V  # (n, K)


small_teachers = [train_teacher(seed, *student_data(seed)) for seed in range(SEEDS)]
targets = {  # (n, K) each
    "labels alone": np.eye(K)[y],
    "label smoothing": 0.9 * np.eye(K)[y] + 0.1 / K,
    "shuffled answers": softmax(shuffle_wrong_classes(V, y, 0), T),
    "teacher of the same 100": softmax(small_teachers[0].predict(x), T),
    f"teacher of all {N}": softmax(V, T),
}
by_certainty = np.argsort(softmax(V, T)[np.arange(IMAGES), y])  # (n,): the teacher's least certain images first
examples = [next(i for i in by_certainty if y[i] == digit) for digit in (5, 8)]

figure = Figure(figsize=(9, 2.3), layout="constrained")
panels = figure.subplots(2, 6, sharex="col", width_ratios=(1, 2, 2, 2, 2, 2))
for row, i in zip(panels, examples, strict=True):
    row[0].imshow(x[i].reshape(8, 8), cmap="gray_r")
    row[0].axis("off")
    for axes, (name, target) in zip(row[1:], targets.items(), strict=True):
        axes.bar(range(K), np.minimum(target[i], 0.4), color=np.where(np.arange(K) == y[i], "#0072B2", "0.6"))
        axes.text(y[i], min(target[i, y[i]], 0.4), f"{target[i, y[i]]:.2f}", ha="center", va="bottom", fontsize=8)
        axes.set(ylim=(0, 0.5), xticks=range(K), yticks=())
        axes.tick_params(labelsize=8)
        if i == examples[0]:
            axes.set_title(name, fontsize=9)
title = "Targets: probability of each digit (teachers: T = 4; blue: correct digit; bars cut off at 0.4)"
figure.suptitle(title, fontsize=11)
plots.show(figure)

# %% [markdown]
# **What to notice.** Label smoothing gives the same target to every image with the same label. The teacher of all 899
# is uncertain, because it has seen other digits that look like these. The teacher of the same 100 images is more
# certain.
#
# ### Two scores
#
# All settings were chosen on validation images. Now we use the test images, once. We report **errors**, the percentage
# of images that are misclassified, and the **NLL** (negative log-likelihood), the mean of $-\log p_y$ in nats. The NLL
# is the cross-entropy with the labels. It penalises answers that are confident and wrong.


# %%
def three_students(seed, n):
    """Three students, trained on the same n images with different targets."""
    images, labels = student_data(seed, n)  # (n, D), (n,)
    smoothed = (0.9 * np.eye(K)[labels] + 0.1 / K).astype(np.float32)  # (n, K)
    epochs = max(30, EPOCHS * IMAGES // n)  # as many steps as for 100 images, but at least 30 epochs
    return {
        "labels alone": train_student(seed, images, labels, cross_entropy, epochs=epochs),
        "label smoothing": train_student(seed, images, smoothed, soft_cross_entropy, epochs=epochs),
        "distilled": distilled_student(seed, teachers[seed], images, labels, epochs),
    }


SHUFFLED, SAME, ALL = "shuffled answers", "teacher of the same 100", "labels, all data"
KINDS = ("teacher", "labels alone", "label smoothing", SHUFFLED, SAME, "distilled", ALL)
models = {kind: [] for kind in KINDS}
for seed in range(SEEDS):
    images, labels = student_data(seed)  # (n, D), (n,)
    shuffled = shuffle_wrong_classes(teachers[seed].predict(images), labels, seed)  # (n, K)
    trained = {
        "teacher": teachers[seed],
        **three_students(seed, IMAGES),
        SHUFFLED: distilled_student(seed, shuffled, images, labels),
        SAME: distilled_student(seed, small_teachers[seed], images, labels),
        ALL: train_student(seed, data.x_train, data.y_train, cross_entropy, epochs=30),
    }
    for kind, model in trained.items():
        models[kind].append(model)

table = {score: {kind: [] for kind in KINDS} for score in ("errors, %", "NLL, nats")}
for kind, trained in models.items():
    for model in trained:
        p = softmax(model.predict(data.x_test).astype(np.float64))  # (n, K)
        table["errors, %"][kind].append(100 * (p.argmax(axis=1) != data.y_test).mean())
        table["NLL, nats"][kind].append(-np.log(p[np.arange(len(p)), data.y_test]).mean())
        scores = evaluate(model, data.x_test, data.y_test)
        ours = [values[kind][-1] for values in table.values()]
        assert np.allclose(ours, (100 * scores.errors / len(p), scores.nll)), "our scores equal minikd's"

# %% [markdown]
# ### Intervals for a mean of five seeds
#
# Let $\bar r$ be the mean of $n$ results $r_i$ and $\sigma$ their standard deviation,
# $\sigma^2 = \sum_i (r_i - \bar r)^2 / (n - 1)$. The mean itself would vary from one set of $n$ seeds to the next by
# $\sigma / \sqrt n$. An interval that holds the true mean in 95 % of cases is
#
# $$ \bar r \pm \tau\, \frac{\sigma}{\sqrt n} . $$
#
# For many seeds $\tau$ would be 1.96. For few it is larger, because $\sigma$ is only estimated: Student's
# t-distribution gives $\tau = 2.776$ for five seeds. It assumes that results are roughly normally distributed.
#
# Two students of one seed start from the same weights and see the same batches. So take their **difference** seed by
# seed, and then the interval of the differences. Effects of a seed that are common to both cancel. This is a **paired**
# comparison. Its verdict is *helps* or *hurts* if the whole interval lies on one side of zero, and *undecided*
# otherwise.


# %%
def interval(r):
    tau = {2: 12.706, 5: 2.776}[len(r)]
    return np.mean(r), tau * np.std(r, ddof=1) / np.sqrt(len(r))


print(f"{SEEDS} seeds, {len(data.y_test)} test images; mean ± half of the 95 % interval\n")
print(f"{'':<24}" + "".join(f"{score:>17}" for score in table))
for kind in KINDS:
    cells = [interval(table[score][kind]) for score in table]
    print(f"{kind:<24}" + "".join(f"{mean:>9.3f} ± {half:.3f}" for mean, half in cells))

gains = {}
print("\nlower than labels alone by (paired by seed)")
for kind in KINDS[2:]:
    for score in table:
        difference = np.array(table[score]["labels alone"]) - np.array(table[score][kind])  # (SEEDS,)
        gains[kind, score] = mean, half = interval(difference)
        print(f"{kind:<24} {score:<9} {mean:+7.3f} ± {half:.3f}   {verdict(mean, half)}")
print("\nerrors, %: distilled is lower by (paired by seed)")
for kind in ("label smoothing", SHUFFLED, SAME, ALL):
    difference = np.array(table["errors, %"][kind]) - np.array(table["errors, %"]["distilled"])  # (SEEDS,)
    gains["distilled against", kind] = mean, half = interval(difference)
    print(f"than {kind:<24} {mean:+6.2f} ± {half:.2f}   {verdict(mean, half)}")
check = mean_interval(table["NLL, nats"]["distilled"])
print(f"\nhalf-width by minikd.experiments.intervals.mean_interval {check[1]:.5f}, ", end="")
print(f"by hand {interval(table['NLL, nats']['distilled'])[1]:.5f}")

# %%
figure = Figure(figsize=(6.5, 3), layout="constrained")
axes = figure.subplots()
colours = ("#000000", "#D55E00", "#56B4E9", "#CC79A7", "#E69F00", "#009E73", "#0072B2")
for row, (kind, colour, marker) in enumerate(zip(KINDS, colours, "so^vPDX", strict=True)):
    mean, half = interval(table["errors, %"][kind])
    axes.plot(table["errors, %"][kind], [row + 0.25] * SEEDS, ".", color="0.6", ms=5)
    axes.errorbar(mean, row, xerr=half, color=colour, marker=marker, capsize=4)
axes.grid(axis="x", alpha=0.3)
axes.set(xlabel="test errors, %", xlim=(0, None), yticks=range(len(KINDS)), yticklabels=KINDS)
axes.invert_yaxis()
figure.suptitle(f"Test errors with {IMAGES} images: mean, 95 % interval, seeds in grey", fontsize=11)
plots.show(figure)

# %% [markdown]
# **What to notice.** The distilled student errs half as often as the same student on labels alone, and its NLL is also
# lower. No control comes near. In errors, label smoothing and shuffled answers are undecided. The teacher of the same
# 100 images helps by 1.6 points of the 5.9. Compared directly, the distilled student errs less than each control, by
# more than four points. So the gain is not regularisation. It is knowledge of *which* wrong classes are likely. Most of
# it comes from 799 images that the student never sees.
#
# The row "labels, all data" shows what the labels of those 799 images are worth. A student on all labels, without a
# teacher, errs on 3.0 %, which is 2.6 points better than the distilled student.
#
# ### A class that was never shown
#
# The teacher also knows classes that the student is never shown. We draw 100 images without a single 3:

# %%
digit, recall = 3, {"labels alone": [], "distilled": []}
threes = data.x_test[data.y_test == digit]  # (n, D)
for seed in range(SEEDS):
    images, labels = student_data(seed, without=[digit])  # (n, D), (n,)
    alone = train_student(seed, images, labels, cross_entropy)
    distilled = distilled_student(seed, teachers[seed], images, labels)
    for values, model in zip(recall.values(), (alone, distilled), strict=True):
        values.append(100 * (model.predict(threes).argmax(axis=1) == digit).mean())
for kind, values in recall.items():
    mean, half = interval(values)
    print(f"{kind:<13} classifies {mean:4.1f} ± {half:.1f} % of the {len(threes)} test 3s as 3, {SEEDS} seeds")

# %% [markdown]
# A student on labels alone never answers 3. The distilled student classifies more than half of the 3s correctly. It
# learned what a 3 looks like from the teacher's answers to other digits: one 5 is a little like a 3, another is not.
# Tutorial 06 continues from here.
#
# ### How the gain depends on the number of images
#
# We train the same three students with other numbers of images, up to all 899:

# %% tags=["cover"]
counts = (IMAGES, N) if FAST else (50, 100, 200, 400, N)
curves = {kind: np.zeros((SEEDS, len(counts))) for kind in ("labels", "smoothed", "distilled")}
fewer = {}
print("points fewer errors than labels alone")
for j, n in enumerate(counts):
    for seed in range(SEEDS):
        for kind, model in zip(curves, three_students(seed, n).values(), strict=True):
            curves[kind][seed, j] = errors(model, data.x_test, data.y_test)
    for kind in ("smoothed", "distilled"):
        fewer[kind, n] = mean, half = interval(curves["labels"][:, j] - curves[kind][:, j])
        print(f"{n:>4} images, {kind:<9} {mean:+6.2f} ± {half:.2f}  {verdict(mean, half)}")
words = {
    "xlabel": "training images of the student",
    "last": f"all {N}",
    "title": "Test errors by the number of training images",
}
figure = errors_by_images(counts, curves, table["errors, %"]["teacher"], **words)
figure.set_size_inches(6.4, 3.7)
plots.show(figure)

# %% [markdown]
# **What to notice.** The fewer the images, the more the teacher helps: by 10.3 points with 50 images, 5.9 with 100, 2.7
# with 200, 1.2 with 400. The distilled student with 100 images errs about as often as the student on labels with 400.
# With all 899 the teacher's help is undecided (−0.2 ± 0.5). There label smoothing, which is regularisation, helps by
# 0.8 points.
#
# ### When does this happen in practice?
#
# - **The teacher was trained elsewhere**, on data that you do not have: they are private, licensed, deleted, or too
#   large to go through again. You have the network and a few samples of your own.
# - **Labels are expensive**: they take an expert's time or an experiment. Someone paid for many labels once, and you
#   have the network that learned from them.
#
# If you have all the teacher's images and labels, train on them instead.
#
# ## Step 7: a loop that is often printed
#
# Loops like the following are printed in many places. This one is rewritten, but keeps the mistakes.
#
# ```python
# optimizer = Adam(Student.parameters(), lr=1e-3)
# for epoch in range(100):
#     for x, y in train_loader:
#         s, t = student(x), teacher(x)
#         loss = -(t * log(s)).sum(dim=1).mean()
#         optimizer.zero_grad(); loss.backward(); optimizer.step()
# ```
#
# The text around it says that the loss is $L = -\sum_{i=1}^N t_i \log s_i$, with $i$ over the $N$ samples; that the
# teacher's output becomes the new input of the student; that labels are also used; and that in the last step the
# teacher is trained on the student's output. Count the mistakes before you read on.
#
# ### Two mistakes that raise an error
#
# `Student.parameters()` asks the class, not a network, and a class has no weights (PyTorch says
# `missing 1 required positional argument: 'self'`). And the teacher's output is a **target**, not an input. Its ten
# numbers do not fit an input of 64. If they did, the student could not be used without its teacher.

# %%
messages = []
for attempt in (lambda: Adam(MLP, lr=1e-3), lambda: new_student(0).forward(V[:4])):
    try:
        attempt()
    except (TypeError, ValueError) as error:
        messages.append(f"{type(error).__name__}: {error}")
print("\n".join(messages))

# %% [markdown]
# ### The logarithm of raw outputs
#
# The last layer gives logits, which may be negative. The printed loss takes their logarithm.

# %%
z = new_student(0).forward(x[:B])  # (B, K): raw outputs
with np.errstate(invalid="ignore"):
    printed = -(V[:B] * np.log(z)).sum(axis=1)  # (B,)
nan = np.isnan(printed).mean()
print(f"{(z < 0).mean():.0%} of the outputs are negative; the loss is NaN for {nan:.0%} of the images")

# %% [markdown]
# One NaN in a batch makes the loss NaN, then the gradient, then all weights. A frequent repair is to bound the outputs
# from below, $s = \max(z, 10^{-6})$. Then there are no NaNs, but the loss has no lower bound. Let the teacher's $q$ be
# probabilities, and double the student's outputs:
#
# $$ -\sum_k q_k \log(2 s_k) = -\sum_k q_k \log s_k - \log 2 . $$
#
# The loss falls by $\log 2$ each time, although nothing was learned. Softmax prevents this: if the $p_k$ sum to 1,
# $-\sum_k q_k \log p_k$ is never below the entropy of $q$, and equals it only at $p = q$.
#
# ### A teacher that was never trained, or learns from its student
#
# The loop neither trains nor freezes the teacher: it is neither in evaluation mode nor excluded from the gradient.
# According to the text it is trained on the student's answers. What would that do? With $c_k = -\log p_k$ the loss is
# $L = \sum_k q_k c_k$, and through the teacher's softmax its gradient is
#
# $$ \frac{dL}{dv_k} = q_k \Big(c_k - \sum_j q_j c_j\Big) . $$
#
# It moves the teacher's probability to where $c$ is smallest, which is the student's current answer. Two networks that
# copy each other can agree perfectly on anything. The function below has a switch for each of these mistakes. As in the
# printed loop, it never uses labels.


# %%
def printed_loop(teacher, cut_off=False, teacher_learns=False):
    student = new_student(0)
    ours, theirs = Adam(student, lr=1e-3), Adam(teacher, lr=1e-3)
    rows = []
    for epoch in range(EPOCHS):
        losses = []
        order = np.random.default_rng((0, epoch)).permutation(IMAGES)  # (n,)
        for batch in np.split(order, range(B, IMAGES, B)):  # (B,)
            z = student.forward(x[batch], train=True)  # (B, K)
            q = softmax(teacher.forward(x[batch], train=teacher_learns))  # (B, K)
            s = np.maximum(z, 1e-6) if cut_off else softmax(z)  # (B, K)
            c = -np.log(s)  # (B, K)
            losses.append((q * c).sum(axis=1).mean())
            dz = -q / s * (z > 1e-6) if cut_off else s - q  # (B, K)
            student.backward((dz / len(batch)).astype(np.float32))
            ours.step()
            if teacher_learns:
                teacher.backward(q * (c - (q * c).sum(axis=1, keepdims=True)) / len(batch))
                theirs.step()
        rows.append((np.mean(losses), errors(student), errors(teacher)))
    return np.array(rows)  # (EPOCHS, 3): loss, errors of the student and of the teacher in %


def untrained_teacher():
    return MLP((D, 256, 256, K), dropout=(0, 0.5, 0.5), seed=0)


def copy_of_teacher():
    model = untrained_teacher()
    model.theta[...] = teacher.theta
    return model


runs = {
    "correct loop": printed_loop(copy_of_teacher()),
    "no softmax": printed_loop(copy_of_teacher(), cut_off=True),
    "untrained teacher": printed_loop(untrained_teacher()),
    "teacher also trained": printed_loop(copy_of_teacher(), teacher_learns=True),
}
q = softmax(V)  # (n, K)
floor = -(q * np.log(np.maximum(q, 1e-30))).sum(axis=1).mean()  # the teacher's mean entropy
last = {name: rows[-10:].mean(axis=0) for name, rows in runs.items()}  # (3,) each
print(f"{'mean of the last ten epochs':<30}{'loss':>9}{'student errors, %':>20}{'teacher errors, %':>20}")
for name, (loss, student_errors, teacher_errors) in last.items():
    print(f"{name:<30}{loss:>9.4f}{student_errors:>20.1f}{teacher_errors:>20.1f}")
print(f"{'lower bound, frozen teacher':<30}{floor:>9.4f}")

# %%
figure = Figure(figsize=(5.8, 2.9), layout="constrained")
axes = figure.subplots()
styles = (("#009E73", "-", "^"), ("#D55E00", "--", "s"), ("#0072B2", "-.", "o"), ("#CC79A7", ":", "D"))
for (name, rows), (colour, line, marker) in zip(runs.items(), styles, strict=True):
    loss = rows[:, 0].reshape(-1, 5).mean(axis=1)  # (EPOCHS / 5,): means of five epochs
    look = {"color": colour, "ls": line, "marker": marker, "ms": 4, "markevery": 3}
    axes.plot(np.arange(3, EPOCHS, 5), loss, label=f"{name}: {last[name][1]:.0f} % errors", **look)
axes.axhline(0, color="k", lw=0.8)
axes.set(xlabel="epoch", ylabel="training loss, nats", ylim=(-2, 5))
axes.grid(alpha=0.3)
axes.legend(fontsize=9, frameon=False)
axes.set_title("Printed loop: training loss, and the student's final errors", fontsize=11)
plots.show(figure)

# %% [markdown]
# **What to notice.** Two of the mistakes have a lower loss than the right loop, and with all three the student
# classifies one digit in ten correctly, which is chance. Without softmax the loss falls below zero and would continue
# to fall. If the teacher also learns, the loss goes to zero: both networks soon give the same digit for every image,
# and the teacher's errors also rise to chance. If the teacher was never trained, the student copies an untrained
# network. The loss of distillation measures how well the student follows the teacher. Only labels can tell whether that
# is useful, and the printed loop never uses its `y`.
#
# ### A mistake without symptoms: dropout left on
#
# The last mistake has no visible symptom. Without `teacher.eval()` the teacher answers with dropout on, differently
# each time. Everything runs, and the student learns. Is it worse? In `distill` the teacher may be a function. With an
# `augment` that changes nothing, it is run anew on each batch.

# %%
noisy, quiet = [], []
for seed in range(SEEDS):
    with_dropout = partial(teachers[seed].forward, train=True)
    student = distilled_student(seed, with_dropout, *student_data(seed), augment=lambda images, rng: images)
    noisy.append(evaluate(student, data.x_val, data.y_val).nll)
    quiet.append(evaluate(models["distilled"][seed], data.x_val, data.y_val).nll)
mean, half = interval(np.array(noisy) - np.array(quiet))
print(f"validation NLL: dropout off {np.mean(quiet):.4f}, left on {np.mean(noisy):.4f} nats")
print(f"difference {mean:+.4f}, 95 % interval {mean - half:+.4f} to {mean + half:+.4f}, {SEEDS} seeds")

# %% [markdown]
# The student is a little worse in each of the five seeds. No error message finds such a mistake, but a control
# experiment does.
#
# ### All mistakes, and the right loop
#
# | printed | what happens | right |
# |---|---|---|
# | optimizer made from the class | TypeError | from the network: `student.parameters()` |
# | output of the teacher as input of the student | the shapes do not fit | it is a target |
# | logarithm of raw outputs | NaN, or a loss without a lower bound | `log_softmax` |
# | teacher never trained | the student copies noise | train it first |
# | gradients go into the teacher | wasted time, or a ruined teacher if it is optimized | `no_grad`, or stored answers |
# | last step trains the teacher on the student | both agree on a useless answer | the teacher is frozen |
# | teacher not in evaluation mode | noisy targets, a slightly worse student | `teacher.eval()` |
# | no temperature | targets hardly differ from labels (tutorial 02) | both softmaxes at $T$, and $T^2$ |
# | `y` is read and never used | the teacher's mistakes go uncorrected | add $(1 - w)$ times $\mathrm{CE}(y, p)$ |
# | $\sum_i t_i \log s_i$ | no sum over classes; grows with $N$ | $-\frac1N \sum_i \sum_k q_{ik} \log p_{ik}$ |
#
# In PyTorch, with teacher, student and all images in memory:
#
# ```python
# import torch
# import torch.nn.functional as F
#
# teacher.eval()
# with torch.no_grad():
#     V = teacher(x_train)                                  # (N, K), once
# optimizer = torch.optim.Adam(student.parameters(), lr=0.03)
# for epoch in range(epochs):
#     for batch in torch.randperm(len(x_train)).split(32):
#         z = student(x_train[batch])                       # (B, K)
#         hard = F.cross_entropy(z, y_train[batch])         # takes logits
#         log_p, q = F.log_softmax(z / T, dim=1), F.softmax(V[batch] / T, dim=1)
#         soft = F.kl_div(log_p, q, reduction="batchmean")  # "mean" would divide by K as well
#         loss = (1 - w) * hard + w * T**2 * soft
#         optimizer.zero_grad()
#         loss.backward()
#         optimizer.step()
# ```
#
# `kl_div` is the cross-entropy minus the teacher's entropy, which is a constant, so the gradient is the same as ours.
#
# ## Exercises
#
# **1.** You have a teacher's probabilities at $T = 1$, not its logits. Can you still distil at $T = 4$? When does it
# fail?
#
# <details><summary>Answer</summary>
#
# Yes: $\log p_k = v_k - \log \sum_j e^{v_j}$ differs from $v_k$ by the same number for all classes, and softmax does
# not change with it. So `softmax(np.log(p), 4)` equals `softmax(V, 4)`, which the last cell checks. It fails if a
# probability was rounded to 0. In float16 that is anything below about 3e-8, and the digits' teacher has smaller ones.
#
# </details>
#
# **2.** Compute the interval for the difference in errors between distilled and labels alone without pairing: the
# variances of the two means add. Is it wider?
#
# <details><summary>Answer</summary>
#
# $\sqrt{3.24^2 + 1.39^2} \approx 3.5$ (with $\tau = 2.776$ for both) against $2.9$ paired. Yes: a draw of 100 images
# that is bad for one student is often bad for the other.
#
# </details>
#
# **3.** With all 899 images the difference in errors is $-0.2 \pm 0.5$ points, undecided. About how many seeds are
# needed for an interval without zero, if the true difference is 0.2?
#
# <details><summary>Answer</summary>
#
# The standard deviation of a difference is $0.5 \cdot \sqrt5 / 2.776 \approx 0.4$. We need
# $\tau \cdot 0.4 / \sqrt n < 0.2$: with $n = 18$, $\tau = 2.11$ and the half-width is 0.199. So about eighteen seeds
# are needed, with luck. If the true difference is half as large, more than sixty are needed.
#
# </details>
#
# ## Sources
#
# - Hinton, Vinyals, Dean (2015): *Distilling the Knowledge in a Neural Network*. arXiv 1503.02531 (the procedure and
#   the loss).
# - Srivastava et al. (2014): *Dropout*. Journal of Machine Learning Research 15 (dropout, on and off).
# - Kingma, Ba (2015): *Adam*. arXiv 1412.6980, algorithm 1 (the optimizer).
# - Szegedy et al. (2016): *Rethinking the Inception Architecture*. arXiv 1512.00567, section 7 (label smoothing).
# - Student (1908): *The Probable Error of a Mean*. Biometrika 6 (few seeds).
#
# Next: `05_choosing`, how to choose teacher, student, temperature and weight.

# %%
# What the text claims, checked each time this runs.
assert changes[True] > 0.3 and changes[False] == 0  # dropout on, and off
assert rounding < 1e-4
assert gap < 1e-9 and untouched
assert np.array_equal(teacher.theta, frozen)  # also after everything that followed
assert abs(check[1] / interval(table["NLL, nats"]["distilled"])[1] - 1) < 1e-3
means = {kind: np.mean(values) for kind, values in table["errors, %"].items()}
assert TEACHER_EPOCHS * N // IMAGES * -(-IMAGES // B) >= TEACHER_EPOCHS * -(-N // B)  # steps of the small teacher
CONTROLS = ("label smoothing", SHUFFLED, SAME)
assert all(means[kind] - means["distilled"] > 2 for kind in ("labels alone", *CONTROLS))
assert max(means["teacher"], means[ALL]) < means["distilled"] and teacher.num_params > 17 * alone.num_params
pair = examples, y[examples]
sure, small = softmax(V, T)[pair], softmax(small_teachers[0].predict(x), T)[pair]  # (2,) each
assert (sure < small).all() and sure.max() < 0.5
assert max(recall["labels alone"]) == 0 and np.mean(recall["distilled"]) > 40
assert np.array_equal(curves["distilled"][:, counts.index(IMAGES)], table["errors, %"]["distilled"])
assert fewer["distilled", IMAGES][0] > fewer["distilled", N][0] + 2
assert nan > 0.9 and "'self'" not in "".join(messages) and len(messages) == 2
right, cut, untrained, together = last.values()
assert cut[0] < min(floor, 0)
assert together[0] < floor and right[0] > floor
assert min(cut[1], untrained[1], together[1], together[2]) > 80 and right[1] < 25 and right[2] < 5
assert all(a > b for a, b in zip(noisy, quiet, strict=True))
assert np.abs(softmax(np.log(softmax(V.astype(np.float64))), T) - softmax(V, T)).max() < 1e-5  # exercise 1
assert softmax(V.astype(np.float64)).min() < 3e-8
if not FAST:
    claimed = {"teacher": 3.1, "labels alone": 11.5, "distilled": 5.6, ALL: 3.0}
    assert all(abs(means[kind] - percent) < 0.4 for kind, percent in claimed.items())
    assert all(verdict(*gains["distilled", score]) == "helps" for score in table)
    assert all(verdict(*gains[kind, "errors, %"]) == "undecided" for kind in CONTROLS[:2])
    assert verdict(*gains[SAME, "errors, %"]) == "helps" and gains[SAME, "errors, %"][0] < 2
    assert all(verdict(*gains["distilled against", kind]) == "helps" for kind in CONTROLS)
    assert min(gains["distilled against", kind][0] for kind in CONTROLS) > 4
    assert verdict(*gains["distilled against", ALL]) == "hurts" and abs(gains["distilled against", ALL][0] + 2.6) < 0.4
    assert abs(gains[SAME, "errors, %"][0] / gains["distilled", "errors, %"][0] - 0.25) < 0.1
    assert [verdict(*fewer["distilled", n]) for n in counts] == ["helps"] * 4 + ["undecided"]
    assert np.allclose([fewer["distilled", n][0] for n in counts], (10.3, 5.9, 2.7, 1.2, -0.2), rtol=0, atol=0.5)
    assert verdict(*fewer["smoothed", N]) == "helps" and abs(fewer["smoothed", N][0] - 0.8) < 0.3
    assert abs(curves["distilled"][:, 1].mean() - curves["labels"][:, 3].mean()) < 1  # 100 images against 400
    assert mean - half > 0 and np.mean(recall["distilled"]) > 50  # dropout left on; the 3s
    apart = np.hypot(*(interval(table["errors, %"][kind])[1] for kind in ("labels alone", "distilled")))  # exercise 2
    assert apart > 1.1 * gains["distilled", "errors, %"][1]
    assert abs(fewer["distilled", N][1] * np.sqrt(5) / 2.776 - 0.4) < 0.1  # exercise 3
