"""Many arrays in one launch: a table of where they lie, which a CUDA kernel takes by value. The other side: tables.cuh.

>>> import numpy as np
>>> from minidl.cuda.tables import tables_of
>>> small, large = np.zeros(3), np.zeros(10_000)
>>> [table.pieces for table in tables_of([(small, small), (large, large)])]  # one and three
[4]

A launch has 4 KB for its parameters (32 KB since CUDA 12.1, which not every driver knows). So a table takes so many rows and no
more: 100 rows of four arrays. More rows are more launches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from typing import Any, NamedTuple

import numpy as np

from minidl.backend import Array

PIECE = 4096  # numbers that a block takes: 16 a thread, and ResNet-50 has pieces for all blocks of a large GPU six times over
ROOM = 4000  # bytes of a table: what 4 KB leave beside a dozen numbers
CUT: dict[str, Any] = {"PIECE": PIECE, "ROOM": ROOM}  # what tables.cuh is compiled with

Row = Sequence[Array]


class Table(NamedTuple):
    """Rows of arrays, of equally many numbers in each row: no more rows than a launch takes."""

    rows: Sequence[Row]

    @property
    def ends(self) -> list[int]:
        """Of each row: its pieces, and those of all rows before it."""
        return [*accumulate(-(-row[0].size // PIECE) for row in self.rows)]

    @property
    def pieces(self) -> int:
        """How many blocks have something to do."""
        return self.ends[-1]

    def by_value(self) -> np.ndarray:
        """What the kernel takes: one element, as CuPy wants it."""
        there, row = len(self.rows), _row(len(self.rows[0]))
        table = np.zeros(ROOM // row.itemsize, row)
        table["at"][:there] = [[address(a) for a in arrays] for arrays in self.rows]
        table["count"][:there] = [arrays[0].size for arrays in self.rows]
        table["end"][:there], table["end"][there:] = self.ends, self.pieces
        return table.view(f"V{table.nbytes}")


def tables_of(rows: Sequence[Row]) -> Iterator[Table]:
    """The rows, as many at a time as one launch takes; ValueError where they do not go together."""
    types = [[a.dtype for a in row] for row in rows]
    for row, kinds in zip(rows, types, strict=True):
        if kinds != types[0] or len({a.size for a in row}) != 1:
            came = ", ".join(f"{a.dtype} {list(a.shape)}" for a in row)
            raise ValueError(f"table: expected arrays of one size in a row, of the same types in each row, got {came}")
    most = ROOM // _row(len(types[0])).itemsize if types else 1
    return (Table(rows[first : first + most]) for first in range(0, len(rows), most))


def arrays_in(args: Sequence[Any]) -> list[Array]:
    """All arrays among a launch's arguments, those in tables too."""
    given = (chain(*a.rows) if isinstance(a, Table) else (a,) for a in args if not isinstance(a, int | float | np.generic))
    return list(chain(*given))


def address(array: Array) -> int:
    """Where the array's numbers begin."""
    return int(array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr)


def _row(arrays: int) -> np.dtype:
    return np.dtype([("at", np.uint64, (arrays,)), ("count", np.int32), ("end", np.int32)])
