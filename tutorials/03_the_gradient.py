# %% [markdown]
# # 03 · What is the gradient of distillation?
#
# **In short.** The gradient of the cross-entropy with the teacher's softened answers is the student's probabilities
# minus the teacher's, divided by the temperature. A factor of T² in the loss gives the soft part the same weight at
# every temperature. In the limit of high temperatures the student copies the teacher's logits.
#
# - **What you will learn:** the gradient of the distillation loss, the reason for T², and tests that find mistakes
# - **Prerequisites:** tutorials 01 and 02
# - **Hours:** 2
#
# Tutorial 02 softened a teacher's answers by a temperature. Now a student learns from them, so we need the gradient of
# the loss with respect to the student's logits. The rest of the backward pass is that of tutorial 01. The formula is
# short, but people still get it wrong. So the last part is about testing: which checks find the mistakes that people
# really make?

# %%
import os

import numpy as np

from minikd import (
    MLP,
    Adam,
    check_gradients,
    cross_entropy,
    distillation_loss,
    fit,
    load_data,
    log_softmax,
    soft_cross_entropy,
    softmax,
)
from minikd.methods.logit_matching import matching_loss
from minikd.report import plots

FAST = bool(os.environ.get("MINIKD_FAST"))
data = load_data("digits")
K = len(data.class_names)

teacher = MLP((64, 256, 256, K), dropout=(0, 0.5, 0.5), seed=0)
student = MLP((64, 64, K), seed=1)
for model, epochs in ((teacher, 8 if FAST else 20), (student, 5)):  # the student is trained only briefly
    options = {"epochs": epochs, "batch_size": 32, "progress": False}
    fit(model, data.x_train, data.y_train, loss=cross_entropy, optimizer=Adam(model, lr=2e-3), **options)

B = 64
x, y = data.x_train[:B], data.y_train[:B]  # (B, D), (B,)
z = student.predict(x).astype(np.float64)  # (B, K): the student's logits
v = teacher.predict(x).astype(np.float64)  # (B, K): the teacher's
for name, logits in {"student": z, "teacher": v}.items():
    print(f"{name}: mean of the largest probability {softmax(logits).max(axis=1).mean():.2f}")

# %% [markdown]
# ## The distillation loss
#
# Take one image. The teacher's logits are $v$, the student's $z$, and both are softened by the same temperature:
#
# $$ t_k = \frac{e^{v_k/T}}{\sum_j e^{v_j/T}}, \qquad s_k = \frac{e^{z_k/T}}{\sum_j e^{z_j/T}} . $$
#
# The **distillation loss**, as introductions write it, is the cross-entropy of the two ($t$ stands for teacher, $s$ for
# student):
#
# $$ L_{KD} = -\sum_k t_k \log s_k . $$
#
# The teacher does not learn, so $t$ is a constant. How does $L_{KD}$ change with a logit $z_j$ of the student?
#
# ## Step 1: the derivative of softmax
#
# $s_k$ is a quotient. Write $S = \sum_i e^{z_i/T}$, so that $dS/dz_j = e^{z_j/T}/T$. The numerator depends on its own
# logit only: with $[k = j]$, which is 1 where $k$ is $j$ and 0 elsewhere, $d e^{z_k/T}/dz_j = [k = j]\, e^{z_k/T}/T$.
# The quotient rule gives
#
# $$ \frac{ds_k}{dz_j} = \frac{[k = j] e^{z_k/T} S - e^{z_k/T} e^{z_j/T}}{T S^2} = \frac{s_k ([k = j] - s_j)}{T} . $$
#
# All these numbers form a $K \times K$ table, the **Jacobian** of softmax. On its diagonal a probability grows with its
# own logit. Everywhere else it shrinks, because the probabilities must sum to 1.


# %%
def jacobian(z, T):
    s = softmax(z[None], T)[0]  # (K,)
    return (np.diag(s) - np.outer(s, s)) / T  # (K, K): row k, column j


