"""`minidl check`: what it says of right, wrong and half-written files, and of files that it cannot grade."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from graded import LAWS, LRN, STUDENTS, grade, patched

import minidl  # noqa: F401  (declares every op)
from minidl.grader import worker
from minidl.op import OPS, Kernel

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
def test_a_right_file_passes_and_is_told_what_was_not_graded(op: str, name: str, notes: tuple) -> None:
    outcome = grade(op, STUDENTS / name, "--cases", "12")
    assert outcome.code == 0, outcome.out
    assert "FAIL" not in outcome.out
    assert "PASS: of 8 laws" in outcome.out
    assert ("Not graded" in outcome.out) == bool(notes)
    for note in notes:
        assert note in " ".join(outcome.out.split())


def test_grading_leaves_the_students_folder_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    (tmp_path / "helper.py").write_text("half = 0.5\n", encoding="utf-8")
    source = patched(
        LRN,
        ('right."""', 'right."""\n\nfrom helper import half'),
        ("s**-beta\n    return y", "s**-beta * (2 * half)\n    return y"),
    )
    (tmp_path / "student.py").write_text(source, encoding="utf-8")
    assert grade("lrn", tmp_path / "student.py", "--cases", "2").code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"helper.py", "student.py"}


def kernels_as_files() -> list:
    few = {"conv2d", "getitem", "concat", "batch_norm", "dropout", "argmax", "am_softmax"}
    every = [kernel for op in OPS.values() for kernel in op.kernels.values()]
    chosen = {str(kernel): kernel for kernel in every if kernel.op.name in few and kernel.name == kernel.op.default}
    return [pytest.param(k, id=str(k), marks=() if str(k) in chosen else pytest.mark.nightly) for k in every]


@pytest.mark.parametrize("kernel", kernels_as_files())
def test_minidls_own_kernels_pass_as_files(kernel: Kernel) -> None:
    source = (
        f"from minidl.op import OPS\nimport minidl\nkernel = OPS[{kernel.op.name!r}].kernels[{kernel.name!r}]\n"
        f"forward, backward, half = kernel.forward, kernel.backward, {kernel.half}\n"
    )
    outcome = grade(kernel.op.name, source, "--cases", "6")
    assert outcome.code == 0, outcome.out
    assert "the file imports minidl" in outcome.out


def test_on_another_array_library_the_child_computes_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
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
    (
        "    y = x * s**-beta\n",
        "    y = (x.ravel('K') * (s**-beta).ravel('K')).reshape(x.shape)\n",
        "strides",
        "x lies in memory",
    ),
    ("    y = x * s**-beta\n", "    y = x * s**-beta * (x > -9).astype(float)\n", "float types", "y is float64 for float32"),
    ("    y = x * s**-beta\n", "    y = x * s**-beta - x.mean(0)\n", "batches are independent", "in two parts of the batch"),
    ("    return y, (x, y, s)", "    return y", "forward is the definition", "must return (y, saved), got an array"),
    ("    return y, (x, y, s)", "    y, (x, y, s)", "forward is the definition", "must return (y, saved), got None"),
    ("    return (dy * s", "    (dy * s", "backward is the derivative", "one gradient per input, got NoneType"),
    ("    return y, (x, y, s)", "    return y.astype('float32'), (x, y, s)", "forward is", "y is float32 for float64 inputs"),
    ("    return y, (x, y, s)", "    return y, (x, y)", "backward is the derivative", "student.py:20: x, y, s = saved"),
    ("    return y, (x, y, s)", "    return y > 0, (x, y, s)", "forward is the definition", "floating-point numbers, got bool"),
    ("    return y, (x, y, s)", "    return y, (x, y, lambda: s)", "forward is the definition", "saved[2] is a function"),
    ("window_sum(dy * y / s, n),)", "window_sum(dy * y / s, n))", "backward is the derivative", "return a tuple"),
    (
        "window_sum(dy * y / s, n),)",
        "window_sum(dy * y / s, n), dy)",
        "backward is the derivative",
        "1 gradients, one per input",
    ),
    (
        "    x, y, s = saved\n",
        "    x, y, s = saved\n    assert len(x) < 2\n",
        "backward is the derivative",
        "raised AssertionError",
    ),
]


@pytest.mark.parametrize(("old", "new", "law", "words"), WRONG, ids=[new.strip()[:40] for _, new, _, _ in WRONG])
def test_a_mistake_breaks_its_law_and_is_explained(old: str, new: str, law: str, words: str) -> None:
    outcome = grade("lrn", patched(LRN, (old, new)), "--cases", "12")
    assert words in outcome.law(law), outcome.out
    assert outcome.code == 1
    assert max(len(line) for line in outcome.out.splitlines() if str(STUDENTS.anchor) not in line) <= 100  # paths may be long


def test_float16_is_asked_of_a_file_that_claims_it() -> None:
    weak = patched(LRN, ("    y = x * s**-beta\n", "    y = x * s**-beta + (x.dtype == 'float16')\n"))
    assert grade("lrn", weak, "--cases", "3").code == 0
    claims = patched(weak, ("def window_sum", "half = True\n\n\ndef window_sum"))
    assert "y in float16 at" in grade("lrn", claims, "--cases", "3").law("float types")


def test_a_wrong_gradient_is_shown_on_the_smallest_problem_with_its_numbers() -> None:
    outcome = grade("conv2d", STUDENTS / "conv2d_overlap.py", "--cases", "4")
    told = outcome.law("backward is the derivative")
    assert outcome.code == 1
    assert "x[N=1,C=1,H=1,W=1] w[K=1,Cg=1,R=2,S=1] padding=1 (shrunk from seed 1 in" in told  # two windows see one pixel
    assert "dx: element [0,0,0,0] is 1.5, the measured derivative is 2.25 (0.6667 times what it should be)" in told
    assert "dx came [[[[1.5]]]] expected [[[[2.25]]]]" in told
    assert "dw" not in told  # that one is right
    assert "The law: backward(dy) is J^T dy" in told
    assert outcome.out.count("FAIL  ") == 1


def test_the_document_shows_what_is_printed() -> None:
    page = (STUDENTS.parent.parent / "docs/checking-kernels.md").read_text(encoding="utf-8")
    example = " ".join(re.search(r"^    FAIL  .*\n(?:     .*\n)+", page, re.MULTILINE)[0].split())
    assert example in " ".join(grade("conv2d", STUDENTS / "conv2d_overlap.py", "--cases", "4").out.split())


def test_the_first_counterexample_is_found_again_alone() -> None:
    whole = grade("conv2d", STUDENTS / "conv2d_overlap.py", "--cases", "4")
    assert whole.out.endswith("conv2d_overlap.py --seed 1 --cases 1\n")
    alone = grade("conv2d", STUDENTS / "conv2d_overlap.py", "--seed", "1", "--cases", "1")
    assert alone.law("backward is") == whole.law("backward is")


def test_the_same_seed_prints_the_same() -> None:
    assert grade("lrn", STUDENTS / "lrn_cheats.py").out == grade("lrn", STUDENTS / "lrn_cheats.py").out


def test_one_mistake_is_explained_once() -> None:
    outcome = grade("lrn", patched(LRN, ("    y = x * s**-beta\n", "    y = x * undefined\n")), "--cases", "3")
    assert outcome.out.count("NameError") == 1
    assert outcome.out.count("the same mistake as 'forward is the definition'") == LAWS - 2  # all but the library's


def test_an_argument_changed_in_place_is_seen_whatever_the_law() -> None:
    told = grade("lrn", STUDENTS / "lrn_in_place.py", "--cases", "5").law("arguments are left alone")
    assert told.startswith("FAIL arguments are left alone x[N=1,C=1,H=1,W=1]")
    assert "backward changed dy in place" in told


def test_changes_that_no_law_sees_break_one_too() -> None:
    pops = patched(LRN, ("y, (x, y, s)", "y, [x, y, s]"), ("x, y, s = saved", "x, y, s = (saved.pop(0) for _ in 'xys')"))
    assert "changed a list or a dict" in grade("lrn", pops, "--cases", "3").law("arguments")
    reuses = patched(
        LRN,
        ('right."""', 'right."""\n\nimport numpy as np\n\nbuffer = {}'),
        ("    y = x", "    y = buffer.setdefault((x.shape, x.dtype), np.empty_like(x))\n    y[...] = x"),
    )
    assert "wrote over an array that its last call returned" in grade("lrn", reuses, "--cases", "3").law("arguments")


def test_json_says_the_same() -> None:
    outcome = grade("conv2d", STUDENTS / "conv2d_overlap.py", "--cases", "4", "--json")
    told = json.loads(outcome.out)
    assert (told["op"], told["verdict"], told["exit_code"], outcome.code) == ("conv2d", "fail", 1, 1)
    assert (told["seed"], told["cases"], len(told["laws"])) == (0, 4, LAWS)
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
