"""Print how many tiles of 256 px a single core measures per second at 0.25 um/px, halo included.

Usage: python tests/bench/cell_rate.py [--repeats 9]
"""

from __future__ import annotations

import argparse
import time

import cv2
import numpy as np

from wsi_pipeline.cells.measure import measure_cells
from wsi_pipeline.cells.options import AssayProfile, CellOptions
from wsi_pipeline.geometry import Box, Mpp
from wsi_pipeline.stain.density import unmix
from wsi_pipeline.training.phantom import make_phantom
from wsi_pipeline.training.phantom.presets import random_options

SIDE = 2048


def main() -> None:
    """Measure one region of dense tumour per target, in turn, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    cv2.setNumThreads(1)
    options, assay, mpp = CellOptions(), AssayProfile(name="bench"), Mpp(0.25, 0.25)
    halo = options.halo_px(mpp)
    window = SIDE + 2 * halo
    tiles = (SIDE // 256) ** 2
    print(f"region of {tiles} tiles, read with a halo of {halo} px")
    for target in ("null", "2+", "3+"):
        phantom = make_phantom(random_options(7, target, (window + 300, window + 200)))
        rgb = phantom.render_block(Box(150, 100, window, window))
        times = []
        for _ in range(repeats + 1):
            start = time.process_time()
            stains = unmix(rgb, (244.0, 243.0, 240.0), assay.vectors)
            middle = time.process_time()
            measured = measure_cells(stains, Box(halo, halo, SIDE, SIDE), mpp, assay, options)
            times.append((middle - start, time.process_time() - middle))
        unmixing, measuring = np.median(times[1:], axis=0)
        rate = tiles / (unmixing + measuring)
        cells = len(measured.cells)
        print(
            f"{target:>5}: {cells} cells, unmix {1e3 * unmixing:.0f} ms, measure {1e3 * measuring:.0f} ms, "
            f"{rate:.0f} tiles/s per core, {cells / (unmixing + measuring):.0f} cells/s"
        )


if __name__ == "__main__":
    main()
