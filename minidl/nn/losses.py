"""Losses as layers, and AMSoftmax and AMSoftmaxLinear, heads that own their class weights."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from minidl.nn import init
from minidl.nn.checks import number, whole, yes_or_no
from minidl.nn.module import Module, Parameter
from minidl.ops.am_softmax import am_softmax
from minidl.ops.am_softmax_linear import am_softmax_linear
from minidl.ops.bce_with_logits import binary_cross_entropy_with_logits
from minidl.ops.cosine import cosine_logits
from minidl.ops.mse_loss import mse_loss
from minidl.ops.softmax_cross_entropy import softmax_cross_entropy
from minidl.tensor import Tensor


class CrossEntropyLoss(Module):
    """Softmax cross-entropy of scores [N, C] and labels [N].

    ignore_index     labels of this value count for nothing
    reduction        'mean', 'sum' or 'none'
    label_smoothing  this part of each target is spread evenly over the classes
    """

    def __init__(self, *, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0):
        self.ignore_index, self.reduction, self.label_smoothing = ignore_index, reduction, label_smoothing

    def forward(self, scores: Tensor, labels: Any) -> Tensor:
        """The loss: one number, or [N] with reduction='none'."""
        attrs = {"ignore_index": self.ignore_index, "reduction": self.reduction, "label_smoothing": self.label_smoothing}
        return softmax_cross_entropy(scores, labels, **attrs)


class MSELoss(Module):
    """Mean squared error; reduction 'mean', 'sum' or 'none'."""

    def __init__(self, reduction: str = "mean"):
        self.reduction = reduction

    def forward(self, prediction: Tensor, target: Any) -> Tensor:
        """The loss: one number, or one for each element with reduction='none'."""
        return mse_loss(prediction, target, reduction=self.reduction)


class BCEWithLogitsLoss(Module):
    """Binary cross-entropy of scores and targets in [0, 1] of one shape.

    pos_weight  one number by which positives count more (above 1) or less
    """

    def __init__(self, *, reduction: str = "mean", pos_weight: float = 1.0):
        self.reduction, self.pos_weight = reduction, pos_weight

    def forward(self, scores: Tensor, target: Any) -> Tensor:
        """The loss: one number, or one for each element with reduction='none'."""
        return binary_cross_entropy_with_logits(scores, target, pos_weight=self.pos_weight, reduction=self.reduction)


class AMSoftmax(Module):
    """The head of a net that learns by angles: one class vector per row of `weight` [classes, features].

    >>> class Net(nn.Module):  # the model ends in features, without a ReLU
    ...     input_shape = (1, 8, 8)
    ...     def __init__(self, classes=10):
    ...         self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 32))
    ...         self.head = nn.AMSoftmax(32, classes, s=10.0)
    ...         self.loss, self.predict = self.head.loss, self.head.predict
    ...     def forward(self, x):
    ...         return self.body(x)
    >>> net = Net()
    >>> features = net(Tensor([[[[1.0] * 8] * 8]]))
    >>> features.shape, net.predict(features).shape, net.loss(features, [7]).shape
    ((1, 32), (1, 10), ())

    loss(features, labels)   the AM-softmax loss: scaled cosines, the right one less the margin m (minidl.am_softmax)
    predict(features)        cosines [N, classes] without the margin: the largest wins, and accuracy is read from them
    head(features)           the same as predict

    So a model gives features, and the trainer calls its `loss` and `predict`. Few classes want s = 10; m above 0.45 fails.
    """

    margins: ClassVar[dict[str, float]] = {"least": 0, "most": 2}  # cosines span no more

    def __init__(self, features: int, classes: int, s: float = 30.0, m: float = 0.35):
        self.features, self.classes = whole(self, "features", features), whole(self, "classes", classes)
        self.s, self.m = number(self, "s", s, above=0, below=math.inf), number(self, "m", m, **self.margins)
        self.weight = Parameter.zeros(self.classes, self.features)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the class vectors anew: normal, so that every direction is as likely as any other."""
        init.lecun_normal_(self.weight)

    def forward(self, features: Tensor) -> Tensor:
        """features [N, features] -> cosines [N, classes]."""
        return cosine_logits(features, self.weight)

    def predict(self, features: Tensor) -> Tensor:
        """features [N, features] -> cosines [N, classes]."""
        return self(features)

    def loss(self, features: Tensor, labels: Any) -> Tensor:
        """features [N, features], labels [N] -> one number."""
        return am_softmax(features, self.weight, labels, s=self.s, m=self.m)

    def extra_repr(self) -> str:
        """Sizes, scale and margin."""
        return f"features={self.features}, classes={self.classes}, s={self.s}, m={self.m}"


class AMSoftmaxLinear(AMSoftmax):
    """AMSoftmax whose loss goes on as a line near the right class: see minidl.am_softmax_linear for the two parts.

    m           the margin, an angle below pi as well
    a, c        slope and height of the line a (1 - cos t) + c; they are fixed
    continuous  the height is such that both parts meet, for each sample
    literal     the formula as the paper prints it, without the logarithm: a demonstration, from s = 10 on it hardly trains
    """

    margins: ClassVar[dict[str, float]] = {"least": 0, "below": math.pi}

    def __init__(
        self,
        features: int,
        classes: int,
        s: float = 30.0,
        m: float = 0.35,
        a: float = 1.0,
        c: float = 0.0,
        continuous: bool = False,
        literal: bool = False,
    ):
        super().__init__(features, classes, s, m)
        self.a, self.c = number(self, "a", a, least=0, below=math.inf), number(self, "c", c, above=-math.inf, below=math.inf)
        self.continuous, self.literal = yes_or_no(self, "continuous", continuous), yes_or_no(self, "literal", literal)

    def loss(self, features: Tensor, labels: Any) -> Tensor:
        """features [N, features], labels [N] -> one number."""
        attrs = {"s": self.s, "m": self.m, "a": self.a, "c": self.c}
        return am_softmax_linear(features, self.weight, labels, **attrs, continuous=self.continuous, literal=self.literal)

    def extra_repr(self) -> str:
        """Sizes, scale, margin and line, and what is set."""
        options = [f"{name}=True" for name in ("continuous", "literal") if getattr(self, name)]
        return ", ".join([super().extra_repr(), f"a={self.a}, c={self.c}", *options])
