# %% [markdown]
# # 02 · What does a teacher know that labels do not?
#
# **In short.** A label names one class. A trained network also says how similar the image is to each other class. At
# first these numbers are too small to see, and dividing the logits by a temperature makes them visible. We check that
# they are knowledge and not noise: they rank the pairs of digits almost as visual similarity ranks them.
#
# - **What you will learn:** what soft targets contain, how a temperature reveals it, and how to handle extreme logits
# - **Prerequisites:** tutorial 01
# - **Hours:** 1.5
#
# Tutorial 01 taught a network with labels. From here on there are two networks. The **teacher** is trained already and
# is usually large. The **student** is smaller and learns from the teacher's answers. This tutorial first looks at those
# answers: what information they hold, and how to compute with them safely.

# %%
import os

import numpy as np
from matplotlib.figure import Figure

from minikd import MLP, Adam, cross_entropy, evaluate, fit, load_data, log_softmax, softmax
from minikd.optim import cosine
from minikd.report import plots

FAST = bool(os.environ.get("MINIKD_FAST"))
data = load_data("digits")
K = len(data.class_names)

# %% [markdown]
# ## A teacher
#
# Our teacher has two hidden layers of 256 units and learns with **dropout**: in each training step half of the hidden
# units, drawn at random, are set to 0 and the others are doubled. So no unit can rely on another one. Dropout is off
# when the network answers. We train several teachers that differ only in their seed, because the answers of one network
# may be due to chance. The pictures of single images show the first teacher. `Adam` is a variant of gradient descent,
# and `cosine` is a learning rate that falls to 0. Tutorial 04 writes both out.


# %%
def train_teacher(seed):
    teacher = MLP((64, 256, 256, K), dropout=(0, 0.5, 0.5), seed=seed)
    optimizer, epochs = Adam(teacher, lr=2e-3), 8 if FAST else 20
    options = {"epochs": epochs, "batch_size": 32, "schedule": cosine(), "seed": seed, "progress": False}
    fit(teacher, data.x_train, data.y_train, loss=cross_entropy, optimizer=optimizer, **options)
    return teacher


teachers = [train_teacher(seed) for seed in range(2 if FAST else 5)]
teacher = teachers[0]
v = teacher.predict(data.x_test).astype(np.float64)  # (N, K): its logits for the test images
print(f"misclassified test images of {len(v)}:", [evaluate(t, data.x_test, data.y_test).errors for t in teachers])
print(f"probability of the most likely class, median over the test images: {np.median(softmax(v).max(axis=1)):.4f}")

# %% [markdown]
# For half of the images the first teacher gives more than that to one class. The other nine classes share the little
# that is left. As training targets, such answers hardly differ from labels.
#
# ## Temperature: divide the logits by T
#
# Hinton, Vinyals and Dean (2015) divide the logits by a number $T > 0$ before softmax:
#
# $$ p_k^T = \frac{e^{z_k/T}}{\sum_j e^{z_j/T}} . $$
#
# $T$ is called **temperature** after the same formula in physics. With energies in place of $-z$, it gives the
# probability of each state of a physical system at that temperature. $T = 1$ is the softmax of tutorial 01. The order
# of the classes never changes, because $z/T$ is in the same order as $z$. Only the distances change: the ratio of two
# probabilities is
#
# $$ \frac{p_k^T}{p_j^T} = e^{(z_k - z_j)/T} = \left( \frac{p_k}{p_j} \right)^{1/T} , $$
#
# so at $T = 4$ a ratio of 10,000 becomes a ratio of 10. What happens in the two limits?
#
# **Cold, $T \to 0$.** Let $m$ be the largest logit. Divide numerator and denominator by $e^{m/T}$:
#
# $$ p_k^T = \frac{e^{-(m - z_k)/T}}{\sum_j e^{-(m - z_j)/T}} . $$
#
# Where $z_k = m$ the exponent is 0 and the exponential is 1. Everywhere else the exponent goes to $-\infty$ and the
# exponential to 0. So the most likely class gets the whole probability (or several share it if they tie): the answer
# becomes a label.
#
# **Hot, $T \to \infty$.** Now $z/T$ is small, and $e^a = 1 + a + O(a^2)$. With $\bar z$ the mean of the $K$ logits,
#
# $$ p_k^T = \frac{1 + z_k/T + O(1/T^2)}{K + K \bar z/T + O(1/T^2)} = \frac1K + \frac{z_k - \bar z}{K T} + O(1/T^2) . $$
#
# All classes become equally likely, and the small differences that remain are proportional to the logits themselves. If
# this is right, the error of the last formula without its $O(1/T^2)$ must fall as $1/T^2$: multiplied by $T^2$ it must
# approach a constant.


