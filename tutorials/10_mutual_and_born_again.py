# %% [markdown]
# # 10 · Can two students teach each other? Can a student teach its teacher?
#
# **In short.** They can learn together if both also learn from the labels and each treats the other's answer as a
# constant. A teacher that only follows its student forgets what it knew. On 300 images of digits peers and generations
# are undecided after ten seeds: they have seen no more than the student. A teacher that has learned from 599 more
# images removes a quarter of the student's errors.
#
# - **What you will learn:** mutual learning, born-again networks and mean teachers, and when they can help
# - **Prerequisites:** tutorials 03 and 04
# - **Hours:** 1.5
#
# So far the teacher was trained before its student and then stayed fixed. In this tutorial it does not. Two networks
# learn at the same time, each from the other; a large network learns from a small one; and a student becomes the
# teacher of the next student, repeatedly. A well-known recipe for distillation even ends with the step "the teacher is
# trained on the student's output". We ask what this can mean, and what it leads to.

# %%
import os
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from minikd import MLP, Adam, check_gradients, cross_entropy, distillation_loss, evaluate, fit, load_data, softmax
from minikd.experiments.intervals import mean_interval, verdict
from minikd.methods import born_again, kd, mean_teacher, mutual
from minikd.optim import cosine
from minikd.report import plots

FAST = bool(os.environ.get("MINIKD_FAST"))
seeds, epochs = (2, 8) if FAST else (10, 60)
data = load_data("digits")
x, y = data.x_train[:300], data.y_train[:300]  # (N, D), (N,): few, so that a teacher can know more
SMALL, LARGE = (64, 16, 10), (64, 128, 128, 10)
how = {"epochs": epochs, "batch_size": 32, "schedule": cosine(), "progress": False}


def make(model):  # Adam, with a smaller rate for the large network
    return Adam(model, 1e-2 if model.sizes == SMALL else 2e-3)


def network(sizes, seed):
    return MLP(sizes, seed=1000 * len(sizes) + seed)  # fresh initial weights


def errors(model, part="test"):
    images, labels = (data.x_test, data.y_test) if part == "test" else (data.x_val, data.y_val)
    return 100 - 100 * evaluate(model, images, labels).accuracy


# %% [markdown]
# ## Two students
#
# Networks 1 and 2 have logits $z_1, z_2$ and probabilities $p_1 = \mathrm{softmax}(z_1)$, $p_2 =
# \mathrm{softmax}(z_2)$. In **deep mutual learning** (Zhang et al. 2018) each learns from the labels and from its
# **peer**:
#
# $$ L_1 = CE(y, p_1) + KL(p_2 \| p_1), \qquad L_2 = CE(y, p_2) + KL(p_1 \| p_2) . $$
#
# Each network minimises its own loss and treats the other's answer as a constant. So with respect to $z_1$,
# $KL(p_2 \| p_1) = CE(p_2, p_1) - H(p_2)$ is a cross-entropy with soft targets up to a constant, and tutorial 03 gives
#
# $$ dz_1 = \frac{(p_1 - y) + (p_1 - p_2)}{B}, \qquad dz_2 = \frac{(p_2 - y) + (p_2 - p_1)}{B} . $$
#
# In the sum of both, $p_1 - p_2$ cancels. The peers only pull each other together. The labels decide where the two go.


# %%
def one_hot(y):
    return np.eye(10)[y]  # (B, K)


def mutual_by_hand(z1, z2, y):
    p1, p2 = softmax(z1), softmax(z2)  # (B, K)
    value = -(one_hot(y) * np.log(p1)).sum(axis=1) + (p2 * np.log(p2 / p1)).sum(axis=1)  # (B,)
    return value.mean(), ((p1 - one_hot(y)) + (p1 - p2)) / len(y)  # L1, dz1 (B, K)


rng = np.random.default_rng(0)
z1, z2 = rng.normal(size=(2, 32, 10))  # (B, K) each
value, dz1 = mutual_by_hand(z1, z2, y[:32])
value_of_minikd, dz1_of_minikd = mutual.mutual_loss(z1, y[:32], z2)
loss_difference = max(abs(value - value_of_minikd), np.abs(dz1 - dz1_of_minikd).max())
print(f"by hand and minikd's `mutual_loss`, largest difference: {loss_difference:.0e}")

