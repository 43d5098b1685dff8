"""How pooling kernels are launched on a GPU: what minidl/cuda/pooling.cuh expects, for maps that are channels-last."""

from __future__ import annotations

from itertools import chain

import numpy as np

from minidl.backend import Array
from minidl.cuda import BLOCK, Source
from minidl.cuda.packs import AT_ONCE, pack_size
from minidl.signature import Shape
from minidl.window import Windows


def launch(source: Source, name: str, *args: Array, image: Shape, windows: Windows, code: np.dtype, most: int = 0) -> None:
    """Run name(*args, rows, H, W, C, P, Q, sh, sw, top, left, dh, dw), a block for each row of the last of args.

    args   maps [N, H, W, C] or [N, P, Q, C], read or written in packs; of other shapes: as they are
    code   the type of a position's number
    most   the largest pack; 0: as many as are read at once
    """
    (_, C, H, W), (R, S), out = image, windows.size, args[-1]
    V = pack_size(most or AT_ONCE // out.itemsize, *(a for a in args if a.ndim == 4))
    counts = (out.shape[0] * out.shape[1], H, W, C, *windows.grid, *windows.stride, *windows.padding[::2], *windows.dilation)
    block = block_of(C // V, out.shape[2])
    source.launch(name, counts[0] * block, *chain(args, counts), block=block, R=R, S=S, V=V, BYTES=code.itemsize)


def block_of(lanes: int, columns: int) -> int:
    """Threads of a block: a whole number of pixels of so many lanes each, or an equal part of one; no more than a row has."""
    lanes = -(-lanes // -(-lanes // BLOCK))
    return lanes * min(BLOCK // lanes, columns)
