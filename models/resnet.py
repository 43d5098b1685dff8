"""The residual networks, and the plain ones that they were made to beat.

    He, Zhang, Ren, Sun 2015, "Deep Residual Learning for Image Recognition", arXiv 1512.03385, table 1.

    ResNet50  output                                              parameters    multiply-adds
    conv1      64 x 112x112  7x7, stride 2                             9,408      118,013,952
    bn1        64 x 112x112  batch norm, ReLU, max-pool 3/2              128                -
    layer1    256 x  56x56   3 bottlenecks of width  64              215,808      667,942,912
    layer2    512 x  28x28   4 bottlenecks of width 128            1,219,584    1,027,604,480
    layer3   1024 x  14x14   6 bottlenecks of width 256            7,098,368    1,464,336,384
    layer4   2048 x   7x7    3 bottlenecks of width 512           14,964,736      809,238,528
    fc       1000            the mean of every map, then dense     2,049,000        2,048,000

    basic block             3x3, width;  3x3, width                     add what came in, ReLU
    bottleneck              1x1, width;  3x3, width;  1x1, 4 width      add what came in, ReLU

                        blocks in layer1 to 4                     parameters    multiply-adds
    ResNet18            2, 2, 2, 2   basic                        11,689,512    1,814,073,344
    ResNet34            3, 4, 6, 3   basic                        21,797,672    3,663,761,408
    ResNet50            3, 4, 6, 3   bottlenecks                  25,557,032    4,089,184,256
    ResNet101           3, 4, 23, 3  bottlenecks                  44,549,160    7,801,405,440
    ResNet152           3, 8, 36, 3  bottlenecks                  60,192,808   11,513,626,624
    ResNet50 version=v1              the stride a layer earlier   25,557,032    3,857,973,248
    PlainNet18          2, 2, 2, 2   basic, nothing added         11,515,688    1,794,805,760
    PlainNet34          3, 4, 6, 3   basic, nothing added         21,623,848    3,644,493,824

                        blocks in layer1 to 3, images of 32x32    parameters    multiply-adds
    ResNet20            3, 3, 3      basic                           269,722       40,551,040
    ResNet32            5, 5, 5      basic                           464,154       68,862,592
    ResNet44            7, 7, 7      basic                           658,586       97,174,144
    ResNet56            9, 9, 9      basic                           853,018      125,485,696
    ResNet110           18, 18, 18   basic                         1,727,962      252,887,680
    ResNet20 shortcut=B              projections                     272,474       40,813,184
    PlainNet            3, 3, 3      basic, nothing added            269,722       40,551,040

What it taught. Plain nets get worse with depth, on the training images too: 56 layers lose to 20, 34 to 18, although the
deeper net could copy the shallower and pass the rest through. What is hard to learn is to pass things through. So let a block
learn what to *add* to its input: doing nothing is then weights of zero, and the gradient reaches the first layer by the sum.
Train `PlainNet` with depth=20 and 56 beside `ResNet20` and `ResNet56` and look at the training loss.

The order is convolution, batch norm, ReLU; the sum is taken before the last ReLU. No convolution has a bias. Each layer after
the first starts with stride 2. Where a shortcut must change size or width: a 1x1 convolution with batch norm in the nets for
ImageNet (option B), strided copies and zeros for the new maps in those of 32x32 (option A, no parameters).

Differs from the paper: `version="v1.5"` has a bottleneck's stride on its 3x3 convolution, as torchvision's nets and weights
have; the paper's own, on the first 1x1, is `version="v1"` (18 and 34 have no 1x1: there the two are the same). Weights start as
He's N(0, 2/fan_in), the paper's [13], batch norm as the identity. Names are torchvision's, so its weights load.
"""

import minidl
from minidl import nn

IMAGENET, CIFAR = (3, 224, 224), (3, 32, 32)


# ---- blocks ----------------------------------------------------------------------------------------------------------------


