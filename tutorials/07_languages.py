# %% [markdown]
# # 07 · Which language is this?
#
# **In short.** A network that names the language of 24 characters also says which other languages they could be. A tree
# can be drawn from these soft answers alone, and its branches are the families of languages. A student that is shown
# 500 windows of text errs on 19 % if it learns from these answers, and on 34 % if it learns from labels. A smaller
# student that is shown all 15,043 also errs less, and it finds the same languages similar as its teacher.
#
# - **What you will learn:** how to turn text into vectors, and what a teacher's soft answers tell about its classes
# - **Prerequisites:** tutorial 04
# - **Hours:** 2
#
# So far the networks read pictures. Here we turn text into vectors by hand, let a large network teach a small one, and
# then examine what the teacher knows. No label says that Danish is similar to Norwegian.

# %%
import os
import unicodedata
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from minikd import MLP, Adam, cross_entropy, evaluate, fit, load_data, softmax
from minikd.data import DATASETS, few
from minikd.experiments.config import FEW, RECIPES
from minikd.experiments.intervals import mean_interval, verdict
from minikd.methods import METHODS
from minikd.optim import cosine
from minikd.report import plots

FAST = bool(os.environ.get("MINIKD_FAST"))  # set by the tests: less training, the same claims
data = load_data("udhr")
texts = DATASETS["udhr"].test_texts()  # the rows of x_test are computed from them
names, K = np.array(data.class_names), len(data.class_names)
print(f"{K} languages; windows: {len(data.x_train):,} training, {len(data.x_val):,} validation, {len(texts):,} test")
for language in ("Danish", "Norwegian", "Spanish", "Finnish", "Basque", "Turkish"):
    first = np.flatnonzero(names[data.y_test] == language)[2]
    print(f"{language:>10}: {texts[first]!r}")

# %% [markdown]
# ## The data
#
# The Universal Declaration of Human Rights has a preamble and 30 articles, and exists in hundreds of languages. minikd
# takes 26 translations, in lower case, and cuts them into **windows** of 24 characters, including spaces, without
# regard to words. The split is by article, with the same articles in all languages: 19 of the 31 texts for training, 6
# for validation and 6 for the test. So a name or loan word of one article is not in two parts.
#
# ## From characters to a vector
#
# An MLP needs a fixed number of inputs, so we count pieces of text. An **n-gram** is a piece of $n$ adjacent
# characters. A window of 24 has 24 of length one, 23 of length two and 22 of length three, 69 in total.

# %%
window = texts[np.flatnonzero(names[data.y_test] == "Danish")[2]]
counts = {}
for n in (1, 2, 3):
    for start in range(len(window) - n + 1):
        piece = window[start : start + n]
        counts[piece] = counts.get(piece, 0) + 1
frequent = sorted(counts, key=counts.get, reverse=True)[:9]
print(f"{window!r}: {sum(counts.values())} n-grams, {len(counts)} different")
print("most frequent:", ", ".join(f"{piece!r} {counts[piece]}" for piece in frequent))
distinct = {text[i : i + n] for text in texts for n in (1, 2, 3) for i in range(len(text) - n + 1)}
print(f"different n-grams in all test windows: {len(distinct):,}")

# %% [markdown]
# There are thousands of different pieces, and new texts have others, so one column for each is too many. A **hash
# function** puts each piece into one of 1,024 columns: arithmetic that looks random, but always gives the same column
# for the same piece. Pieces in the same column are counted together (Weinberger et al. 2009). This loses a little
# information, but needs no dictionary.
#
# The hash function is FNV-1a: start with $h = 2166136261$, and for each character with code $c$ set
# $h \leftarrow (h \oplus c) \cdot 16777619 \bmod 2^{32}$, where $\oplus$ is the bitwise exclusive or. The column is
# $(h \oplus \lfloor h / 2^{16} \rfloor) \bmod 1024$.
#
# Finally take the square root of each count, because the third "e" of a window carries less information than the first.
# With counts $c_k$ in the columns, $x_k = \sqrt{c_k}$, and every row has the same length:
#
# $$ \sum_k x_k^2 = \sum_k c_k = 69 . $$


# %%
def column_of(piece):
    h = 2166136261
    for character in piece:
        h = (h ^ ord(character)) * 16777619 % 2**32
    return (h ^ (h >> 16)) % 1024


