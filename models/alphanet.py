"""Alpha-Net: 128 to 1024 layers, in three structures, with links drawn by chance.

    Shaikh, Sharma, Chouhan, Mahawar 2020, "Alpha-Net: Architecture, Models, and Applications", arXiv 2007.07221.

                                            layers      parameters      multiply-adds
    AlphaNet                                   128     212,674,655     27,478,495,232
    AlphaNet version=2                         256     429,020,319     55,429,337,088
    AlphaNet version=3                         512     861,711,647    111,331,020,800
    AlphaNet version=4                       1,024   1,727,094,303    223,134,388,224
    AlphaNet structure=residual                128      88,565,800     14,530,678,784
    AlphaNet version=2 structure=residual      256     179,164,200     29,328,183,296
    AlphaNet version=3 structure=residual      512     360,361,000     58,923,192,320
    AlphaNet version=4 structure=residual    1,024     722,754,600    118,113,210,368
    AlphaNet structure=plain                   128      88,391,976     14,511,411,200
    AlphaNet version=2 structure=plain         256     178,990,376     29,308,915,712
    AlphaNet version=3 structure=plain         512     360,187,176     58,903,924,736
    AlphaNet version=4 structure=plain       1,024     722,580,776    118,093,942,784
    AlphaNet32                                 128       4,844,819        559,858,304
    AlphaNet32 version=2                       256       9,752,979      1,130,283,648
    AlphaNet32 version=3                       512      19,668,435      2,271,134,336
    AlphaNet32 version=4                     1,024      39,400,211      4,552,835,712
    AlphaNet32 structure=residual              128       2,022,362        295,617,152
    AlphaNet32 version=2 structure=residual    256       4,082,458        597,607,040
    AlphaNet32 version=3 structure=residual    512       8,244,186      1,201,586,816
    AlphaNet32 version=4 structure=residual  1,024      16,526,106      2,409,546,368
    AlphaNet32 structure=plain                 128       2,019,610        295,355,008
    AlphaNet32 version=2 structure=plain       256       4,079,706        597,344,896
    AlphaNet32 version=3 structure=plain       512       8,241,434      1,201,324,672
    AlphaNet32 version=4 structure=plain     1,024      16,523,354      2,409,284,224

The paper prints no code and leaves much open. Its words, and our reading of each:

128, 256, 512, 1024 layers        As many convolutions and dense layers on the longest way; those side by side count once, and
                                  shortcuts not. Stages of blocks of two: 3k, 4k, 6k - 1 and 3k blocks are 32k layers, and
                                  k = 4, 8, 16, 32 is exactly v1 to v4. For small images three equal stages; what does not
                                  divide by three makes the middle one a block longer or shorter.
plain, residual, alpha            plain     y = ReLU(F(x))              F = 3x3, batch norm, ReLU, 3x3, batch norm
                                  residual  y = ReLU(S(x) + F(x))       S = x, or 1x1 and batch norm where the shape changes
                                  alpha     so too; F = 3x3, alpha-BN, ReLU, stochastic pool, mean of 3x3 and 5x5, alpha-BN
"alpha transform over convoluted  Batch norm, then a signed power: minidl.alpha_batch_norm. It stands in the place of every
layers"                           batch norm of the alpha structure.
"average of 5x5 and 10x10 filters Two convolutions of the same maps side by side, (a + b) / 2. `kernels=(3, 5)`; (5, 10) is as
at each block"                    printed, with 4 rows of padding above and 5 below.
stochastic pooling                Of Zeiler and Fergus 2013, 3x3 with stride 1, so that a block keeps the size.
a block's output has its input's  The first block of a stage but the first has stride 2; all others keep the size.
size
a random mapping from a layer to  Each block of the alpha structure but the first two of a stage draws one block of the stage
other layers, random weights on   before its predecessor, its source: x + link y_source comes in, link ~ N(0, 0.01^2), learned.
the links at first
the mapping "adjusts itself in    The links' weights are trained. links="redraw" draws the sources anew in each step, and
many iterations"                  predicts with the mean over what could be drawn.
a loss layer in every block       Deep supervision: auxiliary=True puts a head at the end of each stage but the last; each
                                  weighs 0.3 in the loss.
softmax, AM-softmax, and linear   loss="softmax", "am", "am_linear": see minidl.am_softmax_linear. The angular ones look at
                                  features of both signs, also those of auxiliary heads: at what the last ReLU of a stage is
                                  given, while the next stage gets that ReLU's output.

`survival=0.5` is stochastic depth (Huang, Sun, Liu, Sedra, Weinberger 2016, arXiv 1603.09382): block l of L is left out of a
step with probability (l / L) (1 - survival), and in prediction F is multiplied by the rest, the probability to be there.
`recompute="block"` or "stage" throws away what is inside a block or a whole stage and computes it again in backward:
minidl.recompute.

How it starts is ours too. The last batch norm of each block begins at `last_gamma`; where there is a shortcut at 1/sqrt(layers
in all blocks), by which the first gradient is about as large at any depth (the scale: De, Smith 2020, arXiv 2002.10444): on
digits of 16x16 its norm is 15 at 128 layers and 21 at 1024. Begun at 1 the alpha structure starts with gradients that no step
can follow, 1e9 and past float32: where batch norm's slope is as large as its spread, the signed power's is 1.2 times as large,
and each block multiplies the gradient by a little more than 1. Up to last_gamma = 0.2 the norm grows about as exp(3 to 4 blocks
last_gamma^2), above it by less: at 1 by a factor of 1.4 a block (63 blocks). At 0 a block first passes on what it gets (Goyal
and others 2017, arXiv 1706.02677, section 5.1), with norms of 2 and 4, but learns late.

All else is as in resnet.py: the stem, no bias beside a batch norm, He's weights.
"""

