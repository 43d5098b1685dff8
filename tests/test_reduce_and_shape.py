"""What the laws cannot see in reductions and shapes: ties, NaN, half sums, forms of a call, functions made of ops, errors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from minidl.op import OPS
from minidl.ops.getitem import flip, getitem
from minidl.ops.joining import concat, split, stack
from minidl.ops.linear import linear
from minidl.ops.matmul import matmul
from minidl.ops.pad import pad
from minidl.ops.shape import broadcast_to, flatten, squeeze, transpose, unsqueeze
from minidl.ops.upsample import upsample
from minidl.tensor import Tensor


def some(*shape: int) -> Tensor:
    """A float32 leaf with different values."""
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32), requires_grad=True)


# ---- reductions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["max", "min"])
def test_ties_share_the_gradient_evenly(name: str) -> None:
    x = Tensor([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]], requires_grad=True)
    getattr(x, name)(axis=1).backward(np.array([3.0, 6.0], np.float32))
    assert x.grad.tolist() == [[1, 1, 1], [2, 2, 2]]
    x.grad = None
    getattr(x, name)().backward()
    assert x.grad.sum() == 1
    assert sorted(set(x.grad.ravel().tolist())) == pytest.approx([0, 1 / 3])


def test_nan_has_no_gradient_and_no_warning() -> None:
    x = Tensor([np.nan, 1.0], requires_grad=True)
    y = x.max()
    y.backward()
    assert np.isnan(y.item())
    assert x.grad.tolist() == [0, 0]


def test_half_sums_count_beyond_2048() -> None:
    ones = Tensor(np.ones((1, 4096), np.float16).T, requires_grad=True)
    assert ones.sum(axis=0).item() == 4096
    for repeat in (lambda one: broadcast_to(one, 4096), lambda one: one[np.zeros(4096, np.int64)]):
        one = Tensor(np.ones(1, np.float16), requires_grad=True)
        repeat(one).backward(np.ones(4096, np.float16))
        assert one.grad.item() == 4096


def test_half_means_divide_in_float32() -> None:
    """The count 70,000 is infinite in float16, and what is divided by it was 0."""
    x = Tensor(np.ones(70_000, np.float16), requires_grad=True)
    x.mean().backward(np.float16(1000))
    np.testing.assert_allclose(x.grad, np.float16(1000 / 70_000))


def test_sum_counts_booleans_and_argmax_has_no_gradient() -> None:
    hits = Tensor(np.array([True, False, True]))
    assert hits.sum().item() == 2
    best = some(3, 4).argmax(axis=1)
    assert best.dtype == np.int64
    assert not best.requires_grad


def test_sum_of_nothing_is_zero() -> None:
    assert Tensor(np.zeros((2, 0), np.float32)).sum(axis=1).numpy().tolist() == [0, 0]


# ---- forms of a call -------------------------------------------------------------------------------------------------


def test_shapes_come_as_numbers_or_as_a_tuple() -> None:
    x = some(2, 3, 4)
    assert x.reshape(6, -1).shape == x.reshape((6, -1)).shape == x.reshape([6, -1]).shape == (6, 4)
    assert x.permute(1, 0, 2).shape == x.permute((1, 0, -1)).shape == (3, 2, 4)
    assert x.sum(0).shape == x.sum(axis=(0,)).shape == (3, 4)
    assert some(1).reshape(()).shape == ()


def test_transpose_swaps_two_dimensions_or_reverses_all() -> None:
    x = some(2, 3, 4)
    a = x.numpy()
    assert np.array_equal(x.transpose(1, 2).numpy(), a.swapaxes(1, 2))
    assert np.array_equal(transpose(x, -1, 0).numpy(), a.swapaxes(0, 2))
    assert np.array_equal(x.transpose(1, 1).numpy(), a)
    assert np.array_equal(x.transpose().numpy(), a.T)
    assert np.array_equal(x.T.numpy(), a.T)
    assert some().T.shape == some().permute().shape == ()


def test_functions_made_of_ops_are_numpys() -> None:
    x = some(2, 1, 3, 1)
    a = x.numpy()
    assert np.array_equal(flatten(x, 1).numpy(), a.reshape(2, 3))
    assert x.flatten().shape == (6,)
    assert flatten(some()).shape == (1,)
    assert flatten(x, 1, 2).shape == (2, 3, 1)
    assert squeeze(x).shape == (2, 3)
    assert x.squeeze(0).shape == (2, 1, 3, 1)
    assert squeeze(x, (1, -1)).shape == (2, 3)
    assert unsqueeze(x, -1).shape == (2, 1, 3, 1, 1)
    assert x.unsqueeze(0).shape == (1, 2, 1, 3, 1)
    assert np.array_equal(flip(x, (0, 2)).numpy(), np.flip(a, (0, 2)))
    assert np.array_equal(x.flip().numpy(), np.flip(a))
    assert np.array_equal(stack(list(x)).numpy(), a)


@pytest.mark.parametrize(
    ("sizes", "axis", "lengths"), [(2, 0, [2, 2, 1]), (7, 0, [5]), ([1, 4], 0, [1, 4]), ((2, 0, 1), -1, [2, 0, 1])]
)
def test_split_then_concat_is_the_identity(sizes: int | list[int], axis: int, lengths: list[int]) -> None:
    x = some(5, 3)
    parts = split(x, sizes, axis)
    assert [part.shape[axis] for part in parts] == lengths
    y = concat(parts, axis)
    assert np.array_equal(y.numpy(), x.numpy())
    y.backward(x.numpy())
    assert np.array_equal(x.grad, x.numpy())


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.bool_])
def test_integers_and_booleans_are_joined(dtype: type) -> None:
    a, b = Tensor(np.array([1, 0], dtype)), Tensor(np.array([0, 1], dtype))
    for y, expected in ((concat([a, b]), [1, 0, 0, 1]), (stack([a, b]), [[1, 0], [0, 1]])):
        assert (y.dtype, y.numpy().tolist()) == (np.dtype(dtype), expected)
        assert not y.requires_grad


@pytest.mark.parametrize("join", [concat, stack])
@pytest.mark.parametrize("other", [np.float64, np.float16, np.int64])
def test_types_are_not_mixed_silently(join: Callable, other: type) -> None:
    with pytest.raises(TypeError) as error:
        join([some(2), some(2), Tensor(np.ones(2, other))])
    name = np.dtype(other).name
    message = f"{join.__name__}: xs[2] is {name} but xs[0] is float32; nothing is cast silently: use .astype('float32')"
    assert str(error.value) == message


# ---- indices ---------------------------------------------------------------------------------------------------------


def test_an_index_may_be_anything_numpy_takes() -> None:
    x = some(3, 4, 5)
    a, rows, mask = x.numpy(), np.array([2, 0, 2]), np.arange(12).reshape(3, 4) % 2 == 0
    assert np.array_equal(x[rows].numpy(), a[rows])
    assert np.array_equal(x[Tensor(rows), 1].numpy(), a[rows, 1])
    assert np.array_equal(x[[2, 0]].numpy(), a[[2, 0]])
    assert np.array_equal(x[Tensor(mask)].numpy(), a[mask])
    assert np.array_equal(x[..., x[0, 0] > 0].numpy(), a[..., a[0, 0] > 0])
    assert np.array_equal(x[rows, None, :, 1:3].numpy(), a[rows, None, :, 1:3])
    assert np.array_equal(x[np.int64(1), -1:, ::-2].numpy(), a[1, -1:, ::-2])
    assert x[[]].shape == (0, 4, 5)
    assert Tensor(np.arange(4))[1:3].numpy().tolist() == [1, 2]


def test_a_repeated_index_adds_its_gradients() -> None:
    x = some(3)
    x[[1, 1, 1, 2]].sum().backward()
    assert x.grad.tolist() == [0, 3, 1]


def test_index_arrays_are_not_kept() -> None:
    x = some(3)
    kept = len(OPS["getitem"]._plans)
    assert x[Tensor(np.array([0, 1]))].shape == (2,)
    assert len(OPS["getitem"]._plans) == kept


def test_gradients_of_single_numbers_are_arrays() -> None:
    a, b = some(), some()
    stack([a, b]).sum().backward()
    assert type(a.grad) is np.ndarray
    assert a.grad.shape == b.grad.shape == ()


# ---- errors ----------------------------------------------------------------------------------------------------------

ERRORS: list[tuple[Callable[[Tensor], object], str]] = [
    (lambda x: x.sum(2), "sum: axis=2 is out of range for 2 dimensions; axis lies in [-2, 1]  (x [2,3])"),
    (lambda x: x.sum((0, -2)), "sum: axis=(0, -2) names a dimension twice; name each once  (x [2,3])"),
    (lambda x: x.mean("rows"), "mean: axis must be an integer, got 'rows'  (x [2,3])"),
    (lambda x: x[2:].max(0), "max: axis 0 of x is empty; give at least one element  (x [0,3])"),
    (lambda x: x[0, 0].var(), "var: n - correction = 1 - 1 must be positive; reduce over more, or pass correction=0  (x [])"),
    (lambda x: x.reshape(4, -1), "reshape: the 6 elements of x do not divide into [4,-1]  (x [2,3])"),
    (lambda x: x.reshape(5), "reshape: x has 6 elements but [5] holds 5; one size may be -1  (x [2,3])"),
    (lambda x: x.reshape(-1, -1), "reshape: shape [-1,-1] must hold sizes, and -1 at most once  (x [2,3])"),
    (
        lambda x: x.permute(0),
        "permute: axes=(0,) must name each of the 2 dimensions once; to swap two, use transpose  (x [2,3])",
    ),
    (
        lambda x: x.transpose((1, 0)),
        "transpose: axes=((1, 0),) must be two, which are swapped, or none; for an order of all use permute  (x [2,3])",
    ),
    (lambda x: x.transpose(0, 2), "transpose: axes=2 is out of range for 2 dimensions; axes lies in [-2, 1]  (x [2,3])"),
    (
        lambda x: x.transpose(0, 1, 2),
        "transpose: axes=(0, 1, 2) must be two, which are swapped, or none; for an order of all use permute  (x [2,3])",
    ),
    (
        lambda x: x.broadcast_to(3, 2),
        "broadcast_to: x does not broadcast to [3,2]; each size of x, from the last, must be equal or 1  (x [2,3])",
    ),
    (lambda x: x.flatten(1, 0), "flatten: start_dim=1 lies behind end_dim=0  (x [2,3])"),
    (lambda x: x.unsqueeze(3), "unsqueeze: axis=3 is out of range for 3 dimensions; axis lies in [-3, 2]  (x [2,3])"),
    (lambda x: x[0, 3], "getitem: index 3 is out of range for dimension 1 of size 3  (x [2,3])"),
    (lambda x: x[0, 0, 0], "getitem: 3 indices for 2 dimensions  (x [2,3])"),
    (
        lambda x: x[True],
        "getitem: an index is made of ints, slices, None, ..., integer arrays and masks; got True  (x [2,3])",
    ),
    (lambda x: x[[0.5]], "getitem: an index array must hold integers or be a mask, got float64 [1]  (x [2,3])"),
    (lambda x: x[[0, 9]], "getitem: an index array lies in [0, 9] but dimension 0 has size 2  (x [2,3])"),
    (
        lambda x: x[np.ones(3, bool)],
        "getitem: the mask [3] must have the size of the dimensions it picks from  (x [2,3])",
    ),
    (lambda x: x[[0, 1], [0, 1, 2]], "getitem: index arrays [2], [3] do not broadcast against each other  (x [2,3])"),
    (
        lambda x: pad(x, 1),
        "pad: pad=1 must list before and after, the last dimension first: (1, 1) or (1, 1, 2, 2)  (x [2,3])",
    ),
    (lambda x: pad(x, (1,)), "pad: pad has 1 sizes; give two for each dimension, at most 4  (x [2,3])"),
    (lambda x: pad(x, (1, -1)), "pad: pad=((0, 0), (1, -1)) must not be negative; to crop, use x[...]  (x [2,3])"),
    (
        lambda x: concat([x, x[:, :2]]),
        "concat: xs[1] [2,2] does not fit xs[0] [2,3]; only axis 0 may differ  (xs [2,3], xs [2,2])",
    ),
    (lambda x: concat([]), "concat: the list is empty; give at least one Tensor  ()"),
    (
        lambda x: stack([x, x[:, :2]]),
        "stack: xs[1] [2,2] and xs[0] [2,3] differ; stack needs equal shapes  (xs [2,3], xs [2,2])",
    ),
    (lambda x: split(x, [1, 1], 1), "split: sizes [1,1] add up to 2 but axis 1 has 3  (x [2,3])"),
    (lambda x: split(x, 0), "split: the size of a piece must be positive, got 0  (x [2,3])"),
    (lambda x: linear(x, some(4, 5)), "linear: w has D=5 but x has D=3  (x [2,3], w [4,5])"),
    (
        lambda x: x @ x,
        "matmul: a ends in a dimension of 3 but the second to last dimension of b is 2; they must be equal  (a [2,3], b [2,3])",
    ),
    (
        lambda x: matmul(some(2, 1, 3), some(3, 3, 1)),
        "matmul: leading dimensions [2] of a and [3] of b do not broadcast  (a [2,1,3], b [3,3,1])",
    ),
    (
        lambda x: x @ 2.0,
        "matmul: a and b must have a dimension at least; multiply by a number with *  (a [2,3], b [])",
    ),
    (upsample, "upsample: x[N,C,H,W] expects 4 dimensions, got 2  (x [2,3])"),
    (lambda x: upsample(x[None, None], 1.5), "upsample: scale must be an integer, got 1.5  (x [1,1,2,3])"),
    (
        lambda x: upsample(x[None, None], 2, "cubic"),
        "upsample: mode must be 'nearest' or 'bilinear', got 'cubic'  (x [1,1,2,3])",
    ),
]


@pytest.mark.parametrize(("call", "message"), ERRORS, ids=[message.partition(";")[0] for _, message in ERRORS])
def test_errors_say_what_came_and_the_remedy(call: Callable[[Tensor], object], message: str) -> None:
    with pytest.raises(ValueError) as error:
        call(some(2, 3))
    assert str(error.value) == message


def test_getitem_as_a_function_takes_a_list_of_parts() -> None:
    x = some(2, 3)
    assert getitem(x, [0, slice(1, 3)]).shape == (2,)
