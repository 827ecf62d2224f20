"""The gallery: methods of distillation for an MLP, one file each. See base.py for what they have in common.

A new method is a new file with a METHOD, and its name in the list below, which has the order of the tables.
"""

from importlib import import_module

from .base import Method

FILES = (
    "kd logit_matching dkd dist standardised reverse_kl jsd skewed top_k sequence_level on_policy "
    "fitnets rkd sp pkt mutual born_again assistants ensemble annealing label_smoothing virtual_teacher mean_teacher "
    "data_free self_supervised"
)
METHODS: dict[str, Method] = {
    method.name: method for method in (import_module(f".{file}", __name__).METHOD for file in FILES.split())
}
