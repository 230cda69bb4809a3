"""Make the core sample from its original: half the resolution, in tiles, as a pyramid.

python sample_slides/make_core.py 2_0123a214-85b7-4804-86db-474b05a4ae57.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import tifffile

MPP = 0.5
"""um/px of the sample; the original is taken as 0.25, a core of 1.2 mm being 5,000 px wide."""

QUALITY = 75
"""JPEG quality, for 2 MB."""

LEVELS, TILE_PX = 3, 256


def main() -> None:
    """Write core_2plus.tif beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("original", type=Path, help="the JPEG of 5468 x 5468 px")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("core_2plus.tif"))
    chosen = parser.parse_args()
    picture = cv2.cvtColor(cv2.imread(str(chosen.original)), cv2.COLOR_BGR2RGB)
    with tifffile.TiffWriter(chosen.out) as writer:
        for level in range(LEVELS):
            picture = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            size = MPP * 2**level
            writer.write(
                picture, photometric="rgb", tile=(TILE_PX, TILE_PX), compression="jpeg",
                compressionargs={"level": QUALITY}, resolution=(1e4 / size, 1e4 / size), resolutionunit="CENTIMETER",
                metadata=None, subfiletype=int(level > 0), software=False,
            )  # fmt: skip
    print(f"{chosen.out} {chosen.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
