"""Many arrays in one launch: every number is visited once, and what a kernel does wrong to an array of a table is told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import emulation
import numpy as np
import pytest

from minidl import cuda
from minidl.cuda import tables
from minidl.cuda.tables import CUT, PIECE, Table

emulated = pytest.mark.skipif(emulation.problem() is not None, reason=f"emulation: {emulation.problem()}")

Row = tuple[np.ndarray, ...]
ADDED = """#include "tables.cuh"
struct Two { T* y; const A* x; };
extern "C" __global__ void added(const Table<Two> table, A by, int also) {
    over(table, [&](const Two& at, int i) { at.y[i] += by * at.x[i] + also; });
}
"""
SIZES = (1, 3, 0, PIECE - 1, PIECE, 70_000, 0, 131_073, PIECE + 1, 2 * PIECE, 5)


def rows_of(*sizes: int, dtype: str = "float32") -> list[Row]:
    """Pairs (y, x), all small whole numbers: sums of them are exact. Of half y, x is wide."""
    rng, wide = np.random.default_rng(0), np.result_type(dtype, np.float32)
    return [(rng.integers(-9, 9, size).astype(dtype), rng.integers(-9, 9, size).astype(wide)) for size in sizes]


def source(folder: Path, text: str = ADDED) -> cuda.Source:
    (folder / "some.cu").write_text(text)
    return cuda.Source(str(folder / "some.py"), "some.cu", **CUT)


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Of each launch its blocks, and how many rows its table has."""
    seen: list[tuple[int, int]] = []

    def run(text: str, name: str, grid: int, block: int, shared: int, args: list[Any]) -> None:
        seen.append((grid, len(args[0].rows)))
        emulation.run(text, name, grid, block, shared, args)

    monkeypatch.setitem(cuda._RUNNERS, np.ndarray, run)
    return seen


def all_is_added(by: cuda.Source, rows: list[Row]) -> None:
    """y + 3 x + 2 in each place of each row: once."""
    expected = [y + 3 * x + 2 for y, x in rows]
    by.launch_over("added", rows, 3.0, 2)
    for (y, _), right in zip(rows, expected, strict=True):
        np.testing.assert_array_equal(y, right)


# ---- what is launched ------------------------------------------------------------------------------------------------------


@emulated
@pytest.mark.parametrize("dtype", cuda.NAMES)
@pytest.mark.parametrize("most", [1, 7, 1 << 16])
def test_every_number_of_every_row_is_visited_once(
    most: int, dtype: str, tmp_path: Path, monkeypatch: Any, launches: Any
) -> None:
    monkeypatch.setattr(cuda, "MOST_BLOCKS", most)
    all_is_added(source(tmp_path), rows_of(*SIZES, dtype=dtype))
    assert launches == [(min(most, 1 + 1 + 1 + 1 + 18 + 33 + 2 + 2 + 1), len(SIZES))]


@emulated
@pytest.mark.parametrize(("count", "expected"), [(166, [166]), (167, [166, 1]), (400, [166, 166, 68])])
def test_a_launch_takes_as_many_rows_as_its_parameters_hold(
    count: int, expected: list[int], tmp_path: Path, launches: list[tuple[int, int]]
) -> None:
    all_is_added(source(tmp_path), rows_of(*(i % 3 for i in range(count))))  # a third of them empty
    assert [rows for _, rows in launches] == expected


@emulated
@pytest.mark.parametrize("arrays", [1, 2, 4, 5, 17])
def test_a_row_may_have_any_number_of_arrays(arrays: int, tmp_path: Path) -> None:
    """All of them but the first are added up in it; the last row of a full table, too."""
    names = [f"x{k}" for k in range(arrays)]
    text = f"""#include "tables.cuh"
struct Many {{ A *{", *".join(names)}; }};
extern "C" __global__ void summed(const Table<Many> table) {{
    over(table, [&](const Many& at, int i) {{ at.x0[i] = {" + ".join(f"at.{name}[i]" for name in names)}; }});
}}
"""
    most = 4000 // (8 * arrays + 8)
    rows = [tuple(np.full(3, 100.0 * r + k, np.float32) for k in range(arrays)) for r in range(most)]
    expected = [sum(row[1:], row[0]) for row in rows]
    source(tmp_path, text).launch_over("summed", rows)
    np.testing.assert_array_equal([row[0] for row in rows], expected)


@emulated
def test_nothing_to_do_is_not_launched(tmp_path: Path, launches: list[tuple[int, int]]) -> None:
    for rows in ([], rows_of(0), rows_of(0, 0)):
        source(tmp_path).launch_over("added", rows, 3.0, 2)
    assert launches == []


X, Y, D = np.zeros((2, 3), np.float32), np.zeros(5, np.float32), np.zeros((2, 3))
REFUSED: list[tuple[str, list[Row]]] = [
    ("table: expected arrays of one size in a row, .* got float32 \\[2, 3\\], float32 \\[5\\]", [(X, X), (X, Y)]),
    ("of the same types in each row, got float64 \\[2, 3\\], float32 \\[2, 3\\]", [(X, X), (D, X)]),
    ("of the same types in each row, got float32 \\[2, 3\\]$", [(X, X), (X,)]),
    ("added of .*some.cu: expected C-contiguous arrays .* got \\[3, 2\\] in strides", [(X, X), (X.T, X)]),
]


