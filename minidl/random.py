"""Randomness is an input: keys are drawn from one stream, kernels expand them.

A key is two 64-bit words. Philox4x64-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as
1, 2, 3") turns (key, counter) into four random words, with no state: so a dropout kernel draws the same mask in forward
and in backward, slice by slice or whole, on the host and on the GPU.

>>> keys = minidl.random.Stream(seed=0).keys(2)  # uint64 [N, 2]: (seed, position), (seed, position + 1), ...
>>> keys.tolist()
[[0, 0], [0, 1]]
>>> minidl.random.random_bits(keys, 3).tolist()  # uint32 [N, count]
[[149215387, 49592932, 2628306354], [4188131702, 3493329091, 1277232997]]

`manual_seed(0)` sets the stream; its (seed, position) is all there is to save in a checkpoint.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from minidl.backend import Array, xp_of

MASK = (1 << 64) - 1
MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)


class Stream:
    """A sequence of keys. Key i is (seed, i): the position is the only state."""

    def __init__(self, seed: int = 0, position: int = 0):
        self.seed, self.position = int(seed) & MASK, int(position)
        self._mutex = threading.Lock()

    def keys(self, n: int) -> np.ndarray:
        """The next n keys, uint64 [n, 2]."""
        with self._mutex:  # no key is given twice, whichever thread asks
            first, self.position = self.position, self.position + n
        keys = np.empty((n, 2), np.uint64)
        keys[:, 0] = self.seed
        keys[:, 1] = np.arange(first, first + n, dtype=np.uint64)
        return keys

    def fork(self) -> Stream:
        """Another stream, which gives the keys that this one would give from here on."""
        return Stream(self.seed, self.position)

    def generator(self) -> np.random.Generator:
        """A NumPy generator seeded by the next key, for what is drawn on the host (initialisers, shuffles)."""
        return np.random.Generator(np.random.Philox(key=self.keys(1)[0]))


_STREAM: ContextVar[Stream] = ContextVar("stream", default=Stream(0))  # noqa: B039  (one stream, meant to be shared)


def stream() -> Stream:
    """The stream that layers, initialisers and loaders draw from."""
    return _STREAM.get()


def manual_seed(seed: int) -> Stream:
    """Restart the current stream at position 0 of `seed`: the same seed gives the same bits, run to run.

    >>> minidl.manual_seed(7).keys(2).tolist()
    [[7, 0], [7, 1]]
    >>> minidl.random.stream().position
    2
    """
    current = _STREAM.get()
    current.seed, current.position = int(seed) & MASK, 0
    return current


@contextmanager
def using_stream(other: Stream) -> Iterator[Stream]:
    """Draw from another stream inside the block (`recompute` replays the keys of the first pass so)."""
    token = _STREAM.set(other)
    try:
        yield other
    finally:
        _STREAM.reset(token)


def random_bits(keys: Array, count: int) -> Array:
    """uint32 [N, count] of random bits, row n expanded from keys[n]; the same bits on every device.

    >>> from minidl.random import Stream, random_bits
    >>> keys = Stream(seed=0).keys(3)
    >>> whole, alone = random_bits(keys, 5), random_bits(keys[2:], 5)
    >>> whole[2].tolist() == alone[0].tolist()  # an image draws the same in any batch
    True
    """
    xp, blocks = xp_of(keys), -(-count // 8)  # a block is four 64-bit words, so eight 32-bit ones
    if xp is np:
        rows = [np.random.Philox(key=key).random_raw(4 * blocks) for key in keys]
        words = np.stack(rows) if rows else np.empty((0, 4 * blocks), np.uint64)
    else:
        words = philox(xp, keys, blocks)
    halves = words.astype("<u8", copy=False).view("<u4")  # the low half of a word first, whatever the machine's order
    return halves.astype(np.uint32, copy=False)[:, :count]


def random_uniforms(keys: Array, count: int, dtype: Any = np.float32) -> Array:
    """[N, count] uniforms in (0, 1), never 0 or 1: (23 bits + 1/2) / 2^23, exact in float32 and in float64."""
    bits = random_bits(keys, count) >> 9
    return (bits.astype(np.float64 if dtype == np.float64 else np.float32) + 0.5) * 2.0**-23


def philox(xp: Any, keys: Array, blocks: int) -> Array:
    """Philox4x64-10 in array arithmetic: uint64 [N, 4 * blocks], the words of np.random.Philox(key).random_raw.

    NumPy raises its counter before the first block, so block b has counter (b + 1, 0, 0, 0).
    """
    counter = xp.arange(1, blocks + 1, dtype=np.uint64)[None, :] + xp.zeros((len(keys), 1), dtype=np.uint64)
    x0, x1, x2, x3 = counter, xp.zeros_like(counter), xp.zeros_like(counter), xp.zeros_like(counter)
    k0, k1 = keys[:, :1], keys[:, 1:]
    for _ in range(10):
        hi0, lo0 = _multiply(xp, x0, MULTIPLIERS[0])
        hi1, lo1 = _multiply(xp, x2, MULTIPLIERS[1])
        x0, x1, x2, x3 = hi1 ^ x1 ^ k0, lo1, hi0 ^ x3 ^ k1, lo0
        k0, k1 = k0 + xp.uint64(WEYL[0]), k1 + xp.uint64(WEYL[1])
    return xp.stack([x0, x1, x2, x3], axis=-1).reshape(len(keys), -1)


def _multiply(xp: Any, a: Array, m: int) -> tuple[Array, Array]:
    """The high and low 64 bits of a * m, from 32-bit halves."""
    low32, m_lo, m_hi = xp.uint64(0xFFFFFFFF), xp.uint64(m & 0xFFFFFFFF), xp.uint64(m >> 32)
    a_lo, a_hi = a & low32, a >> xp.uint64(32)
    cross = a_hi * m_lo + ((a_lo * m_lo) >> xp.uint64(32))
    middle = a_lo * m_hi + (cross & low32)
    return a_hi * m_hi + (cross >> xp.uint64(32)) + (middle >> xp.uint64(32)), a * xp.uint64(m)
