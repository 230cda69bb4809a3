"""Which of the images in a file is the slide: the largest that is neither its label nor a photograph of the glass."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from wsi_pipeline.geometry import Size
from wsi_pipeline.slide.model import OtherImage

KINDS = {
    "label": "label", "barcode": "label", "macro": "macro", "overview": "macro", "slide preview": "macro",
    "thumbnail": "thumbnail", "thumb": "thumbnail",
}  # fmt: skip
"""What an image is called that shows the glass, not the scan -> what it is."""

CALLED = re.compile(
    rf"(?:^|[\s\-_/\\:.,;([#])({'|'.join(KINDS)})(?:[\s_\-]*(?:image|picture|photo))?[\s\])\d.]*(?:\d+x\d+)?$",
    re.IGNORECASE,
)
"""Such a name ends in its kind: "macro", "CMU-1.svs [label image]", "Label 387x463"; not "label-free scan"."""

NAME_CHARACTERS = 60
"""Of an image's name that are shown."""

MACRO_ASPECT, MACRO_SIDE = (2.0, 3.6), 4096
"""Width to height of a photograph of a slide of 75 x 25 mm with more or less of its edges, and its longest side, px."""

OVERLOOKED_SHARE = 1 / 4
"""Share of the slide's area from which on another image is no detail: people have to know that it is not read."""

SMALL_SHARE = 1 / 16
"""Share of its area that a tiled image needs to be the slide in place of one without tiles, or of a macro's shape."""


@dataclass(frozen=True)
class ImageFacts:
    """What is known of one image of a file before it is read."""

    name: str
    """As the file calls it, or empty."""
    size: Size
    kind: str = ""
    """"label", "macro" or "thumbnail" where the file says so, else empty."""
    is_tiled: bool = True
    levels: int = 1
    is_rgb: bool = True

    @property
    def area(self) -> int:
        """Area, px2."""
        return self.size.width * self.size.height

    def listed(self, number: int) -> OtherImage:
        """Return how the image is named to people; `number` in the file, from 1. A label's name may be a patient's."""
        shown = "".join(sign if sign.isprintable() else " " for sign in self.name).strip()[:NAME_CHARACTERS]
        return OtherImage(self.kind or shown or f"image {number}", self.size)


class Choice(NamedTuple):
    """Which image is the slide, by its place in the file, and what people should know about that."""

    place: int
    warnings: tuple[str, ...]


def kind_called(name: str) -> str:
    """Return the kind of image that a name says, or nothing."""
    found = CALLED.search(name.strip())
    return KINDS[found[1].lower()] if found else ""


def choose_slide(images: Sequence[ImageFacts]) -> Choice:
    """Return which of at least one image is the slide: of equal ones the first, with a warning."""
    indices = [index for index, image in enumerate(images) if not image.kind] or list(range(len(images)))
    tiled = max((images[index].area for index in indices if images[index].is_tiled), default=-1)
    layered = max((images[index].area for index in indices if images[index].levels > 1), default=-1)
    pool = [index for index in indices if not _is_beside(images[index], tiled, layered)]
    chosen = max(pool, key=lambda index: (images[index].area, images[index].is_rgb, -index))
    slide = images[chosen]
    warnings = []
    if slide.kind:
        warnings.append(f"the file calls its only image a {slide.kind}: check that it is the slide")
    for index in pool:
        image = images[index]
        if index != chosen and image.is_rgb and image.area >= OVERLOOKED_SHARE * slide.area:
            other = image.listed(index + 1)
            same = "of the same size" if image.size == slide.size else "large"
            warnings.append(
                f"the file holds another image {same}, {other}, which is not read: {slide.listed(chosen + 1)} is"
            )
    return Choice(chosen, tuple(warnings))


def _is_beside(image: ImageFacts, tiled: int, layered: int) -> bool:
    """Return whether an image without a name of its kind lies beside the slide: no tiles, or shaped like the glass.

    `tiled` and `layered`: areas of the largest image in tiles and of the largest with several levels, px2, -1 for none.
    """
    least = SMALL_SHARE * image.area
    if not image.is_tiled and tiled >= least:
        return True
    low, high = MACRO_ASPECT
    aspect = max(image.size) / max(min(image.size), 1)
    photographed = image.levels == 1 and low <= aspect <= high and max(image.size) <= MACRO_SIDE
    return photographed and layered >= least
