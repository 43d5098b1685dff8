"""Rivals in processes of their own, which wait on a pipe: only one computes at a time.

In one process PyTorch's threads and those of our BLAS would wait for work side by side, each spinning on the other's cores, and
an environment (thread counts, malloc's tunables) holds for a whole process. So each rival lives in a long-lived child:

    with Worker("benchmarks.rivals.torch_ops:TorchOps", threads=2, device="cpu") as torch:
        torch.call("prepare", op="lrn", workload="alexnet.norm1", batch=8)
        torch.call("time", phase="forward", repeats=3)

The child makes the object, with the options given, and calls its methods: one JSON line comes in, one goes out.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
REST = 0.05  # seconds in which threads that spin for more work give up


class RivalFailed(RuntimeError):
    """A rival raised an error, or its process ended."""


class Worker:
    """A rival behind a pipe.

    rival        "module:Class", made in the child as Class(threads=threads, **options)
    environment  variables for the child, beside the thread counts
    patience     patience() -> the seconds for which an answer may be waited for now; then the child is ended (for ever)
    """

    def __init__(
        self,
        rival: str,
        *,
        threads: int,
        environment: dict[str, str] | None = None,
        patience: Callable[[], float] | None = None,
        **options: Any,
    ):
        self.rival, self.patience = rival, patience
        counts = dict.fromkeys(THREAD_VARIABLES, str(threads))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", rival, json.dumps({"threads": threads, **options})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, **counts, **(environment or {})},
            text=True,
        )
        try:
            self._answer()
        except RivalFailed:
            self.close()
            raise

    def call(self, method: str, **arguments: Any) -> Any:
        """What the child's object returns; RivalFailed with its error."""
        with suppress(BrokenPipeError):  # it ended; what it left behind says how
            print(json.dumps([method, arguments]), file=self.process.stdin, flush=True)
        return self._answer()

    @property
    def alive(self) -> bool:
        """Does it still run?"""
        return self.process.poll() is None

    def close(self) -> None:
        """End the child."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self) -> Any:
        self._wait()
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            code = self.process.wait()
            why = "killed, perhaps for want of memory" if code == -9 else f"exit code {code}"
            raise RivalFailed(f"{self.rival} ended: {why}")
        answer = json.loads(line)
        if "error" in answer:
            raise RivalFailed(answer["error"])
        return answer["result"]

    def _wait(self) -> None:
        """Until there is something to read: an answer is one line, and nothing comes before it is asked for."""
        if self.patience is None or self.process.stdout is None:
            return
        seconds = max(0.0, self.patience())
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            self.process.kill()
            self.process.wait()
            raise RivalFailed(f"{self.rival} gave no answer for {seconds:.0f} s, and was ended")


def rest() -> None:
    """Between turns: let the last one's threads go to sleep."""
    time.sleep(REST)


def serve(rival: str, options: dict[str, Any]) -> None:
    """The child: make the rival, then answer until the pipe closes. What libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def attempt(work: Any) -> Any:
        try:
            print(json.dumps({"result": work()}), file=answers, flush=True)
        except Exception as error:
            if os.environ.get("BENCHMARK_TRACEBACK"):
                traceback.print_exc()
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers, flush=True)

    made: list[Any] = []
    module, _, name = rival.partition(":")
    attempt(lambda: made.append(getattr(importlib.import_module(module), name)(**options)))
    for line in sys.stdin if made else ():
        method, arguments = json.loads(line)
        attempt(lambda: getattr(made[0], method)(**arguments))  # noqa: B023  (called at once)


if __name__ == "__main__":
    serve(sys.argv[1], json.loads(sys.argv[2]))