# %% [markdown]
# ## Why the peer is a constant
#
# $L_1$ also depends on $z_2$. What if we did not treat it as a constant? Then network 2 gets an additional term. With
# $KL = \sum_k p_{2k} (\log p_{2k} - \log p_{1k})$ and $dp_{2k}/dz_{2j} = p_{2k} ([k = j] - p_{2j})$,
#
# $$ \frac{d\,KL}{dz_{2j}} = \sum_k \frac{dp_{2k}}{dz_{2j}} \left( \log \frac{p_{2k}}{p_{1k}} + 1 \right)
# = p_{2j} \left( \log \frac{p_{2j}}{p_{1j}} - KL(p_2 \| p_1) \right) , $$
#
# because the $p_{2k}$ sum to 1, so $\sum_k dp_{2k} = 0$ and the $+1$ drops out. The term lowers the classes that
# network 2 finds more likely than network 1. It asks network 2 to give answers that network 1 already gives.


# %%
def extra_term(z1, z2):
    p1, p2 = softmax(z1), softmax(z2)  # (B, K)
    ratio = np.log(p2 / p1)  # (B, K)
    return p2 * (ratio - (p2 * ratio).sum(axis=1, keepdims=True)) / len(z1)  # (B, K)


report = check_gradients(lambda z2: mutual_by_hand(z1, z2, y[:32])[0], z2.copy(), extra_term(z1, z2))
print(report)

# %% [markdown]
# Labels pull the other way. The danger shows if there are none. Take a trained teacher, and a student that learns only
# from $KL(q \| p)$, the teacher's answers $q$. If the loop minimises this common loss in both networks (with autograd a
# forgotten `detach` is enough), the teacher gets the extra term. Here are the errors of the teacher and of the student.


# %%
def distil_without_labels(seed, frozen):
    teacher, student = MLP(LARGE, seed=seed), network(SMALL, seed)
    fit(teacher, x, y, loss=cross_entropy, optimizer=Adam(teacher, 2e-3), seed=seed, **how)
    of_teacher, of_student = Adam(teacher, 2e-3), make(student)
    curve = [(errors(teacher, "val"), errors(student, "val"))]
    for epoch in range(4 if FAST else 30):
        order = np.random.default_rng((seed, epoch)).permutation(len(x))
        for start in range(0, len(x), 32):
            batch = x[order[start : start + 32]]  # (B, D)
            z, v = student.forward(batch, train=True), teacher.forward(batch, train=True)  # (B, K)
            student.backward((softmax(z) - softmax(v)) / len(batch))
            of_student.step()
            if not frozen:
                teacher.backward(extra_term(z, v))
                of_teacher.step()
        curve.append((errors(teacher, "val"), errors(student, "val")))
    return np.array(curve).T  # (2, epochs + 1): teacher, student


frozen = np.array([distil_without_labels(seed, True) for seed in range(min(seeds, 5))])  # (seeds, 2, epochs + 1)
trained = np.array([distil_without_labels(seed, False) for seed in range(min(seeds, 5))])
curves = {
    "trained: teacher": trained[:, 0],
    "trained: student": trained[:, 1],
    "frozen: teacher": frozen[:, 0],
    "frozen: student": frozen[:, 1],
}
figure = plots.lines(np.arange(frozen.shape[2]), curves, xlabel="epoch of the student", ylabel="validation errors, %")
figure.axes[0].set(title="Teacher frozen, or trained on its student's loss", yscale="log")
plots.show(figure)
for name, runs in curves.items():
    print(f"{name:17} {runs[:, -1].mean():5.1f} % validation errors after the last epoch")

# %% [markdown]
# **What to notice.** This teacher got no wrong target. It was only trained to agree with the student. The student is
# untrained at first, so the easiest way to agree with it is to forget.
#
# ## The loop for two
#
# Here is mutual learning written out: both answer, each gets the other's answer as a target, and both step. minikd's
# `mutual.learn_together` does the same with `fit`.


