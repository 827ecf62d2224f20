# %% [markdown]
# # 09 · What else can a teacher give than its answers?
#
# **In short.** It can give its confidence and its ranking of the other classes separately, its hidden layer, and the
# similarities between samples. On digits, where the student is shown 100 images and the teacher has learned from 899,
# each of nine methods helps. Methods that match answers halve the errors, methods that match relations help less, and
# controls without knowledge are undecided. One method needs its temperature tuned first.
#
# - **What you will learn:** three families of methods by hand, what each ignores, and a fair comparison of nine
# - **Prerequisites:** tutorials 03 to 05
# - **Hours:** 2
#
# Soft targets pass on the teacher's output in one way. Since 2015 many papers have proposed to pass on other quantities
# and in other ways, and nearly every one reports that it beats the earlier ones. This tutorial derives three of the
# ideas by hand, examines what each of them asks of a student, and then compares nine methods while everything else
# stays the same.

# %%
import os
import time
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from minikd import MLP, Adam, check_gradients, cross_entropy, evaluate, fit, load_data, log_softmax, softmax
from minikd.data import few
from minikd.experiments.intervals import mean_interval, verdict
from minikd.methods import METHODS
from minikd.methods.base import features
from minikd.methods.dist import correlation_loss
from minikd.methods.dkd import decoupled
from minikd.methods.fitnets import hint_loss
from minikd.methods.kd import kl_loss
from minikd.methods.rkd import rkd_loss
from minikd.methods.sp import sp_loss
from minikd.optim import cosine
from minikd.report import plots

FAST = bool(os.environ.get("MINIKD_FAST"))
seeds, epochs = (2, 30) if FAST else (5, 100)
data = load_data("digits")
shown = [few(data.y_train, 100, seed=seed) for seed in range(seeds)]  # (N,) each: the rows that a student is shown
x, y = data.x_train[shown[0]], data.y_train[shown[0]]  # (N, D), (N,), those of the first student


def train_teacher(seed):
    teacher = MLP((64, 256, 256, 10), dropout=(0, 0.5, 0.5), seed=seed)
    how = {"optimizer": Adam(teacher, 3e-3), "epochs": 20, "batch_size": 32, "schedule": cosine()}
    fit(teacher, data.x_train, data.y_train, loss=cross_entropy, seed=seed, progress=False, **how)
    return teacher


def errors(model, x, y):
    return 100 - 100 * evaluate(model, x, y).accuracy


teachers = [train_teacher(seed) for seed in range(seeds)]
teacher_errors = np.array([errors(teacher, data.x_test, data.y_test) for teacher in teachers])  # (seeds,)
print("teachers, errors on test images, %:", np.round(teacher_errors, 1))

# %% [markdown]
# The teachers have learned from all 899 training images. A student is shown 100 of them. This is a usual case for
# distillation: the teacher was trained elsewhere, on data that you do not have, or labels are expensive.
#
# ## Answers in two parts: DKD
#
# Let $q = \mathrm{softmax}(v/T)$ be the teacher's probabilities and $p = \mathrm{softmax}(z/T)$ the student's, for one
# image of class $t$. Soft targets minimise $KL(q \| p) = \sum_k q_k \log (q_k / p_k)$. Every answer says two things:
# how likely the right class is, $q_t$, and how the rest is divided among the others. Write the second as probabilities,
#
# $$ \hat q_k = \frac{q_k}{1 - q_t}, \qquad \hat p_k = \frac{p_k}{1 - p_t} \qquad (k \ne t), $$
#
# put $q_k = (1 - q_t)\, \hat q_k$ into the sum, and use $\sum_{k \ne t} \hat q_k = 1$:
#
# $$ KL(q \| p) = q_t \log \frac{q_t}{p_t} +
# \sum_{k \ne t} (1 - q_t)\, \hat q_k \left( \log \frac{1 - q_t}{1 - p_t} + \log \frac{\hat q_k}{\hat p_k} \right) $$
#
# $$ = \underbrace{q_t \log \frac{q_t}{p_t} + (1 - q_t) \log \frac{1 - q_t}{1 - p_t}}_{\text{TCKD: right or not}}
# \ +\ (1 - q_t)\ \underbrace{\sum_{k \ne t} \hat q_k \log \frac{\hat q_k}{\hat p_k}}_{\text{NCKD: the others}} . $$
#
# So the ranking of the others, which holds the dark knowledge, has the weight $1 - q_t$: the more certain the teacher,
# the less it counts. **Decoupled knowledge distillation** (Zhao et al. 2022) sets both weights freely,
# $\alpha\, \mathrm{TCKD} + \beta\, \mathrm{NCKD}$, on top of the labels' loss.
#
# **Gradients.** From tutorial 03, $d \log p_k / dz_j = ([k = j] - p_j)/T$. For the right class this is
# $([j = t] - p_j)/T$; and because $d(1 - p_t) = -dp_t$, $d \log (1 - p_t)/dz_j = -\frac{p_t}{1 - p_t} ([j = t] -
# p_j)/T$. Together,
#
# $$ \frac{d\,\mathrm{TCKD}}{dz_j} = \frac{[j = t] - p_j}{T} \left( -q_t + (1 - q_t) \frac{p_t}{1 - p_t} \right)
# = \frac{[j = t] - p_j}{T} \cdot \frac{p_t - q_t}{1 - p_t} , $$
#
# which is $(p_t - q_t)/T$ for $j = t$ and $-\hat p_j (p_t - q_t)/T$ for the others: what the right class gains, the
# others lose in proportion to their probabilities. NCKD is the divergence of two softmaxes without class $t$, so
#
# $$ \frac{d\,\mathrm{NCKD}}{dz_j} = (\hat p_j - \hat q_j)/T \quad (j \ne t), \qquad 0 \quad (j = t) . $$


