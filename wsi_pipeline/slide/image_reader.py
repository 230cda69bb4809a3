"""Plain PNG and JPEG images as one-level slides."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import JpegImagePlugin, PngImagePlugin

from wsi_pipeline.errors import CorruptSlideError, ResourceError, UnsupportedSlideError
from wsi_pipeline.geometry import Box, Size
from wsi_pipeline.slide.border import BROKEN_REMEDY
from wsi_pipeline.slide.image_content import check_content
from wsi_pipeline.slide.levels import make_levels
from wsi_pipeline.slide.model import FileFacts, LevelPixels, MppCandidate, Reader, split_alpha

PNG_MAGIC, JPEG_MAGIC = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"

IMAGE_PX_MAX = 2**28
"""Largest plain image, px: it has to be decoded whole, which is 0.8 GB of RGB at 16384 x 16384."""

IMAGE_ERRORS = (OSError, SyntaxError, ValueError, struct.error)
"""What Pillow raises on damaged files."""

UM_PER_INCH = 25_400.0

PNG_DEPTH_AT = 24
"""Offset of the bit depth in a PNG: 8 bytes of signature, 8 of chunk header, 8 of width and height."""


class ImageReader(Reader):
    """An image decoded whole when it is opened. ICC profile and EXIF orientation are not applied."""

    def __init__(self, path: Path) -> None:
        """Decode the file.

        Raises CorruptSlideError, UnsupportedSlideError for anything but 8-bit RGB, ResourceError above IMAGE_PX_MAX.
        """
        with path.open("rb") as file:
            head = file.read(PNG_DEPTH_AT + 1)
            file.seek(0)
            is_png = head.startswith(PNG_MAGIC)
            # The plugin is called directly, since Image.open warns of large images, which are checked below instead.
            plugin = PngImagePlugin.PngImageFile if is_png else JpegImagePlugin.JpegImageFile
            try:
                image = plugin(file)
                _check(path, image, depth=head[PNG_DEPTH_AT] if is_png else 8)
                check_content(path, Size(*image.size), len(image.mode), is_png=is_png)
                self._rgb, self._valid = _decode(image)
            except IMAGE_ERRORS as error:
                raise CorruptSlideError(path, f"is a damaged image: {error}", BROKEN_REMEDY) from error
            candidates = _tag_candidates(image.info.get("dpi"))
        size = Size(*image.size)
        self.facts = FileFacts(
            reader="image",
            vendor="png" if is_png else "jpeg",
            levels=make_levels([size], [1.0], [size]),
            bounds_l0=Box(0, 0, *size),
            objective_power=None,
            mpp_candidates=candidates,
        )

    def close(self) -> None:
        """Do nothing: the file was closed once it was decoded."""

    def read_level(self, level: int, box_lv: Box) -> LevelPixels:  # noqa: ARG002 - there is only level 0
        """Return the px of a box inside the image; see Reader.read_level."""
        window = slice(box_lv.y, box_lv.bottom), slice(box_lv.x, box_lv.right)
        return LevelPixels(self._rgb[window].copy(), None if self._valid is None else self._valid[window].copy())


def _check(path: Path, image: Any, depth: int) -> None:
    """Raise the error that fits unless the image is 8-bit RGB of a size that can be decoded whole."""
    if image.mode not in {"RGB", "RGBA"}:
        raise UnsupportedSlideError(path, f"is not brightfield RGB but of mode {image.mode}", "export it as 8-bit RGB")
    if depth != 8:
        raise UnsupportedSlideError(path, f"has {depth} bits per colour, not 8", "export it as 8-bit RGB")
    width, height = image.size
    if width * height > IMAGE_PX_MAX:
        problem = f"is a plain image of {width} x {height} px, more than the {IMAGE_PX_MAX} px that are decoded at once"
        raise ResourceError(path, problem, "convert it to a tiled pyramidal TIFF, for example with vips")


def _decode(image: Any) -> LevelPixels:
    """Return all px of a Pillow image."""
    pixels = np.asarray(image)
    return split_alpha(pixels) if pixels.shape[2] == 4 else LevelPixels(pixels, None)


def _tag_candidates(dpi: tuple[float, float] | None) -> tuple[MppCandidate, ...]:
    """Return the pixel size by PNG pHYs or JPEG density, dots per inch."""
    if not dpi or not all(dpi):
        return ()
    return (MppCandidate("image resolution tags", UM_PER_INCH / dpi[0], UM_PER_INCH / dpi[1], from_tags=True),)
