"""A model is a file: `models/lenet.py`, or `my_net.py:Net` where the file holds several.

    class Net(nn.Module):
        input_shape = (1, 32, 32)               # C, H, W: images are resized and normalised to it
        def __init__(self, classes=10): ...
        def forward(self, x): ...               # x [N, C, H, W] -> scores [N, classes]
        def loss(self, out, labels): ...        # optional, instead of softmax cross-entropy
        def predict(self, out): ...             # optional: scores [N, classes], or class numbers [N]

    default = Net                               # which class `my_net.py` means, where the file holds several

Further keywords of the constructor are the model's options (`--set size=64`). An instance may set an `input_shape` of its own.

The file is the user's own code and is run by importing it, as `python my_net.py` would. It may import files beside it.
"""

from __future__ import annotations

import inspect
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, cast

from minidl import nn
from minidl.modes import shapes_only


class Model(nn.Module):
    """The contract for type checkers; no model needs to derive from it."""

    input_shape: tuple[int, int, int]

    def __init__(self, classes: int = 10) -> None: ...


class ModelFile(NamedTuple):
    """A model class, the file it came from, every file of that folder that it needed, and the options to build it with."""

    path: Path
    cls: type[Model]
    files: tuple[Path, ...]
    options: dict[str, Any]

    @property
    def name(self) -> str:
        """The class's name: LeNet5."""
        return self.cls.__name__

    def build(self, classes: int | None = None) -> Model:
        """A new model with its weights drawn from the stream; without `classes`, with as many as the class says itself."""
        model = self.cls(**self.options, **({} if classes is None else {"classes": classes}))
        _check_input_shape(model, f"{self.path}:{self.name}")
        return model

    def input_shape(self) -> tuple[int, int, int]:
        """What the model reads when built with these options; known before its classes are."""
        with shapes_only():
            return self.build(classes=10).input_shape


def load(text: str, options: Mapping[str, Any] | None = None) -> ModelFile:
    """The model that `file.py` or `file.py:Class` names; ValueError with the file's line where it is broken.

    options  keywords of the constructor: numbers, text, True, False, None, and tuples (or lists) of these
    """
    match = re.fullmatch(r"(?P<path>.+?)(?::(?P<name>\w+))?", text)
    if match is None:
        raise ValueError("expected a model file such as models/lenet.py or my_net.py:Net, got an empty name")
    path = _existing(Path(match["path"]))
    module, files = _import(path)
    cls = _named(module, path, match["name"]) if match["name"] else _only(module, path)
    _check_contract(cls, path)
    return ModelFile(path, cast(type[Model], cls), files, _checked_options(cls, path, options or {}))


def line_of(error: BaseException, folder: Path) -> str | None:
    """Where in the user's folder an error arose: 'my_net.py:23', or None if its traceback does not pass there."""
    folder = folder.resolve()
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.suffix == ".py" and file.resolve().parent == folder:
            return f"{frame.filename}:{frame.lineno}"
    return line_of(error.__cause__, folder) if error.__cause__ else None


def _existing(path: Path) -> Path:
    if path.suffix != ".py":
        with_suffix = path.with_name(path.name + ".py")
        hint = f"; did you mean {with_suffix}?" if with_suffix.is_file() else ""
        raise ValueError(f"{path}: a model is a Python file, such as models/lenet.py or my_net.py:Net{hint}")
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*.py"))[:8] if path.parent.is_dir() else []
        hint = f"; {path.parent}/ has {', '.join(near)}" if near else f"; the working folder is {Path.cwd()}"
        raise FileNotFoundError(f"{path}: no such model file{hint}")
    return path


def _import(path: Path) -> tuple[ModuleType, tuple[Path, ...]]:
    """The file as a module (never from a stale .pyc), and the files of its folder that it imported."""
    module = ModuleType(f"minidl_model_{path.stem}")
    module.__file__ = str(path)
    try:
        code = compile(path.read_bytes(), str(path), "exec")
        sys.modules[module.__name__] = module  # dataclasses and pickling look a class's module up
        with _importing_from(path.parent) as beside:
            exec(code, module.__dict__)
    except SyntaxError as error:
        place = f"{error.filename or path}:{error.lineno or 1}"
        raise ValueError(f"{place}: {error.msg}; the model file is not valid Python") from error
    except (Exception, SystemExit) as error:
        where = line_of(error, path.parent) or path
        raise ValueError(f"{where}: importing the model file failed: {type(error).__name__}: {error}") from error
    return module, (path, *beside)


