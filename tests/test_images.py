"""Resizing, and images from files: whole, odd and broken."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from minidl import data
from minidl.extras import install

# ---- resizing ---------------------------------------------------------------------------------------------------------------


def bilinear_in_loops(x: np.ndarray, H: int, W: int) -> np.ndarray:
    """Enlarging by the definition: the four neighbours of each output pixel's centre, edges repeated."""
    y = np.empty((H, W))
    for p in range(H):
        for q in range(W):
            h = min(max((p + 0.5) * x.shape[0] / H - 0.5, 0), x.shape[0] - 1)
            w = min(max((q + 0.5) * x.shape[1] / W - 0.5, 0), x.shape[1] - 1)
            top, left = int(h), int(w)
            bottom, right = min(top + 1, x.shape[0] - 1), min(left + 1, x.shape[1] - 1)
            upper = x[top, left] * (1 - (w - left)) + x[top, right] * (w - left)
            lower = x[bottom, left] * (1 - (w - left)) + x[bottom, right] * (w - left)
            y[p, q] = upper * (1 - (h - top)) + lower * (h - top)
    return y


@given(st.tuples(*[st.integers(1, 7)] * 2), st.tuples(*[st.integers(0, 9)] * 2), st.integers(0, 99))
def test_enlarging_is_bilinear_with_half_pixel_centres(size, more, seed):
    x = np.random.default_rng(seed).random(size, np.float32)
    H, W = size[0] + more[0], size[1] + more[1]
    y = data.resize(x, (H, W))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, bilinear_in_loops(x, H, W), atol=1e-6)


@given(st.tuples(*[st.integers(1, 40)] * 4), st.integers(0, 99))
def test_resizing_agrees_with_pillow(sizes, seed):
    H, W, P, Q = sizes
    x = np.random.default_rng(seed).random((H, W), np.float32)
    theirs = Image.fromarray(x).resize((Q, P), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(data.resize(x, (P, Q)), np.asarray(theirs), atol=1e-6)


@pytest.mark.parity
def test_resizing_agrees_with_pytorch():
    torch = pytest.importorskip("torch", reason="parity tests need torch==2.13.0")
    x = data.digits().test.images[:5]
    for size in [(32, 32), (12, 29), (8, 8), (5, 3)]:
        theirs = torch.nn.functional.interpolate(torch.tensor(x), size, mode="bilinear", align_corners=False, antialias=True)
        np.testing.assert_allclose(data.resize(x, size), theirs.numpy(), atol=1e-6)


# ---- images from files ------------------------------------------------------------------------------------------------------


def saved(folder: Path, image: Image.Image, name: str = "image.png", **options) -> Path:
    image.save(folder / name, **options)
    return folder / name


def test_a_digit_saved_as_a_picture_is_read_back(tmp_path):
    pixels = data.digits().test.images[7, 0]
    path = saved(tmp_path, Image.fromarray(np.round(pixels * 255).astype(np.uint8)))
    read = data.read_image(path, size=(32, 32), channels=1)
    assert (read.shape, read.dtype) == ((1, 32, 32), np.float32)
    np.testing.assert_allclose(read[0], data.resize(pixels, (32, 32)), atol=0.5 / 255 + 1e-6)
    assert np.array_equal(data.read_image(path, size=(32, 32), channels=4), read.repeat(4, axis=0))


def test_colour_stays_colour_or_becomes_grey(tmp_path):
    path = saved(tmp_path, Image.new("RGB", (5, 4), (255, 0, 51)))
    assert data.read_image(path, size=(4, 5), channels=3)[:, 0, 0] == pytest.approx([1, 0, 0.2])
    assert data.read_image(path, size=(2, 2), channels=1)[0, 0, 0] == pytest.approx(0.299 + 0.114 * 0.2, abs=1 / 255)


def test_exif_turns_an_image_upright(tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6  # orientation: the camera was turned, rotate 90 degrees clockwise
    sideways = Image.fromarray(np.array([[0, 0, 0], [255, 0, 0]], np.uint8))
    path = saved(tmp_path, sideways, exif=tags)
    assert data.read_image(path, size=(3, 2), channels=1)[0].tolist() == [[1, 0], [0, 0], [0, 0]]


def test_transparent_is_white(tmp_path):
    path = saved(tmp_path, Image.fromarray(np.array([[[0, 0, 0, 0], [0, 0, 0, 255]]], np.uint8)))
    assert data.read_image(path, size=(1, 2), channels=1).tolist() == [[[1, 0]]]


def test_sixteen_bit_grey_keeps_its_range(tmp_path):
    path = saved(tmp_path, Image.fromarray(np.array([[0, 65535]], np.uint16)))
    for channels in (1, 3):
        assert data.read_image(path, size=(1, 2), channels=channels).tolist() == [[[0, 1]]] * channels


def test_exif_turns_sixteen_bits_upright_too(tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6
    path = saved(tmp_path, Image.fromarray(np.array([[0, 0, 0], [65535, 0, 0]], np.uint16)), exif=tags)
    assert data.read_image(path, size=(3, 2), channels=1)[0].tolist() == [[1, 0], [0, 0], [0, 0]]


def png_bytes() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


FILES = {
    "text": (b"hello", "it is not a sound PNG, JPEG, BMP, GIF, TIFF, WEBP or PPM file"),
    "empty": (b"", "it is not a sound PNG, JPEG, BMP, GIF, TIFF, WEBP or PPM file"),
    "cut off": (png_bytes()[:300], "image file is truncated"),
    "script": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is not a sound PNG"),
}


@pytest.mark.parametrize(("content", "message"), FILES.values(), ids=FILES)
def test_a_broken_image_is_one_clear_line(tmp_path, content, message):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^image '{path}' cannot be read: {message}") as caught:
        data.read_image(path, size=(8, 8), channels=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("position", range(0, 1500, 83))
def test_a_flipped_byte_is_read_or_refused_but_never_crashes(tmp_path, position):
    content = bytearray(png_bytes())
    content[position % len(content)] ^= 0xFF
    (tmp_path / "x.png").write_bytes(content)
    try:
        image = data.read_image(tmp_path / "x.png", size=(8, 8), channels=1)
    except ValueError:
        return
    assert image.shape == (1, 8, 8)


def test_missing_folder_and_enormous_images(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"nothing\.png' cannot be read: there is no such file"):
        data.read_image(tmp_path / "nothing.png", size=(8, 8), channels=1)
    with pytest.raises(ValueError, match="cannot be read: it is a folder; name the image files in it"):
        data.read_image(tmp_path, size=(8, 8), channels=1)
    path = saved(tmp_path, Image.new("L", (30, 30)))
    for bound in (800, 100):  # Pillow warns above the bound and raises above its double
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", bound)
        with pytest.raises(ValueError, match=f"cannot be read: it has more than {bound} pixels; make it smaller first"):
            data.read_image(path, size=(8, 8), channels=1)


def test_pixels_of_unknown_range_are_refused(tmp_path):
    path = saved(tmp_path, Image.fromarray(np.array([[0.0, 7.5]], np.float32)), "image.tiff")
    with pytest.raises(ValueError, match="the range of its pixels is unknown"):
        data.read_image(path, size=(8, 8), channels=1)


def test_without_pillow_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=re.escape(install("train"))):
        data.read_image(tmp_path / "x.png", size=(8, 8), channels=1)
