# %% [markdown]
# # 03 · 蒸馏的梯度是什么？
#
# **简而言之。** 对于以教师模型软化后的回答为目标的交叉熵，梯度是学生模型的概率减去教师模型的概率，再除以温度。损失里的因子 T² 让软的那部分在任何温度下分量相同；在高温极限下，剩下的就是一个照抄 logits 的学生模型。
#
# 第 02 课用温度软化了教师模型的回答。现在学生模型要向它们学习，所以我们需要损失对学生模型 logits 的梯度；从 logits 再往回走，就是第 01 课。公式很短，人们却照样弄错。所以最后一部分讲测试：哪些检查能找出人们真正犯过的错误？

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
for model, epochs in ((teacher, 8 if FAST else 20), (student, 5)):  # the student has only just begun
    options = {"epochs": epochs, "batch_size": 32, "progress": False}
    fit(model, data.x_train, data.y_train, loss=cross_entropy, optimizer=Adam(model, lr=2e-3), **options)

B = 64
x, y = data.x_train[:B], data.y_train[:B]  # (B, D), (B,)
z = student.predict(x).astype(np.float64)  # (B, K): the student's logits
v = teacher.predict(x).astype(np.float64)  # (B, K): the teacher's
for name, logits in {"student": z, "teacher": v}.items():
    print(f"{name}: largest probability {softmax(logits).max(axis=1).mean():.2f} in the mean")

# %% [markdown]
# ## 蒸馏损失
#
# 取一幅图像。教师模型的 logits 是 $v$，学生模型的是 $z$，两者用同一个温度软化：
#
# $$ t_k = \frac{e^{v_k/T}}{\sum_j e^{v_j/T}}, \qquad s_k = \frac{e^{z_k/T}}{\sum_j e^{z_j/T}} . $$
#
# 入门文章里写的**蒸馏损失**，就是这两者的交叉熵（$t$ 是教师模型，$s$ 是学生模型）：
#
# $$ L_{KD} = -\sum_k t_k \log s_k . $$
#
# 教师模型不学习，所以 $t$ 是常数。当学生模型的一个 logit $z_j$ 改变时，$L_{KD}$ 怎样改变？
#
# ## 第一步：softmax 怎样回应一个 logit
#
# $s_k$ 是一个商。记 $S = \sum_i e^{z_i/T}$，于是 $dS/dz_j = e^{z_j/T}/T$。分子只回应自己的 logit：用 $[k = j]$ 表示 $k$ 等于 $j$ 时为 1、否则为 0，则 $d e^{z_k/T}/dz_j = [k = j]\, e^{z_k/T}/T$。由商的求导法则，
#
# $$ \frac{ds_k}{dz_j} = \frac{[k = j] e^{z_k/T} S - e^{z_k/T} e^{z_j/T}}{T S^2} = \frac{s_k ([k = j] - s_j)}{T} . $$
#
# 所有这些数组成一张 $K \times K$ 的表，即 softmax 的**雅可比矩阵**。对角线上，概率随自己的 logit 增长；其他各处它减小，因为别人多了，自己就要让出来。


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
# ## 第二步：对类别求和
#
# 损失通过每一个 $s_k$ 依赖于 $z_j$。因为 $d \log s_k / ds_k = 1/s_k$，由链式法则，再代入雅可比矩阵，
#
# $$ \frac{dL_{KD}}{dz_j} = -\sum_k \frac{t_k}{s_k} \frac{ds_k}{dz_j} = -\frac1T \sum_k t_k ([k = j] - s_j) . $$
#
# $s_k$ 约掉了。第一项只剩下 $k = j$，即 $t_j$。第二项里 $s_j$ 和 $k$ 无关，而 $\sum_k t_k = 1$：
#
# $$ \frac{dL_{KD}}{dz_j} = \frac{s_j - t_j}{T} . $$
#
# 不需要 $K \times K$ 的表，也没有任何东西除以一个可能是 0 的概率。在 minikd 里，以及从这里起，学生模型软化后的概率记作 $p^T$，教师模型的记作 $q^T$（温度为 1 时不写 $T$），损失是对 $B$ 幅图像的批次求平均：
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
print(f"largest differences: by the Jacobian {np.abs(slow - dz).max():.0e}, soft_cross_entropy {soft_difference:.0e}")

