# %% [markdown]
# # 14 · How is a language model distilled?
#
# **In short.** Like a classifier, one letter at a time. A small student that learns the teacher's probabilities along
# 1,000 words has an NLL of 2.08 nats a letter on held-out words, instead of 2.27 with labels; the teacher has 1.94. If
# it learns only from words that the teacher makes up, it has 2.10, and needs no data. With the reverse KL it has 2.12,
# but the teacher finds the student's own words more likely (2.05 nats instead of 2.14). Training on the student's own
# words helps, 2.05, and words of the teacher help as much: in words this short there is no exposure bias. With only 5
# of the 27 probabilities the NLL is 0.13 nats higher if the rest counts as one class, and 0.75 or more if it counts
# as 0.
#
# - **What you will learn:** soft targets, reverse KL, JSD, on-policy training and top-k answers for language models
# - **Prerequisites:** tutorials 01 to 04
# - **Hours:** 3
#
# A large language model is a classifier that is asked again and again: which symbol comes next? So everything that
# tutorials 01 to 04 derived holds for it. Four things are new. A language model generates text: its own answers become
# its next inputs. So we must choose whose texts the student is trained on, in which direction the divergence is taken,
# and what to do if only a few of the teacher's probabilities are known. This tutorial writes each choice out by hand,
# with a language model so small that it trains in a second: it predicts the next letter of an English word.

# %%
import os
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from minikd import MLP, Adam, cross_entropy, fit, load_data, log_softmax, softmax
from minikd.data import few
from minikd.data.words import ALPHABET, OneHot, decode, encode, one_hot_rows, split_words
from minikd.experiments.intervals import mean_interval, verdict
from minikd.methods import estimators, jsd, kd, on_policy, reverse_kl, sequence_level, top_k
from minikd.methods.language import Drawn, nll_per_letter, sample
from minikd.optim import cosine
from minikd.report import plots
from minikd.training import no_labels

FAST = bool(os.environ.get("MINIKD_FAST"))  # set by the tests: less training, the same claims
SEEDS, SHOWN, DRAWN = (2, 300, 300) if FAST else (5, 1000, 3000)
B, LR, EPOCHS, LABEL_EPOCHS = 128, 1e-2, 6 if FAST else 20, 5

data = load_data("words")
D, K = 162, len(ALPHABET)  # six symbols of 27 columns each; 27 symbols to choose from
parts = split_words()
held_out = parts["test"][:: 20 if FAST else 3]  # every third test word is enough for the scores
english = set().union(*parts.values())

codes, following, _ = encode(["adventure"])  # (N, C), (N,)
shown_pairs = [f"{c} -> {ALPHABET[k]}" for c, k in zip(decode(codes), following, strict=True)]
print("   ".join(shown_pairs[:5]), "\n" + "   ".join(shown_pairs[5:]))
print(f"{len(english):,} words: {len(parts['train']):,} for training, {len(held_out):,} for the scores")

# %% [markdown]
# ## A language model is a classifier
#
# A **context** is the last six symbols. A symbol is a letter or the end mark `_`, which ends a word and fills the
# context before its first letter. The label is the next symbol, one of 27 classes. With one-hot columns for the
# context, the network is the MLP of tutorial 01.
#
# The model gives a whole word a probability by the chain rule. With $x_t$ the symbols of the word and $c_t$ the context
# of each,
#
# $$ \log p(\text{word}) = \sum_t \log p(x_t \mid c_t) . $$
#
# With a minus and divided by the number of symbols, this is the **NLL per letter**, in nats: the cross-entropy of
# tutorial 01. Equal probabilities for all symbols give $\log 27 \approx 3.30$.
#
# The teacher has two hidden layers of 256 units and learns from 24,000 words. The student has one layer of 64 units, a
# ninth of the parameters, and is shown 1,000 words. No test word derives from a word of the other parts: "walked" is
# never in the test part if "walk" is in the training part. Learning rate and epochs were chosen on validation words.


# %%
def train_teacher():
    words = parts["train"][:: 4 if FAST else 1]
    codes, symbols, word = encode(words)  # (N, C), (N,), (N,)
    teacher = MLP((D, 64, K) if FAST else (D, 256, 256, K), dropout=0 if FAST else (0, 0.2, 0.2), seed=0)
    options = {"epochs": 2 if FAST else 4, "batch_size": B, "schedule": cosine(), "progress": False}
    fit(teacher, OneHot(codes, word), symbols, loss=cross_entropy, optimizer=Adam(teacher, lr=3e-3), **options)
    return teacher


def shown(seed):
    rows = few(data.y_train, SHOWN, words=data.x_train.word, seed=seed)  # (N,): all letters of some words
    return data.x_train.take(rows), data.y_train[rows]  # (N, D), (N,)


def new_student(seed):
    return MLP((D, 64, K), seed=1000 + seed)


teacher = train_teacher()
x, y = shown(0)
N = len(y)
print(f"teacher: {teacher.num_params:,} parameters, student: {new_student(0).num_params:,}")
print(f"{SHOWN:,} words give the student {N:,} contexts")

# %% [markdown]
# Here is the loop that trains every student of this tutorial. Only `gradient` differs between them: it takes the logits
# and returns $dz$, one row for each context. `epoch_codes` will let a student change its contexts later on. First the
# gradient of tutorial 01, with the symbols of the data as labels: $dz = (p - y)/B$.


# %%
def train_by_hand(student, codes, gradient, epochs, seed=0, epoch_codes=None):
    optimizer = Adam(student, lr=LR)
    for epoch in range(epochs):
        seen = codes if epoch_codes is None else epoch_codes(student, epoch)  # (N, C)
        order = np.random.default_rng((seed, epoch)).permutation(N)  # (N,)
        batches = np.split(order, range(B, N, B))  # (B,) each; the last one may be smaller
        for step, batch in enumerate(batches):
            optimizer.lr = LR * (1 + np.cos(np.pi * (epoch + step / len(batches)) / epochs)) / 2
            rows = one_hot_rows(seen[batch])  # (B, D)
            z = student.forward(rows, train=True)  # (B, K)
            student.backward(gradient(z, rows, batch).astype(z.dtype))
            optimizer.step()
    return student


def label_gradient(z, rows, batch):
    return (softmax(z) - np.eye(K)[y[batch]]) / len(batch)  # (B, K)


options = {"batch_size": B, "schedule": cosine(), "progress": False}
by_hand = train_by_hand(new_student(0), x.codes, label_gradient, 2)
by_fit = new_student(0)
fit(by_fit, x, y, loss=cross_entropy, optimizer=Adam(by_fit, lr=LR), epochs=2, **options)
gaps = {"labels": np.abs(by_hand.theta - by_fit.theta).max()}
print(f"our loop and fit, two epochs: largest difference of a weight {gaps['labels']:.0e}")

