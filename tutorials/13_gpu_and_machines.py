# %% [markdown]
# # 13 · Does the same code run on a GPU, and on many machines?
#
# **In short.** Yes. The arrays decide where a line of code runs, so the training step is the same on GPU and CPU, and
# gives the same network up to rounding. Several machines can share a batch because the gradient of a mean is the
# weighted mean of the parts' gradients. All gradients of a network lie in one vector, so one sum per step is enough.
#
# - **What you will learn:** how to compare devices, time code, and share a batch among machines
# - **Prerequisites:** tutorials 01 and 04
# - **Hours:** 1.5
#
# This tutorial shows what stays the same on another computer, how to check it, and how to measure the gain. It runs
# with or without a GPU. The printed numbers are from the machine that it ran on.

# %%
import os
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise

import numpy as np

from minikd import MLP, SGD, Adam, DeviceError, cross_entropy, load_data, softmax
from minikd.backend import get_xp, to_device, to_numpy
from minikd.methods.dist import dist_loss
from minikd.report import plots

FAST = bool(os.environ.get("MINIKD_FAST"))
data = load_data("digits")
K = len(data.class_names)

# %% [markdown]
# ## The device
#
# A GPU has its own memory. CuPy is a library of arrays in that memory, with NumPy's names: `cupy.exp(x)` for
# `np.exp(x)`. In minikd you name the device once, when you make a network: `MLP(sizes, device="cuda")`. After that,
# each function calls the library that its input array belongs to. So this training step, the one of tutorial 01, does
# not mention the device:


# %%
def step(model, optimizer, x, y):
    logits = model.forward(x, train=True)  # (B, K)
    value, dlogits = cross_entropy(logits, y)  # L, (B, K)
    model.backward(dlogits, need_dx=False)
    optimizer.step()
    return value


# %% [markdown]
# A program that should use a GPU only if there is one must check. minikd never falls back to the CPU silently, because
# the run would take far longer without a reason that you can see. It raises a `DeviceError` that says what is missing,
# and the program decides:

# %%
try:
    MLP((2, 2), device="cuda")
    device = "cuda"
except DeviceError as error:
    device = "cpu"
    print(textwrap.fill(f"DeviceError: {error}", 79))
print("this notebook runs on:", device)

# %% [markdown]
# ## Is the result the same?
#
# Initial weights and the order of the images are drawn on the CPU from the seed, so every device starts from the same
# numbers and sees the same batches. Only rounding can differ. float32 keeps 24 binary digits, so each result is off by
# up to $2^{-24} \approx 6 \cdot 10^{-8}$ of its size. And the result of a long sum depends on its order, which differs
# between libraries.
#
# So "the same" cannot mean the same bits, and we must know how large a difference rounding can cause. We train the same
# network twice, in float32 and in float64, on the same batches, and measure how far the weights drift apart:
#
# $$ \frac{\lVert \theta_{32} - \theta_{64} \rVert}{\lVert \theta_{64} \rVert} . $$
#
# If there is a GPU, one more curve compares its float32 with the CPU's float64. **If the line above says "cpu", there
# is none: then the cell compares two precisions on the CPU, and no number in this tutorial comes from a GPU.**
#
# relu has a kink at 0, so a hidden unit close to 0 may be just above it in one run and just below in the other. We
# count how often this happens. As a control we train a network with tanh, which has no kink.

# %% tags=["cover"]
STEPS = 60 if FAST else 600


