"""The gallery: ways to distil that an MLP can show, a file each. See method.py for what they have in common.

A new method is a new file with a METHOD, and a line here.
"""

from . import (
    annealing,
    assistants,
    born_again,
    data_free,
    dist,
    dkd,
    ensemble,
    fitnets,
    kd,
    label_smoothing,
    logit_matching,
    mean_teacher,
    mutual,
    pkt,
    rkd,
    self_supervised,
    sp,
    standardised,
    virtual_teacher,
)
from .base import Method

METHODS: dict[str, Method] = {
    module.METHOD.name: module.METHOD
    for module in (
        kd,
        logit_matching,
        dkd,
        dist,
        standardised,
        fitnets,
        rkd,
        sp,
        pkt,
        mutual,
        born_again,
        assistants,
        ensemble,
        annealing,
        label_smoothing,
        virtual_teacher,
        mean_teacher,
        data_free,
        self_supervised,
    )
}

__all__ = ["METHODS", "Method"]