# %% [markdown]
# ## Sampling: how a language model generates words
#
# Draw a symbol from $p(\cdot \mid c)$, append it to the context, and repeat until the end mark is drawn. To draw from
# $p$, compute the cumulative sums of the probabilities and find the two between which a uniform number $u$ falls. We
# draw all words at once, one letter of each at a time. No word may be empty, so the first draw excludes the end mark.


# %%
def draw_words(model, n, rng):
    codes = np.zeros((n, 6), np.uint8)  # (n, C): six end marks, of the words that have not ended
    words, going = [""] * n, np.arange(n)
    for place in range(24):
        p = softmax(model.predict(one_hot_rows(codes)).astype(np.float64))  # (n, K)
        p[:, 0] *= place > 0
        below = p.cumsum(axis=1)  # (n, K)
        u = rng.random((len(p), 1)) * below[:, -1:]  # (n, 1)
        symbol = (below < u).sum(axis=1)  # (n,)
        for i, k in zip(going, symbol, strict=True):
            words[i] += ALPHABET[k] if k else ""
        codes = np.hstack([codes[:, 1:], symbol[:, None].astype(np.uint8)])[symbol > 0]  # (n, C)
        going = going[symbol > 0]
        if not len(going):
            break
    return words


ours, theirs = draw_words(teacher, 200, np.random.default_rng(7)), sample(teacher, 200, seed=7)
print("words made up by the teacher:", ", ".join(ours[:9]))
print("identical to 200 words of minikd's `sample`:", ours == theirs)

# %% [markdown]
# ## Two scores
#
# A student can fail in two ways, so we use two scores. Lower is better for both.
#
# - **Held-out words:** the student's NLL of real words. It is large if the student gives low probability to what people
#   write.
# - **Its own words:** the teacher's NLL of words that the student makes up. It is large if the student writes what the
#   teacher finds unlikely. A student that repeats one good word does well here, so it must be read together with the
#   first score.
#
# We also count how many of the made-up words exist. Each method below is one line: five students, which differ in the
# draw of 1,000 words and in their initial weights. Differences are paired by seed, as in tutorial 04. The teacher is
# the same for all, so the intervals do not cover the choice of the teacher.


# %%
scores, students = {}, {}


def measure(name, train):
    students[name], rows = [], []
    for seed in range(SEEDS):
        student = new_student(seed)
        train(student, *shown(seed), seed)
        made_up = sample(student, DRAWN, seed=seed)
        exist = 100 * np.mean([word in english for word in made_up])
        rows.append((nll_per_letter(student, held_out), nll_per_letter(teacher, made_up), exist))
        students[name].append(student)
    scores[name] = np.array(rows)  # (S, 3): held-out words, its own words, % that exist
    (first, half), (second, half_2), (third, half_3) = (mean_interval(list(column)) for column in scores[name].T)
    print(f"{name:30}{first:8.3f} ± {half:.3f}{second:8.3f} ± {half_2:.3f}{third:8.1f} ± {half_3:.1f} %")


def compared(name, other, score):
    column = ("held-out words", "own words").index(score)
    gain, half = mean_interval(list(scores[other][:, column] - scores[name][:, column]))
    print(f"{score}: {name} against {other}: {gain:+.3f} ± {half:.3f} nats lower, {verdict(gain, half)}")
    return gain, half


def with_labels(student, x, y, seed, epochs=LABEL_EPOCHS):
    fit(student, x, y, loss=cross_entropy, optimizer=Adam(student, lr=LR), epochs=epochs, seed=seed, **options)


teachers_words = sample(teacher, DRAWN, seed=99)
teacher_scores = nll_per_letter(teacher, held_out), nll_per_letter(teacher, teachers_words)
teacher_exist = 100 * np.mean([word in english for word in teachers_words])
print(f"{'nats per letter':30}{'held-out words':>16}{'its own words':>16}{'exist':>16}")
print(f"{'teacher':30}{teacher_scores[0]:8.3f}{teacher_scores[1]:16.3f}{teacher_exist:16.1f} %")
measure("labels", with_labels)
measure("labels, as many epochs", partial(with_labels, epochs=EPOCHS))

# %% [markdown]
# Labels alone overfit soon. The row "labels" stops after five epochs, which was best on validation words. The other row
# has twenty epochs, as many as all methods below.
#
# ## Word level: the teacher's probabilities as soft targets
#
# The first way is that of tutorial 04. In each context of the data the student learns all 27 probabilities of the
# teacher, and not only the one letter that follows in the data. Papers about language models call this **word-level**
# or token-level distillation, and the divergence the **forward KL**, with the teacher $q$ in front:
#
# $$ KL(q \Vert p) = \sum_k q_k (\log q_k - \log p_k), \qquad dz = \frac{p - q}{B} . $$
#
# $T = 1$, because we sample at $T = 1$ and want these very probabilities. The soft weight is 1: no labels are read.


# %%
def forward_by_hand(z, v):
    p, q = softmax(z), softmax(v)  # (B, K) each
    return (q * np.log(q / p)).sum(axis=1).mean(), (p - q) / len(z)  # KL, dz (B, K)


z = students["labels"][0].predict(x[:200]).astype(np.float64)  # (B, K): some logits to check formulas with
v = teacher.predict(x[:200]).astype(np.float64)  # (B, K)


def same(ours, theirs):
    """Whether two functions that return a loss and dlogits agree."""
    return all(np.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(ours, theirs, strict=True))


soft = {"temperature": 1.0, "soft_weight": 1.0}
assert same(forward_by_hand(z, v), kd.kl_loss(z, None, v, **soft))


def run(method, **more):
    """A function that trains a student with one of minikd's methods."""

    def train(student, x, y, seed):
        how = {"optimizer": partial(Adam, lr=LR), "epochs": EPOCHS, "seed": seed} | options | more
        method.train(student, teacher, x, y, **how)

    return train


measure("forward KL", run(kd, **soft))
forward_gain = compared("forward KL", "labels", "held-out words")

# %% [markdown]
# **What to notice.** A held-out letter costs 2.079 nats instead of 2.272: 0.194 ± 0.009 less, with the same 1,000
# words. The teacher's own score is 1.941, so more than half of the distance to it is gone. Network and words are the
# same. Only the targets differ, and the training on labels stops earlier, which is best for it. A label says that "n"
# followed "adve". The teacher also says how likely the other 26 symbols are there.
#
# ## Sequence level: the teacher's own words as labels
#
# What if the teacher does not show probabilities, but only its text? Then let it write, and train the student on that
# text with plain cross-entropy, as if people had written it (Kim and Rush 2016). The label $\tilde y$ is drawn from
# $q$, so its mean is $q$. The gradient is linear in the label, so its mean is that of soft targets:
#
# $$ E\,[\,p - \tilde y\,] = p - q . $$
#
# The draw only adds noise. To check this, we draw 20,000 labels for each of 200 contexts and average. Then we train on
# words that the teacher makes up, new ones in each epoch, as many as the other students see of the data.

