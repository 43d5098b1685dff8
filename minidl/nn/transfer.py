"""Transfer learning: freeze what was learnt elsewhere, and train the rest.

>>> class Net(nn.Module):
...     def __init__(self, classes=1000):
...         self.features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
...         self.fc = nn.Linear(8, classes)
...     def forward(self, x):
...         return self.fc(self.features(x).mean(axis=(2, 3)))
>>> nn.save_weights(Net(), "thousand.safetensors")  # a net that knows 1000 classes
>>> nn.heads(Net)
['fc']
>>> net = Net(classes=6)
>>> print(nn.load_weights(net, "thousand.safetensors", heads=nn.heads(Net)))
7 arrays loaded into Net
fc starts anew: 1000 classes in the file, 6 here
>>> nn.freeze(net, "features")
>>> [name for name, p in net.named_parameters() if p.requires_grad]
['fc.weight', 'fc.bias']

A frozen part is a fixed function: its parameters want no gradient, and it stays in evaluation mode when the model around it is
set to training. So its batch norms use their stored statistics, and leave them as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from minidl.modes import shapes_only
from minidl.nn.loaded import inside, shown, some
from minidl.nn.module import Module, Parameter


def freeze(model: Module, *parts: str | list[str]) -> None:
    """Keep parts of the model, by dotted names such as "features" or "layer1.0", as they are; one name at least, or a list.

    Give an optimiser the rest: `[p for p in model.parameters() if p.requires_grad]`.
    """
    found = parts_of(model, "freeze", _flat(parts))
    if not found:
        there = [name for name, _ in (*model.named_children(), *model.named_parameters()) if "." not in name]
        raise ValueError(f"freeze: name the parts to keep as they are; {type(model).__name__} has {some(there, 24)}")
    _set_frozen(True, model, found, training=False)


def unfreeze(model: Module, *parts: str | list[str]) -> None:
    """Train these parts again, all of the model without names: the second phase, when the head has been learnt."""
    _set_frozen(False, model, parts_of(model, "unfreeze", _flat(parts)), training=model.training)


def heads(build: Callable[[int], Module], classes: int = 10) -> list[str]:
    """Names of the parts whose size is the number of classes, found by building the model twice, without numbers.

    build  gives a model for a number of classes: a model's class, or `lambda n: ResNet50(n, version="v1")`
    """
    if isinstance(build, Module) or not callable(build):
        kind = type(build).__name__
        came = f"the object {kind}(...); write heads({kind})" if isinstance(build, Module) else kind
        raise TypeError(f"heads: expected a model's class, or a function of the number of classes, got {came}")
    with shapes_only():
        models = [build(n) for n in (classes, classes + 1)]
    if not isinstance(models[0], Module):
        raise TypeError(f"heads: expected a function that gives a model, got a {type(models[0]).__name__} from it")
    one, other = ({name: t.shape for name, t in model._tensors()} for model in models)
    names = [name for name, shape in one.items() if other.get(name) != shape]
    return list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))


def parts_of(model: Module, who: str, parts: Iterable[str]) -> list[str]:
    """The names, if each is a module, parameter or buffer inside the model; otherwise a ValueError that lists some that are."""
    if not isinstance(model, Module):
        raise TypeError(f"{who}: expected a model, got {type(model).__name__}; write nn.{who}(model, ...)")
    parts, there = list(parts), [name for name, _ in (*model._modules(""), *model._tensors()) if name]
    for part in parts:
        if part not in there:
            within = str(part).rpartition(".")[0]
            level = f"{within}." if within in there else ""
            near = [name for name in there if name.startswith(level) and "." not in name.removeprefix(level)]
            raise ValueError(f"{who}: {type(model).__name__} has no part {shown(repr(part))}; it has {some(near, 24)}")
    return parts


def _flat(parts: Iterable[str | list[str]]) -> list[str]:
    """Names, those in lists among them."""
    return [name for part in parts for name in (part if isinstance(part, list) else [part])]


def _set_frozen(frozen: bool, model: Module, parts: list[str], training: bool) -> None:
    for name, module in model._modules(""):  # under all its names: what two parts share is frozen with either
        if not parts or inside(name, parts):
            module.frozen, module.training = frozen, training
    for name, tensor in model._tensors():
        if isinstance(tensor, Parameter) and (not parts or inside(name, parts)):
            tensor.requires_grad = not frozen