# %%
def together_by_hand(one, two, epochs, seed):
    step1, step2 = make(one), make(two)
    for epoch in range(epochs):
        order = np.random.default_rng((seed, epoch)).permutation(len(x))
        for start in range(0, len(x), 32):
            rows = order[start : start + 32]
            z1, z2 = one.forward(x[rows], train=True), two.forward(x[rows], train=True)  # (B, K)
            one.backward(mutual_by_hand(z1, z2, y[rows])[1])
            two.backward(mutual_by_hand(z2, z1, y[rows])[1])
            step1.step()
            step2.step()


ours = [MLP(SMALL, seed=seed, dtype="float64") for seed in (1, 2)]
theirs = [MLP(SMALL, seed=seed, dtype="float64") for seed in (1, 2)]
together_by_hand(*ours, epochs=5, seed=0)
mutual.learn_together(*theirs, x, y, optimizer=make, epochs=5, batch_size=32, seed=0, progress=False)
loop_difference = max(np.abs(a.theta - b.theta).max() for a, b in zip(ours, theirs, strict=True))
print(f"our loop and `learn_together`, largest difference of a weight: {loop_difference:.0e}")

# %% [markdown]
# ## Does it help? Does the large network learn from the small one?
#
# This is the right form of the recipe's last step: the teacher learns from its student's output **while it also learns
# from the labels**, and the student does the same with the teacher's. In mutual learning the peers may have different
# sizes. So we train small networks (64-16-10) and large ones (64-128-128-10) alone, with a peer of their own size, and
# with one of the other size. Each is compared with the network of the same size that starts from the same weights and
# sees the same batches alone. We report test errors over 10 seeds.


# %%
def alone(sizes, seed):
    model = network(sizes, seed)
    fit(model, x, y, loss=cross_entropy, optimizer=make(model), seed=seed, **how)
    return errors(model)


def with_peer(sizes, peer_sizes, seed):
    one, two = network(sizes, seed), network(peer_sizes, 500 + seed)
    update = make(one)  # `fit` scales the peer's learning rate in the same proportion
    mutual.learn_together(one, two, x, y, optimizer=lambda m: update if m is one else make(m), seed=seed, **how)
    return errors(one), errors(two)


single = {sizes: np.array([alone(sizes, seed) for seed in range(seeds)]) for sizes in (SMALL, LARGE)}  # (seeds,)
pairs = {
    "small, small peer": (SMALL, [with_peer(SMALL, SMALL, seed)[0] for seed in range(seeds)]),
    "small, large peer": (SMALL, [with_peer(SMALL, LARGE, seed)[0] for seed in range(seeds)]),
    "large, large peer": (LARGE, [with_peer(LARGE, LARGE, seed)[0] for seed in range(seeds)]),
    "large, small peer": (LARGE, [with_peer(LARGE, SMALL, seed)[0] for seed in range(seeds)]),
}
for sizes, runs in single.items():
    mean, half = mean_interval(list(runs))
    print(f"{'-'.join(map(str, sizes)):14} alone: {mean:5.2f} ± {half:.2f} % errors")


def gains(results):
    rows = []
    for name, (sizes, runs) in results.items():
        gain, half = mean_interval(list(single[sizes] - np.array(runs)))
        rows.append({"method": name, "gain": gain, "gain_half": half, "verdict": verdict(gain, half)})
        words = f"{np.mean(runs):5.2f} % errors, gain over alone {gain:+.2f} ± {half:.2f} points"
        print(f"{name:28} {words}: {rows[-1]['verdict']}")
    return rows


peer_rows = gains(pairs)

