"""The thumbnails of the page's gallery: `python -m genartisan.drawing.thumbnails`.

Each is the sample photo in one style, in preset ``draft``, with the embedded bundle and seed 0.
"""

from __future__ import annotations

from PIL import Image

from genartisan.config import preset
from genartisan.io.atomic import write_whole
from genartisan.io.files import SAMPLE
from genartisan.io.images import encode
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import Bundle
from genartisan.page.gallery import FOLDER, STYLES

SIZE, SIDE, QUALITY = 256, 144, 70  # pixels of the picture and of its thumbnail; of the JPEG


def main() -> None:
    stylizer = Stylizer(Bundle.load("embedded"), device="cpu", precision="fp32")
    FOLDER.mkdir(exist_ok=True)
    for style in STYLES:
        picture = stylizer(SAMPLE, style.prompt, config=preset("draft", {"size": SIZE})).image
        side = min(picture.size)
        square = picture.crop(((picture.width - side) // 2, 0, (picture.width + side) // 2, side))
        small = square.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        write_whole(style.thumbnail, encode(small, "image/jpeg", QUALITY))


if __name__ == "__main__":
    main()
