"""minidl."""

from minidl.ops.lrn import lrn
