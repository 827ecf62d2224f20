# %% [markdown]
# # 04 · How does a student learn from a teacher, step by step?
#
# **In short.** Train the teacher on labels. Freeze it. Write down what it says of every training image, once. Then
# train the student in the usual loop, with the teacher's numbers as one more target. On the digits this makes the
# student's probabilities as good as the teacher's; whether the student also reads more digits rightly, five seeds
# cannot tell.
#
# Tutorial 02 showed what soft targets know, and 03 derived the loss that uses them. Here is the whole procedure from
# the first step to the table of results. The loop is written out in full, down to the optimizer, and ends with
# minikd's own weights. At the end we take apart a loop that is often printed, run its mistakes, and see what each of
# them does.

# %%
import os

import numpy as np
from matplotlib.figure import Figure

from minikd import MLP, Adam, cross_entropy, distill, evaluate, fit, load_data, soft_cross_entropy
from minikd.experiments.intervals import mean_interval
from minikd.optim import cosine
from minikd.report import plots

FAST = bool(os.environ.get("MINIKD_FAST"))  # set by the tests: less training, the same claims
SEEDS = 2 if FAST else 5
TEACHER_EPOCHS, EPOCHS, PRINTED = (20, 20, 8) if FAST else (50, 100, 30)
B, T, w = 32, 4.0, 0.9  # batch size, temperature, soft weight
options = {"batch_size": B, "schedule": cosine(), "progress": False}

data = load_data("digits")
N, D, K = len(data.x_train), 64, 10
print(f"{N} images to learn on, {len(data.x_val)} for validation, {len(data.x_test)} for the test")

# %% [markdown]
# ## Step 1: train a teacher
#
# The teacher is a wide MLP, trained on labels, as in tutorial 01. Two things are new. **Dropout** sets each hidden
# unit to zero with probability one half, anew in each step, and doubles the others; the teacher cannot rely on any one
# unit, and is less sure of itself where there is reason to doubt. And the learning rate falls along half a cosine,
# from its full value to zero.


# %%
def train_teacher(seed):
    teacher = MLP((D, 256, 256, K), dropout=(0, 0.5, 0.5), seed=seed)
    adam = Adam(teacher, lr=2e-3)
    fit(
        teacher,
        data.x_train,
        data.y_train,
        loss=cross_entropy,
        optimizer=adam,
        epochs=TEACHER_EPOCHS,
        seed=seed,
        **options,
    )
    return teacher


teacher = train_teacher(0)
on_val = evaluate(teacher, data.x_val, data.y_val)
print(
    f"teacher: {teacher.num_params:,} parameters, {on_val.errors} of {len(data.y_val)} validation images read wrongly"
)

# %% [markdown]
# ## Step 2: freeze it
#
# From here on the teacher is a fixed function. **Freezing** means three things:
#
# 1. its weights do not change: no optimizer knows them;
# 2. no gradient goes into it: in the student's loss the teacher's logits $v$ are constants, like labels;
# 3. its dropout is off. Dropout is for learning. With it on, the teacher gives another answer each time.
#
# We keep a copy of its weights, to see at the end that nothing has touched them. And we ask it twice in both ways:


# %%
def softmax(z, T=1.0):
    e = np.exp((z - z.max(axis=1, keepdims=True)) / T)  # (B, K)
    return e / e.sum(axis=1, keepdims=True)  # (B, K)


frozen = teacher.theta.copy()  # (P,)
changes = {}
for train in (True, False):
    first, second = (softmax(teacher.forward(data.x_train, train=train)) for _ in range(2))  # (N, K) each
    changes[train] = np.abs(first - second).max()
    other = (first.argmax(axis=1) != second.argmax(axis=1)).sum()
    print(f"dropout {'on ' if train else 'off'}: a probability changes by up to {changes[train]:.2f}; ", end="")
    print(f"of {N} images, {other} are read as another digit than a moment before")

# %% [markdown]
# ## Step 3: look its answers up
#
# A fixed function of fixed images has fixed values. So we ask once, for all training images, and keep an array of
# logits $V$ with one row for each image. A batch that holds the images with the numbers `batch` needs the rows
# `V[batch]`.

