"""LeNet-5, the network that read cheques.

    LeCun, Bottou, Bengio, Haffner 1998, "Gradient-Based Learning Applied to Document Recognition", section II.B.

    layer     output        filter      parameters    multiply-adds
    C1        6 x 28x28     5x5                156          117,600
    S2        6 x 14x14     mean of 2x2          -                -
    C3       16 x 10x10     5x5              2,416          240,000
    S4       16 x  5x5      mean of 2x2          -                -
    C5      120 x  1x1      5x5             48,120           48,000
    F6       84                             10,164           10,080
    output   10                                850              840
                                            61,706          416,520

Modern in three places, and otherwise the paper's. Each map of C3 sees all six maps of S2 (the paper wires 60 of the 96
pairs); S2 and S4 are plain means (the paper's have a trained coefficient and bias); the output is ten linear units under
softmax cross-entropy (the paper measures distances to drawings of the digits). The paper's own is 60,000 parameters.

Weights start as N(0, 1/fan_in) and biases at 0, LeCun's rule: with 1.7159 tanh(2x/3), signals then keep unit variance.
"""

import minidl
from minidl import nn


class LeNet5(nn.Module):
    """Grey images of 32x32 in, one score per class out. Try `activation=minidl.relu`."""

    input_shape = (1, 32, 32)

    def __init__(self, classes=10, activation=minidl.lecun_tanh):
        self.activation = activation
        self.C1 = nn.Conv2d(1, 6, kernel_size=5)
        self.S2 = nn.AvgPool2d(2)
        self.C3 = nn.Conv2d(6, 16, kernel_size=5)
        self.S4 = nn.AvgPool2d(2)
        self.C5 = nn.Conv2d(16, 120, kernel_size=5)
        self.F6 = nn.Linear(120, 84)
        self.output = nn.Linear(84, classes)
        for layer in (self.C1, self.C3, self.C5, self.F6, self.output):
            nn.init.lecun_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        """Images [N, 1, 32, 32] to scores [N, classes]."""
        x = self.S2(self.activation(self.C1(x)))  # [N, 6, 14, 14]
        x = self.S4(self.activation(self.C3(x)))  # [N, 16, 5, 5]
        x = self.activation(self.C5(x)).flatten(1)  # [N, 120]
        x = self.activation(self.F6(x))  # [N, 84]
        return self.output(x)  # [N, classes]
