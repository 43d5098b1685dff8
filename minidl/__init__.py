"""minidl: a deep-learning engine on NumPy and CuPy, made to be read.

An array flows through it so: `Tensor` -> op -> kernel -> arithmetic, and back the same way. Read it in this order; each file
is short and says its maths, its shapes and its source at the top.

    1. tensor.py                  Tensor, the tape, backward()
    2. ops/conv2d/im2col.py       a kernel: the second hop, where the arithmetic is
    3. op.py, signature.py        how an op is declared once, and what is checked at a call
    4. ops/prelu.py               a whole op in one file: copy it to add your own
    5. laws.py, derivative.py     what every kernel must obey, and how a slope is measured
    6. draw.py                    who answers a problem's questions: Hypothesis, the grader, a benchmark
    7. nn/, optim/                parameters and one op call each; the update rules
    8. data/, train.py            images in, curves out
    9. backend.py, random.py      NumPy or CuPy; randomness as an input
   10. executor.py, recompute.py  the one line every kernel call passes; time for memory
   11. cuda/, capture.py          kernels of a GPU's own; a step as one launch

Functions live here: `minidl.conv2d(x, w, padding=1)`. Layers are in `minidl.nn`, update rules in `minidl.optim`.
The examples in the docstrings begin after `import minidl` and `from minidl import Tensor, data, nn, optim`.
"""

from minidl import data, nn, optim, random
from minidl.allocator import keep_memory
from minidl.capture import capture
from minidl.gradcheck import gradcheck
from minidl.modes import (
    compiled,
    detect_anomaly,
    enable_grad,
    grad_enabled,
    no_grad,
    own_products,
    precision,
    shapes_only,
    threads,
)
from minidl.op import OPS, Cost, Kernel, Op, Problem
from minidl.ops.activations import elu, gelu, hardtanh, leaky_relu, relu, relu6, sigmoid, silu, softplus, tanh
from minidl.ops.activations import hardtanh as hard_tanh
from minidl.ops.activations import sigmoid as logistic
from minidl.ops.activations import softplus as smooth_rectifier
from minidl.ops.activations_classic import (
    arctan,
    binary_step,
    gaussian,
    identity,
    inverse_multiquadric,
    lecun_tanh,
    logit,
    multiquadric,
    piecewise_linear,
    probit,
)
from minidl.ops.adaptive_avg_pool2d import adaptive_avg_pool2d
from minidl.ops.alpha_batch_norm import alpha_batch_norm
from minidl.ops.am_softmax import am_softmax
from minidl.ops.am_softmax_linear import am_softmax_linear
from minidl.ops.arithmetic import (
    absolute,
    add,
    clip,
    cos,
    divide,
    exp,
    log,
    maximum,
    minimum,
    multiply,
    negative,
    power,
    sin,
    sqrt,
    subtract,
)
from minidl.ops.arithmetic import absolute as abs
from minidl.ops.arithmetic import cos as cosine
from minidl.ops.avg_pool2d import avg_pool2d
from minidl.ops.batch_norm import batch_norm
from minidl.ops.batch_norm_inference import batch_norm_inference
from minidl.ops.batch_norm_relu import batch_norm_relu
from minidl.ops.bce_with_logits import binary_cross_entropy_with_logits
from minidl.ops.bias_relu import bias_relu
from minidl.ops.comparisons import eq, ge, gt, le, lt, ne
from minidl.ops.conv2d import conv2d
from minidl.ops.conv_transpose2d import conv_transpose2d
from minidl.ops.cosine import cosine_logits
from minidl.ops.dropout import dropout
from minidl.ops.extremes import argmax
from minidl.ops.extremes import max_ as max
from minidl.ops.extremes import min_ as min
from minidl.ops.getitem import flip, getitem
from minidl.ops.global_avg_pool2d import global_avg_pool2d
from minidl.ops.joining import concat, split, stack
from minidl.ops.linear import linear
from minidl.ops.log_softmax import log_softmax
from minidl.ops.lrn import lrn
from minidl.ops.matmul import matmul
from minidl.ops.max_pool2d import max_pool2d
from minidl.ops.maxout import maxout
from minidl.ops.mse_loss import mse_loss
from minidl.ops.pad import pad
from minidl.ops.prelu import prelu
from minidl.ops.reduce import mean, var
from minidl.ops.reduce import sum_ as sum
from minidl.ops.shape import broadcast_to, flatten, permute, reshape, squeeze, transpose, unsqueeze
from minidl.ops.signed_power import signed_power
from minidl.ops.softmax import softmax
from minidl.ops.softmax_cross_entropy import softmax_cross_entropy
from minidl.ops.stochastic_pool2d import stochastic_pool2d
from minidl.ops.upsample import upsample
from minidl.ops.where import where
from minidl.random import manual_seed
from minidl.recompute import recompute
from minidl.tensor import Tensor

__version__ = "0.1.0"

__all__ = [
    "OPS",
    "Cost",
    "Kernel",
    "Op",
    "Problem",
    "Tensor",
    "abs",
    "absolute",
    "adaptive_avg_pool2d",
    "add",
    "alpha_batch_norm",
    "am_softmax",
    "am_softmax_linear",
    "arctan",
    "argmax",
    "avg_pool2d",
    "batch_norm",
    "batch_norm_inference",
    "batch_norm_relu",
    "bias_relu",
    "binary_cross_entropy_with_logits",
    "binary_step",
    "broadcast_to",
    "capture",
    "clip",
    "compiled",
    "concat",
    "conv2d",
    "conv_transpose2d",
    "cos",
    "cosine",
    "cosine_logits",
    "data",
    "detect_anomaly",
    "divide",
    "dropout",
    "elu",
    "enable_grad",
    "eq",
    "exp",
    "flatten",
    "flip",
    "gaussian",
    "ge",
    "gelu",
    "getitem",
    "global_avg_pool2d",
    "grad_enabled",
    "gradcheck",
    "gt",
    "hard_tanh",
    "hardtanh",
    "identity",
    "inverse_multiquadric",
    "keep_memory",
    "le",
    "leaky_relu",
    "lecun_tanh",
    "linear",
    "log",
    "log_softmax",
    "logistic",
    "logit",
    "lrn",
    "lt",
    "manual_seed",
    "matmul",
    "max",
    "max_pool2d",
    "maximum",
    "maxout",
    "mean",
    "min",
    "minimum",
    "mse_loss",
    "multiply",
    "multiquadric",
    "ne",
    "negative",
    "nn",
    "no_grad",
    "optim",
    "own_products",
    "pad",
    "permute",
    "piecewise_linear",
    "power",
    "precision",
    "prelu",
    "probit",
    "random",
    "recompute",
    "relu",
    "relu6",
    "reshape",
    "shapes_only",
    "sigmoid",
    "signed_power",
    "silu",
    "sin",
    "smooth_rectifier",
    "softmax",
    "softmax_cross_entropy",
    "softplus",
    "split",
    "sqrt",
    "squeeze",
    "stack",
    "stochastic_pool2d",
    "subtract",
    "sum",
    "tanh",
    "threads",
    "transpose",
    "unsqueeze",
    "upsample",
    "var",
    "where",
]