# %%
def decoupled_by_hand(z, y, v, T):
    right = np.arange(z.shape[1]) == y[:, None]  # (B, K), true at the label's class
    p, q = softmax(z, T), softmax(v, T)  # (B, K)
    p_t, q_t = p[right][:, None], q[right][:, None]  # (B, 1)
    p_hat, q_hat = np.where(right, 0, p / (1 - p_t)), np.where(right, 0, q / (1 - q_t))  # (B, K), rows sum to 1
    tckd = q_t * np.log(q_t / p_t) + (1 - q_t) * np.log((1 - q_t) / (1 - p_t))  # (B, 1)
    ratio = np.where(right, 1, q_hat) / np.where(right, 1, p_hat)  # (B, K), 1 where there is nothing to compare
    nckd = (q_hat * np.log(ratio)).sum(axis=1)  # (B,)
    dtckd = (p_t - q_t) * (right - p_hat) / T  # (B, K)
    dnckd = (p_hat - q_hat) / T  # (B, K)
    return tckd[:, 0], nckd, dtckd, dnckd, 1 - q_t[:, 0]


rng = np.random.default_rng(0)
z, T = 2 * rng.normal(size=(len(x), 10)), 4.0  # (N, K), random logits for a student
v = teachers[0].predict(x).astype(np.float64)  # (N, K)
tckd, nckd, dtckd, dnckd, others = decoupled_by_hand(z, y, v, T)
kl = (softmax(v, T) * (log_softmax(v, T) - log_softmax(z, T))).sum(axis=1)  # (N,)
print(f"KL = TCKD + (1 - q_t) NCKD, largest difference: {np.abs(tckd + others * nckd - kl).max():.0e}")
_, dkl = kl_loss(z, None, v, temperature=T, soft_weight=1.0)  # T²/N KL
sum_of_parts = T * T / len(x) * (dtckd + others[:, None] * dnckd)  # (N, K)
print(f"the same for their gradients:                   {np.abs(sum_of_parts - dkl).max():.0e}")
ours, theirs = (tckd, nckd, dtckd, dnckd), decoupled(z, y, v, temperature=T)
dkd_difference = max(np.abs(a - b).max() for a, b in zip(ours, theirs, strict=True))
print(f"by hand and minikd's `decoupled`:               {dkd_difference:.0e}")
dkd_report = check_gradients(
    lambda z: sum(part.sum() for part in decoupled_by_hand(z, y[:8], v[:8], T)[:2]), z[:8].copy(), (dtckd + dnckd)[:8]
)
print(dkd_report)
for temperature in (1.0, 4.0):
    weight = decoupled_by_hand(z, y, v, temperature)[4]  # (N,)
    print(f"weight 1 - q_t of NCKD at T = {temperature:g}: median {np.median(weight):.1e}, largest {weight.max():.2f}")

# %% [markdown]
# At temperature 1 a good teacher gives the ranking almost no weight on most images. A temperature of 4 gives it much
# more. So temperature and decoupling correct the same weakness, and the comparison below measures both. The next
# picture shows the negative gradients at the ten logits of one image, the direction in which training moves them. There
# the student agrees with the teacher on the right class, and gives the others equal probabilities.

# %%
i = int(np.argmin(np.abs(others - np.median(others))))  # the image whose 1 - q_t is closest to the median
q = softmax(v[i : i + 1], T)  # (1, K)
guess = np.full((1, 10), np.log(others[i] / 9))  # (1, K): log probabilities, equal for the other classes
guess[0, y[i]] = np.log(1 - others[i])
_, _, d_right, d_rank, weight = decoupled_by_hand(T * guess, y[i : i + 1], v[i : i + 1], T)
figure = plots.bars(
    {
        "TCKD, the right class or not: −dTCKD/dz": -T * d_right[0],
        "NCKD, weighted as in soft targets: −(1 − q_t) dNCKD/dz": -T * weight[0] * d_rank[0],
        "NCKD, decoupled: −dNCKD/dz": -T * d_rank[0],
    },
    data.class_names,
    ylabel="negative gradient, times T",
    title=f"DKD: negative gradients at a student's logits, image of a {y[i]}",
    truth=int(y[i]),
)
plots.show(figure)

