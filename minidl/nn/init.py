"""Initial values of weights: where training starts.

A weight [K, C, R, S] or [K, C] has fan_in = C R S inputs per output and fan_out = K R S outputs per input. The schemes
choose the variance so that signals keep their size from layer to layer:

    glorot (xavier)   var = gain^2 2 / (fan_in + fan_out)       forward and backward at once; tanh, sigmoid
    he (kaiming)      var = gain^2 / fan, gain^2 = 2            ReLU: half of the units are 0
    lecun             var = 1 / fan_in                          linear units, lecun_tanh
    orthogonal        W W^T = gain^2 I                          lengths are kept exactly
    alexnet           N(0, 0.01^2), biases 0, of named layers 1

Uniform schemes draw from [-b, b] with b = sqrt(3 var). Every function edits the Tensor in place and returns it, as PyTorch's of
the same name. Numbers are drawn on the host, in float32, from the stream of `minidl.manual_seed`: the same seed gives the
same weights on every device and, rounded, in every type.

Sources: Glorot, Bengio 2010; He, Zhang, Ren, Sun 2015, arXiv 1502.01852; LeCun, Bottou, Orr, Mueller 1998, section 4.6;
Saxe, McClelland, Ganguli 2014, arXiv 1312.6120; Krizhevsky, Sutskever, Hinton 2012, section 5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from minidl.backend import to_device
from minidl.modes import no_grad, no_numbers
from minidl.nn.module import Module
from minidl.random import stream
from minidl.signature import Shape, brackets
from minidl.tensor import Tensor

# ---- plain distributions ---------------------------------------------------------------------------------------------


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Every value is val."""
    with no_grad():
        return tensor.copy_(val)


def zeros_(tensor: Tensor) -> Tensor:
    """Every value is 0."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Every value is 1."""
    return constant_(tensor, 1.0)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Uniform in [a, b)."""
    return _drawn(tensor, "random", b - a, a)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Normal with this mean and standard deviation."""
    return _drawn(tensor, "standard_normal", std, mean)


def _drawn(tensor: Tensor, distribution: str, scale: float, shift: float) -> Tensor:
    if no_numbers():
        return tensor
    with no_grad(), tensor.editing() as data:
        in_place = isinstance(data, np.ndarray) and data.dtype == np.float32 and data.flags.c_contiguous
        values = data if in_place else np.empty(tensor.shape, np.float32)
        getattr(stream().generator(), distribution)(dtype=np.float32, out=values)
        values *= scale
        if shift:
            values += shift
        if not in_place:
            data[...] = to_device(values, tensor.device)
    return tensor


def _put(tensor: Tensor, values: np.ndarray) -> Tensor:
    with no_grad():
        return tensor.copy_(to_device(values, tensor.device))


# ---- by fans ---------------------------------------------------------------------------------------------------------


def fans(shape: Shape) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight [K, C] or [K, C, R, S]."""
    if len(shape) < 2:
        raise ValueError(
            f"init: fans need a weight of 2 or more dimensions, got {brackets(shape)}; for a bias use constant_ or uniform_"
        )
    receptive = math.prod(shape[2:])
    return shape[1] * receptive, shape[0] * receptive


GAINS = {"linear": 1.0, "conv2d": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """What a nonlinearity asks the weights to make up for; param is leaky_relu's slope (0.01)."""
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in GAINS:
        raise ValueError(f"init: no gain for {nonlinearity!r}; choose from leaky_relu, {', '.join(GAINS)}")
    return GAINS[nonlinearity]


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Glorot's, uniform."""
    return _symmetric(tensor, gain * math.sqrt(2 / sum(fans(tensor.shape))))


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Glorot's, normal."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor.shape))))


def kaiming_uniform_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """He's, uniform; a is the slope of leaky_relu, 0 for ReLU."""
    return _symmetric(tensor, calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode)))


def kaiming_normal_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """He's, normal; a is the slope of leaky_relu, 0 for ReLU."""
    return normal_(tensor, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode)))


def lecun_uniform_(tensor: Tensor) -> Tensor:
    """LeCun's, uniform."""
    return _symmetric(tensor, 1 / math.sqrt(_fan(tensor, "fan_in")))


def lecun_normal_(tensor: Tensor) -> Tensor:
    """LeCun's, normal."""
    return normal_(tensor, 0.0, 1 / math.sqrt(_fan(tensor, "fan_in")))


glorot_uniform_, glorot_normal_, he_uniform_, he_normal_ = xavier_uniform_, xavier_normal_, kaiming_uniform_, kaiming_normal_


def _symmetric(tensor: Tensor, std: float) -> Tensor:
    """Uniform in [-b, b) with this standard deviation."""
    b = math.sqrt(3) * std
    return uniform_(tensor, -b, b)


def _fan(tensor: Tensor, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"init: mode must be 'fan_in' or 'fan_out', got {mode!r}")
    return fans(tensor.shape)[mode == "fan_out"]


# ---- whole matrices, layers and models -------------------------------------------------------------------------------


def orthogonal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Rows (or columns, if they are fewer) of the weight seen as a matrix [K, rest] are orthogonal and of length gain.

    Q of a QR decomposition of normal numbers; each column's sign is that of R's diagonal, so that Q is uniform among all
    orthogonal matrices (Mezzadri 2007).
    """
    if tensor.ndim < 2:
        raise ValueError(f"init: orthogonal_ needs 2 or more dimensions, got {brackets(tensor.shape)}")
    if no_numbers():
        return tensor
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    tall = stream().generator().standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    q *= np.where(np.diag(r) < 0, -gain, gain)
    return _put(tensor, (q if rows >= columns else q.T).reshape(tensor.shape))


def default_(weight: Tensor, bias: Tensor | None) -> None:
    """PyTorch's start of Linear and convolutions: all of it uniform in [-1, 1] / sqrt(fan_in)."""
    kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        bound = 1 / math.sqrt(fans(weight.shape)[0])
        uniform_(bias, -bound, bound)


def alexnet_(module: Module, ones: Sequence[str] = (), std: float = 0.01, bias: float = 1.0) -> Module:
    """AlexNet's start for a whole model: weights N(0, std^2), biases 0, and `bias` in the layers named in `ones`.

    The paper's `ones` are conv2, conv4, conv5 and the hidden dense layers; Caffe has bias = 0.1 there, std = 0.005 in fc6, fc7.
    """
    parameters = dict(module.named_parameters())
    unknown = [name for name in ones if f"{name}.bias" not in parameters]
    if unknown:
        having = ", ".join(name.removesuffix(".bias") for name in parameters if name.endswith(".bias"))
        raise ValueError(f"alexnet_: no layer {unknown[0]!r} with a bias; there are {having}")
    for name, p in parameters.items():
        layer, _, kind = name.rpartition(".")
        if kind == "weight" and p.ndim > 1:
            normal_(p, 0.0, std)
        elif kind == "bias":
            constant_(p, bias if layer in ones else 0.0)
    return module
