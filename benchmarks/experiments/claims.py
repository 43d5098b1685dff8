"""What the paper prints: top-1 accuracies in per cent of v1, v2, v3 and v4, on data of its own.

    Shaikh, Sharma, Chouhan, Mahawar 2020, "Alpha-Net: Architecture, Models, and Applications", arXiv 2007.07221.

They are here to be compared with, never to be reached: the data are not public. So only differences between columns are
compared, their sign and their size.
"""

from __future__ import annotations

from collections.abc import Sequence

VERSIONS = ("v1", "v2", "v3", "v4")

CLAIMED: dict[str, dict[str, tuple[float, ...]]] = {
    "structure": {
        "plain": (75.1, 76.2, 76.3, 72.1),
        "residual": (78.2, 76.3, 76.5, 76.1),
        "alpha": (79.0, 79.2, 79.5, 77.5),
    },
    "loss": {
        "softmax": (72.1, 71.3, 72.1, 71.2),
        "AM": (74.3, 74.3, 74.3, 73.1),
        "AM + linear": (76.2, 77.1, 77.2, 75.1),
    },
    "normalisation": {
        "log": (69.2, 69.5, 70.1, 71.2),
        "z-score": (71.2, 70.1, 70.1, 69.5),
        "alpha": (71.0, 71.2, 71.5, 70.5),
    },
}
ABSTRACT = (78.2, 79.1, 79.5, 78.3)
OVER_RESNET50 = 3.0  # 'approx. 3%', of v3 over ResNet-50, in the abstract


def claimed(table: str, row: str, column: str) -> float | None:
    """The paper's figure for one of its four nets, None for any other."""
    columns = CLAIMED.get(table, {})
    return columns[column][VERSIONS.index(row)] if column in columns and row in VERSIONS else None


def claimed_difference(table: str, column: str, other: str, rows: Sequence[str]) -> float | None:
    """The mean of column - other over those of the rows that the paper has, over all four where it has none of them;
    None for a column that is not the paper's."""
    if table == "earlier":
        return OVER_RESNET50 if other == "earlier" else None
    columns = CLAIMED[table]
    if not {column, other} <= columns.keys():
        return None
    which = [VERSIONS.index(row) for row in rows if row in VERSIONS] or range(len(VERSIONS))
    each = [columns[column][i] - columns[other][i] for i in which]
    return sum(each) / len(each)


def disagreement() -> str:
    """Where the paper contradicts itself, in a sentence."""
    best = {table: [max(column[i] for column in columns.values()) for i in range(4)] for table, columns in CLAIMED.items()}
    parts = [f"its abstract gives {_four(ABSTRACT)}"]
    parts += [f"its table of {table} at best {_four(figures)}" for table, figures in best.items()]
    return f"The paper's own tables disagree: of v1, v2, v3 and v4 {', '.join(parts[:-1])} and {parts[-1]} per cent."


def _four(figures: Sequence[float]) -> str:
    return " / ".join(f"{figure:.1f}" for figure in figures)
