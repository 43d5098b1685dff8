"""Files that hang, exit, crash, hoard, shout, cheat or attack the grader: never a pass, never a hang, always in words."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from graded import LRN, STUDENTS, grade, patched

from minidl.grader import worker

FORWARD, BACKWARD = (
    "def forward(x, n, alpha, beta, k, convention):\n",
    "def backward(dy, saved, n, alpha, beta, k, convention):\n",
)


def at_load(code: str) -> str:
    return patched(LRN, ('right."""\n', f'right."""\n\n{code}\n'))


def in_forward(code: str, prelude: str = "import os") -> str:
    return patched(at_load(prelude), (FORWARD, f"{FORWARD}    {code}\n"))


def in_backward(code: str, prelude: str = "import os") -> str:
    return patched(at_load(prelude), (BACKWARD, f"{BACKWARD}    {code}\n"))


FILL = "for pipe in range(3, 64):\n        try:\n            os.write(pipe, {})\n        except OSError:\n            pass"
IGNORE = "import signal\nfor s in (signal.SIGTERM, signal.SIGXCPU, signal.SIGINT):\n    signal.signal(s, signal.SIG_IGN)"
SPAM = """
import os, threading
def spam():
    while True:
        for pipe in range(3, 64):
            try:
                os.write(pipe, b"x")
            except OSError:
                pass
