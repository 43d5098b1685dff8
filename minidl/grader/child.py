"""The child's end: load one file (or one of minidl's kernels), then compute what is asked, call after call.

    frames come on one pipe and go on another; what the file prints goes elsewhere and is only shown
    started -> the interpreter runs and its limits are set      ready -> the file is loaded: its signatures      then replies

Nothing here judges: the parent holds the laws, and believes nothing that it cannot compute again.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import os
import sys
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from minidl.backend import Array, to_numpy
from minidl.grader import wire

PROCESSES = set(
    "os.fork os.forkpty os.exec os.posix_spawn os.spawn os.system pty.spawn subprocess.Popen os.kill os.killpg".split()
)
LONGEST = 300  # characters of an error message that are sent


class Pipe:
    """The child's two file descriptors."""

    def __init__(self, reading: int, writing: int):
        self.reading, self.writing = reading, writing

    def receive(self) -> tuple[dict[str, Any], Any, list[Array]]:
        """The next request; if the grader has gone, so does this process."""
        header, payload = wire.lengths(self._read(wire.LENGTHS.size))
        text = self._read(header)
        return wire.decode(text, memoryview(self._read(payload)))

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            more = os.read(self.reading, size - len(data))
            if not more:
                os._exit(0)
            data += more
        return bytes(data)

    def send(self, header: dict[str, Any], value: Any = None, where: str = "value") -> list[Array]:
        """One frame to the grader, and the arrays in it; wire.Refused, and nothing sent, where the value cannot travel."""
        data, arrays = wire.encode(header, value, where)
        frame = memoryview(data)
        while frame:
            frame = frame[os.write(self.writing, frame) :]
        return arrays


def main(boot: dict[str, Any]) -> NoReturn:
    """Serve the parent until it hangs up. `boot` says which pipes, limits, and which file or kernel."""
    pipe = Pipe(*boot["pipes"])
    for number in boot["pipes"]:
        os.set_inheritable(number, False)
    for name in boot["libraries"]:
        __import__(name).register()
    pipe.send({"stage": "started", "unlimited": set_limits(boot["memory"], boot["seconds"])})
    try:
        halves, told = kernel_halves(*boot["kernel"]) if boot["kernel"] else file_halves(Path(boot["file"]))
    except BaseException as error:
        pipe.send({"stage": "ready", "error": lesson(error, boot["file"])})
        pipe.receive()  # the grader reads this, and hangs up
        os._exit(1)
    pipe.send({"stage": "ready", **told})
    serve(pipe, halves, boot["file"])


def set_limits(memory: int | None, seconds: float) -> list[str]:
    """Limit this process for good: `memory` MiB beyond what it has, CPU seconds, file size; what could not be limited."""
    import resource

    def lower(which: int, soft: int, hard: int) -> None:
        ceiling = resource.getrlimit(which)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(which, (soft, hard))

    lower(resource.RLIMIT_CORE, 0, 0)
    lower(resource.RLIMIT_CPU, int(seconds) + 1, int(seconds) + 2)  # SIGXCPU a second before SIGKILL
    lower(resource.RLIMIT_FSIZE, 64 << 20, 64 << 20)
    if memory is None:
        return []
    try:
        here = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        lower(resource.RLIMIT_AS, here + (memory << 20), here + (memory << 20))
    except (OSError, ValueError):  # no /proc, or a system that does not limit addresses: macOS
        return ["memory"]
    return []


# ---- what is served --------------------------------------------------------------------------------------------------


def kernel_halves(op: str, name: str) -> tuple[dict[str, Callable], dict[str, Any]]:
    """The halves of one of minidl's own kernels."""
    from minidl.op import OPS

    kernel = OPS[op].kernels[name]
    return {"forward": kernel.forward, "backward": kernel.backward}, {}