T, h = 4.0, 1e-5
J = jacobian(z[0], T)  # (K, K)
measured = np.empty((K, K))
for j in range(K):
    nudge = h * (np.arange(K) == j)  # (K,)
    measured[:, j] = (softmax(z[:1] + nudge, T) - softmax(z[:1] - nudge, T))[0] / (2 * h)
print(f"largest entry {J.max():.4f}; largest difference from central differences {np.abs(J - measured).max():.0e}")

# %% [markdown]
# ## Step 2: the sum over classes
#
# The loss depends on $z_j$ through every $s_k$. With $d \log s_k / ds_k = 1/s_k$, the chain rule and the Jacobian give
#
# $$ \frac{dL_{KD}}{dz_j} = -\sum_k \frac{t_k}{s_k} \frac{ds_k}{dz_j} = -\frac1T \sum_k t_k ([k = j] - s_j) . $$
#
# The $s_k$ has cancelled. In the first sum only $k = j$ remains, which is $t_j$. In the second, $s_j$ does not depend
# on $k$, and $\sum_k t_k = 1$:
#
# $$ \frac{dL_{KD}}{dz_j} = \frac{s_j - t_j}{T} . $$
#
# No $K \times K$ table is needed, and nothing is divided by a probability that might be 0. In minikd, and in the rest
# of the tutorials, the student's softened probabilities are called $p^T$ and the teacher's $q^T$ (and without the $T$
# at temperature 1), and a loss is the mean over a batch of $B$ images:
#
# $$ L = -\frac1B \sum_i \sum_k q^T_{ik} \log p^T_{ik}, \qquad dz = \frac{p^T - q^T}{T B} . $$


# %%
def soft_loss_by_hand(z, v, T):
    p, q = softmax(z, T), softmax(v, T)  # (B, K) each
    loss = -(q * log_softmax(z, T)).sum() / len(z)
    return loss, (p - q) / (T * len(z))  # L, (B, K)


loss, dz = soft_loss_by_hand(z, v, T)
q = softmax(v, T)  # (B, K)
slow = np.stack([-(q[i] / softmax(z[i : i + 1], T)[0]) @ jacobian(z[i], T) for i in range(B)]) / B  # (B, K)
theirs, dz_theirs = soft_cross_entropy(z, q, temperature=T)
soft_difference = max(abs(loss - theirs), np.abs(dz - dz_theirs).max())
print(f"largest difference from the gradient by the Jacobian {np.abs(slow - dz).max():.0e}, ", end="")
print(f"from soft_cross_entropy {soft_difference:.0e}")

# %% [markdown]
# **Cross-entropy or KL divergence?** Some authors write the loss as $KL(q^T \Vert p^T)$, which is the cross-entropy
# minus the teacher's entropy $H(q^T)$. $H(q^T)$ does not depend on the student's logits. So the value of the loss
# differs by a constant, and the gradient is the same. KL has the advantage of being 0 for a perfect copy.
#
# ## Why T²: how the gradient depends on the temperature
#
# We usually want to mix this loss with the loss of the labels, so the two gradients should be of comparable size. For
# the limit of high temperatures tutorial 02 found $p^T_k \approx 1/K + (z_k - \bar z)/(K T)$, and the same for $q^T$
# with $v$. Then
#
# $$ \frac{p^T_k - q^T_k}{T} \approx \frac{(z_k - \bar z) - (v_k - \bar v)}{K\, T^2} . $$
#
# The gradient falls as $1/T^2$: one $T$ because softened probabilities lie closer together, another because the chain
# rule divides by $T$. Hinton et al. therefore multiply the soft loss by $T^2$. The gradient becomes $T (p^T - q^T)/B$,
# which approaches a constant. We measure it.

