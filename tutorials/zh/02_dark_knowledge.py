# %% [markdown]
# # 02 · 教师模型知道哪些标签没有说的事？
#
# **简而言之。** 标签只点出一个类别；训练好的网络还说出其他每个类别离得有多近。起初这些数小得看不见。把 logits 除以一个温度，它们就显出来了。我们还会测量，确认这些是知识而不是噪声：它们给各对数字排出的顺序，和这些数字看上去的相似程度大体一致。
#
# 第 01 课用标签教会了一个网络。从这里起讲知识蒸馏，有两个网络。**教师模型**已经训练好，通常很大。**学生模型**比较小，要向教师模型的回答学习。在学生模型向它学习之前，这一课先看看这些回答：里面有什么，用它们计算时怎样不出数值问题。

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
# ## 一个教师模型
#
# 我们的教师模型有两个隐藏层，各 256 个单元，训练时用 **dropout**：每一步随机抽出一半隐藏单元置 0，其余的加倍，这样没有哪个单元能指望另一个总在那里。网络回答问题时，dropout 关掉。我们训练几个只有随机种子不同的教师模型，因为一个网络的回答可能是偶然；单幅图像的图用第一个。`Adam` 是梯度下降的一种变体，`cosine` 是逐渐降到 0 的学习率；两者在第 04 课里都会写出来。


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
print("test images read wrongly:", [evaluate(t, data.x_test, data.y_test).errors for t in teachers], "of", len(v))
print(f"probability of the likeliest class, median over the test images: {np.median(softmax(v).max(axis=1)):.4f}")

# %% [markdown]
# 对一半的图像，第一个教师模型给某一个类别的概率比这还高。它对其余九个类别的看法，只能分享剩下的那一点点。拿来学习的话，这样的回答和标签几乎没有差别。
#
# ## 温度：把 logits 除以 T
#
# Hinton、Vinyals 和 Dean（2015）在 softmax 之前把 logits 除以一个数 $T > 0$：
#
# $$ p_k^T = \frac{e^{z_k/T}}{\sum_j e^{z_j/T}} . $$
#
# $T$ 就是**温度**：在物理学里，把 $-z$ 换成能量，同一个公式说的是物体在那个温度下各个状态出现得多频繁。$T = 1$ 就是第 01 课的 softmax。类别的顺序从不改变，因为 $z/T$ 和 $z$ 的顺序相同。改变的只是距离：两个概率之比是
#
# $$ \frac{p_k^T}{p_j^T} = e^{(z_k - z_j)/T} = \left( \frac{p_k}{p_j} \right)^{1/T} , $$
#
# 所以在 $T = 4$ 时，一万倍的差距变成十倍。两端是什么样子？
#
# **冷，$T \to 0$。** 设 $m$ 是最大的 logit。分子分母同除以 $e^{m/T}$：
#
# $$ p_k^T = \frac{e^{-(m - z_k)/T}}{\sum_j e^{-(m - z_j)/T}} . $$
#
# 在 $z_k = m$ 处，指数是 0，指数函数是 1。其他各处，指数趋向 $-\infty$，指数函数趋向 0。于是最可能的类别得到全部（若有并列，则平分）：回答变成了标签。
#
# **热，$T \to \infty$。** 这时 $z/T$ 很小，而 $e^a = 1 + a + O(a^2)$。记 $\bar z$ 为 $K$ 个 logits 的平均值，
#
# $$ p_k^T = \frac{1 + z_k/T + O(1/T^2)}{K + K \bar z/T + O(1/T^2)} = \frac1K + \frac{z_k - \bar z}{K T} + O(1/T^2) . $$
#
# 所有类别变得同样可能，它们之间仅有的一点差别和 logits 本身成正比。若果真如此，最后一式去掉 $O(1/T^2)$ 之后的误差必须像 $1/T^2$ 那样下降：乘以 $T^2$，它必须趋于一个常数。