# %% [markdown]
# ## Hidden layers: hints
#
# A hidden layer is a list of features, and the teacher's features are good. In FitNets (Romero et al. 2015) the student
# predicts them: $h$ ($B \times W$) is a hidden layer of the student and $t$ ($B \times W'$) one of the teacher. Because
# $W \ne W'$, a linear **regressor** $R$ ($W \times W'$) maps one to the other. It is discarded after training:
#
# $$ L_{\text{hint}} = \frac{1}{2B} \sum_i |h_i R - t_i|^2, \qquad
# dr = (hR - t)/B, \qquad dR = h^\top dr, \qquad dh = dr\, R^\top . $$
#
# The regressor is one more layer, and its gradients are those of tutorial 01. FitNets trains the lower layers on this
# first, and the whole student on soft targets afterwards. One can also add up both losses. Then the loss depends on the
# network in two places. How does a gradient enter in the middle?
#
# Change one hidden unit a little, $h \to h + \delta$. The loss changes in two ways: by $\delta \cdot dz\, W_2^\top$
# because the logits change, as always; and by $\delta \cdot dh_{\text{hint}}$ because the hint's loss depends on $h$
# itself. To first order the two changes are independent, because their product is of order $\delta^2$. So they add up:
#
# $$ dh = dz\, W_2^\top + dh_{\text{hint}}, \qquad\text{then}\qquad da = dh \cdot [a > 0], \quad dW_1 = x^\top da , $$
#
# as before. In minikd, `model.backward(dlogits, {layer: dfeatures})` does this: it adds `dfeatures` when the backward
# pass reaches the layer.

# %%
student = MLP((64, 16, 10), seed=1, dtype="float64")
xb, yb = x[:32].astype(np.float64), y[:32]  # (B, D), (B,)
t = features(teachers[0], xb).astype(np.float64)  # (B, W'), the teacher's last hidden layer
R = rng.normal(size=(16, t.shape[1])) / 4  # (W, W')
W1, W2, b1, b2 = *student.weights, *student.biases
a = xb @ W1 + b1  # (B, W)
h = np.maximum(a, 0)  # (B, W)
_, dz = cross_entropy(h @ W2 + b2, yb)  # (B, K)
dr = (h @ R - t) / len(xb)  # (B, W')
dh_hint = dr @ R.T  # (B, W), through the hint's own loss
dh = dz @ W2.T + dh_hint  # (B, W), the sum of both
da = dh * (a > 0)  # (B, W)
dW1, db1 = xb.T @ da, da.sum(axis=0)  # (D, W), (W,)

logits = student.forward(xb, train=True)  # (B, K)
value, dlogits = cross_entropy(logits, yb)
hint, dr_of_minikd = hint_loss(student.hidden[0] @ R, t)
student.backward(dlogits, {0: dr_of_minikd @ R.T})
hint_difference = max(np.abs(student.weight_grads[0] - dW1).max(), np.abs(student.bias_grads[0] - db1).max())
print(f"by hand and MLP.backward, largest difference: {hint_difference:.0e}")


def both_losses(theta):
    logits = student.forward(xb, train=True)  # (B, K); theta is student.theta itself
    return cross_entropy(logits, yb)[0] + hint_loss(student.hidden[0] @ R, t)[0]


hint_report = check_gradients(both_losses, student.theta, student.grad, n_coordinates=200)
print(hint_report)