# %%
V = teacher.predict(data.x_train)  # (N, K)

batch = np.random.default_rng(0).permutation(N)[:B]  # (B,)
asked = teacher.forward(data.x_train[batch])  # (B, K)
rounding = np.abs(V[batch] - asked).max()
print(f"looked up against asked: largest difference {rounding:.0e}, of logits up to {np.abs(V).max():.0f}")

per_image = sum(W.size for W in teacher.weights)  # multiplications of a forward pass
student_step = 3 * (D * 64 + 64 * K)  # the student's forward pass, and about twice that for its backward pass
print(
    f"multiplications for an image and epoch: {student_step:,} to train the student, {per_image:,} to ask the teacher"
)

# %% [markdown]
# What difference there is comes from rounding: a product of larger matrices adds up in another order. Asking in each
# epoch would cost several times what the student's own training costs; asking once costs that much in one epoch only.
#
# This equals asking each time only as long as the student sees the images that the teacher was asked about. With
# **augmentation** (images moved or turned at random, anew in each epoch) the teacher must be asked about the moved
# image. `distill(..., augment=...)` does that.
#
# ## Step 4: the student on labels
#
# First what we want to beat. The student has 64 hidden units and an eighteenth of the teacher's parameters.


# %%
def new_student(seed, dtype="float32"):
    return MLP((D, 64, K), seed=1000 + seed, dtype=dtype)


def train_student(seed, targets, loss, epochs=EPOCHS):
    student = new_student(seed)
    adam = Adam(student, lr=0.03)
    validation = (data.x_val, data.y_val)
    history = fit(
        student,
        data.x_train,
        targets,
        loss=loss,
        optimizer=adam,
        epochs=epochs,
        seed=seed,
        validation=validation,
        **options,
    )
    return student, history


alone, _ = train_student(0, data.y_train, cross_entropy)
scores = evaluate(alone, data.x_val, data.y_val)
print(
    f"student on labels: {alone.num_params:,} parameters, {scores.errors} validation errors, NLL {scores.nll:.3f} nats"
)

# %% [markdown]
# ## Step 5: the same student on soft targets, all by hand
#
# The same first weights, the same batches, the same number of steps; only the loss differs. With $y$ the one-hot
# label, $p$ the student's probabilities, $p^T$ the same at temperature $T$, $q^T$ the teacher's at $T$, and $w$ the
# soft weight, tutorial 03 found
#
# $$ L = (1 - w)\,\mathrm{CE}(y, p) + w\,T^2\,\mathrm{CE}(q^T, p^T), $$
#
# $$ dz = \frac{(1 - w)(p - y) + w\,T\,(p^T - q^T)}{B} . $$
#
# Here is everything that happens in training: draw a batch, forward, the gradient of the loss, backward, a step. The
# step is **Adam**'s. It keeps, for each parameter, a running mean $m$ of the gradient $g$ and a running mean $s$ of
# its square, and steps by their ratio, so that each parameter moves at a pace of its own:
#
# $$ m \leftarrow 0.9\,m + 0.1\,g, \qquad s \leftarrow 0.999\,s + 0.001\,g^2, $$
#
# $$ \theta \leftarrow \theta - \eta_t\,\frac{m / (1 - 0.9^t)}{\sqrt{s / (1 - 0.999^t)} + 10^{-8}} . $$
#
# Both means start at 0 and are too small at first; the divisions by $1 - 0.9^t$ and $1 - 0.999^t$ make up for it, with
# $t$ the number of the step. The rate is $\eta_t = \eta\,(1 + \cos \pi r)/2$, with $r$ from 0 to 1 the part of the run
# that is over. We compute in float64, so that rounding stays small over thousands of steps.

# %%
start = new_student(0, "float64")
theta = {"W1": start.weights[0], "b1": start.biases[0], "W2": start.weights[1], "b2": start.biases[1]}
theta = {name: value.copy() for name, value in theta.items()}
m = {name: np.zeros_like(value) for name, value in theta.items()}
s = {name: np.zeros_like(value) for name, value in theta.items()}

