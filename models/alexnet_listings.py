"""Nets called AlexNet that are not the one of 2012: two listings of the course, torchvision's net, and one with six classes.

They are here to be compared with models/alexnet.py, line by line. What the course's material states is said to be so; it leaves
some lines open, and those are filled as such listings usually circulate, which is said too.
"""

import minidl
from minidl import nn


class KerasAlexNet(nn.Module):
    """The Keras listing of the course's notes.

        layer     output        filter      then                       parameters    multiply-adds
        conv1     96 x 54x54    11x11, /4   ReLU, max-pool 2               34,944      101,616,768
        norm1     96 x 27x27                                                  192                -
        conv2    256 x 17x17    11x11       ReLU, max-pool 2            2,973,952      859,398,144
        norm2    256 x 8x8                                                    512                -
        conv3    384 x 6x6      3x3         ReLU                          885,120       31,850,496
        norm3    384 x 6x6                                                    768                -
        conv4    384 x 4x4      3x3         ReLU                        1,327,488       21,233,664
        norm4    384 x 4x4                                                    768                -
        conv5    256 x 2x2      3x3         ReLU, max-pool 2              884,992        3,538,944
        norm5    256 x 1x1                                                    512                -
        fc6     4096                        ReLU, dropout 0.4           1,052,672        1,048,576
        norm6   4096                                                        8,192                -
        fc7     4096                        ReLU, dropout 0.4          16,781,312       16,777,216
        norm7   4096                                                        8,192                -
        fc8       10                                                       40,970           40,960
                                                                       24,000,586    1,035,504,768

    Not AlexNet in six ways: images of 224 without padding, so 54 and not 55; 11x11 filters in conv2, which alone has more
    weights than all five convolutions of 2012; pools of 2x2 that do not overlap; batch norm, of 2015, in place of LRN; dropout
    0.4; no groups. (The notes count 384 and 1,024 parameters in the first two batch norms: Keras counts the running means and
    variances too, which nobody trains.)

    Stated by the notes: all of conv1 to norm2, batch norm, dropout 0.4, ten classes. Filled in: the rest, unpadded 3x3 filters,
    batch norm after every layer but the last, and Keras's defaults, which are Glorot's uniform start, biases 0, eps 1e-3 and
    running statistics that keep 0.99 (PyTorch's way to say it: momentum 0.01). The softmax is in the loss.
    """

    input_shape = (3, 224, 224)
    maps = (96, 256, 384, 384, 256)
    units = 4096

    def __init__(self, classes=10):
        m1, m2, m3, m4, m5 = self.maps
        self.conv1, self.norm1 = nn.Conv2d(3, m1, kernel_size=11, stride=4), nn.BatchNorm2d(m1, eps=1e-3, momentum=0.01)
        self.conv2, self.norm2 = nn.Conv2d(m1, m2, kernel_size=11), nn.BatchNorm2d(m2, eps=1e-3, momentum=0.01)
        self.conv3, self.norm3 = nn.Conv2d(m2, m3, kernel_size=3), nn.BatchNorm2d(m3, eps=1e-3, momentum=0.01)
        self.conv4, self.norm4 = nn.Conv2d(m3, m4, kernel_size=3), nn.BatchNorm2d(m4, eps=1e-3, momentum=0.01)
        self.conv5, self.norm5 = nn.Conv2d(m4, m5, kernel_size=3), nn.BatchNorm2d(m5, eps=1e-3, momentum=0.01)
        self.fc6, self.norm6 = nn.Linear(m5, self.units), nn.BatchNorm1d(self.units, eps=1e-3, momentum=0.01)
        self.fc7, self.norm7 = nn.Linear(self.units, self.units), nn.BatchNorm1d(self.units, eps=1e-3, momentum=0.01)
        self.fc8 = nn.Linear(self.units, classes)
        self.dropout = nn.Dropout(0.4)
        for layer in self.children():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.glorot_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, x):
        """Images [N, 3, 224, 224] to scores [N, classes]."""
        nn.check_images(self, x, least=215, most=246)
        x = self.norm1(minidl.max_pool2d(minidl.relu(self.conv1(x)), 2))  # [N, 96, 27, 27]
        x = self.norm2(minidl.max_pool2d(minidl.relu(self.conv2(x)), 2))  # [N, 256, 8, 8]
        x = self.norm3(minidl.relu(self.conv3(x)))
        x = self.norm4(minidl.relu(self.conv4(x)))
        x = self.norm5(minidl.max_pool2d(minidl.relu(self.conv5(x)), 2)).flatten(1)  # [N, 256]
        x = self.norm6(self.dropout(minidl.relu(self.fc6(x))))
        x = self.norm7(self.dropout(minidl.relu(self.fc7(x))))
        return self.fc8(x)