@contextmanager
def _importing_from(folder: Path) -> Iterator[list[Path]]:
    """Modules beside the model file can be imported inside the block; then they are forgotten, since the next model
    file may have its own `blocks.py`. Yields the list of their files."""
    before, files, folder = set(sys.modules), list[Path](), folder.resolve()
    wrote, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, str(folder))
    try:
        yield files
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = wrote
        for name in sorted(set(sys.modules) - before):
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).resolve().parent == folder and not name.startswith("minidl_model_"):
                files.append(Path(file))
                del sys.modules[name]


def _named(module: ModuleType, path: Path, name: str) -> type[nn.Module]:
    found = getattr(module, name, None)
    if found is None:
        models = ", ".join(_module_classes(module)) or "no class derived from minidl.nn.Module"
        raise ValueError(f"{path}: no class {name!r} in this file; it holds {models}")
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(f"{path}:{name}: expected a class derived from minidl.nn.Module, got {type(found).__name__} {name}")
    return found


def _only(module: ModuleType, path: Path) -> type[nn.Module]:
    classes = _module_classes(module)
    default = getattr(module, "default", None)
    if isinstance(default, type) and issubclass(default, nn.Module):
        return default
    models = [cls for cls in classes.values() if hasattr(cls, "input_shape")]
    if len(models) == 1:
        return models[0]
    if models:
        choices = ", ".join(f"{path}:{cls.__name__}" for cls in models)
        raise ValueError(f"{path}: holds {len(models)} models, say which: {choices}")
    if not classes:
        raise ValueError(f"{path}: holds no model; expected a class derived from minidl.nn.Module")
    for cls in classes.values():
        _check_one_input(cls, path)
    raise ValueError(f"{path}: {', '.join(classes)} has no input_shape; write `input_shape = (C, H, W)` in the model's class")


def _module_classes(module: ModuleType) -> dict[str, type[nn.Module]]:
    """The Module classes that this very file defines, public ones only."""
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, nn.Module)
        if value.__module__ == module.__name__ and not name.startswith("_")
    }


def _check_contract(cls: type[nn.Module], path: Path) -> None:
    who = f"{path}:{cls.__name__}"
    _check_one_input(cls, path)
    if getattr(cls, "input_shape", None) is None:
        raise ValueError(f"{who}: the class has no input_shape; write `input_shape = (C, H, W)` in it")
    _check_input_shape(cls, who)
    keywords, any_other = _keywords(cls)
    if "classes" not in keywords and not any_other:
        raise ValueError(f"{who}: the constructor has no keyword `classes`; write `def __init__(self, classes=10)`")


def _check_one_input(cls: type[nn.Module], path: Path) -> None:
    """ValueError for a `forward` that cannot be called with images alone."""
    parameters = list(inspect.signature(cls.forward).parameters.values())[1:]
    inputs = [p.name for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(inputs) > 1:
        several = f"{cls.__name__}.forward has {len(inputs)} inputs, {', '.join(inputs)}"
        raise ValueError(f"{path}: {several}; a model with several inputs is run by its own script, python {path}")


def _check_input_shape(model: Any, who: str) -> None:
    shape = model.input_shape
    if not (isinstance(shape, tuple) and len(shape) == 3 and all(type(size) is int and size > 0 for size in shape)):
        raise ValueError(f"{who}: input_shape must be three positive integers (C, H, W), got {shape!r}")


def _keywords(cls: type[nn.Module]) -> tuple[list[str], bool]:
    """The constructor's keywords, its base classes' where it takes `**options` for them; and whether it takes any others."""
    names: list[str] = []
    constructors = [vars(base)["__init__"] for base in cls.__mro__ if base is not object and "__init__" in vars(base)]
    for constructor in constructors:
        parameters = list(inspect.signature(constructor).parameters.values())[1:]
        names += [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in names]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return names, False
    return names, bool(constructors)


def _checked_options(cls: type[nn.Module], path: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as the constructor gets them: the same from the command line and from a run's JSON."""
    keywords, any_other = _keywords(cls)
    rest, who = [name for name in keywords if name != "classes"], f"{path}:{cls.__name__}"
    for name in options:
        if name == "classes":
            raise ValueError(f"{who}: the number of classes is no option; use --classes")
        if name not in keywords and not any_other:
            raise ValueError(f"{who}: the constructor has no keyword {name!r}; its options are {', '.join(rest) or 'none'}")
    return {name: _plain(f"{who}: option {name}", value) for name, value in options.items()}


def _plain(who: str, value: Any) -> Any:
    """A value that JSON can hold; lists, which JSON makes of tuples, as tuples again."""
    if isinstance(value, tuple | list):
        return tuple(_plain(who, item) for item in value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"{who} must be a number, text, True, False, None or a tuple of these, got {value!r}")
