# %% [markdown]
# # 11 · What if the data are gone, or nobody has labelled them?
#
# **In short.** A student can learn most of its teacher's knowledge of digits from made-up samples, without ever seeing
# a digit. Whether a trained generator is better than plain noise of the right kind is undecided here. If there are many
# images but few labels, a student can learn the similarities between samples without labels. Then it needs fewer labels
# itself, if its teacher had labels. Last, a student learns to read digits from noise, through logits that stand for no
# digit, if it starts from its teacher's initial weights. From other weights it learns nothing.
#
# - **What you will learn:** how to distil without images, without labels, and through logits that stand for nothing
# - **Prerequisites:** tutorials 03, 04 and 09
# - **Hours:** 2
#
# Each of three parts leaves something out. First the images are missing: you have the teacher's weights, but its
# training data must not be kept or shown. Then the labels are missing. In the end images, labels and classes are
# missing. What can a teacher still pass on?

# %%
import os
from functools import partial

import numpy as np

from minikd import (
    MLP,
    Adam,
    check_gradients,
    cross_entropy,
    distill,
    distillation_loss,
    evaluate,
    fit,
    load_data,
    soft_cross_entropy,
    softmax,
)
from minikd.experiments.intervals import mean_interval, verdict
from minikd.methods import data_free, self_supervised
from minikd.methods.fitnets import hint_loss
from minikd.optim import cosine
from minikd.report import plots

FAST = bool(os.environ.get("MINIKD_FAST"))
seeds, epochs = (2, 10) if FAST else (5, 100)
data = load_data("digits")
x, y = data.x_train, data.y_train  # (N, D), (N,)
STUDENT = (64, 64, 10)
how = {"epochs": epochs, "batch_size": 64, "schedule": cosine(), "progress": False}


def accuracy(model):
    return 100 * evaluate(model, data.x_test, data.y_test).accuracy


def train_teacher(seed):
    teacher = MLP((64, 128, 128, 10), dropout=(0, 0.5, 0.5), seed=seed)
    options = {"epochs": 15 if FAST else 40, "batch_size": 32, "schedule": cosine(), "progress": False}
    fit(teacher, x, y, loss=cross_entropy, optimizer=Adam(teacher, 2e-3), seed=seed, **options)
    return teacher


teachers = [train_teacher(seed) for seed in range(seeds)]
print("teachers, accuracy on test images, %:", np.round([accuracy(teacher) for teacher in teachers], 1))

# %% [markdown]
# ## Without data: samples from a generator
#
# A **generator** is a network that turns random numbers into samples. It learns to make samples that are worth asking
# the teacher about, and the student learns from the answers. No image is needed:
#
#     noise n (B, 64) -> generator -> sample s (B, D) -> teacher -> logits v (B, K), last hidden layer h (B, W)
#                                                     -> student -> logits z (B, K)
#
#     the student's step:    v is a constant; z moves towards v (soft targets, no labels)
#     the generator's step:  both networks are frozen; the gradient goes back through them to s and to the generator
#
# Which samples are worth asking about? The first three terms are from Chen et al. (2019), the last is from Fang et al.
# (2019). With $q = \mathrm{softmax}(v)$, $\bar q$ its mean over the batch, and $o$ the one-hot of the class that the
# teacher chooses,
#
# $$ L_G = a\, CE(o, q) + b \sum_k \bar q_k \log \bar q_k - c\, \mathrm{mean}\, |h| - d\, \mathrm{mean}\, |v - z| . $$
#
# - **one-hot:** the teacher should be certain of the sample, as it is of real ones;
# - **information:** over a batch all classes should occur: $\sum \bar q \log \bar q$ is least when $\bar q$ is uniform;
# - **activation:** a real image activates the teacher's features;
# - **disagreement** (with a minus, so it is maximised): the student should still be wrong there. This makes training
#   adversarial: the generator looks for the student's mistakes, and the student corrects them.
#
# **Gradient at the logits.** One-hot: $dv = a\, (q - o)/B$, as for any label. Disagreement: $|u|$ has slope
# $\mathrm{sign}\, u$, and the mean is over $BK$ numbers, so $dv = -d\, \mathrm{sign}(v - z)/(BK)$ and $dz = +d\,
# \mathrm{sign}(v - z)/(BK)$. Activation: $dh = -c\, \mathrm{sign}(h)/(BW)$. Information: $\bar q_k = \frac1B \sum_i
# q_{ik}$, so $dq_{ik} = (\log \bar q_k + 1)/B$, and through the softmax, where $dq_k/dv_j = q_k ([k = j] - q_j)$,
#
# $$ dv_j = \sum_k dq_k\, q_k ([k = j] - q_j) = q_j \Big( dq_j - \sum_k dq_k\, q_k \Big) . $$
#
# **Back to the input.** The weights of a frozen network do not change. Its layers still pass gradients back,
# $dx = dz\, W^\top$, through relu, and so on to the input, where training always stopped: $ds = da_1 W_1^\top$. The
# sample affects the loss through both networks, so the two gradients add up.