import math
from collections.abc import Mapping

import minidl
from minidl import nn

VERSIONS = {1: 128, 2: 256, 3: 512, 4: 1024}  # layers


# ---- blocks ----------------------------------------------------------------------------------------------------------------


def conv(channels, width, kernel_size, stride=1):
    """A convolution that keeps height and width, or divides them by the stride; batch norm brings the bias."""
    return nn.Conv2d(channels, width, kernel_size, stride=stride, padding=(kernel_size - 1) // 2, bias=False)


class PlainBlock(nn.Module):
    """Two convolutions, one after the other."""

    last_relu = True

    def __init__(self, channels, width, stride):
        self.conv1, self.bn1 = conv(channels, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3), nn.BatchNorm2d(width)

    def branch(self, x):
        """F, what is learned: [N, channels, H, W] -> [N, width, P, Q]."""
        return self.bn2(self.conv2(self.bn1(self.conv1(x), relu=True)))

    def joined(self, x):
        """What the last ReLU is given."""
        return self.branch(x)

    def forward(self, x):
        """[N, channels, H, W] -> [N, width, P, Q]."""
        y = self.joined(x)
        return minidl.relu(y) if self.last_relu else y


class ResidualBlock(PlainBlock):
    """What came in is added, across a change of shape through a projection."""

    survival = 1.0  # the probability to be there

    def __init__(self, channels, width, stride):
        super().__init__(channels, width, stride)
        self.downsample = self.shortcut(channels, width, stride, nn.BatchNorm2d)

    def shortcut(self, channels, width, stride, norm):
        """S, or None where x fits as it is."""
        fits = stride == 1 and channels == width
        return None if fits else nn.Sequential(conv(channels, width, 1, stride), norm(width))

    def joined(self, x):
        """S(x) + F(x); with stochastic depth sometimes S(x) alone."""
        passed = x if self.downsample is None else self.downsample(x)
        if self.survival == 1:
            return passed + self.branch(x)
        if not self.training:
            return passed + self.survival * self.branch(x)
        there = minidl.random.stream().generator().random() < self.survival
        return passed + self.branch(x) if there else passed


class AveragedConv(nn.Module):
    """Two convolutions of the same maps side by side, and the mean of both.

    Both are linear, so their mean is one convolution with the mean of both kernels, the smaller one in a frame of zeros: 25
    products where 3x3 and 5x5 have 9 + 25.
    """

    def __init__(self, width, kernels):
        small, large = sorted(kernels)
        self.small, self.large = nn.Parameter.zeros(width, width, small, small), nn.Parameter.zeros(width, width, large, large)
        before = (large - 1) // 2 - (small - 1) // 2  # 'same' puts the centre of R rows at row (R - 1) // 2
        self.frame = (before, large - small - before) * 2

    def forward(self, x):
        """[N, width, H, W] -> the same shape."""
        return minidl.conv2d(x, (minidl.pad(self.small, self.frame) + self.large) / 2, padding="same")


class AlphaBlock(ResidualBlock):
    """Alpha-BN, stochastic pooling and averaged convolutions; beside its input perhaps a link from an earlier block."""

    def __init__(self, channels, width, stride, kernels, alpha):
        def norm(width):
            return nn.AlphaBatchNorm2d(width, alpha)

        self.link = self.source = None
        self.conv1, self.bn1 = conv(channels, width, 3, stride), norm(width)
        self.pool = nn.StochasticPool2d(3, stride=1, padding="same")
        self.conv2, self.bn2 = AveragedConv(width, kernels), norm(width)
        self.downsample = self.shortcut(channels, width, stride, norm)

    def connect(self, source):
        """Listen to the block of this number too; the number is saved with the weights."""
        self.source = nn.HostBuffer(source, dtype="int64")
        self.link = nn.init.normal_(nn.Parameter(0.0), std=0.01)

    def branch(self, x):
        """F, what is learned: [N, channels, H, W] -> [N, width, P, Q]."""
        x = self.pool(self.bn1(self.conv1(x), relu=True))
        return self.bn2(self.conv2(x))

    def forward(self, x, far=None):
        """x from the predecessor, `far` of the same shape over the link."""
        return super().forward(x if far is None else x + self.link * far)


# ---- stages ----------------------------------------------------------------------------------------------------------------


class Stage(nn.Sequential):
    """Blocks one after another."""

    recomputes = False  # block by block

    def run(self, block, *inputs):
        """One block's output."""
        return minidl.recompute(block, *inputs) if self.recomputes else block(*inputs)

    def forward(self, x):
        """[N, channels, H, W] -> [N, width, P, Q]."""
        for block in self:
            x = self.run(block, x)
        return x


class LinkedStage(Stage):
    """Each block but the first two also gets the output of an earlier one, its source."""

    redraw = False  # in each step of training
    name = "stage"  # in the net, for what is wrong

    def connect(self, generator):
        """Draw a source for each block."""
        for block, source in zip(self, self.drawn(generator), strict=True):
            if source is not None:
                block.connect(source)

    def drawn(self, generator):
        """For each block the number of one before its predecessor; None for the first two, which have none."""
        return [int(generator.integers(i - 1)) if i > 1 else None for i in range(len(self))]

    def sources(self):
        """Those of this pass."""
        if self.redraw:
            return self.drawn(minidl.random.stream().generator())
        found = [None if block.source is None else block.source.item() for block in self]
        for i, source in enumerate(found):
            self.check(i, source)
        return found

    def check(self, i, source):
        """ValueError where the source of block i, if it has any, is no block before its predecessor."""
        if source is not None and source not in range(i - 1):
            raise ValueError(
                f"{self.name}.{i}.source expected the number of an earlier block, 0 to {i - 2}, got {source:g}; restore the "
                "file of weights that it came from, or draw all links anew by model.connect()"
            )

    def forward(self, x):
        """[N, channels, H, W] -> [N, width, P, Q]."""
        if self.redraw and not self.training:
            return self.expected(x)
        sources, outputs = self.sources(), {}
        last = {source: i for i, source in enumerate(sources)}  # who asks for it last
        for i, (block, source) in enumerate(zip(self, sources, strict=True)):
            x = self.run(block, x) if source is None else self.run(block, x, outputs[source])
            if source is not None and last[source] == i:
                del outputs[source]
            if i in last:
                outputs[i] = x
        return x

    def expected(self, x):
        """Over each link the mean of all that could have been drawn."""
        before, total = None, None  # the predecessor's input; the sum of all outputs before the predecessor's
        for i, block in enumerate(self):
            if i > 1:
                total = before if total is None else total + before
            y = self.run(block, x) if total is None else self.run(block, x, total * (1 / (i - 1)))
            before, x = x, y
        return x


# ---- nets ------------------------------------------------------------------------------------------------------------------


class AlphaNet(nn.Module):
    """For images of 224x224: four stages of 64, 128, 256 and 512 maps.

    version     1 to 4, 1 if not given; `depth` in its place: any multiple of 32 layers
    structure   "plain", "residual" or "alpha"; kernels, alpha (of alpha-BN), links and seed are of the alpha structure alone
    links       "fixed", "redraw" or "none"; with `seed` the fixed ones are drawn from a stream of its own, so that weights can
                be drawn anew and the links be the same
    s, m        of the angular losses alone: scale and margin; few classes want s = 10, which is the smaller net's default

    An option that would change nothing is refused.
    """

    input_shape = (3, 224, 224)
    widths, shrinks = (64, 128, 256, 512), 32  # the last maps are the image's size over this, rounded up
    usual_classes, scale = 1000, 30.0
    auxiliary_weight = 0.3
    forecast_from = (32, 64)  # `minidl summary --memory` measures these two depths in the place of a greater one
    forecast_with = (("version", None), ("survival", 1.0))  # and all with these options: every block there, the most it needs
    shapes_cannot_tell = "the alpha of alpha-BN, survival, and whether links are redrawn"

    def __init__(
        self,
        classes=None,
        *,
        version=None,
        structure="alpha",
        depth=None,
        kernels=(3, 5),
        alpha=0.5,
        links="fixed",
        seed=None,
        survival=1.0,
        loss="softmax",
        s=None,
        m=0.35,
        auxiliary=False,
        last_gamma=None,
        recompute=None,
        size=None,
    ):
        self.version, self.structure, self.depth, self.kernels = 1 if version is None else version, structure, depth, kernels
        self.alpha, self.links, self.survival, self.auxiliary = alpha, links, survival, auxiliary
        self.check(loss, recompute, last_gamma, seed)
        self.check_angles(s, m)
        self.check_pairs(version, loss, last_gamma, seed, s, m)
        self.build_for(self.input_shape[1] if size is None else size)
        self.softmax, self.recomputed = loss == "softmax", recompute
        self.stem_layers()
        channels = self.widths[0]
        for i, (width, count) in enumerate(zip(self.widths, self.depths(), strict=True)):
            blocks = [self.block(width if j else channels, width, stride=2 if i and not j else 1) for j in range(count)]
            stage = (LinkedStage if structure == "alpha" else Stage)(*blocks)
            stage.recomputes, stage.redraw, stage.name = recompute == "block", links == "redraw", f"layer{i + 1}"
            setattr(self, f"layer{i + 1}", stage)
            channels = width
        self.stages = [f"layer{i + 1}" for i in range(len(self.widths))]
        self.s, self.m = angles = (self.scale if s is None else s, m)
        self.heads = {"fc": self.widths[-1]}
        self.heads |= {f"aux{i + 1}": width for i, width in enumerate(self.widths[:-1]) if auxiliary}
        for name, width in self.heads.items():
            setattr(self, name, self.head(width, self.usual_classes if classes is None else classes, loss, *angles))
        self.start(last_gamma)
        self.connect(seed)

    @property
    def layers(self):
        """On the longest way."""
        return VERSIONS[self.version] if self.depth is None else self.depth

    # ---- what it is made with ----------------------------------------------------------------------------------------

    def check(self, loss, recompute, last_gamma, seed):
        """ValueError, one line, for an option that there is not."""
        options = {
            "version": (self.version, (1, 2, 3, 4)),
            "structure": (self.structure, ("plain", "residual", "alpha")),
            "links": (self.links, ("fixed", "redraw", "none")),
            "loss": (loss, ("softmax", "am", "am_linear")),
            "recompute": (recompute, (None, "block", "stage")),
            "auxiliary": (self.auxiliary, (False, True)),
        }
        for name, (value, choices) in options.items():
            if not any(value is choice or (type(value) is type(choice) and value == choice) for choice in choices):
                told = f"{', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}"
                raise self.refusal(f"{name} must be {told}, got {value!r}")
        kernels = self.kernels
        if not isinstance(kernels, tuple | list) or len(kernels) != 2 or not all(type(r) is int and r > 0 for r in kernels):
            raise self.refusal(f"kernels must be two whole numbers of 1 or more, such as (3, 5), got {kernels!r}")
        if seed is not None and (type(seed) is not int or seed < 0):
            raise self.refusal(f"seed must be a whole number of 0 or more, or None, got {seed!r}")
        if type(self.alpha) not in (int, float) or not self.alpha > 0:
            raise self.refusal(f"alpha must be a number above 0, got {self.alpha!r}")
        if type(self.survival) not in (int, float) or not 0 < self.survival <= 1:
            raise self.refusal(f"survival must be above 0 and 1 or less, got {self.survival!r}")
        if last_gamma is not None and (type(last_gamma) not in (int, float) or not 0 <= last_gamma <= 1):
            raise self.refusal(f"last_gamma must be from 0 to 1, got {last_gamma!r}")

    def check_angles(self, s, m):
        """ValueError, one line, for a scale or a margin out of range."""
        if s is not None and (type(s) not in (int, float) or not 0 < s < math.inf):
            raise self.refusal(f"s must be a number above 0, finite, or None, got {s!r}")
        if type(m) not in (int, float) or not 0 <= m <= 2:
            raise self.refusal(f"m must be a number from 0 to 2, as far as two cosines are apart, got {m!r}")

    def check_pairs(self, version, loss, last_gamma, seed, s, m):
        """ValueError, one line, for an option that another one makes useless."""
        if version is not None and self.depth is not None:
            raise self.refusal(f"version={version} and depth={self.depth} both say how many layers; leave one out")
        if self.structure == "plain" and (self.survival < 1 or last_gamma == 0):
            option = f"survival={self.survival}" if self.survival < 1 else "last_gamma=0"
            raise self.refusal(f"{option} needs a shortcut past the block, and the plain structure has none")
        if self.structure != "alpha":
            why = f"is of the alpha structure alone, and this one is {self.structure}; leave it out"
            usual = {"kernels": (tuple(self.kernels), (3, 5)), "alpha": (self.alpha, 0.5), "links": (self.links, "fixed")}
            self.check_usual(why, **usual, seed=(seed, None))
        elif self.links != "fixed":
            self.check_usual(f"draws the fixed links, and links={self.links!r} has none; leave it out", seed=(seed, None))
        if loss == "softmax":
            why = "is of the angular losses alone, and this one is softmax; leave it out, or choose loss='am' or 'am_linear'"
            self.check_usual(why, s=(s, None), m=(m, 0.35))

    def check_usual(self, why, **options):
        """ValueError, one line, for the first option that is not as it usually is."""
        for name, (value, usual) in options.items():
            if value != usual:
                raise self.refusal(f"{name}={value!r} {why}")

    def refusal(self, words):
        """The error to raise."""
        return ValueError(f"{type(self).__name__}: {words}")

    def build_for(self, size):
        """Say in `input_shape` how large the images are, if the last maps are large enough for the kernels."""
        size, reach = nn.check_size(self, size, least=1), max(self.kernels) // 2 if self.structure == "alpha" else 0
        self.least = self.shrinks * reach + 1
        if size < self.least:
            side = -(-size // self.shrinks)
            raise self.refusal(
                f"expected images [N,3,H,W] of at least {self.least}x{self.least}, got size={size}; kernels={self.kernels} are "
                f"larger than the last maps of {side}x{side}, some of their weights would see nothing but padding"
            )
        self.input_shape = (3, size, size)

    def depths(self):
        """How many blocks each stage has."""
        depth = self.layers
        if type(depth) is not int or depth < 32 or depth % 32:
            raise self.refusal(f"depth must be a multiple of 32 (32, 64, 96, ...), got {depth!r}")
        k = depth // 32
        return [3 * k, 4 * k, 6 * k - 1, 3 * k]

    def block(self, channels, width, stride):
        """One block of the structure."""
        if self.structure == "alpha":
            return AlphaBlock(channels, width, stride, self.kernels, self.alpha)
        return (ResidualBlock if self.structure == "residual" else PlainBlock)(channels, width, stride)

    def norm(self, width):
        """The structure's batch norm."""
        return nn.AlphaBatchNorm2d(width, self.alpha) if self.structure == "alpha" else nn.BatchNorm2d(width)

    def stem_layers(self):
        """A quarter of the height and width before the first block."""
        self.conv1, self.bn1 = conv(3, self.widths[0], 7, stride=2), self.norm(self.widths[0])
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)

    def head(self, features, classes, loss, s, m):
        """What makes scores of features [N, features]."""
        if loss == "softmax":
            return nn.Linear(features, classes)
        return (nn.AMSoftmax if loss == "am" else nn.AMSoftmaxLinear)(features, classes, s, m)

    def start(self, last_gamma):
        """He's weights; then what the options ask of the blocks."""
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                nn.init.kaiming_normal_(parameter)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
        blocks = [block for name in self.stages for block in getattr(self, name)]
        if last_gamma is None:
            last_gamma = 1 if self.structure == "plain" else (2 * len(blocks)) ** -0.5
        for i, block in enumerate(blocks, start=1):
            block.survival = 1 - i / len(blocks) * (1 - self.survival)
            nn.init.constant_(block.bn2.weight, last_gamma)
        for name in self.stages:
            getattr(self, name)[-1].last_relu = self.softmax

    def connect(self, seed=None):
        """Draw the links: from the stream of a seed, or from minidl's."""
        if self.structure != "alpha" or self.links == "none":
            return
        stream = minidl.random.stream() if seed is None else minidl.random.Stream(seed)
        for name in self.stages:
            getattr(self, name).connect(stream.generator())

    def load_state_dict(self, state, strict=True):
        """As every Module; ValueError also for a link to no earlier block, and then nothing is loaded."""
        for name in self.stages if self.structure == "alpha" and isinstance(state, Mapping) else ():
            for i in range(len(getattr(self, name))):
                source = state.get(f"{name}.{i}.source")
                if getattr(source, "size", 0) == 1:
                    getattr(self, name).check(i, source.item())
        return super().load_state_dict(state, strict)

    # ---- what it computes --------------------------------------------------------------------------------------------

    def forward(self, x):
        """Images [N, 3, H, W] to scores [N, classes], or with an angular loss to features; in training with auxiliary heads
        to a tuple of these, the main one first."""
        nn.check_images(self, x, self.least)
        x = self.maxpool(self.bn1(self.conv1(x), relu=True))
        ends = []  # of each stage, what its head looks at
        for name in self.stages:
            x = minidl.relu(x) if ends and not self.softmax else x
            stage = getattr(self, name)
            x = minidl.recompute(stage, x) if self.recomputed == "stage" else stage(x)
            ends.append(x)
        out = self.scores(self.fc, ends.pop())
        if not (self.auxiliary and self.training):
            return out
        return out, *[self.scores(getattr(self, f"aux{i}"), x) for i, x in enumerate(ends, start=1)]

    def scores(self, head, x):
        """Of the mean of every map."""
        features = minidl.global_avg_pool2d(x).flatten(1)
        return head(features) if self.softmax else features

    def loss(self, out, labels):
        """The main head's loss, and each auxiliary one's times its weight."""
        outs = out if isinstance(out, tuple) else (out,)
        losses = []
        for name, o in zip(self.heads, outs, strict=False):
            of_head = minidl.softmax_cross_entropy if self.softmax else getattr(self, name).loss
            losses.append(of_head(o, labels))
        total = losses[0]
        for more in losses[1:]:
            total = total + self.auxiliary_weight * more
        return total

    def predict(self, out):
        """Probabilities [N, classes] by the main head, or cosines without the margin."""
        out = out[0] if isinstance(out, tuple) else out
        return minidl.softmax(out) if self.softmax else self.fc.predict(out)


class AlphaNet32(AlphaNet):
    """For images of 32x32, or of any other `size`: three stages of 16, 32 and 64 maps. `depth` may be any even number of 8 or
    more: 8, 14, 20 and 26 are for a laptop."""

    input_shape = (3, 32, 32)
    widths, shrinks = (16, 32, 64), 4
    forecast_from = (20, 38)
    usual_classes, scale = 10, 10.0

    def depths(self):
        """How many blocks each stage has."""
        depth = self.layers
        if type(depth) is not int or depth < 8 or depth % 2:
            raise self.refusal(f"depth must be an even number, 8 or more (8, 14, 20, 26 have equal stages), got {depth!r}")
        blocks = depth // 2 - 1
        outer = (blocks + 1) // 3
        return [outer, blocks - 2 * outer, outer]

    def stem_layers(self):
        """The size of the image before the first block."""
        self.conv1, self.bn1 = conv(3, self.widths[0], 3), self.norm(self.widths[0])
        self.maxpool = nn.Sequential()


default = AlphaNet32