x, y = data.x_train.astype(np.float64), np.eye(K)[data.y_train]  # (N, D), (N, K)
v = V.astype(np.float64)  # (N, K): the teacher, as far as the student is concerned
t, steps = 0, EPOCHS * int(np.ceil(N / B))
for epoch in range(EPOCHS):
    order = np.random.default_rng((0, epoch)).permutation(N)  # (N,)
    for first in range(0, N, B):
        batch = order[first : first + B]  # (B,): the last batch of an epoch is smaller
        # forward
        a = x[batch] @ theta["W1"] + theta["b1"]  # (B, H)
        h = np.maximum(a, 0)  # (B, H)
        z = h @ theta["W2"] + theta["b2"]  # (B, K)
        # the gradient of the loss
        p, pT, qT = softmax(z), softmax(z, T), softmax(v[batch], T)  # (B, K) each
        dz = ((1 - w) * (p - y[batch]) + w * T * (pT - qT)) / len(batch)  # (B, K)
        # backward
        da = (dz @ theta["W2"].T) * (a > 0)  # (B, H)
        gradients = {"W1": x[batch].T @ da, "b1": da.sum(axis=0), "W2": h.T @ dz, "b2": dz.sum(axis=0)}
        # step
        rate = 0.03 * (1 + np.cos(np.pi * t / steps)) / 2
        t += 1
        for name, g in gradients.items():
            m[name] = 0.9 * m[name] + 0.1 * g
            s[name] = 0.999 * s[name] + 0.001 * g**2
            theta[name] -= rate * (m[name] / (1 - 0.9**t)) / (np.sqrt(s[name] / (1 - 0.999**t)) + 1e-8)

# %% [markdown]
# Nothing in it knows how the teacher works. `v` could have come from a file, from another kind of model, or from
# people who were asked for percentages. Now the same thing by minikd's function.

# %%
student = new_student(0, "float64")
adam = Adam(student, lr=0.03)
distill(
    student,
    teacher,
    data.x_train,
    data.y_train,
    temperature=T,
    soft_weight=w,
    optimizer=adam,
    epochs=EPOCHS,
    seed=0,
    **options,
)
theirs = {"W1": student.weights[0], "b1": student.biases[0], "W2": student.weights[1], "b2": student.biases[1]}
gap = max(np.abs(theta[name] - theirs[name]).max() for name in theta)
untouched = np.array_equal(teacher.theta, frozen)
print(f"after {t:,} steps: largest difference of a weight between our loop and distill {gap:.0e}")
print(f"the teacher's {teacher.num_params:,} weights are the same bits as before: {untouched}")

# %% [markdown]
# ## Step 6: is it any good?
#
# One student proves nothing: with other first weights it would come out otherwise. So we repeat everything for five
# seeds (another teacher, other first weights, another order of the images) and ask how sure the mean is. And we need a
# **control**: something that changes the targets as a teacher does, but knows nothing. **Label smoothing** takes a
# tenth of the probability from the label and spreads it over all classes alike,
#
# $$ t = 0.9\,y + 0.1 / K . $$
#
# If this did as well as the teacher, what helps would not be the teacher's knowledge.

# %%
KINDS = ("teacher", "labels alone", "label smoothing", "distilled")
models = {kind: [] for kind in KINDS}
curves = {kind: [] for kind in KINDS[1:]}  # validation NLL after each epoch
smoothed = (0.9 * np.eye(K)[data.y_train] + 0.1 / K).astype(np.float32)  # (N, K)
for seed in range(SEEDS):
    models["teacher"].append(teacher if seed == 0 else train_teacher(seed))
    logits = models["teacher"][-1].predict(data.x_train)  # (N, K)
    student = new_student(seed)
    history = distill(
        student,
        logits,
        data.x_train,
        data.y_train,
        temperature=T,
        soft_weight=w,
        optimizer=Adam(student, lr=0.03),
        epochs=EPOCHS,
        seed=seed,
        validation=(data.x_val, data.y_val),
        **options,
    )
    trained = {
        "labels alone": train_student(seed, data.y_train, cross_entropy),
        "label smoothing": train_student(seed, smoothed, soft_cross_entropy),
        "distilled": (student, history),
    }
    for kind, (model, history) in trained.items():
        models[kind].append(model)
        curves[kind].append(history["val_nll"])