# %%
temperatures = 2.0 ** np.arange(0, 9)
norms = np.array([np.linalg.norm(soft_loss_by_hand(z, v, T)[1]) for T in temperatures])  # (n,)
labels_norm = np.linalg.norm(cross_entropy(z, y)[1])
curves = {
    "soft, without T²": norms,
    "soft, with T²": norms * temperatures**2,
    "labels": np.full(len(temperatures), labels_norm),
}
figure = plots.lines(temperatures, curves, xlabel="temperature T", ylabel="gradient norm ‖dL/dz‖ of the batch")
figure.axes[0].set(xscale="log", yscale="log", title="Gradient norm by temperature, with and without T²")
figure.axes[0].set_xticks(temperatures, [f"{T:g}" for T in temperatures])
figure.axes[0].set_xticks([], minor=True)
figure.set_size_inches(6.4, 3.6)
plots.show(figure)
for T, norm in zip(temperatures[::2], norms[::2], strict=True):
    print(f"T = {T:>3g}: without T² {norm:.1e}, with T² {norm * T**2:.3f}; labels {labels_norm:.3f}")

# %% [markdown]
# **What to notice.** Without $T^2$ the curve falls with a slope of nearly -2 at high temperatures: from $T = 16$ to
# $T = 256$ by a factor of about 330, and $16^2$ is 256. If you raise the temperature without $T^2$, the teacher's
# gradient becomes negligible, and you may conclude that high temperatures do not work. With $T^2$ the curve levels out.
# "The same weight at every temperature" is exact in the limit only. From $T = 1$ to 4 the soft part still becomes
# several times larger, because at $T = 1$ both networks give most of the probability to the same class, so their
# answers differ little.
#
# ## The whole loss
#
# Let $w$ be the **soft weight**, from 0 (labels alone) to 1 (the teacher alone), $y$ the one-hot labels, and CE the
# cross-entropy of tutorial 02:
#
# $$ L = (1 - w)\, CE(y, p) + w\, T^2\, CE(q^T, p^T), \qquad dz = \frac{(1 - w)(p - y) + w\, T (p^T - q^T)}{B} . $$
#
# The gradient of a sum is the sum of the gradients, the first term comes from tutorial 01, and $T^2/T = T$. Note that
# the labels are compared with the student's probabilities at temperature 1.


# %%
def distillation_by_hand(z, y, v, T, w):
    p, p_T, q_T = softmax(z), softmax(z, T), softmax(v, T)  # (B, K) each
    one_hot = np.eye(z.shape[1])[y]  # (B, K)
    hard = -(one_hot * log_softmax(z)).sum(axis=1)  # (B,)
    soft = -(q_T * log_softmax(z, T)).sum(axis=1)  # (B,)
    loss = ((1 - w) * hard + w * T**2 * soft).mean()
    dz = ((1 - w) * (p - one_hot) + w * T * (p_T - q_T)) / len(z)  # (B, K)
    return loss, dz


full_difference = 0.0
for T in (0.5, 1, 4, 20):
    for w in (0, 0.3, 0.9, 1):
        ours, theirs = distillation_by_hand(z, y, v, T, w), distillation_loss(z, y, v, temperature=T, soft_weight=w)
        full_difference = max(full_difference, abs(ours[0] - theirs[0]), np.abs(ours[1] - theirs[1]).max())
print(f"largest difference from minikd.distillation_loss, over 16 settings: {full_difference:.0e}")

# %% [markdown]
# How do the two parts differ for one image? We take the image of the batch about which the teacher is least certain,
# $T = 4$ and $w = 0.5$. A positive bar means that the step lowers this logit, because a step goes against the gradient.

# %% tags=["cover"]
T, w = 4.0, 0.5
hard_part = (1 - w) * (softmax(z) - np.eye(K)[y])  # (B, K): one row for each image, not divided by B
soft_part = w * T * (softmax(z, T) - softmax(v, T))  # (B, K)
i = softmax(v).max(axis=1).argmin()
parts = {
    "labels: (1 - w)(p - y)": hard_part[i],
    "teacher: w T (p$^T$ - q$^T$)": soft_part[i],
    "sum of both": hard_part[i] + soft_part[i],
}
figure = plots.bars(parts, data.class_names, ylabel="dL/dz of one image", truth=int(y[i]))
figure.suptitle(f"Gradient of both parts of the loss, for one image of a {data.class_names[y[i]]}")
figure.set_size_inches(7, 5)
plots.show(figure)