def conv(channels, width, kernel_size, stride=1):
    """A convolution that keeps height and width, or divides them by the stride; batch norm brings the bias."""
    return nn.Conv2d(channels, width, kernel_size, stride=stride, padding=kernel_size // 2, bias=False)


class PaddedIdentity(nn.Module):
    """Shortcut A: every `stride`-th pixel, and zeros for the maps that x does not have."""

    def __init__(self, channels, width, stride):
        self.stride, self.more = stride, width - channels

    def forward(self, x):
        """[N, channels, H, W] -> [N, width, ceil(H / stride), ceil(W / stride)]."""
        return minidl.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, and what came in is added; across a change of shape through a projection (shortcut B)."""

    widening = 1

    def __init__(self, channels, width, stride):
        self.conv1, self.bn1 = conv(channels, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3), nn.BatchNorm2d(width)
        self.downsample = self.shortcut(channels, width, stride)

    def shortcut(self, channels, width, stride):
        """What x goes through before it is added; None where it fits as it is."""
        if stride == 1 and channels == width:
            return None
        return nn.Sequential(conv(channels, width, 1, stride), nn.BatchNorm2d(width))

    def passed(self, x):
        """What came in, as it is added: [N, channels, H, W] -> [N, width, P, Q]."""
        return x if self.downsample is None else self.downsample(x)

    def forward(self, x):
        """ReLU(what is learned + what came in): [N, channels, H, W] -> [N, width, P, Q]."""
        y = self.bn1(self.conv1(x), relu=True)
        return self.bn2(self.conv2(y), relu=True, residual=self.passed(x))


class PaddedBlock(BasicBlock):
    """A basic block with shortcut A."""

    def shortcut(self, channels, width, stride):
        """Without parameters."""
        return None if stride == 1 and channels == width else PaddedIdentity(channels, width, stride)


class PlainBlock(BasicBlock):
    """A basic block without its shortcut: two layers one after the other, as before 2015."""

    def shortcut(self, channels, width, stride):
        """None at all."""

    def passed(self, x):
        """Nothing is added."""


class Bottleneck(BasicBlock):
    """1x1 to fewer maps, 3x3 there, 1x1 to four times as many: deeper at the cost of a basic block. Version 1.5."""

    widening = 4
    stride_first = False

    def __init__(self, channels, width, stride):
        first, second = (stride, 1) if self.stride_first else (1, stride)
        self.conv1, self.bn1 = conv(channels, width, 1, first), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3, second), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = conv(width, 4 * width, 1), nn.BatchNorm2d(4 * width)
        self.downsample = self.shortcut(channels, 4 * width, stride)

    def forward(self, x):
        """ReLU(what is learned + what came in): [N, channels, H, W] -> [N, 4 width, P, Q]."""
        y = self.bn1(self.conv1(x), relu=True)
        y = self.bn2(self.conv2(y), relu=True)
        return self.bn3(self.conv3(y), relu=True, residual=self.passed(x))


class BottleneckV1(Bottleneck):
    """The paper's: the first 1x1 has the stride, and so never looks at three of four pixels."""

    stride_first = True


# ---- what all nets share ---------------------------------------------------------------------------------------------------


class Staged(nn.Module):
    """A stem (conv1, bn1), layers of blocks (layer1, layer2, ...), the mean of every map, one dense layer (fc)."""

    def build(self, block, classes, size, stem):
        """All layers behind the convolution `stem`: `depths` says how many blocks each has, `widths` how wide they are."""
        size = nn.check_size(self, size, least=1)
        self.input_shape = (3, size, size)
        self.conv1, self.bn1 = stem, nn.BatchNorm2d(self.widths[0])
        channels = self.widths[0]
        for i, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True)):
            first, out = block(channels, width, stride=2 if i else 1), width * block.widening
            rest = [block(out, width, stride=1) for _ in range(depth - 1)]
            setattr(self, f"layer{i + 1}", nn.Sequential(first, *rest))
            channels = out
        self.fc = nn.Linear(channels, classes)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                nn.init.kaiming_normal_(parameter)
            elif name == "fc.bias":
                nn.init.zeros_(parameter)

    def stem(self, x):
        """Images to the first maps."""
        return self.bn1(self.conv1(x), relu=True)

    def forward(self, x):
        """Images [N, 3, H, W] to scores [N, classes]."""
        nn.check_images(self, x, least=1)
        x = self.stem(x)
        for i in range(len(self.depths)):
            x = getattr(self, f"layer{i + 1}")(x)
        return self.fc(minidl.global_avg_pool2d(x).flatten(1))

    def choose(self, option, choices, choice):
        """The block that an option stands for."""
        if choice not in choices:
            names = " or ".join(map(repr, choices))
            raise ValueError(f"{type(self).__name__}: {option} must be {names}, got {choice!r}")
        return choices[choice]


# ---- for ImageNet ----------------------------------------------------------------------------------------------------------

BASIC = {"v1.5": BasicBlock, "v1": BasicBlock}
PLAIN = {"v1.5": PlainBlock, "v1": PlainBlock}
BOTTLENECKS = {"v1.5": Bottleneck, "v1": BottleneckV1}