# %%
epochs = np.arange(1, EPOCHS + 1)
figure = plots.lines(
    epochs, {k: np.array(c) for k, c in curves.items()}, xlabel="epoch", ylabel="NLL on validation images, nats"
)
figure.axes[0].set(ylim=(0, 0.4), title="The three students while they learn")
plots.show(figure)

# %% [markdown]
# **What to notice.** The student on labels stops getting better after a quarter of the time, while its training loss
# goes on towards zero: what it still learns is to be surer, also where it is wrong. The distilled student goes on for
# longer, for its targets are never quite sure. Label smoothing levels out high: its targets say that each digit has
# one chance in a hundred of being any given other one, and the student believes it.
#
# ### Three scores
#
# Settings were chosen on validation images. Now the test images, once. We look at three scores:
#
# - **errors**: how many images are read wrongly;
# - **NLL** (negative log-likelihood): the mean of $-\log p_y$, in nats. It is the cross-entropy with the labels, and
#   punishes being sure and wrong;
# - **ECE** (expected calibration error): when the network says "I am 80 % sure", is it right in 80 % of cases? Sort
#   the images by the largest probability, the network's **confidence**, into 15 bins of equal width. With $n_b$ images
#   in bin $b$, of which a share $\mathrm{acc}_b$ is read rightly, at a mean confidence $\mathrm{conf}_b$,
#
# $$ \mathrm{ECE} = \sum_b \frac{n_b}{n} \left| \mathrm{acc}_b - \mathrm{conf}_b \right| . $$


# %%
def ece(p, labels):
    confidence, right = p.max(axis=1), p.argmax(axis=1) == labels  # (n,), (n,)
    where = np.minimum((confidence * 15).astype(int), 14)  # (n,): the bin of each image
    bins = [where == b for b in range(15) if (where == b).any()]
    return sum(i.mean() * abs(right[i].mean() - confidence[i].mean()) for i in bins)


table = {score: {kind: [] for kind in KINDS} for score in ("errors", "NLL, nats", "ECE, %")}
for kind, trained in models.items():
    for model in trained:
        p = softmax(model.predict(data.x_test).astype(np.float64))  # (n, K)
        table["errors"][kind].append((p.argmax(axis=1) != data.y_test).sum())
        table["NLL, nats"][kind].append(-np.log(p[np.arange(len(p)), data.y_test]).mean())
        table["ECE, %"][kind].append(100 * ece(p, data.y_test))
        ours = (table["errors"][kind][-1], table["NLL, nats"][kind][-1], table["ECE, %"][kind][-1] / 100)
        scores = evaluate(model, data.x_test, data.y_test)
        assert np.allclose(ours, (scores.errors, scores.nll, scores.ece)), "our scores are minikd's"

# %% [markdown]
# ### How sure is a mean of five?
#
# Let $\bar r$ be the mean of $n$ results $r_i$ and $\sigma$ their standard deviation,
# $\sigma^2 = \sum_i (r_i - \bar r)^2 / (n - 1)$. The mean itself would vary from one set of $n$ seeds to the next by
# $\sigma / \sqrt n$. An interval that holds the true mean in 95 % of cases is
#
# $$ \bar r \pm \tau\, \frac{\sigma}{\sqrt n} . $$
#
# For many seeds $\tau$ would be 1.96. For few it is more, since $\sigma$ is only estimated: Student's t-distribution
# gives $\tau = 2.776$ for five seeds. It assumes that results are roughly normally distributed.
#
# Two students of one seed start from the same weights and see the same batches. So take their **difference** seed by
# seed, and then the interval of the differences: what makes a seed good or bad for both cancels. That is a **paired**
# comparison.


# %%
def interval(r):
    tau = {2: 12.706, 5: 2.776}[len(r)]
    return np.mean(r), tau * np.std(r, ddof=1) / np.sqrt(len(r))


