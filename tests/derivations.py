"""Solutions whose gradients are measured, and solutions that are exact in ways of their own.

MEASURED earns nothing where a gradient is wanted, EXACT earns all: (what it does, exercise, source).
"""

from __future__ import annotations

HEAD = '''
import numpy as np


def relu(a):
    return np.maximum(a, 0)


def log_softmax(z, T):
    z = (z - z.real.max(axis=1, keepdims=True)) / T
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def rows_kd(zs, zt, T):
    logp, logq = log_softmax(zs, T), log_softmax(zt, T)
    return T**2 * (np.exp(logq) * (logq - logp)).sum(axis=1)


def central(f, a, step=1e-5):
    """The slope of each row of f by each column of a: a column is moved in all rows at once."""
    slope = np.empty(a.shape)
    for j in range(a.shape[1]):
        h = np.zeros(a.shape)
        h[:, j] = step
        slope[:, j] = (f(a + h) - f(a - h)) / (2 * step)
    return slope


def fourth(f, a, step=1e-3):
    """The same to fourth order."""
    return (4 * central(f, a, step) - central(f, a, 2 * step)) / 3


def relative(f, a):
    """The same with steps that suit each entry."""
    slope = np.empty(a.shape)
    for j in range(a.shape[1]):
        h = np.zeros(a.shape)
        h[:, j] = np.maximum(1e-3 * np.abs(a[:, j]), 1e-9)
        slope[:, j] = (f(a + h) - f(a - h)) / (2 * h[:, j])
    return slope


def complex_step(f, a, step=1e-30):
    """The same by complex steps, which are exact where f is smooth."""
    slope = np.empty(a.shape)
    for j in range(a.shape[1]):
        h = np.zeros(a.shape, complex)
        h[:, j] = 1j * step
        slope[:, j] = f(a + h).imag / step
    return slope



def complex_step_back(f, a):
    """The same with steps to the other side, at which relu at 0 happens to have the slope 0."""
    return complex_step(f, a, -1e-30)
'''

WAYS = ("central", "fourth", "relative", "complex_step", "complex_step_back")
LARGE = ("central", "complex_step", "complex_step_back")  # of large networks

E2 = """
def affine_relu_forward(x, W, b):
    return relu(x @ W + b)


def affine_relu_backward(dh, x, W, b):
    da = WAY(lambda a: (dh * relu(a)).sum(axis=1), x @ W + b)
    return da @ W.T, x.T @ da, da.sum(axis=0)
"""
E2_BY_ENTRY = """
def affine_relu_forward(x, W, b):
    return relu(x @ W + b)


def affine_relu_backward(dh, x, W, b):
    a = x @ W + b
    h = np.maximum(1e-3 * np.abs(a), 1e-9)
    da = dh * (relu(a + h) - relu(a - h)) / (2 * h)
    return da @ W.T, x.T @ da, da.sum(axis=0)
"""
E4 = """
def kd_loss(zs, zt, T):
    return rows_kd(zs, zt, T).mean(), WAY(lambda z: rows_kd(z, zt, T), zs) / len(zs)
"""
E4_BY_CLASS = '''
def kd_loss(zs, zt, T):
    """All classes at once: moving a logit changes its own term, and the logarithm of the sum."""
    q, logq = np.exp(log_softmax(zt, T)), log_softmax(zt, T)
    u = (zs - zs.max(axis=1, keepdims=True)) / T
    S = np.exp(u).sum(axis=1, keepdims=True)
    before = (q * (logq - u)).sum(axis=1, keepdims=True)

    def moved(h):
        return T**2 * (before - q * h / T + np.log(S + np.exp(u) * (np.exp(h / T) - 1)))

    h = STEP * T
    slope = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)
    return rows_kd(zs, zt, T).mean(), slope / len(zs)
'''
E6 = '''
def mlp_gradients(params, x, dz):
    """The slope by the pre-activations of each layer is measured through all that follow."""
    gradients = []
    for i, (W, b) in enumerate(params):
        a = x @ W + b

        def loss(a, i=i):
            for V, c in params[i + 1:]:
                a = relu(a) @ V + c
            return (a * dz).sum(axis=1)

        da = WAY(loss, a)
        gradients.append((x.T @ da, da.sum(axis=0)))
        x = relu(a)
    return gradients
'''
E8 = """
def distill(params, x, teacher_logits, T, lr, batches):
    \"\"\"Two layers, as in the check: measured at their pre-activations.\"\"\"
    for rows in batches:
        v, (W, b), (V, c) = teacher_logits[rows], *params
        a = x[rows] @ W + b
        h = relu(a)
        da = WAY(lambda a: rows_kd(relu(a) @ V + c, v, T), a) / len(rows)
        dz = WAY(lambda z: rows_kd(z, v, T), h @ V + c) / len(rows)
        params = [(W - lr * x[rows].T @ da, b - lr * da.sum(axis=0)), (V - lr * h.T @ dz, c - lr * dz.sum(axis=0))]
    return params
"""
E10 = '''
def generator_input_gradient(teacher, student, x, T):
    """Measured at the first hidden layers."""
    def rest(params, a):
        for V, c in params[1:]:
            a = relu(a) @ V + c
        return a

    (W, b), (V, c) = teacher[0], student[0]
    at, as_ = x @ W + b, x @ V + c
    zt, zs = rest(teacher, at), rest(student, as_)
    dt = WAY(lambda a: rows_kd(zs, rest(teacher, a), T), at)
    ds = WAY(lambda a: rows_kd(rest(student, a), zt, T), as_)
    return (dt @ W.T + ds @ V.T) / len(x)
'''