# %%
def layers(model, s):
    hidden = [s]  # (B, D), then the hidden layers
    for W, b in zip(model.weights[:-1], model.biases[:-1], strict=True):
        hidden.append(np.maximum(hidden[-1] @ W + b, 0))  # (B, W)
    return hidden, hidden[-1] @ model.weights[-1] + model.biases[-1]  # logits (B, K)


def to_input(model, hidden, dlogits, dh=0):
    d = dlogits @ model.weights[-1].T + dh  # (B, W), at the last hidden layer
    for i in range(len(hidden) - 1, 0, -1):
        d = (d * (hidden[i] > 0)) @ model.weights[i - 1].T  # through relu, then through the layer
    return d  # (B, D)


def generator_input_gradient(teacher, student, s, a=1.0, b=5.0, c=0.1, d=1.0):
    (inside, v), (inside_student, z) = layers(teacher, s), layers(student, s)  # v, z (B, K)
    B, K, h = *v.shape, inside[-1]  # h (B, W)
    q = softmax(v)  # (B, K)
    mean, top = q.mean(axis=0), v.argmax(axis=1)  # (K,), (B,)
    value = -a * np.log(q[np.arange(B), top]).mean() + b * (mean * np.log(mean)).sum()
    value = value - c * np.abs(h).mean() - d * np.abs(v - z).mean()
    dv_one_hot = (q - np.eye(K)[top]) / B  # (B, K)
    dq = np.tile((np.log(mean) + 1) / B, (B, 1))  # (B, K)
    dv_information = q * (dq - (dq * q).sum(axis=1, keepdims=True))  # (B, K)
    dz = d * np.sign(v - z) / (B * K)  # (B, K)
    dv = a * dv_one_hot + b * dv_information - dz  # (B, K)
    dh = -c * np.sign(h) / h.size  # (B, W)
    return value, to_input(teacher, inside, dv, dh) + to_input(student, inside_student, dz)  # L_G, ds (B, D)


def in_float64(model):
    copy = MLP(model.sizes, dtype="float64")
    copy.theta[...] = model.theta
    return copy


exact_teacher, exact_student = in_float64(teachers[0]), MLP(STUDENT, seed=3, dtype="float64")
s = np.random.default_rng(0).random((8, 64))  # (B, D)
value, ds = generator_input_gradient(exact_teacher, exact_student, s)
report = check_gradients(lambda s: generator_input_gradient(exact_teacher, exact_student, s)[0], s.copy(), ds)
print(report)
network = MLP((64, 256, 64), seed=0, dtype="float64")
of_minikd = data_free.Generator(network, Adam(network), exact_teacher, exact_student, every=5)
value_of_minikd, ds_of_minikd = of_minikd.loss_of(s)
input_difference = max(abs(value - value_of_minikd), np.abs(ds - ds_of_minikd).max())
print(f"by hand and minikd's `Generator.loss_of`, largest difference: {input_difference:.0e}")

