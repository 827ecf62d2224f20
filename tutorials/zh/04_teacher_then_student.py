# %% [markdown]
# # 04 · 学生模型怎样一步一步向教师模型学习？
#
# **简而言之。** 用标签训练教师模型。把它冻结。把它对每幅训练图像的回答记下来，只记一次。然后在平常的循环里训练学生模型，教师模型的数不过是多出来的一个目标。在这些手写数字上，这使学生模型的概率和教师模型的一样好；它是否也读对了更多的数字，五个种子说不清楚。
#
# 第 02 课说明软目标知道些什么，第 03 课推导了使用它们的损失。这里是知识蒸馏的完整过程，从第一步到结果表。循环全部写出来，连优化器也在内，最后得到和 minikd 相同的权重。末尾我们拆开一个流传很广的循环，把其中的错误运行一遍，看看每个错误会造成什么。

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
# ## 第 1 步：训练教师模型
#
# 教师模型是一个宽的 MLP，用标签训练，同第 01 课。有两样新东西。**Dropout** 在每一步以二分之一的概率把隐藏单元置零，其余的加倍；教师模型不能依赖任何一个单元，在有理由怀疑的地方也就不那么自信。另外，学习率沿着半个余弦从最大值降到零。


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
# ## 第 2 步：冻结它
#
# 从这里起，教师模型是一个固定的函数。**冻结**有三层意思：
#
# 1. 它的权重不变：没有优化器管着它们；
# 2. 没有梯度流进它：在学生模型的损失里，教师模型的 logits $v$ 和标签一样是常数；
# 3. 它的 dropout 是关着的。Dropout 是学习时用的。开着它，教师模型每次的回答都不一样。
#
# 我们留一份权重的副本，最后看看是不是真的没人动过。再用两种方式各问它两次：


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
# ## 第 3 步：查它的回答
#
# 固定的函数在固定的图像上有固定的值。所以我们对所有训练图像只问一次，留下一个 logits 数组 $V$，每幅图像一行。编号为 `batch` 的那些图像组成的批次，需要的就是 `V[batch]` 这些行。

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
# 这里的差别来自舍入：较大矩阵的乘积按另一种顺序相加。每个轮次都问，代价是训练学生模型本身的几倍；只问一次，只在一个轮次里付出这个代价。
#
# 查表和每次都问等价，前提是学生模型看到的正是教师模型被问到的图像。有**数据增强**时（图像每个轮次重新随机移动或旋转），必须就移动后的图像去问教师模型。`distill(..., augment=...)` 就是这样做的。
#
# ## 第 4 步：用标签训练学生模型
#
# 先看我们要胜过的是什么。学生模型有 64 个隐藏单元，参数是教师模型的十八分之一。


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
# ## 第 5 步：同一个学生模型用软目标，全部亲手来
#
# 同样的初始权重，同样的批次，同样的步数；不同的只有损失。$y$ 是独热标签，$p$ 是学生模型的概率，$p^T$ 是温度 $T$ 下的概率，$q^T$ 是教师模型在 $T$ 下的概率，$w$ 是软权重，第 03 课得到
#
# $$ L = (1 - w)\,\mathrm{CE}(y, p) + w\,T^2\,\mathrm{CE}(q^T, p^T), $$
#
# $$ dz = \frac{(1 - w)(p - y) + w\,T\,(p^T - q^T)}{B} . $$
#
# 下面是训练中发生的一切：抽取批次、前向、损失的梯度、反向、走一步。这一步用的是 **Adam**。它为每个参数保存梯度 $g$ 的滑动平均 $m$ 和梯度平方的滑动平均 $s$，按两者之比前进，于是每个参数有自己的步调：
#
# $$ m \leftarrow 0.9\,m + 0.1\,g, \qquad s \leftarrow 0.999\,s + 0.001\,g^2, $$
#
# $$ \theta \leftarrow \theta - \eta_t\,\frac{m / (1 - 0.9^t)}{\sqrt{s / (1 - 0.999^t)} + 10^{-8}} . $$
#
# 两个平均都从 0 开始，起初偏小；除以 $1 - 0.9^t$ 和 $1 - 0.999^t$ 就是补偿，$t$ 是步数。学习率是 $\eta_t = \eta\,(1 + \cos \pi r)/2$，$r$ 从 0 到 1，表示训练已经完成的比例。我们用 float64 计算，使几千步之后舍入误差仍然很小。

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
# 这里没有任何东西知道教师模型怎样工作。`v` 可以来自文件，来自另一种模型，或者来自被请来估计百分比的人。现在用 minikd 的函数做同一件事。

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
# ## 第 6 步：有用吗？
#
# 一个学生模型证明不了什么：换一组初始权重，结果就不同。所以我们用五个种子把一切重复一遍（另一个教师模型，另外的初始权重，另外的图像顺序），并且问平均值有多可靠。我们还需要一个**对照**：像教师模型那样改变目标，却一无所知。**标签平滑**从标签拿走十分之一的概率，平均分给所有类别，
#
# $$ t = 0.9\,y + 0.1 / K . $$
#
# 如果它的效果和教师模型一样好，那么起作用的就不是教师模型的知识。

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
# **注意什么。** 用标签的学生模型过了四分之一的时间就不再变好，而它的训练损失继续趋向零：它此后学到的只是更自信，在错的地方也一样。蒸馏的学生模型进步得更久，因为它的目标从不十分肯定。标签平滑停在高处：它的目标说，每个数字有百分之一的可能是任意一个别的数字，学生模型就信了。
#
# ### 三个分数
#
# 设置是在验证图像上选的。现在看测试图像，只看一次。我们看三个分数：
#
# - **错误数**：有多少图像读错了；
# - **NLL**（负对数似然）：$-\log p_y$ 的平均，单位是奈特。它就是和标签的交叉熵，惩罚自信的错误；
# - **ECE**（期望校准误差）：网络说“我有 80% 的把握”时，是不是 80% 的情况下都对？把图像按最大概率，也就是网络的**把握**，分进 15 个等宽的格子。第 $b$ 格有 $n_b$ 幅图像，其中读对的比例是 $\mathrm{acc}_b$，平均把握是 $\mathrm{conf}_b$，
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
# ### 五个结果的平均有多可靠？
#
# 设 $\bar r$ 是 $n$ 个结果 $r_i$ 的平均，$\sigma$ 是标准差，$\sigma^2 = \sum_i (r_i - \bar r)^2 / (n - 1)$。换另外 $n$ 个种子，平均值本身会变动大约 $\sigma / \sqrt n$。在 95% 的情况下包含真正平均值的区间是
#
# $$ \bar r \pm \tau\, \frac{\sigma}{\sqrt n} . $$
#
# 种子很多时 $\tau$ 是 1.96。种子少时它更大，因为 $\sigma$ 只是估计出来的：学生 t 分布给出，五个种子时 $\tau = 2.776$。它假定结果大致服从正态分布。
#
# 同一个种子的两个学生模型从相同的权重开始，看到相同的批次。所以逐个种子取它们的**差**，再求这些差的区间：让某个种子对两者都好或都坏的东西就抵消了。这叫**配对**比较。


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
# **注意什么。** 在 NLL 和 ECE 上，蒸馏的学生模型和参数是它十八倍的教师模型一样好，也比只用标签的同一个学生模型好：两个差值的区间都不含零。错误数平均少三个，但区间从少八个到多两个：五个种子说不清它是否读对了更多数字。
#
# 对照组令人意外。一无所知的标签平滑，错误最少，概率最差。所以准确率的提高不能证明知识得到了传递；NLL 的改善是更好的迹象，因为对照组在那里是变差的。而且这一切只针对一个学生模型、一个数据集和一个学习率：第 05 课会改变它们。
#
# ## 第 7 步：一个流传很广的循环
#
# 下面这样的循环在许多地方都能看到。我们用自己的话写，保留它的实质。
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
# 周围的文字说：损失是 $L = -\sum_{i=1}^N t_i \log s_i$，$i$ 遍历 $N$ 个样本；教师模型的输出成为学生模型的新输入；也使用标签；最后一步，用学生模型说的话来训练教师模型。往下读之前，先数一数有多少处错误。
#
# ### 两个马上就停下来的错误
#
# `Student.parameters()` 问的是类，不是网络。类只是图纸，没有权重（PyTorch 会说 `missing 1 required positional argument: 'self'`）。而教师模型的输出是**目标**，用来比较；作为输入，它的十个数放不进 64 个数的位置。就算放得进，也没有好处：学生模型离开教师模型就不能用了。

