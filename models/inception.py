"""GoogLeNet and Inception v3: several filter sizes side by side, and cheap 1x1 convolutions before the dear ones.

                                      parameters    multiply-adds
    GoogLeNet                          6,998,552    1,582,671,872
    GoogLeNet variant=torchvision      6,624,904    1,498,376,192
    InceptionV3                       23,834,568    5,713,216,096

These are the nets as they predict. In training, auxiliary heads (6,379,728, 6,379,984 and 3,326,696 parameters more) look at
maps half way; the net then returns (scores, auxiliary scores...), and `loss` weighs them. `auxiliary=False` leaves them out.

What they taught. A 3x3 or 5x5 convolution from many maps to many is dear. Let a 1x1 convolution bring the maps down first: 5x5
on 14x14x480 to 48 maps costs 112,896,000 multiply-adds, through 16 maps in between 5,268,480. With what that saves, look at
the same maps at several scales at once and join the results; and where AlexNet and VGG have dense layers, take the mean of
every map. GoogLeNet has a ninth of AlexNet's parameters and made less than half of its errors (top-5 6.67 % against 15.3 %,
each of several nets together). Inception v3 goes on: 5x5 as 3x3 after 3x3, 7x7 as 1x7 and 7x1, and batch norm everywhere.
"""

import minidl
from minidl import nn


class ConvReLU(nn.Module):
    """Convolution, ReLU."""

    def __init__(self, channels, width, kernel_size, **attrs):
        self.conv = nn.Conv2d(channels, width, kernel_size, **attrs)

    def forward(self, x):
        """[N, channels, H, W] -> [N, width, P, Q]."""
        return minidl.relu(self.conv(x))


class ConvNormReLU(nn.Module):
    """Convolution without a bias, batch norm, ReLU."""

    def __init__(self, channels, width, kernel_size, **attrs):
        self.conv = nn.Conv2d(channels, width, kernel_size, bias=False, **attrs)
        self.bn = nn.BatchNorm2d(width, eps=1e-3)

    def forward(self, x):
        """[N, channels, H, W] -> [N, width, P, Q]."""
        return self.bn(self.conv(x), relu=True)


class Supervised(nn.Module):
    """A net whose auxiliary heads have a say in the loss while it trains."""

    auxiliary_weight = 0.3  # of each head, beside the main one's 1
    label_smoothing = 0.0
    shapes_cannot_tell = "which images the weights were trained on (torchvision's: images in 0..1, less .5, over .5)"

    def loss(self, out, labels):
        """Softmax cross-entropy, of the scores or of (scores, auxiliary scores...)."""
        scores, *auxiliary = out if isinstance(out, tuple) else (out,)
        loss = minidl.softmax_cross_entropy(scores, labels, label_smoothing=self.label_smoothing)
        for head in auxiliary:
            missed = minidl.softmax_cross_entropy(head, labels, label_smoothing=self.label_smoothing)
            loss = loss + self.auxiliary_weight * missed
        return loss

    def predict(self, out):
        """Probabilities [N, classes] by the main head."""
        return minidl.softmax(out[0] if isinstance(out, tuple) else out)

    def build_for(self, size, least, least_with_heads):
        """Say in `input_shape` how large the images are, if the net can take them."""
        if not isinstance(self.auxiliary, bool):
            raise ValueError(f"{type(self).__name__}: auxiliary must be True or False, got {self.auxiliary!r}")
        size = nn.check_size(self, size, least)
        if self.auxiliary and size < least_with_heads:
            raise ValueError(
                f"{type(self).__name__}: expected images [N,3,H,W] of at least {least_with_heads}x{least_with_heads}, "
                f"got size={size}; without heads, auxiliary=False, it takes {least}x{least}"
            )
        self.input_shape = (3, size, size)

    def start(self, draw):
        """First weights by `draw`, biases 0; batch norm starts as the identity by itself."""
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                draw(parameter)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)


# ---- GoogLeNet -------------------------------------------------------------------------------------------------------------