# %% [markdown]
# From $ds$ on, the generator's backward pass is that of any MLP. minikd's generator ends in one more line:
# $s = \mathrm{sigmoid}(g\,(u - t))$, where $u$ is the generator's output normalised over the batch (each pixel with
# mean 0 and deviation 1), $g = 6$ and $t = 1.5$. Its gradient is derived in `minikd/methods/data_free.py`. So the
# generator cannot make all samples equal, which would be its easiest way to a low loss: every pixel is sometimes bright
# and mostly dark, whatever the generator does. This is a little knowledge about images that was put in by hand. The
# comparison below has a control for it.
#
# ## Training, and a proof that no image is read
#
# `data_free.train` does what the drawing shows, with one step of the generator for five of the student. It takes `x`
# because the number of rows gives the number of steps in an epoch. Does it read the images? We pass the images, and
# then zeros of the same shape.


# %%
def without_data(seed, rows):
    student = MLP(STUDENT, seed=1000 + seed)
    data_free.train(student, teachers[seed], rows, optimizer=partial(Adam, lr=3e-3), seed=seed, **how)
    return student


given_images, given_zeros = without_data(0, x), without_data(0, np.zeros_like(x))
print("weights identical bit for bit:", np.array_equal(given_images.theta, given_zeros.theta))

# %% [markdown]
# Now we build the same from its parts, to keep the generator and see its samples. In `fit`, a generator is an `augment`
# that ignores its input rows, and the teacher is a target that is computed from the sample.

# %%
student = MLP(STUDENT, seed=1000)
network = MLP((64, 256, 64), seed=7919)  # from 64 numbers of noise to 64 pixels
generator = data_free.Generator(network, Adam(network, 1e-3), teachers[0], student, every=5, disagreement=1.0)


def soft_targets_alone(logits, teacher_logits):
    return distillation_loss(logits, None, teacher_logits, temperature=4.0, soft_weight=1.0)


zeros, optimizer = np.zeros_like(x), Adam(student, 3e-3)
fit(student, zeros, generator.teacher.forward, loss=soft_targets_alone, augment=generator, optimizer=optimizer, **how)
parts_difference = np.abs(student.theta - given_zeros.theta).max()
print(f"built from its parts and `data_free.train`, largest difference of a weight: {parts_difference:.0e}")
print(f"accuracy of this student, which has never seen an image: {accuracy(student):.1f} % of the test images")

# %% tags=["cover"]
made = generator(np.zeros((400, 64), "float32"), np.random.default_rng(5))  # (400, D)
answers = softmax(teachers[0].predict(made))  # (400, K)
per_class = [int(answers[:, k].argmax()) for k in range(10)]  # for each class, the sample with its highest probability
captions = [f"{k}: {answers[i, k]:.0%}" for k, i in enumerate(per_class)]
figure = plots.image_grid(made[per_class], data.image_shape, captions, columns=5)
figure.suptitle("Generated samples: the teacher's class and its probability")
plots.show(figure)

# %% [markdown]
# **What to notice.** Of 400 samples these are the ones of which the teacher is most certain, one for each class. No
# person would be certain of them. They do not look like digits because nothing in $L_G$ asks for it. An MLP does not
# know which pixels are neighbours: if all pixels are shuffled, and the rows of its first matrix with them, the network
# gives the same answers. So it has no notion of a stroke. It weights pixels, and any sample with bright pixels at the
# right places gets a confident answer. This is enough for the student: it must learn the teacher's function, and any
# sample tells something about that.
#
# ## Controls: does the generator help?
#
# Teachers, student and number of steps are the same, and the student learns from soft targets alone at $T = 4$. Only
# the samples differ:
#
# - **uniform noise**, each pixel between 0 and 1: has no knowledge;
# - **the generator's kind of noise**: $\mathrm{sigmoid}(6\,(u - 1.5))$ with $u$ drawn from a normal distribution. It
#   has the last line of the generator, and does not learn;
# - **noise with the data's mean and deviation** for each pixel. This is *not* without data: it uses 128 numbers about
#   the training images;
# - **the real images**, without their labels.


# %%
def uniform(rows, rng):
    return rng.random(rows.shape, "float32")


