"""The parent's end: a process that computes one half, under limits, and is never trusted.

It runs in a session of its own, so that one SIGKILL ends it and whatever it started. Every wait has a deadline, every size a
bound; what it prints is drained and only the end is kept. Time is counted while it computes, not while the laws think.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from minidl.backend import Array
from minidl.grader import wire

BOOT = """
import json, sys
boot = json.loads(sys.argv[1])
sys.path[:] = boot["path"]
from minidl.grader import child
child.main(boot)
"""
PATIENCE = 20  # all calls together may take this many times what one call may
START_SECONDS = 60.0  # for Python and NumPy themselves, before any of the student's code
KEPT_OUTPUT = 4096
LIBRARIES: tuple[str, ...] = ()  # modules that register array libraries beside NumPy and CuPy, in the child too
HINTS = {"SIGKILL": ", as happens when memory runs out", "SIGXCPU": ": its CPU time was used up"}
_CALM = {  # one thread each: small problems, the same bits on every run
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONUNBUFFERED": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


class Lost(Exception):
    """The process hung, died or sent garbage: it has failed, and nothing more can be asked of it."""


class NotStarted(Exception):
    """The process could not even start: nothing was graded."""


class Limits(NamedTuple):
    """Seconds for one call (all calls: PATIENCE times that) and MiB of memory, None for no limit (CUDA needs that)."""

    seconds: float = 10.0
    memory: int | None = 2048


class Worker:
    """One process that serves `forward` or `backward` of a file, or of one of minidl's kernels."""

    def __init__(self, half: str, file: Path, limits: Limits, kernel: tuple[str, str] | None = None):
        self.half, self.limits = half, limits
        self.left = PATIENCE * limits.seconds
        self.printed = b""
        self.lost = ""  # how it failed, once it has
        self.unlimited: list[str] = []
        self._calls, self._silent, self._killed = 0, False, False
        (child_in, self._requests), (self._replies, child_out) = os.pipe(), os.pipe()
        self._noise, noise = os.pipe()
        boot = {"path": [p or os.getcwd() for p in sys.path], "pipes": [child_in, child_out], "libraries": LIBRARIES}
        boot |= {"file": str(file), "kernel": kernel, "memory": limits.memory, "seconds": self.left}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", BOOT, json.dumps(boot)],
            stdin=subprocess.DEVNULL,
            stdout=noise,
            stderr=noise,
            cwd=file.parent,
            env={**os.environ, **_CALM},
            pass_fds=(child_in, child_out),
            start_new_session=True,
        )
        for number in (child_in, child_out, noise):
            os.close(number)
        for number in (self._requests, self._replies, self._noise):
            os.set_blocking(number, False)

    def load(self) -> dict[str, Any]:
        """Wait until the file is loaded; what it says of itself, or {"error": ...}."""
        try:
            started, _, _ = self._exchange(b"", START_SECONDS, f"start within {START_SECONDS:.0f} s")
        except Lost as error:
            last = (self.said().strip().splitlines() or ["it said nothing"])[-1]
            raise NotStarted(f"the child process {error}: {last}") from None
        self.unlimited = [str(name) for name in started.get("unlimited", [])]
        ready, _, _ = self._exchange(b"", self.limits.seconds, f"load within {self.limits.seconds:g} s (--time-limit)")
        return ready

    def call(self, args: tuple, kwargs: dict[str, Any]) -> tuple[dict[str, Any], Any, list[Array]]:
        """Compute: (header, value, the arrays that were sent); the header tells an error of the file. Lost if it cannot."""
        self._calls += 1
        request, arrays = wire.encode({"id": self._calls, "half": self.half}, (args, kwargs))
        seconds = min(self.limits.seconds, self.left)
        words = f"return within {seconds:g} s (--time-limit)"
        if seconds == self.left:
            words = f"finish: all its calls together took {PATIENCE * self.limits.seconds:g} s ({PATIENCE} times --time-limit)"
        start = time.monotonic()
        header, value, _ = self._exchange(request, seconds, words)
        self.left = max(self.left - (time.monotonic() - start), 1e-3)
        if header.get("id") != self._calls:
            raise self.garbage()
        return header, value, arrays

    def garbage(self) -> Lost:
        """What came is a frame, but no reply: end it."""
        return self._lost("wrote to the grader's pipe what is no reply")

    def said(self) -> str:
        """The end of what the process printed, with control characters made visible."""
        self._drain()
        return plain(self.printed.decode("utf-8", "replace"), keep="\n")

    def close(self) -> None:
        """Kill the process and whatever it started."""
        self._kill()
        for number in (self._requests, self._replies, self._noise):
            os.close(number)

    # ---- pipes ---------------------------------------------------------------------------------------------------------

    def _exchange(self, request: bytes, seconds: float, words: str) -> tuple[dict[str, Any], Any, list[Array]]:
        """Send a frame and read one, or Lost."""
        if self.lost:
            raise Lost(self.lost)
        if self._process.poll() is not None:
            raise self._dead()
        deadline, out, reply = time.monotonic() + seconds, memoryview(request), bytearray()
        try:
            while (missing := _missing(reply)) > 0:
                if time.monotonic() > deadline:
                    raise self._lost(f"did not {words}")
                out = self._turn(out, reply, missing, deadline)
            header = wire.lengths(bytes(reply[: wire.LENGTHS.size]))[0] + wire.LENGTHS.size
            return wire.decode(bytes(reply[wire.LENGTHS.size : header]), memoryview(reply)[header:])
        except wire.Garbage as error:
            raise self._lost(f"wrote to the grader's pipe what is no reply ({plain(str(error))})") from None

    def _turn(self, out: memoryview, reply: bytearray, missing: int, deadline: float) -> memoryview:
        """Move what can be moved now, in all three pipes; what is still to be sent."""
        seconds = min(0.2, max(deadline - time.monotonic(), 0.0))
        ready = self._wait([self._replies, self._noise], [self._requests] if out else [], seconds)
        if self._noise in ready:
            self._listen()
        if self._requests in ready:
            try:
                out = out[os.write(self._requests, out[:65536]) :]
            except BrokenPipeError:
                raise self._dead() from None
        if self._replies in ready:
            self._take(reply, missing)
        elif self._process.poll() is not None:  # a process that it left behind may hold the pipe open
            raise self._dead()
        return out

    def _wait(self, reading: list[int], writing: list[int], seconds: float) -> set[int]:
        """Which of these pipes can be used within `seconds`."""
        poll = select.poll()
        for number in reading:
            if number != self._noise or not self._silent:
                poll.register(number, select.POLLIN)
        for number in writing:
            poll.register(number, select.POLLOUT)
        return {number for number, _ in poll.poll(1000 * seconds)}

    def _take(self, reply: bytearray, most: int) -> None:
        data = os.read(self._replies, min(most, 1 << 20))
        if not data:
            raise self._dead()
        reply += data

    def _listen(self) -> None:
        """Take what was printed; keep the end."""
        try:
            data = os.read(self._noise, 65536)
        except BlockingIOError:
            return
        self._silent = not data
        self.printed = (self.printed + data)[-KEPT_OUTPUT:]

    # ---- ends ----------------------------------------------------------------------------------------------------------

    def _dead(self) -> Lost:
        """It ended, or closed its pipe: how, in words."""
        try:
            code = self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            return self._lost("closed the grader's pipe")
        if code >= 0:
            return self._lost(f"ended its process with exit code {code}; a kernel returns, it does not exit")
        name = signal.Signals(-code).name if -code in {int(s) for s in signal.Signals} else f"signal {-code}"
        return self._lost(f"crashed its process ({name}{HINTS.get(name, '')})")

    def _lost(self, words: str) -> Lost:
        self._kill()
        self.lost = words
        return Lost(words)

    def _kill(self) -> None:
        """SIGKILL to the whole session, once; then read the last words."""
        if self._killed:
            return
        self._killed = True
        with suppress(ProcessLookupError, PermissionError):  # nobody is left (macOS says it the second way)
            os.killpg(self._process.pid, signal.SIGKILL)
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            return
        self._drain()

    def _drain(self) -> None:
        """Hear what was printed up to now, or as much of it as is reasonable."""
        for _ in range(64):
            if self._silent or not self._wait([self._noise], [], 0.0):
                return
            self._listen()


def _missing(reply: bytearray) -> int:
    """How many bytes the frame that starts so still lacks."""
    if len(reply) < wire.LENGTHS.size:
        return wire.LENGTHS.size - len(reply)
    return wire.LENGTHS.size + sum(wire.lengths(bytes(reply[: wire.LENGTHS.size]))) - len(reply)


def plain(text: str, keep: str = "") -> str:
    """Text of a stranger, safe to print: control characters, which could rewrite the terminal, become '?'."""
    return "".join(c if c.isprintable() or c in keep else "?" for c in text)