# %%
def softmax_by_hand(z, T=1.0):
    z = z / T  # (B, K)
    e = np.exp(z - z.max(axis=1, keepdims=True))  # (B, K): why the maximum goes off is the last section's subject
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
# ## 熵：还有多少悬而未决？
#
# 一个回答有多犹豫？它的**熵**是 $-\log p_k$（第 $k$ 类出现时的惊讶程度）按这个回答本身所取的平均：
#
# $$ H(p) = -\sum_k p_k \log p_k . $$
#
# 一个类别占有全部时，它是 0 奈特；所有类别一样时，它最大，等于 $\log K$（十个类别时是 2.30）。按照上面两个极限，它必须随温度从 0 升到 $\log K$。


# %%
def entropy(p):
    terms = np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0)  # (B, K): 0 log 0 counts as its limit, 0
    return -terms.sum(axis=1)  # (B,)


temperatures = 2.0 ** np.arange(-3, 8.1)
entropies = np.array([entropy(softmax_by_hand(v, T)) for T in temperatures])  # (n, N)
sure, unsure = entropies[temperatures == 1][0].argmin(), entropies[temperatures == 1][0].argmax()
curves = {
    "the image it is least sure of": entropies[:, unsure],
    "mean over the test images": entropies.mean(axis=1),
    "the image it is surest of": entropies[:, sure],
}
figure = plots.lines(temperatures, curves, xlabel="temperature T", ylabel="entropy, nats")
figure.axes[0].axhline(np.log(K), color="black", lw=0.8, ls=":")
figure.axes[0].text(temperatures[0], np.log(K) - 0.13, "log K: all classes alike")
figure.axes[0].set_xscale("log")
figure.axes[0].set_xticks(temperatures[::2], ["1/8", "1/2", "2", "8", "32", "128"])
figure.axes[0].set_xticks([], minor=True)
figure.set_size_inches(6, 3.4)
figure.axes[0].set_title("The higher the temperature, the more is left open")
plots.show(figure)

# %% [markdown]
# 在 $T = 1$，多数回答几乎就是标签；从 $T = 32$ 左右起，所有类别几乎一样。在两者之间，曲线陡峭的地方，一个回答才有话可说。
#
# ## 暗知识
#
# 教师模型的概率经温度软化之后，用来给学生模型学习时，叫作**软目标**或**软标签**。下面是三幅测试图像，教师模型都答对了，把握大约是 90%。图中的数字是最高那根柱子的高度。

# %% tags=["cover"]
soft = {T: softmax_by_hand(v, T) for T in (1, 2, 4, 8)}  # (N, K) each
right = v.argmax(axis=1) == data.y_test  # (N,)
order = np.argsort(np.abs(soft[1].max(axis=1) - 0.9) + ~right, kind="stable")  # nearest to 90 % first, wrong ones last
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
figure.supxlabel("class (blue: the right one); bars: probability, each panel to its own scale", fontsize=10)
plots.show(figure)

# %% [markdown]
# **注意什么。** 这样一幅图像的标签只是一个词，同类的任何其他图像也是这个词。教师模型说的是*这一幅*图像：它像哪些别的数字，像的程度怎样排序。没有人告诉过它：它只见过标签。为了把数字分开，它不得不弄清楚数字之间有什么共同之处，而这就显示在那些小小的数里。Hinton 把它们叫作**暗知识**：在 $T = 1$ 时它们在那里，却看不见。到了 $T = 8$，连正确的类别也不怎么突出了。
#
# ## 这是知识，还是只是一些数？
#
# 三幅图像的图说明不了什么。所以取一个类别的全部测试图像，把教师模型软化后的概率求平均：表格的第 $i$ 行说明教师模型在第 $i$ 类图像里看到了什么。旁边放一样和网络毫无关系的东西，两个类别的平均图像相距多远：
#
# $$ d_{ij} = \Big\lVert\, \frac{1}{N_i} \sum_{y_n = i} x_n - \frac{1}{N_j} \sum_{y_n = j} x_n \Big\rVert . $$
#
# 平均图像取自训练图像，概率取自教师模型没见过的测试图像。$T = 4$ 是事先定好的。


# %%
def seen_in_classes(z, T):
    p = softmax_by_hand(z, T)  # (N, K)
    return np.stack([p[data.y_test == k].mean(axis=0) for k in range(K)])  # (K, K): row = class of the image


