"""minikd: knowledge distillation from scratch.

A tiny MLP library without autograd. Every forward and backward pass, the softmax with temperature and the gradient of
distillation are derived and written by hand. Arrays are NumPy's or, with `device="cuda"`, CuPy's.
"""

from .data import load_data
from .errors import CheckpointError, DataError, DeviceError, DivergedError, MinikdError
from .gradcheck import GradientReport, check_gradients
from .losses import cross_entropy, distillation_loss, soft_cross_entropy
from .metrics import History, Scores, evaluate
from .mlp import MLP
from .ops import log_softmax, softmax
from .optim import SGD, Adam, AdamW
from .training import distill, fit

__version__ = "0.2.0"

__all__ = [
    "MLP",
    "SGD",
    "Adam",
    "AdamW",
    "CheckpointError",
    "DataError",
    "DeviceError",
    "DivergedError",
    "GradientReport",
    "History",
    "MinikdError",
    "Scores",
    "check_gradients",
    "cross_entropy",
    "distill",
    "distillation_loss",
    "evaluate",
    "fit",
    "load_data",
    "log_softmax",
    "soft_cross_entropy",
    "softmax",
]
