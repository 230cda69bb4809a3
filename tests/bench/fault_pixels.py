"""Print how far level 0 of a TIFF, as the product reads it, differs from what tifffile reads, as JSON.

Usage: python tests/bench/fault_pixels.py FILE
"""

from __future__ import annotations

import json
import sys

import numpy as np
import tifffile

from wsi_pipeline.slide import open_slide


def main() -> None:
    """Compare and print."""
    with open_slide(sys.argv[1], mpp=0.25) as slide:
        read = slide.overview(1)
        reader = slide.info.reader
    with tifffile.TiffFile(sys.argv[1]) as tiff:
        stored = max(tiff.pages, key=lambda page: page.imagewidth * page.imagelength).asarray()[..., :3]
    difference = int(np.abs(read.rgb.astype(np.int16) - stored).max())
    print(json.dumps({"reader": reader, "difference": difference, "share_valid": float(read.valid.mean())}))


if __name__ == "__main__":
    main()