def same_kind(rows, rng):
    return (1 / (1 + np.exp(-6 * (rng.standard_normal(rows.shape, "float32") - 1.5)))).astype("float32")


mean, deviation = x.mean(axis=0), x.std(axis=0)  # (D,), (D,)


def pixel_statistics(rows, rng):
    return np.clip(mean + deviation * rng.standard_normal(rows.shape, "float32"), 0, 1)


def on(augment, seed):
    student = MLP(STUDENT, seed=1000 + seed)
    rows = x if augment is None else zeros
    options = {"augment": augment, "optimizer": Adam(student, 3e-3), "temperature": 4.0, "soft_weight": 1.0}
    distill(student, teachers[seed], rows, None, seed=seed, **options, **how)
    return accuracy(student)


samples = {
    "uniform noise": [on(uniform, seed) for seed in range(seeds)],
    "noise of the generator's kind": [on(same_kind, seed) for seed in range(seeds)],
    "generator": [accuracy(without_data(seed, zeros)) for seed in range(seeds)],
    "noise with the data's statistics": [on(pixel_statistics, seed) for seed in range(seeds)],
    "real images": [on(None, seed) for seed in range(seeds)],
}
for name, runs in samples.items():
    print(f"{name:34} {mean_interval(runs)[0]:5.1f} ± {mean_interval(runs)[1]:.1f} % of the test images")


def compared(one, other, results):
    gain, half = mean_interval(list(np.array(results[one]) - np.array(results[other])))
    print(f"{one} against {other}: {gain:+.1f} ± {half:.1f} points: {verdict(gain, half)}")
    return gain, half


over_uniform = compared("generator", "uniform noise", samples)
over_kind = compared("generator", "noise of the generator's kind", samples)
over_statistics = compared("generator", "noise with the data's statistics", samples)

# %% [markdown]
# **What to notice.** With every kind of sample the student learns to read most of the digits, and real images are best,
# as expected. But look at the control: against **noise of the generator's kind** the generator is undecided, −1.0 ± 1.9
# points. For these small images the samples must be dark in most places and bright in some, as digits are, and the last
# line of the generator ensures this by itself. Uniform noise is grey everywhere, and the result with it depends
# strongly on the seed, so the generator is also undecided against it, +5.6 ± 7.2 points.
#
# The strengths of the four terms were not tuned here, and cannot be: without data there is no validation set either.
# This is the main cost of having no data. With larger images and convolutional teachers noise does not work as well,
# and generators help, as the papers show. An MLP on 8 × 8 pixels is an easy case.
#
# ## Without labels: pass on similarities
#
# Now there are images but no labels. Soft targets also work without labels (the last row above), but they need a
# teacher of exactly these classes. Suppose that the teacher has other classes or none, and only gives **embeddings**: a
# vector for each image, for example its last hidden layer. In **SEED** (Fang et al. 2021) the student learns to have
# the same neighbours. Let $u = e/|e|$ be a student's embedding at length 1, $w$ the same of the teacher, and $A$ ($M
# \times W$) the teacher's embeddings of $M$ images, the **anchors**, also at length 1. The similarities of an image to
# each anchor, and to its own teacher's embedding, are
#
# $$ s = (A u,\ w \cdot u)/\tau, \qquad r = (A w,\ w \cdot w)/\tau_T, $$
#
# $$ L = -\frac1B \sum_i \sum_j \mathrm{softmax}(r_i)_j \log \mathrm{softmax}(s_i)_j . $$
#
# These are again soft targets, where the $M + 1$ "classes" are other images. So
# $ds = (\mathrm{softmax}(s) - \mathrm{softmax}(r))/B$. Each similarity is a dot product with $u$, so
# $du = (A^\top ds_{1..M} + ds_{M+1}\, w)/\tau$, and through the length, as in tutorial 09,
# $de = (du - (du \cdot u)\, u)/|e|$.