# %%
def softmax_by_hand(z, T=1.0):
    z = z / T  # (B, K)
    e = np.exp(z - z.max(axis=1, keepdims=True))  # (B, K): the last section says why the maximum is subtracted
    return e / e.sum(axis=1, keepdims=True)  # (B, K)


one = v[:1]  # (1, K): the first test image
centred = one - one.mean()  # (1, K)
print("cold, T = 0.01:", softmax_by_hand(one, 0.01)[0].round(3), " label", data.y_test[0])
hot_errors = {}
for T in (10, 100, 1000, 10_000):
    p = softmax_by_hand(one, T)  # (1, K)
    hot_errors[T] = np.abs(p - (1 / K + centred / (K * T))).max()
    print(f"hot,  T = {T:>6,}: largest error {hot_errors[T]:.1e}, times T²: {hot_errors[T] * T**2:.3f}")

# %% [markdown]
# ## Entropy: how uncertain an answer is
#
# The **entropy** of an answer measures its uncertainty. It is the mean of $-\log p_k$, the surprise at class $k$,
# weighted with the answer itself:
#
# $$ H(p) = -\sum_k p_k \log p_k . $$
#
# It is 0 nats if one class has the whole probability, and at most $\log K$ (2.30 for ten classes), if all classes are
# equally likely. By the two limits it must rise from 0 to $\log K$ with the temperature.


# %%
def entropy(p):
    terms = np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0)  # (B, K): 0 log 0 is taken as its limit, 0
    return -terms.sum(axis=1)  # (B,)


temperatures = 2.0 ** np.arange(-3, 8.1)
entropies = np.array([entropy(softmax_by_hand(v, T)) for T in temperatures])  # (n, N)
sure, unsure = entropies[temperatures == 1][0].argmin(), entropies[temperatures == 1][0].argmax()
curves = {
    "least certain image": entropies[:, unsure],
    "mean over the test images": entropies.mean(axis=1),
    "most certain image": entropies[:, sure],
}
figure = plots.lines(temperatures, curves, xlabel="temperature T", ylabel="entropy, nats")
figure.axes[0].axhline(np.log(K), color="black", lw=0.8, ls=":")
figure.axes[0].text(temperatures[0], np.log(K) - 0.13, "log K: all classes equally likely")
figure.axes[0].set_xscale("log")
figure.axes[0].set_xticks(temperatures[::2], ["1/8", "1/2", "2", "8", "32", "128"])
figure.axes[0].set_xticks([], minor=True)
figure.set_size_inches(6, 3.4)
figure.axes[0].set_title("Entropy of the teacher's answers by temperature")
plots.show(figure)

# %% [markdown]
# At $T = 1$ most answers are nearly labels. From about $T = 32$ on, all classes are nearly equally likely. An answer
# carries most information in between, where the curves are steep.
#
# ## Dark knowledge
#
# A teacher's probabilities, softened by a temperature, are called **soft targets** or **soft labels** if a student
# learns from them. Here are some for three test images that the teacher classifies correctly, with a probability of
# about 90 %. The number is the height of the highest bar.

# %% tags=["cover"]
soft = {T: softmax_by_hand(v, T) for T in (1, 2, 4, 8)}  # (N, K) each
right = v.argmax(axis=1) == data.y_test  # (N,)
order = np.argsort(np.abs(soft[1].max(axis=1) - 0.9) + ~right, kind="stable")  # nearest to 90 % first, errors last
chosen = [order[0]]
for i in order:
    if len(chosen) < 3 and data.y_test[i] not in data.y_test[chosen]:
        chosen.append(i)  # the next image of another class