# %% [markdown]
# ## Relations: distances between samples
#
# A hint asks for the teacher's coordinates, up to the regressor. But features are good because of the relations between
# samples. **Relational distillation** (RKD, Park et al. 2019) matches the distances between the samples of a batch. Let
# $d_{ij} = |f_i - f_j|$ be those in the student's features, $\mu$ their mean (over the $n$ pairs with $d_{ij} > 0$),
# and capitals the teacher's:
#
# $$ L = \frac{1}{B^2} \sum_{ij} \mathrm{h}\!\left( \frac{d_{ij}}{\mu} - \frac{D_{ij}}{M} \right), \qquad
# \mathrm{h}(x) = \begin{cases} x^2/2 & |x| < 1 \\ |x| - 1/2 & \text{beyond} \end{cases} $$
#
# $\mathrm{h}$ is **Huber's function**: quadratic near 0 and linear far from it, so that a few distant pairs do not
# dominate the batch. Its slope is $x$, clipped to between $-1$ and $1$. Write $s_{ij}$ for that slope over $B^2$. A
# distance appears in the loss twice: in its own term, and in $\mu$, which is in all terms. With
# $d(d_{kl}/\mu)/d\mu = -d_{kl}/\mu^2$ and $d\mu/dd_{ij} = 1/n$,
#
# $$ \frac{dL}{dd_{ij}} = \frac{s_{ij}}{\mu} - \frac1n \sum_{kl} s_{kl} \frac{d_{kl}}{\mu^2}, \qquad
# \frac{dd_{ij}}{df_i} = \frac{f_i - f_j}{d_{ij}} = -\frac{dd_{ij}}{df_j} . $$
#
# The second formula says that a distance grows fastest if its two ends move apart along the line between them. Sum over
# all pairs that contain a sample, as first or as second.
#
# **Similarity preservation** (SP, Tung & Mori 2019) uses products instead of distances: $G = f f^\top$ holds the dot
# product of each pair, $u_i = G_i / |G_i|$ is row $i$ at length 1, and
# $L = \frac{1}{B^2} \sum_{ij} (u_{ij} - U_{ij})^2$. Backward: $du = 2 (u - U)/B^2$; through the length,
# $dG_i = (du_i - (du_i \cdot u_i)\, u_i)/|G_i|$, because the part along $u_i$ only changes the length; and
# $df = (dG + dG^\top) f$, because $f_i$ is in row $i$ and in column $i$.


# %%
def pairs(f):
    apart = f[:, None, :] - f[None, :, :]  # (B, B, W)
    d = np.sqrt((apart**2).sum(axis=2))  # (B, B)
    return apart, d, d[d > 0].mean(), (d > 0).sum()


def rkd_by_hand(f, teacher_f):
    (apart, d, mu, n), (_, D, M, _) = pairs(f), pairs(teacher_f)
    e = d / mu - D / M  # (B, B)
    slope = np.clip(e, -1, 1)  # (B, B)
    s = slope / e.size  # (B, B)
    dd = np.where(d > 0, s / mu - (s * d).sum() / (n * mu**2), 0)  # (B, B)
    along = dd / np.where(d > 0, d, 1)  # (B, B)
    df = ((along + along.T)[:, :, None] * apart).sum(axis=1)  # (B, W), as first and as second of a pair
    return (slope * (e - slope / 2)).mean(), df


def sp_by_hand(f, teacher_f):
    G, H = f @ f.T, teacher_f @ teacher_f.T  # (B, B)
    lengths = np.linalg.norm(G, axis=1, keepdims=True)  # (B, 1)
    u, U = G / lengths, H / np.linalg.norm(H, axis=1, keepdims=True)  # (B, B)
    du = 2 * (u - U) / u.size  # (B, B)
    dG = (du - (du * u).sum(axis=1, keepdims=True) * u) / lengths  # (B, B)
    return ((u - U) ** 2).mean(), (dG + dG.T) @ f


f = rng.normal(size=(32, 16))  # (B, W), a student's features
relations = {
    "RKD": (rkd_by_hand, partial(rkd_loss, distance_weight=1.0, angle_weight=0.0)),
    "SP": (sp_by_hand, sp_loss),
}
relation_reports, relation_differences = [], []
for name, (by_hand, of_minikd) in relations.items():
    (value, df), (value_of_minikd, df_of_minikd) = by_hand(f, t), of_minikd(f, t)
    relation_differences.append(max(abs(value - value_of_minikd), np.abs(df - df_of_minikd).max()))
    how_many = {"n_coordinates": 40 if FAST else None}
    relation_reports.append(check_gradients(lambda f, loss=by_hand: loss(f, t)[0], f.copy(), df, **how_many))
    print(f"{name}: by hand and minikd, largest difference {relation_differences[-1]:.0e}; gradient check:")
    print(relation_reports[-1])

# %% [markdown]
# ## What each loss ignores
#
# To understand such a loss, ask which changes it **ignores**. Rotate a student's features about the origin, or scale
# them, and see whether the loss changes.


# %%
def rotated(f, degrees):
    Q, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(16, 16)))  # (W, W), some orthonormal axes
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(16)  # (W, W)
    for k in range(0, 16, 2):
        turn[k : k + 2, k : k + 2] = [[c, -s], [s, c]]
    return f @ Q @ turn @ Q.T