# %% [markdown]
# **What to notice.** Each panel sums to 0: what one logit gains, the others lose. The label pushes the right class up
# and every other class down, in proportion to the student's probability for it. The teacher pushes some of the other
# classes down and some *up*. In this image it gives the 5 more probability than the student does, so it pushes the 5
# up, although the label pushes the 5 down more than any other class. A label never pushes a wrong class up.
#
# ## The limit of high temperatures: logit matching
#
# What is $T^2\, KL(q^T \Vert p^T)$ if $T$ is large? Let $a_k = (z_k - \bar z)/T$ and $r_k = (v_k - \bar v)/T$. Both are
# small and have mean 0 over the classes. Write $\langle \cdot \rangle$ for the mean over the $K$ classes. With
# $e^a = 1 + a + a^2/2 + O(1/T^3)$ and $\log(1 + c) = c + O(c^2)$,
#
# $$ \log p^T_k = a_k - \log \sum_j e^{a_j} = a_k - \log K - \tfrac12 \langle a^2 \rangle + O(1/T^3) , $$
#
# because $\langle a \rangle = 0$. The same holds for $\log q^T_k$ with $r$, and $q^T_k = (1 + r_k)/K + O(1/T^2)$. Put
# both into $KL = \sum_k q^T_k (\log q^T_k - \log p^T_k)$. The bracket is of size $1/T$, so the error of $q^T_k$
# contributes $O(1/T^3)$:
#
# $$ KL = \langle (1 + r)(r - a) \rangle - \tfrac12 \langle r^2 - a^2 \rangle + O(1/T^3) . $$
#
# $\langle r - a \rangle = 0$, so $\langle (1 + r)(r - a) \rangle = \langle r^2 \rangle - \langle r a \rangle$, so
#
# $$ KL = \tfrac12 \langle r^2 - 2 r a + a^2 \rangle + O(1/T^3) = \tfrac12 \langle (r - a)^2 \rangle + O(1/T^3) . $$
#
# Multiply by $T^2$, which turns $a$ and $r$ back into centred logits $z^\circ = z - \bar z$ and
# $v^\circ = v - \bar v$:
#
# $$ T^2\, KL(q^T \Vert p^T) \to \frac{1}{2K} \sum_k (z^\circ_k - v^\circ_k)^2 . $$
#
# This is half the mean squared difference. So distillation at a high temperature is **logit matching**, which Ba and
# Caruana (2014) did directly. The terms that we dropped fall as $1/T$, so the relative difference should fall along a
# line of slope -1.


# %%
def T2_KL(z, v, T):
    log_p, log_q = log_softmax(z, T), log_softmax(v, T)  # (B, K) each
    return T**2 * (np.exp(log_q) * (log_q - log_p)).sum(axis=1).mean()


z0, v0 = z - z.mean(axis=1, keepdims=True), v - v.mean(axis=1, keepdims=True)  # (B, K): centred
limit, dlimit = ((z0 - v0) ** 2).sum(axis=1).mean() / (2 * K), (z0 - v0) / (K * B)
hot = 4.0 ** np.arange(1, 8)
in_value = np.array([abs(T2_KL(z, v, T) - limit) / limit for T in hot])  # (n,)
in_gradient = np.array(
    [
        np.linalg.norm(distillation_loss(z, None, v, temperature=T, soft_weight=1)[1] - dlimit) / np.linalg.norm(dlimit)
        for T in hot
    ]
)  # (n,)
figure = plots.lines(
    hot,
    {"value": in_value, "gradient": in_gradient},
    xlabel="temperature T",
    ylabel="relative difference from the limit",
)
figure.axes[0].set(xscale="log", yscale="log", title="High temperatures: distance from logit matching")
figure.set_size_inches(6.4, 3.6)
plots.show(figure)
slope = np.log(in_value[-1] / in_value[-3]) / np.log(hot[-1] / hot[-3])
matching = matching_loss(z0, None, v0, soft_weight=1)  # minikd's has no factor of 1/2
matching_difference = max(abs(matching[0] / 2 - limit), np.abs(matching[1] / 2 - dlimit).max())
print(f"slope of the curve of the value, at the highest temperatures: {slope:.3f}")
print(f"largest difference from minikd's matching_loss / 2: {matching_difference:.0e}")