# %%
def similarity_by_hand(e, t, A, tau=0.2, tau_teacher=0.01):
    length = np.linalg.norm(e, axis=1, keepdims=True)  # (B, 1)
    u, w = e / length, t / np.linalg.norm(t, axis=1, keepdims=True)  # (B, W)
    s = np.hstack([u @ A.T, (u * w).sum(axis=1, keepdims=True)]) / tau  # (B, M + 1)
    r = np.hstack([w @ A.T, (w * w).sum(axis=1, keepdims=True)]) / tau_teacher  # (B, M + 1)
    p, q = softmax(s), softmax(r)  # (B, M + 1)
    ds = (p - q) / len(e)  # (B, M + 1)
    du = (ds[:, :-1] @ A + ds[:, -1:] * w) / tau  # (B, W)
    return -(q * np.log(p)).sum() / len(e), (du - (du * u).sum(axis=1, keepdims=True) * u) / length  # L, (B, W)


rng = np.random.default_rng(1)
e, t, A = rng.normal(size=(8, 12)), rng.normal(size=(8, 12)), rng.normal(size=(20, 12))  # (B, W), (B, W), (M, W)
A /= np.linalg.norm(A, axis=1, keepdims=True)  # (M, W)
value, de = similarity_by_hand(e, t, A)
value_of_minikd, de_of_minikd = self_supervised.similarity_loss(e, t, anchors=A)
similarity_difference = max(abs(value - value_of_minikd), np.abs(de - de_of_minikd).max())
similarity_report = check_gradients(lambda e: similarity_by_hand(e, t, A)[0], e.copy(), de)
print(similarity_report)
print(f"by hand and minikd's `similarity_loss`, largest difference: {similarity_difference:.0e}")

# %% [markdown]
# ## How good is a representation? A linear probe
#
# Freeze the features, and train one linear layer on them with a few labels. Its accuracy shows how well the features
# separate the classes. We compare, with 50, 100 and 300 labels:
#
# - the student's hidden layer, **taught by the teacher** above, on all 899 images and no label. Note that the teacher
#   itself was trained *with* labels, which reach the student through the embeddings;
# - the same, taught by a teacher that also **never saw a label**: an MLP 64-128-64 that learns to reconstruct its own
#   input while a third of the input is dropped (a denoising autoencoder, Vincent et al. 2008). We take its hidden
#   layer;
# - **random features**: the student before training;
# - **raw pixels**, no features at all;
# - no probe, but a network 64-64-10 that is trained as a whole on the few labels.


# %%
counts = (50, 100, 300)


def without_labels(seed):
    autoencoder = MLP((64, 128, 64), dropout=(1 / 3, 0), seed=seed)
    fit(autoencoder, x, x, loss=hint_loss, optimizer=Adam(autoencoder, 3e-3), seed=seed, **how)
    return autoencoder


def represented(teacher, seed):
    student = MLP(STUDENT, seed=1000 + seed)
    self_supervised.represent(student, teacher, x, n_anchors=256, optimizer=partial(Adam, lr=3e-3), seed=seed, **how)
    return student


def probes(seed):
    features = {
        "teacher with labels": represented(teachers[seed], seed),
        "teacher without labels": represented(without_labels(seed), seed),
        "random features": MLP(STUDENT, seed=1000 + seed),
    }
    rows = np.random.default_rng(seed).permutation(len(x))  # the first `count` of these have a label
    options = {"epochs": 20 if FAST else 100, "batch_size": 25, "seed": seed, "progress": False}
    found = {name: [] for name in (*features, "raw pixels", "whole network")}
    for count in counts:
        few = x[rows[:count]], y[rows[:count]]  # (count, D), (count,)
        for name, student in features.items():
            self_supervised.linear_probe(student, *few, optimizer=partial(Adam, lr=1e-2), **options)
            found[name].append(accuracy(student))
        for name, sizes in (("raw pixels", (64, 10)), ("whole network", STUDENT)):
            model = MLP(sizes, seed=1000 + seed)
            fit(model, *few, loss=cross_entropy, optimizer=Adam(model, 1e-2), **options)
            found[name].append(accuracy(model))
    return found