# %%
rng = np.random.default_rng(1)
q, mean_dz = softmax(v), np.zeros_like(v)  # (B, K) each
rounds = 1000 if FAST else 20_000
for _ in range(rounds):
    u = rng.random(len(v))  # (B,)
    label = (q.cumsum(axis=1) < u[:, None]).sum(axis=1).clip(max=K - 1)  # (B,)
    mean_dz += (softmax(z) - np.eye(K)[label]) / len(z) / rounds  # (B, K)
largest = np.abs(mean_dz - forward_by_hand(z, v)[1]).max() * len(z)
same_labels = np.array_equal(label, sequence_level.drawn_labels(v, u))
assert same((cross_entropy(z, label)), sequence_level.drawn_loss(z, v, u))
print(f"mean gradient and (p - q), largest difference: {largest:.4f}; labels identical to minikd's: {same_labels}")
measure("sequence level", run(sequence_level))
sequence_labels = compared("sequence level", "labels", "held-out words")
sequence_gain = compared("sequence level", "forward KL", "held-out words")
sequence_own = compared("sequence level", "forward KL", "own words")

# %% [markdown]
# **What to notice.** The student reads neither a word of the data nor a probability, and its NLL of held-out words is
# still 0.169 ± 0.012 lower than with labels. It is 0.024 ± 0.007 higher than with soft targets, and the teacher's NLL
# of its words is 0.127 ± 0.019 higher. It sees one drawn letter in each context, instead of 27 probabilities.
#
# ### Which contexts does the divergence use?
#
# By the chain rule, the divergence of whole words is a sum over their symbols,
#
# $$ KL(q_{\text{word}} \Vert p_{\text{word}}) = E_{\text{word} \sim q} \sum_t KL\big(q(\cdot \mid c_t) \Vert
# p(\cdot \mid c_t)\big), $$
#
# and the contexts $c_t$ are those of words **that the teacher makes up**. So the sequence level is the forward KL of
# words. Word-level distillation replaces the teacher's contexts by those of the data. In the other direction,
# $KL(p \Vert q)$ of words sums over words **that the student makes up**. We come back to this. First we check the
# formula: the mean of $\log q(\text{word}) - \log p(\text{word})$ over the teacher's words must be the mean of the sum
# of divergences.


# %%
def divergence_of_contexts(student, codes, reverse=False):
    """KL(q || p) after each context, or KL(p || q).  codes (N, C) -> (N,)"""
    rows = one_hot_rows(codes)  # (N, D)
    logp, logq = (log_softmax(model.predict(rows).astype(np.float64)) for model in (student, teacher))  # (N, K) each
    if reverse:
        logp, logq = logq, logp
    return (np.exp(logq) * (logq - logp)).sum(axis=1)  # (N,)


def of_words(values, word):
    return np.bincount(word, values)  # (words,): the sum over the symbols of each word


codes, symbols, word = encode(teachers_words)  # (N, C), (N,), (N,)
student, i = students["forward KL"][0], np.arange(len(symbols))
log_ratio = [log_softmax(m.predict(one_hot_rows(codes)).astype(np.float64))[i, symbols] for m in (teacher, student)]
left = of_words(log_ratio[0] - log_ratio[1], word)  # (words,): log q(word) - log p(word)
right = of_words(divergence_of_contexts(student, codes), word)  # (words,): the sum of divergences
error = np.std(left - right) / np.sqrt(len(left))
print(f"mean of log q(word) - log p(word): {left.mean():.3f} nats; mean of the sums of divergences: {right.mean():.3f}")
print(f"difference {left.mean() - right.mean():+.3f}, standard error {error:.3f}")

# %% [markdown]
# ## Reverse KL: two bumps
#
# $KL(q \Vert p)$ is large where the teacher puts probability and the student does not. So the student must cover
# everything that the teacher finds possible. $KL(p \Vert q)$ is large where the *student* puts probability and the
# teacher does not. So the student may omit what it cannot imitate. The difference shows only if the student is too
# small to copy the teacher. The smallest example is a teacher with two bumps, and a student that is one Gaussian: its
# logits are $z_k = -(x_k - \mu)^2 / 2\sigma^2$ at points $x_k$, and it has two parameters.
#
# The gradients at the logits are $dz = p - q$ for the forward KL, and for the reverse one, with $g_k = \log(p_k/q_k)$
# and $dp_k/dz_j = p_k([k = j] - p_j)$,
#
# $$ \frac{d\,KL(p \Vert q)}{dz_j} = \sum_k \frac{dp_k}{dz_j} (g_k + 1) = p_j \big(g_j - KL(p \Vert q)\big) . $$
#
# The 1, which comes from the $p$ inside the logarithm, drops out because the $p_k$ sum to 1. The parameters get the
# gradients $d\mu = \sum_k dz_k (x_k - \mu)/\sigma^2$ and $d\log\sigma = \sum_k dz_k (x_k - \mu)^2/\sigma^2$.


# %%
def forward_slope(p, q):
    return p - q  # (K,)


def reverse_slope(p, q):
    g = np.log(p / q)  # (K,)
    return p * (g - (p * g).sum())  # (K,)


def fit_bump(q, slope, mu, sigma=1.0):
    for _ in range(2000):
        z = -((grid - mu) ** 2) / (2 * sigma**2)  # (G,)
        p = softmax(z[None])[0]  # (G,)
        dz = slope(p, q)  # (G,)
        mu -= 0.05 * (dz * (grid - mu)).sum() / sigma**2
        sigma *= np.exp(-0.05 * (dz * (grid - mu) ** 2).sum() / sigma**2)
    return p, mu, sigma


grid = np.linspace(-12, 12, 481)  # (G,)
low, high = (np.exp(-((grid - at) ** 2) / (2 * width**2)) / width for at, width in ((-2.5, 0.7), (2.5, 0.8)))
bumps = 0.6 * low + 0.4 * high  # (G,)
two_bumps = bumps / bumps.sum()  # (G,)
bump_fits = {
    (name, start): fit_bump(two_bumps, slope, start)
    for name, slope in (("forward", forward_slope), ("reverse", reverse_slope))
    for start in (-2.0, 2.0)
}
middle = (two_bumps * grid).sum()
width = np.sqrt((two_bumps * (grid - middle) ** 2).sum())
print(f"teacher: mean {middle:+.3f}, standard deviation {width:.3f}")
for (name, start), (p, mu, sigma) in bump_fits.items():
    valley = 100 * p[np.abs(grid) < 1].sum()
    print(f"{name} KL from {start:+.0f}: mean {mu:+.3f}, standard deviation {sigma:.3f}, {valley:4.1f} % in the valley")
print(f"teacher: {100 * two_bumps[np.abs(grid) < 1].sum():.1f} % in the valley, between -1 and 1")