# %%
messages = []
for attempt in (lambda: Adam(MLP, lr=1e-3), lambda: new_student(0).forward(V[:4])):
    try:
        attempt()
    except (TypeError, ValueError) as error:
        messages.append(f"{type(error).__name__}: {error}")
print("\n".join(messages))

# %% [markdown]
# ### 对不是概率的东西取对数
#
# 最后一层给出 logits，可正可负。那个循环里的损失对它们取对数。

# %%
z = new_student(0).forward(data.x_train[:B])  # (B, K): raw outputs
with np.errstate(invalid="ignore"):
    printed = -(V[:B] * np.log(z)).sum(axis=1)  # (B,)
nan = np.isnan(printed).mean()
print(f"{(z < 0).mean():.0%} of the outputs are negative; the loss is NaN for {nan:.0%} of the images")

# %% [markdown]
# 批次里有一个 NaN，损失就是 NaN，接着是梯度，接着是所有权重。常见的补救是把输出从下面截断，$s = \max(z, 10^{-6})$。这样就没有 NaN 了，但损失没有下限。设教师模型的 $q$ 是概率，把学生模型的输出加倍：
#
# $$ -\sum_k q_k \log(2 s_k) = -\sum_k q_k \log s_k - \log 2 . $$
#
# 每加倍一次，损失就下降 $\log 2$，虽然什么也没学到。禁止这件事的正是 softmax：当 $p_k$ 的总和为 1 时，$-\sum_k q_k \log p_k$ 从不低于 $q$ 的熵，只在 $p = q$ 时达到它。
#
# ### 一无所知的教师模型，和向学生模型学习的教师模型
#
# 这个循环里，教师模型从来没有训练过，也没有冻结：既没有进入评估模式，也没有排除在梯度之外。如果照字面理解那段文字，它还要用学生模型的回答来训练。那会怎样？令 $c_k = -\log p_k$，损失是 $L = \sum_k q_k c_k$，穿过教师模型的 softmax，它的梯度是
#
# $$ \frac{dL}{dv_k} = q_k \Big(c_k - \sum_j q_j c_j\Big) . $$
#
# 它把教师模型的概率移到 $c$ 最小的地方：移到学生模型已经相信的东西上。两个互相抄袭的网络可以在任何事情上完全一致。下面的函数对每个错误都有一个开关；和流传的那个循环一样，哪一种都不使用标签。


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
# **注意什么。** 左图里，有两种错误的损失比正确的循环还低；右图里，三种错误都让学生模型停在十个数字只对一个，也就是瞎猜的水平。没有 softmax，损失降到零以下，还会继续降。教师模型跟着学时，损失趋向零：两个网络很快对每幅图像都说同一个数字，好好的教师模型忘记了怎样读数字。教师模型没有训练过时，学生模型忠实地复制了一个一无所知的网络。蒸馏的损失只说明学生模型跟随教师模型跟得多好。这有没有价值，只有标签能说；所以那个读了 `y` 却从不使用它的循环，根本不会察觉。
#
# ### 不声不响的一个：dropout 忘了关
#
# 最后一个错误完全不显眼。没有 `teacher.eval()`，教师模型开着 dropout 回答，每次都不一样。一切照常运行，学生模型也在学。它更差吗？在 `distill` 里，函数可以代替教师模型；配上什么也不改变的 `augment`，每个批次都会重新问它。

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
# 差一点，但确实差：五个学生模型个个都更差。这类错误没有哪条报错信息能发现，对照实验能发现。
#
# ### 全部列出，以及应有的循环
#
# | 流传的写法 | 会发生什么 | 正确的 |
# |---|---|---|
# | 优化器由类构造 | TypeError | 由网络构造：`student.parameters()` |
# | 教师模型的输出作为学生模型的输入 | 形状对不上 | 它是目标 |
# | 对原始输出取对数 | NaN，或没有下限的损失 | `log_softmax` |
# | 教师模型从未训练 | 学生模型复制噪声 | 先训练它 |
# | 梯度流进教师模型 | 浪费时间；若优化器管着它的权重，就毁了它 | `no_grad`，或者查表 |
# | 最后一步用学生模型训练教师模型 | 两者达成一致，却什么也不会 | 教师模型是冻结的 |
# | 教师模型不在评估模式 | 目标有噪声，学生模型略差 | `teacher.eval()` |
# | 没有温度 | 目标和标签几乎没有差别（第 02 课） | 两个 softmax 都用温度 $T$，损失再乘 $T^2$ |
# | 读了 `y` 却从不使用 | 教师模型的错误无人纠正 | 加上 $(1 - w)$ 乘以 $\mathrm{CE}(y, p)$ |
# | $\sum_i t_i \log s_i$ | 没有对类别求和；随 $N$ 增长 | $-\frac1N \sum_i \sum_k q_{ik} \log p_{ik}$ |
#
# 在 PyTorch 里，假定教师模型、学生模型和全部图像都在内存中：
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
# `kl_div` 等于交叉熵减去教师模型的熵，后者是常数，所以梯度和我们的相同。
#
# ## 练习
#
# **1.** 你拿到的是教师模型在 $T = 1$ 的概率，而不是 logits。还能在 $T = 4$ 蒸馏吗？什么时候不行？
#
# <details><summary>答案</summary>
#
# 能：$\log p_k = v_k - \log \sum_j e^{v_j}$ 和 $v_k$ 对所有类别相差同一个数，softmax 不在乎，所以 `softmax(np.log(p), 4)` 等于 `softmax(V, 4)`；最后一格会检验。概率被舍入成 0 的时候不行。在 float16 里，小于大约 3e-8 的都会变成 0，而这个教师模型有更小的概率。
#
# </details>
#
# **2.** 不配对，计算蒸馏和只用标签之间 NLL 之差的区间：两个平均值的方差相加。它更宽吗？
#
# <details><summary>答案</summary>
#
# $\sqrt{0.020^2 + 0.009^2} \approx 0.022$（两者都用 $\tau = 2.776$），配对的是 $0.017$。宽一些：对一个学生模型难的种子，对另一个也有几分难。对错误数，同样的算法得 4.0，配对的是 5.0：只有两者一同变化时配对才划算，而五个种子很难看出它们是否一同变化。
#
# </details>
#
# **3.** 错误数之差的区间是 −3 ± 5。如果真正的差是 3，大约要多少个种子，区间才会不含零？
#
# <details><summary>答案</summary>
#
# 差值的标准差是 $5 \cdot \sqrt5 / 2.776 \approx 4$。需要 $\tau \cdot 4 / \sqrt n < 3$：$n = 10$ 时 $\tau = 2.26$，半宽是 2.9。所以要十个，还得有点运气。如果真正的差是 1.5，大约要三十个。
#
# </details>
#
# ## 来源
#
# - Hinton, Vinyals, Dean (2015): *Distilling the Knowledge in a Neural Network*. arXiv 1503.02531（过程和损失）。
# - Srivastava et al. (2014): *Dropout*. Journal of Machine Learning Research 15（dropout 的开和关）。
# - Kingma, Ba (2015): *Adam*. arXiv 1412.6980，算法 1（优化器）。
# - Szegedy et al. (2016): *Rethinking the Inception Architecture*. arXiv 1512.00567，第 7 节（标签平滑）。
# - Guo, Pleiss, Sun, Weinberger (2017): *On Calibration of Modern Neural Networks*. arXiv 1706.04599，公式 3（ECE）。
# - Student (1908): *The Probable Error of a Mean*. Biometrika 6（少量种子）。
#
# 下一课（英文）：`05_choosing`，怎样选择教师模型、学生模型、温度和权重。

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