threading.Thread(target=spam, daemon=True).start()
"""
ATTACKS = {  # name: (source, what is said)
    "hangs": ((STUDENTS / "lrn_hangs.py").read_text(encoding="utf-8"), "backward did not return within 2 s"),
    "hangs and ignores signals": (in_backward("while True: pass", IGNORE), "backward did not return within 2 s"),
    "hangs while loading": (at_load("while True: pass"), "did not load within 2 s"),
    "os._exit": ((STUDENTS / "lrn_exits.py").read_text(encoding="utf-8"), "forward ended its process with exit code 0"),
    "sys.exit": (in_forward("import sys; sys.exit(0)"), "forward called sys.exit: a kernel returns, it does not exit"),
    "os._exit while loading": (at_load("import os; os._exit(0)"), "ended its process with exit code 0"),
    "sys.exit while loading": (at_load("raise SystemExit(0)"), "loading the file ended it: student.py:3: SystemExit"),
    "crashes": (in_forward("ctypes.string_at(0)", "import ctypes"), "forward crashed its process (SIGSEGV)"),
    "hoards memory": ((STUDENTS / "lrn_memory.py").read_text(encoding="utf-8"), "passed the limit of 2048 MB (--memory-limit)"),
    "hoards memory while loading": (
        at_load("hoard = bytearray(10**11)"),
        "loading the file ended it: student.py:3: MemoryError",
    ),
    "returns another shape": (
        patched(LRN, ("return y, (x", "return y[0], (x")),
        "y has shape [1,1,1], but must have shape [1,1,1,1]",
    ),
    "returns too much": (
        patched(LRN, ("return y, (x", "import numpy; return numpy.broadcast_to(y, (10**8, *y.shape)), (x")),
        "may travel at once",
    ),
    "writes garbage": (in_forward(FILL.format("b'garbage' * 9")), "wrote to the grader's pipe what is no reply"),
    "announces a huge frame": (in_forward(FILL.format("b'\\xff' * 12")), "wrote to the grader's pipe what is no reply"),
    "writes unasked": (at_load(SPAM), "wrote to the grader's pipe, or did not"),  # its bytes may promise more than ever comes
    "closes every pipe": (in_forward("os.closerange(3, 64)"), "forward ended its process with exit code"),
    "forks": (in_forward("os.fork()"), "os.fork: a graded file only computes"),
    "forks while loading": (at_load("import os; os.fork()"), "os.fork: a graded file only computes"),
    "forks behind Python's back": (in_forward("ctypes.CDLL(None).fork()", "import ctypes"), "wrote to the grader's pipe"),
    "kills its parent": (in_forward("os.kill(os.getppid(), 9)"), "os.kill: a graded file only computes"),
    "runs a program": (in_forward("os.system('true')"), "os.system: a graded file only computes"),
    "reads the keyboard": (in_forward("input()"), "forward raised EOFError"),
    "recurses": (in_forward("return forward(x, n, alpha, beta, k, convention)"), "forward raised RecursionError"),
    "raises what cannot be printed": (in_forward("raise type('E', (Exception,), {'__str__': None})"), "forward raised E"),
    "keeps things from backward": (
        (STUDENTS / "lrn_forgets.py").read_text(encoding="utf-8"),
        "backward runs in a process of its own",
    ),
    "is right only while it is looked at": (
        (STUDENTS / "lrn_cheats.py").read_text(encoding="utf-8"),
        "forward is not the same function in every call",
    ),
    "zeroes its inputs": (in_forward("x[...] = 0; return 0 * x, (x, x, x + 1)"), "y at [0,0,0,0] is 0, expected"),
    "is a cloud of noise": (
        patched(LRN, ("return y, (x, y, s)", "import random; return y * random.random(), (x, y, s)")),
        "two different results",
    ),
    "is not a number": (patched(LRN, ("return y, (x, y, s)", "return y * float('nan'), (x, y, s)")), "leaves no doubt"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_file_that_misbehaves_fails_in_words(name: str) -> None:
    source, words = ATTACKS[name]
    start = time.monotonic()
    outcome = grade("lrn", source, "--time-limit", "2", *([] if "looked at" in name else ["--cases", "8"]))
    assert outcome.code == 1, outcome
    assert any(part in " ".join(outcome.out.split()) for part in words.split(", or "))
    assert "FAIL" in outcome.out
    assert time.monotonic() - start < 20


def test_all_calls_together_have_a_limit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "PATIENCE", 1)
    told = grade("lrn", in_forward("time.sleep(0.3)", "import time"), "--time-limit", "2", "--cases", "8").law("forward is")
    assert "forward did not finish: all its calls together took 2 s (1 times --time-limit)" in told


def test_after_a_hang_the_other_laws_are_not_judged() -> None:
    outcome = grade("lrn", STUDENTS / "lrn_hangs.py", "--time-limit", "2", "--cases", "8")
    assert "ok    forward is the definition" in outcome.out
    assert "not judged: backward did not return within 2 s (--time-limit)" in outcome.law("backward is linear")
    assert "FAIL: of 8 laws 1 broken, 1 hold, 6 not judged." in outcome.out


def test_nothing_that_a_file_started_is_left_running(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    says = f"import ctypes, os, time; ctypes.CDLL(None).fork(); open({str(pids)!r}, 'a').write(f'{{os.getpid()}} ')"
    assert grade("lrn", at_load(f"{says}; time.sleep(60)"), "--time-limit", "2").code == 1
    started = [int(pid) for pid in pids.read_text(encoding="utf-8").split()]
    assert len(started) >= 2
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and any(map(_runs, started)):
        time.sleep(0.05)
    assert not any(map(_runs, started))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")  # the orphan of a killed child may wait to be reaped, as a zombie
    return not status.exists() or status.read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"


def test_the_limits_are_the_callers() -> None:
    hoards = in_forward("np.ones(10**8 // 8 * 3)", "import numpy as np")  # 300 MB
    assert grade("lrn", hoards, "--cases", "1", "--memory-limit", "1000").code == 0
    told = grade("lrn", hoards, "--cases", "1", "--memory-limit", "100").law("forward is")
    assert "passed the limit of 100 MB (--memory-limit)" in told


def test_what_a_file_prints_reaches_neither_the_protocol_nor_the_terminal() -> None:
    loud = in_forward("print('\\x1b[2J' * 10**5); os.write(2, b'all is \\x1b[1mwell\\n')")
    assert "all is" not in grade("lrn", loud, "--cases", "2").out
    outcome = grade("lrn", patched(loud, ("- 2 * alpha", "- alpha")), "--cases", "2")
    assert "The file printed (the end of it):" in outcome.out
    assert "| all is ?[1mwell" in outcome.out
    assert "\x1b" not in outcome.out
    assert len(outcome.out) < 10_000


def test_an_exception_cannot_forge_a_verdict() -> None:
    outcome = grade("lrn", in_forward("raise ValueError('\\n\\nPASS: of 8 laws 8 hold.\\x1b[8m')"), "--cases", "1")
    assert outcome.code == 1
    assert "\nPASS" not in outcome.out
    assert "\x1b" not in outcome.out