losses = {
    "hint": lambda f: hint_loss(f @ fitted, t)[0],
    "RKD, distances": lambda f: rkd_by_hand(f, t)[0],
    "SP": lambda f: sp_by_hand(f, t)[0],
}
f = h + 0.1 * rng.random(h.shape)  # (B, W), features of an untrained student
fitted, *_ = np.linalg.lstsq(f, t, rcond=None)  # (W, W'), the best regressor for these features
degrees, factors = np.linspace(0, 180, 25), np.geomspace(1 / 4, 4, 25)
looks = {"hint": ("#D55E00", "--", 2), "RKD, distances": ("#0072B2", "-", 4), "SP": ("#000000", ":", 2)}
figure = Figure(figsize=(9, 3.4), layout="constrained")
panels = figure.subplots(1, 2, sharey=True)
changes = {}
for name, loss in losses.items():
    by_angle = np.array([loss(rotated(f, angle)) for angle in degrees]) / loss(f)  # (25,)
    by_size = np.array([loss(factor * f) for factor in factors]) / loss(f)  # (25,)
    changes[name] = np.abs(by_angle - 1).max(), np.abs(by_size - 1).max()
    colour, line, width = looks[name]
    panels[0].plot(degrees, by_angle, color=colour, ls=line, lw=width, label=name)
    panels[1].plot(factors, by_size, color=colour, ls=line, lw=width)
panels[0].set(
    xlabel="angle, degrees", ylabel="loss, relative to the unchanged features", title="Features rotated", yscale="log"
)
panels[1].set(xlabel="factor", title="Features scaled", xscale="log")
panels[0].set_yticks([1, 4, 16, 64], ["1", "4", "16", "64"])
panels[0].minorticks_off()
panels[1].set_xticks([0.25, 0.5, 1, 2, 4], ["1/4", "1/2", "1", "2", "4"])
panels[1].minorticks_off()
panels[0].legend(frameon=False)
plots.show(figure)
for name, (turn, size) in changes.items():
    print(f"{name:15} largest relative change: rotated {turn:8.1e}, scaled {size:8.1e}")

# %% [markdown]
# **What to notice.** RKD and SP ignore rotations and scales. RKD also ignores a shift of all features (SP does not:
# exercise 2). The student's features may be anywhere, as long as they have the same relations to each other as the
# teacher's, so no regressor is needed. A hint fixes the coordinates.
#
# Losses on answers also have such invariances. Softmax does not change when one number is added to all logits of an
# image. **DIST** (Huang et al. 2022) asks only that the student's probabilities *correlate* with the teacher's:
# $1 - \rho(p_i, q_i)$ for the classes of an image, and the same for the images of a class. A correlation does not
# change when one side is scaled by a positive number and shifted, and each row may have its own numbers:

# %%
p, q = softmax(z), softmax(v)  # (N, K)
scale, shift = rng.uniform(0.1, 5, size=(len(x), 1)), rng.normal(size=(len(x), 1))  # (N, 1)
before, after = correlation_loss(p, q)[0], correlation_loss(p, scale * q + shift)[0]
print(f"DIST, by rows: {before:.6f}; with each row of the teacher's probabilities scaled and shifted: {after:.6f}")
plain, doubled = (kl_loss(z, None, logits, temperature=1.0, soft_weight=1.0)[0] for logits in (v, 2 * v))
print(f"KL: {plain:.3f}; with the teacher's logits doubled: {doubled:.3f}")

# %% [markdown]
# ## A fair comparison
#
# Now we compare all of them on one task. What is fair?
#
# - **The same student.** For each of five seeds there is one draw of 100 images, one teacher and one student, 64-64-10.
#   All methods start from its initial weights, see the same batches in the same order, and take the same number of
#   steps with the same optimizer. (FitNets divides its steps between its two stages.)
# - **The same tuning.** Each method is trained at nine settings, and the validation images choose. Two things matter:
#   the temperature, and the **strength**, which says how much the teacher counts against the labels, in multiples of
#   the method's default. A method with a temperature tries five temperatures, then four other strengths at the best of
#   them. A method without one tries nine strengths. Labels alone try nine learning rates.
# - **One look at the test images**, at the chosen setting.
# - **Controls.** Label smoothing and a made-up "virtual" teacher (Yuan et al. 2020) regularise without knowledge.
#   "dist, τ = 1" is DIST at its default temperature, at nine strengths.
# - **One rule for verdicts.** Differences are taken between students of the same seed, then averaged, with a 95 %
#   interval. A method *helps* if the whole interval lies above 0, *hurts* if it lies below, and is *undecided*
#   otherwise.

# %%
names = ["kd", "dkd", "dist", "sp"]
names = names if FAST else ["kd", "logits", "dkd", "dist", "standardised", "fitnets", "rkd", "sp", "pkt"]
controls = ["label-smoothing"] if FAST else ["label-smoothing", "virtual-teacher"]
temperatures = (1.0, 4.0) if FAST else (1.0, 2.0, 4.0, 8.0, 16.0)
strengths = 4.0 ** np.arange(*((0, 1) if FAST else (-4, 5)))  # 1/256 to 256


