"""What loading weights finds: which names and shapes fit, and the words for what does not.

missing      the model has the name, the weights have not
unexpected   the weights have it, the model has not
wrong shape  both have it, and the shapes differ
head         a part that may start anew: it lacks no more than the right number of classes
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from minidl.signature import Shape, brackets

Shapes = Mapping[str, Shape]


class WrongShape(NamedTuple):
    """A name that both sides have, with the model's shape and the other."""

    name: str
    expected: Shape
    got: Shape

    def __str__(self) -> str:
        return f"{shown(self.name)} expects {brackets(self.expected)}, got {shown(brackets(self.got))}"

    def may_be_classes(self) -> bool:
        """Is it the first size alone that differs, where layers have their outputs, and heads their classes?"""
        return len(self.expected) == len(self.got) > 0 and self.expected[1:] == self.got[1:]


@dataclass
class Loaded:
    """What was loaded into a model, and what was not; print it to read it.

    model            the model's class
    loaded_keys      names whose values were replaced
    missing_keys     names that kept their values, for the weights have none for them
    unexpected_keys  names of the weights that the model has not
    wrong_shapes     (name, expected, got) of names that kept their values for their shape, in heads that start anew
    anew             head -> why it kept its fresh values
    notes            what else a reader of the result should know: casts, renamings, what shapes cannot tell

    As in PyTorch, it unpacks into two: `missing, unexpected = model.load_state_dict(state, strict=False)`.
    """

    model: str
    loaded_keys: list[str]
    missing_keys: list[str]
    unexpected_keys: list[str]
    wrong_shapes: list[WrongShape]
    anew: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[list[str]]:
        return iter((self.missing_keys, self.unexpected_keys))

    def misfits(self, strict: bool = True) -> list[str]:
        """What speaks against loading, a few words for each kind; shapes always do, names where all must match."""
        kinds: dict[str, list] = {
            "missing": self._missing() if strict else [],
            "unexpected": self.unexpected_keys if strict else [],
            "wrong shape": [wrong for wrong in self.wrong_shapes if not inside(wrong.name, self.anew)],
        }
        return [f"{kind}: {some(found, 3 if kind == 'wrong shape' else 5)}" for kind, found in kinds.items() if found]

    def __str__(self) -> str:
        lines = [f"{len(self.loaded_keys):,} arrays loaded into {self.model}"]
        lines += [f"{shown(head)} starts anew: {why}" for head, why in self.anew.items()]
        lines += [f"not in the weights, left as they were: {some(missing)}"] if (missing := self._missing()) else []
        lines += [f"not in {self.model}, left out: {some(self.unexpected_keys)}"] if self.unexpected_keys else []
        return "\n".join(lines + self.notes)

    def _missing(self) -> list[str]:
        return [name for name in self.missing_keys if not inside(name, self.anew)]


def compare(model: str, ours: Shapes, theirs: Shapes, heads: Iterable[str] = ()) -> Loaded:
    """Match the names and shapes of a model with those of some weights; nothing is read or changed."""
    missing = [n for n in ours if n not in theirs and not n.endswith("num_batches_tracked")]  # old files lack the count
    unexpected = [name for name in theirs if name not in ours]
    wrong = [WrongShape(n, shape, theirs[n]) for n, shape in ours.items() if n in theirs and theirs[n] != shape]
    anew = {head: why for head in heads if (why := _why_anew(head, missing, wrong))}
    loaded = [n for n, shape in ours.items() if theirs.get(n) == shape and not inside(n, anew)]
    return Loaded(model, loaded, missing, unexpected, wrong, anew)


def _why_anew(head: str, missing: list[str], wrong: list[WrongShape]) -> str | None:
    """Why a head keeps its fresh values; None where it fits, or where more than its number of classes is wrong."""
    lacking = [name for name in missing if inside(name, [head])]
    misfits = [found for found in wrong if inside(found.name, [head])]
    if not all(found.may_be_classes() for found in misfits):
        return None
    if misfits:
        _, expected, got = misfits[0]
        return f"{got[0]} classes in the file, {expected[0]} here"
    return f"the file lacks {some(lacking)}" if lacking else None


def inside(name: str, parts: Iterable[str]) -> bool:
    """Is this dotted name one of the parts, or in one of them? layer10.0 is not in layer1."""
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def some(found: list, most: int = 5) -> str:
    """The first few, and how many more."""
    more = f" and {len(found) - most:,} more" if len(found) > most else ""
    return ", ".join(shown(str(one)) for one in found[:most]) + more


def shown(text: str, most: int = 160) -> str:
    """Text from a file as a terminal may see it: no control characters, not endless."""
    text = text if len(text) <= most else f"{text[:most]}..."
    return text if text.isprintable() else ascii(text)
