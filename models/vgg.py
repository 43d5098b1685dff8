"""VGG, the networks that showed that depth alone goes far: 3x3 filters, one after another.

    Simonyan, Zisserman 2015, "Very Deep Convolutional Networks for Large-Scale Image Recognition", arXiv 1409.1556.

Five stages of 3x3 convolutions with ReLU. Within a stage the maps keep their size, and a 2x2 max-pool ends it. Then three dense
layers. The nets differ in how many convolutions a stage has (Table 1 of the paper, columns A, B, D and E):

    maps        64    128    256    512    512         parameters       multiply-adds
    VGG11        1      1      2      2      2        132,863,336       7,609,090,048
    VGG13        2      2      2      2      2        133,047,848      11,308,466,176
    VGG16        2      2      3      3      3        138,357,544      15,470,264,320
    VGG19        2      2      4      4      4        143,667,240      19,632,062,464

Two 3x3 filters see 5x5 pixels, and three see 7x7. Three have 27 C^2 weights where one of 7x7 has 49 C^2, and three ReLUs where
that has one. Most of the arithmetic is in the early stages, and most of the weights in the first dense layer:

    VGG16             output                     parameters       multiply-adds
    features.0        64 x 224x224                    1,792          86,704,128
    features.2        64 x 224x224                   36,928       1,849,688,064
    features.5       128 x 112x112                   73,856         924,844,032
    features.7       128 x 112x112                  147,584       1,849,688,064
    features.10      256 x 56x56                    295,168         924,844,032
    features.12      256 x 56x56                    590,080       1,849,688,064
    features.14      256 x 56x56                    590,080       1,849,688,064
    features.17      512 x 28x28                  1,180,160         924,844,032
    features.19      512 x 28x28                  2,359,808       1,849,688,064
    features.21      512 x 28x28                  2,359,808       1,849,688,064
    features.24      512 x 14x14                  2,359,808         462,422,016
    features.26      512 x 14x14                  2,359,808         462,422,016
    features.28      512 x 14x14                  2,359,808         462,422,016
    classifier.0    4096                        102,764,544         102,760,448
    classifier.3    4096                         16,781,312          16,777,216
    classifier.6    1000                          4,097,000           4,096,000
                                                138,357,544      15,470,264,320

`batch_norm=True` puts batch norm between every convolution and its ReLU. The paper, a few months older, has none: it trained
the deep nets by starting them from the shallow one's weights, and found only later that Glorot's start does without that. Names
are torchvision's.

Weights start as He's N(0, 2/fan_in), so that signals keep their size, the last layer's as N(0, 0.01^2), so that scores start
small, and biases at 0. (The paper has one spread for all layers, which is what made the start hard. It prints a variance of
0.01; most read a standard deviation of 0.01, and so has torchvision in all dense layers.)
"""

from minidl import nn


class VGG(nn.Module):
    """Colour images in, one score per class out.

    batch_norm  normalise after every convolution
    size        height and width of the images, 32 or more; the first dense layer is made for it
    """

    input_shape = (3, 224, 224)
    convolutions = (2, 2, 3, 3, 3)  # in each stage; every net below has its own
    maps = (64, 128, 256, 512, 512)  # that each stage makes
    units = 4096  # of the hidden dense layers
    shapes_cannot_tell = (
        "how the images were normalised; torchvision's weights expect values of 0..1 minus (0.485, 0.456, 0.406), "
        "divided by (0.229, 0.224, 0.225)"
    )

    def __init__(self, classes=1000, *, batch_norm=False, size=224):
        if not isinstance(batch_norm, bool):
            raise ValueError(f"{type(self).__name__}: batch_norm must be True or False, got {batch_norm!r}")
        size = nn.check_size(self, size, least=32)
        self.input_shape = (3, size, size)
        self.batch_norm = batch_norm
        self.side = size // 32  # of the last maps: 7
        self.features = self.stages(batch_norm)
        self.classifier = nn.Sequential(
            Dense(self.maps[-1] * self.side**2, self.units), nn.ReLU(), nn.Dropout(0.5),
            Dense(self.units, self.units), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(self.units, classes),
        )  # fmt: skip
        nn.init.normal_(self.classifier[-1].weight, std=0.01)
        nn.init.zeros_(self.classifier[-1].bias)

    def stages(self, batch_norm):
        """All before the dense layers."""
        features, channels = nn.Sequential(), 3
        for maps, count in zip(self.maps, self.convolutions, strict=True):
            for _ in range(count):
                features.append(Convolution(channels, maps, kernel_size=3, padding=1))
                if batch_norm:
                    features.append(nn.BatchNorm2d(maps))
                features.append(nn.ReLU())
                channels = maps
            features.append(nn.MaxPool2d(2))
        return features

    def forward(self, x):
        """Images [N, 3, 224, 224] to scores [N, classes]."""
        nn.check_images(self, x, least=32 * self.side, most=32 * self.side + 31, smallest=32)
        x = self.features(x)  # [N, 512, 7, 7]
        return self.classifier(x.flatten(1))


class Convolution(nn.Conv2d):
    """A convolution that starts as He's."""

    def reset_parameters(self):
        """Draw the parameters."""
        nn.init.kaiming_normal_(self.weight)
        nn.init.zeros_(self.bias)


class Dense(nn.Linear):
    """A dense layer that starts as He's."""

    def reset_parameters(self):
        """Draw the parameters."""
        nn.init.kaiming_normal_(self.weight)
        nn.init.zeros_(self.bias)


class VGG11(VGG):
    """Configuration A."""

    convolutions = (1, 1, 2, 2, 2)


class VGG13(VGG):
    """Configuration B."""

    convolutions = (2, 2, 2, 2, 2)


class VGG16(VGG):
    """Configuration D, the one most used."""

    convolutions = (2, 2, 3, 3, 3)


class VGG19(VGG):
    """Configuration E."""

    convolutions = (2, 2, 4, 4, 4)


default = VGG16