figure = Figure(figsize=(9, 4.1), layout="constrained")
panels = figure.subplots(3, 5, width_ratios=[1, 2.4, 2.4, 2.4, 2.4])
for row, i in zip(panels, chosen, strict=True):
    row[0].imshow(data.x_test[i].reshape(data.image_shape), cmap="gray_r")
    row[0].set(title=f"label {data.y_test[i]}", xticks=[], yticks=[])
    for axes, p in zip(row[1:], soft.values(), strict=True):
        axes.bar(range(K), p[i], color=["#0072B2" if k == data.y_test[i] else "#BBBBBB" for k in range(K)])
        axes.text(v[i].argmax(), p[i].max(), f"{p[i].max():.2f}", ha="center", va="bottom", fontsize=9)
        axes.set(xticks=range(K), yticks=[], ylim=(0, 1.25 * p[i].max()))
        axes.spines[["left", "top", "right"]].set_visible(False)
for axes, T in zip(panels[0, 1:], soft, strict=True):
    axes.set_title(f"T = {T}")
figure.suptitle("Dark knowledge: the teacher's probabilities at rising temperature")
figure.supxlabel("class (blue: the correct one); bars: probability, on a separate scale in each panel", fontsize=10)
plots.show(figure)

# %% [markdown]
# **What to notice.** The label of such an image is the same for every other image of its class. The teacher says which
# other digits *this* image resembles, and in which order. It was trained on labels only. It had to find out what digits
# have in common to tell them apart, and the small probabilities show that. Hinton called them **dark knowledge**: at
# $T = 1$ they are there but too small to see. At $T = 8$ even the right class stands out only a little.
#
# ## Is it knowledge or noise?
#
# Three images prove nothing. So take all test images of a class and average the teacher's softened probabilities: row
# $i$ of a table holds the means over the images of class $i$. We compare it with a quantity that involves no network,
# the distance between the mean images of two classes:
#
# $$ d_{ij} = \Big\lVert\, \frac{1}{N_i} \sum_{y_n = i} x_n - \frac{1}{N_j} \sum_{y_n = j} x_n \Big\rVert . $$
#
# The means are taken over training images, the probabilities over test images, which the teacher has not seen. $T = 4$
# was fixed in advance.


# %%
def mean_by_class(z, T):
    p = softmax_by_hand(z, T)  # (N, K)
    return np.stack([p[data.y_test == k].mean(axis=0) for k in range(K)])  # (K, K): row = class of the image


means = np.stack([data.x_train[data.y_train == k].mean(axis=0) for k in range(K)])  # (K, D)
distances = np.linalg.norm(means[:, None] - means[None], axis=2)  # (K, K)

figure = Figure(figsize=(8.6, 3.6), layout="constrained")
panels = figure.subplots(1, 2)
tables = {
    "teacher: mean probability at T = 4, %": (100 * mean_by_class(v, 4), "Blues"),
    "pixels: distance between the mean images": (distances, "Oranges_r"),  # darker is nearer
}
for axes, (title, (table, colours)) in zip(panels, tables.items(), strict=True):
    shown = np.where(np.eye(K, dtype=bool), np.nan, table)  # (K, K): the diagonal would dominate the colours
    figure.colorbar(axes.imshow(shown, cmap=colours), ax=axes, format="%.1f")
    axes.set_facecolor("0.85")  # the diagonal is left out
    axes.set(xlabel="other class", ylabel="class of the image", xticks=range(K), yticks=range(K))
    axes.set_title(title, fontsize=11)
figure.suptitle("Similarity of classes, by the teacher and by pixels")
plots.show(figure)

# %% [markdown]
# The dark cells are at similar places in both tables. The **rank correlation** measures how similar. Make the teacher's
# table symmetric, list its 45 pairs of classes, and replace each number by its rank. Do the same with the distances
# (nearest first), and correlate the ranks. 1 means the same order, 0 no relation, and -1 the reverse order. Two
# controls show what to expect without knowledge: a network before training, and classes whose names are shuffled.


# %%
pairs = np.triu_indices(K, 1)  # the 45 pairs of different classes


def ranks(a):
    return a.argsort().argsort()  # (n,): 0 for the smallest


def rank_correlation(table, distances):
    similar = (table + table.T)[pairs]  # (45,)
    return np.corrcoef(ranks(similar), ranks(-distances[pairs]))[0, 1]