def vector_of(text):
    c = np.zeros(1024)  # (1024,)
    for n in (1, 2, 3):
        for start in range(len(text) - n + 1):
            c[column_of(text[start : start + n])] += 1
    return np.sqrt(c)  # (1024,)


by_hand = np.stack([vector_of(text) for text in texts[::30]])  # (50, 1024)
difference = np.abs(by_hand - data.x_test[::30]).max()
print(f"{window!r} fills {np.count_nonzero(vector_of(window))} columns for {len(counts)} different n-grams")
print(f"{len(by_hand)} windows by hand and in minikd: largest difference {difference:.0e}")
print(f"sum of the squares of a row: {(by_hand[0] ** 2).sum():.0f}")

# %% [markdown]
# What is the inner product of two such rows? If every n-gram occurs once and no two are in the same column,
# $x \cdot x'$ is the number of n-grams that the two windows share. A linear layer on these inputs gives each n-gram a
# weight: it can learn that "ij " is evidence for Dutch.
#
# ## A teacher and three students
#
# As in `04`, there is a large **teacher** and a small **student**. The student learns three times from the same initial
# weights and the same batches: from labels alone; from smoothed labels, the control without knowledge; and distilled,
# from the teacher's softened answers and the labels. The settings are minikd's recipe for these data, chosen on
# validation windows. Test windows are used here for the first time.

# %%
recipe = RECIPES["udhr"]
seeds, widths, batch_size = (2, (64,), 64) if FAST else (5, (256, 256), recipe["batch_size"])
epochs, teacher_epochs = (6, 6) if FAST else (recipe["epochs"], recipe["teacher_epochs"])
rows = slice(None, None, 6 if FAST else 1)
x, y = data.x_train[rows], data.y_train[rows]  # (N, 1024), (N,)
T = recipe["temperature"]


def train_teacher(seed):
    teacher = MLP((1024, *widths, K), dropout=(0.0, *(0.5 for _ in widths)), seed=seed)
    options = {"epochs": teacher_epochs, "batch_size": batch_size, "schedule": cosine(), "seed": seed}
    options["optimizer"] = Adam(teacher, recipe["teacher_lr"])
    fit(teacher, x, y, loss=cross_entropy, progress=False, **options)
    return teacher


def train_student(kind, seed, x, y, hidden, temperature, **options):
    student, teacher = MLP((1024, *hidden, K), seed=1000 + seed), networks["teacher"][seed]
    options |= {"schedule": cosine(), "seed": seed, "optimizer": partial(Adam, lr=recipe["lr"]), "progress": False}
    if kind == "distilled":
        METHODS["kd"].train(student, teacher, x, y, temperature=temperature, soft_weight=0.9, **options)
    else:
        smoothing = 0.1 if kind == "smoothed" else 0.0  # 0: the labels as they are
        METHODS["label-smoothing"].train(student, teacher, x, y, smoothing=smoothing, **options)
    return student


kinds = ("teacher", "labels", "smoothed", "distilled")
networks = {"teacher": [train_teacher(seed) for seed in range(seeds)]}
settings = {"hidden": recipe["student"], "temperature": T, "epochs": epochs, "batch_size": batch_size}
for kind in kinds[1:]:
    networks[kind] = [train_student(kind, seed, x, y, **settings) for seed in range(seeds)]


# %%
def pm(values, digits, sign=""):
    mean, half = mean_interval(list(values))
    return f"{mean:{sign}.{digits}f} ± {half:.{digits}f}"


def gain_text(gains, digits):
    return f"{pm(gains, digits, '+')} {verdict(*mean_interval(list(gains)))}"


def test_scores(networks):
    runs = {kind: [evaluate(model, data.x_test, data.y_test) for model in models] for kind, models in networks.items()}
    of = {(kind, name): np.array([s[name] for s in runs[kind]]) for kind in runs for name in ("errors", "nll")}
    print(f"{len(texts):,} test windows, {seeds} seeds: mean and 95 % interval\n")
    print(f"{'':<10}{'parameters':>11}{'errors':>11}{'NLL, nats':>15}   less than labels alone (paired by seed)")
    for kind, models in networks.items():
        row = f"{kind:<10}{models[0].num_params:>11,}{pm(of[kind, 'errors'], 0):>11}{pm(of[kind, 'nll'], 3):>15}"
        if kind in ("smoothed", "distilled"):
            fewer, lower = (of["labels", name] - of[kind, name] for name in ("errors", "nll"))  # (seeds,) each
            row += f"   {gain_text(fewer, 1)}; {gain_text(lower, 3)}"
        print(row)
    return of


