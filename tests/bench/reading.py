"""Print how many tiles of 256 px a core reads per second: OpenSlide and tiffslide by tile, the product by region.

Every figure is the median of several rounds in which the variants take turns over the same areas of 8 x 8 tiles. The
file lies in the system's cache; handles are opened anew for each round, outside its time, so that no tile is cached.
Rates count the processor's own time: they tell what an idle core would do, also while others use the machine.

Usage: python tests/bench/reading.py [--rounds 7] [--width 8000] [--height 6000] [--slide FILE ...]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from wsi_pipeline.geometry import Box, Size, cut
from wsi_pipeline.slide import open_slide
from wsi_pipeline.slide.peers import tile_reader
from wsi_pipeline.training.phantom import make_phantom, random_options

TILE_PX, AREA_PX = 256, 2048
AREAS_MAX = 4
"""Areas of AREA_PX that are read in a round, spread over the slide."""

DESCRIPTION = "Aperio Image Library (synthetic phantom)|AppMag = 40|MPP = 0.25"
MADE = {
    "JPEG, tiles of 240 px": ("jpeg", 240),
    "JPEG, tiles of 256 px": ("jpeg", 256),
    "JPEG 2000, tiles of 256 px": (33005, 256),
}
"""Slides written here: compression and tile size, px."""

Read = Callable[[Box], object]


def main() -> None:
    """Write the slides, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--width", type=int, default=8000, help="of the written slides, px")
    parser.add_argument("--height", type=int, default=6000)
    parser.add_argument("--slide", type=Path, nargs="*", default=real_slides(), help="further slides")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    block = make_phantom(random_options(3, "2+", (2560, 2048))).render_block(Box(0, 0, 2560, 2048))
    with tempfile.TemporaryDirectory() as folder:
        for name, (compression, tile_px) in MADE.items():
            path = Path(folder) / "made.svs"
            write_pyramid(path, block, Size(options.width, options.height), compression, tile_px)
            report(name, path, options.rounds)
    for path in options.slide:
        report(path.name, path, options.rounds)


def real_slides() -> list[Path]:
    """Return the real slides of the tests, where there are any."""
    folder = Path(os.environ.get("WSI_HER2_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")) / "slides"
    return sorted(folder.glob("*.svs"))


def write_pyramid(path: Path, block: NDArray[np.uint8], size: Size, compression: str | int, tile_px: int) -> None:
    """Write an Aperio-like pyramid of factors 1 and 4 by repeating a picture out of step with the tiles."""
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for index, factor in enumerate((1, 4)):
            level = Size(size.width // factor, size.height // factor)
            source = cv2.resize(block, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
            tiles: Iterator[object] = pieces(source, level, tile_px)
            more: dict[str, object] = {"compressionargs": {"level": 85}}
            if compression == 33005:
                tiles = (imagecodecs.jpeg2k_encode(tile, level=70, codecformat="j2k") for tile in tiles)
                more = {}
            tiff.write(
                tiles, shape=(level.height, level.width, 3), dtype=np.uint8, tile=(tile_px, tile_px), photometric="rgb",
                compression=compression, description=DESCRIPTION, metadata=None, subfiletype=index, **more,
            )  # fmt: skip


def pieces(source: NDArray[np.uint8], level: Size, tile_px: int) -> Iterator[NDArray[np.uint8]]:
    """Yield the tiles of a level that repeats `source`, row by row."""
    for y in range(0, level.height, tile_px):
        for x in range(0, level.width, tile_px):
            rows, columns = (np.arange(tile_px) + start for start in (y, x))
            yield source[np.ix_(rows % source.shape[0], columns % source.shape[1])]


@contextmanager
def by_library(library: str, path: Path, *, at_once: bool = False) -> Iterator[Read]:
    """Yield what reads an area with another library, tile by tile or at once, as arrays of RGB."""
    with open_slide(path, require_mpp=False) as slide:
        origin_l0 = slide.info.bounds_origin_l0
    with tile_reader(library, path, origin_l0) as read:
        yield read if at_once else partial(by_tiles, read)


@contextmanager
def by_product(path: Path, *, at_once: bool = False) -> Iterator[Read]:
    """Yield what reads an area with the product, tile by tile or at once."""
    with open_slide(path, reader="fast", require_mpp=False) as slide:
        read = partial(slide.read_box, downsample=1)
        yield read if at_once else partial(by_tiles, read)


def by_tiles(read: Read, area: Box) -> None:
    """Read an area tile by tile, px of the slide."""
    for box in cut(area.size, TILE_PX):
        read(box._replace(x=area.x + box.x, y=area.y + box.y))


VARIANTS: dict[str, Callable[[Path], AbstractContextManager[Read]]] = {
    "OpenSlide, per tile": partial(by_library, "openslide"),
    "OpenSlide, per region of 8 x 8 tiles": partial(by_library, "openslide", at_once=True),
    "tiffslide, per tile": partial(by_library, "tiffslide"),
    "wsi-her2, per tile": by_product,
    "wsi-her2, per region of 8 x 8 tiles": partial(by_product, at_once=True),
}


def report(name: str, path: Path, rounds: int) -> None:
    """Print the rates of every variant on one slide."""
    with open_slide(path, require_mpp=False) as slide:
        info = slide.info
    if min(info.size_l0) < AREA_PX:
        print(f"\n{name}: smaller than an area of {AREA_PX} px")
        return
    areas = spread(info.size_l0)
    tiles = len(areas) * (AREA_PX // TILE_PX) ** 2
    rates: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for _ in range(rounds):
        for variant, opened in VARIANTS.items():
            with opened(path) as read:
                start = time.process_time()
                for area in areas:
                    read(area)
                rates[variant].append(tiles / (time.process_time() - start))
    base = statistics.median(rates["OpenSlide, per tile"])
    print(f"\n{name}: {info.size_l0.width} x {info.size_l0.height} px, {tiles} tiles a round, {rounds} rounds")
    for variant, found in rates.items():
        median = statistics.median(found)
        print(f"  {variant:38s} {median:6.0f} tiles/s  {median / base:4.1f} x  ({min(found):.0f} to {max(found):.0f})")


def spread(size: Size) -> list[Box]:
    """Return at most AREAS_MAX areas inside the slide, in step with tiles of 256 px as readers by tile cut it."""
    whole = [box for box in cut(size, AREA_PX) if box.size == (AREA_PX, AREA_PX)]
    return whole[:: max(len(whole) // AREAS_MAX, 1)][:AREAS_MAX]


if __name__ == "__main__":
    main()