# %% [markdown]
# **What to notice.** The curves become straight lines of slope -1, as the derivation says, and these logits are not
# special. The temperatures that people use, between 2 and 20, are far from the limit. There softmax still gives likely
# classes more weight than unlikely ones, and a small student need not copy the logits of classes that hardly matter.
#
# ## Testing it
#
# Write tests before you trust code, including your own. There are two kinds of mistake, and they need two kinds of
# test.
#
# - *The gradient does not belong to the loss.* Measuring slopes finds this. The slope along a random direction $u$ is
#   one number, $u \cdot dz$, which depends on every entry.
# - *The gradient belongs to the loss, but the loss is not the one you meant.* Slopes cannot find this, and with
#   automatic differentiation it is the only kind there is. Tests for it are facts that the right loss must satisfy:
#   identities, limits, and one example computed by hand.
#
# The example computed by hand: two classes, $z = (0, 0)$, $v = (T \log 3, 0)$, the teacher alone ($w = 1$). Then
# $q^T = (3/4, 1/4)$ and $p^T = (1/2, 1/2)$, so $L = T^2 \log 2$ and $dz = T\, (-1/4, 1/4)$.


# %%
def tests_of(loss):
    """The name of each test, and whether loss(z, y, v, T, w) -> (L, dz) passes it."""
    rng = np.random.default_rng(0)
    z, v, y = rng.normal(size=(5, 4)) * 2, rng.normal(size=(5, 4)) * 2, rng.integers(0, 4, 5)  # (5, 4), (5, 4), (5,)
    T, w, h = 3.0, 0.7, 1e-5
    dz = loss(z, y, v, T, w)[1]  # (5, 4)
    u = rng.normal(size=z.shape)  # (5, 4)
    slope = (loss(z + h * u, y, v, T, w)[0] - loss(z - h * u, y, v, T, w)[0]) / (2 * h)
    shift = rng.normal(size=(5, 1))  # (5, 1): one number for each image
    example = loss(np.zeros((1, 2)), np.array([0]), np.array([[T * np.log(3), 0]]), T, 1.0)
    return {
        "slope along a random direction": np.isclose((u * dz).sum(), slope, rtol=1e-7),
        "each row of dz sums to 0": np.allclose(dz.sum(axis=1), 0, atol=1e-12),
        "a shift of z does not change dz": np.allclose(loss(z + shift, y, v, T, w)[1], dz, atol=1e-12),
        "dz = 0 for student = teacher, w = 1": np.allclose(loss(v, y, v, T, 1.0)[1], 0, atol=1e-12),
        "dz of the cross-entropy for w = 0": np.allclose(loss(z, y, v, T, 0.0)[1], cross_entropy(z, y)[1], atol=1e-12),
        "example by hand, loss": np.isclose(example[0], T**2 * np.log(2), rtol=1e-12),
        "example by hand, gradient": np.allclose(example[1], [[-T / 4, T / 4]], atol=1e-12),
    }


# %% [markdown]
# The following mistakes were found in published code and reported. For the first three we compute the gradient of the
# wrong loss correctly, as automatic differentiation would. The fourth is an error in the gradient alone.


# %%
def without_T2(z, y, v, T, w):  # T² forgotten in the loss
    hard, soft = distillation_by_hand(z, y, v, 1.0, 0.0), soft_loss_by_hand(z, v, T)
    return tuple((1 - w) * a + w * b for a, b in zip(hard, soft, strict=True))