# %% tags=["cover"]
figure = Figure(figsize=(8.4, 3.1), layout="constrained")
for axes, name in zip(figure.subplots(1, 2, sharey=True), ("forward", "reverse"), strict=True):
    axes.fill_between(grid, two_bumps, color="0.82", label="teacher q")
    for start, colour, line in ((-2.0, "#0072B2", "-"), (2.0, "#D55E00", "--")):
        p, mu, sigma = bump_fits[name, start]
        axes.plot(grid, p, color=colour, ls=line, lw=2, label=f"student p, from {start:+.0f}")
    axes.set(xlabel="x", yticks=[], xlim=(-8, 8))
    axes.spines[["top", "right", "left"]].set_visible(False)
titles = ("Forward KL(q || p) covers both bumps", "Reverse KL(p || q) seeks one of them")
for axes, title in zip(figure.axes, titles, strict=True):
    axes.set_title(title, fontsize=11)
figure.axes[0].set_ylabel("probability")
figure.axes[0].legend(fontsize=9, frameon=False, loc="upper right")
plots.show(figure)

# %% [markdown]
# **What to notice.** The forward KL ends at the same place from both starts, with the mean and the standard deviation
# of the teacher. This is exact: $d\mu = 0$ says $\sum (p - q)\,x = 0$, and $d\log\sigma = 0$ says the same of $(x -
# \mu)^2$. It puts 29 % into the valley between -1 and 1, where the teacher has 2 %. This is called **mode covering**.
# The reverse KL takes one bump and leaves the other out. Which one depends on the start. This is called **mode
# seeking**.
#
# For a language model, the valley is text that nobody would write. Now the same with words:


# %%
def reverse_by_hand(z, v):
    p, q = softmax(z), softmax(v)  # (B, K) each
    g = np.log(p / q)  # (B, K)
    KL = (p * g).sum(axis=1)  # (B,)
    return KL.mean(), p * (g - KL[:, None]) / len(z)  # KL, dz (B, K)


assert same(reverse_by_hand(z, v), reverse_kl.reverse_kl_loss(z, None, v, **soft))
measure("reverse KL", run(reverse_kl, **soft))
reverse_held = compared("reverse KL", "forward KL", "held-out words")
reverse_own = compared("reverse KL", "forward KL", "own words")

# %% [markdown]
# **What to notice.** The NLL of held-out words is 0.041 ± 0.004 nats per letter higher than with the forward KL, but
# the teacher's NLL of the student's own words is 0.094 ± 0.006 nats lower. Which one is better depends on the use of
# the student: to score texts of others, or to write.
#
# ## Between the two: the generalised Jensen-Shannon divergence
#
# Compare both with a mixture $m = \beta q + (1 - \beta) p$ instead of with each other (Agarwal et al. 2023):
#
# $$ JSD_\beta = \beta\, KL(q \Vert m) + (1 - \beta)\, KL(p \Vert m) . $$
#
# $m$ is never small where $p$ or $q$ is large, so no logarithm explodes, and $JSD_\beta$ is bounded. For the gradient,
# $p$ appears in the second term and in $m$, where $dm_k/dp_k = 1 - \beta$. With $d/dp_k\, [-\beta q_k \log m_k] =
# -\beta (1 - \beta) q_k/m_k$ and $d/dp_k\, [(1 - \beta) p_k \log(p_k/m_k)] = (1 - \beta) [\log(p_k/m_k) + 1 - (1 -
# \beta) p_k/m_k]$, the fractions add up to $-(1 - \beta)\, m_k/m_k$, which cancels the 1. The rest goes through the
# softmax as before, with $m$ for $q$:
#
# $$ \frac{dJSD_\beta}{dz_j} = (1 - \beta)\, p_j \big(\log(p_j/m_j) - KL(p \Vert m)\big) . $$


# %%
def jsd_by_hand(z, v, beta):
    p, q = softmax(z), softmax(v)  # (B, K) each
    m = beta * q + (1 - beta) * p  # (B, K)
    KL_qm = (q * np.log(q / m)).sum(axis=1)  # (B,)
    KL_pm = (p * np.log(p / m)).sum(axis=1)  # (B,)
    dz = (1 - beta) * p * (np.log(p / m) - KL_pm[:, None])  # (B, K)
    return (beta * KL_qm + (1 - beta) * KL_pm).mean(), dz / len(z)


assert all(same(jsd_by_hand(z, v, beta), jsd.jsd_loss(z, None, v, beta=beta, **soft)) for beta in (0.01, 0.3, 0.5, 0.9))
forward, reverse = forward_by_hand(z, v)[0], reverse_by_hand(z, v)[0]
print(f"KL(q || p) = {forward:.4f}, KL(p || q) = {reverse:.4f}")
print(f"{'β':>8}{'JSD':>10}{'JSD / β':>10}{'JSD / (1 - β)':>16}{'|dz|':>10}")
ends = {}
for beta in (0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999):
    value, dz = jsd_by_hand(z, v, beta)
    ends[beta] = value, np.linalg.norm(dz)
    print(f"{beta:>8}{value:10.5f}{value / beta:10.4f}{value / (1 - beta):16.4f}{ends[beta][1]:10.5f}")

# %% [markdown]
# **The ends.** As $\beta \to 0$ the mixture becomes $p$, and as $\beta \to 1$ it becomes $q$. At both ends $JSD_\beta$
# goes to **0**, and its gradient with it. Only after division by $\beta$ is there a limit, the forward KL, and after
# division by $1 - \beta$ the reverse KL; the table shows both. Several libraries return the two KLs themselves at
# exactly $\beta = 0$ and $\beta = 1$. Then their loss jumps:


# %%
def with_special_ends(z, v, beta):
    return {0: forward_by_hand, 1: reverse_by_hand}[beta](z, v)[0] if beta in (0, 1) else jsd_by_hand(z, v, beta)[0]


jumps = {beta: with_special_ends(z, v, beta) for beta in (0, 0.001, 0.01, 0.99, 1)}
print("a loss with special ends:", ",  ".join(f"β = {beta}: {value:.4f}" for beta, value in jumps.items()))
measure("JSD, β = 0.5", run(jsd, beta=0.5, **soft))
jsd_held = compared("JSD, β = 0.5", "forward KL", "held-out words")
jsd_own = compared("JSD, β = 0.5", "forward KL", "own words")

# %% [markdown]
# **What to notice.** At $\beta = 0.01$ the special loss is 0.0037, and at $\beta = 0$ it is 0.3786: a hundred times as
# much. If you tune $\beta$ over a grid from 0 to 1 at one learning rate, you compare losses of very different size. In
# minikd $\beta$ must lie between the ends, and the ends are separate methods. At $\beta = 0.5$ the student lies between
# the two: its NLL of held-out words is 0.010 ± 0.004 higher than with the forward KL, and the teacher's NLL of its own
# words 0.057 ± 0.008 lower.
#
# ## On-policy: the student's own contexts
#
# A language model that generates text reads its own symbols. In training it reads those of people or of a teacher.
# After its own mistake it is in a context that training never showed, and the next mistake is more likely. This drift
# is called **exposure bias**. The remedy is to let the student write during training, and to ask the teacher what
# should come next in those contexts. No data set has labels for them, so only a teacher can answer.
#
# At the beginning of each epoch the current student makes up words, and half of the contexts are replaced by those of
# its words. The gradient is $p - q$ as before. The contexts also depend on the student's weights, because it wrote
# them, but we treat them as data, as GKD does. Differentiating through the draw needs a policy gradient, which is
# noisy.