# %% [markdown]
# **交叉熵还是 KL 散度？** 有人把损失写成 $KL(q^T \Vert p^T)$，也就是交叉熵减去教师模型的熵 $H(q^T)$。$H(q^T)$ 里没有学生模型的任何 logit：损失的值相差一个常数，梯度没有差别。KL 的好处是，完美的复制品得 0。
#
# ## 为什么要 T²：在哪个温度下走得多快？
#
# 我们通常要把这个损失和标签的损失混合起来，所以两者的梯度应当大小相近。第 02 课在高温极限下得到 $p^T_k \approx 1/K + (z_k - \bar z)/(K T)$，把 $z$ 换成 $v$，$q^T$ 也一样。于是
#
# $$ \frac{p^T_k - q^T_k}{T} \approx \frac{(z_k - \bar z) - (v_k - \bar v)}{K\, T^2} . $$
#
# 梯度像 $1/T^2$ 那样下降：一个 $T$ 是因为软化后的概率彼此靠近，另一个是因为链式法则要除以 $T$。所以 Hinton 等人把软的损失乘以 $T^2$。它的梯度变成 $T (p^T - q^T)/B$，趋于一个常数。我们来测量。

# %%
temperatures = 2.0 ** np.arange(0, 9)
sizes = np.array([np.linalg.norm(soft_loss_by_hand(z, v, T)[1]) for T in temperatures])  # (n,)
labels_size = np.linalg.norm(cross_entropy(z, y)[1])
curves = {
    "soft, without T²": sizes,
    "soft, with T²": sizes * temperatures**2,
    "labels": np.full(len(temperatures), labels_size),
}
figure = plots.lines(temperatures, curves, xlabel="temperature T", ylabel="length of dL/dz of the batch")
figure.axes[0].set(xscale="log", yscale="log", title="Without T² the teacher falls silent")
figure.axes[0].set_xticks(temperatures, [f"{T:g}" for T in temperatures])
figure.axes[0].set_xticks([], minor=True)
figure.set_size_inches(6.4, 3.6)
plots.show(figure)
for T, size in zip(temperatures[::2], sizes[::2], strict=True):
    print(f"T = {T:>3g}: without T² {size:.1e}, with T² {size * T**2:.3f}; labels {labels_size:.3f}")

# %% [markdown]
# **注意什么。** 没有 $T^2$ 时，温度高了以后曲线以接近 -2 的斜率下降：从 $T = 16$ 到 $T = 256$ 大约降到 1/330，而 $16^2$ 是 256。谁提高温度却不乘 $T^2$，就等于把教师模型关掉了，还可能得出结论说高温没有用。有了 $T^2$，曲线就走平。“任何温度下分量相同”只在高温极限下才精确：从 $T = 1$ 到 4，软的部分还要增长好几倍，因为在 $T = 1$ 时两个网络都把大部分概率给了同一个类别，它们的回答相差很小。
#
# ## 完整的损失
#
# $w$ 是**软权重**，从 0（只有标签）到 1（只有教师模型），$y$ 是独热标签，CE 同第 02 课：
#
# $$ L = (1 - w)\, CE(y, p) + w\, T^2\, CE(q^T, p^T), \qquad dz = \frac{(1 - w)(p - y) + w\, T (p^T - q^T)}{B} . $$
#
# 和的梯度等于梯度的和，第一项是第 01 课的结果，而 $T^2/T = T$。注意：标签看到的是温度为 1 的学生模型。


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
# 两部分对一幅图像说了什么？我们取批次中教师模型最没把握的一幅，$T = 4$，$w = 0.5$。正的柱子表示：这个 logit 应当下降，因为走一步是逆着梯度的方向。

# %% tags=["cover"]
T, w = 4.0, 0.5
hard_part = (1 - w) * (softmax(z) - np.eye(K)[y])  # (B, K), each image for itself, not divided by B
soft_part = w * T * (softmax(z, T) - softmax(v, T))  # (B, K)
i = softmax(v).max(axis=1).argmin()
parts = {
    "labels: (1 - w)(p - y)": hard_part[i],
    "teacher: w T (p$^T$ - q$^T$)": soft_part[i],
    "together": hard_part[i] + soft_part[i],
}
figure = plots.bars(parts, data.class_names, ylabel="dL/dz of one image", truth=int(y[i]))
figure.suptitle(f"What a {data.class_names[y[i]]} says to the student's logits")
figure.set_size_inches(7, 5)
plots.show(figure)