def softmax_twice(z, y, v, T, w):  # the network ends in softmax, and the loss applies it again
    p, q = softmax(z), softmax(v)  # (B, K): used as if they were logits
    loss, dp = distillation_by_hand(p, y, q, T, w)
    return loss, p * (dp - (dp * p).sum(axis=1, keepdims=True))  # back through the first softmax, (B, K)


def mean_over_classes(z, y, v, T, w):  # .mean() of a (B, K) array also divides by K
    hard, soft = distillation_by_hand(z, y, v, T, 0.0), distillation_by_hand(z, y, v, T, 1.0)
    return tuple((1 - w) * a + w * b / z.shape[1] for a, b in zip(hard, soft, strict=True))


def wrong_gradient(z, y, v, T, w):  # T² in the loss, but not in the gradient
    return distillation_by_hand(z, y, v, T, w)[0], without_T2(z, y, v, T, w)[1]


codes = {
    "minikd": lambda z, y, v, T, w: distillation_loss(z, y, v, temperature=T, soft_weight=w),
    "no T²": without_T2,
    "twice": softmax_twice,
    "mean": mean_over_classes,
    "wrong dz": wrong_gradient,
}
results = {name: tests_of(code) for name, code in codes.items()}
print(f"{'':<35}" + "".join(f"{name:>9}" for name in codes))
for test in results["minikd"]:
    print(f"{test:<35}" + "".join(f"{'ok' if results[name][test] else 'FAILS':>9}" for name in codes))

# %% [markdown]
# **What to notice.** The right code passes all tests, and each mistake fails at least one. But look at the first line:
# the slope finds the fourth mistake and none of the other three. Most identities miss a wrong factor, because three
# times zero is zero. The gradient of the example computed by hand finds all four. Its loss alone does not: softmax
# taken twice passes, because for $p^T = (1/2, 1/2)$ the loss is $T^2 \log 2$ for any teacher. One test is seldom
# enough.
#
# What does a failing gradient check print? `check_gradients` says where the claimed and the measured slope differ most:

# %%
T = 4.0
case_z, case_v = z[:2].copy(), v[:2]  # (2, K) each
wrong = check_gradients(
    lambda z: wrong_gradient(z, y[:2], case_v, T, 1.0)[0],
    case_z,
    wrong_gradient(case_z, y[:2], case_v, T, 1.0)[1],
)
right = check_gradients(
    lambda z: distillation_loss(z, y[:2], case_v, temperature=T, soft_weight=1)[0],
    case_z,
    distillation_loss(case_z, y[:2], case_v, temperature=T, soft_weight=1)[1],
)
print(f"without T² in the gradient:\n{wrong}\n\nminikd's gradient:\n{right}\n")
ratio = wrong.checks[0].numeric / wrong.checks[0].analytic
print(f"numeric / analytic = {ratio:.6f}")