@pytest.mark.parametrize(("message", "rows"), REFUSED, ids=[message for message, _ in REFUSED])
def test_rows_that_do_not_go_together_are_refused(message: str, rows: list[Row], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        source(tmp_path).launch_over("added", rows, 3.0, 2)


def test_no_array_of_a_table_has_more_numbers_than_an_int_counts(tmp_path: Path) -> None:
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.int8), (2**31,), (1,))
    with pytest.raises(ValueError, match="at most 2,113,929,216 numbers, got 2,147,483,648"):
        source(tmp_path).launch_over("added", [(huge, huge)])


# ---- CuPy ------------------------------------------------------------------------------------------------------------------


def fake(ptr: int, device: int = 0) -> Any:
    """An array of CuPy's, as far as a launch asks."""
    return SimpleNamespace(data=SimpleNamespace(ptr=ptr), device=SimpleNamespace(id=device), size=5)


def by_cupy(monkeypatch: pytest.MonkeyPatch, rows: list[tuple]) -> tuple:
    """What CuPy's kernel was given."""
    given: list[tuple] = []
    monkeypatch.setattr(
        cuda, "cupy", lambda: SimpleNamespace(cuda=SimpleNamespace(runtime=SimpleNamespace(getDevice=lambda: 0)))
    )
    monkeypatch.setattr(cuda, "_compiled", lambda *_: lambda grid, block, args, shared_mem: given.append(args))
    cuda._run_by_cupy("// of this test", "some", 1, 1, 0, [Table(rows), np.int32(3)])
    return given[0]


def test_cupy_takes_a_table_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """A NumPy array of one element, as long as it may be."""
    table, number = by_cupy(monkeypatch, [(fake(2**60 + 8), fake(16)), (fake(24), fake(32))])
    assert (table.size, table.dtype.kind, table.dtype.itemsize, number) == (1, "V", 3984, 3)
    words = table.view(np.uint64).reshape(166, 3)
    assert words[:2].tolist() == [[2**60 + 8, 16, 5 + (1 << 32)], [24, 32, 5 + (2 << 32)]]
    assert (words[2:] == [0, 0, 2 << 32]).all()


def test_tables_of_arrays_on_another_gpu_are_not_launched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="some: its arrays are on cuda:1, and the current GPU is cuda:0"):
        by_cupy(monkeypatch, [(fake(8), fake(16)), (fake(24), fake(32, device=1))])


# ---- the emulation ---------------------------------------------------------------------------------------------------------


WRONG: dict[str, tuple[str, str]] = {
    "argument 0, row 1, array 0 is written to beyond its ends": ("at.y[i] +=", "at.y[i + (i == 6)] +="),
    "argument 0, row 0, array 0 is written to beyond its ends": ("at.y[i] +=", "at.y[i - 1] +="),
    "argument 0, row 1, array 1 is written to beyond its ends": ("at.y[i] +=", "if (i == 6) ((A*)at.x)[7] = 0; at.y[i] +="),
    "argument 0, row 0, array 0 depends on the order of threads": ("at.y[i] +=", "at.y[i] += at.y[0] +"),
}


@emulated
@pytest.mark.parametrize("message", WRONG)
def test_what_is_done_wrong_to_an_array_of_a_table_is_told(message: str, tmp_path: Path) -> None:
    with pytest.raises(emulation.Wrong, match=f"added: {message}"):
        source(tmp_path, ADDED.replace(*WRONG[message])).launch_over("added", rows_of(5, 7), 3.0, 2)


@emulated
def test_more_parameters_than_every_driver_takes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tables.CUT, "ROOM", 4104)
    monkeypatch.setattr(tables, "ROOM", 4104)
    with pytest.raises(emulation.Wrong, match="added: 4112 bytes of parameters; at most 4096"):
        source(tmp_path).launch_over("added", rows_of(5), 3.0, 2)


BUGS = [
    ("piece += gridDim.x", "piece += gridDim.x + 1"),
    ("piece = blockIdx.x;", "piece = 0;"),
    ("table.rows[ROWS - 1].end", "table.rows[0].end"),
    ("step = 128", "step = 64"),
    ("row + step <= ROWS", "row + step < ROWS / 2"),
    (".end <= piece", ".end < piece"),
    ("row ? table.rows[row - 1].end : 0", "0"),
    ("(row ? table.rows[row - 1].end : 0)", "table.rows[row].end"),
    ("min(begin + PIECE, table.rows[row].count)", "begin + PIECE"),
    ("min(begin + PIECE, table.rows[row].count)", "table.rows[row].count"),
    ("begin + threadIdx.x;", "begin;"),
    ("i += blockDim.x", "i += 2 * blockDim.x"),
    ("int count, end;", "int end, count;"),
    ("ROOM / sizeof(Row<Arrays>)", "ROOM / sizeof(Row<Arrays>) - 1"),
]


@emulated
@pytest.mark.parametrize(("old", "new"), BUGS, ids=[f"{old} -> {new}" for old, new in BUGS])
def test_a_planted_bug_in_the_walk_is_noticed(old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PIECE", 300)  # short ones: what is wrong stays in the margins, or this process would die of it
    monkeypatch.setitem(CUT, "PIECE", 300)
    monkeypatch.setattr(cuda, "MOST_BLOCKS", 3)
    by = source(tmp_path)
    assert by.text.count(old) == 1
    monkeypatch.setitem(vars(by), "text", by.text.replace(old, new))
    with pytest.raises((AssertionError, emulation.Wrong)):
        all_is_added(by, rows_of(*range(0, 830, 5)))  # a full table