# %% [markdown]
# ## Born again: a student becomes the teacher
#
# In **born-again networks** (Furlanello et al. 2018) a trained network teaches a new network of the *same* size, which
# then teaches the next. Nothing is compressed. Parent and child are different objects with different initial weights. A
# network that is its own teacher learns nothing, because $p - q = 0$. With $p$ the child's probabilities and $q$ its
# parent's, at temperature 1, and half of the weight on the labels,
#
# $$ L = \tfrac12 CE(y, p) + \tfrac12 CE(q, p), \qquad dz = \frac{\tfrac12 (p - y) + \tfrac12 (p - q)}{B} . $$
#
# If a child is better than its parent, what is the reason: the ranking of the wrong classes, or only the weight that
# the parent gives to each image? The paper has two controls.
#
# - **CWTM**, confidence weighted by teacher max: labels alone, but each image is weighted with the parent's confidence,
#   $c_i = \max_k q_{ik} / \sum_j \max_k q_{jk}$, so $dz_i = c_i (p_i - y_i)$. This has no dark knowledge.
# - **DKPP**, dark knowledge with permuted predictions: as born again, but in each image the probabilities of all
#   classes except the parent's first are shuffled. The parent's confidence stays, and its ranking of the other classes
#   is lost.


# %%
def born_again_by_hand(z, y, v):
    p, q = softmax(z), softmax(v)  # (B, K)
    return (0.5 * (p - one_hot(y)) + 0.5 * (p - q)) / len(y)  # (B, K)


def cwtm_by_hand(z, y, v):
    c = softmax(v).max(axis=1, keepdims=True)  # (B, 1)
    return c / c.sum() * (softmax(z) - one_hot(y))  # (B, K)


def dkpp_by_hand(v, seed):
    shuffled, generator = v.copy(), np.random.default_rng(seed)
    for row in shuffled:
        others = np.arange(10) != row.argmax()  # (K,)
        row[others] = generator.permutation(row[others])
    return shuffled  # (N, K)


half_half = partial(distillation_loss, temperature=1.0, soft_weight=0.5)
checks = {
    "born again": np.abs(born_again_by_hand(z1, y[:32], z2) - half_half(z1, y[:32], z2)[1]).max(),
    "CWTM": np.abs(cwtm_by_hand(z1, y[:32], z2) - born_again.cwtm_loss(z1, y[:32], z2)[1]).max(),
    "DKPP, sorted logits": np.abs(np.sort(dkpp_by_hand(z2, 0)) - np.sort(born_again.permuted(z2))).max(),
}
for name, difference in checks.items():
    print(f"{name:28} by hand and minikd, largest difference {difference:.0e}")


def generations(seed, loss, control="none", count=3):
    family = []
    for g in range(count + 1):
        model = network(SMALL, 100 * (count - g) + seed)  # other initial weights each; the last has those of `single`
        if g == 0:
            fit(model, x, y, loss=cross_entropy, optimizer=make(model), seed=seed, **how)
        else:
            answers = family[-1].predict(x)  # (N, K)
            answers = dkpp_by_hand(answers, seed) if control == "dkpp" else answers  # (N, K)
            fit(model, x, (y, answers), loss=loss, optimizer=make(model), seed=seed, **how)
        family.append(model)
    return [errors(model) for model in family]


# `born_again.train` trains one generation. Its parent has another seed.
parent, ours, theirs = MLP(SMALL, seed=7919), network(SMALL, 0), network(SMALL, 0)
fit(parent, x, y, loss=cross_entropy, optimizer=make(parent), seed=0, **how)
fit(ours, x, (y, parent.predict(x)), loss=half_half, optimizer=make(ours), seed=0, **how)
born_again.train(theirs, None, x, y, optimizer=make, seed=0, **how)
print(f"{'one generation':28} by hand and minikd, largest difference {np.abs(ours.theta - theirs.theta).max():.0e}")

# %%
kinds = {"born again": (half_half, "none"), "CWTM": (born_again.cwtm_loss, "cwtm"), "DKPP": (half_half, "dkpp")}
families = {
    name: np.array([generations(seed, loss, control, 1 if FAST else 3) for seed in range(seeds)])  # (seeds, 4)
    for name, (loss, control) in kinds.items()
}
figure = plots.lines(
    np.arange(families["CWTM"].shape[1]), families, xlabel="generation (0: labels alone)", ylabel="test errors, %"
)
figure.axes[0].set(title="Generations of 64-16-10 on 300 images")
plots.show(figure)
family_rows = gains({f"{name}, last generation": (SMALL, runs[:, -1]) for name, runs in families.items()})

