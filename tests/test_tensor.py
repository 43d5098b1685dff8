"""The tape: order, accumulation, freeing, locks, versions, modes."""

from __future__ import annotations

import gc
import threading
import weakref
from contextvars import copy_context

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl
from minidl import Tensor


def leaf(*shape: int, seed: int = 0) -> Tensor:
    return Tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


# ---- what a Tensor is ----


def test_numbers_and_lists_become_float32_and_arrays_keep_their_type() -> None:
    assert Tensor([1.0, 2.0]).dtype == np.float32
    assert Tensor(np.zeros(2)).dtype == np.float64
    assert Tensor(np.zeros(2, np.float16)).dtype == np.float16
    assert Tensor([1, 2]).dtype.kind == "i"


def test_only_floating_point_has_gradients() -> None:
    with pytest.raises(TypeError, match=r"only floating point has gradients, got int64; use \.astype\('float32'\)"):
        Tensor(np.array([1, 2]), requires_grad=True)
    with pytest.raises(TypeError, match="expected numbers or an array"):
        Tensor("abc")


def test_item_numpy_detach_and_repr() -> None:
    x = leaf(2, 3)
    assert (x * 2).detach().requires_grad is False
    assert x.detach().numpy() is x.numpy()
    assert x.sum().item() == pytest.approx(x.numpy().sum())
    with pytest.raises(ValueError, match=r"item: expected one element, got shape \[2,3\]"):
        x.item()
    assert "made by multiply" in repr(x * 2)
    assert "requires_grad=True" in repr(x)


def test_numpy_on_the_left_meets_the_tensor() -> None:
    x = leaf(3)
    y = np.arange(3.0) * x
    assert isinstance(y, Tensor)
    y.backward(np.ones(3))
    np.testing.assert_array_equal(x.grad, np.arange(3.0))


# ---- backward ----


def test_gradients_accumulate_over_uses_and_over_calls() -> None:
    x = leaf(4)
    (x * x + 3 * x).sum().backward()
    np.testing.assert_allclose(x.grad, 2 * x.numpy() + 3)
    (2 * x).sum().backward()
    np.testing.assert_allclose(x.grad, 2 * x.numpy() + 5)


def test_a_diamond_runs_every_node_once_and_in_order() -> None:
    x = leaf(3)
    a = x * 2
    b, c = a + 1, a * a
    (b * c).sum().backward()
    a_ = 2 * x.numpy()
    np.testing.assert_allclose(x.grad, 2 * (a_**2 + (a_ + 1) * 2 * a_))


def test_ten_thousand_ops_need_no_recursion() -> None:
    x = Tensor(np.ones(2), requires_grad=True)
    y = x
    for _ in range(10_000):
        y = y + x * 0.0
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [1.0, 1.0])


def test_a_long_chain_is_dropped_without_recursion() -> None:
    x = Tensor(np.ones(2), requires_grad=True)
    y = x
    for _ in range(50_000):
        y = y * 1.0
    del y  # a recursive destructor would overflow the C stack
    gc.collect()


@given(st.integers(0, 2**32 - 1), st.integers(2, 12))
def test_random_graphs_equal_a_naive_sum_over_paths(seed: int, count: int) -> None:
    """A random graph of scalar products and sums, against derivatives carried forward by hand."""
    rng = np.random.default_rng(seed)
    values = [Tensor(np.array(v), requires_grad=True) for v in rng.uniform(0.5, 1.5, 3)]
    plain = [(float(v.item()), np.eye(3)[i]) for i, v in enumerate(values)]  # (value, gradient by the leaves)
    nodes, exact = list(values), list(plain)
    for _ in range(count):
        i, j = rng.integers(len(nodes), size=2)
        (a, da), (b, db) = exact[i], exact[j]
        if rng.random() < 0.5:
            nodes.append(nodes[i] + nodes[j])
            exact.append((a + b, da + db))
        else:
            nodes.append(nodes[i] * nodes[j] * 0.5)
            exact.append((0.5 * a * b, 0.5 * (b * da + a * db)))
    nodes[-1].backward()
    got = [0.0 if v.grad is None else float(v.grad) for v in values]
    np.testing.assert_allclose(got, exact[-1][1], rtol=1e-12)