grid = np.array([0.25, 0.5, 1, 2, 4, 8, 16, 32])
untrained = [MLP(teacher.sizes, seed=seed) for seed in range(len(teachers))]
logits = {
    "teachers": [t.predict(data.x_test).astype(np.float64) for t in teachers],
    "before training": [t.predict(data.x_test).astype(np.float64) for t in untrained],
}
curves = {
    name: np.array([[rank_correlation(mean_by_class(z, T), distances) for T in grid] for z in runs])  # (seeds, n)
    for name, runs in logits.items()
}
figure = plots.lines(grid, curves, xlabel="temperature T", ylabel="rank correlation with pixels")
figure.axes[0].set_xscale("log")
figure.axes[0].set_xticks(grid, [f"{T:g}" for T in grid])
figure.axes[0].set_xticks([], minor=True)
figure.set_size_inches(6, 3.6)
figure.axes[0].set(title="Similarity of classes: networks against pixels", ylim=(-0.6, 1))
figure.axes[0].axhline(0, color="black", lw=0.8)
plots.show(figure)

at_4 = curves["teachers"][:, grid == 4].ravel()  # (seeds,)
rng = np.random.default_rng(0)
table = mean_by_class(v, 4)  # (K, K)
shuffles = [rng.permutation(K) for _ in range(1000)]
shuffled = np.array([rank_correlation(table, distances[np.ix_(s, s)]) for s in shuffles])  # (1000,)
print("T = 4, each teacher:", at_4.round(2), f" mean {at_4.mean():.2f}")
print(f"class names shuffled 1000 times: 95 % below {np.quantile(shuffled, 0.95):.2f}, largest {shuffled.max():.2f}")
share = {}
for T in (0.25, 1, 4):
    wrong = np.sort(1 - softmax_by_hand(v, T)[np.arange(len(v)), data.y_test])[::-1]  # (N,): of the wrong classes
    share[T] = wrong[: len(v) // 20].sum() / wrong.sum()
    print(f"T = {T}: 5 % of the images hold {share[T]:.0%} of the probability of wrong classes")

# %% [markdown]
# **What to notice.** All teachers rank the 45 pairs much as the pixels do. No shuffled table comes close, and networks
# before training have no such order. So the small numbers are knowledge about digits. The agreement is weaker at low
# temperature. There a few images hold nearly all of the probability that wrong classes get, so these images decide the
# whole table. The correlation need not be 1, and a higher one would not make a better teacher: pixels are a crude
# measure of similarity, and a network may well have a finer one. This does not yet show that a student profits.
# Tutorial 04 shows that.
#
# ## Cross-entropy, entropy and KL divergence
#
# The student answers $p$ and the teacher $q$. How far apart are they? The **cross-entropy** with soft targets is the
# formula of tutorial 01, but $q$ may be any probabilities, not only one-hot:
#
# $$ CE(q, p) = -\sum_k q_k \log p_k . $$
#
# If the student copies the teacher exactly, it is not 0 but $H(q)$. The excess over $H(q)$ is the **KL divergence**
# (Kullback and Leibler 1951):
#
# $$ KL(q \Vert p) = \sum_k q_k \log \frac{q_k}{p_k} = \sum_k q_k \log q_k - \sum_k q_k \log p_k = CE(q, p) - H(q) . $$
#
# It is 0 if $p = q$ and positive otherwise. This holds because $\log a \le a - 1$, with equality at $a = 1$ only:
#
# $$
# -KL(q \Vert p) = \sum_k q_k \log \frac{p_k}{q_k} \le \sum_k q_k \Big( \frac{p_k}{q_k} - 1 \Big)
# {} = \sum_k p_k - \sum_k q_k = 0 .
# $$
#
# So $CE = H + KL$. The first part is the teacher's own uncertainty, which no student can change. The second is the
# distance, which the student can reduce. We check this with a second teacher in place of the student.

# %%
q, p = softmax_by_hand(v, 4), softmax_by_hand(logits["teachers"][1], 4)  # (N, K) each
CE = -(q * np.log(p)).sum(axis=1)  # (N,)
KL = (q * np.log(q / p)).sum(axis=1)  # (N,)
print(f"means, nats: CE {CE.mean():.4f} = H {entropy(q).mean():.4f} + KL {KL.mean():.4f}")
print(f"largest difference {np.abs(CE - entropy(q) - KL).max():.0e}; smallest KL of an image {KL.min():.0e}")

# %% [markdown]
# ## Extreme logits
#
# The formulas are exact, but a computer's numbers are not. The largest number in float64 is about $10^{308}$, so $e^z$
# overflows to infinity beyond $z = 709$, and in float32 beyond $z = 88$. Then softmax is $\infty/\infty$, which is NaN,
# "not a number". One NaN in a loss turns every weight into NaN in the next step. Low temperatures lead there fast: a
# logit of 20 at $T = 0.01$ is 2000. Our functions must work for logits up to $\pm 10^4$ and for any $T$ from $10^{-3}$
# to $10^3$.

# %%
extreme = np.array([[1e4, 9999.0, 0.0, -1e4]])  # (1, 4)
with np.errstate(all="ignore"):  # NumPy would warn of the overflow
    naive = np.exp(extreme) / np.exp(extreme).sum(axis=1, keepdims=True)  # (1, 4)
    log_of_softmax = np.log(softmax_by_hand(extreme))  # (1, 4)
print("exp, then divide:      ", naive[0])
print("maximum subtracted:    ", softmax_by_hand(extreme)[0])
print("log(softmax(z)):       ", log_of_softmax[0])

# %% [markdown]
# **Subtract the maximum first.** Softmax does not change when all logits are shifted, because
# $e^{z_k - m} = e^{z_k} e^{-m}$ and $e^{-m}$ cancels. After the shift all exponents are at most 0. Nothing overflows,
# and the sum is at least 1, so nothing is divided by 0. Only probabilities below $10^{-308}$ underflow to 0, and there
# 0 is accurate enough.
#
# **But never take the logarithm of the result.** A loss needs $\log p_k$, and $\log 0 = -\infty$, where the true value
# is only about -10,000. Instead of computing $p$ and then its logarithm, simplify on paper:
#
# $$ \log p_k = \frac{z_k - m}{T} - \log \sum_j e^{(z_j - m)/T} . $$
#
# At least one term of the sum is 1, so its logarithm is finite, and all other terms are also finite.


# %%
def log_softmax_by_hand(z, T=1.0):
    s = (z - z.max(axis=1, keepdims=True)) / T  # (B, K)
    return s - np.log(np.exp(s).sum(axis=1, keepdims=True))  # (B, K)


print("log_softmax:           ", log_softmax_by_hand(extreme)[0])
rng = np.random.default_rng(0)
worst_p = worst_logp = worst_sum = 0.0
for size in (1, 100, 1e4):
    z = rng.uniform(-size, size, (200, K))  # (200, K)
    for T in 10.0 ** np.arange(-3, 4):
        p, logp = softmax(z, T), log_softmax(z, T)  # minikd's, (200, K) each
        assert np.isfinite(p).all() and np.isfinite(logp).all()
        worst_p = max(worst_p, np.abs(p - softmax_by_hand(z, T)).max())
        worst_logp = max(worst_logp, (np.abs(logp - log_softmax_by_hand(z, T)) / (1 + np.abs(logp))).max())
        worst_sum = max(worst_sum, np.abs(p.sum(axis=1) - 1).max())
print(f"largest difference from minikd's: softmax {worst_p:.0e}, log_softmax {worst_logp:.0e} (relative)")
print(f"rows sum to 1 within {worst_sum:.0e}")

# %% [markdown]
# These are `softmax` and `log_softmax` in `minikd/ops.py`. One detail differs in `softmax_by_hand`: it divides by $T$
# before it subtracts the maximum. minikd subtracts first, while the logits are still exact.
#
# ## Exercises
#
# **1.** A second network has the same weights as the teacher, but the weights and biases of its last layer are three
# times as large. How do its answers differ? At which temperature are its soft targets the same as the teacher's at
# $T = 4$? Is one temperature right for every teacher?
#
# <details><summary>Answer</summary>
#
# Its logits are three times as large, so it chooses the same classes with higher probabilities.
# $\text{softmax}(3 z / T') = \text{softmax}(z / T)$ where $T' = 3 T = 12$. So the temperature is measured in units of
# the logits, and a teacher with larger logits needs a higher temperature. No temperature is right for all teachers.
#
# </details>
#
# **2.** Show that the entropy never falls with the temperature: $dH/dT = \text{Var}(z) / T^3$, where the variance of
# the logits is taken with the probabilities $p^T$. Check it by central differences.
#
# <details><summary>Answer</summary>
#
# $\log p_k = z_k/T - \log Z$ with $Z = \sum_j e^{z_j/T}$, so $H = \log Z - E[z]/T$, where $E$ is the mean with $p^T$.
# $d \log Z/dT = -E[z]/T^2$. $dp_k/dT = -p_k (z_k - E[z])/T^2$, so $dE[z]/dT = -\text{Var}(z)/T^2$. Together,
# $dH/dT = -E[z]/T^2 + E[z]/T^2 + \text{Var}(z)/T^3$. A variance is never negative. The last cell checks it.
#
# </details>
#
# **3.** KL is not symmetric. Let $q = (0.5, 0.5, 0)$ and $p = (0.98, 0.01, 0.01)$. Compute $KL(q \Vert p)$ and
# $KL(p \Vert q)$. Which one should a student minimise if it must not miss a class that the teacher finds possible?
#
# <details><summary>Answer</summary>
#
# $KL(q \Vert p) = 0.5 \log(0.5/0.98) + 0.5 \log(0.5/0.01) \approx 1.62$ nats. $KL(p \Vert q)$ is infinite: $p$ gives
# 0.01 to a class that $q$ rules out. The first is weighted with the teacher's $q$. It is large if the student rules out
# what the teacher finds possible, and it is never infinite, because softmax gives every class a positive probability.
# The student should minimise the first.
#
# </details>
#
# ## Sources
#
# - Hinton, Vinyals, Dean (2015): *Distilling the Knowledge in a Neural Network*. arXiv 1503.02531 (temperature, soft
#   targets; Hinton used the name "dark knowledge" in talks).
# - Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov (2014): *Dropout*. JMLR 15.
# - Kullback, Leibler (1951): *On Information and Sufficiency*. Annals of Mathematical Statistics 22.
# - Mantel (1967): *The detection of disease clustering*. Cancer Research 27 (shuffling the names of a table of
#   distances).
#
# Next: `03_the_gradient`, what a student does with the teacher's numbers.

# %%
# What the text claims, checked each time this runs.
assert softmax_by_hand(one, 0.01)[0].max() > 1 - 1e-9
assert abs(hot_errors[10_000] / hot_errors[1000] * 100 - 1) < 0.02  # falls as 1/T²
assert (np.diff(entropies, axis=0) > -1e-12).all() and entropies[-1].min() > 0.95 * np.log(K)
assert entropies[0].mean() < 0.02 and entropies[temperatures == 1].mean() < 0.4
assert at_4.min() > 0.6 and at_4.min() > np.quantile(shuffled, 0.99)
assert FAST or (at_4.mean() > 0.75 and at_4.mean() > shuffled.max())
assert abs(curves["before training"].mean()) < 0.4 < at_4.mean() - abs(curves["before training"][:, grid == 4].mean())
assert (at_4 > curves["teachers"][:, 0]).all() and at_4.mean() > curves["teachers"][:, -1].mean()
assert np.abs(CE - entropy(q) - KL).max() < 1e-12 and KL.min() > 0
assert np.isnan(naive).any() and np.isneginf(log_of_softmax).any()
assert share[0.25] > 0.6 > 0.3 > share[4]
for T in (1e-3, 1.0, 1e3):  # and in float32
    assert np.isfinite(softmax(np.float32(extreme), T)).all() and np.isfinite(log_softmax(np.float32(extreme), T)).all()
assert worst_p < 1e-7 and worst_logp < 1e-12 and worst_sum < 1e-12
assert np.abs(softmax(3 * v, 12) - softmax(v, 4)).max() < 1e-14  # exercise 1
p, T, h = softmax(v, 4), 4.0, 1e-4  # exercise 2
variance = (p * v**2).sum(axis=1) - (p * v).sum(axis=1) ** 2  # (N,)
slope = (entropy(softmax(v, T + h)) - entropy(softmax(v, T - h))) / (2 * h)  # (N,)
assert np.abs(slope - variance / T**3).max() < 1e-7
assert abs(0.5 * np.log(0.5 / 0.98) + 0.5 * np.log(0.5 / 0.01) - 1.62) < 0.005  # exercise 3