# %% [markdown]
# **注意什么。** 每一幅小图的总和是 0：一个 logit 得到多少，别的就失去多少。标签只有一句话要说：“正确的类别多一点”，并按学生模型相信的程度把其他每个类别往下压。教师模型把其中一些往下压，把另一些*往上*推：在这幅图像里它还看到一个 5，而且恰恰在标签朝反方向推得最用力的地方说出来。没有哪个标签会要求某个错误的类别多一点。
#
# ## 高温极限：照抄我的 logits
#
# $T$ 很大时，$T^2\, KL(q^T \Vert p^T)$ 是什么？令 $a_k = (z_k - \bar z)/T$，$r_k = (v_k - \bar v)/T$：它们很小，对类别的平均是 0。用 $\langle \cdot \rangle$ 表示对 $K$ 个类别求平均。由 $e^a = 1 + a + a^2/2 + O(1/T^3)$ 和 $\log(1 + c) = c + O(c^2)$，
#
# $$ \log p^T_k = a_k - \log \sum_j e^{a_j} = a_k - \log K - \tfrac12 \langle a^2 \rangle + O(1/T^3) , $$
#
# 因为 $\langle a \rangle = 0$。对 $\log q^T_k$ 同样成立，只是换成 $r$；而 $q^T_k = (1 + r_k)/K + O(1/T^2)$。都代入 $KL = \sum_k q^T_k (\log q^T_k - \log p^T_k)$；括号的大小是 $1/T$，所以 $q^T_k$ 略去的部分只贡献 $O(1/T^3)$：
#
# $$ KL = \langle (1 + r)(r - a) \rangle - \tfrac12 \langle r^2 - a^2 \rangle + O(1/T^3) . $$
#
# $\langle r - a \rangle = 0$，所以 $\langle (1 + r)(r - a) \rangle = \langle r^2 \rangle - \langle r a \rangle$，合起来
#
# $$ KL = \tfrac12 \langle r^2 - 2 r a + a^2 \rangle + O(1/T^3) = \tfrac12 \langle (r - a)^2 \rangle + O(1/T^3) . $$
#
# 乘以 $T^2$，$a$ 和 $r$ 就变回中心化的 logits $z^\circ = z - \bar z$ 和 $v^\circ = v - \bar v$：
#
# $$ T^2\, KL(q^T \Vert p^T) \to \frac{1}{2K} \sum_k (z^\circ_k - v^\circ_k)^2 . $$
#
# 差的平方取平均，再取一半：在高温下蒸馏就是**匹配 logits**，Ba 和 Caruana（2014）直接这样做。略去的部分像 $1/T$ 那样下降，所以相对差应当沿着斜率为 -1 的直线下降。


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
figure.axes[0].set(xscale="log", yscale="log", title="Hot distillation is logit matching")
figure.set_size_inches(6.4, 3.6)
plots.show(figure)
slope = np.log(in_value[-1] / in_value[-3]) / np.log(hot[-1] / hot[-3])
matching = matching_loss(z0, None, v0, soft_weight=1)  # minikd's has no factor of 1/2
matching_difference = max(abs(matching[0] / 2 - limit), np.abs(matching[1] / 2 - dlimit).max())
print(f"slope of the value's curve at the end: {slope:.3f}")
print(f"largest difference from minikd's matching_loss / 2: {matching_difference:.0e}")

# %% [markdown]
# **注意什么。** 曲线变成斜率为 -1 的直线，和推导一致，而这些 logits 没有任何特别之处。在人们使用的温度，2 到 20 之间，我们离极限还很远：在那里 softmax 仍然让可能的类别比无望的类别分量更重，一个能力有限的学生模型不必照抄无关紧要的东西。
#
# ## 测试它
#
# 在相信代码之前先写测试，对自己的代码也一样。错误有两类，需要两类测试。
#
# - *梯度不属于这个损失。* 量斜率就能发现。沿着随机方向 $u$ 量，得到一个数 $u \cdot dz$，每个分量都参与其中。
# - *梯度属于这个损失，但损失不是你想要的那个。* 斜率发现不了这一类；而在替你求导的库里，只会有这一类。它需要正确的损失必须满足的事实：恒等式、极限，以及一个用铅笔算出来的例子。
#
# 铅笔算的例子：两个类别，$z = (0, 0)$，$v = (T \log 3, 0)$，只有教师模型（$w = 1$）。于是 $q^T = (3/4, 1/4)$，$p^T = (1/2, 1/2)$，所以 $L = T^2 \log 2$，$dz = T\, (-1/4, 1/4)$。


