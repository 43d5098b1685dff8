"""minidl."""

import importlib
import pkgutil

from minidl import ops, random
from minidl.gradcheck import gradcheck
from minidl.modes import detect_anomaly, enable_grad, grad_enabled, no_grad
from minidl.op import OPS as _OPS
from minidl.random import manual_seed
from minidl.recompute import recompute
from minidl.tensor import Tensor

for _module in pkgutil.iter_modules(ops.__path__):
    importlib.import_module(f"minidl.ops.{_module.name}")
globals().update({name: op for name, op in _OPS.items()})