E10_AT_LOGITS = """
def generator_input_gradient(teacher, student, x, T):
    \"\"\"Measured at the logits alone, and derived from there.\"\"\"
    (at, zt), (as_, zs) = forward(teacher, x), forward(student, x)
    dx = np.zeros(x.shape)
    for params, a, dz in ((teacher, at, WAY(lambda z: rows_kd(zs, z, T), zt)),
                          (student, as_, WAY(lambda z: rows_kd(z, zt, T), zs))):
        for (W, _), a in zip(params[::-1], [*a[::-1], None]):
            dz = dz @ W.T if a is None else (dz @ W.T) * (a > 0)
        dx += dz
    return dx / len(x)


def forward(params, x):
    kept = []
    for i, (W, b) in enumerate(params):
        x = (relu(x) if i else x) @ W + b
        kept.append(x)
    return kept[:-1], x
"""

E9_OTHER = """
def mutual_gradients(z1, z2, y, T):
    \"\"\"Right for the first student, and for the second only where there are few classes.\"\"\"
    def one(z, peer):
        p, rows = np.exp(log_softmax(z, 1.0)), np.arange(len(z))
        p[rows, y] -= 1
        return (p + T * (np.exp(log_softmax(z, T)) - np.exp(log_softmax(peer, T)))) / len(z)

    return one(z1, z2), one(z2, z1) * (z1.shape[1] < 100)
"""

MEASURED = [
    ("one of two gradients", "E9", HEAD + E9_OTHER),
    *[(f"at the pre-activations, {way}", "E2", HEAD + E2.replace("WAY", way)) for way in WAYS],
    ("entry by entry", "E2", HEAD + E2_BY_ENTRY),
    *[(f"logit by logit, {way}", "E4", HEAD + E4.replace("WAY", way)) for way in WAYS],
    *[(f"all classes at once, steps of {step} T", "E4", HEAD + E4_BY_CLASS.replace("STEP", step))
      for step in ("1e-2", "1e-3", "1e-4")],
    *[(f"at the pre-activations, {way}", "E6", HEAD + E6.replace("WAY", way)) for way in WAYS],
    *[(f"at the pre-activations, {way}", "E8", HEAD + E8.replace("WAY", way)) for way in LARGE],
    *[(f"at the logits, {way}", "E10", HEAD + E10_AT_LOGITS.replace("WAY", way)) for way in LARGE],
    *[(f"at the pre-activations, {way}", "E10", HEAD + E10.replace("WAY", way)) for way in LARGE],
]  # fmt: skip

# ---- exact, each in its own way -------------------------------------------------------------------------------------