def pairs_of_runs(activation, device):
    """Relative difference of the weights, flipped hidden units so far, (STEPS,) each; and both runs' test logits."""
    runs = [MLP((64, 256, 256, K), activation=activation, dtype="float64", seed=0)]
    runs.append(MLP((64, 256, 256, K), activation=activation, dtype="float32", seed=0, device=device))
    optimizers = [SGD(model, lr=0.1) for model in runs]
    differences, flips = [], []
    for k in range(STEPS):
        rows = np.random.default_rng((0, k)).integers(0, len(data.x_train), 64)  # (B,)
        for model, optimizer in zip(runs, optimizers, strict=True):
            x, y = to_device(data.x_train[rows], model.device), to_device(data.y_train[rows], model.device)
            step(model, optimizer, x, y)
        exact, rounded = (to_numpy(model.theta) for model in runs)  # (P,) each
        differences.append(np.linalg.norm(rounded - exact) / np.linalg.norm(exact))
        hidden = [[to_numpy(h) > 0 for h in model.hidden] for model in runs]
        flips.append(sum(int((a != b).sum()) for a, b in zip(*hidden, strict=True)))
    logits = [to_numpy(model.predict(data.x_test)) for model in runs]  # (N, K) each
    return np.array(differences), np.cumsum(flips), logits


results = {
    "relu, float32 on the CPU": pairs_of_runs("relu", "cpu"),
    "tanh, float32 on the CPU": pairs_of_runs("tanh", "cpu"),
}
if device == "cuda":
    results["relu, float32 on the GPU"] = pairs_of_runs("relu", "cuda")

shown = np.unique(np.geomspace(1, STEPS, 60).astype(int)) - 1  # (n,): equally spaced on a logarithmic axis
figure = plots.lines(
    shown + 1,
    {name: result[0][shown] for name, result in results.items()},
    xlabel="training step",
    ylabel="relative difference from float64",
)
figure.axes[0].set(xscale="log", yscale="log", title="Difference of the weights between float32 and float64")
plots.show(figure)
for name, (differences, flips, (exact, rounded)) in results.items():
    print(f"{name}: {differences[0]:.0e} after one step, {differences[-1]:.0e} after {STEPS}")
    if flips[-1] and "relu" in name:  # tanh's outputs also change sign, but tanh has no kink there
        k = int((flips > 0).argmax())
        print(f"    first flip in step {k + 1}: from {differences[k - 1]:.0e} to {differences[k]:.0e}")
    other = int((exact.argmax(axis=1) != rounded.argmax(axis=1)).sum())
    largest = np.abs(softmax(exact) - softmax(rounded)).max()
    print(f"    test images classified differently: {other}; largest difference of a probability {largest:.0e}")

# %% [markdown]
# **What to notice.** After one step the runs differ by less than the rounding of one number. For hundreds of steps the
# difference grows about as the square root of the number of steps, like a sum of random errors. With relu it then
# jumps: a unit was on different sides of 0, so its gradient was passed on in one run and not in the other, and now the
# two networks differ slightly. tanh has no such jump. Neither run is wrong, and here both give the same answers to the
# test images.
#
# So a test that compares two devices should look at a single step, or a few, with a tolerance of about $10^{-6}$. After
# thousands of steps only scores can be compared. Differences of $10^{-3}$ in the first step are not rounding: look for
# a mistake.
#
# ## Is it faster? How to measure time
#
# Four rules:
#
# - *Warm up.* The first calls reserve memory, load libraries, and on a GPU compile its small programs (kernels).
# - *Repeat, and take the median.* Other programs disturb single rounds. Alternate between the things that you compare,
#   so that a disturbance affects all of them.
# - *On a GPU, wait before you read the clock.* A call only queues the work and returns. Without `deviceSynchronize` you
#   measure the time of queueing.
# - *Report ratios.* Seconds belong to one machine on one day.
#
# What is the cost of a sample in a batch of $B$, compared with a sample alone?


# %%
def wait_for(device):
    if device == "cuda":
        get_xp(device).cuda.runtime.deviceSynchronize()


def seconds_of(run, times, device):
    wait_for(device)
    start = time.perf_counter()
    for _ in range(times):
        run()
    wait_for(device)
    return (time.perf_counter() - start) / times