def train_student(method, seed, lr=3e-2, **options):
    student = MLP((64, 64, 10), seed=1000 + seed)
    x, y = data.x_train[shown[seed]], data.y_train[shown[seed]]  # (N, D), (N,)
    how = {"epochs": epochs, "batch_size": 32, "schedule": cosine(), "seed": seed, "progress": False}
    started = time.process_time()
    if method == "labels":
        fit(student, x, y, loss=cross_entropy, optimizer=Adam(student, lr), **how)
    else:
        METHODS[method].train(student, teachers[seed], x, y, optimizer=partial(Adam, lr=lr), **options, **how)
    return student, time.process_time() - started


def trial(method, **options):
    students, seconds = zip(*(train_student(method, seed, **options) for seed in range(seeds)), strict=True)
    val_errors = np.array([errors(student, data.x_val, data.y_val) for student in students])  # (seeds,)
    return {"options": options, "students": students, "seconds": sum(seconds), "val_errors": val_errors}


def best_of(trials):
    return min(trials, key=lambda one: one["val_errors"].mean())


def tune(method, **fixed):
    option = METHODS[method].temperature
    if fixed or not option:
        return [trial(method, strength=s, **fixed) for s in strengths]
    trials = [trial(method, **{option: T}) for T in temperatures]
    return trials + [trial(method, strength=s, **best_of(trials)["options"]) for s in strengths[2:7] if s != 1]


trials = {"labels": [trial("labels", lr=0.01 * s**0.5) for s in strengths]}  # 0.01/16 to 0.16
trials |= {name: tune(name) for name in names + controls}
trials["dist, τ = 1"] = tune("dist", temperature=1.0)
chosen = {name: best_of(some) for name, some in trials.items()}
test_errors = {
    name: np.array([errors(student, data.x_test, data.y_test) for student in one["students"]])  # (seeds,)
    for name, one in chosen.items()
}
rows = []
for name, one in chosen.items():
    gain, half = mean_interval(list(test_errors["labels"] - test_errors[name]))
    row = {"method": name, "gain": gain, "gain_half": half, "verdict": verdict(gain, half)}
    rows.append({**row, "cost": one["seconds"] / chosen["labels"]["seconds"]})
rows.sort(key=lambda row: -row["gain"])
print("test errors, gain over labels alone in points, training time relative to labels alone, chosen setting\n")
print(f"{'':<16}{'errors, %':>12}{'gain':>14}{'':<17}{'time':>6}   setting")
for row in rows:
    name = row["method"]
    setting = ", ".join(f"{key} {value:g}" for key, value in chosen[name]["options"].items())
    error, half = mean_interval(list(test_errors[name]))
    gain = "" if name == "labels" else f"{row['gain']:+.2f} ± {row['gain_half']:.2f}  {row['verdict']:<9}"
    print(f"{name:<16}{f'{error:.2f} ± {half:.2f}':>12}{gain:>31}{row['cost']:>6.1f}   {setting}")

# %% tags=["cover"]
rows = [row for row in rows if row["method"] != "labels"]
figure = plots.comparison(rows)
figure.axes[0].set_title(f"Gain of each method; student shown {len(x)} of {len(data.x_train)} digits")
plots.show(figure)

# %% [markdown]
# **What to notice.**
#
# - **Answers help most.** Soft targets, logits, DKD, DIST, standardised logits and FitNets, which ends in soft targets,
#   err on 5.4 to 6.1 % of the test images. Labels alone err on 11.2 %, the teachers on 3.1 %.
# - **Relations help less.** RKD, SP and PKT err on 7.9 to 9.8 %. They do not say which class an image belongs to, so
#   the classes still come from 100 labels.
# - **Controls gain little.** Label smoothing (+0.6 ± 1.3 points) and the virtual teacher (+0.4 ± 1.6) are undecided. So
#   knowledge helps here, not regularisation: the teacher has learned from 799 more images.
# - **Cost.** Answers are computed once and stored. Relations are computed in every batch: $B^2$ distances, and $B^3$
#   angles in minikd's `rkd`, which takes several times as long as `kd`.
#
# Which methods differ from each other? We take the differences by seed again.


# %%
def compared(one, other):
    gain, half = mean_interval(list(test_errors[other] - test_errors[one]))
    return f"{gain:+.2f} ± {half:.2f} {verdict(gain, half)}"


best = rows[0]["method"]
print(f"gain of {best}, which has the fewest errors, over each other method, in points:")
for name in names:
    if name != best:
        print(f"{name:<16}{compared(best, name)}")
groups = {"answers": ["kd", "logits", "dkd", "dist", "standardised"], "relations": ["rkd", "sp", "pkt"]}
for group, members in groups.items():
    test_errors[group] = np.mean([test_errors[name] for name in members if name in names], axis=0)  # (seeds,)
print(f"gain of answers over relations, means of both groups: {compared('answers', 'relations')}")

