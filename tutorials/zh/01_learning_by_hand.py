# %% [markdown]
# # 01 · 没有自动求导，MLP 怎样学习？
#
# **简而言之。** 一层网络就是一次矩阵乘法，它的梯度是另外两次。把前向传播的每一行如何影响损失写下来，再倒着走一遍，然后朝下坡方向迈一小步：这就是全部，五行 Python 反复执行它。
#
# 多数人第一次接触神经网络，用的是会自动求导的库。这一课慢慢地、亲手做一遍，对象是一个识别手写数字的网络。这里没有任何简化：最后得到的函数就是 minikd 训练时所用的函数，我们会逐一核对。你只需要知道什么是矩阵乘法，什么是导数。

# %%
import os

import numpy as np

from minikd import MLP, SGD, check_gradients, cross_entropy, evaluate, fit, load_data
from minikd.report import plots

FAST = bool(os.environ.get("MINIKD_FAST"))  # set by the tests: less training, the same claims
data = load_data("digits")
print("x_train", data.x_train.shape, " y_train", data.y_train.shape, " classes", *data.class_names)

# %% [markdown]
# ## 数据
#
# `x_train` 是一个矩阵，每行一幅图像：8 × 8 = 64 个介于 0（白纸）和 1（墨迹）之间的数。`y_train` 用整数告诉我们每幅图像是哪个数字，这叫**标签**。我们要的是一个网络，它把 64 个数变成 10 个数，每个数字一个。在所有教程里，**B** 表示一次一起处理多少幅图像（一个**批次**），**D** 是每幅图像的输入个数（这里是 64），**K** 是类别数（这里是 10）。

# %%
plots.show(plots.image_grid(data.x_train[:10], data.image_shape, [f"label {y}" for y in data.y_train[:10]]))

# %% [markdown]
# ## 前向：从图像到十个数
#
# 一**层**网络先乘以权重矩阵 $W$，再加上偏置向量 $b$。两层之间必须有一个非线性的弯折，否则两层合起来仍然只是一个矩阵；我们只保留正的部分，这叫 **relu**：
#
# $$ h = \max(x W_1 + b_1,\ 0), \qquad z = h W_2 + b_2 . $$
#
# $h$ 是**隐藏单元**。一幅图像的十个数 $z$ 叫作 **logits**：$z_k$ 越大，网络就越相信是第 $k$ 类。这样的网络叫**多层感知机**，简称 MLP。


# %%
def linear(x, W, b):
    return x @ W + b  # (B, D) @ (D, H) + (H,) -> (B, H)


def relu(a):
    return np.maximum(a, 0)  # (B, H) -> (B, H)


rng = np.random.default_rng(0)
D, H, K = 64, 32, 10
W1, b1 = rng.normal(size=(D, H)) * np.sqrt(2 / D), np.zeros(H)  # (D, H), (H,)
W2, b2 = rng.normal(size=(H, K)) * np.sqrt(2 / H), np.zeros(K)  # (H, K), (K,)

x, y = data.x_train[:128].astype(np.float64), data.y_train[:128]  # (B, D), (B,)
a = linear(x, W1, b1)  # (B, H)
h = relu(a)  # (B, H)
z = linear(h, W2, b2)  # (B, K)
print("logits of the first image:", z[0].round(2))

# %% [markdown]
# 权重从随机数开始。乘以 $\sqrt{2/D}$，是为了让 $h$ 里的数和 $x$ 里的数差不多大：relu 把一半的数变成 0，它们的均方也就减半，这个 2 把它补回来（He 等，2015）。
#
# ## 损失：十个数错得有多厉害？
#
# 要把 logits 和标签相比，先把它们变成概率。这就是 **softmax**：全为正数，总和为 1，
#
# $$ p_k = \frac{e^{z_k}}{\sum_j e^{z_j}} . $$
#
# 损失是**交叉熵**：正确类别的概率取对数再取负，对批次求平均，
#
# $$ L = -\frac1B \sum_i \log p_{i, y_i} . $$
#
# 网络有把握而且正确时，它是 0；有把握却错了，它可以任意大。一无所知的网络给十个类别各十分之一的概率：$L = \log 10 \approx 2.30$。这里用自然对数，所以单位是**奈特**（nat）。


