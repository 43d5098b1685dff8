"""Where arrays live: modules, devices, clear words where there is no GPU."""

from __future__ import annotations

import numpy as np
import pytest
import strict_xp

from minidl import Tensor, backend


def test_every_array_has_its_module() -> None:
    assert backend.xp_of(np.ones(2)) is np
    assert backend.xp_of(strict_xp.LIBRARY.from_numpy(np.ones(2))) is strict_xp.XP
    assert backend.xp_of(2.0, np.ones(2)) is np


def test_moves_between_devices_are_named() -> None:
    x = np.arange(3.0)
    there = backend.to_device(x, "strict")
    assert backend.device_of(there) == "strict"
    assert backend.to_device(x, "cpu") is x
    np.testing.assert_array_equal(backend.to_device(there, "cpu"), x)


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "mps", ""])
def test_an_unknown_device_is_named(device: str) -> None:
    with pytest.raises(ValueError, match="is not known: use 'cpu', 'cuda' or 'cuda:0'"):
        backend.check_device(device)


@pytest.mark.skipif(backend.cuda_problem() is None, reason="this machine has a GPU")
def test_cuda_without_a_gpu_says_what_to_install() -> None:
    with pytest.raises(ValueError, match=r"device 'cuda': CuPy .*(pip install|minidl doctor)"):
        Tensor([1.0], device="cuda")


def test_what_is_no_array_is_an_error() -> None:
    with pytest.raises(TypeError, match="to_numpy: expected an array, got str"):
        backend.to_numpy("abc")
    with pytest.raises(TypeError, match="device_of: expected an array, got list"):
        backend.device_of([1])


def test_the_strict_stand_in_refuses_what_a_gpu_refuses() -> None:
    x = strict_xp.LIBRARY.from_numpy(np.ones(3))
    with pytest.raises(TypeError, match="implicit conversion"):
        np.asarray(x)
    with pytest.raises(TypeError, match="NumPy array met a device array"):
        _ = x + np.ones(3)
    with pytest.raises(TypeError):
        np.exp(x)
    with pytest.raises(AttributeError, match="not among the names"):
        _ = strict_xp.XP.frompyfunc


@pytest.mark.gpu
def test_a_round_trip_over_the_gpu() -> None:
    x = np.arange(6.0).reshape(2, 3)
    there = Tensor(x, device="cuda")
    assert there.device == "cuda:0"
    np.testing.assert_array_equal((there * 2).numpy(), 2 * x)
