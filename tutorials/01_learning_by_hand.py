# %% [markdown]
# # 01 · How does an MLP learn without autograd?
#
# **In short.** A layer is one matrix product, and its gradient is two more. To train, derive how each line of the
# forward pass changes the loss, go through the lines backwards, and take a small step downhill. Five lines of Python
# repeat these steps.
#
# - **What you will learn:** how to derive, code and test the gradients of an MLP, and how to train it
# - **Prerequisites:** derivatives, matrix products, basic Python and NumPy
# - **Hours:** 1.5
#
# Most people learn neural networks with a library that computes the derivatives. This tutorial computes them by hand,
# slowly, for a network that reads handwritten digits. Nothing is simplified: the functions at the end are the ones that
# minikd trains with, and we check that they are.

# %%
import os

import numpy as np

from minikd import MLP, SGD, check_gradients, cross_entropy, evaluate, fit, load_data
from minikd.report import plots

FAST = bool(os.environ.get("MINIKD_FAST"))  # set by the tests: less training, the same claims
data = load_data("digits")
print("x_train", data.x_train.shape, " y_train", data.y_train.shape, " classes", *data.class_names)

# %% [markdown]
# ## The data
#
# `x_train` is a matrix with one image a row: 8 × 8 = 64 numbers between 0 (paper) and 1 (ink). `y_train` holds the
# **label** of each image: a whole number, the digit that it shows. We want a network that maps 64 numbers to ten, one
# for each digit. In all tutorials, **B** is the number of images that are processed together (a **batch**), **D** is
# the number of inputs of each image (here 64), and **K** is the number of classes (here 10).

# %%
plots.show(plots.image_grid(data.x_train[:10], data.image_shape, [f"label {y}" for y in data.y_train[:10]]))

# %% [markdown]
# ## Forward: from an image to ten numbers
#
# A **layer** multiplies by a matrix of weights $W$ and adds a vector of biases $b$. Between two layers there must be a
# nonlinear function, because two linear layers in a row are equivalent to one. We take the positive part, called
# **relu**:
#
# $$ h = \max(x W_1 + b_1,\ 0), \qquad z = h W_2 + b_2 . $$
#
# $h$ holds the **hidden units**. The ten numbers $z$ of an image are called **logits**: the larger $z_k$, the more
# likely class $k$ is, according to the network. Such a network is a **multilayer perceptron**, MLP for short.


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
# The weights start at random. They are scaled by $\sqrt{2/D}$ so that the numbers in $h$ are about as large as those in
# $x$. relu sets half of the numbers to 0, which halves their mean square. The factor 2 makes up for that (He et al.
# 2015).
#
# ## The loss: how wrong are ten numbers?
#
# To compare logits with a label, turn them into probabilities. **Softmax** does so. Its outputs are positive and sum to
# 1:
#
# $$ p_k = \frac{e^{z_k}}{\sum_j e^{z_j}} . $$
#
# The loss is the **cross-entropy**: minus the logarithm of the probability of the right class, averaged over the batch,
#
# $$ L = -\frac1B \sum_i \log p_{i, y_i} . $$
#
# It is 0 if the network is certain and right, and it grows without bound if the network is certain and wrong. A network
# that knows nothing gives each of ten classes the probability 0.1, so $L = \log 10 \approx 2.30$. Logarithms are
# natural, so the unit of the loss is the **nat**.


# %%
def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))  # (B, K): the shift leaves softmax unchanged and keeps exp finite
    return e / e.sum(axis=1, keepdims=True)  # (B, K)


B = len(x)
p = softmax(z)  # (B, K)
loss = -np.log(p[np.arange(B), y]).mean()
print(f"loss {loss:.3f}; with equal probabilities for all classes, log K = {np.log(K):.3f}")