# %%
def tests_of(loss):
    """Each test's name and whether loss(z, y, v, T, w) -> (L, dz) passes it."""
    rng = np.random.default_rng(0)
    z, v, y = rng.normal(size=(5, 4)) * 2, rng.normal(size=(5, 4)) * 2, rng.integers(0, 4, 5)  # (5, 4), (5, 4), (5,)
    T, w, h = 3.0, 0.7, 1e-5
    dz = loss(z, y, v, T, w)[1]  # (5, 4)
    u = rng.normal(size=z.shape)  # (5, 4)
    slope = (loss(z + h * u, y, v, T, w)[0] - loss(z - h * u, y, v, T, w)[0]) / (2 * h)
    shift = rng.normal(size=(5, 1))  # (5, 1): one number for each image
    pencil = loss(np.zeros((1, 2)), np.array([0]), np.array([[T * np.log(3), 0]]), T, 1.0)
    return {
        "slope along a random direction": np.isclose((u * dz).sum(), slope, rtol=1e-7),
        "rows of dz sum to 0": np.allclose(dz.sum(axis=1), 0, atol=1e-12),
        "a shift of z changes nothing": np.allclose(loss(z + shift, y, v, T, w)[1], dz, atol=1e-12),
        "0 where student = teacher (w = 1)": np.allclose(loss(v, y, v, T, 1.0)[1], 0, atol=1e-12),
        "cross-entropy where w = 0": np.allclose(loss(z, y, v, T, 0.0)[1], cross_entropy(z, y)[1], atol=1e-12),
        "the pencil case, loss": np.isclose(pencil[0], T**2 * np.log(2), rtol=1e-12),
        "the pencil case, gradient": np.allclose(pencil[1], [[-T / 4, T / 4]], atol=1e-12),
    }


# %% [markdown]
# 下面这些，是人们在公开发表的代码里真正犯过、也有人报告过的错误。对前三个，我们正确地计算错误损失的梯度，就像自动求导会做的那样。第四个只是梯度里的一处笔误。


# %%
def without_T2(z, y, v, T, w):  # T² forgotten in the loss
    hard, soft = distillation_by_hand(z, y, v, 1.0, 0.0), soft_loss_by_hand(z, v, T)
    return tuple((1 - w) * a + w * b for a, b in zip(hard, soft, strict=True))


def softmax_twice(z, y, v, T, w):  # the network ends in softmax, and the loss takes it again
    p, q = softmax(z), softmax(v)  # (B, K): handed over as if they were logits
    loss, dp = distillation_by_hand(p, y, q, T, w)
    return loss, p * (dp - (dp * p).sum(axis=1, keepdims=True))  # back through the first softmax, (B, K)


def mean_over_classes(z, y, v, T, w):  # .mean() of a (B, K) array divides by K, too
    hard, soft = distillation_by_hand(z, y, v, T, 0.0), distillation_by_hand(z, y, v, T, 1.0)
    return tuple((1 - w) * a + w * b / z.shape[1] for a, b in zip(hard, soft, strict=True))


def slip_in_the_gradient(z, y, v, T, w):  # T² in the loss, not in the gradient
    return distillation_by_hand(z, y, v, T, w)[0], without_T2(z, y, v, T, w)[1]


codes = {
    "minikd": lambda z, y, v, T, w: distillation_loss(z, y, v, temperature=T, soft_weight=w),
    "no T²": without_T2,
    "twice": softmax_twice,
    "mean": mean_over_classes,
    "slip": slip_in_the_gradient,
}
results = {name: tests_of(code) for name, code in codes.items()}
print(f"{'':<36}" + "".join(f"{name:>8}" for name in codes))
for test in results["minikd"]:
    print(f"{test:<36}" + "".join(f"{'ok' if results[name][test] else 'FAILS':>8}" for name in codes))

# %% [markdown]
# **注意什么。** 正确的代码通过全部测试，每个错误都在某处失败，所以这些测试值得一做。但请看第一行：斜率发现了笔误，另外三个一个也没发现。多数恒等式看不见错误的因子，因为三乘零还是零。用铅笔算出的例子，它的梯度找出了全部错误。光靠它的损失不行：取了两次 softmax 的代码能通过，因为当 $p^T = (1/2, 1/2)$ 时，无论教师模型说什么，损失都是 $T^2 \log 2$。一个测试很少足够。
#
# 没有通过的梯度检查是什么样子？`check_gradients` 指出声称的斜率和量出的斜率在哪里相差最大：

# %%
T = 4.0
case_z, case_v = z[:2].copy(), v[:2]  # (2, K) each
slip = check_gradients(
    lambda z: slip_in_the_gradient(z, y[:2], case_v, T, 1.0)[0],
    case_z,
    slip_in_the_gradient(case_z, y[:2], case_v, T, 1.0)[1],
)
right = check_gradients(
    lambda z: distillation_loss(z, y[:2], case_v, temperature=T, soft_weight=1)[0],
    case_z,
    distillation_loss(case_z, y[:2], case_v, temperature=T, soft_weight=1)[1],
)
print(f"with the slip:\n{slip}\n\nminikd's:\n{right}\n")
ratio = slip.checks[0].numeric / slip.checks[0].analytic
print(f"numeric / analytic = {ratio:.6f}")