def test_leaf_gradients_are_their_own_memory() -> None:
    a, b = leaf(3), leaf(3)
    (a + b).backward(np.ones(3))
    assert not np.may_share_memory(a.grad, b.grad)
    dy = np.ones(3)
    c = leaf(3)
    c.reshape(3, 1).backward(dy.reshape(3, 1))
    assert not np.may_share_memory(c.grad, dy)


def test_backward_needs_a_scalar_or_dy_of_the_right_shape() -> None:
    x = leaf(2, 3)
    with pytest.raises(RuntimeError, match=r"only a scalar starts by itself, this Tensor is \[2,3\]; pass dy"):
        (x * 2).backward()
    with pytest.raises(ValueError, match=r"dy must have shape \[2,3\], got \[3\]"):
        (x * 2).backward(np.ones(3))
    with pytest.raises(RuntimeError, match="on no tape"):
        Tensor([1.0]).backward()


def test_a_second_backward_says_what_to_do() -> None:
    x = leaf(3)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match=r"freed by an earlier backward\(\); run the forward pass again"):
        y.backward()


def test_retain_graph_allows_a_second_backward() -> None:
    x = leaf(3)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad, 4 * x.numpy())


def test_retain_grad_keeps_an_intermediate_gradient() -> None:
    x = leaf(3)
    h = (x * 2).retain_grad()
    (h * h).sum().backward()
    np.testing.assert_allclose(h.grad, 2 * h.numpy())


def test_saved_arrays_are_freed_as_backward_passes() -> None:
    x = leaf(5)
    y = minidl.exp(x)  # saves y itself
    saved = weakref.ref(y.node.saved[0]) if isinstance(y.node.saved, tuple) else None
    z = y.sum()
    node = y.node
    del y
    z.backward()
    assert node.saved is not None
    assert not isinstance(node.saved, tuple)
    del node
    gc.collect()
    assert saved is None or saved() is None


def test_a_graph_that_is_dropped_leaks_nothing() -> None:
    x = leaf(5)
    y = minidl.exp(x * 2)
    dead = weakref.ref(y)
    gc.disable()
    try:
        del y
        assert dead() is None  # no reference cycle: freed at once
    finally:
        gc.enable()


# ---- edits in place ----


def test_the_tape_locks_what_it_saved_and_unlocks_it() -> None:
    x = leaf(3)
    y = (x * x).sum()
    with pytest.raises(ValueError, match="read-only"):
        x.data[0] = 5.0
    y.backward()
    x.data[0] = 5.0
    z = (x * x).sum()
    del z  # a graph that is dropped opens its locks too
    x.data[0] = 6.0


def test_locks_of_views_and_shared_arrays_open_with_the_last() -> None:
    x = leaf(4)
    view = x.reshape(2, 2)
    first, second = (view * view).sum(), (x * x).sum()
    first.backward()
    with pytest.raises(ValueError, match="read-only"):
        x.data[0] = 1.0
    second.backward()
    x.data[0] = 1.0
    view.data[0, 0] = 2.0


def test_an_array_that_the_user_made_read_only_stays_so() -> None:
    a = np.ones(3)
    a.flags.writeable = False
    x = Tensor(a, requires_grad=True)
    (x * x).sum().backward()
    assert not a.flags.writeable


def test_an_edit_through_the_tensor_is_seen_by_backward() -> None:
    w, x = leaf(3), leaf(3, seed=1)
    y = (w * x).sum()
    with minidl.no_grad():
        w.add_(1.0)
    with pytest.raises(RuntimeError, match=r"multiply\[.*\] saved its input 0 \[3\] .* changed in place .*version 0, now 1"):
        y.backward()


def test_an_edit_of_what_nobody_saved_is_harmless() -> None:
    x = leaf(3)
    y = (x + 1.0).sum()
    with minidl.no_grad():
        x.mul_(2.0)
    y.backward()
    np.testing.assert_array_equal(x.grad, np.ones(3))


def test_views_share_their_version() -> None:
    x = Tensor(np.ones(4))
    w = leaf(2, 2)
    flat = x.reshape(2, 2)
    y = (w * flat).sum()
    x.add_(1.0)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