# %%
def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))  # (B, K); softmax does not notice the shift, and exp cannot overflow
    return e / e.sum(axis=1, keepdims=True)  # (B, K)


B = len(x)
p = softmax(z)  # (B, K)
loss = -np.log(p[np.arange(B), y]).mean()
print(f"loss {loss:.3f}; of a network that knows nothing: {np.log(K):.3f}")

# %% [markdown]
# ## 反向：每个数怎样改变损失？
#
# 我们要 $dL/dW_1$、$dL/db_1$、$dL/dW_2$、$dL/db_2$：某个权重变一点点，损失变多少。链式法则说：从损失出发，一行一行往回走。代码里用 `dz` 表示 $dL/dz$，其余类推；它的形状总和 `z` 相同。
#
# **穿过 softmax 和对数。** 取一幅类别为 $c$ 的图像，把它的标签写成一行 $y$：$c$ 处是 1，其余是 0（“独热”），即 $y_k = [k = c]$；方括号里的话成立时它等于 1，否则等于 0。因为 $\log p_c = z_c - \log \sum_j e^{z_j}$，所以
#
# $$ \frac{d(-\log p_c)}{dz_k} = -[k = c] + \frac{e^{z_k}}{\sum_j e^{z_j}} = p_k - y_k . $$
#
# 网络给出的，减去应有的。对批次求平均，要除以 $B$：
#
# $$ dz = (p - y) / B . $$
#
# **穿过一层。** $z_{ik} = \sum_j h_{ij} W_{jk} + b_k$。权重 $W_{jk}$ 影响每幅图像 $i$ 的 $z_{ik}$，斜率是 $h_{ij}$；偏置的斜率是 1；而 $h_{ij}$ 影响自己那幅图像的全部 $K$ 个 logits。影响到谁，就对谁求和：
#
# $$ dW = h^\top dz, \qquad db = \textstyle\sum_i dz_i, \qquad dh = dz\, W^\top . $$
#
# 不必死记哪个因子要转置：只有一种写法，形状对得上。
#
# **穿过 relu。** $a > 0$ 的地方，relu 原样传出 $a$，斜率是 1；其他地方输出一直是 0，斜率是 0：
#
# $$ da = dh \cdot [a > 0] . $$


# %%
def cross_entropy_by_hand(z, y):
    p = softmax(z)  # (B, K)
    dz = p.copy()
    dz[np.arange(len(z)), y] -= 1  # p - y
    return -np.log(p[np.arange(len(z)), y]).mean(), dz / len(z)  # L, (B, K)


def linear_backward(dz, x, W):
    # z = x W + b
    return dz @ W.T, x.T @ dz, dz.sum(axis=0)  # dx (B, D), dW (D, H), db (H,)


def relu_backward(dh, a):
    # h = max(a, 0)
    return dh * (a > 0)  # (B, H)


loss, dz = cross_entropy_by_hand(z, y)
dh, dW2, db2 = linear_backward(dz, h, W2)
da = relu_backward(dh, a)
dx, dW1, db1 = linear_backward(da, x, W1)
for name, gradient in {"dW1": dW1, "db1": db1, "dW2": dW2, "db2": db2}.items():
    print(f"{name} {gradient.shape!s:>9}, largest entry {np.abs(gradient).max():.4f}")

# %% [markdown]
# ## 对不对？量一量斜率
#
# 导数是斜率，斜率可以量出来：把一个权重调大一点点，再调小一点点，看看损失怎样变（**中心差分**）：
#
# $$ \frac{dL}{d\theta} \approx \frac{L(\theta + \epsilon) - L(\theta - \epsilon)}{2 \epsilon}, \qquad \text{误差} \approx c\, \epsilon^2 + \frac{10^{-16}}{\epsilon} . $$
#
# “一点点”是多小？误差的第一部分来自曲线不是直线，随 $\epsilon$ 减小。第二部分来自舍入：计算机只保留 16 位数字，两个损失几乎相等，相减之后剩不下几位有效数字，还要再除以一个很小的步长。中间有一个最好的步长。


