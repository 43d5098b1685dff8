"""Optimisers and learning-rate schedules: one rule on arrays each, PyTorch's names and semantics."""

from minidl.optim.adam import Adam, AdamW
from minidl.optim.clip import clip_grad_norm_, clip_grad_value_
from minidl.optim.loss_scaler import LossScaler
from minidl.optim.optimizer import Optimizer
from minidl.optim.plateau import ReduceLROnPlateau
from minidl.optim.schedules import CosineAnnealingLR, LinearLR, LinearWarmup, MultiStepLR, Schedule, SequentialLR, StepLR
from minidl.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "CosineAnnealingLR",
    "LinearLR",
    "LinearWarmup",
    "LossScaler",
    "MultiStepLR",
    "Optimizer",
    "ReduceLROnPlateau",
    "Schedule",
    "SequentialLR",
    "StepLR",
    "clip_grad_norm_",
    "clip_grad_value_",
]