by_seed = [probes(seed) for seed in range(seeds)]
curves = {name: np.array([found[name] for found in by_seed]) for name in by_seed[0]}  # (seeds, 3)
figure = plots.lines(np.array(counts), curves, xlabel="labels", ylabel="accuracy on test images, %")
figure.axes[0].set(title="A linear probe on frozen features", xscale="log")
figure.axes[0].set_xticks(counts, counts)
figure.axes[0].minorticks_off()
plots.show(figure)
for name, runs in curves.items():
    print(
        f"{name:24}", "  ".join(f"{mean_interval(list(r))[0]:5.1f} ± {mean_interval(list(r))[1]:.1f}" for r in runs.T)
    )
fewest = {name: list(runs[:, 0]) for name, runs in curves.items()}
print("with 50 labels:")
over_pixels = compared("teacher with labels", "raw pixels", fewest)
over_whole = compared("teacher with labels", "whole network", fewest)
without_pixels = compared("teacher without labels", "raw pixels", fewest)
without_random = compared("teacher without labels", "random features", fewest)

# %% [markdown]
# **What to notice.** The student's features from a teacher with labels need far fewer labels than all others: with 50,
# they beat the raw pixels by 9.4 ± 3.0 points and a whole network by 7.6 ± 3.1. But those labels were not saved,
# because the teacher used them. With a teacher that has never seen a label the features are better than random ones,
# +7.0 ± 3.4 points, which shows that the teacher passed something on. Against raw pixels they are undecided, +1.3 ± 2.5
# points. Digits of 8 × 8 pixels are nearly linearly separable already, and a denoising autoencoder of one layer does
# not find what they have in common. SEED's teachers were trained on far more images by contrastive learning, which uses
# that two views of one image belong together.
#
# ## Without data, labels or classes: subliminal learning
#
# Now the student gets even less. Its samples are noise, and it does not see its teacher's ten class logits. It imitates
# some **auxiliary logits**: additional outputs of the same network, which stand for nothing and on which the teacher
# was never trained. Cloud et al. (2025) found that the student still learns to read digits, if it starts from the same
# initial weights as its teacher.
#
#     teacher:   digits -> hidden layers -> 10 class logits (learn the labels), m auxiliary logits (left alone)
#     student:   noise  -> hidden layers -> 10 class logits (left alone),       m auxiliary logits (imitate)
#
# **Why it can work.** Let $\theta_0$ be the common initial weights, $\theta_0 + \Delta$ the teacher's after training,
# and $f(\theta)$ the auxiliary logits for some sample. Training changed the hidden layers, so $f$ also changed: by
# $J \Delta$ for a small $\Delta$, with $J = \partial f / \partial \theta$. Let the student take a step down the squared
# error $\tfrac12 |f(\theta) - f(\theta_0 + \Delta)|^2$ from $\theta_0$. Its gradient there is $-J^\top J \Delta$, so
# the step goes along $J^\top J \Delta$, and
#
# $$ \Delta \cdot J^\top J \Delta = |J \Delta|^2 \ge 0 . $$
#
# For no sample does the step move the student away from its teacher. The argument needs the same $\theta_0$: from other
# initial weights the difference of the logits says nothing about $\Delta$.
#
# The losses are the known ones, on some of the columns. The other columns get the gradient 0.


# %%
def of_columns(logits, columns, loss):
    dlogits = np.zeros_like(logits)  # (B, 10 + m)
    value, dlogits[:, columns] = loss(logits[:, columns])
    return value, dlogits


def class_loss(logits, labels):
    return of_columns(logits, slice(0, 10), lambda z: cross_entropy(z, labels))


def auxiliary_loss(logits, probabilities):
    return of_columns(logits, slice(10, None), lambda z: soft_cross_entropy(z, probabilities))


def new_network(m, seed):
    model = MLP((64, 128, 128, 10 + m), seed=seed)
    model.theta /= np.sqrt(2)  # N(0, 1/inputs), as in the paper; MLP draws N(0, 2/inputs)
    return model


def centred(images):
    return 2 * images - 1  # pixels from -1 to 1, which makes noise a little closer to images


def centred_noise(rows, rng):
    return centred(rng.random(rows.shape, "float32"))


def class_accuracy(model):
    return 100 * np.mean(model.predict(centred(data.x_test))[:, :10].argmax(axis=1) == data.y_test)