# %% [markdown]
# ## Backward: how does each number change the loss?
#
# We want $dL/dW_1$, $dL/db_1$, $dL/dW_2$, $dL/db_2$: how much the loss changes when a weight changes a little. The
# chain rule starts at the loss and goes back line by line. In code we write `dz` for $dL/dz$, and so on. `dz` always
# has the shape of `z`.
#
# **Through softmax and logarithm.** Take one image of class $c$, and let $y$ be its label written as a row of zeros
# with a 1 at $c$ ("one-hot"): $y_k = [k = c]$, where a bracket is 1 if its content is true, and 0 if not.
# $\log p_c = z_c - \log \sum_j e^{z_j}$, so
#
# $$ \frac{d(-\log p_c)}{dz_k} = -[k = c] + \frac{e^{z_k}}{\sum_j e^{z_j}} = p_k - y_k . $$
#
# This is the network's probability minus the right one. The mean over the batch divides by $B$:
#
# $$ dz = (p - y) / B . $$
#
# **Through a layer.** $z_{ik} = \sum_j h_{ij} W_{jk} + b_k$. The weight $W_{jk}$ changes $z_{ik}$ of every image $i$,
# with slope $h_{ij}$. The bias $b_k$ changes it with slope 1. The hidden unit $h_{ij}$ changes all $K$ logits of its
# image. Sum over everything that changes:
#
# $$ dW = h^\top dz, \qquad db = \textstyle\sum_i dz_i, \qquad dh = dz\, W^\top . $$
#
# There is no need to remember which factor is transposed: only one order has the right shape.
#
# **Through relu.** Where $a > 0$, relu returns $a$ and its slope is 1. Elsewhere its output is 0 and its slope is 0:
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
    print(f"{name} {gradient.shape!s:>9}, largest absolute entry {np.abs(gradient).max():.4f}")

# %% [markdown]
# ## Is the gradient right? Measure the slope
#
# A derivative is a slope, and a slope can be measured. Make one weight a little larger, then a little smaller, and
# compare the losses (**central differences**):
#
# $$
# \frac{dL}{d\theta} \approx \frac{L(\theta + \epsilon) - L(\theta - \epsilon)}{2 \epsilon}, \qquad
# \text{error} \approx c\, \epsilon^2 + \frac{10^{-16}}{\epsilon} .
# $$
#
# How small should the step be? The first part of the error comes from the curvature of the loss, and falls with
# $\epsilon$. The second part comes from rounding, because a computer keeps 16 digits. The two losses are nearly the
# same, so few digits of their difference are right, and the difference is divided by a small step. The best step lies
# in between.


# %%
def loss_with(weight):
    W = W2.copy()
    W[3, 7] = weight
    return cross_entropy_by_hand(linear(h, W, b2), y)[0]


steps = 10.0 ** np.arange(-13, 0.1, 0.5)
measured = np.array([(loss_with(W2[3, 7] + e) - loss_with(W2[3, 7] - e)) / (2 * e) for e in steps])
errors = np.abs(measured - dW2[3, 7]) / abs(dW2[3, 7])  # relative, one for each step

figure = plots.lines(steps, {"weight of W2": errors}, xlabel="step ε", ylabel="relative error of the measured slope")
figure.axes[0].set(xscale="log", yscale="log")
plots.show(figure)
print(f"smallest relative error {errors.min():.0e}, at step {steps[errors.argmin()]:.0e}")

# %% [markdown]
# The two slopes meet in a V. This picture tells a right gradient from a wrong one: with a wrong formula the curve
# levels out at the size of the mistake and never falls below it. The picture shows one weight only. `check_gradients`
# checks every weight, and some random directions as well. It takes a function of the parameters, the parameters, and
# the gradient to check.

# %%
theta = {"W1": W1, "b1": b1, "W2": W2, "b2": b2}
claimed = {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}


def loss_of(t):
    hidden = relu(linear(x, t["W1"], t["b1"]))  # (B, H)
    return cross_entropy_by_hand(linear(hidden, t["W2"], t["b2"]), y)[0]


report = check_gradients(loss_of, theta, claimed)
print(report)

# %% [markdown]
# ## The same thing in minikd
#
# `MLP((64, 32, 10))` is this network for any number of layers. All its weights and biases lie in one long vector
# `theta`, and all gradients in another, `grad`; `weights` and `weight_grads` are views of parts of them. With our
# weights, it must return our gradients.

# %%
model = MLP((D, H, K), dtype="float64")
model.weights[0][...], model.weights[1][...] = W1, W2
model.biases[0][...], model.biases[1][...] = b1, b2
logits = model.forward(x, train=True)  # (B, K)
value, dlogits = cross_entropy(logits, y)  # L, (B, K)
model.backward(dlogits)

ours = np.concatenate([part.ravel() for part in (dW1, dW2, db1, db2)])  # weights first, then biases: (P,)
print(f"{model.num_params:,} parameters; largest difference of the gradients {np.abs(model.grad - ours).max():.0e}")
grad_by_minikd = model.grad.copy()

