"""The documents are true: their Python runs, their commands exist, their links lead somewhere, their examples hold."""

from __future__ import annotations

import doctest
import importlib
import json
import pkgutil
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from pathlib import Path

import pytest

import minidl
from benchmarks import gpu_report, kernels, models, sizes, tables
from benchmarks.experiments import __main__ as experiments
from minidl import Tensor, cli, data, nn, optim
from minidl.op import OPS, separate_registry
from minidl.random import Stream, using_stream

ROOT = Path(__file__).parent.parent
PAGES = sorted(page for folder in ("*.md", "docs/**/*.md", "models/*.md", "benchmarks/*.md") for page in ROOT.glob(folder))
MAIN = "minidl.__main__"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)


def blocks(language: str) -> list:
    return [
        pytest.param(body, id=f"{page.relative_to(ROOT)}-{i}")
        for page in PAGES
        for i, (kind, body) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))
        if kind == language
    ]


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    kinds = {kind for page in PAGES for kind, _ in BLOCK.findall(page.read_text(encoding="utf-8"))}
    assert kinds <= {"python", ""}


@contextmanager
def nothing_registered() -> Iterator[None]:
    """Ops and kernels that an example registers are gone when it ends."""
    kept = {name: dict(op.kernels) for name, op in OPS.items()}
    try:
        with separate_registry():
            yield
    finally:
        for name, before in kept.items():
            OPS[name].kernels.clear()
            OPS[name].kernels.update(before)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_blocks_run(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with nothing_registered():
        exec(compile(code, "a block of the documents", "exec"), {"__name__": "block"})


@pytest.mark.parametrize("commands", blocks(""))
def test_commands_of_the_documents_are_understood(commands: str) -> None:
    """Every `minidl ...` line is parsed by the real command line; options that do not exist fail."""
    for line in commands.splitlines():
        for part in line.split("&&"):
            words = shlex.split(part.replace("$ ", "", 1), comments=True)
            if words and Path(words[0]).name == "minidl":
                cli.build_parser(words[1:]).parse_args(words[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


# ---- the examples in docstrings --------------------------------------------------------------------------------------

NAMES = {"__name__": "__main__", "minidl": minidl, "Tensor": Tensor, "data": data, "nn": nn, "optim": optim}  # they begin with
MODULES = ["minidl", *sorted(m.name for m in pkgutil.walk_packages(minidl.__path__, "minidl.") if m.name != MAIN)]
MODELS = sorted(f"models.{path.stem}" for path in (ROOT / "models").glob("*.py"))


def examples() -> Iterator[doctest.DocTest]:
    """Every docstring with a `>>>`, those of ops included: to doctest an op is a mere value, so it would pass them by."""
    for name in MODULES + MODELS:
        found = doctest.DocTestFinder().find(importlib.import_module(name), globs=NAMES)
        yield from (test for test in found if test.examples)
    for op in OPS.values():
        text = op.__doc__ or ""
        if text != importlib.import_module(op.definition.__module__).__doc__ and ">>>" in text:
            yield doctest.DocTestParser().get_doctest(text, NAMES, f"minidl.{op.name}", None, None)


EXAMPLES = list(examples())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_example_prints_what_it_says(example: doctest.DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner, said = doctest.DocTestRunner(verbose=False), []
    with nothing_registered(), using_stream(Stream(0)):
        runner.run(example, out=said.append)
    assert runner.failures == 0, "".join(said)


def test_no_example_is_passed_by() -> None:
    tested = {line for test in EXAMPLES for example in test.examples for line in example.source.splitlines()}
    for path in [*(ROOT / "minidl").rglob("*.py"), *(ROOT / "models").glob("*.py")]:
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.lstrip().startswith(">>> "):
                assert line.lstrip()[4:] in tested, f"{path.name}: {line}"


SHOWN = """
    Tensor Tensor.backward no_grad recompute gradcheck manual_seed random.random_bits
    conv2d max_pool2d lrn dropout batch_norm linear concat softmax_cross_entropy am_softmax
    nn.Module nn.Sequential nn.AMSoftmax optim.SGD optim.sgd optim.schedules optim.MultiStepLR optim.clip_grad_norm_
    data.digits data.DataLoader Op Op.using Kernel signature.Signature draw.Draw draw.Random
""".split()


@pytest.mark.parametrize("name", SHOWN)
def test_what_is_used_most_has_an_example(name: str) -> None:
    assert ">>> " in reduce(getattr, name.split("."), minidl).__doc__


def test_the_readme_has_the_two_commands() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert "minidl train" in commands[0]
    assert "pytest" in commands[1]


def test_figures_of_the_benchmarks_are_those_of_the_result_files() -> None:
    text = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")
    results = {p.stem: json.loads(p.read_text(encoding="utf-8")) for p in (ROOT / "benchmarks/results").glob("*.json")}
    for row in results["tape"]["rows"]:
        figures = " | ".join(f"{row[key]:.1f}" for key in ("forward_us", "alone_us", "backward_us", "kernel_forward_us"))
        assert f"| {row['op']} | {figures} |" in text
    for shifts, name in ((True, "with shifts"), (False, "without shifts")):
        rows = [row for row in results["main_job"]["rows"] if row["shifts"] is shifts]
        each = " / ".join(f"{100 * row['test_accuracy']:.2f}" for row in rows)
        mean = 100 * results["main_job"]["means"][name]["test_accuracy"]
        assert f"| {each} | {mean:.2f} | {max(row['wall_seconds'] for row in rows):.1f} |" in text
    for name in ("training_alexnet", "training_resnet20"):
        images, result = results[name]["images"], results[name]["result"]
        counts = " / ".join(str(images[key]) for key in ("train", "validation", "test"))
        accuracies = " | ".join(f"{100 * result[key]:.2f}" for key in ("val_accuracy", "test_accuracy"))
        model = results[name]["model"]["class"]
        assert f"| {model} | {counts} | {result['epochs']} | {result['best_epoch']} | {accuracies} |" in text


def test_tables_of_the_benchmarks_are_made_of_the_result_files() -> None:
    texts = [readme.read_text(encoding="utf-8") for readme in tables.READMES]
    assert {found[2] for text in texts for found in tables.MARKED.finditer(text)} == set(tables.TABLES)
    for text in texts:
        assert tables.renewed(text) == text, "run python -m benchmarks.tables"
        assert all(found[3].strip() for found in tables.MARKED.finditer(text)), "a result file is missing"


@pytest.mark.parametrize("commands", blocks(""))
def test_benchmark_commands_of_the_documents_are_understood(commands: str) -> None:
    """Every `python -m benchmarks.models ...` line is parsed by the command itself."""
    parsers = {"benchmarks.models": models.parser, "benchmarks.kernels": kernels.parser}
    parsers |= {"benchmarks.experiments": experiments.parser, "benchmarks.sizes": sizes.parser}
    parsers |= {"benchmarks.gpu_report": gpu_report.parser}
    for line in commands.splitlines():
        words = shlex.split(line, comments=True)
        if words[:2] == ["python", "-m"] and words[2] in parsers:
            parsers[words[2]]().parse_args(words[3:])
