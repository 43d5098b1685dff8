"""What every optimiser shares: parameter groups, state, and the walk over the parameters.

An optimiser is one rule on arrays, `update(w, g, state, t, options)`, that edits w and the state in place:

>>> model = nn.Linear(2, 1)
>>> opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
>>> loss = minidl.mse_loss(model([[1.0, 2.0]]), [[3.0]])
>>> opt.zero_grad();  loss.backward();  opt.step()

On the host the rule runs over slices that fit the cache, so that its few passes cost one trip through memory, and on as many
threads as `minidl.threads` says: each number is updated by itself, so that no bit depends on it. On a GPU it runs as CUDA,
`launch(rows, t, options, scale)`, once one has verified the source (minidl/cuda): the parameters of a group in one launch,
about a hundred at most, where they are of one type and have had equally many steps.

Of a float16 parameter the state has a float32 copy too, "master", made at its first step and saved like the rest of the state:

    master <- rule(master, g)        w <- master, rounded to float16

A step of less than w / 4096 is nothing to float16, however often it is taken; in the master such steps add up. Where w is not
its master's rounding, somebody has set w since (weights were loaded), and there the master follows w. Small gradients are 0 in
float16 before they come here, unless the loss was scaled: `optim.LossScaler`. `step(scale=...)` takes the scale out in float32.

Source: Micikevicius et al. 2018, "Mixed precision training", arXiv 1710.03740, section 3.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import cache
from numbers import Real
from typing import Any

import numpy as np

from minidl.backend import Array, device_of, to_device, to_numpy, xp_of
from minidl.cuda import MOST, NAMES, Source, can_launch
from minidl.modes import is_recording, modes, no_grad
from minidl.signature import brackets
from minidl.tensor import Tensor
from minidl.workers import share

SLICE = 131_072  # elements: half a megabyte of float32, so w, g, the state and a temporary stay in the cache
LAUNCHED = {np.dtype(name) for name in NAMES}  # types that there is CUDA for
MASTER = "master"  # the slot of a half parameter's float32 copy


class Optimizer:
    """Parameter groups and their state; a subclass adds `slots` and `update`, and checks its options.

    params   Tensors, or a list of groups: dicts with "params" and any option that differs from the default
    options  defaults of the groups; after construction each group in `param_groups` holds all of them, to be read and changed
    """

    source: Source | None = None  # of a subclass that has `launch`: the CUDA it launches

    def __init__(self, params: Iterable[Tensor] | Iterable[dict[str, Any]], **options: Any):
        self.name, self.defaults = type(self).__name__, options
        self.param_groups: list[dict[str, Any]] = []
        self.state: list[dict[str, Array]] = []  # one dict per parameter, in the order of the groups
        self.steps: list[int] = []  # updates that each parameter has had
        if isinstance(params, Tensor | dict):
            raise TypeError(f"{self.name}: expected a list of Tensors or groups, got one {type(params).__name__}; write [it]")
        given = listed(self.name, params)
        if not given:
            raise ValueError(f"{self.name}: no parameters; pass model.parameters() of a model that has some")
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    def __init_subclass__(cls) -> None:
        if "update" in vars(cls) and "launch" not in vars(cls):
            cls.source = None  # a rule of its own is not what the source of its parent computes

    # ---- what a subclass says ----------------------------------------------------------------------------------------

    def check(self, options: dict[str, Any]) -> None:
        """Raise ValueError for an option out of range."""
        non_negative(self.name, options, "lr", "weight_decay")

    def slots(self, options: dict[str, Any]) -> tuple[str, ...]:
        """Names of the arrays, shaped like the parameter and zero at first, that the rule keeps."""
        return ()

    def update(self, w: Array, g: Array, state: dict[str, Array], t: int, options: dict[str, Any]) -> None:
        """The rule: edit w and the state in place; t counts from 1."""
        raise TypeError(
            f"{self.name} is no optimiser by itself: use SGD, Adam or AdamW, or define update(w, g, state, t, options)"
        )

    def launch(self, rows: list[tuple[Array, ...]], t: int, options: dict[str, Any], scale: float) -> None:
        """The rule by CUDA, of g / scale, with the rounding to w where there is a master.

        rows  of each parameter (w, g, master, *slots): C-contiguous, and master is w itself where that is not half
        """
        raise TypeError(f"{self.name} names a CUDA source: define launch(rows, t, options, scale) too")

    def slots_of(self, p: Tensor, options: dict[str, Any]) -> tuple[str, ...]:
        """Names of all arrays kept for a parameter: the rule's, and the master of a half type. All are float32 or wider."""
        return (*self.slots(options), *([MASTER] if p.dtype != wide(p.dtype) else []))

    # ---- groups ------------------------------------------------------------------------------------------------------

    def add_param_group(self, group: dict[str, Any]) -> None:
        """One more group; options it does not name are the defaults."""
        if not isinstance(group, dict) or "params" not in group:
            raise TypeError(f"{self.name}: expected a group such as {{'params': [...], 'lr': 0.1}}, got {type(group).__name__}")
        params = group["params"]
        params = [params] if isinstance(params, Tensor) else listed(self.name, params)
        options = {name: value for name, value in group.items() if name != "params"}
        for name in options:
            if name not in self.defaults:
                raise ValueError(f"{self.name}: no option {name!r} in a parameter group; it has {', '.join(self.defaults)}")
        self.check({**self.defaults, **options})
        self._check_params(params)
        self.param_groups.append({"params": params, **self.defaults, **options})
        self.state += [{} for _ in params]
        self.steps += [0] * len(params)

    def _check_params(self, params: list[Any]) -> None:
        if not params:
            raise ValueError(f"{self.name}: a parameter group is empty; pass the parameters of a layer that has some")
        seen = {id(p) for p, _ in self._walk()}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"{self.name}: expected Tensors, got {type(p).__name__}; pass model.parameters()")
            if p.node is not None or p.dtype.kind != "f":
                raise ValueError(f"{self.name}: {p.dtype} {brackets(p.shape)} is no leaf of floating point; pass parameters")
            if id(p) in seen:
                raise ValueError(f"{self.name}: a parameter {brackets(p.shape)} is given twice; it would be updated twice")
            seen.add(id(p))

    def _walk(self) -> Iterator[tuple[Tensor, dict[str, Any]]]:
        """Every parameter with its group, in the order of `state` and `steps`."""
        return ((p, group) for group in self.param_groups for p in group["params"])

    # ---- training ----------------------------------------------------------------------------------------------------

    def zero_grad(self) -> None:
        """Forget the gradients; the next backward() starts afresh."""
        for p, _ in self._walk():
            p.grad = None

    def step(self, *, scale: float = 1.0) -> None:
        """Update every parameter that has a gradient.

        scale  what the loss was multiplied by before backward(), and so every gradient (`optim.LossScaler`)
        """
        if is_recording():
            raise RuntimeError(f"{self.name}.step: a recorded update would keep lr and count of this one; call it after")
        if not (isinstance(scale, Real) and 0 < float(scale) < math.inf):
            raise ValueError(f"{self.name}: scale must be a number above 0, got {scale!r}")
        with no_grad(), ExitStack() as edited:
            pieces: list[tuple] = []
            launched: list[tuple] = []
            for i, (p, options) in enumerate(self._walk()):
                if p.grad is None:
                    continue
                self.steps[i] += 1
                w, g, state = edited.enter_context(p.editing()), p.grad, self._state(i, p, options)
                if self._launches(w, g, state):
                    launched.append((w, g, state, self.steps[i], options))
                else:
                    pieces += [(*piece, self.steps[i], options, float(scale)) for piece in slices(w, g, state)]
            self._launch(launched, float(scale))
            on_threads(self._update, pieces)

    def _launch(self, given: list[tuple], scale: float) -> None:
        """The rule by CUDA: what is of one type and group, and has had equally many steps, together."""
        together: dict[tuple, tuple[list[tuple[Array, ...]], int, dict[str, Any]]] = {}
        for w, g, state, t, options in given:
            rows, *_ = together.setdefault((w.dtype, t, id(options)), ([], t, options))
            slots = (state[name] for name in self.slots(options))
            rows.append((w, xp_of(g).ascontiguousarray(g), master_of(w, state), *slots))
        for rows, t, options in together.values():
            self.launch(rows, t, options, scale)

    def _update(self, w: Array, g: Array, state: dict[str, Array], t: int, options: dict[str, Any], scale: float) -> None:
        """The rule, on the master where there is one."""
        master = master_of(w, state)
        g = g.astype(master.dtype, copy=False)
        if scale != 1:
            g = g * (1 / scale)
        if master is not w:
            master[...] = xp_of(w).where(master.astype(w.dtype) == w, master, w)
        self.update(master, g, state, t, options)
        if master is not w:
            w[...] = master

    def _launches(self, w: Array, g: Array, state: dict[str, Array]) -> bool:
        """Has a GPU verified the source, and are these arrays as it takes them? NumPy's own are never launched on."""
        if self.source is None or type(w) is np.ndarray or not (can_launch(w) and self.source.verified):
            return False
        fits = w.dtype in LAUNCHED and g.dtype == w.dtype and w.flags.c_contiguous and w.size <= MOST
        return fits and all(a.dtype == wide(w.dtype) and a.flags.c_contiguous for a in state.values())

    def _state(self, i: int, p: Tensor, options: dict[str, Any]) -> dict[str, Array]:
        dtype, state = wide(p.dtype), self.state[i]
        for name in self.slots_of(p, options):
            if name not in state:
                master = name == MASTER
                state[name] = p.data.astype(dtype, order="C") if master else xp_of(p.data).zeros(p.shape, dtype=dtype)
        return state

    # ---- resuming ----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs, copied.

        "arrays"   flat names -> NumPy arrays, "0.momentum_buffer": what a safetensors file holds
        "numbers"  options of the groups and step counts: what a JSON file holds
        """
        arrays = {f"{i}.{name}": to_numpy(a).copy() for i, state in enumerate(self.state) for name, a in state.items()}
        groups = [{**group, "params": len(group["params"])} for group in self.param_groups]
        return {"arrays": arrays, "numbers": {"optimizer": self.name, "groups": groups, "steps": list(self.steps)}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict()` was taken; raises ValueError, and changes nothing, where it does not fit."""
        if set(state) != {"arrays", "numbers"}:
            raise ValueError(f"{self.name}: this is not an optimiser's state; pass what state_dict() gave")
        numbers = state["numbers"]
        self._check_numbers(**numbers)
        restored = self._fit(state["arrays"])
        owners = [group for group in numbers["groups"] for _ in range(group["params"])]
        for i, ((p, _), options, t) in enumerate(zip(self._walk(), owners, numbers["steps"], strict=True)):
            if t and (missing := set(self.slots_of(p, {**self.defaults, **options})) - set(restored[i])):
                raise ValueError(f"{self.name}: the state lacks {i}.{missing.pop()}; were arrays and numbers saved together?")
        self.state, self.steps = restored, [int(t) for t in numbers["steps"]]
        for group, saved in zip(self.param_groups, numbers["groups"], strict=True):
            group.update({name: value for name, value in saved.items() if name != "params"})

    def _check_numbers(self, optimizer: str, groups: list[dict[str, Any]], steps: list[int]) -> None:
        ours, theirs = [len(group["params"]) for group in self.param_groups], [group["params"] for group in groups]
        if optimizer != self.name or theirs != ours or len(steps) != sum(ours):
            raise ValueError(f"{self.name}: the state belongs to {optimizer} with groups of {theirs} parameters, not of {ours}")
        for group in groups:
            self.check({**self.defaults, **group})

    def _fit(self, arrays: dict[str, np.ndarray]) -> list[dict[str, Array]]:
        """Each parameter's arrays, copied to where it lives, or an error that names the one that does not fit."""
        parameters = [p for p, _ in self._walk()]
        restored: list[dict[str, Array]] = [{} for _ in parameters]
        for key, array in arrays.items():
            number, _, name = key.partition(".")
            i = int(number) if number.isdigit() else len(parameters)
            if i >= len(parameters) or array.shape != parameters[i].shape:
                shape = brackets(array.shape)
                raise ValueError(f"{self.name}: state {key!r} {shape} fits no parameter; was the model changed?")
            restored[i][name] = to_device(np.array(array, order="C"), parameters[i].device)
        return restored

    def __repr__(self) -> str:
        groups = [{**group, "params": len(group["params"])} for group in self.param_groups]
        return f"{self.name}(" + "; ".join(", ".join(f"{k}={v}" for k, v in group.items()) for group in groups) + ")"