score = test_scores(networks)
logits = {kind: [model.predict(data.x_test) for model in networks[kind]] for kind in kinds}  # (N, K) each

# %% [markdown]
# **Distillation helps**, although the student is shown every window and label that its teacher saw. In each of the five
# seeds it makes fewer errors than on labels alone, about a dozen of some 200, and its NLL is lower. Smoothing is
# undecided in errors and hurts the NLL, because it teaches the student never to be certain. So the teacher's knowledge
# helps, not the softness of its answers.
#
# Now the student is shown few windows, 500 of 15,043, drawn by its seed. The teachers are the same. The student has 64
# hidden units, as in minikd's recipe for few windows, chosen on validation windows.

# %%
small = FEW["udhr"]
settings = {"hidden": small["student"], "temperature": small["temperature"], "batch_size": small["batch_size"]}
count, settings["epochs"] = (100, 40) if FAST else (small["images"], small["epochs"])
drawn = [few(y, count, seed=seed) for seed in range(seeds)]  # (500,) each: the rows that a student is shown
few_networks = {
    kind: [train_student(kind, seed, x[i], y[i], **settings) for seed, i in enumerate(drawn)] for kind in kinds[1:]
}
few_score = test_scores(few_networks)

# %% [markdown]
# The student errs on 34 % of the test windows on labels alone, and on 19 % distilled: 220 ± 14 errors fewer of 1,484,
# from the same 500 windows. Smoothing hurts.
#
# ## The teacher's answer to one window

# %%
p = softmax(logits["teacher"][0])  # (N, K)
of_danish = (names[data.y_test] == "Danish") & (p.argmax(axis=1) == data.y_test)  # (N,)
example = np.flatnonzero(of_danish)[np.abs(p.max(axis=1)[of_danish] - 0.9).argmin()]  # probability nearest to 0.9
answers = {f"T = {t}": softmax(logits["teacher"][0][example : example + 1], t)[0] for t in (1, 4)}  # (K,) each
title = f"Teacher's probabilities for “{texts[example].strip()}”"
figure = plots.bars(answers, names, title=title, truth=data.y_test[example])
figure.set_size_inches(7.5, 3.6)
plots.show(figure)

# %% [markdown]
# The label says "Danish", and treats English and Norwegian as equally wrong. The teacher's answer distinguishes them. A
# higher temperature $T$ shows more.
#
# ## From answers to a tree
#
# Take the mean of the softened answers over all test windows of a language $k$. This is row $k$ of a matrix, which says
# what $k$ may be taken for,
#
# $$ M_{kj} = \frac{1}{N_k} \sum_{i : y_i = k} q^T_{ij}, \qquad q^T_i = \mathrm{softmax}(v_i / T), $$
#
# with $v_i$ the teacher's logits of window $i$. Norwegian may be taken for Danish more often than Danish for Norwegian.
# So the **similarity** is the mean of both directions, $S = (M + M^\top)/2$. The **distance** is its negative
# logarithm, $d_{kj} = -\log S_{kj}$, in nats: 0 means "always", and each additional nat means a factor of $e$ less.


# %%
def similarity(z, temperature):
    q = softmax(z.astype(np.float64), temperature)  # (N, K)
    M = np.stack([q[data.y_test == k].mean(axis=0) for k in range(K)])  # (K, K)
    return (M + M.T) / 2  # (K, K)


def nearest(S):
    return np.where(np.eye(K, dtype=bool), -np.inf, S).argmax(axis=1)  # (K,): the most similar other language


S = np.mean([similarity(z, T) for z in logits["teacher"]], axis=0)  # (K, K): the mean over the teachers
d = -np.log(S)  # (K, K)
print(f"nearest language of each language, T = {T:.0f}")
arrows = [f"{names[k]} → {names[j]}" for k, j in enumerate(nearest(S))]
for first in range(0, K, 3):
    print(", ".join(arrows[first : first + 3]))

# %% [markdown]
# **Agglomerative clustering** makes a tree from distances. Begin with each language as its own cluster. Join the two
# nearest clusters, note their distance, and repeat until one cluster is left. The distance of two clusters is the mean
# over all pairs with one member from each (**average linkage**). It follows from the old distances: if $A$ with $a$
# members and $B$ with $b$ are joined, then for each other cluster $C$
#
# $$ d(A \cup B, C) = \frac{a\, d(A, C) + b\, d(B, C)}{a + b} . $$