TAPE = '''
import numpy as np


class Node:
    """A value, and what it came from: (parent, function from the gradient here to the parent's)."""

    def __init__(self, value, *parents):
        self.value, self.parents, self.grad = value, parents, np.zeros_like(value)

    def backward(self, grad):
        order, seen = [], set()

        def visit(node):
            if id(node) not in seen:
                seen.add(id(node))
                for parent, _ in node.parents:
                    visit(parent)
                order.append(node)

        visit(self)
        self.grad = self.grad + grad
        for node in reversed(order):
            for parent, pull in node.parents:
                parent.grad = parent.grad + pull(node.grad)


def node(x):
    return x if isinstance(x, Node) else Node(np.asarray(x, float))


def back_to(shape, g):
    while g.ndim > len(shape):
        g = g.sum(axis=0)
    for axis, size in enumerate(shape):
        if size == 1 and g.shape[axis] != 1:
            g = g.sum(axis=axis, keepdims=True)
    return g


def add(a, b):
    return Node(a.value + b.value, (a, lambda g: back_to(a.value.shape, g)), (b, lambda g: back_to(b.value.shape, g)))


def mul(a, b):
    return Node(a.value * b.value, (a, lambda g: back_to(a.value.shape, g * b.value)),
                (b, lambda g: back_to(b.value.shape, g * a.value)))


def scaled(a, c):
    return Node(a.value * c, (a, lambda g: g * c))


def matmul(a, b):
    return Node(a.value @ b.value, (a, lambda g: g @ b.value.T), (b, lambda g: a.value.T @ g))


def relu(a):
    return Node(np.maximum(a.value, 0), (a, lambda g: g * (a.value > 0)))


def exp(a):
    e = np.exp(a.value)
    return Node(e, (a, lambda g: g * e))


def log(a):
    return Node(np.log(a.value), (a, lambda g: g / a.value))


def rows(a):
    return Node(a.value.sum(axis=1, keepdims=True), (a, lambda g: np.broadcast_to(g, a.value.shape)))


def log_probs(z, T):
    u = scaled(add(z, node(-z.value.max(axis=1, keepdims=True))), 1 / T)
    return add(u, scaled(log(rows(exp(u))), -1.0))


def kl_rows(zs, zt, T):
    logp, logq = log_probs(zs, T), log_probs(zt, T)
    return scaled(rows(mul(exp(logq), add(logq, scaled(logp, -1.0)))), T**2)


def hard_rows(z, y):
    pick = np.zeros(z.value.shape)
    pick[np.arange(len(y)), y] = -1
    return rows(mul(log_probs(z, 1.0), node(pick)))


def net(params, x):
    for i, (W, b) in enumerate(params):
        x = add(matmul(relu(x) if i else x, W), b)
    return x


def nodes(params):
    return [(node(W), node(b)) for W, b in params]


def grads(params):
    return [(W.grad, b.grad) for W, b in params]


def affine_relu_forward(x, W, b):
    return relu(net(nodes([(W, b)]), node(x))).value


def affine_relu_backward(dh, x, W, b):
    x, params = node(x), nodes([(W, b)])
    relu(net(params, x)).backward(dh)
    return (x.grad, *grads(params)[0])


def cross_entropy(z, y):
    z = node(z)
    loss = hard_rows(z, y)
    loss.backward(np.full(loss.value.shape, 1 / len(y)))
    return loss.value.mean(), z.grad


def kd_loss(zs, zt, T):
    zs = node(zs)
    loss = kl_rows(zs, node(zt), T)
    loss.backward(np.full(loss.value.shape, 1 / len(zt)))
    return loss.value.mean(), zs.grad


def kd_total(zs, zt, y, T, soft_weight, sample_weight):
    total = sample_weight.sum()
    if total == 0:
        return 0, np.zeros_like(zs)
    zs = node(zs)
    loss = add(scaled(hard_rows(zs, y), 1 - soft_weight), scaled(kl_rows(zs, node(zt), T), soft_weight))
    share = sample_weight[:, None] / total
    loss.backward(share)
    return (loss.value * share).sum(), zs.grad


def mlp_gradients(params, x, dz):
    params = nodes(params)
    net(params, node(x)).backward(dz)
    return grads(params)


def distill(params, x, teacher_logits, T, lr, batches):
    for rows_ in batches:
        now = nodes(params)
        loss = kl_rows(net(now, node(x[rows_])), node(teacher_logits[rows_]), T)
        loss.backward(np.full(loss.value.shape, 1 / len(rows_)))
        params = [(W - lr * dW, b - lr * db) for (W, b), (dW, db) in zip(params, grads(now))]
    return params


def mutual_gradients(z1, z2, y, T):
    found = []
    for mine, peer in ((z1, z2), (z2, z1)):
        z = node(mine)
        loss = add(hard_rows(z, y), kl_rows(z, node(peer), T))
        loss.backward(np.full(loss.value.shape, 1 / len(y)))
        found.append(z.grad)
    return tuple(found)


def generator_input_gradient(teacher, student, x, T):
    x = node(x)
    loss = kl_rows(net(nodes(student), x), net(nodes(teacher), x), T)
    loss.backward(np.full(loss.value.shape, 1 / len(x.value)))
    return x.grad
'''

