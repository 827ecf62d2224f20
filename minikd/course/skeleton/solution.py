"""Exercises E1 to E10: knowledge distillation by hand, in NumPy.

Replace each `raise NotImplementedError` by your code. The exercises are independent: each is checked by itself, with
right inputs. All numbers are float64; B is the batch size, K the number of classes. Return new arrays and do not change
the arguments.

Derive the gradients. Any exact code of your own counts, including an autograd that you wrote yourself. A gradient that
is measured, by differences or by complex steps, does not count, except in E7.

    minikd course check          checks all exercises that you have begun
    minikd course check E4       checks one exercise
    minikd course hint E4 -n 1   shows the first of its three hints
"""

import numpy as np


def log_softmax(z, T):
    """E1. The logarithm of the softmax with temperature: log p_k = z_k / T - log sum_j exp(z_j / T), row by row.

    z (B, K), T > 0 a number -> (B, K). Logits may be as large as ±1e4: avoid overflow, NaN and -inf.
    """
    raise NotImplementedError("E1")


def affine_relu_forward(x, W, b):
    """E2. A hidden layer: h = max(x W + b, 0).  x (B, D), W (D, H), b (H,) -> h (B, H)"""
    raise NotImplementedError("E2")


def affine_relu_backward(dh, x, W, b):
    """E2. The gradients of the layer's arguments, given dh = dL/dh. The slope of relu at exactly 0 is 0.

    dh (B, H), and the arguments of the forward pass: x (B, D), W (D, H), b (H,) -> dx (B, D), dW (D, H), db (H,)
    """
    raise NotImplementedError("E2")


def cross_entropy(z, y):
    """E3. Cross-entropy with labels, mean over the batch: L = -(1/B) sum_i log softmax(z_i)[y_i], and dL/dz.

    z (B, K), labels y (B,) whole numbers -> L a number, dz (B, K). There may be logits of ±1e4 and 30,000 classes.
    """
    raise NotImplementedError("E3")


def kd_loss(zs, zt, T):
    """E4. The loss of distillation: L = T² (1/B) sum_i KL(q_i || p_i), and dL/dzs.

    p_i = softmax(zs_i / T) is the student, q_i = softmax(zt_i / T) the teacher, KL(q || p) = sum_k q_k log(q_k / p_k)
    zs, zt (B, K), T > 0 -> L a number, dzs (B, K). The teacher is a constant. There may be logits of ±1e4 and 30,000
    classes.
    """
    raise NotImplementedError("E4")


def kd_total(zs, zt, y, T, soft_weight, sample_weight):
    """E5. Labels and teacher, with weighted samples. With w = soft_weight and s = sample_weight,

        L = sum_i s_i [(1 - w) CE_i + w T² KL_i] / sum_i s_i,       and dL/dzs

    CE_i = -log softmax(zs_i)[y_i] (at temperature 1), KL_i as in E4.
    zs, zt (B, K), y (B,), T > 0, 0 <= w <= 1, s (B,) >= 0 -> L a number, dzs (B, K). If all s_i are 0, L = 0 and
    dzs = 0.
    """
    raise NotImplementedError("E5")


def mlp_gradients(params, x, dz):
    """E6. The gradients of all weights and biases of an MLP, given dL/dz of its logits.

    params [(W1, b1), (W2, b2), ...]: relu, with the slope 0 at exactly 0, after each layer except the last. A network
    may have a single layer.
    x (B, D), dz (B, K) -> [(dW1, db1), (dW2, db2), ...], shaped like params
    """
    raise NotImplementedError("E6")


def numerical_gradient(f, x, h):
    """E7. The gradient of f at x, measured by central differences: (f(x + h e_i) - f(x - h e_i)) / (2 h).

    f array -> number, x any shape, h > 0 -> an array like x. f must be called exactly twice for each entry of x. At the
    end, x must be as before.
    """
    raise NotImplementedError("E7")


def distill(params, x, teacher_logits, T, lr, batches):
    """E8. Train a student on a teacher's logits alone, by plain gradient descent.

    params [(W1, b1), ...] as in E6; x (N, D); teacher_logits (N, K), one row for each row of x. batches is a list of
    arrays of row numbers: for each array, take one step  theta <- theta - lr dL/dtheta  with the loss of E4 on those
    rows.
    Returns the trained params as a new list of pairs. The old params must not change.
    """
    raise NotImplementedError("E8")


def mutual_gradients(z1, z2, y, T):
    """E9. Two students teach each other: the gradient of each student's loss with respect to its own logits.

        L1 = CE(z1, y) + T² KL(p2 || p1),   L2 = CE(z2, y) + T² KL(p1 || p2),   p = softmax(z / T), means over the batch

    In each loss the other student is a constant.  z1, z2 (B, K), y (B,), T > 0 -> dz1 = dL1/dz1, dz2 = dL2/dz2
    """
    raise NotImplementedError("E9")


def generator_input_gradient(teacher, student, x, T):
    """E10. How a made-up sample must change so that student and teacher disagree more (data-free distillation).

        J(x) = T² (1/B) sum_i KL(q_i || p_i),   q = softmax(teacher(x) / T),   p = softmax(student(x) / T)

    teacher, student: params of MLPs as in E6, do not change them;  x (B, D) -> dJ/dx (B, D). J depends on x through
    both.
    """
    raise NotImplementedError("E10")