# %%
def average_linkage(d):
    d = np.where(np.eye(len(d), dtype=bool), np.inf, d)  # (K, K): no cluster is joined with itself
    size, name, merges = np.ones(len(d)), np.arange(len(d)), []
    for step in range(len(d) - 1):
        i, j = sorted(np.unravel_index(d.argmin(), d.shape))
        merges.append((int(name[i]), int(name[j]), d[i, j]))
        d[i] = d[:, i] = (size[i] * d[i] + size[j] * d[j]) / (size[i] + size[j])
        d[i, i] = d[j] = d[:, j] = np.inf  # cluster j is merged into i
        size[i] += size[j]
        name[i] = len(d) + step  # number of the joined cluster: K, K + 1, ...
    return merges


def members_of(merges, n):
    members = [[k] for k in range(n)]
    for a, b, _ in merges:
        members.append(members[a] + members[b])
    return members


merges = average_linkage(d)
members = members_of(merges, K)
heights = np.array([height for _, _, height in merges])  # (K - 1,)
from_definition = np.array([d[np.ix_(members[a], members[b])].mean() for a, b, _ in merges])  # (K - 1,)
print(f"heights and means over all pairs: largest difference {np.abs(heights - from_definition).max():.0e}")
for a, b, height in merges[:5]:
    print(f"{height:.2f} nats: {' + '.join(names[members[a]])}  with  {' + '.join(names[members[b]])}")

# %% [markdown]
# Now we draw the tree. The families are the only knowledge that does not come from the network. We use them for the
# colours and to check the tree. A branch has the colour of a family if all languages on it belong to that family.
# Germanic, Romance and Slavic are branches of Indo-European. Turkish, Indonesian and Basque have no relatives here.