def test_an_edit_that_the_tape_could_not_see_is_refused() -> None:
    x = leaf(3)
    with pytest.raises(RuntimeError, match=r"write `with minidl\.no_grad\(\):` around it"):
        x.add_(1.0)
    with pytest.raises(RuntimeError, match="in-place edit"):
        x[0] = 1.0


# ---- modes ----


def test_no_grad_records_nothing() -> None:
    x = leaf(3)
    with minidl.no_grad():
        y = x * x
    assert y.node is None
    assert not y.requires_grad
    x.data[0] = 1.0  # nothing is held, so nothing is locked


def test_modes_reach_worker_threads_through_their_context() -> None:
    x, seen = leaf(3), []
    with minidl.no_grad():
        context = copy_context()
        thread = threading.Thread(target=lambda: seen.append(context.run(lambda: (x * x).requires_grad)))
        thread.start()
        thread.join()
    assert seen == [False]


def test_detect_anomaly_names_the_op_that_first_made_a_nan() -> None:
    x = Tensor([1.0, -1.0], requires_grad=True)
    with (
        minidl.detect_anomaly(),
        pytest.raises(FloatingPointError, match=r"log\[.*\]: its output \[2\] holds NaN"),
        np.errstate(all="ignore"),
    ):
        minidl.log(x)
    z = Tensor([0.0], requires_grad=True)
    with minidl.detect_anomaly(), np.errstate(all="ignore"):
        y = minidl.sqrt(z).sum()
        with pytest.raises(FloatingPointError, match=r"sqrt\[.*\]\.backward: gradient 0 \[1\] holds infinity"):
            y.backward()


def test_types_are_not_mixed_silently() -> None:
    a, b = Tensor(np.ones(3, np.float32)), Tensor(np.ones(3))
    with pytest.raises(TypeError, match=r"nothing is cast silently: cast the data by \.astype"):
        _ = a + b
    assert (a * 2.0).dtype == np.float32
    assert (1 - a).dtype == np.float32


def test_a_kernel_of_ones_own_that_returns_a_wrong_shape_is_named() -> None:
    from minidl.op import Kernel

    op = minidl.exp
    bad = Kernel(op, "mine", lambda x: (x, ()), lambda dy, saved: (dy[:1],))
    op.kernels["mine"] = bad
    try:
        with op.using("mine"):
            y = op(leaf(3)).sum()
        with pytest.raises(ValueError, match=r"exp\[mine\]\.backward: gradient 0 must have its input's shape \[3\], got \[1\]"):
            y.backward()
    finally:
        del op.kernels["mine"]


def test_numpy_scalars_are_numbers_and_upcast_nothing() -> None:
    x = Tensor(np.ones(3, np.float32), requires_grad=True)
    assert (x * np.float64(2)).dtype == np.float32
    assert (np.float64(2) * x).dtype == np.float32
    assert minidl.leaky_relu(x, np.float64(0.1)).dtype == np.float32


def test_a_cast_that_would_lose_the_gradient_is_refused() -> None:
    x = leaf(3)
    assert x.astype("float64") is x
    assert x.to("cpu") is x
    for y in (x, x * 2):
        with pytest.raises(ValueError, match=r"astype: this Tensor \[3\] requires a gradient, which would not come back"):
            y.astype("float32")
    with minidl.no_grad():
        assert x.astype("float32").requires_grad
    assert not x.detach().astype("int64").requires_grad


def test_lists_of_tensors_do_not_lose_their_gradients() -> None:
    x = leaf(2)
    with pytest.raises(
        TypeError, match=r"mean: x\[\.\.\.\] is a list of Tensors, whose gradients would be lost; use minidl.stack"
    ):
        minidl.mean([x[0], x[1]])
    assert minidl.sum([1.0, 2.0]).dtype == np.float32


def test_plain_arrays_that_the_tape_saved_are_locked_too() -> None:
    x, labels, w = np.ones((2, 3)), np.array([0, 1]), leaf(2, 3)
    loss = minidl.softmax_cross_entropy(minidl.linear(x, w), labels)
    for array in (x, labels):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    loss.backward()
    x[...], labels[...] = 0, 0


