"""Loops that Numba compiles, where memory bounds a kernel: one trip through it, where NumPy's whole-array passes take many.

Each compiled kernel is the rival of a plain one and says which (`Kernel.compiles`); `minidl.compiled()` puts it in that one's
place. Its loops lie beside it in a file of their own, which is imported when they are first called: Numba takes half a second
to load, and then some seconds to compile for each type of numbers, kept on disk for the next time.

    pip install 'minidl[jit]'

The loops let go of Python's lock, so that slices of the batch are computed side by side (minidl/executor.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

from minidl.extras import install


@cache
def missing() -> str | None:
    """One line why nothing can be compiled here, or None."""
    try:
        import numba  # noqa: F401
    except ImportError as error:
        broken = f", which cannot be loaded here ({error})" if find_spec("numba") else ""
        return f"needs Numba{broken}: {install('jit')}"
    return None


def loop(function: Callable) -> Callable:
    """The function compiled for the types that it is called with. What it calls must be a `loop` too.

    Sums may be taken in another order, and products fused with them; NaN and infinities stay what they are.
    """
    import numba

    return numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})(function)
