"""`minidl check`: lone halves, what signatures ask for and leave out, what cannot be graded, and the template."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from graded import LRN, STUDENTS, grade, patched, template

import minidl  # noqa: F401  (declares every op)
from minidl.grader import worker
from minidl.grader.submission import saved_description
from minidl.op import OPS

# ---- lone halves and signatures ----------------------------------------------------------------------------------------


def test_saved_that_does_not_fit_shows_what_the_other_half_expects() -> None:
    outcome = grade("lrn", STUDENTS / "lrn_forward_misfit.py", "--cases", "3")
    assert outcome.code == 1
    assert "could not use what your forward saved" in outcome.law("backward is the derivative")
    assert "lrn[window]'s, which expects saved : (x, y, s)" in outcome.law("backward is the derivative")


def test_a_lone_half_is_graded_beside_the_named_kernel() -> None:
    source = (STUDENTS / "conv2d_right.py").read_text(encoding="utf-8")
    lone = patched(
        source[: source.index("def backward")] + source[source.index("def window") :],
        ("y, (xp, w, b is not None, (H, W))", "y, (x, w)"),
    )
    outcome = grade("conv2d", lone, "--with", "direct", "--cases", "6")
    assert outcome.code == 0, outcome.out
    assert "backward: not in the file; conv2d[direct]'s was used" in outcome.out


def test_every_kernel_says_what_it_saves() -> None:
    silent = [str(k) for op in OPS.values() for k in op.kernels.values() if saved_description(k) == "saved : not described"]
    assert not silent


KEYWORDS = """
def forward(x, *, gain=1.0, **attrs):
    alpha = attrs["alpha"] / (attrs["n"] if attrs["convention"] == "pytorch" else 1)
    s = attrs["k"] + alpha * window_sum(x * x, attrs["n"])
    y = gain * x * s ** -attrs["beta"]
    return y, (x, y, s)
"""


def test_everything_by_keyword_and_a_default_of_ones_own() -> None:
    before, _, after = LRN.partition("def forward")
    outcome = grade("lrn", before + KEYWORDS + after[after.index("\n\ndef backward") :], "--cases", "5")
    assert outcome.code == 0, outcome.out
    assert "gain is no attribute of lrn: it kept its own default" in outcome.out


def test_an_annotation_says_whether_an_int_is_wanted() -> None:
    source = (STUDENTS / "conv2d_int.py").read_text(encoding="utf-8")
    either = patched(source, ("stride=1, padding=0)", "stride: int | tuple = 1, padding: int = 0)"))
    assert "padding: with equal entries only" in grade("conv2d", either, "--cases", "1").out
    assert "stride, padding: with" in grade("conv2d", source, "--cases", "1").out


# ---- what cannot be graded ---------------------------------------------------------------------------------------------

FORWARD = "def forward(x, w):\n    return x, ()\n"
UNGRADABLE = [  # (op, source or file, options, what is said)
    ("lrm", "", (), "there is no op 'lrm'; did you mean lrn"),
    ("conv2d", Path("nowhere.py"), (), "no file 'nowhere.py'"),
    ("conv2d", STUDENTS, (), "is no file"),
    ("conv2d", "x = 1\ndef forward(x, w, b=None, stride=1:\n", (), "student.py:2: SyntaxError: invalid syntax"),
    ("conv2d", "import numpy\nimport nothing_of_that_name\n", (), "student.py:2: ModuleNotFoundError"),
    ("conv2d", "convolve = 3\n", (), "has neither forward nor backward"),
    ("conv2d", FORWARD, ("--with", "strassen"), "conv2d has no kernel 'strassen' for --with; choose from direct"),
    ("conv2d", FORWARD, ("--cases", "0"), "--cases must be at least 1"),
    ("conv2d", FORWARD, ("--time-limit", "-1"), "--time-limit must be above 0"),
    ("conv2d", FORWARD, ("--memory-limit", "1"), "--memory-limit at least 64 MB"),
    ("conv2d", "def forward(x):\n    pass\n", (), "expected forward(x, w, b, *, stride, padding, dilation, groups)"),
    ("conv2d", "def forward(w, x):\n    pass\n", (), "its inputs, in this order, are x[N,C,H,W], w[K,Cg,R,S], b[K]"),
    ("conv2d", "def forward(x, w, b, stride, pad):\n    pass\n", (), "`pad` is no input of conv2d (did you mean `padding`?)"),
    ("conv2d", "def backward(saved, dy, stride):\n    pass\n", (), "dy comes first, then saved"),
    ("conv2d", "def backward(dy):\n    pass\n", (), "expected backward(dy, saved, needs, *, stride"),
    ("conv2d", "def backward(dy, saved, x):\n    pass\n", (), "the grader has nothing to give for `x`"),
    ("concat", "def forward(xs, axis):\n    pass\n", (), "expected forward(*xs, axis)"),
    (
        "avg_pool2d",
        "def forward(x):\n    return x, ()\n",
        (),
        "none of 3000 problems of avg_pool2d fits it; too much is left out",
    ),
]


@pytest.mark.parametrize(("op", "student", "options", "said"), UNGRADABLE, ids=[said[:40] for *_, said in UNGRADABLE])
def test_what_cannot_be_graded_is_said_in_one_line(op: str, student: str | Path, options: tuple, said: str) -> None:
    outcome = grade(op, student, *options)
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.err.count("\n") == 1
    assert outcome.out == ""


def test_a_child_that_cannot_start_is_nobodys_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "BOOT", "raise SystemExit('no room')")
    outcome = grade("lrn", LRN)
    assert outcome.code == 2
    assert "exit code 1" in outcome.err
    assert "no room  (--memory-limit 2048 may be too small)" in outcome.err


def test_json_tells_what_cannot_be_graded() -> None:
    told = json.loads(grade("conv2d", "convolve = 3\n", "--json").out)
    assert (told["exit_code"], told["verdict"], told["laws"]) == (2, "could not grade", [])
    assert "neither forward nor backward" in told["message"]


# ---- the template ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", OPS)
def test_every_template_is_python_with_both_halves(op: str) -> None:
    names: dict = {}
    exec(compile(template(op), "template.py", "exec"), names)
    assert callable(names["forward"])
    assert callable(names["backward"])


def test_a_template_that_nobody_filled_in_fails_in_its_own_words() -> None:
    outcome = grade("conv2d", template("conv2d"), "--cases", "2")
    assert outcome.code == 1
    assert "forward raised NotImplementedError: forward is yours to write" in outcome.law("forward is the definition")