# %%
def half_its_own(student, epoch, seed=0):  # contexts for an epoch, (N, C)
    rng = np.random.default_rng((seed, epoch, 4))
    rows, words = rng.permutation(N)[: round(N / 2)], []  # (N / 2,)
    while (missing := len(rows) - sum(len(word) + 1 for word in words)) > 0:
        words += draw_words(student, 1 + missing // 8, rng)
    codes = x.codes.copy()  # (N, C)
    codes[rows] = encode(words)[0][: len(rows)]
    return codes


def teacher_gradient(z, rows, batch):
    return (softmax(z) - softmax(teacher.predict(rows))) / len(batch)  # (B, K)


by_hand = train_by_hand(new_student(0), x.codes, teacher_gradient, 2, epoch_codes=half_its_own)
by_minikd = new_student(0)
on_policy.train(by_minikd, teacher, x, share=0.5, optimizer=partial(Adam, lr=LR), epochs=2, **options)
gaps["on-policy"] = np.abs(by_hand.theta - by_minikd.theta).max()
print(f"our loop and on_policy.train, two epochs: largest difference of a weight {gaps['on-policy']:.0e}")


def half_the_teachers(student, x, y, seed):
    contexts = Drawn(x, 0.5, teacher)  # as in on_policy, but the teacher makes up the words
    how = {"loss": partial(kd.kl_loss, **soft), "optimizer": Adam(student, lr=LR), "epochs": EPOCHS} | options
    fit(student, contexts, (no_labels, teacher.predict), seed=seed, **how)


measure("forward KL, half on-policy", run(on_policy))
measure("reverse KL, half on-policy", run(on_policy, divergence="reverse"))
measure("forward KL, half from teacher", half_the_teachers)
pairs = [(f"{way} KL, half on-policy", f"{way} KL") for way in ("forward", "reverse")]
pairs += [("forward KL, half on-policy", "forward KL, half from teacher")]
policy = {(*pair, score): compared(*pair, score) for pair in pairs for score in ("held-out words", "own words")}

# %% [markdown]
# **What to notice.** With half of its own contexts the NLL of held-out words falls by 0.029 ± 0.002 nats (forward), and
# by 0.017 ± 0.008 (reverse). Whether its own words become better is undecided in both directions. In the control the
# *teacher* makes up this half of the contexts, and everything else is the same. It helps as much, to within 0.004 nats.
# So new contexts help here. Whether the student's own contexts help more than the teacher's is undecided.
#
# ### Is there any exposure bias?
#
# We measure it. How far is the student from the teacher along the prefixes of held-out words, and along the prefixes of
# its own words? With exposure bias, the divergence along its own words would be larger, and would grow with the place
# in the word.


# %%
PLACES = 9


def by_place(student, words):
    codes, _, word = encode(words)  # (N, C), (N,)
    place = np.arange(len(word)) - np.searchsorted(word, word)  # (N,): 0 for the first letter of each word
    values = divergence_of_contexts(student, codes)  # (N,)
    return [values[place == i].mean() for i in range(PLACES)] + [values.mean()]


drift = {}
for name in ("forward KL", "forward KL, half on-policy"):
    own = [by_place(s, sample(s, DRAWN, seed=50 + i)) for i, s in enumerate(students[name])]
    drift[name] = np.array([by_place(s, held_out) for s in students[name]]), np.array(own)  # (S, PLACES + 1) each
    for where, values in zip(("held-out", "its own"), drift[name], strict=True):
        mean, half = mean_interval(list(values[:, -1]))
        print(f"{name:27}KL along {where:8} words: {mean:.3f} ± {half:.3f} nats")
bias = {name: mean_interval(list((own - real)[:, -1])) for name, (real, own) in drift.items()}
reduction = mean_interval(list((drift["forward KL"][1] - drift["forward KL, half on-policy"][1])[:, -1]))
for name, (more, half) in bias.items():
    print(f"{name}: along its own words {more:+.3f} ± {half:.3f} nats more than along held-out words")
print(f"half on-policy against forward KL: along its own words {reduction[0]:+.3f} ± {reduction[1]:.3f} nats lower")

curves = {
    f"{short}: {where}": values[:, :-1]
    for short, name in (("contexts of the data", "forward KL"), ("half on-policy", "forward KL, half on-policy"))
    for where, values in zip(("held-out words", "its own words"), drift[name], strict=True)
}
figure = plots.lines(np.arange(1, PLACES + 1), curves, xlabel="place in the word", ylabel="KL(q || p), nats")
figure.set_size_inches(5.4, 3.3)
figure.legends[0].remove()  # replaced by a legend within the axes
figure.axes[0].legend(loc="lower right", fontsize=8)
figure.axes[0].set_title("Divergence from the teacher by place in the word", fontsize=11)
plots.show(figure)

# %% [markdown]
# **What to notice.** There is no sign of it. The student that has never seen its own words in training is closer to the
# teacher along them, 0.134 nats instead of 0.140 along held-out words. Along both kinds of words the divergence grows
# up to the sixth or seventh letter and then falls. A likely reason is that a longer prefix is rarer among the 1,000
# words. Training on its own contexts reduces the divergence by 0.027 ± 0.002 nats along its own words, and by 0.025
# along held-out words.
#
# So words of eight letters show no exposure bias. In a text of a thousand symbols an early mistake has more effect:
# MiniLLM finds that the bias grows with the length of the text. First measure it in your own setting, with the two
# numbers above. And add the control: new contexts from the teacher are easier to get than the student's own.
#
# ## All methods in one picture

# %%
figure = Figure(figsize=(7.4, 3.4), layout="constrained")
axes = figure.subplots()
markers = ("o", "s", "^", "v", "D", "p", "^", "D", "<")
palette = ("#0072B2", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#E69F00", "#004D38", "#7A3500", "#999999")
for (name, values), marker, colour in zip(scores.items(), markers, palette, strict=True):
    (first, half), (second, half_2) = (mean_interval(list(values[:, i])) for i in (0, 1))
    axes.errorbar(first, second, xerr=half, yerr=half_2, fmt=marker, color=colour, ms=7, label=name)
axes.plot(*teacher_scores, "k+", ms=14, mew=2, label="teacher")
axes.set(xlabel="NLL of held-out words, nats per letter", ylabel="teacher's NLL of its own words")
axes.set_title("Both scores of all methods; bars: 95 % intervals", fontsize=11)
axes.grid(alpha=0.3)
figure.legend(fontsize=9, frameon=False, loc="outside right center")
plots.show(figure)

# %% [markdown]
# **What to notice.** The teacher is at the lower left, where both scores are small. Compared with the forward KL, JSD
# and the reverse KL are closer to it vertically, and new contexts horizontally. Both students on labels are far off in
# one of the scores: the one that stops early writes badly, and the one that trains long scores held-out words badly.
#
# ## Estimating a divergence from samples: k1, k2, k3
#
# For a large model, a sum over all answers is rarely possible. We draw $x \sim p$ and have two numbers, $p(x)$ and
# $q(x)$. With $r = q(x)/p(x)$ and $l = \log r$, three estimators of $KL(p \Vert q) = -E\,l$ are in use (Schulman 2020):
#
# $$ k_1 = -l, \qquad k_2 = l^2/2, \qquad k_3 = r - 1 - l . $$
#
# $k_1$ is unbiased, but negative for many samples. $k_3$ is unbiased because $E\,r = \sum_k p_k\, q_k/p_k = 1$, and
# never negative because $l \le r - 1$. $k_2$ is never negative either, but biased. Here is one context:

# %%
context = encode(["through"])[0][3:4]  # (1, C): the context "thr"
student = students["forward KL"][0]
one = [model.predict(one_hot_rows(context)).astype(np.float64) for model in (student, teacher)]  # (1, K) each
logp, logq = (log_softmax(logits)[0] for logits in one)  # (K,) each
p, l = np.exp(logp), logq - logp  # (K,) each
values_of = {"k1": -l, "k2": l**2 / 2, "k3": np.exp(l) - 1 - l}  # (K,) each
draws = np.random.default_rng(3).choice(K, 200_000, p=p / p.sum())  # (M,)
exact_KL = (p * -l).sum()
print(f"after {decode(context)[0]}: KL(p || q) = {exact_KL:.5f} nats")
drawn = {}
for name, k in values_of.items():
    mean, variance = (float(part[0]) for part in estimators.moments(*one, name))
    drawn[name] = mean, variance, k[draws].mean(), k[draws].std()
    assert np.isclose(mean, (p * k).sum()) and np.isclose(variance, (p * k**2).sum() - mean**2)
    print(f"{name}: mean {mean:.5f}, standard deviation {variance**0.5:.4f}", end="; ")
    print(f"200,000 draws: {drawn[name][2]:.5f}, {drawn[name][3]:.4f}")

# %% [markdown]
# **What to notice.** $k_3$ has the smallest standard deviation here, 0.53 against 0.76 for $k_1$. $k_2$ reads 0.30
# instead of 0.16, because $p$ and $q$ are not near each other in this context.
#
# **As a loss.** It is tempting to train with the estimator that is best to read. But the samples stay where they are
# when the loss is differentiated. With $k = f(l)$ and $dl/dz_j = -([x = j] - p_j)$, a sample gives the gradient
# $-f'(l)\,([x = j] - p_j)$, and its mean over $x \sim p$ is
#
# $$ -p_j f'(l_j) + p_j \sum_x p_x f'(l_x) . $$
#
# The three have $f' = -1$, $l$ and $r - 1$. $k_1$ gives 0: nothing is learned. $k_2$ gives
# $p_j (\log(p_j/q_j) - KL(p \Vert q))$, the gradient of the reverse KL. $k_3$ gives $p_j - q_j$, the gradient of the
# **forward** KL.

# %%
expected = {"k1": np.zeros(K), "k2": reverse_slope(p, np.exp(logq)), "k3": forward_slope(p, np.exp(logq))}  # (K,) each
slopes = {"k1": -np.ones(K), "k2": l, "k3": np.exp(l) - 1}  # (K,) each
by_class = [np.repeat(logits, K, axis=0) for logits in one]  # (K, K) each: every class drawn once
estimated = {}
for name, slope in slopes.items():
    formula = -p * slope + p * (p * slope).sum()  # (K,)
    _, dz = estimators.estimator_loss(*by_class, np.arange(K), name)  # (K, K): a row for each class
    by_minikd = (p[:, None] * dz * K).sum(axis=0)  # (K,): the mean over x ~ p
    counts = np.bincount(draws, minlength=K)[:, None]  # (K, 1)
    estimated[name] = (counts * dz * K).sum(axis=0) / len(draws)  # (K,): the mean over the draws
    assert np.allclose(formula, expected[name], atol=1e-12) and np.allclose(by_minikd, expected[name], atol=1e-12)
    away = np.abs(estimated[name] - expected[name]).max()
    print(f"{name}: mean gradient of 200,000 draws, largest difference from the formula {away:.5f}")

# %% [markdown]
# ## Only the top k
#
# Many services show only the probabilities of the $k$ most likely symbols. This also saves space for stored answers of
# a teacher. The rest, $Q = 1 - \sum_{\text{known}} q$, is known, but not how it is divided. There are three ways to
# make a target $t$. With $P$ the probability that the student gives to the rest,
#
# | | known classes | the others |
# |---|---|---|
# | rest | $q_j$ | $Q\,p_j/P$: the rest is one class, divided in the student's proportions |
# | renormalised | $q_j/(1 - Q)$ | 0 |
# | cut | $q_j$ | 0 |
#
# In each case the loss is $\sum_j t_j (\log t_j - \log p_j)$ and the gradient $dz_j = p_j \sum_k t_k - t_j$. For "rest"
# the target depends on $p$, but the formula is the same: there the loss is the KL divergence of $k + 1$ classes.


# %%
def top_k_by_hand(z, v, k, rest):
    p, q = softmax(z), softmax(v)  # (B, K) each
    known = q >= np.sort(q, axis=1)[:, -k:][:, :1]  # (B, K)
    Q, P = ((~known * part).sum(axis=1, keepdims=True) for part in (q, p))  # (B, 1) each
    others = Q * p / P if rest == "rest" else 0 * p  # (B, K)
    t = np.where(known, q / (1 - Q) if rest == "renormalised" else q, others)  # (B, K)
    loss = (t * np.log(np.where(t > 0, t, 1) / p)).sum(axis=1)  # (B,)
    return loss.mean(), (p * t.sum(axis=1, keepdims=True) - t) / len(z)


for rest in ("rest", "renormalised", "cut"):
    assert same(top_k_by_hand(z, v, 5, rest), top_k.top_k_loss(z, None, v, k=5, rest=rest, soft_weight=1.0))
    measure(f"top 5, {rest}", run(top_k, k=5, rest=rest, soft_weight=1.0))
left_out = 100 * np.sort(softmax(v), axis=1)[:, :-5].sum(axis=1).mean()
print(f"the 22 unknown classes have {left_out:.1f} % of the teacher's probability on average")
rest_held = compared("top 5, rest", "forward KL", "held-out words")
cut_held = compared("top 5, cut", "top 5, rest", "held-out words")
cut_own = compared("top 5, cut", "top 5, rest", "own words")
renormalised_cut = compared("top 5, renormalised", "top 5, cut", "held-out words")

# %% [markdown]
# **What to notice.** The five most likely of 27 symbols have 77.6 % of the probability. With the rest as one class the
# NLL is 0.130 ± 0.024 nats higher. With the unknown as 0 it is another 0.618 ± 0.045 higher if cut, and again 0.052 ±
# 0.017 higher if renormalised: such a student finds rare letters nearly impossible, and real words have rare letters.
# Its own words look excellent, 1.823 for "cut", better than the teacher's own, which have 1.893. But this is no gain,
# because it only writes the most likely letters. The two scores must be read together.
#
# ## Sampled words
#
# Each model makes up twelve words, drawn with one seed. A star marks words that exist.

# %%
models = {"teacher": teacher} | {name: students[name][0] for name in ("labels", "forward KL", "reverse KL")}
made_up = {name: sample(model, 12, seed=12) for name, model in models.items()}
marked = {name: [word + "*" * (word in english) for word in words] for name, words in made_up.items()}
print("".join(f"{name:<26}" for name in marked))
for line in zip(*marked.values(), strict=True):
    print("".join(f"{word:<26}" for word in line).rstrip())

# %% [markdown]
# **What to notice.** Most of these words do not exist, but many could. Of 3,000 words each, 11.6 % exist for the
# teacher, 6.5 % and 6.9 % for the two distilled students, and 2.9 % for the student on labels. All columns are drawn
# with the same uniform numbers, so the words often begin alike.
#
# ## Names in other libraries
#
# You can now find each piece in the following paper and libraries. The names are those of the public sources in 2026
# and may change.
#
# | here | paper of GKD | TRL | MiniLLM | DistiLLM |
# |---|---|---|---|---|
# | forward KL, contexts of the data | supervised KD | `lmbda=0, beta=0` | `--type kd` | `--type kd` or `fkl` |
# | soft weight $w$ | | labels are not read | `--kd-ratio` | `--kd-ratio` |
# | sequence level: text of the teacher | SeqKD | `seq_kd=True, lmbda=0` | `scripts/*/seqkd` | `scripts/*/seqkd` |
# | reverse KL in a context | the end $\beta \to 1$ | `beta=1` | `--single-step-reg` | `rkl` in `--type` |
# | JSD, $\beta$ | JSD($\beta$) | `beta` | | `jsd` in `--type`; $\beta = 0.1$ |
# | `minikd.methods.skewed`, $\alpha$ | | | | `sfkl` or `srkl` in `--type`, `--skew-alpha` |
# | share of its own contexts | $\lambda$ | `lmbda` | always 1 | `--student-gen`, `--mixed-alpha` |
#
# - **TRL.** `GKDTrainer` (by now in `trl.experimental.gkd`) replaces a whole batch with probability `lmbda`, where we
#   replace a share of the rows. Its `generalized_jsd_loss` has the special ends described above, so `beta=0` and
#   `beta=0.01` need different learning rates. `temperature` is that of the sampling. The newer `DistillationTrainer`
#   always takes the student's own contexts, and its `beta` is 1 by default: reverse KL.
# - **Sequence level.** In all three libraries these settings train on the teacher's text, but the loss is not our plain
#   cross-entropy. In TRL and in DistiLLM's scripts (`--kd-ratio 1.0`) it is the divergence, in MiniLLM's scripts
#   (`--kd-ratio 0.5`) half of each. For cross-entropy alone, give the teacher's text to `SFTTrainer` or to the scripts
#   in `scripts/*/sft`. With `seq_kd=True`, TRL still replaces batches by the student's text, so also set `lmbda=0`: the
#   default is 0.5.
# - **MiniLLM** takes the reverse KL of whole texts and also differentiates the draw, with a policy gradient. The part
#   that has a closed form is our reverse KL in each context, along the student's own texts (`--single-step-reg`). With
#   `--teacher-mixed-alpha` texts are drawn from a mixture of student and teacher. This avoids texts to which the
#   teacher wrongly gives a high probability, such as endless repetition. The rewards are divided by the length of the
#   text, because a sum over symbols favours short answers.
# - **DistiLLM** mixes a little of one distribution into the other before it compares them, like our `skewed`. Its `jsd`
#   weights the student with 0.9. `--mixed-alpha` is the probability of a batch of the student's own texts, with `mixed`
#   in `--type`. With `adaptive` instead, their share grows by 0.1 whenever the validation loss has risen by
#   `--loss-eps`. `--replay-ratio` decides how many of them are old ones, because sampling from a large model is slow.
# - **Top k** is `gkd_logits_topk` in ms-swift. It renormalises both distributions over these $k$ classes, so the logits
#   of all other classes get no gradient. This is none of the three ways above. Check how such an option treats the
#   rest.
# - **$k_3$** is the KL term of GRPO. As a loss on samples of the student, it is the forward KL.
#
# ## Exercises
#
# **1.** Start the reverse fit of the two bumps at $\mu = 0.5$. What does it find? Does the start matter for the forward
# fit?
#
# <details><summary>Answer</summary>
#
# It finds a third local minimum, $\mu \approx 0$ and $\sigma \approx 2.23$, which covers both bumps. Its
# $KL(p \Vert q)$ is 1.17 nats, against 0.51 and 0.92 of the two narrow ones. So the best minimum is mode seeking, but
# descent may not find it. The forward KL ends at the same place from every start.
#
# </details>
#
# **2.** Show that $JSD_\beta \le -\beta \log \beta - (1 - \beta) \log (1 - \beta)$, also if the teacher rules out
# everything that the student says. What is the bound at $\beta = 0.5$? What is $KL(p \Vert q)$ there?
#
# <details><summary>Answer</summary>
#
# $m \ge \beta q$, so $q/m \le 1/\beta$ and $KL(q \Vert m) \le -\log \beta$. In the same way
# $KL(p \Vert m) \le -\log(1 - \beta)$. Weighted with $\beta$ and $1 - \beta$ this is the bound, which is
# $\log 2 \approx 0.69$ at $\beta = 0.5$. It is reached if $p$ and $q$ have no class in common. Then $KL(p \Vert q)$ is
# infinite.
#
# </details>
#
# **3.** In reinforcement learning each sample $x \sim p$ gets a reward $R(x)$, and the step goes along $R(x)$ times the
# gradient of $\log p(x)$. Which divergence does the reward $R = l = \log q(x) - \log p(x)$ descend? Which of the three
# estimators has the same gradient, sample by sample? Why is nothing learned with $k_1$, although $k_1 = -R$?
#
# <details><summary>Answer</summary>
#
# The gradient of $\log p(x)$ at the logits is $[x = j] - p_j$. The mean of $-l_x\,([x = j] - p_j)$ over $x \sim p$ is
# $p_j (g_j - KL(p \Vert q))$ with $g = -l$: the reverse KL. Sample by sample it is the gradient of $k_2$. As a reward,
# $l$ is a constant weight on the gradient of $\log p$. As a loss, $k_1$ itself is differentiated, and the weight is
# lost.
#
# </details>
#
# ## Sources
#
# - Bengio, Ducharme, Vincent, Jauvin (2003): *A Neural Probabilistic Language Model*. JMLR 3 (an MLP as a language
#   model).
# - Kim, Rush (2016): *Sequence-Level Knowledge Distillation*. arXiv 1606.07947.
# - Gu, Dong, Wei, Huang (2023): *MiniLLM*. arXiv 2306.08543 (reverse KL, policy gradient).
# - Agarwal et al. (2023): *On-Policy Distillation of Language Models*. arXiv 2306.13649 (GKD: JSD, the share
#   $\lambda$).
# - Ko et al. (2024): *DistiLLM*. arXiv 2402.03898 (skewed KL, replay).
# - Anshumann et al. (2025): *Sparse Logit Sampling*. arXiv 2503.16870 (the effect of keeping the largest $k$).
# - Ranzato, Chopra, Auli, Zaremba (2015): *Sequence Level Training with Recurrent Neural Networks*. arXiv 1511.06732
#   (exposure bias).
# - Schulman (2020): *Approximating KL Divergence*. joschu.net/blog/kl-approx.html ($k_1$, $k_2$, $k_3$).
# - Atkinson: *Spell Checker Oriented Word Lists*. wordlist.aspell.net (the words).
#
# Next: `01_learning_by_hand` again, now with your own data.

# %%
# What the text claims, checked each time this runs.
assert max(gaps.values()) < 1e-3 and ours == theirs and same_labels
assert largest < (0.2 if FAST else 0.03)  # the mean gradient of drawn labels
assert abs(left.mean() - right.mean()) < 4 * error  # the divergence of words is that of their contexts
for (name, start), (p_bump, mu, sigma) in bump_fits.items():
    if name == "forward":
        moments = (p_bump * grid).sum(), (p_bump * grid**2).sum()  # those of the student on the grid
        assert np.allclose(moments, (middle, width**2 + middle**2), atol=1e-3)
        assert p_bump[np.abs(grid) < 1].sum() > 10 * two_bumps[np.abs(grid) < 1].sum()
    else:
        assert abs(mu - np.copysign(2.5, start)) < 0.02 and sigma < 0.9
values = np.array([[ends[beta][0] / beta, ends[1 - beta][0] / beta] for beta in (1e-4,)])[0]  # (2,)
assert np.allclose(values, (forward, reverse), rtol=0.02)
assert max(ends[beta][0] for beta in (1e-4, 0.9999)) < 1e-3 * min(forward, reverse)
assert ends[1e-4][1] < 1e-2 * ends[0.5][1] and ends[0.9999][1] < 1e-2 * ends[0.5][1]
assert 80 < jumps[0] / jumps[0.01] < 120 and 80 < jumps[1] / jumps[0.99] < 130
for name, (exact, variance, drawn_mean, drawn_deviation) in drawn.items():
    assert abs(drawn_mean - exact) < 5 * (variance / len(draws)) ** 0.5
    assert abs(drawn_deviation / variance**0.5 - 1) < 0.2
    assert (abs(exact - exact_KL) < 1e-9) == (name != "k2")
    assert np.abs(estimated[name] - expected[name]).max() < 0.01
assert drawn["k3"][1] < drawn["k1"][1] and (values_of["k3"] >= 0).all() and (values_of["k1"] < 0).any()
assert forward_gain[0] > forward_gain[1] and cut_held[0] < -cut_held[1]
wide = fit_bump(two_bumps, reverse_slope, 0.5)  # exercise 1
assert abs(wide[2] - 2.23) < 0.02 and abs((wide[0] * np.log(wide[0] / two_bumps)).sum() - 1.17) < 0.02
best = [(bump * np.log(bump / two_bumps)).sum() for bump, *_ in (bump_fits["reverse", at] for at in (-2.0, 2.0))]
assert np.allclose(best, (0.51, 0.92), atol=0.01)
apart = np.array([[800.0, 0.0]]), np.array([[0.0, 800.0]])  # exercise 2
assert all(
    abs(jsd.jsd_loss(*apart[:1], None, apart[1], beta=b, **soft)[0] + b * np.log(b) + (1 - b) * np.log(1 - b)) < 1e-9
    for b in (0.1, 0.5, 0.8)
)
_, dz = estimators.estimator_loss(*by_class, np.arange(K), "k2")  # exercise 3: (K, K), a row for each x
assert np.allclose(dz * K, -l[:, None] * (np.eye(K) - p), atol=1e-12)
if not FAST:

    def helps(gain):
        return verdict(*gain) == "helps"

    claimed = {
        "labels": 2.272,
        "forward KL": 2.079,
        "sequence level": 2.103,
        "reverse KL": 2.119,
        "JSD, β = 0.5": 2.089,
    }
    claimed |= {"forward KL, half on-policy": 2.050, "top 5, rest": 2.209, "top 5, cut": 2.827}
    assert all(abs(scores[name][:, 0].mean() - nats) < 0.02 for name, nats in claimed.items())
    assert abs(teacher_scores[0] - 1.941) < 0.02 and abs(teacher_scores[1] - 1.893) < 0.03
    assert all(map(helps, (forward_gain, sequence_labels, reverse_own, jsd_own, cut_own)))
    hurt = (sequence_gain, sequence_own, reverse_held, jsd_held, rest_held, cut_held, renormalised_cut)
    assert all(verdict(*gain) == "hurts" for gain in hurt)
    new, teachers_own = "forward KL, half on-policy", "forward KL, half from teacher"
    assert helps(policy[new, "forward KL", "held-out words"])
    assert helps(policy["reverse KL, half on-policy", "reverse KL", "held-out words"])
    undecided = [(new, "forward KL", "own words"), ("reverse KL, half on-policy", "reverse KL", "own words")]
    undecided += [(new, teachers_own, "held-out words"), (new, teachers_own, "own words")]
    assert all(verdict(*policy[key]) == "undecided" for key in undecided)
    assert policy[new, teachers_own, "held-out words"][1] < 0.01  # and the interval is narrow
    assert bias["forward KL"][0] < -bias["forward KL"][1] and helps(reduction)  # no exposure bias
    assert drift["forward KL"][0][:, :PLACES].mean(axis=0).argmax() in (5, 6)
    assert np.allclose([drawn["k1"][1] ** 0.5, drawn["k3"][1] ** 0.5], (0.76, 0.53), atol=0.1)
    assert np.allclose([drawn["k2"][0], exact_KL], (0.30, 0.16), atol=0.05)
    exist = [scores[name][:, 2].mean() for name in ("forward KL", "reverse KL", "labels")]
    assert np.allclose([teacher_exist, *exist], (11.6, 6.5, 6.9, 2.9), atol=1)
    assert scores["top 5, cut"][:, 1].mean() < teacher_scores[1] and abs(left_out - 22.4) < 2
    ratio = (scores["labels"] - scores["forward KL"])[:, 0].mean() / (scores["labels"][:, 0].mean() - teacher_scores[0])
    assert ratio > 0.5
