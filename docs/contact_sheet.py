"""Draws docs/hybrid.png, a few training images of some classes of the hybrid data set.

python docs/contact_sheet.py
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from minidl import data

SIZE, GAP, LABEL, EACH, ACROSS = 48, 2, 13, 4, 14  # of an image; between them; of a name; images of a class; classes in a row
CLASSES = 10 + 32  # the digits, all shapes and textures, nine filled shapes, random


def main(out: Path) -> None:
    """Classes side by side, their names above."""
    splits = data.hybrid(SIZE, classes=CLASSES, per_class=10, parts=("train",))
    rows, height = -(-CLASSES // ACROSS), LABEL + EACH * (SIZE + GAP)
    page = Image.new("RGB", (ACROSS * (SIZE + GAP) - GAP, rows * height - GAP), "white")
    pen = ImageDraw.Draw(page)
    for label, name in enumerate(splits.classes):
        x, y = label % ACROSS * (SIZE + GAP), label // ACROSS * height
        pen.text((x, y), name.replace("triangle", "tri.").replace(" of ", " "), fill="black", font_size=8)
        images = splits.train.pixels[splits.train.labels == label]
        for i, image in enumerate(images[:EACH]):
            page.paste(Image.fromarray(image.transpose(1, 2, 0)), (x, y + LABEL + i * (SIZE + GAP)))
    page.quantize(255).save(out, optimize=True)


if __name__ == "__main__":
    main(Path(__file__).with_name("hybrid.png"))
