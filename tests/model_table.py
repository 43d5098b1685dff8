"""Every model of models/, its exact size, and the images it takes: a row each, read by tests/test_models.py.

To add a model, add a row, and a twin to model_twins/.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from models.alexnet import AlexNet, AlexNet32
from models.alexnet_listings import KerasAlexNet, SixClassAlexNet, SlidesAlexNet, TorchvisionAlexNet
from models.alphanet import AlphaNet, AlphaNet32
from models.inception import GoogLeNet, InceptionV3
from models.lenet import LeNet5, LeNet1998
from models.resnet import (
    PlainNet,
    PlainNet18,
    PlainNet34,
    ResNet18,
    ResNet20,
    ResNet32,
    ResNet34,
    ResNet44,
    ResNet50,
    ResNet56,
    ResNet101,
    ResNet110,
    ResNet152,
)
from models.vgg import VGG11, VGG13, VGG16, VGG19


class Row(NamedTuple):
    """A model, its exact size as it predicts one image of its own size, and the images it takes."""

    cls: Any
    parameters: int
    macs: int
    least: int  # height and width of the smallest images it takes
    most: int | None = None  # and of the largest, where a dense layer fixes the size of the last maps
    smallest: int | None = None  # the least `size` it can be built for, where it takes one
    auxiliary: int = 0  # parameters of heads that only training uses
    options: dict[str, Any] = {}  # noqa: RUF012  (nobody writes to it)
    learns: dict[str, Any] | None = None  # keywords that make it small enough for the tests that train, which it takes part in

    def build(self, **more: Any) -> Any:
        """The model."""
        return self.cls(**{**self.options, **more})

    @property
    def at_night(self) -> bool:
        """Whether it repeats, at another depth, what rows of the day show."""
        version, whole = self.options.get("version", 1), "structure" not in self.options
        return version in (2, 3) or (version == 4 and not whole)

    def __str__(self) -> str:
        """As tests and docstrings write it: VGG16, or VGG16 batch_norm=True."""
        return " ".join([self.cls.__name__, *(f"{name}={value}" for name, value in self.options.items())])


TORCHVISION, V1, SMALL = {"variant": "torchvision"}, {"version": "v1"}, {"size": 32, "classes": 10}
SHORT: dict[str, Any] = {"depth": 20, "size": 16}

TABLE = [
    Row(LeNet5, 61_706, 416_520, least=32, most=35, learns={}),
    Row(LeNet1998, 60_000, 415_680, least=32, most=35, learns={}),
    Row(AlexNet, 60_965_224, 724_406_816, least=224, most=255, smallest=64, learns={"size": 64, "classes": 10}),
    Row(AlexNet, 62_378_344, 1_135_256_096, least=224, most=255, smallest=64, options={"groups": 1}),
    Row(AlexNet, 60_965_224, 724_406_816, least=224, most=255, smallest=64, options={"convention": "original"}),
    Row(AlexNet32, 797_290, 20_528_640, least=31, most=38, learns={}),
    Row(KerasAlexNet, 24_000_586, 1_035_504_768, least=215, most=246),
    Row(SlidesAlexNet, 62_378_344, 1_135_256_096, least=227, most=258),
    Row(TorchvisionAlexNet, 61_100_840, 714_188_480, least=63, smallest=63),
    Row(SixClassAlexNet, 57_028_422, 710_117_056, least=63, smallest=63),
    Row(VGG11, 132_863_336, 7_609_090_048, least=224, most=255, smallest=32, learns={"size": 32, "classes": 10}),
    Row(VGG13, 133_047_848, 11_308_466_176, least=224, most=255, smallest=32),
    Row(VGG16, 138_357_544, 15_470_264_320, least=224, most=255, smallest=32),
    Row(VGG19, 143_667_240, 19_632_062_464, least=224, most=255, smallest=32),
    Row(VGG11, 132_868_840, 7_609_090_048, least=224, most=255, smallest=32, options={"batch_norm": True}),
    Row(VGG13, 133_053_736, 11_308_466_176, least=224, most=255, smallest=32, options={"batch_norm": True}),
    Row(VGG16, 138_365_992, 15_470_264_320, least=224, most=255, smallest=32, options={"batch_norm": True}),
    Row(VGG19, 143_678_248, 19_632_062_464, least=224, most=255, smallest=32, options={"batch_norm": True}),
    *[
        Row(GoogLeNet, 6_998_552, 1_582_671_872, least=223, most=270, smallest=79, auxiliary=6_379_728),
        Row(GoogLeNet, 6_998_552, 1_582_671_872, least=31, smallest=31, options={"auxiliary": False}, learns=SMALL),
        Row(GoogLeNet, 6_624_904, 1_498_376_192, least=15, smallest=15, auxiliary=6_379_984, options=TORCHVISION),
        Row(GoogLeNet, 6_624_904, 1_498_376_192, least=15, smallest=15, options={**TORCHVISION, "auxiliary": False}),
        Row(InceptionV3, 23_834_568, 5_713_216_096, least=299, smallest=299, auxiliary=3_326_696),
        Row(InceptionV3, 23_834_568, 5_713_216_096, least=75, smallest=75, options={"auxiliary": False}),
    ],
    *[
        Row(ResNet18, 11_689_512, 1_814_073_344, least=1, smallest=1),
        Row(ResNet34, 21_797_672, 3_663_761_408, least=1, smallest=1),
        Row(ResNet50, 25_557_032, 4_089_184_256, least=1, smallest=1),
        Row(ResNet101, 44_549_160, 7_801_405_440, least=1, smallest=1),
        Row(ResNet152, 60_192_808, 11_513_626_624, least=1, smallest=1),
        Row(ResNet18, 11_689_512, 1_814_073_344, least=1, smallest=1, options=V1),
        Row(ResNet34, 21_797_672, 3_663_761_408, least=1, smallest=1, options=V1),
        Row(ResNet50, 25_557_032, 3_857_973_248, least=1, smallest=1, options=V1),
        Row(ResNet101, 44_549_160, 7_570_194_432, least=1, smallest=1, options=V1),
        Row(ResNet152, 60_192_808, 11_282_415_616, least=1, smallest=1, options=V1),
        Row(PlainNet18, 11_515_688, 1_794_805_760, least=1, smallest=1),
        Row(PlainNet34, 21_623_848, 3_644_493_824, least=1, smallest=1),
    ],
    *[
        Row(ResNet20, 269_722, 40_551_040, least=1, smallest=1, learns={"size": 16}),
        Row(ResNet32, 464_154, 68_862_592, least=1, smallest=1),
        Row(ResNet44, 658_586, 97_174_144, least=1, smallest=1),
        Row(ResNet56, 853_018, 125_485_696, least=1, smallest=1),
        Row(ResNet110, 1_727_962, 252_887_680, least=1, smallest=1),
        Row(ResNet20, 269_722 + 2_752, 40_813_184, least=1, smallest=1, options={"shortcut": "B"}, learns={"size": 16}),
        Row(ResNet32, 464_154 + 2_752, 69_124_736, least=1, smallest=1, options={"shortcut": "B"}),
        Row(ResNet44, 658_586 + 2_752, 97_436_288, least=1, smallest=1, options={"shortcut": "B"}),
        Row(ResNet56, 853_018 + 2_752, 125_747_840, least=1, smallest=1, options={"shortcut": "B"}),
        Row(ResNet110, 1_727_962 + 2_752, 253_149_824, least=1, smallest=1, options={"shortcut": "B"}),
        Row(PlainNet, 269_722, 40_551_040, least=1, smallest=1, learns={"size": 16}),
        Row(PlainNet, 853_018, 125_485_696, least=1, smallest=1, options={"depth": 56}),
    ],
    *[
        Row(AlphaNet, 212_674_655, 27_478_495_232, least=65, smallest=65),
        Row(AlphaNet, 429_020_319, 55_429_337_088, least=65, smallest=65, options={"version": 2}),
        Row(AlphaNet, 861_711_647, 111_331_020_800, least=65, smallest=65, options={"version": 3}),
        Row(AlphaNet, 1_727_094_303, 223_134_388_224, least=65, smallest=65, options={"version": 4}),
        Row(AlphaNet, 88_565_800, 14_530_678_784, least=1, smallest=1, options={"structure": "residual"}),
        Row(AlphaNet, 179_164_200, 29_328_183_296, least=1, smallest=1, options={"version": 2, "structure": "residual"}),
        Row(AlphaNet, 360_361_000, 58_923_192_320, least=1, smallest=1, options={"version": 3, "structure": "residual"}),
        Row(AlphaNet, 722_754_600, 118_113_210_368, least=1, smallest=1, options={"version": 4, "structure": "residual"}),
        Row(AlphaNet, 88_391_976, 14_511_411_200, least=1, smallest=1, options={"structure": "plain"}),
        Row(AlphaNet, 178_990_376, 29_308_915_712, least=1, smallest=1, options={"version": 2, "structure": "plain"}),
        Row(AlphaNet, 360_187_176, 58_903_924_736, least=1, smallest=1, options={"version": 3, "structure": "plain"}),
        Row(AlphaNet, 722_580_776, 118_093_942_784, least=1, smallest=1, options={"version": 4, "structure": "plain"}),
        Row(AlphaNet32, 4_844_819, 559_858_304, least=9, smallest=9, learns=SHORT),
        Row(AlphaNet32, 9_752_979, 1_130_283_648, least=9, smallest=9, options={"version": 2}),
        Row(AlphaNet32, 19_668_435, 2_271_134_336, least=9, smallest=9, options={"version": 3}),
        Row(AlphaNet32, 39_400_211, 4_552_835_712, least=9, smallest=9, options={"version": 4}),
        Row(AlphaNet32, 2_022_362, 295_617_152, least=1, smallest=1, options={"structure": "residual"}, learns=SHORT),
        Row(AlphaNet32, 4_082_458, 597_607_040, least=1, smallest=1, options={"version": 2, "structure": "residual"}),
        Row(AlphaNet32, 8_244_186, 1_201_586_816, least=1, smallest=1, options={"version": 3, "structure": "residual"}),
        Row(AlphaNet32, 16_526_106, 2_409_546_368, least=1, smallest=1, options={"version": 4, "structure": "residual"}),
        Row(AlphaNet32, 2_019_610, 295_355_008, least=1, smallest=1, options={"structure": "plain"}, learns=SHORT),
        Row(AlphaNet32, 4_079_706, 597_344_896, least=1, smallest=1, options={"version": 2, "structure": "plain"}),
        Row(AlphaNet32, 8_241_434, 1_201_324_672, least=1, smallest=1, options={"version": 3, "structure": "plain"}),
        Row(AlphaNet32, 16_523_354, 2_409_284_224, least=1, smallest=1, options={"version": 4, "structure": "plain"}),
        Row(AlphaNet, 664_430_687, 88_171_384_832, least=161, smallest=161, options={"kernels": (5, 10)}),
        Row(AlphaNet32, 15_118_355, 1_798_488_704, least=21, smallest=21, options={"kernels": (5, 10)}),
    ],
]


def each(rows: list[Row], *, deepest: bool = True) -> pytest.MarkDecorator:
    """Run a test once for each row; without the `deepest`, whose images are those of version 1, but at night."""

    def marks(row: Row) -> list[pytest.MarkDecorator]:
        return [pytest.mark.nightly] * (row.at_night or (row.options.get("version") == 4 and not deepest))

    return pytest.mark.parametrize("row", [pytest.param(row, id=str(row), marks=marks(row)) for row in rows])
