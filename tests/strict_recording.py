"""A CUDA graph on the strict stand-in: what is computed while it records is noted, and nothing of it counts before `launch`.

Before each launch all memory that the recorded function made is filled with rubbish, so that nothing of the recording can be
left over; and after the recording all that it edited (weights, running statistics) is put back as it was. What cannot be
captured is refused: copies from and to the host, waits, and products by cuBLAS. Not shown: that recordings share a pool, so
that what one has let go another may use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import emulation
import numpy as np
import pytest
import strict_xp
from strict_xp import StrictArray

from minidl import cuda
from minidl.cuda import recording
from minidl.cuda.tables import Table, arrays_in

RUBBISH = 101  # in what is no floating point; there NaN


class Graphs:
    """What recorder_of gives for the stand-in's arrays."""

    reserved = 0

    def record(self, function: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        """See minidl.cuda.recording.Recorder."""
        noted: list[Callable[[], None]] = []
        made: dict[int, np.ndarray] = {}  # memory that the function made, by its address
        before: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # what it edited of others, and the copy

        def note(function: Callable, args: tuple, kwargs: dict[str, Any], result: Any) -> None:
            if result is None:  # an edit
                noted.append(lambda: function(*args, **kwargs))
                return
            arrays = [r._a for r in (result if isinstance(result, tuple | list) else [result]) if isinstance(r, StrictArray)]
            if fresh := [a for a in arrays if not any(np.may_share_memory(a, given) for given in _arrays(args))]:
                made.update((_owner(a).ctypes.data, _owner(a)) for a in fresh)

                def again() -> None:
                    found = function(*args, **kwargs)
                    for place, value in zip(arrays, found if isinstance(found, tuple | list) else [found], strict=True):
                        place[...] = value

                noted.append(again)

        def keep(target: np.ndarray) -> None:
            owner = _owner(target)
            if owner.ctypes.data not in made:
                before.setdefault(owner.ctypes.data, (owner, owner.copy()))

        try:
            with hearing(_refuse, note, keep):
                result = function()
        finally:
            for owner, copy in before.values():
                owner[...] = copy

        def launch() -> None:
            for owner in made.values():
                owner[...] = np.nan if owner.dtype.kind == "f" else RUBBISH
            for again in noted:
                again()

        launch.noted = len(noted)  # type: ignore[attr-defined]
        return result, launch


def register(monkeypatch: pytest.MonkeyPatch) -> None:
    """Record on the stand-in's arrays, and launch CUDA sources on them."""
    monkeypatch.setitem(recording._RECORDERS, StrictArray, Graphs)
    monkeypatch.setitem(cuda._RUNNERS, StrictArray, launch)


def launch(text: str, name: str, grid: int, block: int, shared: int, args: list[Any]) -> None:
    """Emulate on the stand-in's arrays; which of them are written, the source alone knows."""
    given = [_on_the_host(a) for a in args]
    arrays = arrays_in(given)

    def run(*_: Any) -> None:
        emulation.run(text, name, grid, block, shared, given)

    for a in arrays:
        for hear in strict_xp.BEFORE_WRITING:
            hear(a)
    run()
    for tell in strict_xp.NOTERS:
        tell(run, tuple(arrays), {}, None)


def _on_the_host(a: Any) -> Any:
    if isinstance(a, Table):
        return Table([[x._a for x in row] for row in a.rows])
    return a._a if isinstance(a, StrictArray) else a


class hearing:  # noqa: N801  (a context)
    """Inside the block these three hear of crossings, of computations and of edits."""

    def __init__(self, *hearers: Callable[..., None]):
        self.pairs = list(zip((strict_xp.HEARERS, strict_xp.NOTERS, strict_xp.BEFORE_WRITING), hearers, strict=True))

    def __enter__(self) -> None:
        for told, hearer in self.pairs:
            told.append(hearer)

    def __exit__(self, *_: object) -> None:
        for told, hearer in self.pairs:
            told.remove(hearer)


def _refuse(kind: str, name: str) -> None:
    if kind == strict_xp.PRODUCT:
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
    raise RuntimeError(f"operation not permitted when stream is capturing ({name}: {kind})")


def _owner(a: np.ndarray) -> np.ndarray:
    while isinstance(a.base, np.ndarray):
        a = a.base
    return a


def _arrays(args: Any) -> list[np.ndarray]:
    if isinstance(args, np.ndarray):
        return [args]
    return [a for arg in args for a in _arrays(arg)] if isinstance(args, tuple | list) else []