# %% [markdown]
# The last generation starts from the same weights and sees the same batches as a small network above that learned from
# labels alone, and is compared with it.
#
# ## Mean teacher: the average of past weights
#
# One teacher costs nothing: the average of the student's own weights over the last steps,
# $\bar\theta \leftarrow d\, \bar\theta + (1 - d)\, \theta$ (**mean teacher**, Tarvainen and Valpola 2017). The student
# learns from labels, and $w \cdot \mathrm{mean}\, (p - \bar p)^2$ pulls it to the answers of the average, which is
# again treated as a constant. The method was made for few labelled and many unlabelled images, with different noise for
# student and average. Here we have neither, and only test the pull. The weight is chosen on the validation images.


# %%
def averaged(seed, weight):
    student, average = network(SMALL, seed), MLP(SMALL, seed=0)
    mean_teacher.train(
        student, None, x, y, weight=weight, decay=0.99, average=average, optimizer=make, seed=seed, **how
    )
    return errors(average, "val"), errors(average)


tried = {w: np.array([averaged(seed, w) for seed in range(seeds)]) for w in (1.0, 10.0)}  # (seeds, 2)
weight = min(tried, key=lambda w: tried[w][:, 0].mean())
mean_teacher_row = gains({f"mean teacher, w = {weight:g}": (SMALL, tried[weight][:, 1])})

# %% [markdown]
# ## A teacher with more data
#
# So far no network has seen more than the same 300 images. For comparison, a large teacher that has learned from all
# 899 images teaches the small network by soft targets on the 300.


# %%
def taught(seed):
    teacher, student = network(LARGE, seed), network(SMALL, seed)
    fit(teacher, data.x_train, data.y_train, loss=cross_entropy, optimizer=make(teacher), seed=seed, **how)
    kd.train(student, teacher, x, y, optimizer=make, seed=seed, **how)
    return errors(student)


taught_row = gains({"small, teacher of 899": (SMALL, [taught(seed) for seed in range(seeds)])})

# %% tags=["cover"]
rows = taught_row + peer_rows + family_rows + mean_teacher_row
figure = Figure(figsize=(8, 4), layout="constrained")
axes = figure.subplots()
for at, row in enumerate(rows):
    colour = "#777777" if row["verdict"] == "undecided" else "#009E73"
    axes.errorbar(row["gain"], at, xerr=row["gain_half"], fmt="o", color=colour, lw=2, capsize=4)
axes.axvline(0, color="black", lw=1)
axes.set_yticks(range(len(rows)), [f"{row['method']}: {row['verdict']}" for row in rows])
axes.set(xlabel="gain over the same network alone, points of test errors, 95 % interval", ylim=(len(rows), -1))
axes.set_title(f"Gain from peers, parents, or a teacher of {len(data.x_train)} images")
plots.show(figure)

