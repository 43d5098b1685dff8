"""`minidl check`: what it says of right, wrong and half-written files, and of files that it cannot grade."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import pytest

import minidl  # noqa: F401  (declares every op)
from minidl import check
from minidl.grader import worker
from minidl.grader.submission import saved_description
from minidl.op import OPS

STUDENTS = Path(__file__).parent / "students"
LRN = (STUDENTS / "lrn_right.py").read_text(encoding="utf-8")
EIGHT = 8  # laws


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    def law(self, name: str) -> str:
        """The lines about one law."""
        lines = self.out.splitlines()
        start = next(i for i, line in enumerate(lines) if line[8:].startswith(name))
        end = next(i for i in range(start + 1, len(lines)) if not lines[i].startswith("        "))
        return " ".join(" ".join(lines[start:end]).split())


@pytest.fixture
def grade(capsys: pytest.CaptureFixture, tmp_path: Path):
    """grade(op, file or source, *options) -> Outcome."""

    def run(op: str, student: Path | str, *options: str) -> Outcome:
        parser = argparse.ArgumentParser()
        check.add_arguments(parser)
        if isinstance(student, str):
            (tmp_path / "student.py").write_text(student, encoding="utf-8")
            student = tmp_path / "student.py"
        code = check.run(parser.parse_args([op, str(student), *options]))
        return Outcome(code, *capsys.readouterr())

    return run


def patched(source: str, *pairs: tuple[str, str]) -> str:
    for old, new in pairs:
        assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times"
        source = source.replace(old, new)
    return source


# ---- right files -------------------------------------------------------------------------------------------------------

RIGHT = [
    ("conv2d", "conv2d_right.py", ()),
    ("conv2d", "conv2d_int.py", ("dilation=1, groups=1", "stride, padding: with equal entries only", "leaves out b")),
    ("max_pool2d", "max_pool2d_square.py", ("ceil_mode=False", "kernel_size, stride: with equal entries only")),
    ("linear", "linear_right.py", ()),
    ("lrn", "lrn_prints.py", ()),
    ("lrn", "lrn_forward.py", ("backward: not in the file; lrn[window]'s was used",)),
    ("lrn", "lrn_backward.py", ("forward: not in the file; lrn[window]'s was used",)),
]


@pytest.mark.parametrize(("op", "name", "notes"), RIGHT, ids=[name for _, name, _ in RIGHT])
def test_a_right_file_passes_and_is_told_what_was_not_graded(grade, op: str, name: str, notes: tuple) -> None:
    outcome = grade(op, STUDENTS / name, "--cases", "12")
    assert outcome.code == 0, outcome.out
    assert "FAIL" not in outcome.out
    assert "PASS: of 8 laws" in outcome.out
    assert ("Not graded" in outcome.out) == bool(notes)
    for note in notes:
        assert note in " ".join(outcome.out.split())


def test_grading_leaves_the_students_folder_as_it_was(grade, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("half = 0.5\n", encoding="utf-8")
    source = patched(LRN, ('right."""', 'right."""\n\nfrom helper import half'), ("s**-beta\n    return y", "s**-beta * (2 * half)\n    return y"))
    assert grade("lrn", source, "--cases", "2").code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"helper.py", "student.py"}


def kernels_as_files() -> list:
    few = {"conv2d", "getitem", "concat", "batch_norm", "dropout", "argmax", "am_softmax"}
    every = [kernel for op in OPS.values() for kernel in op.kernels.values()]
    chosen = {str(kernel): kernel for kernel in every if kernel.op.name in few and kernel.name == kernel.op.default}
    return [pytest.param(k, id=str(k), marks=() if str(k) in chosen else pytest.mark.nightly) for k in every]


@pytest.mark.parametrize("kernel", kernels_as_files())
def test_minidls_own_kernels_pass_as_files(grade, kernel) -> None:
    source = (
        f"from minidl.op import OPS\nimport minidl\nkernel = OPS[{kernel.op.name!r}].kernels[{kernel.name!r}]\n"
        f"forward, backward, half = kernel.forward, kernel.backward, {kernel.half}\n"
    )
    outcome = grade(kernel.op.name, source, "--cases", "6")
    assert outcome.code == 0, outcome.out
    assert "the file imports minidl" in outcome.out


def test_on_another_array_library_the_child_computes_with_it(grade, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LIBRARIES", ("strict_xp",))
    assert "ok    array library does not matter" in grade("lrn", STUDENTS / "lrn_right.py", "--cases", "3").out
    bad = grade("lrn", patched(LRN, ("total, C = a.copy()", "total, C = __import__('numpy').array(a)")), "--cases", "3")
    assert bad.law("array library").startswith("FAIL")


# ---- wrong files -------------------------------------------------------------------------------------------------------

WRONG = [  # (old text of lrn_right.py, new text, the law that must catch it, words that must be said about it)
    ("y = x * s**-beta", "y = x * s**beta", "forward is the definition", "y at [0,0,0,0] is"),
    ("- 2 * alpha", "- alpha", "backward is the derivative", "the measured derivative is"),
    ("return (dy * s**-beta", "return (dy**2 * s**-beta", "backward is linear", "dx for dy = 2u + v"),
    ("    x, y, s = saved\n", "    x, y, s = saved\n    s += 1e-12\n", "arguments are left alone", "backward changed saved"),
    ("    y = x * s**-beta\n", "    y = (x.ravel('K') * (s**-beta).ravel('K')).reshape(x.shape)\n", "strides", "x lies in memory"),
    ("    y = x * s**-beta\n", "    y = x * s**-beta * (x > -9).astype(float)\n", "float types", "y is float64 for float32"),
    ("    y = x * s**-beta\n", "    y = x * s**-beta - x.mean(0)\n", "batches are independent", "in two parts of the batch"),
    ("    return y, (x, y, s)", "    return y", "forward is the definition", "must return (y, saved), got an array"),
    ("    return y, (x, y, s)", "    return y, (x, y)", "backward is the derivative", "student.py:20: x, y, s = saved"),
    ("    return y, (x, y, s)", "    return y > 0, (x, y, s)", "forward is the definition", "floating-point numbers, got bool"),
    ("    return y, (x, y, s)", "    return y, (x, y, lambda: s)", "forward is the definition", "saved[2] is a function"),
    ("window_sum(dy * y / s, n),)", "window_sum(dy * y / s, n))", "backward is the derivative", "return a tuple"),
    ("window_sum(dy * y / s, n),)", "window_sum(dy * y / s, n), dy)", "backward is the derivative", "1 gradients, one per input"),
    ("    x, y, s = saved\n", "    x, y, s = saved\n    assert len(x) < 2\n", "backward is the derivative", "raised AssertionError"),
    ("def window_sum", "half = True\n\n\ndef window_sum", "float types are kept", "ok"),
]


@pytest.mark.parametrize(("old", "new", "law", "words"), WRONG, ids=[new.strip()[:40] for _, new, _, _ in WRONG])
def test_a_mistake_breaks_its_law_and_is_explained(grade, old: str, new: str, law: str, words: str) -> None:
    outcome = grade("lrn", patched(LRN, (old, new)), "--cases", "30")
    assert words in outcome.law(law), outcome.out
    assert outcome.code == (0 if words == "ok" else 1)
    assert max(len(line) for line in outcome.out.splitlines() if str(STUDENTS.anchor) not in line) <= 100  # paths may be long


def test_a_wrong_gradient_is_shown_on_the_smallest_problem_with_its_numbers(grade) -> None:
    outcome = grade("conv2d", STUDENTS / "conv2d_overlap.py")
    told = outcome.law("backward is the derivative")
    assert outcome.code == 1
    assert "x[N=1,C=1,H=1,W=1] w[K=1,Cg=1,R=2,S=1] padding=1 (shrunk from seed 1 in" in told  # two windows see one pixel
    assert "dx: element [0,0,0,0] is 1.5, the measured derivative is 2.25 (0.6667 times what it should be)" in told
    assert "dx came [[[[1.5]]]] expected [[[[2.25]]]]" in told
    assert "dw" not in told  # that one is right
    assert "The law: backward(dy) is J^T dy" in told
    assert outcome.out.count("FAIL  ") == 1


def test_the_first_counterexample_is_found_again_alone(grade) -> None:
    whole = grade("conv2d", STUDENTS / "conv2d_overlap.py")
    assert whole.out.endswith("conv2d_overlap.py --seed 1 --cases 1\n")
    alone = grade("conv2d", STUDENTS / "conv2d_overlap.py", "--seed", "1", "--cases", "1")
    assert alone.law("backward is") == whole.law("backward is")


def test_the_same_seed_prints_the_same(grade) -> None:
    assert grade("lrn", STUDENTS / "lrn_cheats.py").out == grade("lrn", STUDENTS / "lrn_cheats.py").out


def test_one_mistake_is_explained_once(grade) -> None:
    outcome = grade("lrn", patched(LRN, ("    y = x * s**-beta\n", "    y = x * undefined\n")), "--cases", "3")
    assert outcome.out.count("NameError") == 1
    assert outcome.out.count("the same mistake as 'forward is the definition'") == EIGHT - 2  # all but the library's


def test_an_argument_changed_in_place_is_seen_whatever_the_law(grade) -> None:
    told = grade("lrn", STUDENTS / "lrn_in_place.py", "--cases", "5").law("arguments are left alone")
    assert told.startswith("FAIL arguments are left alone x[N=1,C=1,H=1,W=1]")
    assert "backward changed dy in place" in told


def test_changes_that_no_law_sees_break_one_too(grade) -> None:
    pops = patched(LRN, ("y, (x, y, s)", "y, [x, y, s]"), ("x, y, s = saved", "s, y, x = saved.pop(), saved.pop(), saved.pop()"))
    assert "changed a list or a dict" in grade("lrn", pops, "--cases", "3").law("arguments")
    buffer = patched(
        LRN,
        ('right."""', 'right."""\n\nimport numpy as np\n\nbuffer = np.empty(1000)'),
        ("    return y, (x, y, s)", "    buffer[: y.size] = y.ravel()\n    return (buffer[: y.size].reshape(y.shape) if y.dtype == float else y), (x, y, s)"),
    )
    assert "wrote over an array that its last call returned" in grade("lrn", buffer, "--cases", "3").law("arguments")


# ---- lone halves and signatures ----------------------------------------------------------------------------------------


def test_saved_that_does_not_fit_shows_what_the_other_half_expects(grade) -> None:
    outcome = grade("lrn", STUDENTS / "lrn_forward_misfit.py", "--cases", "3")
    assert outcome.code == 1
    assert "could not use what your forward saved" in outcome.law("backward is the derivative")
    assert "lrn[window]'s, which expects saved : (x, y, s)" in outcome.law("backward is the derivative")


def test_a_lone_half_is_graded_beside_the_named_kernel(grade) -> None:
    source = (STUDENTS / "conv2d_right.py").read_text(encoding="utf-8")
    lone = patched(source[: source.index("def backward")] + source[source.index("def window") :], ("y, (xp, w, b is not None, (H, W))", "y, (x, w)"))
    outcome = grade("conv2d", lone, "--with", "direct", "--cases", "6")
    assert outcome.code == 0, outcome.out
    assert "backward: not in the file; conv2d[direct]'s was used" in outcome.out


def test_every_kernel_says_what_it_saves() -> None:
    silent = [str(k) for op in OPS.values() for k in op.kernels.values() if saved_description(k) == "saved : not described"]
    assert not silent


def test_everything_by_keyword_and_a_default_of_ones_own(grade) -> None:
    source = patched(LRN, ("def forward(x, n, alpha, beta, k, convention)", "def forward(x, *, gain=1.0, **a)"))
    source = patched(source, ('    alpha = alpha / n if convention == "pytorch" else alpha\n    s =', "    n, alpha, beta, k = a['n'], a['alpha'] / (a['n'] if a['convention'] == 'pytorch' else 1), a['beta'], a['k']\n    s ="))
    outcome = grade("lrn", source, "--cases", "5")
    assert outcome.code == 0, outcome.out
    assert "gain is no attribute of lrn: it kept its own default" in outcome.out


def test_json_says_the_same(grade) -> None:
    outcome = grade("conv2d", STUDENTS / "conv2d_overlap.py", "--json")
    told = json.loads(outcome.out)
    assert (told["op"], told["verdict"], told["exit_code"], outcome.code) == ("conv2d", "fail", 1, 1)
    assert (told["seed"], told["cases"], len(told["laws"])) == (0, check.CASES, EIGHT)
    assert "dilation=1, groups=1" in told["not_graded"][0]
    laws = {law["law"]: law for law in told["laws"]}
    found = laws["backward_is_the_derivative"]["counterexample"]
    assert found["problem"] == "x[N=1,C=1,H=1,W=1]  w[K=1,Cg=1,R=2,S=1]  padding=1"
    assert found["inputs"]["w"] == {"shape": [1, 1, 2, 1], "dtype": "float64", "values": [[[[1.5], [0.5]]]]}
    assert found["attributes"]["padding"] == [1, 1, 1, 1]
    assert found["came"]["dx"]["values"] == [[[[1.5]]]]
    assert laws["forward_is_the_definition"] == {
        "law": "forward_is_the_definition",
        "verdict": "ok",
        "message": "",
        "counterexample": None,
    }


# ---- what cannot be graded ---------------------------------------------------------------------------------------------

FORWARD = "def forward(x, w):\n    return x, ()\n"
UNGRADABLE = [  # (op, source or file, options, what is said)
    ("lrm", "", (), "there is no op 'lrm'; did you mean lrn"),
    ("conv2d", Path("nowhere.py"), (), "no file 'nowhere.py'"),
    ("conv2d", STUDENTS, (), "is no file"),
    ("conv2d", "x = 1\ndef forward(x, w, b=None, stride=1:\n", (), "student.py:2: SyntaxError: invalid syntax"),
    ("conv2d", "import numpy\nimport nothing_of_that_name\n", (), "student.py:2: ModuleNotFoundError"),
    ("conv2d", "convolve = 3\n", (), "has neither forward nor backward"),
    ("conv2d", FORWARD, ("--with", "fft"), "conv2d has no kernel 'fft' for --with; choose from im2col"),
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
    ("reshape", "def forward(x):\n    return x, ()\n", (), "none of 3000 problems of reshape fits it"),
]


@pytest.mark.parametrize(("op", "student", "options", "said"), UNGRADABLE, ids=[said[:40] for *_, said in UNGRADABLE])
def test_what_cannot_be_graded_is_said_in_one_line(grade, op: str, student: str | Path, options: tuple, said: str) -> None:
    outcome = grade(op, student, *options)
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.err.count("\n") == 1
    assert outcome.out == ""


def test_json_tells_what_cannot_be_graded(grade) -> None:
    told = json.loads(grade("conv2d", "convolve = 3\n", "--json").out)
    assert (told["exit_code"], told["verdict"], told["laws"]) == (2, "could not grade", [])
    assert "neither forward nor backward" in told["message"]


# ---- the template ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", OPS)
def test_every_template_is_python_with_both_halves(op: str, capsys: pytest.CaptureFixture) -> None:
    parser = argparse.ArgumentParser()
    check.add_arguments(parser)
    assert check.run(parser.parse_args([op, "--template"])) == 0
    names: dict = {}
    exec(compile(capsys.readouterr().out, "template.py", "exec"), names)
    assert callable(names["forward"])
    assert callable(names["backward"])


def test_a_template_that_nobody_filled_in_fails_in_its_own_words(grade, capsys: pytest.CaptureFixture) -> None:
    parser = argparse.ArgumentParser()
    check.add_arguments(parser)
    check.run(parser.parse_args(["conv2d", "--template"]))
    outcome = grade("conv2d", capsys.readouterr().out, "--cases", "2")
    assert outcome.code == 1
    assert "forward raised NotImplementedError: forward is yours to write" in outcome.law("forward is the definition")