# %%
FAMILIES = {
    "Germanic": ("Afrikaans", "Danish", "German", "English", "Icelandic", "Dutch", "Norwegian", "Swedish"),
    "Romance": ("Catalan", "French", "Galician", "Italian", "Portuguese", "Romanian", "Spanish"),
    "Slavic": ("Czech", "Croatian", "Polish", "Slovak", "Slovenian"),
    "Uralic": ("Estonian", "Finnish", "Hungarian"),
    "Turkic": ("Turkish",),
    "Austronesian": ("Indonesian",),
    "isolate": ("Basque",),
}
COLOURS = dict(
    zip(FAMILIES, ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"), strict=True)
)
family = np.array([next(f for f, languages in FAMILIES.items() if name in languages) for name in names])  # (K,)


def draw_tree(axes, merges):
    members, place = members_of(merges, K), {}
    place |= {k: (0.0, row) for row, k in enumerate(members[-1])}  # cluster -> its height and its row
    for cluster, (a, b, height) in enumerate(merges, start=K):
        for end in (a, b):
            families = set(family[members[end]])
            colour = COLOURS[families.pop()] if len(families) == 1 else "#888888"
            middle = (place[a][1] + place[b][1]) / 2
            axes.plot((place[end][0], height, height), (place[end][1], place[end][1], middle), color=colour, lw=1.8)
        place[cluster] = (height, middle)
    axes.set(xlim=(heights.max() * 1.03, 0), ylim=(K - 0.5, -0.5), yticks=(), xlabel="distance of the clusters, nats")
    axes.spines[["left", "top", "right"]].set_visible(False)


# %% tags=["cover"]
order = members[-1]  # the leaves of the tree from top to bottom
figure = Figure(figsize=(9.2, 5.5), layout="constrained")
tree, heat = figure.subplots(1, 2, width_ratios=(1, 1.15))
draw_tree(tree, merges)
for f, colour in COLOURS.items():
    tree.plot([], [], color=colour, lw=3, label=f)
figure.legend(loc="outside lower center", ncols=len(COLOURS), frameon=False)
shown_d = np.where(np.eye(K, dtype=bool), np.nan, d)[np.ix_(order, order)]  # (K, K)
image = heat.imshow(shown_d, cmap="viridis_r", aspect="auto")
heat.set_xticks(range(K), names[order], rotation=90, fontsize=8)
heat.set_yticks(range(K), names[order], fontsize=8)
for ticks in (heat.get_xticklabels(), heat.get_yticklabels()):
    for tick, k in zip(ticks, order, strict=True):
        tick.set_color(COLOURS[family[k]])
figure.colorbar(image, ax=heat, label="distance −log S, nats (dark is far)", shrink=0.8)
figure.suptitle("Tree and distances of languages, from the teacher's soft answers")
plots.show(figure)

# %% [markdown]
# **What to notice.** In the full run Germanic, Romance and Slavic are each a whole branch. Within Germanic the northern
# languages (Danish, Norwegian, Swedish, Icelandic) separate from the western ones, which include English. Galician and
# Portuguese, one language until the late Middle Ages, are joined before Spanish is added. Afrikaans, which comes from
# Dutch, is next to Dutch. Basque, Hungarian, Indonesian and Turkish have no near relative here. They are joined late,
# and their places mean little, because some language is always the nearest. Hungarian is Uralic like Finnish, but its
# closest relatives in Siberia are not among the 26, and the tree does not join it to Finnish.
#
# The grey parts of the tree say nothing about history. For example, less than a tenth of a nat decides whether Slavic
# or the languages without relatives are joined last.
#
# ## Families or chance?
#
# Two numbers measure this. Of the 23 languages that have a relative here, how many have a relative as their nearest
# neighbour? Of the four families with several members, how many are a **whole** branch of the tree, with all of their
# members and no other language? To measure chance, we shuffle the family names many times and count again.


# %%
def share_related(S, families=family):
    related = families[nearest(S)] == families  # (K,): the nearest language is a relative
    alone = (families[:, None] == families).sum(axis=1) == 1  # (K,): without a relative here
    return 100 * related[~alone].mean()


def overlap(rows):
    means = np.stack([rows[data.y_test == k].mean(axis=0) for k in range(K)])  # (K, 1024)
    return means @ means.T  # (K, K): the mean inner product of a window of each with one of the other


def whole_families(S):
    branches = [frozenset(names[m]) for m in members_of(average_linkage(-np.log(S)), K)]
    return sum(frozenset(languages) in branches for languages in FAMILIES.values() if len(languages) > 1)


rng = np.random.default_rng(0)
chance = np.array([share_related(S, rng.permutation(family)) for _ in range(200 if FAST else 2000)])
print(f"relatives by chance: {chance.mean():.0f} %; largest of {len(chance):,} shuffles {chance.max():.0f} %\n")
temperatures = (1, 2, 4, 16)
columns = [f"T = {t}" for t in temperatures]
print("relatives: languages whose nearest language is a relative, %")
print("whole: number of families that are a whole branch")
print(f"{'relatives, %':<17}{''.join(f'{c:>12}' for c in columns)}   whole, T = {T:.0f}")
shares, whole = {}, {}
for kind in kinds:
    shares[kind] = np.array([[share_related(similarity(z, t)) for t in temperatures] for z in logits[kind]])
    whole[kind] = np.array([whole_families(similarity(z, T)) for z in logits[kind]])  # (seeds,)
    print(f"{kind:<17}{''.join(f'{pm(c, 1):>12}' for c in shares[kind].T)}{pm(whole[kind], 1):>15}")
n_grams = overlap(data.x_test)  # (K, K)
print(f"{'shared n-grams':<17}{share_related(n_grams):>12.1f}   (no network, no T){whole_families(n_grams / 69):>30}")
print(f"whole families, distilled minus labels: {pm(whole['distilled'] - whole['labels'], 1, '+')}")
print(f"mean similarity of {seeds} teachers, T = {T:.0f}: {share_related(S):.1f} %, whole families {whole_families(S)}")

# %% [markdown]
# The best of 2,000 shuffles stays far below the teachers, so the soft answers do contain the families. But look at the
# line of the shared n-grams. Without any network, the mean inner product of windows finds the nearest relatives as well
# as the teacher does. Only the tree above the closest pairs is better with a teacher, which has learned which n-grams
# tell languages apart. So the network has not understood the history of languages. Related languages have similar
# spelling, and the teacher's uncertainty passes this on. Dark knowledge is not deep, but it is more than the labels
# say. One teacher's tree is less clean than the picture, which shows the mean over all teachers: it has two or three of
# the four families as whole branches. A distilled student has more whole families than the same student on labels,
# about one more on average; the interval of that difference, printed below the table, just excludes 0.
#
# ## The effect of the temperature
#
# At $T = 1$ most answers are nearly certain, so a few hard windows determine the mean over a language. The **effective
# number** of windows behind an entry $M_{kj}$ measures how few, $n = (\sum_i q_{ij})^2 / \sum_i q_{ij}^2$. It is $N_k$
# if all windows contribute equally, and 1 if one contributes everything.


# %%
def effective_windows(z, temperature):
    q = softmax(z.astype(np.float64), temperature)  # (N, K)
    n = np.stack([q[data.y_test == k].sum(axis=0) ** 2 / (q[data.y_test == k] ** 2).sum(axis=0) for k in range(K)])
    return np.median(n[~np.eye(K, dtype=bool)])


means = {t: np.mean([similarity(z, t) for z in logits["teacher"]], axis=0) for t in temperatures}  # (K, K) each
effective = [effective_windows(logits["teacher"][0], t) for t in temperatures]
neighbours = np.stack([nearest(means[t]) for t in temperatures])  # (temperatures, K)
print(f"{'':<12}" + "".join(f"{c:>12}" for c in columns))
print(f"{'windows':<12}" + "".join(f"{n:>12.1f}" for n in effective) + f"   of {len(texts) / K:.0f}, median")
for k in np.flatnonzero((neighbours != neighbours[0]).any(axis=0)):
    print(f"{names[k]:<12}" + "".join(f"{name:>12}" for name in names[neighbours[:, k]]))
print("all other languages keep their nearest neighbour")

# %% [markdown]
# At $T = 1$ an entry depends on a handful of windows (the table shows the median over all pairs). The higher $T$ is,
# the more windows contribute, and the less it matters how hard a window is. For large $T$,
# $q_j \approx \frac1K + \frac{v_j - \bar v}{K T}$, so the order of the neighbours is that of the mean logits. Most
# pairs of relatives stay the same. The nearest neighbour changes for languages without a good answer, and for Icelandic
# and Italian, which have several that are about equally good.
#
# ## Does the student learn the teacher's tree?
#
# We compare the distances of all 325 pairs between teacher and student. A student that learned from smoothed labels is
# less certain of everything, so we compare ranks: the **rank correlation** is 1 if both put the pairs in the same
# order, and 0 if the orders are unrelated.


# %%
pairs = np.triu_indices(K, 1)


def ranks(values):
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    return (count.cumsum() - (count - 1) / 2)[group]  # (325,): equal values share the mean of their ranks


def rank_correlation(a, b):
    return np.corrcoef(ranks(a[pairs]), ranks(b[pairs]))[0, 1]


def tree_distance(S):
    merges, height = average_linkage(-np.log(S)), np.zeros((K, K))
    members = members_of(merges, K)
    for a, b, h in merges:  # the distance in the tree is the height at which two branches join
        height[np.ix_(members[a], members[b])] = height[np.ix_(members[b], members[a])] = h
    return height  # (K, K)


tables = {kind: [similarity(z, T) for z in logits[kind]] for kind in kinds}
pair_correlation, tree_correlation = {}, {}
print("rank correlation with the teacher's distances")
for kind in kinds[1:]:
    both = list(zip(tables[kind], tables["teacher"], strict=True))
    pair_correlation[kind] = np.array([rank_correlation(a, b) for a, b in both])  # (seeds,)
    tree_correlation[kind] = np.array([rank_correlation(tree_distance(a), tree_distance(b)) for a, b in both])
    print(f"{kind:<10} pairs {pm(pair_correlation[kind], 2)}   in the tree {pm(tree_correlation[kind], 2)}")
print(f"distilled minus labels: pairs {pm(pair_correlation['distilled'] - pair_correlation['labels'], 2, '+')}", end="")
print(f"   in the tree {pm(tree_correlation['distilled'] - tree_correlation['labels'], 2, '+')}")

# %%
figure = Figure(figsize=(7, 2.8), layout="constrained")
for axes, kind in zip(figure.subplots(1, 3, sharex=True, sharey=True), kinds[1:], strict=True):
    teacher_d, student_d = -np.log(tables["teacher"][0][pairs]), -np.log(tables[kind][0][pairs])  # (325,) each
    same = family[pairs[0]] == family[pairs[1]]  # (325,)
    axes.plot(teacher_d[~same], student_d[~same], "o", ms=3, color="#999999", label="different families")
    axes.plot(teacher_d[same], student_d[same], "D", ms=4, color="#0072B2", label="same family")
    axes.set(title=f"{kind}: {pair_correlation[kind][0]:.2f}", xlabel="teacher's distance, nats")
figure.axes[0].set_ylabel("student's distance, nats")
figure.axes[1].legend(frameon=False, loc="upper left")
figure.suptitle("Distances of language pairs, first seed; in each title the rank correlation")
plots.show(figure)

# %% [markdown]
# **What to notice.** The student that learned from labels has found much of the order by itself, because relatives
# share the n-grams that it needs. Distillation passes on more of it, also for pairs that are never confused. With
# smoothed labels the order is least similar to the teacher's. The targets say that all wrong languages are equally
# wrong, so only the close relatives stand out. Müller et al. (2019) saw the same in teachers: label smoothing erases
# what they know about the wrong classes.
#
# The tree varies more than the distances, because one different join moves whole branches. The correlation of the
# distances is higher by 0.15 ± 0.04 than with labels alone. For the tree the difference is undecided, +0.23 ± 0.31.
#
# ## Relatives or shared accents?
#
# Hungarian is nearest to Czech. They are not related, but both write á, é and í. We remove all accents from the test
# windows (split each letter into base and mark, and drop the mark) and run the same teachers again.

# %%
plain = ["".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c)) for text in texts]
x_plain = np.stack([vector_of(text) for text in plain]).astype(np.float32)  # (N, 1024)
z_plain = [teacher.predict(x_plain) for teacher in networks["teacher"]]  # (N, K) each
errors_plain = np.array([evaluate(z, x_plain, data.y_test).errors for z in z_plain])  # (seeds,)
changed = np.mean([a != b for a, b in zip(texts, plain, strict=True)])
S_plain = np.mean([similarity(z, T) for z in z_plain], axis=0)  # (K, K)
share_plain = np.array([share_related(similarity(z, T)) for z in z_plain])  # (seeds,)
print(f"windows with an accent: {100 * changed:.0f} %")
print(f"errors of the teachers: {pm(score['teacher', 'errors'], 0)} with accents, {pm(errors_plain, 0)} without")
print(f"relatives: {pm(share_plain, 1)} % without accents")
for k in np.flatnonzero(nearest(S_plain) != nearest(S)):
    print(f"{names[k]}: nearest is {names[nearest(S)[k]]} with accents, {names[nearest(S_plain)[k]]} without")