def test_another_tensor_over_the_same_memory_cannot_be_edited_meanwhile() -> None:
    a = np.array([1.0, 2.0])
    p, q = Tensor(a, requires_grad=True), Tensor(a)
    y = (p * p).sum()
    with pytest.raises(RuntimeError, match="memory that the tape holds for another Tensor"):
        q.add_(10.0)
    y.backward()
    np.testing.assert_array_equal(p.grad, [2.0, 4.0])
    assert Tensor(p)._version is p._version


def test_a_further_output_that_was_saved_is_guarded() -> None:
    x = Tensor(np.random.default_rng(0).standard_normal((4, 2)), requires_grad=True)
    y, mean, _ = minidl.batch_norm(x)
    mean.mul_(0.1)
    with pytest.raises(RuntimeError, match="changed in place"):
        (y * y).sum().backward()


def test_a_backward_that_failed_leaves_nothing_behind() -> None:
    a, b = (Tensor(np.ones(1), requires_grad=True) for _ in range(2))
    c = Tensor(np.zeros(1), requires_grad=True)
    h, u, bad = a * 1.0, b * 1.0, minidl.sqrt(c)
    q, p = h * 5.0, h + u
    loss = (bad.sum() + (p * 1.0).sum()) + q.sum()
    with np.errstate(all="ignore"):  # sqrt'(0) is infinite
        loss.backward(retain_graph=True)
    with minidl.detect_anomaly(), np.errstate(all="ignore"), pytest.raises(FloatingPointError):
        loss.backward(retain_graph=True)
    for t in (a, b, c):
        t.grad = None
    with np.errstate(all="ignore"):
        loss.backward()
    np.testing.assert_array_equal([a.grad, b.grad], [[6.0], [1.0]])


def test_the_callers_dy_is_not_the_gradient() -> None:
    x, dy = leaf(3), np.ones(3)
    x.backward(dy)
    assert not np.may_share_memory(x.grad, dy)


def test_the_usual_update_in_place_trains() -> None:
    w = leaf(3)
    before = w.numpy().copy()
    (w * w).sum().backward()
    kept = w
    with minidl.no_grad():
        w -= 0.1 * w.grad
    assert w is kept
    np.testing.assert_allclose(w.numpy(), before - 0.1 * 2 * before)
    with pytest.raises(RuntimeError, match="in-place edit"):
        w -= 1.0
    loss = (w * w).sum()
    loss += w.sum()  # on the tape: a new result
    loss.backward()
    assert loss.node is not None


def test_equality_is_element_by_element_and_tensors_are_keys() -> None:
    scores = Tensor([[1.0, 2.0], [3.0, 0.0]])
    assert np.mean((scores.argmax(1) == np.array([1, 1])).numpy()) == 0.5
    assert {scores: 1}[scores] == 1
    assert (scores == None) is False  # noqa: E711
    assert (scores != "a") is True


def test_formats_and_numpy_functions_read_a_tensor() -> None:
    x = leaf(1)
    assert f"{x.sum():.3f}" == f"{x.numpy().sum():.3f}"
    np.testing.assert_array_equal(np.asarray(x), x.numpy())


def test_a_model_is_copied_and_a_result_of_the_tape_is_not() -> None:
    import copy

    x = leaf(3)
    y = copy.deepcopy(x)
    assert y.requires_grad
    assert not np.may_share_memory(x.data, y.data)
    with pytest.raises(TypeError, match="deepcopy: a Tensor that the tape made"):
        copy.deepcopy(x * 2)


def test_locks_and_keys_are_safe_between_threads() -> None:
    import sys

    w, stream = leaf(8), minidl.random.Stream(0)
    keys: list[tuple[int, int]] = []

    def work() -> None:
        for _ in range(300):
            y = w * w
            keys.append(tuple(stream.keys(1)[0].tolist()))
            del y

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert len(set(keys)) == 1200
    assert w.data.flags.writeable


def test_detect_anomaly_does_not_blame_an_innocent_op() -> None:
    with minidl.detect_anomaly(), pytest.raises(FloatingPointError, match=r"relu\[.*\]: its input 0 \[2\] holds NaN already"):
        minidl.relu(np.array([1.0, np.nan]))