# %% [markdown]
# **How often would chance alone look like this?** A 95 % interval misses the true value in one of twenty cases. If none
# of the twelve had an effect, almost every second such comparison would still show at least one apparent effect. PKT,
# with a gain of 1.4 ± 1.2, could be such a case. The six methods that use answers gain 1.8 to 2.6 times the half-width
# of their interval. "The best" is not a verdict: one method always comes first, and among equally good methods chance
# decides which. DIST is first here, but against standardised logits and logits it is undecided, and against DKD the
# interval barely excludes 0 (0.71 ± 0.70 points).
#
# ## DIST and its temperature
#
# By default DIST asks for correlation at temperature 1. There a confident teacher's probabilities are almost labels. So
# they correlate with the student's almost as the labels do, and a larger strength mostly repeats the label. A higher
# temperature brings out the other classes.

# %%
one_hot = np.eye(10)[y]  # (N, K)
label_correlation = {T: 1 - correlation_loss(softmax(v, T), one_hot)[0] for T in temperatures}
print("correlation of the teacher's probabilities with the label:")
print(", ".join(f"{value:.4f} at T = {T:g}" for T, value in label_correlation.items()))
at_1 = {one["options"]["strength"]: one["val_errors"].mean() for one in trials["dist, τ = 1"]}
print("DIST at τ = 1, validation errors in % by strength:")
print(", ".join(f"{value:.1f} at {strength:.3g}" for strength, value in at_1.items()))
print(f"gain of the chosen temperature over τ = 1, test images: {compared('dist', 'dist, τ = 1')}")
by_T = {name: trials[name][: len(temperatures)] for name in ("kd", "dkd", "dist")}  # at the default strength
curves = {name: np.stack([one["val_errors"] for one in some], axis=1) for name, some in by_T.items()}  # (seeds, T)
figure = plots.lines(np.array(temperatures), curves, xlabel="temperature", ylabel="validation errors, %")
axes, alone = figure.axes[0], chosen["labels"]["val_errors"].mean()
axes.axhline(alone, color="#777777", ls=":")
axes.annotate("labels alone", (0.5, alone), xycoords=("axes fraction", "data"), ha="center", va="bottom", fontsize=9)
axes.set(title="Three losses on answers, by temperature", xscale="log", ylim=(None, 1.08 * alone))
axes.set_xticks(temperatures, [f"{T:g}" for T in temperatures])
axes.minorticks_off()
plots.show(figure)

# %% [markdown]
# **What to notice.** At τ = 1 DIST errs on 8.7 % of the validation images or more, at each of nine strengths. At τ = 8
# it errs on 4.9 %, at the default strength. On test images the chosen temperature gains 3.3 ± 1.4 points over τ = 1.
# The gain over labels alone rises from 2.5 ± 2.4 points, last among the methods that use answers, to 5.8 ± 2.8. (With
# other rounding, the gain at τ = 1 is *undecided*: we ran the same code without minikd's compiled kernels.) Soft
# targets also need a higher temperature: 7.6 % at T = 1, 4.8 % at T = 8. DKD, which sets the weight of the other
# classes itself, depends on it least: 6.0 and 4.9 %. A comparison of defaults would have measured the default and not
# the method.
#
# This is one task. `minikd compare` tunes and compares the whole gallery in the same way, on any of the data sets, and
# `minikd sweep --images 50,100,200,400,all` shows how the gain shrinks when the student is shown more.
#
# ## Exercises
#
# **1.** What is NCKD for two classes?
#
# <details><summary>Answer</summary>
#
# There is only one other class, so $\hat q = \hat p = 1$ and NCKD is 0: the whole divergence is TCKD. (minikd's
# `decoupled` raises an error for two classes for that reason.)
#
# </details>
#
# **2.** Shift all features, $f_i \to f_i + c$. Which of RKD, SP and a hint with a regressor changes? Check it with the
# functions above.
#
# <details><summary>Answer</summary>
#
# RKD does not: $f_i - f_j$ stays. SP does: $(f_i + c) \cdot (f_j + c)$ has two new terms, and if $c$ is large, all
# samples look similar. A hint does, unless the regressor has a bias, which can subtract $c R$. The regressor of FitNets
# has one. `rkd_by_hand(f + 1, t)[0] - rkd_by_hand(f, t)[0]` is 0 to rounding, and the same with `sp_by_hand` is not.
#
# </details>
#
# **3.** What is the sum of $df$ of RKD over the samples of the batch? What is the sum of $f \cdot df$ over everything?
# Use the invariances of RKD.
#
# <details><summary>Answer</summary>
#
# Both are zero. If all features are shifted by $c$, the loss changes by $c \cdot \sum_i df_i$ to first order. But it
# does not change, for any $c$, so the sum is 0. If all are multiplied by $1 + \epsilon$, it changes by
# $\epsilon \sum_i f_i \cdot df_i$, which is 0 for the same reason. Every invariance of a loss is a direction without
# slope, and makes a good test.
#
# </details>
#
# ## Sources
#
# - Zhao, Cui, Song, Qiu, Liang (2022): *Decoupled Knowledge Distillation*. arXiv 2203.08679 (TCKD and NCKD).
# - Romero et al. (2015): *FitNets: Hints for Thin Deep Nets*. arXiv 1412.6550 (hints).
# - Park, Kim, Lu, Cho (2019): *Relational Knowledge Distillation*. arXiv 1904.05068 (distances and angles).
# - Tung, Mori (2019): *Similarity-Preserving Knowledge Distillation*. arXiv 1907.09682 (SP).
# - Huang, You, Wang, Qian, Xu (2022): *Knowledge Distillation from A Stronger Teacher*. arXiv 2205.10536 (DIST).
# - Yuan, Tay, Li, Wang, Feng (2020): *Revisiting Knowledge Distillation via Label Smoothing Regularization*. arXiv
#   1909.11723 (the virtual teacher).
# - The other methods of the comparison: Ba and Caruana 2014, arXiv 1312.6184 (logits); Sun et al. 2024, arXiv
#   2403.01427 (standardised); Passalis and Tefas 2018, arXiv 1803.10837 (pkt); Szegedy et al. 2016, arXiv 1512.00567
#   (label smoothing).
#
# Next: `10_mutual_and_born_again`, where two students teach each other.