class Inception(nn.Module):
    """Four views of the same maps, joined: 1x1; 1x1 and 3x3; 1x1 and 5x5; 3x3 max-pool and 1x1."""

    def __init__(self, channels, widths, conv, large):
        n1, reduce3, n3, reduce5, n5, project = widths
        self.branch1 = conv(channels, n1, 1)
        self.branch2 = nn.Sequential(conv(channels, reduce3, 1), conv(reduce3, n3, 3, padding=1))
        self.branch3 = nn.Sequential(conv(channels, reduce5, 1), conv(reduce5, n5, large, padding=large // 2))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), conv(channels, project, 1))

    def forward(self, x):
        """[N, channels, H, W] -> [N, n1 + n3 + n5 + project, H, W]."""
        return minidl.concat([branch(x) for branch in self.children()], axis=1)


class GoogLeNetHead(nn.Module):
    """A small classifier on maps half way, which gives the layers below a gradient of their own."""

    def __init__(self, channels, widths, classes, conv, pool, side):
        self.pool = pool  # to side x side
        self.conv = conv(channels, widths[0], 1)
        self.fc1 = nn.Linear(widths[0] * side * side, widths[1])
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(widths[1], classes)

    def forward(self, x):
        """Maps to scores [N, classes]."""
        x = self.conv(self.pool(x)).flatten(1)
        return self.fc2(self.dropout(minidl.relu(self.fc1(x))))


def halve(size=3):
    """A max-pool that halves height and width, and rounds up."""
    return nn.MaxPool2d(size, stride=2, ceil_mode=True)


TABLE_1 = {  # 1x1; 1x1 before 3x3, 3x3; 1x1 before 5x5, 5x5; 1x1 after the pool
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class GoogLeNet(Supervised):
    """22 layers, winner of ILSVRC 2014.

        Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich 2014, "Going Deeper with Convolutions",
        arXiv 1409.4842, table 1.

                                  1x1   1x1 > 3x3    1x1 > 5x5   pool > 1x1       parameters    multiply-adds
    conv1          64 x 112x112   7x7, stride 2; max-pool, LRN                         9,472      118,013,952
    conv2          64 x  56x56     64                                                  4,160       12,845,056
    conv3         192 x  56x56          192; LRN, max-pool                           110,784      346,816,512
    inception3a   256 x  28x28     64    96 > 128     16 >  32    32                 163,696      128,049,152
    inception3b   480 x  28x28    128   128 > 192     32 >  96    64; max-pool       388,736      304,267,264
    inception4a   512 x  14x14    192    96 > 208     16 >  48    64                 376,176       73,608,192
    inception4b   512 x  14x14    160   112 > 224     24 >  64    64                 449,160       87,908,352
    inception4c   512 x  14x14    128   128 > 256     24 >  64    64                 510,104       99,850,240
    inception4d   528 x  14x14    112   144 > 288     32 >  64    64                 605,376      118,515,712
    inception4e   832 x  14x14    256   160 > 320     32 > 128   128; max-pool       868,352      169,996,288
    inception5a   832 x   7x7     256   160 > 320     32 > 128   128               1,043,456       51,079,168
    inception5b  1024 x   7x7     384   192 > 384     48 > 128   128               1,444,080       70,697,984
    fc           1000             the mean of every map, dropout 0.4               1,025,000        1,024,000

    `variant="paper"`: biases, no batch norm; max-pools are 3/2 and round up; heads behind 4a and 4d (average pool 5/3, 128
    maps, 1024 units, dropout 0.7) weigh 0.3 in the loss. The paper gives neither LRN's constants (here Caffe's, which are
    PyTorch's defaults) nor how weights start (here as He's N(0, 2/fan_in), where scores are given as N(0, 0.01^2)).

    `variant="torchvision"` is torchvision's net, and loads its weights: batch norm, no biases; 3x3 in the place of 5x5; no LRN;
    the last max-pool 2/2; heads that average to 4x4 at every size; dropout 0.2. Weights start as N(0, 0.01^2), as there.
    """

    input_shape = (3, 224, 224)
    stem = (64, 64, 192)
    table = TABLE_1
    head_widths = (128, 1024)

    def __init__(self, classes=1000, *, variant="paper", auxiliary=True, size=224):
        if variant not in ("paper", "torchvision"):
            raise ValueError(f"{type(self).__name__}: variant must be 'paper' or 'torchvision', got {variant!r}")
        self.variant, self.auxiliary = variant, auxiliary
        paper = variant == "paper"
        self.least = 31 if paper else 15
        self.build_for(size, self.least, least_with_heads=79 if paper else 15)
        conv, large = (ConvReLU, 5) if paper else (ConvNormReLU, 3)
        n1, n2, n3 = self.stem
        self.conv1 = conv(3, n1, 7, stride=2, padding=3)
        self.maxpool1 = nn.Sequential(halve(), nn.LocalResponseNorm(5)) if paper else halve()
        self.conv2 = conv(n1, n2, 1)
        self.conv3 = conv(n2, n3, 3, padding=1)
        self.maxpool2 = nn.Sequential(nn.LocalResponseNorm(5), halve()) if paper else halve()
        channels, after = n3, {}
        for name, widths in self.table.items():
            setattr(self, f"inception{name}", Inception(channels, widths, conv, large))
            channels = after[name] = widths[0] + widths[2] + widths[4] + widths[5]
        self.maxpool3, self.maxpool4 = halve(), halve(3 if paper else 2)
        self.side = ((size + 1) // 16 - 2) // 3 if paper else 4  # the heads' maps: 4a's are (size + 1) // 16 high, then 5/3
        self.aux1 = self.head(after["4a"], classes, conv) if auxiliary else None
        self.aux2 = self.head(after["4d"], classes, conv) if auxiliary else None
        self.dropout = nn.Dropout(0.4 if paper else 0.2)
        self.fc = nn.Linear(channels, classes)
        self.start(nn.init.kaiming_normal_ if paper else lambda weight: nn.init.normal_(weight, std=0.01))
        for layer in (self.fc, *([self.aux1.fc2, self.aux2.fc2] if auxiliary else [])):  # what gives the scores
            nn.init.normal_(layer.weight, std=0.01)

    def head(self, channels, classes, conv):
        """An auxiliary head for so many maps."""
        pool = nn.AvgPool2d(5, stride=3) if self.variant == "paper" else nn.AdaptiveAvgPool2d(4)
        return GoogLeNetHead(channels, self.head_widths, classes, conv, pool, self.side)

    def forward(self, x):
        """Images [N, 3, H, W] to scores [N, classes]; in training with heads to (scores, those of 4a, those of 4d)."""
        heads = self.training and self.auxiliary
        least, most, smallest = self.least, None, None
        if heads and self.variant == "paper":  # what leaves their dense layers side x side
            least, most, smallest = 48 * self.side + 31, 48 * self.side + 78, 79
        nn.check_images(self, x, least, most, smallest)
        x = self.maxpool1(self.conv1(x))  # [N, 64, 56, 56]
        x = self.maxpool2(self.conv3(self.conv2(x)))  # [N, 192, 28, 28]
        x = self.maxpool3(self.inception3b(self.inception3a(x)))  # [N, 480, 14, 14]
        x = at_4a = self.inception4a(x)
        x = at_4d = self.inception4d(self.inception4c(self.inception4b(x)))
        x = self.maxpool4(self.inception4e(x))  # [N, 832, 7, 7]
        x = self.inception5b(self.inception5a(x))  # [N, 1024, 7, 7]
        x = self.fc(self.dropout(minidl.global_avg_pool2d(x).flatten(1)))  # [N, classes]
        return (x, self.aux1(at_4a), self.aux2(at_4d)) if heads else x


# ---- Inception v3 ----------------------------------------------------------------------------------------------------------

# Blocks as branches side by side, each a chain of (maps, filter): convolutions one after another. Two in one place are a fork.
# With a branch_pool, that chain begins with the average of 3x3. Without one the block halves height and width: the last
# convolution of each chain has stride 2 and no padding, and beside them a max-pool 3/2 passes the maps on as they are.


def block_a(pooled):
    """Figure 5: 5x5 as 3x3 after 3x3; one 5x5 is left."""
    return {
        "branch1x1": [(64, 1)],
        "branch5x5": [(48, 1), (64, 5)],
        "branch3x3dbl": [(64, 1), (96, 3), (96, 3)],
        "branch_pool": [(pooled, 1)],
    }


BLOCK_B = {"branch3x3": [(384, 3)], "branch3x3dbl": [(64, 1), (96, 3), (96, 3)]}  # figure 10


def block_c(n):
    """Figure 6: 7x7 as 1x7 and 7x1, one after the other."""
    return {
        "branch1x1": [(192, 1)],
        "branch7x7": [(n, 1), (n, (1, 7)), (192, (7, 1))],
        "branch7x7dbl": [(n, 1), (n, (7, 1)), (n, (1, 7)), (n, (7, 1)), (192, (1, 7))],
        "branch_pool": [(192, 1)],
    }


BLOCK_D = {"branch3x3": [(192, 1), (320, 3)], "branch7x7x3": [(192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3)]}

BLOCK_E = {  # figure 7: 3x3 as 1x3 and 3x1, side by side
    "branch1x1": [(320, 1)],
    "branch3x3": [(384, 1), [(384, (1, 3)), (384, (3, 1))]],
    "branch3x3dbl": [(448, 1), (384, 3), [(384, (1, 3)), (384, (3, 1))]],
    "branch_pool": [(192, 1)],
}


BLOCKS = {
    "5b": block_a(pooled=32),
    "5c": block_a(pooled=64),
    "5d": block_a(pooled=64),
    "6a": BLOCK_B,
    "6b": block_c(128),
    "6c": block_c(160),
    "6d": block_c(160),
    "6e": block_c(192),
    "7a": BLOCK_D,
    "7b": BLOCK_E,
    "7c": BLOCK_E,
}


class Mixed(nn.Module):
    """One such block. Convolutions are called as in torchvision: branch1x1; branch5x5_1, branch5x5_2; in a fork _2a, _2b."""

    def __init__(self, channels, branches):
        self.halves = "branch_pool" not in branches
        self.out_channels = channels if self.halves else 0
        self.chains = {}
        for branch, chain in branches.items():
            self.chains[branch], width = [], channels
            for i, place in enumerate(chain, start=1):
                fork = place if isinstance(place, list) else [place]
                number = f"_{i}" if len(chain) > 1 else ""
                names = [branch + number + letter for letter in ("ab" if len(fork) > 1 else [""])]
                attrs = {"stride": 2} if self.halves and i == len(chain) else {"padding": "same"}
                for name, (n, kernel_size) in zip(names, fork, strict=True):
                    setattr(self, name, ConvNormReLU(width, n, kernel_size, **attrs))
                self.chains[branch].append(names)
                width = sum(n for n, _ in fork)
            self.out_channels += width

    def forward(self, x):
        """[N, channels, H, W] -> [N, out_channels, P, Q]."""
        ends = []
        for branch, chain in self.chains.items():
            y = minidl.avg_pool2d(x, kernel_size=3, stride=1, padding=1) if branch == "branch_pool" else x
            for names in chain:
                ys = [getattr(self, name)(y) for name in names]
                y = minidl.concat(ys, axis=1) if len(ys) > 1 else ys[0]
            ends.append(y)
        if self.halves:
            ends.append(minidl.max_pool2d(x, kernel_size=3, stride=2))
        return minidl.concat(ends, axis=1)


class InceptionV3Head(nn.Module):
    """A small classifier on the 17x17 maps."""

    def __init__(self, channels, widths, classes):
        self.conv0 = ConvNormReLU(channels, widths[0], 1)
        self.conv1 = ConvNormReLU(widths[0], widths[1], 5)
        self.fc = nn.Linear(widths[1], classes)

    def forward(self, x):
        """Maps of at least 17x17 to scores [N, classes]."""
        x = minidl.avg_pool2d(x, kernel_size=5, stride=3)  # [N, channels, 5, 5]
        x = self.conv1(self.conv0(x))  # [N, 768, 1, 1]
        return self.fc(minidl.global_avg_pool2d(x).flatten(1))


class InceptionV3(Supervised):
    """48 layers on the longest way (the paper says 42), of small filters and batch norm.

        Szegedy, Vanhoucke, Ioffe, Shlens, Wojna 2015, "Rethinking the Inception Architecture for Computer Vision",
        arXiv 1512.00567.

                                                                          parameters    multiply-adds
    Conv2d_1a_3x3    32 x 149x149   3x3, stride 2                                928       19,181,664
    Conv2d_2a_3x3    32 x 147x147   3x3                                        9,280      199,148,544
    Conv2d_2b_3x3    64 x 147x147   3x3 padded; max-pool 3/2                  18,560      398,297,088
    Conv2d_3b_1x1    80 x  73x73    1x1                                        5,280       27,284,480
    Conv2d_4a_3x3   192 x  71x71    3x3; max-pool 3/2                        138,624      696,867,840
    Mixed_5b        256 x  35x35    A                                        255,904      312,345,600
    Mixed_5c        288 x  35x35    A                                        277,472      338,688,000
    Mixed_5d        288 x  35x35    A                                        285,152      348,096,000
    Mixed_6a        768 x  17x17    B, halves                              1,153,280      401,937,408
    Mixed_6b        768 x  17x17    C, 7x7 through 128 maps                1,297,408      374,063,104
    Mixed_6c        768 x  17x17    C, 160                                 1,691,008      487,702,528
    Mixed_6d        768 x  17x17    C, 160                                 1,691,008      487,702,528
    Mixed_6e        768 x  17x17    C, 192                                 2,141,952      617,914,368
    Mixed_7a       1280 x   8x8     D, halves                              1,698,304      291,004,416
    Mixed_7b       2048 x   8x8     E                                      5,044,608      322,437,120
    Mixed_7c       2048 x   8x8     E                                      6,076,800      388,497,408
    fc             1000             the mean of every map, dropout 0.5     2,049,000        2,048,000

    No convolution has a bias; batch norm's eps is 1e-3. Blocks and names are torchvision's, whose weights it loads. Labels are
    smoothed by 0.1 (section 7). The head, behind 6e, weighs 0.4: the paper gives no number, and this is its authors' in
    TensorFlow. With the head, training needs images of 299x299 or more. Weights start as torchvision's, N(0, 0.1^2), in the
    head's conv1 N(0, 0.01^2) and fc N(0, 0.001^2). (There they are cut off at 2, which is 20 standard deviations or more.)
    """

    input_shape = (3, 299, 299)
    auxiliary_weight, label_smoothing = 0.4, 0.1
    stem = (32, 32, 64, 80, 192)
    table = BLOCKS
    head_widths = (128, 768)

    def __init__(self, classes=1000, *, auxiliary=True, size=299):
        self.auxiliary = auxiliary
        self.build_for(size, least=75, least_with_heads=299)
        n1, n2, n3, n4, channels = self.stem
        self.Conv2d_1a_3x3 = ConvNormReLU(3, n1, 3, stride=2)
        self.Conv2d_2a_3x3 = ConvNormReLU(n1, n2, 3)
        self.Conv2d_2b_3x3 = ConvNormReLU(n2, n3, 3, padding=1)
        self.Conv2d_3b_1x1 = ConvNormReLU(n3, n4, 1)
        self.Conv2d_4a_3x3 = ConvNormReLU(n4, channels, 3)
        for name, branches in self.table.items():
            block = Mixed(channels, branches)
            setattr(self, f"Mixed_{name}", block)
            channels = block.out_channels
            if name == "6e":
                self.AuxLogits = InceptionV3Head(channels, self.head_widths, classes) if auxiliary else None
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(channels, classes)
        self.start(lambda weight: nn.init.normal_(weight, std=0.1))
        if auxiliary:
            nn.init.normal_(self.AuxLogits.conv1.conv.weight, std=0.01)
            nn.init.normal_(self.AuxLogits.fc.weight, std=0.001)

    def forward(self, x):
        """Images [N, 3, H, W] to scores [N, classes]; in training with the head to (scores, the head's scores)."""
        head = self.training and self.auxiliary
        nn.check_images(self, x, least=299 if head else 75)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # [N, 64, 147, 147]
        x = minidl.max_pool2d(x, kernel_size=3, stride=2)  # [N, 64, 73, 73]
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))  # [N, 192, 71, 71]
        x = minidl.max_pool2d(x, kernel_size=3, stride=2)  # [N, 192, 35, 35]
        for name in self.table:
            x = getattr(self, f"Mixed_{name}")(x)
            if name == "6e":
                at_6e = x  # [N, 768, 17, 17]
        x = self.fc(self.dropout(minidl.global_avg_pool2d(x).flatten(1)))  # [N, classes]
        return (x, self.AuxLogits(at_6e)) if head else x


default = GoogLeNet