LOOPS = """
import numpy as np


def probabilities(row, T):
    e = np.exp(row / T - row.max() / T)
    return e / e.sum()


def logs(row, T):
    row = row / T
    return row - np.logaddexp.reduce(row)


def affine_relu_forward(x, W, b):
    return np.array([np.maximum(row @ W + b, 0) for row in x])


def affine_relu_backward(dh, x, W, b):
    dx, dW, db = np.zeros(x.shape), np.zeros(W.shape), np.zeros(b.shape)
    for i in range(len(x)):
        h = np.maximum(np.dot(x[i], W) + b, 0)
        da = np.where(h > 0, dh[i], 0)
        dW += np.outer(x[i], da)
        db += da
        dx[i] = W.dot(da)
    return dx, dW, db


def cross_entropy(z, y):
    dz, loss = np.zeros(z.shape), 0.0
    for i, k in enumerate(y):
        loss -= logs(z[i], 1.0)[k] / len(y)
        dz[i] = probabilities(z[i], 1.0) / len(y)
        dz[i, k] -= 1 / len(y)
    return loss, dz


def kd_loss(zs, zt, T):
    dz, loss = np.zeros(zs.shape), 0.0
    for i in range(len(zs)):
        q = probabilities(zt[i], T)
        keep = q > 0
        loss += T * T * np.dot(q[keep], logs(zt[i], T)[keep] - logs(zs[i], T)[keep])
        dz[i] = (probabilities(zs[i], T) - q) * T / len(zs)
    return loss / len(zs), dz


def mlp_gradients(params, x, dz):
    hidden = [x]
    for W, b in params[:-1]:
        hidden.append(np.einsum("bi,ij->bj", hidden[-1], W) + b)
        hidden[-1][hidden[-1] < 0] = 0
    gradients = []
    for i in range(len(params) - 1, -1, -1):
        gradients.append((np.einsum("bi,bj->ij", hidden[i], dz), np.einsum("bj->j", dz)))
        dz = np.einsum("bj,ij->bi", dz, params[i][0])
        dz[hidden[i] <= 0] = 0
    return gradients[::-1]
"""

SOFTPLUS = '''
import numpy as np


def kd_loss(zs, zt, T):
    """By odds against every other class, in plain sums of exponentials."""
    a, b = zs / T, zt / T
    a, b = a - a.max(1, keepdims=True), b - b.max(1, keepdims=True)
    ea, eb = np.exp(a), np.exp(b)
    sa, sb = ea.sum(1, keepdims=True), eb.sum(1, keepdims=True)
    loss = ((eb / sb) * ((b - a) + (np.log(sa) - np.log(sb)))).sum(1)
    return np.average(loss) * T**2, (ea * sb - eb * sa) / (sa * sb) * (T / zs.shape[0])
'''

EXACT = [
    *[("an autograd of one's own", f"E{number}", TAPE) for number in (2, 3, 4, 5, 6, 8, 9, 10)],
    *[("loops, sample by sample", f"E{number}", LOOPS) for number in (2, 3, 4, 6)],
    ("one fraction", "E4", SOFTPLUS),
]
