"""Which samples of a TIFF's pixels are its colours, and whether another one is transparency."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from tifffile import EXTRASAMPLE, PHOTOMETRIC, PLANARCONFIG

from wsi_pipeline.errors import UnsupportedSlideError

RGB = frozenset({PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR})
COLOURS = 3
SAMPLES_MAX = 8
"""Most samples of a pixel: colours, transparency, and some that a converter left there."""

CONVERT = "convert it to 8-bit RGB, for example with vips"

NOT_RGB = {
    PHOTOMETRIC.MINISWHITE: ("a grey image whose 0 is white", "fluorescence and grey images have no DAB"),
    PHOTOMETRIC.MINISBLACK: ("a grey image", "fluorescence and grey images have no DAB"),
    PHOTOMETRIC.PALETTE: ("an image with a palette", CONVERT),
    PHOTOMETRIC.MASK: ("a mask", "name the scan"),
    PHOTOMETRIC.SEPARATED: ("an image in printing inks", CONVERT),
    PHOTOMETRIC.CIELAB: ("an image in CIELAB colours", CONVERT),
    PHOTOMETRIC.ICCLAB: ("an image in CIELAB colours", CONVERT),
    PHOTOMETRIC.ITULAB: ("an image in CIELAB colours", CONVERT),
}
"""What an image of other colours is, and what to do about it."""

TOP_LEFT = 1


class Samples(NamedTuple):
    """The samples that are shown."""

    kept: tuple[int, ...]
    """Red, green, blue, and alpha where there is one, by their place in the pixel."""
    is_premultiplied: bool
    """Whether the colours are already multiplied by alpha ("associated")."""


def shown_samples(page: Any) -> Samples:
    """Return what a page's samples mean.

    Only an extra sample that is declared alpha is transparency (TIFF 6.0, section 18, ExtraSamples 1 and 2). One that
    is unspecified or not declared at all may be anything; libtiff, and so OpenSlide, takes it for alpha.
    """
    colours = tuple(range(COLOURS))
    for place, meaning in enumerate(page.extrasamples[: page.samplesperpixel - COLOURS], COLOURS):
        if meaning in {EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA}:
            return Samples((*colours, place), meaning == EXTRASAMPLE.ASSOCALPHA)
    return Samples(colours, is_premultiplied=False)


def is_rgb(page: Any) -> bool:
    """Return whether the page holds 8-bit colours."""
    return bool(page.photometric in RGB and COLOURS <= page.samplesperpixel <= SAMPLES_MAX and page.bitspersample == 8)


def is_planar(page: Any) -> bool:
    """Return whether each colour of the page has tiles or strips of its own."""
    return bool(page.planarconfig == PLANARCONFIG.SEPARATE)


def orientation(page: Any) -> int:
    """Return what the page's Orientation tag says, TOP_LEFT where there is none."""
    tag = page.tags.get(274)
    return tag.value if tag is not None and isinstance(tag.value, int) else TOP_LEFT


def stored_order_note(page: Any) -> tuple[str, ...]:
    """Return what people should know of a page whose Orientation tag asks for it to be turned or mirrored.

    It is shown as stored, as tifffile, libvips and Bio-Formats do, so that results lie where QuPath shows them with
    Bio-Formats. OpenSlide mirrors each tile in its place or does nothing, depending on the codec.
    """
    stated = orientation(page)
    if stated == TOP_LEFT:
        return ()
    return (
        f"the slide is shown as it is stored, as Bio-Formats shows it: its Orientation tag ({stated}) is not applied",
    )


def check_drawn_right(path: Path, page: Any) -> None:
    """Raise UnsupportedSlideError for a page that OpenSlide alone decodes, but draws other than the standard says."""
    if orientation(page) != TOP_LEFT:
        problem = (
            f"has an Orientation tag ({orientation(page)}) and colours that only OpenSlide decodes, which mirrors tiles"
        )
        raise UnsupportedSlideError(path, problem, CONVERT)
    if page.samplesperpixel > len(shown_samples(page).kept):
        problem = (
            "has an undeclared fourth sample and colours that only OpenSlide decodes, which takes it for transparency"
        )
        raise UnsupportedSlideError(path, problem, CONVERT)