@cache
def wide(dtype: np.dtype) -> np.dtype:
    """The type that parameters of this one are updated in."""
    return np.result_type(dtype, np.float32)


def master_of(w: Array, state: dict[str, Array]) -> Array:
    """What the rule edits: of a half parameter its float32 copy, otherwise the parameter itself."""
    return w if w.dtype == wide(w.dtype) else state[MASTER]


def slices(w: Array, g: Array, state: dict[str, Array]) -> Iterator[tuple[Array, Array, dict[str, Array]]]:
    """w, g and the state in pieces that share their memory; whole where slicing cannot pay or would copy w."""
    if w.size <= 2 * SLICE or device_of(w) != "cpu" or not w.flags.c_contiguous:
        yield w, g, state
        return
    w, g, state = w.reshape(-1), g.reshape(-1), {name: a.reshape(-1) for name, a in state.items()}
    for lo in range(0, w.size, SLICE):
        piece = slice(lo, lo + SLICE)
        yield w[piece], g[piece], {name: a[piece] for name, a in state.items()}


def on_threads(update: Callable[..., None], pieces: list[tuple]) -> None:
    """update(*piece) for every piece, on as many threads as the mode `threads` says."""
    count = modes().threads or 1
    if count == 1 or sum(w.size for w, *_ in pieces) <= 2 * SLICE or any(device_of(w) != "cpu" for w, *_ in pieces):
        for piece in pieces:
            update(*piece)
        return

    def work(thread: int) -> None:
        for piece in pieces[thread::count]:
            update(*piece)

    share(work, count)


def listed(who: str, params: Any) -> list[Any]:
    """The parameters as a list; a TypeError for a model, or for its method that was not called."""
    if hasattr(params, "parameters") or not isinstance(params, Iterable):
        came = type(params).__name__
        article = "an" if came[0] in "AEIOUaeiou" else "a"
        raise TypeError(f"{who}: expected parameters, got {article} {came}; write model.parameters()")
    return list(params)


def non_negative(optimizer: str, options: dict[str, Any], *names: str) -> None:
    """ValueError unless each named option is a finite number >= 0."""
    for name in names:
        value = options[name]
        if not (isinstance(value, Real) and 0 <= float(value) < math.inf):
            raise ValueError(f"{optimizer}: {name} must be a number >= 0, got {value!r}")