print(f"{SEEDS} seeds, {len(data.y_test)} test images; mean ± half of the 95 % interval\n")
print(f"{'':<16}" + "".join(f"{score:>17}" for score in table))
for kind in KINDS:
    cells = [interval(table[score][kind]) for score in table]
    print(f"{kind:<16}" + "".join(f"{mean:>9.3f} ± {half:.3f}" for mean, half in cells))

gains = {}
print("\nless labels alone, seed by seed")
for kind in KINDS[2:]:
    for score in table:
        difference = np.array(table[score][kind]) - np.array(table[score]["labels alone"])  # (SEEDS,)
        gains[kind, score] = mean, half = interval(difference)
        sure = "better" if mean + half < 0 else "worse" if mean - half > 0 else "cannot tell"
        print(f"{kind:<16} {score:<9} {mean:+7.3f}   {mean - half:+7.3f} to {mean + half:+7.3f}   {sure}")
check = mean_interval(table["NLL, nats"]["distilled"])
print(f"\nhalf-width by minikd.experiments.intervals.mean_interval {check[1]:.5f}, ", end="")
print(f"by hand {interval(table['NLL, nats']['distilled'])[1]:.5f}")

# %% tags=["cover"]
figure = Figure(figsize=(9.5, 3.1), layout="constrained")
panels = figure.subplots(1, 3, sharey=True)
looks = {"teacher": ("k", "D"), "labels alone": ("#0072B2", "o")}
looks |= {"label smoothing": ("#D55E00", "s"), "distilled": ("#009E73", "^")}
for axes, (score, values) in zip(panels, table.items(), strict=True):
    for row, kind in enumerate(KINDS):
        mean, half = interval(values[kind])
        axes.plot(values[kind], [row + 0.22] * SEEDS, ".", color="0.6", ms=5)
        axes.errorbar(mean, row, xerr=half, color=looks[kind][0], marker=looks[kind][1], capsize=4)
    axes.set(xlabel=f"test {score}" + (f" of {len(data.y_test)}" if score == "errors" else ""))
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlim(left=0)
panels[0].set(yticks=range(4), yticklabels=KINDS)
panels[0].invert_yaxis()
figure.suptitle("The student by three scores: mean and 95 % interval, each seed in grey", fontsize=11)
plots.show(figure)

# %% [markdown]
# **What to notice.** In NLL and ECE the distilled student is as good as its teacher, which is eighteen times as large,
# and better than the same student on labels: both intervals of the difference stay clear of zero. In errors it made
# three fewer in the mean, but the interval reaches from eight fewer to two more: five seeds cannot tell whether it
# reads more digits rightly.
#
# The control is the surprise. Label smoothing, which knows nothing, makes the fewest errors and the worst
# probabilities. So a gain in accuracy would be no proof that knowledge was transferred; the gain in NLL is a better
# sign, for the control loses there. And all of this is for one student, one data set and one learning rate: tutorial
# 05 varies them.
#
# ## Step 7: a loop that is often printed
#
# Loops like the following are printed in many places. We write it in our words, with its substance kept.
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
# teacher's output becomes the new input of the student; that labels are used as well; and that in the last step the
# teacher is trained on what the student says. Count the faults before you read on.
#
# ### Two that stop at once
#
# `Student.parameters()` asks the class, not a network. A class is a plan; it has no weights (PyTorch says `missing 1
# required positional argument: 'self'`). And the teacher's output is a **target**, to compare with; as an input its
# ten numbers do not fit where 64 belong. If they did, nothing would be gained: the student could not be used without
# its teacher.

# %%
messages = []
for attempt in (lambda: Adam(MLP, lr=1e-3), lambda: new_student(0).forward(V[:4])):
    try:
        attempt()
    except (TypeError, ValueError) as error:
        messages.append(f"{type(error).__name__}: {error}")
print("\n".join(messages))

# %% [markdown]
# ### The logarithm of what is no probability
#
# The last layer gives logits, of either sign. The printed loss takes their logarithm.

