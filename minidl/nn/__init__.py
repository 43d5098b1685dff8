"""Layers: parameters and one op call each. Names, parameter names and defaults are PyTorch's."""

from minidl.nn import init
from minidl.nn.activations import (
    ELU,
    GELU,
    Absolute,
    Activation,
    Arctan,
    BinaryStep,
    Cosine,
    Gaussian,
    Hardtanh,
    Identity,
    InverseMultiquadric,
    LeakyReLU,
    LeCunTanh,
    Logit,
    LogSoftmax,
    Maxout,
    Multiquadric,
    PiecewiseLinear,
    PReLU,
    Probit,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from minidl.nn.containers import ModuleList, Sequential
from minidl.nn.conv import Conv2d, ConvTranspose2d
from minidl.nn.dropout import Dropout
from minidl.nn.images import check_images, check_size
from minidl.nn.linear import Flatten, Linear
from minidl.nn.losses import AMSoftmax, BCEWithLogitsLoss, CrossEntropyLoss, MSELoss
from minidl.nn.module import Buffer, Module, Parameter
from minidl.nn.normalisation import BatchNorm1d, BatchNorm2d, LocalResponseNorm
from minidl.nn.pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from minidl.nn.transfer import freeze, heads, unfreeze
from minidl.nn.upsample import Upsample
from minidl.nn.weights import load_weights, read_weights, save_weights

__all__ = [
    "ELU",
    "GELU",
    "AMSoftmax",
    "Absolute",
    "Activation",
    "AdaptiveAvgPool2d",
    "Arctan",
    "AvgPool2d",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "BinaryStep",
    "Buffer",
    "Conv2d",
    "ConvTranspose2d",
    "Cosine",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "Gaussian",
    "Hardtanh",
    "Identity",
    "InverseMultiquadric",
    "LeCunTanh",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "LogSoftmax",
    "Logit",
    "MSELoss",
    "MaxPool2d",
    "Maxout",
    "Module",
    "ModuleList",
    "Multiquadric",
    "PReLU",
    "Parameter",
    "PiecewiseLinear",
    "Probit",
    "ReLU",
    "ReLU6",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "Upsample",
    "check_images",
    "check_size",
    "freeze",
    "heads",
    "init",
    "load_weights",
    "read_weights",
    "save_weights",
    "unfreeze",
]