# %%
# What the text claims, checked each time this runs.
for checked in (dkd_report, hint_report, *relation_reports):
    checked.assert_ok(1e-6)
assert np.abs(tckd + others * nckd - kl).max() < 1e-12 and np.abs(sum_of_parts - dkl).max() < 1e-12
assert dkd_difference < 1e-10 and hint_difference < 1e-12 and max(relation_differences) < 1e-12
assert np.abs(dtckd).max() > 1e-3 and np.abs(dW1).max() > 1e-3  # the compared gradients are not zero
assert max(changes["RKD, distances"] + changes["SP"]) < 1e-9 and min(changes["hint"]) > 1
assert np.abs(before - after) < 1e-9 < abs(plain - doubled)
f_shift = h + 1.0  # exercise 2
assert abs(rkd_by_hand(h + 0.1, t)[0] - rkd_by_hand(f_shift, t)[0]) < 1e-9
assert abs(sp_by_hand(h + 0.1, t)[0] - sp_by_hand(f_shift, t)[0]) > 1e-4
_, df = rkd_by_hand(f, t)  # exercise 3
assert np.abs(df.sum(axis=0)).max() < 1e-12 and abs((f * df).sum()) < 1e-12 < np.abs(df).max()
gain = {row["method"]: row for row in rows}
assert gain["kd"]["gain"] > max(0, gain["label-smoothing"]["gain"])
assert label_correlation[1] > label_correlation[4] and curves["dist"][:, 0].mean() > curves["dist"][:, 1].mean()
if not FAST:
    error = {name: runs.mean() for name, runs in test_errors.items()}
    answers, relations = (*groups["answers"], "fitnets"), groups["relations"]
    assert all(gain[name]["verdict"] == "helps" for name in names)
    assert all(gain[name]["verdict"] == "undecided" for name in controls)
    default = gain["dist, τ = 1"]  # its verdict depends on the rounding
    assert default["gain"] < min(1.3 * default["gain_half"], 0.6 * min(gain[name]["gain"] for name in answers))
    assert all(5.2 < error[name] < 6.2 for name in answers) and all(7.9 < error[name] < 9.9 for name in relations)
    assert 11 < error["labels"] < 11.3 and 3 < teacher_errors.mean() < 3.2
    assert all(0.3 < gain[name]["gain"] < 0.7 for name in controls)
    assert all(1.65 < gain[name]["gain"] / gain[name]["gain_half"] < 2.65 for name in answers)
    assert gain["pkt"]["gain"] < 1.2 * gain["pkt"]["gain_half"] and best == "dist"
    assert all(compared("dist", name).endswith("undecided") for name in ("logits", "standardised"))
    lead, half = mean_interval(list(test_errors["dkd"] - test_errors["dist"]))
    assert 0 < lead < 1.2 * half
    assert compared("answers", "relations").endswith("helps") and compared("dist", "dist, τ = 1").endswith("helps")
    assert min(at_1.values()) > 8.5 and curves["dist"].mean(axis=0)[3] < 5
    at_8 = {name: runs[:, 0].mean() - runs[:, 3].mean() for name, runs in curves.items()}  # gain of T = 8 over T = 1
    assert at_8["dist"] > at_8["kd"] > at_8["dkd"] > 1
    assert gain["rkd"]["cost"] > 2 * gain["kd"]["cost"]
