"""How long each kernel of conv2d takes: a model with a handful of constants, by which `auto` chooses.

    product     MAC for a multiply-add. The filters count as READ more rows: a product of few rows waits for them
    columns     UNFOLD for each element of X; WHOLE times that where the batch is not sliced: in one thread, out of the cache;
                RUN for each run of C elements that goes back and is added to dx
    tiles       PASS for each element of V and of M that passes a transform; FILTER for each of U
    fft         POINT for each point of a grid that is transformed
    a call      CALL, where there are more steps than im2col's; it is small layers that feel it
    direct      TURN for each turn of a Python loop, and PASS for each multiply-add

The constants are nanoseconds of one core (Zen 4 at 100 GFLOP/s); a choice needs only their ratios. Slices of the batch go to
threads, but filters are transformed, and whole batches by FFT, in one thread while others wait: that counts ALONE times.
The forecast is of forward and both backwards together; an image of 3 channels or fewer is taken for a picture, whose gradient
nobody asks for.

The forecast is rough, half as much again or two thirds of the real time; what it must get right is the order. The constants
were fitted to the shapes of `conv2d.workloads` at batches of 2 to 32; `benchmarks.kernels conv2d` shows where they err.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from minidl.ops.conv2d import fft
from minidl.ops.conv2d.tiles import Tiles
from minidl.signature import Shape
from minidl.window import Windows

MAC, READ = 0.0225, 24
UNFOLD, WHOLE, RUN = 0.4, 2.0, 5.0
PASS, FILTER = 1.0, 0.6
POINT, TURN, ALONE = 6.0, 10_000.0, 2
EDGE = 0.4  # an element of x or y read, or written
VECTOR = 16  # float32 numbers in a register: fewer filters cost as much
CALL = {"shifts": 1e5, "chunked": 1e4, "winograd": 5e4, "winograd5": 5e4, "fft": 5e4}
SLICE = 1 << 19  # elements in a slice of the batch, as minidl/slices.py cuts it

Times = tuple[float, float, float]  # forward, dx, dw


class Layer(NamedTuple):
    """A problem in numbers."""

    N: int
    C: int  # channels, of all groups
    K: int
    Cg: int  # channels that a filter sees
    windows: Windows
    image: Shape

    @property
    def outputs(self) -> int:
        """Positions of y, of all images."""
        return self.N * math.prod(self.windows.grid)

    @property
    def edges(self) -> float:
        """Reading x and writing y, or the other way round."""
        return EDGE * (math.prod(self.image) + self.outputs * self.K)

    def product(self, rows: float) -> float:
        """Rows by the filters, [rows, Cg] [Cg, K], in all groups."""
        return MAC * rows * self.Cg * -(-self.K // VECTOR) * VECTOR


def forecast(name: str, x: Shape, w: Shape, b: Shape | None, **attrs: Any) -> Times | None:
    """Milliseconds that the kernel takes for forward, dx and dw; None for a kernel that is not known here."""
    if name not in MODELS:
        return None
    windows = Windows.over(x, w, attrs["stride"], attrs["padding"], attrs["dilation"])
    layer = Layer(x[0], x[1], w[0], w[1], windows, x)
    forward, dx, dw = (1e-6 * (ns + CALL.get(name, 0.0)) for ns in MODELS[name](layer))
    return forward, 0.0 if layer.C <= 3 else dx, dw


def loops(layer: Layer) -> Times:
    turns = layer.K * math.prod(layer.windows.grid)
    each = turns * (TURN + PASS * layer.N * layer.Cg * math.prod(layer.windows.size))
    return each, each, each


def columns(layer: Layer, chunked: bool = True) -> Times:
    size = math.prod(layer.windows.size)
    elements = layer.outputs * size * layer.C
    unfold = UNFOLD * elements * (1 if chunked else WHOLE)
    slices = min(layer.N, -(-elements // SLICE)) if chunked else 1
    product = layer.product((layer.outputs + READ * slices) * size) + layer.edges
    return product + unfold, product + unfold + RUN * elements / layer.Cg, product + unfold


def position_by_position(layer: Layer) -> Times:
    size = math.prod(layer.windows.size)
    each = layer.product((layer.outputs + READ) * size) + size * EDGE * layer.outputs * (layer.C + 2 * layer.K)
    return each, each + RUN * layer.outputs * size, each


def pixels(layer: Layer) -> Times:
    each = layer.product(layer.outputs) + EDGE * layer.outputs * (layer.C + layer.K)
    return each, each, each


def tiles(layer: Layer, m: int) -> Times:
    over = Tiles.over(layer.image, layer.windows.size, layer.windows.padding, m)
    count, largest = layer.N * math.prod(over.grid), max(math.prod(layer.image[1:]), layer.outputs // layer.N * layer.K)
    slices = -(-layer.N // max(1, SLICE // largest))
    passes = PASS * over.places * count * (layer.C + layer.K)
    filters = ALONE * FILTER * over.places * layer.K * layer.Cg
    each = layer.product(over.places * (count + READ * slices)) + passes + layer.edges
    return each + filters, each, each + filters


def frequencies(layer: Layer) -> Times:
    points = math.prod(fft.grid(layer.windows, layer.image))
    transforms = ALONE * POINT * points * (layer.N * (layer.C + layer.K) + layer.K * layer.Cg)
    each = (
        transforms + 2 * layer.product(points * layer.N) + layer.edges
    )  # half the points, and four products for a complex one
    return each, each, each


MODELS = {
    "direct": loops,
    "shifts": position_by_position,
    "im2col": lambda layer: columns(layer, chunked=False),
    "chunked": columns,
    "gemm_1x1": pixels,
    "winograd": lambda layer: tiles(layer, 4),
    "winograd5": lambda layer: tiles(layer, 5),
    "fft": frequencies,
}