def file_halves(path: Path) -> tuple[dict[str, Callable], dict[str, Any]]:
    """The functions `forward` and `backward` of a file, and what the grader wants to know of it."""
    source = path.read_bytes()
    imports = imported(ast.parse(source, str(path)))
    code = compile(source, str(path), "exec", dont_inherit=True)
    sys.addaudithook(refuse_processes)
    module = sys.modules["student"] = types.ModuleType("student")
    module.__file__, sys.argv = str(path), [str(path)]
    sys.path.append(str(path.parent))  # helpers beside the file, after everything that is installed
    exec(code, module.__dict__)
    halves = {half: f for half in ("forward", "backward") if callable(f := getattr(module, half, None))}
    told = {half: parameters(function) for half, function in halves.items()}
    return halves, {"halves": told, "half": getattr(module, "half", False) is True, "imports": imports}


def imported(tree: ast.AST) -> list[str]:
    """The modules that a file imports, as written."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
    return sorted(names)


class Forbidden(PermissionError):
    """A graded file only computes."""


def refuse_processes(event: str, args: tuple) -> None:
    """An audit hook: a graded file starts no process and signals none."""
    if event in PROCESSES:
        raise Forbidden(f"{event}: a graded file only computes; it starts no process and sends no signal")


def parameters(function: Callable) -> list[dict[str, Any]]:
    """A signature as plain data: name, kind, and the type of the default ('' if there is none)."""
    P = inspect.Parameter
    try:
        found = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a compiled function does not say
        found = [P("args", P.VAR_POSITIONAL), P("kwargs", P.VAR_KEYWORD)]
    return [
        {
            "name": p.name,
            "kind": p.kind.name,
            "default": "" if p.default is P.empty else type(p.default).__name__,
            "integer": p.annotation in (int, "int") or (p.annotation is P.empty and type(p.default) is int),
        }
        for p in found
    ]


# ---- serving ---------------------------------------------------------------------------------------------------------


def serve(pipe: Pipe, halves: dict[str, Callable], file: str) -> NoReturn:
    """Answer calls for ever. A reply holds the result, the arguments that the call changed, and what else it disturbed."""
    returned: list[tuple[Array, Any]] = []  # what the last call returned, to see whether this one writes over it
    while True:
        header, (args, kwargs), arrays = pipe.receive()
        before, form = [bits(array) for array in arrays], wire.pack((args, kwargs), "arguments", [])
        try:
            result = halves[header["half"]](*args, **kwargs)
            changed = {i: array for i, array in enumerate(arrays) if bits(array) != before[i]}
            disturbed = "containers" if wire.pack((args, kwargs), "arguments", []) != form else ""
            if any(bits(array) != kept for array, kept in returned):
                disturbed = "returned"
            wire.pack(result, "result", [])  # refuses by a better name than the next line would
            sent = pipe.send({"id": header["id"]}, (result, changed, disturbed), "what it returned")
            returned = [(array, bits(array)) for array in sent]
        except BaseException as error:
            pipe.send({"id": header["id"], "error": lesson(error, file)})


def bits(array: Array) -> tuple[tuple[int, ...], bytes]:
    """What must not change: shape and bytes."""
    return array.shape, to_numpy(array).tobytes()


def lesson(error: BaseException, file: str) -> dict[str, Any]:
    """What went wrong and where in the student's file."""
    told: dict[str, Any] = {"kind": type(error).__name__, "message": text_of(error)}
    told["failed"] = isinstance(error, SystemExit | MemoryError | Forbidden)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    if isinstance(error, SyntaxError) and error.filename == file:
        told |= {"line": error.lineno, "code": (error.text or "").strip(), "function": ""}
    elif frames:
        line = frames[-1].lineno
        told |= {"line": line, "code": linecache.getline(file, line or 0).strip(), "function": frames[-1].name}
    return told


def text_of(error: BaseException) -> str:
    """An exception's message, whatever it is."""
    try:
        return (error.msg if isinstance(error, SyntaxError) else str(error))[:LONGEST]
    except BaseException:
        return ""
