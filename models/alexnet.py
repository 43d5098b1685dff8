"""AlexNet, the network that started the decade.

    Krizhevsky, Sutskever, Hinton 2012, "ImageNet Classification with Deep Convolutional Neural Networks".

    layer     output        filter      then                              parameters    multiply-adds
    conv1     96 x 55x55    11x11, /4   ReLU, LRN, max-pool 3/2               34,944      105,415,200
    conv2    256 x 27x27    5x5         ReLU, LRN, max-pool 3/2              307,456      223,948,800
    conv3    384 x 13x13    3x3         ReLU                                 885,120      149,520,384
    conv4    384 x 13x13    3x3         ReLU                                 663,936      112,140,288
    conv5    256 x 13x13    3x3         ReLU, max-pool 3/2                   442,624       74,760,192
    fc6     4096                        ReLU, dropout 1/2                 37,752,832       37,748,736
    fc7     4096                        ReLU, dropout 1/2                 16,781,312       16,777,216
    fc8     1000                                                           4,097,000        4,096,000
                                                                          60,965,224      724,406,816

Two GPUs shared the net, half of the maps each, and met only at conv3 and in the dense layers. So conv2, conv4 and conv5 see
half of the maps: groups=2. With groups=1 all see all, and it is 62,378,344 parameters and 1,135,256,096 multiply-adds.

**224 or 227.** The paper says 224. Its code counts the positions of conv1's filter rounding up, ceil((224 - 11) / 4) + 1 = 55,
and takes the three rows and columns missing at the bottom and right as zeros. That is a 227 without padding, so both work
here: what is missing for a whole step of 4 is padded by zeros.

**Conventions.** Paper and programs differ; `convention` chooses by name:

    'paper'     as printed. LRN over n=5 maps, with alpha=1e-4 times their sum of squares, k=2, beta=3/4; weights N(0, 0.01^2);
                biases 1 in conv2, conv4, conv5, fc6 and fc7, else 0; dropout halves the units in the test
    'original'  the authors' program of 2012, released in 2025 (layers-145.cfg; its log has the paper's 18.2 % for one net).
                alpha times the mean of squares; LRN stays within a GPU's maps, and in layer 1 the ReLU comes after LRN and
                pool; in layer 2 a second LRN over 5x5 pixels of each map (k=1, alpha=1e-3); N(0, 0.03^2) in conv3 to conv5
    'caffe'     BVLC's bvlc_alexnet. alpha times the mean, k=1; biases 0.1 where the paper has 1; N(0, 0.005^2) in fc6 and fc7
    'caffenet'  BVLC's reference_caffenet. The same with biases 1, and LRN after the pool

The paper trains by optim.SGD(..., lr=0.01, momentum=0.9, weight_decay=5e-4, convention="alexnet") on batches of 128, and
divides lr by 10 three times in 90 passes. That is for ImageNet: with biases of 1 a net is slow to start, as BVLC found too. On
the digits at size=96, 120 steps of Adam at 1e-4 left the loss at 2.4 by 'paper' and brought it to 0.6 by 'caffe'.
"""

from typing import NamedTuple

import minidl
from minidl import nn


class Convention(NamedTuple):
    """What paper and programs do differently."""

    after1: tuple = ("relu", "norm", "pool")  # what follows conv1
    after2: tuple = ("relu", "norm", "pool")  # what follows conv2
    lrn: str = "pytorch"  # alpha times the mean of squares; 'paper': times the sum
    lrn_by_tower: bool = False  # are the neighbours of a map those on its GPU?
    k: float = 2.0
    conv_std: float = 0.01  # of the weights of conv3, conv4 and conv5
    dense_std: float = 0.01  # of fc6 and fc7
    bias: float = 1.0  # of conv2, conv4, conv5, fc6 and fc7
    dropout: str = "paper"  # halves the units in the test; 'inverted': doubles them in training


CONVENTIONS = {
    "paper": Convention(lrn="paper"),
    "original": Convention(("norm", "pool", "relu"), ("relu", "norm", "norm_within", "pool"), lrn_by_tower=True, conv_std=0.03),
    "caffe": Convention(k=1.0, dense_std=0.005, bias=0.1, dropout="inverted"),
    "caffenet": Convention(("relu", "pool", "norm"), ("relu", "pool", "norm"), k=1.0, dense_std=0.005, dropout="inverted"),
}