# %% [markdown]
# ## Training: five lines in a loop
#
# The gradient points uphill, so step the other way: $\theta \leftarrow \theta - \eta\, dL/d\theta$. $\eta$ is the
# **learning rate**. Each step uses a few images that are drawn at random instead of all images, because many steps with
# rough gradients learn faster than few steps with exact ones. This is **stochastic gradient descent**, SGD. One pass
# through all images is an **epoch**. The 899 images make exactly 29 batches of 31, so no batch is smaller than the
# others.

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
        wrong = model.predict(images).argmax(axis=1) != labels  # (N,): the class with the largest logit is chosen
        errors_in.append(100 * wrong.mean())
print(f"after {epochs} epochs: {errors_in_val[-1]:.1f} % of the validation images misclassified")

# %% tags=["cover"]
figure = plots.lines(
    np.arange(1, epochs + 1),
    {"training images": errors_in_train, "validation images": errors_in_val},
    xlabel="epoch",
    ylabel="errors, %",
)
figure.axes[0].set(title="Errors on training and validation images", ylim=(0, 15))
plots.show(figure)

# %% [markdown]
# **What to notice.** Guessing is wrong nine times in ten. After a few epochs the network is wrong a few times in a
# hundred. In the end it misclassifies at most one of its 899 training images. **Validation images** are other images,
# kept aside to measure the errors on digits that the network has not seen. On these the errors level out. From then on
# the network learns properties of its own 899 images, and no longer of digits in general. A third part, the **test
# images**, is used once, at the end.
#
# `fit` is the same loop with checks, checkpoints, schedules and a history, which a long run needs. It draws its batches
# in the same way, so it ends with the same network.

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
print(f"largest difference between a weight of our loop and of fit: {np.abs(same.theta - model.theta).max():.0e}")
scores = evaluate(model, data.x_test, data.y_test)
print(f"test images: {scores.errors} of {len(data.y_test)} misclassified, loss (NLL) {scores.nll:.3f} nats")

# %% [markdown]
# ## Exercises
#
# **1.** What is the sum of $db_2$ over the classes? Give the reason before you compute it.
#
# <details><summary>Answer</summary>
#
# Zero. Every row of $p$ sums to 1, and so does every row of $y$, so each row of $dz = (p - y)/B$ sums to 0, and
# $db_2 = \sum_i dz_i$ also sums to 0. Adding one number to all logits changes no probability, so the loss is flat in
# that direction.
#
# </details>
#
# **2.** Start with all weights at zero instead of random ones. What are $dW_1$ and $dW_2$ in the first step? What does
# the network learn?
#
# <details><summary>Answer</summary>
#
# $h = 0$, so $dW_2 = h^\top dz = 0$; $W_2 = 0$, so $dh = dz\, W_2^\top = 0$ and $dW_1 = 0$. Only $b_2$ changes: the
# network learns how frequent each digit is, and nothing else. With equal weights other than zero, all hidden units
# would stay equal in all steps. Random weights break this symmetry.
#
# </details>
#
# **3.** Replace relu by $\tanh$. Which line of the backward pass changes, and how? Check your answer with
# `check_gradients`.
#
# <details><summary>Answer</summary>
#
# Only `relu_backward`: $d\tanh(a)/da = 1 - \tanh^2 a$, so `da = dh * (1 - h**2)`, with `h = np.tanh(a)` from the
# forward pass. In minikd: `MLP(sizes, activation="tanh")`, and `tanh_backward` follows `tanh` in `minikd/ops.py`.
#
# </details>
#
# ## Sources
#
# - Rumelhart, Hinton, Williams (1986): *Learning representations by back-propagating errors*. Nature 323.
# - He, Zhang, Ren, Sun (2015): *Delving Deep into Rectifiers*. arXiv 1502.01852 (the scale of the initial weights).
# - The digits: Alpaydin and Kaynak, UCI Machine Learning Repository, doi 10.24432/C50P49.
#
# Next: `02_dark_knowledge`, what a teacher knows that labels do not.

# %%
# What the text claims, checked each time this runs.
report.assert_ok(1e-6)
assert errors.min() < 1e-8 and errors[0] > 1e-4 and errors[-1] > 1e-4  # the V
assert abs(db2.sum()) < 1e-12  # exercise 1
assert np.abs(ours).max() > 0.01 and np.abs(grad_by_minikd - ours).max() < 1e-12
assert np.array_equal(same.theta, model.theta)
assert errors_in_val[0] > 2 * errors_in_val[-1] and errors_in_val[-1] < 6
assert FAST or errors_in_train[-1] < 0.2
