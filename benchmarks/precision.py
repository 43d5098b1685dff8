"""The precision in which a benchmark computes, by name: `--precision float32|tf32|bf16`. One run, one precision, in every row.

    float32   IEEE: minidl's default; PyTorch with TF32 switched off for products and for convolutions, in so many words
    tf32      minidl.precision("tf32"); PyTorch with TF32 switched on for both
    bf16      minidl.precision("bf16"), where arrays stay float32; PyTorch under torch.autocast(dtype=torch.bfloat16), which is
              what its users would take: results of products are bfloat16 there, and so are the maps between layers

On the CPU minidl rounds the factors before a float32 product. That rehearses the command and gains nothing: no such figure says
anything of speed. PyTorch has no TF32 there.

Results are compared with a tolerance. In float32 it is what sums in another order come to. Below, a factor is off by half a
unit of its last place where it is rounded and by a whole one where a tensor core cuts it, and a result may be rounded once
more: of two rivals that do it differently each product is off by up to four units, of 2^-10 (tf32) or 2^-7 (bf16). Sums of many
products are off by less, for errors cancel. What is no product is float32 always, and is held to its tolerance.
"""

from __future__ import annotations

from minidl.modes import PRECISIONS

FULL = "float32"
NAMES = tuple(PRECISIONS)
UNITS = 4  # of the last place of a factor
RESULT = 1e-3  # of the largest: float32 sums of many terms, in another order
LOSS = 1e-4  # of the loss


def of_results(precision: str, products: bool) -> float:
    """The part of the largest by which two kernels' results may differ."""
    return max(RESULT, UNITS * 2.0 ** -PRECISIONS[precision]) if products else RESULT


def of_losses(precision: str) -> float:
    """The part of a first loss by which two rivals may differ: a unit, for the errors of all layers and images cancel."""
    return max(LOSS, 2.0 ** -PRECISIONS[precision])


def told(precision: str, device: str) -> str:
    """A line for the head of a table."""
    torch = {"float32": "TF32 off", "tf32": "TF32 on", "bf16": "torch.autocast(bfloat16)"}[precision]
    line = f"precision {precision}: minidl.precision({precision!r}); PyTorch with {torch}"
    rehearsal = precision != FULL and device == "cpu"
    return f"{line}. On the CPU this is a rehearsal: factors are rounded first, and nothing is gained" if rehearsal else line