# %%
def loss_with(weight):
    W = W2.copy()
    W[3, 7] = weight
    return cross_entropy_by_hand(linear(h, W, b2), y)[0]


steps = 10.0 ** np.arange(-13, 0.1, 0.5)
measured = np.array([(loss_with(W2[3, 7] + e) - loss_with(W2[3, 7] - e)) / (2 * e) for e in steps])
errors = np.abs(measured - dW2[3, 7]) / abs(dW2[3, 7])  # relative, one for each step

figure = plots.lines(steps, {"one weight": errors}, xlabel="step ε", ylabel="relative error of the measured slope")
figure.axes[0].set(xscale="log", yscale="log")
plots.show(figure)
print(f"smallest error {errors.min():.0e}, at a step of {steps[errors.argmin()]:.0e}")

# %% [markdown]
# 两条斜线相交成 V 形：这幅图能分辨正确的梯度和错误的梯度。公式若是错的，曲线会停在与错误同样大小的高度，再也降不下去。一个权重不能代表全部；`check_gradients` 检查每一个权重，再加上几个随机方向。它要三样东西：参数的函数、参数，以及我们声称的梯度。

# %%
theta = {"W1": W1, "b1": b1, "W2": W2, "b2": b2}
claimed = {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}


def loss_of(t):
    hidden = relu(linear(x, t["W1"], t["b1"]))  # (B, H)
    return cross_entropy_by_hand(linear(hidden, t["W2"], t["b2"]), y)[0]


report = check_gradients(loss_of, theta, claimed)
print(report)

# %% [markdown]
# ## minikd 里的同一件事
#
# `MLP((64, 32, 10))` 就是这个网络，层数任意。它的全部权重和偏置放在一个长向量 `theta` 里，全部梯度放在另一个 `grad` 里；`weights` 和 `weight_grads` 是指向其中各段的视图。把我们的数交给它，它必须还给我们同样的梯度。

# %%
model = MLP((D, H, K), dtype="float64")
model.weights[0][...], model.weights[1][...] = W1, W2
model.biases[0][...], model.biases[1][...] = b1, b2
logits = model.forward(x, train=True)  # (B, K)
value, dlogits = cross_entropy(logits, y)  # L, (B, K)
model.backward(dlogits)

ours = np.concatenate([part.ravel() for part in (dW1, dW2, db1, db2)])  # weights first, then biases: (P,)
print(f"{model.num_params:,} parameters; largest difference of a gradient: {np.abs(model.grad - ours).max():.0e}")
model_of_step_one = model.grad.copy()

# %% [markdown]
# ## 学习：五行，一遍又一遍
#
# 梯度指向上坡，所以往反方向走：$\theta \leftarrow \theta - \eta\, dL/d\theta$。$\eta$ 叫**学习率**。每一步不看全部图像，只看随机抽出的几幅：现在有一个粗略的梯度，胜过以后有一个精确的。这叫**随机梯度下降**，SGD。把所有图像看过一遍，叫一个**轮次**（epoch）。899 幅图像正好是 29 个批次，每批 31 幅，没有哪一步只靠剩下的几幅。

# %%
epochs, lr = (10 if FAST else 60), 0.3
model = MLP((D, H, K), seed=0)
optimizer = SGD(model, lr=lr)
errors_in_train, errors_in_val = [], []
for epoch in range(epochs):
    order = np.random.default_rng((0, epoch)).permutation(len(data.x_train))
    for start in range(0, len(order), 31):
        batch = order[start : start + 31]
        logits = model.forward(data.x_train[batch], train=True)  # (B, K)
        value, dlogits = cross_entropy(logits, data.y_train[batch])
        model.backward(dlogits)
        optimizer.step()  # theta -= lr * grad
    for errors_in, images, labels in (
        (errors_in_train, data.x_train, data.y_train),
        (errors_in_val, data.x_val, data.y_val),
    ):
        wrong = model.predict(images).argmax(axis=1) != labels  # (N,): the largest logit is the answer
        errors_in.append(100 * wrong.mean())
print(f"after {epochs} epochs: {errors_in_val[-1]:.1f} % of the validation images read wrongly")