# %% [markdown]
# 错误的因子显示在两者之比里：它是 16，也就是 $T^2$，于是错误自己报出了名字。
#
# ## 练习
#
# **1.** 有人用 $T$ 软化了教师模型，却忘了学生模型：$L = -\sum_k q^T_k \log p_k$。梯度是什么？这样的学生模型，如果做得到，会收敛到怎样的 logits？那时它在 $T = 1$ 的概率是什么？
#
# <details><summary>答案</summary>
#
# $dz = (p - q^T)/B$：推导相同，只是学生模型的 $T = 1$。在 $p = q^T$ 处它是 0，所以 $z = v/T$，最多相差一个平移。学生模型在温度 1 就像教师模型在温度 $T$ 时那样犹豫。它也许能选对类别，但它的概率软得过头了。两者用同一个 $T$ 时，最小值在 $z = v$。
#
# </details>
#
# **2.** 证明 $p^T_k - q^T_k$ 在 -1 和 1 之间，并给出一幅图像的梯度（带 $T^2$，$w = 1$）的上界。在 $T = 20$ 时，梯度的软的部分会爆炸吗？
#
# <details><summary>答案</summary>
#
# 概率在 $[0, 1]$ 里，所以 $T (p^T - q^T)$ 的每个分量在 $[-T, T]$ 里；$p^T - q^T$ 一行的绝对值之和至多是 2，它的长度至多是 $\sqrt2$。所以每幅图像的梯度长度至多是 $\sqrt2\, T$，在 $T = 20$ 时是 28：有界，但这个上界是标签的二十倍。离教师模型很远的学生模型也许需要较小的学习率。（在高温极限下，长度是 $(z^\circ - v^\circ)/K$ 的长度，除非 logits 相差极大，它要小得多。）
#
# </details>
#
# **3.** 把交叉熵换成 KL 散度，七个测试里哪些会失败？其中哪些需要修改？
#
# <details><summary>答案</summary>
#
# 只有 "the pencil case, loss"：梯度相同，而斜率看不见常数。它的值变成 $T^2 (\log 2 - H(q^T))$，其中 $H(q^T) = -\tfrac34 \log \tfrac34 - \tfrac14 \log \tfrac14 \approx 0.562$ 奈特。最后一格会运行它。
#
# </details>
#
# ## 来源
#
# - Hinton, Vinyals, Dean (2015): *Distilling the Knowledge in a Neural Network*. arXiv 1503.02531（第 2 节：损失和 $T^2$；第 2.1 节：高温极限）。
# - Ba, Caruana (2014): *Do Deep Nets Really Need to be Deep?* arXiv 1312.6184（匹配 logits）。
# - 损失里的三个错误（忘记 T²、取两次 softmax、除了批次还对类别求平均）都是公开的库的用户报告的。第 12 课有十个这样的错误。
#
# 下一课：`04_teacher_then_student`，学生模型用这个梯度学习。


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
assert 250 < sizes[4] / sizes[8] < 350 and np.ptp(np.log10(sizes * temperatures**2)) < 1.3  # slope -2, and level
assert np.abs(hard_part.sum(axis=1)).max() < 1e-12 and np.abs(soft_part.sum(axis=1)).max() < 1e-12
wrong = np.arange(K) != y[i]  # (K,)
assert (soft_part[i][wrong] < 0).any() and (hard_part[i][wrong] > 0).all()
assert FAST or ((hard_part[i] * wrong).argmax() == 5 and soft_part[i][5] < 0)  # the teacher sees a 5, too
assert abs(slope + 1) < 0.03 and in_gradient[-1] < 1e-2 and matching_difference < 1e-12
assert all(results["minikd"].values())
slope_test, *others = results["minikd"]
assert not results["slip"][slope_test]
for name in ("no T²", "twice", "mean"):
    assert results[name][slope_test] and not results[name]["the pencil case, gradient"]
right.assert_ok(1e-7)
assert abs(ratio - 16) < 1e-6
check_gradients(student_at_one, z, (softmax(z) - softmax(v, 4)) / B, n_coordinates=50).assert_ok(1e-7)  # exercise 1
assert np.abs(softmax(v / 4) - softmax(v, 4)).max() < 1e-14
assert np.linalg.norm(softmax(z, 20) - softmax(v, 20), axis=1).max() < np.sqrt(2)  # exercise 2
assert [test for test, ok in tests_of(with_kl).items() if not ok] == ["the pencil case, loss"]  # exercise 3