# %%
z = new_student(0).forward(data.x_train[:B])  # (B, K): raw outputs
with np.errstate(invalid="ignore"):
    printed = -(V[:B] * np.log(z)).sum(axis=1)  # (B,)
nan = np.isnan(printed).mean()
print(f"{(z < 0).mean():.0%} of the outputs are negative; the loss is NaN for {nan:.0%} of the images")

# %% [markdown]
# One NaN in a batch makes the loss NaN, then the gradient, then all weights. A mend that is often seen is to cut off
# the outputs below, $s = \max(z, 10^{-6})$. Then there are no NaNs, but the loss has no floor. Let the teacher's $q$
# be probabilities, and double the student's outputs:
#
# $$ -\sum_k q_k \log(2 s_k) = -\sum_k q_k \log s_k - \log 2 . $$
#
# The loss falls by $\log 2$ each time, although nothing was learned. Softmax is what forbids that: where the $p_k$ sum
# to 1, $-\sum_k q_k \log p_k$ is never below the entropy of $q$, and reaches it only at $p = q$.
#
# ### A teacher that knows nothing, or learns from its student
#
# Nowhere in the loop is the teacher trained, nor frozen: it is neither in evaluation mode nor kept out of the
# gradient. And if we take the text at its word, it is trained on the student's answers. What would that do? With
# $c_k = -\log p_k$ the loss is $L = \sum_k q_k c_k$, and through the teacher's softmax its gradient is
#
# $$ \frac{dL}{dv_k} = q_k \Big(c_k - \sum_j q_j c_j\Big) . $$
#
# It moves the teacher's probability to where $c$ is smallest: to what the student believes already. Two networks that
# copy each other can agree perfectly on anything. The function below has a switch for each of these mistakes; labels
# are used in none of them, as in the printed loop.


# %%
def printed_loop(teacher, cut_off=False, teacher_learns=False):
    student = new_student(0)
    ours, theirs = Adam(student, lr=1e-3), Adam(teacher, lr=1e-3)
    rows = []
    for epoch in range(PRINTED):
        losses = []
        order = np.random.default_rng((0, epoch)).permutation(N)  # (N,)
        for batch in np.split(order, range(B, N, B)):  # (B,)
            z = student.forward(data.x_train[batch], train=True)  # (B, K)
            q = softmax(teacher.forward(data.x_train[batch], train=teacher_learns))  # (B, K)
            s = np.maximum(z, 1e-6) if cut_off else softmax(z)  # (B, K)
            c = -np.log(s)  # (B, K)
            losses.append((q * c).sum(axis=1).mean())
            dz = -q / s * (z > 1e-6) if cut_off else s - q  # (B, K)
            student.backward((dz / len(batch)).astype(np.float32))
            ours.step()
            if teacher_learns:
                teacher.backward(q * (c - (q * c).sum(axis=1, keepdims=True)) / len(batch))
                theirs.step()
        wrong = [(net.predict(data.x_val).argmax(axis=1) != data.y_val).mean() for net in (student, teacher)]
        rows.append((np.mean(losses), 100 * wrong[0], 100 * wrong[1]))
    return np.array(rows)  # (PRINTED, 3): loss, errors of the student and of the teacher in %


def stranger():
    return MLP((D, 256, 256, K), dropout=(0, 0.5, 0.5), seed=0)  # a teacher that was never trained


def copy_of_teacher():
    model = stranger()
    model.theta[...] = teacher.theta
    return model


runs = {
    "as it should be": printed_loop(copy_of_teacher()),
    "outputs cut off, no softmax": printed_loop(copy_of_teacher(), cut_off=True),
    "teacher never trained": printed_loop(stranger()),
    "trained teacher learns along": printed_loop(copy_of_teacher(), teacher_learns=True),
}
q = softmax(V)  # (N, K)
floor = -(q * np.log(np.maximum(q, 1e-30))).sum(axis=1).mean()  # the teacher's mean entropy
print(f"{'after the last epoch':<30}{'loss':>9}{'student, % wrong':>20}{'teacher, % wrong':>20}")
for name, rows in runs.items():
    print(f"{name:<30}{rows[-1, 0]:>9.4f}{rows[-1, 1]:>20.1f}{rows[-1, 2]:>20.1f}")