means = np.stack([data.x_train[data.y_train == k].mean(axis=0) for k in range(K)])  # (K, D)
distances = np.linalg.norm(means[:, None] - means[None], axis=2)  # (K, K)

figure = Figure(figsize=(8.6, 3.6), layout="constrained")
panels = figure.subplots(1, 2)
tables = {
    "teacher: mean probability at T = 4, %": (100 * seen_in_classes(v, 4), "Blues"),
    "pixels: distance of the mean images": (distances, "Oranges_r"),  # the nearer, the darker
}
for axes, (title, (table, colours)) in zip(panels, tables.items(), strict=True):
    shown = np.where(np.eye(K, dtype=bool), np.nan, table)  # (K, K): the right classes would outshine the others
    figure.colorbar(axes.imshow(shown, cmap=colours), ax=axes, format="%.1f")
    axes.set_facecolor("0.85")  # the diagonal is left out
    axes.set(xlabel="other class", ylabel="class of the image", xticks=range(K), yticks=range(K))
    axes.set_title(title, fontsize=11)
figure.suptitle("Which classes are alike?")
plots.show(figure)

# %% [markdown]
# 深色的格子有许多在同样的位置。为了得到一个数，我们用**秩相关**：把教师模型的表格变成对称的，列出 45 对类别，把每个数换成它的名次，对距离也这样做（近的在前），再求名次的相关系数。1 表示顺序相同，0 表示没有关系，-1 表示正好相反。两个对照告诉我们一无所知时会得到什么：训练之前的网络，以及把类别名字打乱。


# %%
pairs = np.triu_indices(K, 1)  # the 45 pairs of different classes


def ranks(a):
    return a.argsort().argsort()  # (n,): 0 for the smallest


def agreement(table, distances):
    similar = (table + table.T)[pairs]  # (45,)
    return np.corrcoef(ranks(similar), ranks(-distances[pairs]))[0, 1]


some = np.array([0.25, 0.5, 1, 2, 4, 8, 16, 32])
untrained = [MLP(teacher.sizes, seed=seed) for seed in range(len(teachers))]
logits = {
    "teachers": [t.predict(data.x_test).astype(np.float64) for t in teachers],
    "before training": [t.predict(data.x_test).astype(np.float64) for t in untrained],
}
curves = {
    name: np.array([[agreement(seen_in_classes(z, T), distances) for T in some] for z in runs])  # (seeds, n)
    for name, runs in logits.items()
}
figure = plots.lines(some, curves, xlabel="temperature T", ylabel="rank correlation with the pixels")
figure.axes[0].set_xscale("log")
figure.axes[0].set_xticks(some, [f"{T:g}" for T in some])
figure.axes[0].set_xticks([], minor=True)
figure.set_size_inches(6, 3.6)
figure.axes[0].set(title="Soft targets rank classes by likeness", ylim=(-0.6, 1))
figure.axes[0].axhline(0, color="black", lw=0.8)
plots.show(figure)