class ResNet(Staged):
    """Colour images in, one score per class out."""

    widths = (64, 128, 256, 512)

    def __init__(self, classes=1000, *, version="v1.5", size=224):
        self.version = version
        block = self.choose("version", self.blocks, version)
        self.build(block, classes, size, stem=conv(3, self.widths[0], 7, stride=2))

    def stem(self, x):
        """A quarter of the height and width before the first block."""
        x = self.bn1(self.conv1(x), relu=True)
        return minidl.max_pool2d(x, kernel_size=3, stride=2, padding=1)

    @property
    def shapes_cannot_tell(self):
        """What a file of weights leaves open."""
        images = "images in 0..1, less (.485, .456, .406), over (.229, .224, .225)"
        if self.blocks is BOTTLENECKS:
            return f"v1 and v1.5 have the same weights (this net is {self.version}, torchvision's are v1.5, for {images})"
        return f"which images the weights were trained on (torchvision's: {images})"


class ResNet18(ResNet):
    """18 layers: two basic blocks everywhere."""

    input_shape, blocks, depths = IMAGENET, BASIC, (2, 2, 2, 2)


class ResNet34(ResNet):
    """34 layers."""

    input_shape, blocks, depths = IMAGENET, BASIC, (3, 4, 6, 3)


class ResNet50(ResNet):
    """50 layers: each block of the 34 as a bottleneck."""

    input_shape, blocks, depths = IMAGENET, BOTTLENECKS, (3, 4, 6, 3)


class ResNet101(ResNet):
    """101 layers."""

    input_shape, blocks, depths = IMAGENET, BOTTLENECKS, (3, 4, 23, 3)


class ResNet152(ResNet):
    """152 layers, and still fewer multiply-adds than VGG-16. Two of these among six nets won ILSVRC 2015: 3.57 % top-5."""

    input_shape, blocks, depths = IMAGENET, BOTTLENECKS, (3, 8, 36, 3)


# ---- for CIFAR-10 ----------------------------------------------------------------------------------------------------------


SHORTCUTS = {"A": PaddedBlock, "B": BasicBlock}


class SmallNet(Staged):
    """6n + 2 layers for small images: a 3x3 convolution, n blocks on each of three sizes, a dense layer."""

    widths = (16, 32, 64)

    def layers(self, depth, block, classes, size):
        """Build the net of this depth."""
        if not isinstance(depth, int) or depth < 8 or depth % 6 != 2:
            raise ValueError(f"{type(self).__name__}: depth must be 6n + 2 (8, 14, 20, ...), got {depth!r}")
        self.depth, self.depths = depth, [depth // 6] * 3
        self.build(block, classes, size, stem=conv(3, self.widths[0], 3))


class SmallResNet(SmallNet):
    """With shortcuts A, the paper's, or B."""

    shapes_cannot_tell = "a plain net has the same weights as one with shortcuts A"

    def __init__(self, classes=10, *, shortcut="A", size=32):
        self.shortcut = shortcut
        self.layers(self.depth, self.choose("shortcut", SHORTCUTS, shortcut), classes, size)


class ResNet20(SmallResNet):
    """8.75 % errors on CIFAR-10 in the paper.

    layer    output                                        parameters    multiply-adds
    conv1    16 x 32x32  3x3                                      432          442,368
    bn1      16 x 32x32  batch norm, ReLU                          32                -
    layer1   16 x 32x32  3 basic blocks                        14,016       14,155,776
    layer2   32 x 16x16  3 basic blocks                        51,072       12,976,128
    layer3   64 x  8x8   3 basic blocks                       203,520       12,976,128
    fc       10          the mean of every map, then dense        650              640
    """

    input_shape, depth = CIFAR, 20


class ResNet32(SmallResNet):
    """7.51 % errors."""

    input_shape, depth = CIFAR, 32


class ResNet44(SmallResNet):
    """7.17 % errors."""

    input_shape, depth = CIFAR, 44


class ResNet56(SmallResNet):
    """6.97 % errors."""

    input_shape, depth = CIFAR, 56


class ResNet110(SmallResNet):
    """6.43 % errors. The paper starts it at a tenth of the learning rate until the training error is below 80 %."""

    input_shape, depth = CIFAR, 110


# ---- without shortcuts -----------------------------------------------------------------------------------------------------


class PlainNet(SmallNet):
    """The nets for CIFAR-10 without shortcuts; at 56 layers worse than at 20, on the training images too."""

    input_shape = CIFAR
    shapes_cannot_tell = SmallResNet.shapes_cannot_tell

    def __init__(self, classes=10, *, depth=20, size=32):
        self.layers(depth, PlainBlock, classes, size)


class PlainNet18(ResNet):
    """The 18 layers for ImageNet without shortcuts: 27.94 % errors in the paper, with shortcuts A 27.88 %."""

    input_shape, blocks, depths = IMAGENET, PLAIN, (2, 2, 2, 2)


class PlainNet34(PlainNet18):
    """The 34 layers without shortcuts: 28.54 %, worse than 18; with shortcuts A 25.03 %."""

    depths = (3, 4, 6, 3)


default = ResNet50