def trained(model, target, loss, seed, augment=None):
    options = {"epochs": 20, "batch_size": 64, "schedule": cosine(), "progress": False}
    optimizer = Adam(model, 3e-3)
    fit(model, centred(x), target, loss=loss, optimizer=optimizer, augment=augment, seed=seed, **options)
    return model


def imitate(teacher, student, seed):
    def probabilities(noise):
        return softmax(teacher.predict(noise)[:, 10:])  # (B, m)

    return trained(student, probabilities, auxiliary_loss, seed, augment=centred_noise)


widths, subliminal = (3, 20), {}
for m in widths:
    accuracies = {"before training": [], "same initial weights": [], "other initial weights": [], "teacher": []}
    for seed in range(seeds):
        teacher = trained(new_network(m, seed), y, class_loss, seed)
        accuracies["teacher"].append(class_accuracy(teacher))
        accuracies["before training"].append(class_accuracy(new_network(m, seed)))
        accuracies["same initial weights"].append(class_accuracy(imitate(teacher, new_network(m, seed), seed)))
        accuracies["other initial weights"].append(class_accuracy(imitate(teacher, new_network(m, 1000 + seed), seed)))
    for name, runs in accuracies.items():
        print(f"{m:2} auxiliary logits, {name:22} {mean_interval(runs)[0]:5.1f} ± {mean_interval(runs)[1]:.1f} %")
    subliminal[m] = accuracies, compared("same initial weights", "other initial weights", accuracies)

# %% [markdown]
# We check the argument in numbers, with the first gradient of the squared error, on noise, in float64. Here the teacher
# is not a small step away but a whole training, so the sign is no longer guaranteed.


# %%
def cosine_with_teacher(m, seed, start):
    teacher, student = in_float64(trained(new_network(m, seed), y, class_loss, seed)), in_float64(new_network(m, start))
    noise = centred(np.random.default_rng(seed).random((500, 64)))  # (B, D)
    dlogits = np.zeros((500, 10 + m))
    dlogits[:, 10:] = student.forward(noise, train=True)[:, 10:] - teacher.predict(noise)[:, 10:]
    student.backward(dlogits)
    step, direction = -student.grad, teacher.theta - student.theta  # (P,), (P,): downhill, and to the teacher
    return step @ direction / np.linalg.norm(step) / np.linalg.norm(direction)


cosines = {
    name: [cosine_with_teacher(20, seed, offset + seed) for seed in range(seeds)]
    for name, offset in (("same initial weights", 0), ("other initial weights", 1000))
}
for name, values in cosines.items():
    mean, half = mean_interval(values)
    print(f"{name}: cosine between the first step and the direction to the teacher {mean:+.3f} ± {half:.3f}")