at_4 = curves["teachers"][:, some == 4].ravel()  # (seeds,)
rng = np.random.default_rng(0)
table = seen_in_classes(v, 4)  # (K, K)
shuffles = [rng.permutation(K) for _ in range(1000)]
shuffled = np.array([agreement(table, distances[np.ix_(s, s)]) for s in shuffles])  # (1000,)
print("T = 4, each teacher:", at_4.round(2), f" mean {at_4.mean():.2f}")
print(
    f"class names shuffled 1000 times: 95 % below {np.quantile(shuffled, 0.95):.2f}, the largest {shuffled.max():.2f}"
)
share = {}
for T in (0.25, 1, 4):
    wrong = np.sort(1 - softmax_by_hand(v, T)[np.arange(len(v)), data.y_test])[::-1]  # (N,): what the wrong classes got
    share[T] = wrong[: len(v) // 20].sum() / wrong.sum()
    print(f"T = {T}: of all that wrong classes got, {share[T]:.0%} was in one image of twenty")

# %% [markdown]
# **注意什么。** 教师模型给 45 对类别排的顺序和像素大体一致，每一个教师模型都是这样；把名字打乱，没有一次能接近；训练之前的网络没有这样的顺序。所以这些小小的数是关于数字的知识。温度低时不那么明显：那时错误类别所得的几乎全部集中在少数图像里，整张表由它们决定。相关系数不必是 1，更高也不等于教师模型更好：像素是对相似程度的粗略看法，网络完全可能有更精细的看法。这也还没有说明学生模型会受益。那是第 04 课的内容。
#
# ## 交叉熵、熵和 KL 散度
#
# 教师模型回答 $q$ 的地方，学生模型要回答 $p$。它差了多少？带软目标的**交叉熵**就是第 01 课的公式，只是 $q$ 可以是任何概率，不限于独热：
#
# $$ CE(q, p) = -\sum_k q_k \log p_k . $$
#
# 就算学生模型照抄教师模型，它也不是 0：那时它等于 $H(q)$。超出的部分是 **KL 散度**（Kullback 和 Leibler，1951）：
#
# $$ KL(q \Vert p) = \sum_k q_k \log \frac{q_k}{p_k} = \sum_k q_k \log q_k - \sum_k q_k \log p_k = CE(q, p) - H(q) . $$
#
# 在 $p = q$ 处它是 0，其他各处为正。因为 $\log a \le a - 1$，只在 $a = 1$ 时取等号，所以
#
# $$ -KL(q \Vert p) = \sum_k q_k \log \frac{p_k}{q_k} \le \sum_k q_k \Big( \frac{p_k}{q_k} - 1 \Big) = \sum_k p_k - \sum_k q_k = 0 . $$
#
# $CE = H + KL$：一部分是教师模型自己的犹豫，任何学生模型都改变不了；另一部分是距离，那是可以改变的。我们让第二个教师模型代替学生模型，检验一下。

# %%
q, p = softmax_by_hand(v, 4), softmax_by_hand(logits["teachers"][1], 4)  # (N, K) each
CE = -(q * np.log(p)).sum(axis=1)  # (N,)
KL = (q * np.log(q / p)).sum(axis=1)  # (N,)
print(f"means, nats: CE {CE.mean():.4f} = H {entropy(q).mean():.4f} + KL {KL.mean():.4f}")
print(f"largest difference {np.abs(CE - entropy(q) - KL).max():.0e}; smallest KL of an image {KL.min():.0e}")

# %% [markdown]
# ## 极端的 logits
#
# 公式是精确的，计算机的数不是。float64 里最大的数大约是 $10^{308}$，所以 $z > 709$ 时 $e^z$ 溢出成无穷大；在 float32 里，$z > 88$ 就溢出。于是 softmax 成了 $\infty/\infty$，也就是 NaN（“不是数”），而损失里只要有一个 NaN，下一步就毁掉所有权重。低温很快就到那里：$T = 0.01$ 时，20 的 logit 变成 2000。我们要求 logits 可以到 $\pm 10^4$，$T$ 可以是 $10^{-3}$ 到 $10^3$ 之间的任何数。

# %%
extreme = np.array([[1e4, 9999.0, 0.0, -1e4]])  # (1, 4)
with np.errstate(all="ignore"):  # NumPy would warn, rightly
    naive = np.exp(extreme) / np.exp(extreme).sum(axis=1, keepdims=True)  # (1, 4)
    log_of_softmax = np.log(softmax_by_hand(extreme))  # (1, 4)
print("exp, then divide:      ", naive[0])
print("the maximum off first: ", softmax_by_hand(extreme)[0])
print("log(softmax(z)):       ", log_of_softmax[0])

# %% [markdown]
# **先减去最大值。** softmax 不在乎平移，因为 $e^{z_k - m} = e^{z_k} e^{-m}$，$e^{-m}$ 会约掉。这样所有指数至多为 0：什么也不溢出；而且总和至少是 1，不会除以 0。下溢成 0 的，是小于 $10^{-308}$ 的概率，0 是很好的回答。
#
# **但绝不要再对它取对数。** 损失要的是 $\log p_k$，而 $\log 0 = -\infty$，真正的值只不过是 -10,000 左右。不要先算 $p$ 再取对数；要在纸上先算好：
#
# $$ \log p_k = \frac{z_k - m}{T} - \log \sum_j e^{(z_j - m)/T} . $$
#
# 总和里至少有一项是 1，所以它的对数是有限的，其余一切也是。


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
# 这就是 `minikd/ops.py` 里的 `softmax` 和 `log_softmax`。有一个细节和 `softmax_by_hand` 不同：后者先除以 $T$，再减去最大值。minikd 反过来做，在 logits 还精确的时候相减。
#
# ## 练习
#
# **1.** 另一个网络的权重和教师模型相同，只是最后一层的权重和偏置是三倍。它的回答有什么不同？在什么温度下，它的软目标等于教师模型在 $T = 4$ 时的软目标？有没有对所有教师模型都合适的温度？
#
# <details><summary>答案</summary>
#
# 它的 logits 是三倍，所以选择的类别相同，但更有把握。$\text{softmax}(3 z / T') = \text{softmax}(z / T)$，其中 $T' = 3 T = 12$。可见温度是以 logits 为单位来衡量的，logits 较大的教师模型需要较高的温度。没有一个温度对所有教师模型都合适。
#
# </details>
#
# **2.** 证明熵从不随温度下降：$dH/dT = \text{Var}(z) / T^3$，其中 logits 的方差按概率 $p^T$ 计算。用中心差分检验。
#
# <details><summary>答案</summary>
#
# $\log p_k = z_k/T - \log Z$，其中 $Z = \sum_j e^{z_j/T}$，所以 $H = \log Z - E[z]/T$，$E$ 是按 $p^T$ 求的平均。$d \log Z/dT = -E[z]/T^2$。$dp_k/dT = -p_k (z_k - E[z])/T^2$，所以 $dE[z]/dT = -\text{Var}(z)/T^2$。合起来，$dH/dT = -E[z]/T^2 + E[z]/T^2 + \text{Var}(z)/T^3$。方差从不为负。最后一格会检验它。
#
# </details>
#
# **3.** KL 不对称。设 $q = (0.5, 0.5, 0)$，$p = (0.98, 0.01, 0.01)$。计算 $KL(q \Vert p)$ 和 $KL(p \Vert q)$。如果学生模型不可以漏掉教师模型认为可能的类别，你会让它降低哪一个？
#
# <details><summary>答案</summary>
#
# $KL(q \Vert p) = 0.5 \log(0.5/0.98) + 0.5 \log(0.5/0.01) \approx 1.62$ 奈特。$KL(p \Vert q)$ 是无穷大：$p$ 把百分之一给了 $q$ 排除的类别。前者按教师模型的 $q$ 加权：学生模型否认教师模型认为可能的事，它就大；而且它从不是无穷大，因为 softmax 给每个类别都留一点。要降低的就是它。
#
# </details>
#
# ## 来源
#
# - Hinton, Vinyals, Dean (2015): *Distilling the Knowledge in a Neural Network*. arXiv 1503.02531（温度、软目标；“暗知识”是 Hinton 就此所作演讲的名字）。
# - Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov (2014): *Dropout*. JMLR 15.
# - Kullback, Leibler (1951): *On Information and Sufficiency*. Annals of Mathematical Statistics 22.
# - Mantel (1967): *The detection of disease clustering*. Cancer Research 27（打乱距离表的名字）。
#
# 下一课：`03_the_gradient`，学生模型拿教师模型的这些数做什么。

# %%
# What the text claims, checked each time this runs.
assert softmax_by_hand(one, 0.01)[0].max() > 1 - 1e-9
assert abs(hot_errors[10_000] / hot_errors[1000] * 100 - 1) < 0.02  # falls as 1/T²
assert (np.diff(entropies, axis=0) > -1e-12).all() and entropies[-1].min() > 0.95 * np.log(K)
assert entropies[0].mean() < 0.02 and entropies[temperatures == 1].mean() < 0.4
assert at_4.min() > 0.6 and at_4.min() > np.quantile(shuffled, 0.99)
assert FAST or (at_4.mean() > 0.75 and at_4.mean() > shuffled.max())
assert abs(curves["before training"].mean()) < 0.4 < at_4.mean() - abs(curves["before training"][:, some == 4].mean())
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
