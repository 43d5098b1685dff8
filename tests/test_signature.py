"""The signature string: what it accepts, and the errors it writes."""

from __future__ import annotations

import pytest

from minidl.signature import ShapeError, Signature

CONV = Signature("x[N,C,H,W] w[K,Cg,R,S] b[K]? -> y[N,K,P,Q]")


def test_names_are_bound_and_optional_inputs_may_be_missing() -> None:
    sizes = CONV.bind("conv2d", ((2, 3, 5, 5), (4, 3, 1, 2), None))
    assert (sizes["N"], sizes["Cg"], sizes["K"], sizes["S"]) == (2, 3, 4, 2)


@pytest.mark.parametrize(
    ("signature", "shapes", "message"),
    [
        ("x[N,D] w[K,D] -> y[N,K]", ((2, 3), (5, 4)), r"op: w has D=4 but x has D=3  \(x \[2,3\], w \[5,4\]\)"),
        (
            "x[N,C,H,W] -> y[N,C,H,W]",
            ((3, 5, 5),),
            r"op: x\[N,C,H,W\] expects 4 dimensions, got 3; .* x\[None\]  \(x \[3,5,5\]\)",
        ),
        ("x[N,C,...] -> y[N,C,...]", ((3,),), r"op: x\[N,C,\.\.\.\] expects at least 2 dimensions, got 1"),
        ("x[N,C] -> y[N,C]", ((0, 4),), r"op: x\[N,C\] is empty, N=0; give at least one  \(x \[0,4\]\)"),
        ("key[N,2]:key x[N,D] -> y[N,D]", ((4, 3), (4, 5)), r"op: key\[N,2\] expects size 2, got 3"),
    ],
)
def test_errors_name_the_dimension_and_all_shapes(signature: str, shapes: tuple, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        Signature(signature).bind("op", shapes)


def test_the_output_shape_follows_from_named_dimensions() -> None:
    assert Signature("x[N,...,D] w[K,D] -> y[N,...,K]").output_shape("op", ((2, 7, 8, 3), (5, 3))) == (2, 7, 8, 5)
    assert Signature("x[N,C] -> loss[]").output_shape("op", ((2, 7),)) == ()


@pytest.mark.parametrize("text", ["x[N]", "x[N -> y[N]", "-> y[N]", "x[N] -> y[N] z[N]"])
def test_a_malformed_signature_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="signature"):
        Signature(text)


def test_aux_outputs_stand_after_the_semicolon() -> None:
    s = Signature("x[N,C] -> y[N,C]; mean[C] var[C]")
    assert [str(o) for o in s.aux] == ["mean[C]", "var[C]"]