wrong = np.mean([z.argmax(axis=1) != data.y_test for z in logits["teacher"]], axis=0)  # (N,): share of the teachers
wrong_plain = np.mean([z.argmax(axis=1) != data.y_test for z in z_plain], axis=0)  # (N,)
more = np.array([100 * (wrong_plain - wrong)[data.y_test == k].mean() for k in range(K)])  # (K,)
for k in np.argsort(-more)[:4]:
    answers = np.bincount(np.concatenate([z.argmax(axis=1)[data.y_test == k] for z in z_plain]), minlength=K)  # (K,)
    answers[k] = 0
    print(f"{names[k]}: {more[k]:.0f} points more errors, most often classified as {names[answers.argmax()]}")

# %% [markdown]
# Without accents the teachers make many more errors, so they do use them. Czech loses most, and is taken for the
# related Slovak. But the relatives are found as before. So the result for relatives does not depend on the accents, but
# some unrelated pairs do: Hungarian is no longer nearest to Czech, with which it shares á, é and í but no descent. The
# nearest neighbour of a language without relatives says nothing about descent: it changes when a few marks are removed.
# (Letters such as ø, ł and ß have no mark to drop and stay.)
#
# ## Exercises
#
# **1.** Take the Danish and the Norwegian window of the first cell, and compute the inner product of their rows in two
# ways: as $x \cdot x'$, and as the sum of $\sqrt{c\, c'}$ over the n-grams that both have, from dictionaries. Why are
# the two not equal?
#
# <details><summary>Answer</summary>
#
# 57.2 and 56.2, of 69 at most. The hash function has put two different pieces, one from each window, into one column.
# They count as a shared n-gram and add $\sqrt{1 \cdot 1}$. With 1,024 columns and thousands of n-grams this happens
# often, and adds noise to the inputs.
#
# </details>
#
# **2.** Build the matrix from the teacher's choices (`argmax`) instead of its soft answers. How many of the 325 pairs
# does the first teacher never confuse on the test windows? What does the tree look like?
#
# <details><summary>Answer</summary>
#
# 272 of 325. Their distance would be $-\log 0$, which is infinite. The tree would show the closest pairs and nothing
# beyond them. The errors of a good classifier are too rare to describe its classes, but its soft answers to all windows
# are enough.
#
# </details>
#
# **3.** Join clusters by their nearest members (**single linkage**: `np.minimum(d[i], d[j])`), and then by their
# farthest (`np.maximum`, complete linkage). What happens to the families?
#
# <details><summary>Answer</summary>
#
# With the nearest, Germanic, Romance and Slavic are still whole, but English is joined to Germanic last, after
# Icelandic, and Hungarian is joined to Slavic: one similar pair is enough. With the farthest, only Slavic is whole: one
# pair of distant members keeps Germanic and Romance apart. The mean is between the two.
#
# </details>
#
# ## Sources
#
# - United Nations: *Universal Declaration of Human Rights* (1948), in the XML collection of E. Muller, efele.net/udhr.
# - Cavnar, Trenkle (1994): *N-Gram-Based Text Categorization*. SDAIR (language identification by character n-grams).
# - Weinberger et al. (2009): *Feature Hashing for Large Scale Multitask Learning*. arXiv 0902.2206.
# - Hinton, Vinyals, Dean (2015): *Distilling the Knowledge in a Neural Network*. arXiv 1503.02531 (soft targets).
# - Müller, Kornblith, Hinton (2019): *When Does Label Smoothing Help?* arXiv 1906.02629 (what smoothing erases).
# - Sokal, Michener (1958): *A statistical method for evaluating systematic relationships*. University of Kansas
#   Science Bulletin 38 (average linkage).
#
# Next: `08_spoken_digits`, a small student that listens.