# %% [markdown]
# The ratio of the two shows a wrong factor. Here it is 16, which is $T^2$, so the missing factor is $T^2$.
#
# ## Exercises
#
# **1.** Someone softens the teacher by $T$ but not the student: $L = -\sum_k q^T_k \log p_k$. What is the gradient? To
# which logits does such a student converge, if it can? What are its probabilities at $T = 1$?
#
# <details><summary>Answer</summary>
#
# $dz = (p - q^T)/B$: the derivation is the same, with $T = 1$ for the student. It is 0 where $p = q^T$, so $z = v/T$ up
# to a shift. At temperature 1 the student's answer is as uncertain as the teacher's at $T$. It may choose the right
# classes, but its probabilities are far too soft. With the same $T$ for both, $z = v$ is the minimum.
#
# </details>
#
# **2.** Show that $p^T_k - q^T_k$ lies between -1 and 1, and bound the gradient of one image with $T^2$ and $w = 1$.
# Can the soft part of the gradient explode at $T = 20$?
#
# <details><summary>Answer</summary>
#
# Probabilities lie in $[0, 1]$, so each entry of $T (p^T - q^T)$ lies in $[-T, T]$. The positive entries of a row of
# $p^T - q^T$ sum to at most 1 and the negative ones to at least -1, so the norm of the row is at most $\sqrt2$. So the
# norm of the gradient is at most $\sqrt2\, T$ for each image, which is 28 at $T = 20$. It cannot explode, but this is
# twenty times the bound for labels. A student far from its teacher may need a lower learning rate. (In the limit of
# high temperatures it is the norm of $(z^\circ - v^\circ)/K$, which is much smaller unless the logits are very
# different.)
#
# </details>
#
# **3.** Which of the seven tests fail if the KL divergence replaces the cross-entropy? Which of them must be changed?
#
# <details><summary>Answer</summary>
#
# Only "example by hand, loss". The gradient is the same, and a constant does not change slopes. The value becomes
# $T^2 (\log 2 - H(q^T))$ with $H(q^T) = -\tfrac34 \log \tfrac34 - \tfrac14 \log \tfrac14 \approx 0.562$ nats. The last
# cell checks this.
#
# </details>
#
# ## Sources
#
# - Hinton, Vinyals, Dean (2015): *Distilling the Knowledge in a Neural Network*. arXiv 1503.02531 (section 2: the loss
#   and $T^2$; section 2.1: the limit of high temperatures).
# - Ba, Caruana (2014): *Do Deep Nets Really Need to be Deep?* arXiv 1312.6184 (logit matching).
# - The three mistakes in a loss (T² forgotten, softmax taken twice, the mean over classes as well as the batch) were
#   each reported by users of a public library. Ten such mistakes are in tutorial 12.
#
# Next: `04_teacher_then_student`, where a student learns by this gradient.


# %%
# What the text claims, checked each time this runs.
def with_kl(z, y, v, T, w):
    value, dz = distillation_by_hand(z, y, v, T, w)
    q = softmax(v, T)  # (B, K)
    return value + w * T**2 * (q * np.log(q)).sum(axis=1).mean(), dz


def student_at_one(z):
    return -(softmax(v, 4) * log_softmax(z)).sum() / B


assert np.abs(J - measured).max() < 1e-10 and np.abs(slow - dz).max() < 1e-14
assert soft_difference < 1e-13 and full_difference < 1e-12
assert 250 < norms[4] / norms[8] < 350 and np.ptp(np.log10(norms * temperatures**2)) < 1.3  # slope -2, and level
assert np.abs(hard_part.sum(axis=1)).max() < 1e-12 and np.abs(soft_part.sum(axis=1)).max() < 1e-12
others = np.arange(K) != y[i]  # (K,)
assert (soft_part[i][others] < 0).any() and (hard_part[i][others] > 0).all()
assert FAST or ((hard_part[i] * others).argmax() == 5 and soft_part[i][5] < 0)  # the 5
assert abs(slope + 1) < 0.03 and in_gradient[-1] < 1e-2 and matching_difference < 1e-12
assert all(results["minikd"].values())
slope_test = next(iter(results["minikd"]))
assert not results["wrong dz"][slope_test]
for name in ("no T²", "twice", "mean"):
    assert results[name][slope_test] and not results[name]["example by hand, gradient"]
right.assert_ok(1e-7)
assert abs(ratio - 16) < 1e-6
check_gradients(student_at_one, z, (softmax(z) - softmax(v, 4)) / B, n_coordinates=50).assert_ok(1e-7)  # exercise 1
assert np.abs(softmax(v / 4) - softmax(v, 4)).max() < 1e-14
assert np.linalg.norm(softmax(z, 20) - softmax(v, 20), axis=1).max() < np.sqrt(2)  # exercise 2
assert [test for test, ok in tests_of(with_kl).items() if not ok] == ["example by hand, loss"]  # exercise 3
