"""Exercises E11 to E23, the bug museum: mistakes from published code. Write a test that catches each mistake.

A test gets a function. It must raise AssertionError (for example by `assert`) if the function has the described
mistake, and return if the function is right. It is tried on several broken versions and on several right versions. The
right versions compute the same result in different ways, so compare with a tolerance, as np.allclose does, and not to
the last bit. You do not see the code of the functions. Call them with arguments that show the mistake.

    minikd course check E11       checks one exhibit
    minikd course hint E11 -n 1   shows the first of its three hints

E11 to E15 are about the loss of E4: kd_loss(zs, zt, T) -> loss, dzs, with T² times the mean over the batch of
KL(softmax(zt / T) || softmax(zs / T)), and its gradient with respect to the student's logits zs. zs, zt (B, K).
"""

import numpy as np


def test_e11(kd_loss):
    """E11. T² is missing, at least in the gradient: the larger the temperature, the less the teacher counts."""
    raise NotImplementedError("E11")


def test_e12(kd_loss):
    """E12. The mean is also taken over the K classes: loss or gradient is too small by a factor of K."""
    raise NotImplementedError("E12")


def test_e13(kd_loss):
    """E13. Softmax is applied twice, to the student's or to the teacher's logits."""
    raise NotImplementedError("E13")


def test_e14(kd_loss):
    """E14. The logarithm of a probability that has become 0. Right versions work for logits up to ±1e4."""
    raise NotImplementedError("E14")


def test_e15(kd_loss):
    """E15. Teacher and student are swapped."""
    raise NotImplementedError("E15")


def test_e16(distill):
    """E16. Student and teacher are one object.

    distill(student, teacher, x, T, lr, steps) -> student, teacher: both are linear networks, logits = x W, W (D, K).
    The student takes `steps` steps of gradient descent on the loss of E4 over all of x (N, D). The teacher is returned
    unchanged.
    """
    raise NotImplementedError("E16")


def test_e17(soft_targets):
    """E17. The teacher was left in training mode: dropout disturbs its predictions.

    soft_targets(h, W, T, rate, seed) -> softmax(h W / T) (B, K), from the teacher's last hidden layer h (B, H) and its
    weights W (H, K). rate and seed are those of its dropout, which must have no effect.
    """
    raise NotImplementedError("E17")


def test_e18(student_hidden):
    """E18. The student was left in evaluation mode: it is trained without its dropout.

    student_hidden(x, W, b, rate, seed) -> (B, H): max(x W + b, 0), then each entry is set to 0 with probability `rate`
    and divided by (1 - rate) otherwise. x (B, D), W (D, H), b (H,). The seed decides which entries become 0; how it
    does so is not specified.
    """
    raise NotImplementedError("E18")


def test_e19(similarity):
    """E19. L1 normalisation is used instead of L2.

    similarity(f) -> G (B, B): f f^T, the products of all pairs of samples, each row divided by its L2 norm; f (B, W)
    """
    raise NotImplementedError("E19")


def test_e20(epoch):
    """E20. Cached logits are out of step with shuffled data.

    epoch(x, cache, order) -> x (N, D), targets (N, K): samples and the teacher's cached logits in the order of an
    epoch: first row order[0], then row order[1], and so on. order is a permutation of 0 .. N - 1.
    """
    raise NotImplementedError("E20")


def test_e21(reverse_kl):
    """E21. The two KL divergences are swapped: the student covers the teacher's modes instead of seeking one.

    reverse_kl(zs, zt, T) -> loss, dzs: T² times the mean over the batch of KL(p || q), p = softmax(zs / T) the student,
    q = softmax(zt / T) the teacher, and its gradient with respect to the student's logits. zs, zt (B, K).
    """
    raise NotImplementedError("E21")


def test_e22(jsd):
    """E22. Log-probabilities are mixed instead of probabilities.

    jsd(zs, zt, beta) -> loss, dzs: the mean over the batch of beta KL(q || m) + (1 - beta) KL(p || m) with the mixture
    m = beta q + (1 - beta) p, p = softmax(zs), q = softmax(zt), and its gradient in zs. zs, zt (B, K), 0 < beta < 1.
    """
    raise NotImplementedError("E22")


def test_e23(letter_loss):
    """E23. Padding is counted in the mean: the loss of a word depends on the longest word of its batch.

    letter_loss(z, y, lengths) -> loss, dz: the cross-entropy, averaged over all letters of the batch. z (B, L, K),
    labels y (B, L) whole numbers, lengths (B,) from 1 to L. Everything after the first lengths[i] letters of word i is
    padding.
    """
    raise NotImplementedError("E23")