# %%
# What the text claims, checked each time this runs.
assert difference < 1e-6 and np.allclose((data.x_test**2).sum(axis=1), 69, atol=1e-3)
assert np.abs(heights - from_definition).max() < 1e-9 and (np.diff(heights) > 0).all()
toy = average_linkage(np.array([[0, 1, 4, 6], [1, 0, 5, 7], [4, 5, 0, 2], [6, 7, 2, 0]], float))
assert [(a, b) for a, b, _ in toy] == [(0, 1), (2, 3), (4, 5)] and [h for _, _, h in toy] == [1, 2, 5.5]
assert names[nearest(S)[names == "Danish"]] == "Norwegian" and names[nearest(S)[names == "Czech"]] == "Slovak"
assert shares["teacher"].min() > chance.max() and chance.mean() < 30
assert effective[0] < effective[1] < effective[2] < effective[3]
assert (pair_correlation["distilled"] > pair_correlation["labels"]).all()
assert errors_plain.min() > score["teacher", "errors"].max()
fewer, lower = (score["labels", name] - score["distilled", name] for name in ("errors", "nll"))  # (seeds,) each
few_fewer = few_score["labels", "errors"] - few_score["distilled", "errors"]  # (seeds,)
assert few_fewer.mean() > 0
if FAST:
    assert whole_families(S) >= 1
else:
    assert (pair_correlation["labels"] > pair_correlation["smoothed"]).all()
    assert gain_text(pair_correlation["distilled"] - pair_correlation["labels"], 2).endswith("helps")
    assert gain_text(tree_correlation["distilled"] - tree_correlation["labels"], 2).endswith("undecided")
    assert (fewer > 0).all() and gain_text(fewer, 1).endswith("helps") and gain_text(few_fewer, 1).endswith("helps")
    assert (lower > 0).all() and (score["smoothed", "nll"] > score["labels", "nll"]).all()
    assert gain_text(score["labels", "errors"] - score["smoothed", "errors"], 1).endswith("undecided")
    assert gain_text(few_score["labels", "errors"] - few_score["smoothed", "errors"], 1).endswith("hurts")
    wrong = {kind: 100 * few_score[kind, "errors"].mean() / len(texts) for kind in kinds[1:]}  # in %
    assert 33 < wrong["labels"] < 35 and 18 < wrong["distilled"] < 20 and 200 < few_fewer.mean() < 240
    assert whole_families(S) == 3 and whole_families(n_grams / 69) < whole["teacher"].min()
    assert share_plain.mean() > 85 and names[nearest(S_plain)[names == "Hungarian"]] != "Czech"