def time_per_step(device, sizes, rounds=3 if FAST else 9):
    model = MLP((64, 256, 256, K), device=device)
    optimizer = SGD(model, lr=0.01)
    runs = []
    for B in sizes:
        rows = np.random.default_rng(B).integers(0, len(data.x_train), B)  # (B,)
        x, y = to_device(data.x_train[rows], device), to_device(data.y_train[rows], device)
        runs.append(partial(step, model, optimizer, x, y))
    for run in runs:
        seconds_of(run, 3, device)  # warm-up
    repeats = [4 + 100 // B for B in sizes]  # small batches are fast, so they are repeated more often
    times = [[seconds_of(run, n, device) for run, n in zip(runs, repeats, strict=True)] for _ in range(rounds)]
    return np.median(times, axis=0)  # (n,), of (rounds, n): each round measures all sizes


batches = np.array([1, 4, 16, 64, 256, 1024])
seconds = {name: time_per_step(name, batches) for name in dict.fromkeys(["cpu", device])}
per_sample = {name: s / batches / s[0] for name, s in seconds.items()}  # (n,): relative to a batch of 1 on that device
figure = plots.lines(batches, per_sample, xlabel="batch size", ylabel="time per sample, relative to a batch of 1")
figure.axes[0].set(xscale="log", yscale="log", title="Time per sample by batch size")
figure.axes[0].set_xticks(batches, batches)
figure.axes[0].set_xticks([], minor=True)
plots.show(figure)
print("time per sample, relative to a batch of 1")
for name, ratio in per_sample.items():
    print(f"{name}, by batch size:", ", ".join(f"{B}: {r:.2g}" for B, r in zip(batches, ratio, strict=True)))
if device == "cuda":
    print("time of a step, CPU / GPU:", (seconds["cpu"] / seconds["cuda"]).round(2), "for batches of", batches)

# %% [markdown]
# **What to notice.** A sample in a large batch costs a small fraction of a sample alone. A matrix product with one row
# reads every weight from memory for one multiplication. With 256 rows each weight is used 256 times, and the Python
# code of a step runs once for all rows. Then the curve flattens: the processor is fully used, and twice the samples
# take twice as long. A GPU can do more at once, so expect its curve to flatten later. With a small batch a GPU may be
# slower than the CPU. So measure with *your* sizes.
#
# ## Many machines: share the batch
#
# A batch of $N$ samples is cut into parts of $n_1, \ldots, n_M$ samples, one for each machine. Every machine has a copy
# of the network and computes the mean loss of its part, $L_m$, and its gradient $g_m$. The loss of the whole batch is
#
# $$ L = \frac1N \sum_i L_i = \sum_m \frac{n_m}{N} L_m, \qquad g = \frac{dL}{d\theta} = \sum_m \frac{n_m}{N} g_m . $$
#
# **Data parallel** training uses only that differentiation is linear. The weights $n_m/N$ matter if parts differ in
# size, which happens whenever $M$ does not divide the last batch of an epoch. Because minikd keeps all gradients in one
# vector `grad`, the sum over machines is the sum of one vector.
#
# Here four threads stand for four machines, each with its own copy of the network. (Threads need no setup and work in a
# script and in a notebook on every system. Four processes would compute and send the same.)

# %%
sizes = (64, 256, 256, K)
x, y = data.x_train[:128], data.y_train[:128]  # (N, D), (N,)
machines = [MLP(sizes, dtype="float64", seed=0) for _ in range(4)]
pool = ThreadPoolExecutor(len(machines))


def gradient(model, x, y):
    dlogits = cross_entropy(model.forward(x, train=True), y)[1]  # (B, K)
    model.backward(dlogits)
    return model.grad  # (P,)


def sum_of_parts(machines, parts, x, y):
    """The gradient that every machine receives, the sum over m of n_m / N g_m: (P,)."""
    gradients = list(pool.map(lambda model, rows: gradient(model, x[rows], y[rows]), machines, parts))
    N = sum(len(rows) for rows in parts)
    return sum(len(rows) / N * g for rows, g in zip(parts, gradients, strict=True))


whole = gradient(MLP(sizes, dtype="float64", seed=0), x, y)  # (P,)
ways = {"32 + 32 + 32 + 32": [32, 64, 96], "35 + 35 + 35 + 23": [35, 70, 105], "50 + 8 + 32 + 38": [50, 58, 90]}
weighted, unweighted = [], []
for name, ends in ways.items():
    parts = np.split(np.arange(128), ends)  # 4 arrays of row numbers
    weighted.append(np.linalg.norm(sum_of_parts(machines, parts, x, y) - whole) / np.linalg.norm(whole))
    plain = np.mean([machine.grad for machine in machines], axis=0)  # (P,): the mistake, a mean without weights
    unweighted.append(np.linalg.norm(plain - whole) / np.linalg.norm(whole))
    print(f"{name}: relative error {weighted[-1]:.0e}; without weights {unweighted[-1]:.0e}")

# %% [markdown]
# With the weights, four machines give the same as one up to rounding. The plain mean of the four gradients is right
# only if all parts are equal, so tests with 128 samples and four machines do not find this mistake. Otherwise samples
# in small parts count too much. The program does not crash, and the network still learns, but with a wrong gradient.
#
# ## Train for 20 steps
#
# All copies start from the same weights, get the same summed gradient, and make the same step. So they stay equal, and
# weights are never sent. We use uneven parts and Adam, whose state each machine keeps.


# %%
def train(copies, dtype, steps=20):
    machines = [MLP(sizes, dtype=dtype, seed=0) for _ in range(copies)]
    optimizers = [Adam(machine, lr=1e-3) for machine in machines]
    for k in range(steps):
        rows = np.random.default_rng((1, k)).integers(0, len(data.x_train), 128)  # (N,)
        parts = np.split(rows, [50, 58, 90]) if copies == 4 else [rows]
        g = sum_of_parts(machines, parts, data.x_train, data.y_train)  # (P,)
        for machine, optimizer in zip(machines, optimizers, strict=True):
            machine.grad[...] = g
            optimizer.step()
    return machines


distance, identical = {}, {}  # from four machines to one; whether the four copies are identical
for dtype in ("float64", "float32"):
    (alone,), four = train(1, dtype), train(4, dtype)
    distance[dtype] = np.abs(four[0].theta - alone.theta).max()
    identical[dtype] = all(np.array_equal(four[0].theta, machine.theta) for machine in four)
    print(f"{dtype}: four machines and one, largest difference of a weight {distance[dtype]:.0e}")
    print(f"    the four copies identical bit for bit: {identical[dtype]}")

# %% [markdown]
# ## With real machines
#
# `fit` can share its batches among processes in this way; the documentation says how. You can also do it by hand:
# `model.grad` is an ordinary array, and the sum goes between `backward` and `step`. MPI is the usual library for
# programs that run as many processes on many machines. With its Python interface mpi4py this takes three lines, here
# with `comm = MPI.COMM_WORLD` and `x` the rows of this machine:
#
# ```python
# model.backward(dlogits)
# total = comm.allreduce(len(x))
# model.grad *= len(x) / total
# comm.Allreduce(MPI.IN_PLACE, model.grad)  # every machine now holds the sum
# optimizer.step()
# ```
#
# Start it with `mpiexec -n 4 python train.py`. All machines must make the same number of steps, or some wait forever.
# (This notebook does not run these lines. With GPUs, MPI must be able to read GPU memory.)
#
# ## How many machines are useful? A model on paper
#
# A step on $M$ machines takes
#
# $$ t(M) = \frac{C}{M} + \lambda \log_2 M + \frac{4 P}{\beta} \quad (M > 1), \qquad C = \frac{6 P B}{F} . $$
#
# $C$ is the time for arithmetic: $P$ weights, a batch of $B$, and for each weight and sample a multiplication and an
# addition forward, and twice that backward. $F$ is the number of these operations that a machine does a second.
# $\lambda$ is the **latency**, the time of the shortest message, and a sum over $M$ machines needs about $\log_2 M$
# rounds of them. The gradient has $4 P$ bytes in float32 (the best sums over many machines send nearly twice as much,
# which this model leaves out), and $\beta$ is the **bandwidth**, in bytes a second. **All three constants are assumed,
# not measured**: $F = 50$ billion a second, $\lambda = 50\,\mu s$, $\beta = 1.25$ GB/s (a 10 Gbit network). So these
# curves are calculations, not results.

# %%
F, latency, bandwidth = 50e9, 50e-6, 1.25e9  # operations/s, s, bytes/s: assumed


def parameters(*sizes):
    return sum((n + 1) * m for n, m in pairwise(sizes))


def on_paper(P, B, M):
    sending = (latency * np.log2(M) + 4 * P / bandwidth) * (np.asarray(M) > 1)
    return 6 * P * B / F / M + sending  # seconds a step


M = 2.0 ** np.arange(0, 9)
small, large = parameters(64, 256, 256, 10), parameters(784, 1200, 1200, 10)
speedup = {
    f"{P:,} parameters, batch {B:,}": on_paper(P, B, 1) / on_paper(P, B, M) for B in (128, 4096) for P in (small, large)
}
figure = plots.lines(M, speedup, xlabel="machines", ylabel="times faster than one machine")
figure.set_size_inches(9, 4)
figure.legends[0].remove()  # replaced by a legend within the axes
axes = figure.axes[0]
axes.legend(loc="upper left", fontsize=9)
axes.plot(M, M, color="black", lw=0.8, ls=":")
axes.text(10, 14, "M times faster", rotation=38, fontsize=9)
axes.set(xscale="log", yscale="log", ylim=(0.5, 300), title="Calculated speed-up, with assumed constants")
axes.set_xticks(M, [f"{m:.0f}" for m in M])
axes.set_xticks([], minor=True)
axes.set_yticks([1, 2, 5, 10, 20, 50, 100, 200], ["1", "2", "5", "10", "20", "50", "100", "200"])
axes.set_yticks([], minor=True)
plots.show(figure)
for name, curve in speedup.items():
    print(f"{name}: at best {curve.max():.1f} times faster, with {M[curve.argmax()]:.0f} machines")

# %% [markdown]
# **What to notice.** Both the arithmetic and the message grow with $P$, so the number of parameters drops out of their
# ratio: for any latency, the speed-up is at most $C \beta / (4 P) = 6 B \beta / (4 F)$, which depends on the network
# and the data only through the batch. So a larger batch for each message helps. The small network does worse than the
# large one because of latency: its messages are short, but there are as many of them. At a batch of 128 the small
# network gets slower again with more machines.
#
# But a larger batch also has a cost: it makes fewer steps an epoch, and beyond some size it needs another learning
# rate, and then more samples (Goyal et al. 2017). For networks and data as small as in these tutorials one machine is
# enough. Several machines are best used for several seeds, which need no messages.
#
# ## Exercises
#
# **1.** Instead of gradients, the machines could each make a step of their own and then average their *weights*,
# weighted by $n_m / N$. Is that the same? Try one step of SGD, and one of Adam.
#
# <details><summary>Answer</summary>
#
# Yes for one step of SGD without momentum: $\sum_m \frac{n_m}{N} (\theta - \eta g_m) = \theta - \eta g$, because a step
# is linear in the gradient. No for Adam: the first step divides each gradient by its own size, so it is about $\eta$
# times the sign, and the mean of signs is not the sign of the mean. The last cell does both. (Several steps before
# averaging are another method, local SGD.)
#
# </details>
#
# **2.** The sum works for any loss that is a mean over samples, such as the distillation loss: each machine asks the
# teacher about its own rows. Which losses cannot be shared in this way? Look at `minikd/methods/dist.py`.
#
# <details><summary>Answer</summary>
#
# Losses that combine several samples of a batch. DIST correlates, for each class, the probabilities over the *samples*
# of the batch, and a correlation within four small parts is not the correlation over all. `rkd`, `sp` and `pkt` also
# compare pairs of samples. Machines would have to exchange logits or features before the loss. The last cell shows that
# DIST's gradient differs by far more than rounding, and that it does not if $\gamma = 0$ drops the part over samples.
#
# </details>
#
# **3.** Find the best number of machines in the model on paper. What is it for the small network at a batch of 128?
#
# <details><summary>Answer</summary>
#
# $dt/dM = -C/M^2 + \lambda/(M \ln 2) = 0$ gives $M = C \ln 2 / \lambda$; the bandwidth term does not depend on $M$.
# With $C = 6 \cdot 85{,}002 \cdot 128 / (5 \cdot 10^{10}) \approx 1.3$ ms it is about 18. The curve is flat there: 16
# machines do as well.
#
# </details>
#
# ## Sources
#
# - Goyal et al. (2017): *Accurate, Large Minibatch SGD*. arXiv 1706.02677 (data parallel training in practice; its
#   section 3 lists mistakes, the wrong weights among them).
# - Thakur, Rabenseifner, Gropp (2005): *Optimization of Collective Communication Operations in MPICH*. International
#   Journal of High Performance Computing Applications 19 (what a sum over machines costs).
# - Dalcín, Fang (2021): *mpi4py: Status Update After 12 Years of Development*. Computing in Science & Engineering 23.
# - Huang et al. (2022): *Knowledge Distillation from A Stronger Teacher*. arXiv 2205.10536 (DIST, exercise 2).
#
# Next: `14_language_models`, where a language model is distilled.

# %%
# What the text claims, checked each time this runs.
for name, (differences, flips, (exact, rounded)) in results.items():
    before = differences[flips == 0] if "relu" in name else differences
    assert differences[0] < 1e-6 and before[-1] < 1e-5
    assert (exact.argmax(axis=1) != rounded.argmax(axis=1)).sum() <= 2
    assert "tanh" in name or flips[-1] == 0 or differences[-1] > 2 * before[-1]
assert all(ratio[-1] < 0.5 for ratio in per_sample.values())
assert max(weighted) < 1e-13 and unweighted[0] < 1e-13 and unweighted[2] > unweighted[1] > 1e-3
assert distance["float64"] < 1e-9 and distance["float32"] < 1e-3 and all(identical.values())
assert small == MLP((64, 256, 256, 10)).num_params and large == 2_395_210
slow, *others = speedup.values()
assert slow[-1] < slow.max() and max(slow.max(), others[0].max()) < 6 * 128 * bandwidth / (4 * F)

parts = np.split(np.arange(128), [50, 58, 90])
for optimizer_of, same in ((partial(SGD, lr=0.1), True), (partial(Adam, lr=0.1), False)):  # exercise 1
    averaged = np.zeros(small)
    for rows in parts:
        model = MLP(sizes, dtype="float64", seed=0)
        gradient(model, x[rows], y[rows])
        optimizer_of(model).step()
        averaged += len(rows) / 128 * model.theta
    model = MLP(sizes, dtype="float64", seed=0)
    gradient(model, x, y)
    optimizer_of(model).step()
    assert (np.abs(model.theta - averaged).max() < 1e-13) == same
z, v = np.random.default_rng(0).normal(size=(2, 128, K))  # (N, K) each; exercise 2
for gamma in (0.0, 1.0):
    dz = dist_loss(z, y, v, gamma=gamma)[1]  # (N, K)
    pieces = np.concatenate([len(rows) / 128 * dist_loss(z[rows], y[rows], v[rows], gamma=gamma)[1] for rows in parts])
    assert (np.linalg.norm(dz - pieces) < 1e-12) == (gamma == 0)
    assert gamma == 0 or np.linalg.norm(dz - pieces) > 1e-2 * np.linalg.norm(dz)
counts = np.arange(2, 100)
assert counts[on_paper(small, 128, counts).argmin()] == 18  # exercise 3
pool.shutdown()