print(f"{'least possible, frozen teacher':<30}{floor:>9.4f}")

# %%
figure = Figure(figsize=(9.5, 3.8), layout="constrained")
styles = (("#009E73", "-", "^"), ("#D55E00", "--", "s"), ("#0072B2", "-.", "o"), ("#CC79A7", ":", "D"))
panels = figure.subplots(1, 2)
for axes, column, words in zip(panels, (0, 1), ("training loss, nats", "validation images wrong, %"), strict=True):
    for (name, rows), (colour, line, marker) in zip(runs.items(), styles, strict=True):
        look = {"color": colour, "ls": line, "marker": marker, "ms": 4, "markevery": 4}
        axes.plot(np.arange(1, PRINTED + 1), rows[:, column], label=name, **look)
    axes.set(xlabel="epoch", ylabel=words)
    axes.grid(alpha=0.3)
panels[0].axhline(0, color="k", lw=0.8)
panels[0].set_ylim(-4, 5)
figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
figure.suptitle("What the loss says, and what the student can do", fontsize=11)
plots.show(figure)

# %% [markdown]
# **What to notice.** On the left, two of the mistakes have a lower loss than the right loop; on the right, all three
# leave the student at one digit in ten, which is what guessing gives. Without softmax the loss falls below zero and
# would go on falling. Where the teacher learns along, the loss goes to zero: both networks soon say the same digit for
# every image, and the good teacher has forgotten how to read. Where the teacher was never trained, the student
# faithfully copies a network that knows nothing. The loss of distillation says how well the student follows the
# teacher. Whether that is worth anything only labels can say, which is why the loop that reads `y` and never uses it
# would not even have noticed.
#
# ### The quiet one: dropout left on
#
# The last mistake does not stand out at all. Without `teacher.eval()` the teacher answers with dropout on, another way
# each time. Everything runs, and the student learns. Is it worse? A function may stand for the teacher in `distill`;
# with an `augment` that changes nothing it is asked anew about each batch.

# %%
noisy, quiet = [], []
for seed in range(SEEDS):
    model, student = models["teacher"][seed], new_student(seed)
    distill(
        student,
        lambda x, model=model: model.forward(x, train=True),  # dropout on
        data.x_train,
        data.y_train,
        temperature=T,
        soft_weight=w,
        optimizer=Adam(student, lr=0.03),
        epochs=EPOCHS,
        seed=seed,
        augment=lambda x, rng: x,
        **options,
    )
    noisy.append(evaluate(student, data.x_val, data.y_val).nll)
    quiet.append(evaluate(models["distilled"][seed], data.x_val, data.y_val).nll)
mean, half = interval(np.array(noisy) - np.array(quiet))
print(f"NLL on validation images: dropout off {np.mean(quiet):.4f}, left on {np.mean(noisy):.4f} nats")
print(f"difference {mean:+.4f}, 95 % interval {mean - half:+.4f} to {mean + half:+.4f}, {SEEDS} seeds")

