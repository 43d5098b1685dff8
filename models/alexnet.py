"""AlexNet, the network that started the decade, made small for images of 32x32.

    Krizhevsky, Sutskever, Hinton 2012, "ImageNet Classification with Deep Convolutional Neural Networks".

    layer     output        filter     then                          parameters    multiply-adds
    conv1    24 x 32x32     5x5        ReLU, LRN, max-pool 3/2            1,824        1,843,200
    conv2    64 x 15x15     5x5        ReLU, LRN, max-pool 3/2           38,464        8,640,000
    conv3    96 x  7x7      3x3        ReLU                              55,392        2,709,504
    conv4    96 x  7x7      3x3        ReLU                              83,040        4,064,256
    conv5    64 x  7x7      3x3        ReLU, max-pool 3/2                55,360        2,709,504
    dense6  512                        ReLU, dropout 1/2                295,424          294,912
    dense7  512                        ReLU, dropout 1/2                262,656          262,144
    dense8   10                                                           5,130            5,120
                                                                        797,290       20,528,640

Kept from 2012: the order conv, ReLU, LRN, pool; pools that overlap (3 wide, 2 apart); LRN as printed (k=2, n=5,
alpha=1e-4, beta=0.75); dropout on the first two dense layers. Changed for the size: a quarter of the maps, an eighth of
the dense units, and a first filter of 5x5 at stride 1 instead of 11x11 at stride 4.

Weights start as He's N(0, 2/fan_in) and biases at 0: the paper's N(0, 0.01) with biases of 1 is tuned to its width.
"""

from minidl import nn


def norm():
    """Local response normalisation by the paper's formula and constants."""
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0, convention="paper")


class AlexNet32(nn.Module):
    """Colour images of 32x32 in, one score per class out."""

    input_shape = (3, 32, 32)

    def __init__(self, classes=10):
        self.features = nn.Sequential(
            nn.Conv2d(3, 24, kernel_size=5, padding=2), nn.ReLU(), norm(), nn.MaxPool2d(3, stride=2),  # [N, 24, 15, 15]
            nn.Conv2d(24, 64, kernel_size=5, padding=2), nn.ReLU(), norm(), nn.MaxPool2d(3, stride=2),  # [N, 64, 7, 7]
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
        return self.classifier(self.features(x))
