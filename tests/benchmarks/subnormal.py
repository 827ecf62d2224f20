"""What subnormal numbers cost: `python tests/benchmarks/subnormal.py [--epochs 6]`.

A student 784-800-800-10 whose initial weights are small learns the logits of a teacher on 25,600 images of MNIST. Some
of its units die, and the moments of their weights decay. One student has an Adam that sets them to 0 every 100 steps
(`minikd.fast.CLEARED_EVERY`), the other one that never does. They take turns, an epoch each, and processor time is
printed, as a ratio, beside the share of Adam's first moments that are subnormal.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from minikd import MLP, Adam, cross_entropy, distill, fit, load_data, optim


def main() -> None:
    """Print a line for each epoch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=6)
    epochs = parser.parse_args().epochs
    data = load_data("mnist")
    x, y = data.x_train[:25_600], data.y_train[:25_600]
    teacher = MLP((784, 800, 800, 10), seed=0)
    fit(teacher, x, y, loss=cross_entropy, epochs=2, progress=False)
    knowledge = teacher.predict(x)  # (N, K)
    students = {}
    for every in (optim.CLEARED_EVERY, 10**9):
        model = MLP((784, 800, 800, 10), seed=1)
        model.theta *= 0.1
        students[every] = model, Adam(model, 1e-3)
    for epoch in range(epochs):
        seconds, subnormal = [], []
        for every, (model, adam) in students.items():
            optim.CLEARED_EVERY = every
            start = time.process_time()
            options = {"epochs": 1, "batch_size": 64, "seed": epoch, "optimizer": adam, "progress": False}
            distill(model, knowledge, x, None, temperature=20.0, soft_weight=1.0, **options)
            seconds.append(time.process_time() - start)
            m = np.abs(adam.state()["m"])
            subnormal.append(100 * np.mean((m > 0) & (m < np.finfo(m.dtype).tiny)))
        with_it, without = subnormal
        print(f"epoch {epoch + 1}: never cleared / cleared {seconds[1] / seconds[0]:.2f}; ", end="")
        print(f"subnormal moments {without:.0f} % and {with_it:.0f} %")


if __name__ == "__main__":
    main()