class AlexNet(nn.Module):
    """Colour images in, one score per class out.

    groups      2: as on two GPUs; 1: one tower
    size        height and width of the images, 64 or more; fc6 is made for it
    convention  'paper', 'original', 'caffe' or 'caffenet': see the top of the file
    """

    input_shape = (3, 227, 227)
    maps = (96, 256, 384, 384, 256)
    units = 4096
    shapes_cannot_tell = "by which convention the weights were trained, and how the images were normalised"

    def __init__(self, classes=1000, *, groups=2, size=227, convention="paper"):
        if convention not in CONVENTIONS:
            raise ValueError(f"AlexNet: convention must be one of {', '.join(CONVENTIONS)}, got {convention!r}")
        size = nn.check_size(self, size, least=64)
        self.input_shape = (3, size, size)
        self.side = size // 32 - 1  # of the maps that the last pool gives: 6
        self.groups, self.convention, self.rules = groups, convention, CONVENTIONS[convention]

        m1, m2, m3, m4, m5 = self.maps
        self.conv1 = nn.Conv2d(3, m1, kernel_size=11, stride=4)
        self.conv2 = nn.Conv2d(m1, m2, kernel_size=5, padding=2, groups=groups)
        self.conv3 = nn.Conv2d(m2, m3, kernel_size=3, padding=1)
        self.conv4 = nn.Conv2d(m3, m4, kernel_size=3, padding=1, groups=groups)
        self.conv5 = nn.Conv2d(m4, m5, kernel_size=3, padding=1, groups=groups)
        self.fc6 = nn.Linear(m5 * self.side**2, self.units)
        self.fc7 = nn.Linear(self.units, self.units)
        self.fc8 = nn.Linear(self.units, classes)
        self.relu, self.pool = nn.ReLU(), nn.MaxPool2d(3, stride=2)
        self.dropout = nn.Dropout(0.5, style=self.rules.dropout)
        self.initialise()

    def initialise(self):
        """Draw the weights as the convention has it."""
        nn.init.alexnet_(self, ones=("conv2", "conv4", "conv5", "fc6", "fc7"), bias=self.rules.bias)
        with minidl.no_grad():
            for layer in (self.conv3, self.conv4, self.conv5):
                layer.weight.mul_(self.rules.conv_std / 0.01)
            for layer in (self.fc6, self.fc7):
                layer.weight.mul_(self.rules.dense_std / 0.01)

    def forward(self, x):
        """Images [N, 3, 227, 227] to scores [N, classes]."""
        nn.check_images(self, x, least=32 * self.side + 32, most=32 * self.side + 63, smallest=64)
        x = self.conv1(whole_steps(x))  # [N, 96, 55, 55]
        for step in self.rules.after1:
            x = getattr(self, step)(x)  # [N, 96, 27, 27]
        x = self.conv2(x)
        for step in self.rules.after2:
            x = getattr(self, step)(x)  # [N, 256, 13, 13]
        x = self.relu(self.conv3(x))  # [N, 384, 13, 13]
        x = self.relu(self.conv4(x))
        x = self.pool(self.relu(self.conv5(x))).flatten(1)  # [N, 256 * 6 * 6]
        x = self.dropout(self.relu(self.fc6(x)))
        x = self.dropout(self.relu(self.fc7(x)))
        return self.fc8(x)

    def norm(self, x):
        """LRN over five neighbouring maps, in the original of one GPU."""
        shape, towers = x.shape, self.groups if self.rules.lrn_by_tower else 1
        if towers > 1:
            x = x.reshape(shape[0] * towers, shape[1] // towers, *shape[2:])
        x = minidl.lrn(x, n=5, k=self.rules.k, alpha=1e-4, beta=0.75, convention=self.rules.lrn)
        return x.reshape(shape) if towers > 1 else x

    def norm_within(self, x):
        """LRN over 5x5 neighbouring pixels of each map; zeros beyond the border count."""
        return x / (1 + 1e-3 * minidl.avg_pool2d(x * x, 5, stride=1, padding=2)) ** 0.75


def whole_steps(x):
    """The images with zeros at the bottom and right, so that a filter of 11 at steps of 4 reaches every pixel."""
    rows, columns = (-(size - 11) % 4 for size in x.shape[2:])
    return minidl.pad(x, (0, columns, 0, rows)) if rows or columns else x


default = AlexNet


# ---- for a laptop ------------------------------------------------------------------------------------------------------------


class AlexNet32(nn.Module):
    """AlexNet made small: colour images of 32x32 in, one score per class out.

        layer          output        filter     then                          parameters    multiply-adds
        features.0    24 x 32x32     5x5        ReLU, LRN, max-pool 3/2            1,824        1,843,200
        features.4    64 x 15x15     5x5        ReLU, LRN, max-pool 3/2           38,464        8,640,000
        features.8    96 x  7x7      3x3        ReLU                              55,392        2,709,504
        features.10   96 x  7x7      3x3        ReLU                              83,040        4,064,256
        features.12   64 x  7x7      3x3        ReLU, max-pool 3/2                55,360        2,709,504
        classifier.1  512                       ReLU, dropout 1/2                295,424          294,912
        classifier.4  512                       ReLU, dropout 1/2                262,656          262,144
        classifier.7   10                                                          5,130            5,120
                                                                                 797,290       20,528,640

    Kept from 2012: the order conv, ReLU, LRN, pool; pools that overlap (3 wide, 2 apart); LRN as printed; dropout on the first
    two dense layers. Changed for the size: a quarter of the maps, an eighth of the dense units, and a first filter of 5x5 at
    stride 1 instead of 11x11 at stride 4.

    Weights start as He's N(0, 2/fan_in) and biases at 0: the paper's N(0, 0.01^2) with biases of 1 is tuned to its width.
    """

    input_shape = (3, 32, 32)

    def __init__(self, classes=10):
        norm = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0, convention="paper")
        self.features = nn.Sequential(
            nn.Conv2d(3, 24, kernel_size=5, padding=2), nn.ReLU(), norm, nn.MaxPool2d(3, stride=2),  # [N, 24, 15, 15]
            nn.Conv2d(24, 64, kernel_size=5, padding=2), nn.ReLU(), norm, nn.MaxPool2d(3, stride=2),  # [N, 64, 7, 7]
            nn.Conv2d(64, 96, kernel_size=3, padding=1), nn.ReLU(),
            nn.Conv2d(96, 96, kernel_size=3, padding=1), nn.ReLU(),
            nn.Conv2d(96, 64, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(3, stride=2),  # [N, 64, 3, 3]
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64 * 3 * 3, 512), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(512, 512), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(512, classes),
        )  # fmt: skip
        for name, parameter in self.named_parameters():
            if name.endswith("weight"):
                nn.init.kaiming_normal_(parameter)
            else:
                nn.init.zeros_(parameter)

    def forward(self, x):
        """Images [N, 3, 32, 32] to scores [N, classes]."""
        nn.check_images(self, x, least=31, most=38)
        return self.classifier(self.features(x))
