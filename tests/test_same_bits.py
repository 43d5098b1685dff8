"""The same keys are the same bits on every device and by every kernel, for all time: digests that never change.

What is drawn on the host (the numbers of links) is NumPy's; what a kernel expands (masks, positions) is our own Philox.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Tensor
from minidl.backend import to_device, to_numpy, xp_of
from minidl.op import OPS, Kernel
from minidl.random import Stream, random_bits, random_uniforms
from models.alphanet import AlphaNet32

DEVICES = ["cpu", "strict", pytest.param("cuda", marks=pytest.mark.gpu)]
every_device = pytest.mark.parametrize("device", DEVICES)


def digest(*arrays: np.ndarray) -> str:
    """Of bytes in the order of small machines, whatever this one's is."""
    together = hashlib.sha256()
    for array in arrays:
        together.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes())
    return together.hexdigest()[:32]


def kernels(op: str) -> list[Any]:
    """(kernel, device): formulas on every device; a CUDA source by its emulation on the host, and where a GPU is."""
    there = [
        (kernel, device)
        for kernel in OPS[op].kernels.values()
        for device in (("cpu", "cuda") if kernel.source else ("cpu", "strict", "cuda"))
        if not kernel.compiles
    ]
    marks = {"cuda": [pytest.mark.gpu]}
    return [pytest.param(kernel, device, id=f"{kernel}-{device}", marks=marks.get(device, [])) for kernel, device in there]


BITS = {
    1: "99c8a52f4065e8acbcae08df4f2ce4f1",
    7: "9f65df911854bdc175aeda43a1609b21",
    8: "807e19e8381b1efdc5020ec68dded043",
    4097: "71f53121de4c9976b611b3dab1bc585c",
}


@every_device
@pytest.mark.parametrize("count", BITS)
def test_the_bits_of_a_key(count: int, device: str) -> None:
    keys = to_device(Stream(2012, position=2**40).keys(3), device)
    bits = to_numpy(random_bits(keys, count))
    assert (bits.shape, bits.dtype) == ((3, count), np.uint32)
    assert digest(bits) == BITS[count]


@every_device
@pytest.mark.parametrize(
    ("dtype", "sha"), [(np.float32, "2775954b8cbb3004dea6c567f198c2f4"), (np.float64, "e77b2c92255ed6c0f4cde81507845ee1")]
)
def test_the_uniforms_of_a_key(dtype: Any, sha: str, device: str) -> None:
    keys = to_device(Stream(2012).keys(3), device)
    assert digest(to_numpy(random_uniforms(keys, 1001, dtype))) == sha


MASKS = {
    0.5: "64f17a637ccdc0b8645a10e13191e947",
    0.25: "388746dd280c13f3a9f77874b155b838",
    0.8: "b8ec6b8c8eb0022892cf366b45eb80b8",
}


@pytest.mark.parametrize("p", MASKS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize(("kernel", "device"), kernels("dropout"))
def test_what_dropout_keeps(kernel: Kernel, device: str, dtype: Any, p: float) -> None:
    """Forward and backward by one mask, in every type."""
    x = Tensor(np.ones((5, 3, 7, 11), dtype), True, device=device)
    with minidl.dropout.using(kernel.name):
        y = minidl.dropout(x, key=Stream(11).keys(5), p=p)
        y.backward(xp_of(y.data).ones_like(y.data))
    masks = [np.packbits(to_numpy(array) != 0) for array in (y.data, x.grad)]
    assert [digest(mask) for mask in masks] == [MASKS[p]] * 2


POSITIONS = {
    (3, 1, "same", False): "389ed330ecfc70d8b84fe83a47c33440",
    (2, 2, 0, False): "a030b41e6061d94ebf1ca19119c28d83",
    ((3, 2), 2, (1, 0, 1, 0), True): "672b880f290c10d99c97ebd4a77a5792",
}


@pytest.mark.parametrize("window", POSITIONS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize(("kernel", "device"), kernels("stochastic_pool2d"))
def test_which_positions_stochastic_pooling_draws(kernel: Kernel, device: str, dtype: Any, window: tuple) -> None:
    """Whole numbers, so that no sum is rounded; all others than 0 are different, so that a value tells its position."""
    numbers = np.random.Generator(np.random.Philox(5)).permutation(4 * 3 * 9 * 7).reshape(4, 3, 9, 7)
    size, stride, padding, ceil_mode = window
    x = Tensor(numbers.astype(dtype), device=device)
    with minidl.stochastic_pool2d.using(kernel.name):
        y = minidl.stochastic_pool2d(
            x, key=Stream(13).keys(4), kernel_size=size, stride=stride, padding=padding, ceil_mode=ceil_mode
        )
    assert digest(to_numpy(y.data).astype(np.float32)) == POSITIONS[window]


FIXED, REDRAWN = "e5065afdd94ac8cd925a9c4bba47453e", "afae96d61e0397474f81d8e27606fc27"


@every_device
def test_the_links_of_alpha_net(device: str) -> None:
    minidl.manual_seed(3)
    fixed = AlphaNet32(seed=7, size=16).to(device)
    assert digest(links_of(fixed)) == FIXED
    redrawn = AlphaNet32(links="redraw", size=16).to(device)
    minidl.manual_seed(5)
    assert digest(*[links_of(redrawn) for _ in range(3)]) == REDRAWN


def links_of(model: Any) -> np.ndarray:
    """Of one pass: block by block, -1 for none."""
    found = [source for name in model.stages for source in getattr(model, name).sources()]
    return np.array([-1 if source is None else source for source in found], np.int64)