# %% [markdown]
# **What to notice.** The teacher that has seen 899 images helps: 7.5 % errors instead of 9.9 %, a gain of 2.5 ± 0.6
# points. All other rows are undecided: peers, parents, a parent's confidence alone, a parent with shuffled wrong
# classes, and the mean teacher, for the small network and for the large one. The half-widths of their intervals are
# about half a point or less, so a gain of a whole point would probably have been found in every row. The difference is
# knowledge: peers and parents have learned only from the same 300 images, so they have little to teach each other.
#
# The large "teacher" that learns from a small student is also undecided, −0.3 ± 0.5 points. The published gains of
# peers and generations were found with far larger networks, on tasks of many classes, where labels say less. All three
# curves of the generations have the same zigzag, because all three use the same initial weights in the same generation,
# and some weights are better than others. A single curve from one seed would have been misleading.
#
# ## Can a student teach its teacher?
#
# "The teacher is trained on the student's output" can mean three things:
#
# 1. *The student's loss changes the teacher.* The teacher forgets, as the picture above shows. minikd's `distill` never
#    does this, and raises an error if the teacher is the student itself.
# 2. *Peers.* Both learn from labels and from each other at the same time, from the first step. This reading makes
#    sense, and is `mutual.learn_together`. Whether the larger network gains must be measured in each case.
# 3. *Generations.* The student becomes the teacher of the next network, a new object. The old teacher is not trained
#    again: `born_again.train`.
#
# ## Exercises
#
# **1.** Leave the labels out of mutual learning, so that each peer learns from the other alone. What is $dz_1 + dz_2$,
# and where does training end?
#
# <details><summary>Answer</summary>
#
# $dz_1 + dz_2 = (p_1 - p_2) + (p_2 - p_1) = 0$: the two meet in between, and stop wherever they agree. Nothing tells
# them what a digit is. From random initial weights they end with about the errors of guessing. Agreement does not mean
# that the answer is right.
#
# </details>
#
# **2.** In the paper network 1 takes its step first, and network 2 uses the answer of network 1 *after* that step.
# Which lines of `together_by_hand` change?
#
# <details><summary>Answer</summary>
#
# Move `step1.step()` to directly after `one.backward`, and compute `z1` again with `one.predict(x[rows])` before
# `two.backward`. This costs one more forward pass for each step. For small steps the difference is of the order of the
# learning rate.
#
# </details>
#
# **3.** In CWTM, let the parent be equally confident in all images. What remains?
#
# <details><summary>Answer</summary>
#
# $c_i = 1/B$, and $dz_i = (p_i - y_i)/B$: plain labels. So CWTM differs from labels alone only if the parent's
# confidence differs between images. A parent that has memorised its 300 images is certain of all of them, so this
# control has no effect.
#
# </details>
#
# ## Sources
#
# - Zhang, Xiang, Hospedales, Lu (2018): *Deep Mutual Learning*. arXiv 1706.00384 (peers, equal and unequal).
# - Furlanello, Lipton, Tschannen, Itti, Anandkumar (2018): *Born-Again Neural Networks*. arXiv 1805.04770 (generations,
#   CWTM, DKPP).
# - Tarvainen, Valpola (2017): *Mean teachers are better role models*. arXiv 1703.01780 (the average of past weights).
#
# Next: `11_without_data_or_labels`, when the data are gone or have no labels.

# %%
# What the text claims, checked each time this runs.
report.assert_ok(1e-6)
assert loss_difference < 1e-12 and loop_difference < 1e-9 and max(checks.values()) < 1e-12
assert np.abs(ours.theta - theirs.theta).max() < 1e-6 < np.abs(ours.theta - parent.theta).max()
assert np.abs((mutual_by_hand(z1, z2, y[:32])[1] + mutual_by_hand(z2, z1, y[:32])[1]).sum(axis=1)).max() < 1e-12
assert (dkpp_by_hand(z2, 0).argmax(axis=1) == z2.argmax(axis=1)).all() and (dkpp_by_hand(z2, 0) != z2).any()
assert (trained[:, 0, -1] > 50).all() and (frozen[:, 0] == frozen[:, 0, :1]).all()  # only the trained one forgets
assert (frozen[:, 1, -1] < frozen[:, 1, 0] / 2).all()
uniform = np.zeros((32, 10))  # exercise 3
assert np.abs(cwtm_by_hand(z1, y[:32], uniform) - cross_entropy(z1, y[:32])[1]).max() < 1e-12
pair = network(SMALL, 1), network(SMALL, 2)  # exercise 1
steps = [(*pair, make(pair[0])), (*pair[::-1], make(pair[1]))]
for model, other, step in steps * 100:
    logits = model.forward(x, train=True)  # (N, K)
    model.backward((softmax(logits) - softmax(other.predict(x))) / len(x))
    step.step()
assert min(errors(model) for model in pair) > 60
if not FAST:
    assert single[LARGE].mean() < single[SMALL].mean()
    undecided = peer_rows + family_rows + mean_teacher_row
    assert all(row["verdict"] == "undecided" and abs(row["gain"]) + row["gain_half"] < 1 for row in undecided)
    assert taught_row[0]["verdict"] == "helps" and 0.2 < taught_row[0]["gain"] / single[SMALL].mean() < 0.3