class SlidesAlexNet(nn.Module):
    """The PyTorch listing of the course's slides, with its initialiser.

        layer           output        filter      then                        parameters    multiply-adds
        net.0          96 x 55x55     11x11, /4   ReLU, LRN, max-pool 3/2         34,944      105,415,200
        net.4         256 x 27x27     5x5         ReLU, LRN, max-pool 3/2        614,656      447,897,600
        net.8         384 x 13x13     3x3         ReLU                           885,120      149,520,384
        net.10        384 x 13x13     3x3         ReLU                         1,327,488      224,280,576
        net.12        256 x 13x13     3x3         ReLU, max-pool 3/2             884,992      149,520,384
        classifier.1  4096                        ReLU                        37,752,832       37,748,736
        classifier.4  4096                        ReLU                        16,781,312       16,777,216
        classifier.6  1000                                                     4,097,000        4,096,000
                                                                              62,378,344    1,135,256,096

    The size of AlexNet on one GPU, and three differences from the paper, all stated by the slides. LRN is PyTorch's, which
    divides alpha by 5: the paper's formula at a fifth of its alpha. No groups. The biases that start at 1 are those of conv2,
    conv4 and conv5 only, not of the hidden dense layers.

    Filled in: dropout stands before the dense layers; theirs is PyTorch's default start, and N(0, 0.01^2) is for convolutions.
    """

    input_shape = (3, 227, 227)
    maps = (96, 256, 384, 384, 256)
    units = 4096

    def __init__(self, classes=1000):
        m1, m2, m3, m4, m5 = self.maps
        norm = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0)
        self.net = nn.Sequential(
            nn.Conv2d(3, m1, kernel_size=11, stride=4), nn.ReLU(), norm, nn.MaxPool2d(3, stride=2),  # [N, 96, 27, 27]
            nn.Conv2d(m1, m2, kernel_size=5, padding=2), nn.ReLU(), norm, nn.MaxPool2d(3, stride=2),  # [N, 256, 13, 13]
            nn.Conv2d(m2, m3, kernel_size=3, padding=1), nn.ReLU(),
            nn.Conv2d(m3, m4, kernel_size=3, padding=1), nn.ReLU(),
            nn.Conv2d(m4, m5, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(3, stride=2),  # [N, 256, 6, 6]
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Dropout(0.5), nn.Linear(m5 * 6 * 6, self.units), nn.ReLU(),
            nn.Dropout(0.5), nn.Linear(self.units, self.units), nn.ReLU(),
            nn.Linear(self.units, classes),
        )  # fmt: skip
        nn.init.alexnet_(self.net, ones=("4", "10", "12"))

    def forward(self, x):
        """Images [N, 3, 227, 227] to scores [N, classes]."""
        nn.check_images(self, x, least=227, most=258)
        return self.classifier(self.net(x).flatten(1))


class TorchvisionAlexNet(nn.Module):
    """torchvision's `alexnet`, with its names: published weights load.

        layer           output        filter      then                        parameters    multiply-adds
        features.0     64 x 55x55     11x11, /4   ReLU, max-pool 3/2              23,296       70,276,800
        features.3    192 x 27x27     5x5         ReLU, max-pool 3/2             307,392      223,948,800
        features.6    384 x 13x13     3x3         ReLU                           663,936      112,140,288
        features.8    256 x 13x13     3x3         ReLU                           884,992      149,520,384
        features.10   256 x 13x13     3x3         ReLU, max-pool 3/2             590,080       99,680,256
        classifier.1  4096                        ReLU                        37,752,832       37,748,736
        classifier.4  4096                        ReLU                        16,781,312       16,777,216
        classifier.6  1000                                                     4,097,000        4,096,000
                                                                              61,100,840      714,188,480

    The later net for one GPU, of Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks", arXiv
    1404.5997: 64 maps first, 256 in the fourth convolution, no LRN, no groups. Images of 224 are padded by 2 all around. Of
    other sizes the last maps are averaged to 6x6. All starts as PyTorch's layers do.
    """

    input_shape = (3, 224, 224)
    maps = (64, 192, 384, 256, 256)
    units = 4096
    shapes_cannot_tell = (
        "how the images were normalised; torchvision's weights expect values of 0..1 minus (0.485, 0.456, 0.406), "
        "divided by (0.229, 0.224, 0.225)"
    )

    def __init__(self, classes=1000, *, size=224):
        size = nn.check_size(self, size, least=63)
        self.input_shape = (3, size, size)
        m1, m2, m3, m4, m5 = self.maps
        self.features = nn.Sequential(
            nn.Conv2d(3, m1, kernel_size=11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2),  # [N, 64, 27, 27]
            nn.Conv2d(m1, m2, kernel_size=5, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2),  # [N, 192, 13, 13]
            nn.Conv2d(m2, m3, kernel_size=3, padding=1), nn.ReLU(),
            nn.Conv2d(m3, m4, kernel_size=3, padding=1), nn.ReLU(),
            nn.Conv2d(m4, m5, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(3, stride=2),  # [N, 256, 6, 6]
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(0.5), nn.Linear(m5 * 6 * 6, self.units), nn.ReLU(),
            nn.Dropout(0.5), nn.Linear(self.units, self.units), nn.ReLU(),
            nn.Linear(self.units, classes),
        )  # fmt: skip

    def forward(self, x):
        """Images [N, 3, 224, 224] to scores [N, classes]."""
        nn.check_images(self, x, least=63)
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class SixClassAlexNet(TorchvisionAlexNet):
    """The same with six classes, as the course's notes end one of theirs: 57,028,422 parameters, 24,582 in the last layer.

    The notes do not say which net it was. This one has published weights to start from: load them, and the last layer alone,
    or little more, is left to train.
    """

    def __init__(self, classes=6, *, size=224):
        super().__init__(classes, size=size)
