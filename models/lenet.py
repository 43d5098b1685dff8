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

`LeNet5` is the one everybody builds today, modern in three places, and otherwise the paper's. Each map of C3 sees all six maps
of S2 (the paper wires 60 of the 96 pairs); S2 and S4 are plain means (the paper's have a trained coefficient and bias); the
output is ten linear units under softmax cross-entropy (the paper measures distances to drawings of the digits).
Weights start as N(0, 1/fan_in) and biases at 0, LeCun's rule: with 1.7159 tanh(2x/3), signals then keep unit variance.

`LeNet1998` is the paper's own, with its 60,000 parameters.
"""

import random

import minidl
from minidl import nn


class LeNet5(nn.Module):
    """Grey images of 32x32 in, one score per class out. Try `activation=minidl.relu`, in the shell `--set activation=relu`."""

    input_shape = (1, 32, 32)

    def __init__(self, classes=10, activation=minidl.lecun_tanh):
        self.activation = getattr(minidl, activation, None) if isinstance(activation, str) else activation
        if not callable(self.activation):
            raise ValueError(f"LeNet5: activation must be a function such as minidl.relu, or its name, got {activation!r}")
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
        nn.check_images(self, x, least=32, most=35)
        x = self.S2(self.activation(self.C1(x)))  # [N, 6, 14, 14]
        x = self.S4(self.activation(self.C3(x)))  # [N, 16, 5, 5]
        x = self.activation(self.C5(x)).flatten(1)  # [N, 120]
        x = self.activation(self.F6(x))  # [N, 84]
        return self.output(x)  # [N, classes]


# ---- as it was in 1998 -------------------------------------------------------------------------------------------------------

# Table I of the paper: which maps of S2 (rows) each map of C3 (columns) sees. 60 of the 96 pairs, so that no two maps of C3 see
# the same and must learn the same.
TABLE_I = """
    X...XXX..XXXX.XX
    XX...XXX..XXXX.X
    XXX...XXX..X.XXX
    .XXX..XXXX..X.XX
    ..XXX..XXXX.XX.X
    ...XXX..XXXX.XXX
""".split()

# What F6 should look like for each digit: 7x12 black and white pixels, +1 and -1. Figure 3 of the paper is the model; the
# drawing is ours.
DIGITS = """
    .......  .......  .......  .......  .......  .......  .......  .......  .......  .......
    ..###..  ...#...  .#####.  #######  .....#.  #######  ..####.  #######  .#####.  ..###..
    .#...#.  ..##...  #.....#  .....#.  ....##.  #......  .#.....  ......#  #.....#  .#...#.
    #.....#  .#.#...  ......#  ....#..  ...#.#.  #......  #......  .....#.  #.....#  #.....#
    #.....#  ...#...  ......#  ...#...  ..#..#.  #.####.  #......  .....#.  #.....#  #.....#
    #.....#  ...#...  .....#.  ..###..  .#...#.  ##....#  #.####.  ....#..  .#####.  .#...##
    #.....#  ...#...  ....#..  .....#.  #....#.  ......#  ##....#  ....#..  #.....#  ..###.#
    #.....#  ...#...  ...#...  ......#  #######  ......#  #.....#  ...#...  #.....#  ......#
    #.....#  ...#...  ..#....  ......#  .....#.  ......#  #.....#  ...#...  #.....#  ......#
    .#...#.  ...#...  .#.....  #.....#  .....#.  #.....#  .#....#  ..#....  #.....#  .....#.
    ..###..  .#####.  #######  .#####.  .....#.  .#####.  ..####.  ..#....  .#####.  .####..
    .......  .......  .......  .......  .......  .......  .......  .......  .......  .......
"""


class LeNet1998(nn.Module):
    """LeNet-5 as in the paper: grey images of 32x32 in, one distance per class out, of which the smallest wins.

        layer     output        what it does                                 parameters    multiply-adds
        C1        6 x 28x28     5x5                                                 156          117,600
        S2        6 x 14x14     sum of 2x2, a coefficient, a bias                    12                -
        C3       16 x 10x10     5x5, as Table I wires it                          1,516          240,000
        S4       16 x  5x5      sum of 2x2, a coefficient, a bias                    32                -
        C5      120 x  1x1      5x5                                              48,120           48,000
        F6       84                                                              10,164           10,080
                                                                                 60,000          415,680

    Every layer up to F6 ends in 1.7159 tanh(2x/3), S2 and S4 too. The output is a radial basis function of each class, the
    squared distance of F6 to a drawing of that digit (equation 7). The drawings stay as they are and are not counted.

    loss     equation 9: the mean of y_d + log(exp(-J) + sum_i exp(-y_i)), y being the distances and d the right class. That
             distance is pulled down, and others that come nearer than about J are pushed away. The paper gives no J; 10 is ours
    classes  beyond ten have random drawings, always the same; that too is ours

    Weights and biases start uniform in [-2.4, 2.4] / fan_in, as the paper says. The fan_in of S2 and S4 is 4, and C3's that of
    its average map.
    """

    input_shape = (1, 32, 32)
    J = 10.0

    def __init__(self, classes=10):
        self.C1 = nn.Conv2d(1, 6, kernel_size=5)
        self.S2 = Subsampling(6)
        self.C3 = WiredConv2d(TABLE_I, size=5)
        self.S4 = Subsampling(16)
        self.C5 = nn.Conv2d(16, 120, kernel_size=5)
        self.F6 = nn.Linear(120, 84)
        self.drawings = nn.Buffer(drawings(classes))  # [classes, 84]
        for layer, fan_in in ((self.C1, 25), (self.C5, 16 * 25), (self.F6, 120)):
            spread_(layer.weight, fan_in)
            spread_(layer.bias, fan_in)

    def forward(self, x):
        """Images [N, 1, 32, 32] to distances [N, classes]."""
        nn.check_images(self, x, least=32, most=35)
        x = self.S2(minidl.lecun_tanh(self.C1(x)))  # [N, 6, 14, 14]
        x = self.S4(minidl.lecun_tanh(self.C3(x)))  # [N, 16, 5, 5]
        x = minidl.lecun_tanh(self.C5(x)).flatten(1)  # [N, 120]
        x = minidl.lecun_tanh(self.F6(x))  # [N, 84]
        return ((x.unsqueeze(1) - self.drawings) ** 2).sum(axis=2)  # [N, classes]

    def loss(self, distances, labels):
        """Equation 9: softmax cross-entropy of -distances, with one more class, rubbish, that is J away from everything."""
        return minidl.softmax_cross_entropy(minidl.pad(-distances, (0, 1), value=-self.J), labels)

    def predict(self, distances):
        """Scores, the larger the better."""
        return -distances


class Subsampling(nn.Module):
    """Four neighbours are added, times a trained coefficient, plus a trained bias, squashed: one of each a map."""

    def __init__(self, maps):
        self.coefficient = spread_(nn.Parameter([0.0] * maps), 4)
        self.bias = spread_(nn.Parameter([0.0] * maps), 4)

    def forward(self, x):
        """x [N, maps, H, W] -> y [N, maps, H/2, W/2]."""
        total = 4 * minidl.avg_pool2d(x, 2)
        return minidl.lecun_tanh(total * self.coefficient.reshape(-1, 1, 1) + self.bias.reshape(-1, 1, 1))


class WiredConv2d(nn.Module):
    """A convolution along the wires of a table: one filter for each X in it, and one bias for each column.

    The filters are put into a dense weight with zeros where there is no X, since one large convolution is faster than many
    small ones: hence the multiply-adds of 96 pairs.
    """

    def __init__(self, table, size):
        columns = list(zip(*table, strict=True))
        wires = [(k, c) for k, column in enumerate(columns) for c, mark in enumerate(column) if mark == "X"]
        number = {wire: i for i, wire in enumerate(wires)}
        self.numbers = [[number.get((k, c), -1) for c in range(len(table))] for k in range(len(columns))]
        fan_in = size * size * len(wires) / len(columns)  # of the average map
        self.weight = spread_(nn.Parameter([[[0.0] * size] * size] * len(wires)), fan_in)
        self.bias = spread_(nn.Parameter([0.0] * len(columns)), fan_in)

    def forward(self, x):
        """x [N, rows of the table, H, W] -> y [N, columns of the table, P, Q]."""
        filters = minidl.pad(self.weight, ((0, 1), (0, 0), (0, 0)))  # the last one is 0, and -1 counts from the end
        return minidl.conv2d(x, filters[self.numbers], self.bias)


def spread_(parameter, fan_in):
    """Draw the parameter uniformly from [-2.4, 2.4] / fan_in; returns it."""
    return nn.init.uniform_(parameter, -2.4 / fan_in, 2.4 / fan_in)


def drawings(classes):
    """The goals of F6, one row of 84 numbers a class: the ten digits, then random ones."""
    if classes < 1:
        raise ValueError(f"LeNet1998: classes must be a whole number of 1 or more, got {classes}")
    lines = [line.split() for line in DIGITS.split("\n") if line]
    digits = ["".join(rows) for rows in zip(*lines, strict=True)]
    more = ["".join(random.Random(i).choices("#.", k=84)) for i in range(10, classes)]
    return [[1.0 if mark == "#" else -1.0 for mark in drawing] for drawing in (digits + more)[:classes]]


default = LeNet5
