"""Layers that normalise.

Batch norm:  y = weight (x - mean) / sqrt(var + eps) + bias,  channel by channel.

    weight, bias               [C], start at 1 and 0; None with affine=False
    running_mean, running_var  [C], start at 0 and 1; each training batch moves them:
                               running <- (1 - momentum) running + momentum batch,  var being the unbiased one
                               with momentum=None they are the plain mean over all batches so far
    num_batches_tracked        how many those were

Training normalises by the statistics of the batch, evaluation by the running ones (by the batch's with
track_running_stats=False, when there are none).

What mostly follows is said in the call, norm(x, relu=True, residual=r) for max(0, norm(x) + r): in training batch norm does it
in the same passes over memory (minidl.batch_norm_relu).
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from minidl.backend import Array
from minidl.modes import is_replay
from minidl.nn.checks import number, whole, yes_or_no
from minidl.nn.module import Buffer, Module, Parameter
from minidl.ops import activations
from minidl.ops.alpha_batch_norm import alpha_batch_norm
from minidl.ops.batch_norm import batch_norm
from minidl.ops.batch_norm_inference import batch_norm_inference
from minidl.ops.batch_norm_relu import batch_norm_relu
from minidl.ops.lrn import lrn
from minidl.ops.signed_power import signed_power
from minidl.signature import ShapeError, brackets
from minidl.tensor import Tensor


class _BatchNorm(Module):
    expects: ClassVar[dict[int, str]]  # number of dimensions -> how errors write the shape

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ):
        self.num_features = num_features = whole(self, "num_features", num_features)
        self.eps = number(self, "eps", eps, least=0)
        self.momentum = None if momentum is None else number(self, "momentum", momentum, least=0, most=1)
        self.affine, self.track_running_stats = affine, track_running_stats
        self.weight = Parameter(np.ones(num_features, np.float32)) if affine else None
        self.bias = Parameter(np.zeros(num_features, np.float32)) if affine else None
        self.running_mean = Buffer(np.zeros(num_features, np.float32)) if track_running_stats else None
        self.running_var = Buffer(np.ones(num_features, np.float32)) if track_running_stats else None
        self.num_batches_tracked = Buffer(np.zeros((), np.int64)) if track_running_stats else None

    def forward(self, x: Tensor, *, relu: bool = False, residual: Tensor | None = None) -> Tensor:
        """x -> y of the same shape.

        residual  what is added to y, of the shape of x
        relu      max(0, y) in the end
        """
        relu = yes_or_no(self, "relu", relu)
        if len(x.shape) not in self.expects or x.shape[1] != self.num_features:
            wanted = " or ".join(shape.format(C=self.num_features) for shape in self.expects.values())
            raise ShapeError(f"{type(self).__name__}: expected x {wanted}, got {brackets(x.shape)}")
        if residual is not None and residual.shape != x.shape:
            got = brackets(residual.shape)
            raise ShapeError(f"{type(self).__name__}: expected residual of the shape of x {brackets(x.shape)}, got {got}")
        if self.running_mean is not None and not self.training:
            return _then(self._by_running_statistics(x), relu, residual)
        y, mean, var = self._by_the_batch(x, relu, residual)
        if not is_replay():
            self._track(mean.data, var.data, y.size // self.num_features)
        return y

    def _by_the_batch(self, x: Tensor, relu: bool, residual: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """y, and the mean and the biased variance of the batch."""
        if relu:
            return batch_norm_relu(x, self.weight, self.bias, residual, eps=self.eps)
        y, mean, var = batch_norm(x, self.weight, self.bias, eps=self.eps)
        return _then(y, relu, residual), mean, var

    def _by_running_statistics(self, x: Tensor) -> Tensor:
        return batch_norm_inference(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)

    def _track(self, mean: Array, var: Array, M: int) -> None:
        """Move the running statistics towards those of a batch with M values per channel."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        for running, batch in ((self.running_mean, mean), (self.running_var, var * (M / (M - 1)))):
            if self.momentum is None:  # the weights are made where the count is: to read it would wait for a GPU
                part = 1 / self.num_batches_tracked.data.astype(np.float64)
                old, new = (1 - part).astype(running.dtype), part.astype(batch.dtype)
            else:
                old, new = 1 - self.momentum, self.momentum
            running.copy_(old * running.data + new * batch)

    def extra_repr(self) -> str:
        """As PyTorch prints it."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


def _then(y: Tensor, rectify: bool, residual: Tensor | None) -> Tensor:
    """y + residual, rectified or not."""
    y = y if residual is None else y + residual
    return activations.relu(y) if rectify else y


class BatchNorm1d(_BatchNorm):
    """Batch norm of features [N, C] or sequences [N, C, L]: the statistics of a channel run over N and L."""

    expects: ClassVar = {2: "[N,{C}]", 3: "[N,{C},L]"}


class BatchNorm2d(_BatchNorm):
    """Batch norm of images [N, C, H, W]: the statistics of a channel run over N, H and W."""

    expects: ClassVar = {4: "[N,{C},H,W]"}


class AlphaBatchNorm2d(_BatchNorm):
    """Alpha-Net's batch norm of images [N, C, H, W]: the signed power of what batch norm makes, then weight and bias.

        z = (x - mean) / sqrt(var + eps)        y = weight sgn(z) ((|z| + epsilon)^alpha - epsilon^alpha) + bias

    alpha    the power, above 0; with 1 it is BatchNorm2d
    epsilon  above 0, keeps the slope at z = 0 finite (eps is batch norm's own, added to the variance)

    Our reading of the paper's "alpha transform over convoluted layers": see minidl.alpha_batch_norm. Parameters and buffers are
    BatchNorm2d's, by the same names.
    """

    expects: ClassVar = BatchNorm2d.expects

    def __init__(
        self,
        num_features: int,
        alpha: float = 0.5,
        epsilon: float = 1e-2,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ):
        super().__init__(num_features, eps, momentum, affine, track_running_stats)
        self.alpha, self.epsilon = (
            number(self, name, value, above=0, below=math.inf) for name, value in (("alpha", alpha), ("epsilon", epsilon))
        )

    def _by_the_batch(self, x: Tensor, relu: bool, residual: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        attrs = {"eps": self.eps, "alpha": self.alpha, "epsilon": self.epsilon}
        y, mean, var = alpha_batch_norm(x, self.weight, self.bias, **attrs)
        return _then(y, relu, residual), mean, var

    def _by_running_statistics(self, x: Tensor) -> Tensor:
        z = batch_norm_inference(x, self.running_mean, self.running_var, eps=self.eps)
        return signed_power(z, self.weight, self.bias, alpha=self.alpha, epsilon=self.epsilon)

    def extra_repr(self) -> str:
        """The power, and what BatchNorm2d prints."""
        return f"{self.num_features}, alpha={self.alpha}, epsilon={self.epsilon}, " + super().extra_repr().partition(", ")[2]


class LocalResponseNorm(Module):
    """y = x / (k + alpha/size sum of x^2 over `size` neighbouring channels)^beta.

    convention  'pytorch': alpha is divided by size, as written; 'paper': it is not (Krizhevsky et al. 2012)
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, *, convention: str = "pytorch"):
        self.size, self.convention = whole(self, "size", size), convention
        if self.size % 2 == 0:
            raise ValueError(f"LocalResponseNorm: size must be odd, for a window with a channel in its middle, got {size}")
        self.alpha, self.beta = number(self, "alpha", alpha, least=0), number(self, "beta", beta, least=0)
        self.k = number(self, "k", k, least=0)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> y of the same shape."""
        return lrn(x, n=self.size, alpha=self.alpha, beta=self.beta, k=self.k, convention=self.convention)

    def extra_repr(self) -> str:
        """As PyTorch prints it, and the convention."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}, convention={self.convention!r}"