# %% tags=["cover"]
figure = plots.lines(
    np.arange(1, epochs + 1),
    {"images it learns from": errors_in_train, "validation images": errors_in_val},
    xlabel="epoch",
    ylabel="images read wrongly, %",
)
figure.axes[0].set(title="An MLP learns to read", ylim=(0, 15))
plots.show(figure)

# %% [markdown]
# **注意什么。** 瞎猜十次会错九次；几个轮次之后，一百次里只错几次。网络学习用的 899 幅图像，最后至多读错一幅。**验证图像**是另外留出来的，好让我们看看它在没见过的数字上表现如何：那里的错误率停在一个水平上。此后学到的，只是这些图像本身的特点，不再是数字。第三部分，**测试图像**，只在最后看一次。
#
# `fit` 就是这个循环，外加长时间运行需要的东西：检查、断点存档、学习率调度、历史记录。它用同样的方式抽取批次，所以最后得到同一个网络。

# %%
same = MLP((D, H, K), seed=0)
fit(
    same,
    data.x_train,
    data.y_train,
    loss=cross_entropy,
    optimizer=SGD(same, lr=lr),
    epochs=epochs,
    batch_size=31,
    progress=False,
)
print(f"largest difference of a weight between our loop and fit: {np.abs(same.theta - model.theta).max():.0e}")
scores = evaluate(model, data.x_test, data.y_test)
print(f"test images: {scores.errors} of {len(data.y_test)} wrong, loss (NLL) {scores.nll:.3f} nats")

# %% [markdown]
# ## 练习
#
# **1.** 把 $db_2$ 对所有类别求和，会得到什么？先说出理由，再去计算。
#
# <details><summary>答案</summary>
#
# 零。$p$ 的每一行总和是 1，$y$ 的每一行也是，所以 $dz = (p - y)/B$ 的每一行总和是 0，$db_2 = \sum_i dz_i$ 也就是 0。给所有 logits 加上同一个数，概率不变，所以损失在这个方向上是平的。
#
# </details>
#
# **2.** 让所有权重从零开始，而不是随机数。第一步的 $dW_1$ 和 $dW_2$ 是什么？网络会学到什么？
#
# <details><summary>答案</summary>
#
# $h = 0$，所以 $dW_2 = h^\top dz = 0$；$W_2 = 0$，所以 $dh = dz\, W_2^\top = 0$，$dW_1 = 0$。只有 $b_2$ 在动：网络只学到每个数字有多常见，别的什么也学不到。就算权重都相等而不为零，所有隐藏单元也会永远一样。随机的权重打破了这种对称。
#
# </details>
#
# **3.** 把 relu 换成 $\tanh$。反向传播的哪一行要改，改成什么？用 `check_gradients` 检查。
#
# <details><summary>答案</summary>
#
# 只有 `relu_backward`：$d\tanh(a)/da = 1 - \tanh^2 a$，所以是 `da = dh * (1 - h**2)`，其中 `h = np.tanh(a)` 来自前向传播。在 minikd 里：`MLP(sizes, activation="tanh")`，而 `tanh_backward` 就写在 `minikd/ops.py` 里 `tanh` 的旁边。
#
# </details>
#
# ## 来源
#
# - Rumelhart, Hinton, Williams (1986): *Learning representations by back-propagating errors*. Nature 323.
# - He, Zhang, Ren, Sun (2015): *Delving Deep into Rectifiers*. arXiv 1502.01852（初始权重的大小）。
# - 数字图像：Alpaydin and Kaynak，UCI Machine Learning Repository，doi 10.24432/C50P49。
#
# 下一课：`02_dark_knowledge`，教师模型知道哪些标签没有说的事。

# %%
# What the text claims, checked each time this runs.
report.assert_ok(1e-6)
assert errors.min() < 1e-8 and errors[0] > 1e-4 and errors[-1] > 1e-4  # the V
assert abs(db2.sum()) < 1e-12  # exercise 1
assert np.abs(ours).max() > 0.01 and np.abs(model_of_step_one - ours).max() < 1e-12
assert np.array_equal(same.theta, model.theta)
assert errors_in_val[0] > 2 * errors_in_val[-1] and errors_in_val[-1] < 6
assert FAST or errors_in_train[-1] < 0.2