# %% [markdown]
# A little, and surely: each of the five students is worse. That is the kind of mistake which no error message finds,
# and a control experiment does.
#
# ### All of them, and the loop as it should be
#
# | printed | what happens | right |
# |---|---|---|
# | optimizer made from the class | TypeError | from the network: `student.parameters()` |
# | output of the teacher as input of the student | the shapes do not fit | it is a target |
# | logarithm of raw outputs | NaN, or a loss without a floor | `log_softmax` |
# | teacher never trained | the student copies noise | train it first |
# | gradients go into the teacher | time wasted; ruin, if an optimizer has its weights | `no_grad`, or look it up |
# | last step trains the teacher on the student | both agree on nothing | the teacher is frozen |
# | teacher not in evaluation mode | noisy targets, a slightly worse student | `teacher.eval()` |
# | no temperature | targets hardly differ from labels (tutorial 02) | both softmaxes at $T$, and $T^2$ |
# | `y` is read and never used | the teacher's mistakes go uncorrected | add $(1 - w)$ times $\mathrm{CE}(y, p)$ |
# | $\sum_i t_i \log s_i$ | no sum over classes; grows with $N$ | $-\frac1N \sum_i \sum_k q_{ik} \log p_{ik}$ |
#
# In PyTorch, for teacher and student in memory with all images:
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
# `kl_div` is the cross-entropy less the teacher's entropy, a constant, so the gradient is ours.
#
# ## Exercises
#
# **1.** You are given a teacher's probabilities at $T = 1$, not its logits. Can you still distil at $T = 4$? When does
# it fail?
#
# <details><summary>Answer</summary>
#
# Yes: $\log p_k = v_k - \log \sum_j e^{v_j}$ differs from $v_k$ by the same number for all classes, which softmax does
# not notice, so `softmax(np.log(p), 4)` equals `softmax(V, 4)`; the last cell checks it. It fails where a probability
# was rounded to 0. In float16 that is anything below about 3e-8, and the digits' teacher has smaller ones.
#
# </details>
#
# **2.** Compute the interval for the difference in NLL between distilled and labels alone without pairing: the
# variances of the two means add. Is it wider?
#
# <details><summary>Answer</summary>
#
# $\sqrt{0.020^2 + 0.009^2} \approx 0.022$ (with $\tau = 2.776$ for both) against $0.017$ paired. Somewhat: a seed that
# is hard for one student is in part hard for the other. With errors the same sum gives 4.0, and paired it is 5.0:
# pairing pays only where the two vary together, and five seeds hardly tell whether they do.
#
# </details>
#
# **3.** The differences in errors have an interval of ±5 around −3. About how many seeds would it take for the
# interval to leave zero out, if the true difference were 3?
#
# <details><summary>Answer</summary>
#
# The standard deviation of a difference is $5 \cdot \sqrt5 / 2.776 \approx 4$. We need $\tau \cdot 4 / \sqrt n < 3$:
# with $n = 10$, $\tau = 2.26$ and the half-width is 2.9. So ten, with luck. If the true difference is 1.5, it takes
# about thirty.
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
# - Guo, Pleiss, Sun, Weinberger (2017): *On Calibration of Modern Neural Networks*. arXiv 1706.04599, equation 3
#   (ECE).
# - Student (1908): *The Probable Error of a Mean*. Biometrika 6 (few seeds).
#
# Next: `05_choosing`, how to choose teacher, student, temperature and weight.

# %%
# What the text claims, checked each time this runs.
assert changes[True] > 0.3 and changes[False] == 0  # dropout on, and off
assert rounding < 1e-4 and per_image > 5 * student_step
assert gap < 1e-9 and untouched
assert np.array_equal(teacher.theta, frozen)  # after everything that followed, too
assert abs(check[1] / interval(table["NLL, nats"]["distilled"])[1] - 1) < 1e-3
assert gains["label smoothing", "NLL, nats"][0] > 0.03 and gains["label smoothing", "ECE, %"][0] > 5
assert nan > 0.9 and "'self'" not in "".join(messages) and len(messages) == 2
right, cut, untrained, together = (rows[-1] for rows in runs.values())
assert cut[0] < min(floor, 0)
assert together[0] < floor and right[0] > floor
assert min(cut[1], untrained[1], together[1], together[2]) > 80 and right[1] < 25 and right[2] < 5
assert all(a > b for a, b in zip(noisy, quiet, strict=True))
assert np.abs(softmax(np.log(softmax(V.astype(np.float64))), T) - softmax(V, T)).max() < 1e-5  # exercise 1
assert softmax(V.astype(np.float64)).min() < 3e-8
if not FAST:
    for score in ("NLL, nats", "ECE, %"):
        assert gains["distilled", score][0] + gains["distilled", score][1] < 0  # surely better
    assert abs(gains["distilled", "errors"][0]) < gains["distilled", "errors"][1]  # cannot tell
    assert gains["label smoothing", "errors"][0] < 0 and mean - half > 0
    assert len(curves["labels alone"][0]) == EPOCHS and right[1] < 5