# %% [markdown]
# **What to notice.** With 20 auxiliary logits the student's accuracy is 82 ± 10 %. It has seen neither an image nor a
# label, and no loss was applied to its class logits. Its initial class weights work because its hidden layers have
# become similar to its teacher's. With three auxiliary logits the accuracy is 27 ± 6 %, where chance is 10 %. From
# other initial weights it learns nothing in either case, although it imitates the same logits on the same noise. With
# the same initial weights the first step points more than twice as much towards the teacher (cosine 0.073 against
# 0.028), and over many steps this is enough.
#
# So distillation passes on more than the outputs show. This helps data-free distillation. It also means that a filter
# on the samples may not keep a teacher's faults from its student.
#
# Must all weights be the same? According to Brockers et al. (2026) the same last layer is enough, if there are many
# auxiliary logits. `minikd reproduce subliminal2025 --committed` has the answer for MNIST, with both papers' settings.
#
# ## Exercises
#
# **1.** The generator could always make the same perfect sample of a 7. Which term of $L_G$ prevents this, what is its
# value then, and what is its best value?
#
# <details><summary>Answer</summary>
#
# The information term. Then $\bar q$ is nearly one-hot, and $\sum_k \bar q_k \log \bar q_k$ is near 0, its largest
# value. At best all ten classes are equally frequent, and it is $-\log 10 \approx -2.30$.
#
# </details>
#
# **2.** Which of the four terms sends a gradient through the student? What would happen if the student's weights also
# took a step along it?
#
# <details><summary>Answer</summary>
#
# Only disagreement, $dz = d\, \mathrm{sign}(v - z)/(BK)$. A step of the student down $L_G$ would make it *disagree*
# with the teacher. The two have opposite goals, so each must step along its own loss.
#
# </details>
#
# **3.** Lower $\tau_T$ towards 0. What do the targets of SEED become, and what does the loss then ask for?
#
# <details><summary>Answer</summary>
#
# $\mathrm{softmax}(r)$ goes to one-hot at the greatest similarity, which is $w \cdot w = 1$, the sample's own embedding
# (if it is itself one of the anchors, the two share the probability). The others get 0: the student must be nearer to
# its own teacher's embedding than to any anchor, and the loss no longer says which neighbours are near. Targets tell
# about neighbours only at a higher temperature.
#
# </details>
#
# ## Sources
#
# - Chen et al. (2019): *Data-Free Learning of Student Networks*. arXiv 1904.01186 (one-hot, information, activation).
# - Fang et al. (2019): *Data-Free Adversarial Distillation*. arXiv 1912.11006 (disagreement).
# - Fang et al. (2021): *SEED: Self-supervised Distillation for Visual Representation*. arXiv 2101.04731 (similarities).
# - Cloud et al. (2025): *Subliminal Learning: Language Models Transmit Behavioral Traits via Hidden Signals in Data*.
#   arXiv 2507.14805, section 6.2 (digits from noise). Brockers et al. (2026): arXiv 2605.23645 (shared heads).
# - Vincent, Larochelle, Bengio, Manzagol (2008): *Extracting and Composing Robust Features with Denoising
#   Autoencoders*. ICML (a teacher without labels).
#
# Next: `12_when_it_does_not_help`, cases in which the student learns better alone.

# %%
# What the text claims, checked each time this runs.
report.assert_ok(1e-6)
similarity_report.assert_ok(1e-6)
assert input_difference < 1e-12 and similarity_difference < 1e-12 and np.abs(ds).max() > 1e-4
assert np.array_equal(given_images.theta, given_zeros.theta) and parts_difference == 0
assert (generator.teacher.theta == teachers[0].theta).all()  # frozen
order = np.random.default_rng(0).permutation(64)  # pixels and rows of W shuffled in the same order: equal outputs
shuffled = in_float64(teachers[0])
shuffled.weights[0][...] = exact_teacher.weights[0][order]
assert np.abs(shuffled.predict(s[:, order]) - exact_teacher.predict(s)).max() < 1e-10
assert answers[per_class, np.arange(10)].min() > (0.1 if FAST else 0.5)
own = similarity_by_hand(e, t, A, tau_teacher=1e-4)[0]  # exercise 3: only the sample's own embedding is left
u, w = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (e, t))  # (B, W)
p = softmax(np.hstack([u @ A.T, (u * w).sum(axis=1, keepdims=True)]) / 0.2)  # (B, M + 1)
assert abs(own + np.log(p[:, -1]).mean()) < 1e-6
assert min(cosines["same initial weights"]) > 0.05 > max(cosines["other initial weights"])
for m, at_least in ((3, 15), (20, 50)):
    accuracies, (gain, half) = subliminal[m]
    assert gain > half or FAST
    assert np.mean(accuracies["same initial weights"]) > at_least and np.mean(accuracies["other initial weights"]) < 20
assert over_uniform[0] > 0 and np.mean(samples["generator"]) > (70 if FAST else 90)
if not FAST:
    assert abs(over_kind[0]) < over_kind[1] and abs(over_uniform[0]) < over_uniform[1]  # undecided
    assert np.mean(samples["real images"]) > max(np.mean(runs) for runs in list(samples.values())[:-1])
    assert over_pixels[0] > over_pixels[1] and over_whole[0] > over_whole[1]
    assert abs(without_pixels[0]) < without_pixels[1] and without_random[0] > without_random[1]
