"""Print how many tiles of 256 px a single core measures per second at 0.25 um/px, halo included.

Usage: python tests/bench/cell_rate.py [--repeats 9] [--finder network]

Processor seconds of this process are counted, so that what else the machine does hardly matters. The network runs on
one thread, as in a worker.
"""

from __future__ import annotations

import argparse
import time

import cv2
import numpy as np

from wsi_pipeline.cells.measure import measure_cells
from wsi_pipeline.cells.network_finder import find_nuclei_by_network, view_of
from wsi_pipeline.cells.options import AssayProfile, CellOptions
from wsi_pipeline.flows.region import measured_window
from wsi_pipeline.geometry import Box, Mpp
from wsi_pipeline.models.cell_network import find_cell_weights, load_cell_network
from wsi_pipeline.stain.density import unmix
from wsi_pipeline.training.phantom import make_phantom
from wsi_pipeline.training.phantom.presets import random_options

SIDE = 2048
WHITE = (244.0, 243.0, 240.0)


def main() -> None:
    """Measure one region of dense tumour per target, in turn, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--finder", choices=("classical", "network"), default="classical")
    chosen = parser.parse_args()
    cv2.setNumThreads(1)
    options, assay, mpp = CellOptions(finder=chosen.finder), AssayProfile(name="bench"), Mpp(0.25, 0.25)
    network = load_cell_network(find_cell_weights()) if chosen.finder == "network" else None
    window = measured_window(Box(0, 0, SIDE, SIDE), mpp, options)
    read = view_of(mpp, options).needed(window) if network else window
    part, core = window.slices_in(read), Box(-window.x, -window.y, SIDE, SIDE)
    tiles = (SIDE // 256) ** 2
    print(f"region of {tiles} tiles, read as {read.width} x {read.height} px")
    for target in ("null", "2+", "3+"):
        phantom = make_phantom(random_options(7, target, (read.width + 300, read.height + 200)))
        rgb = phantom.render_block(Box(150, 100, read.width, read.height))
        times = []
        for _ in range(chosen.repeats + 1):
            clock = [time.process_time()]
            stains = unmix(rgb[part], WHITE, assay.vectors)
            clock.append(time.process_time())
            nuclei = find_nuclei_by_network(network, rgb, window, WHITE, stains, mpp, options) if network else None
            clock.append(time.process_time())
            measured = measure_cells(stains, core, mpp, assay, options, nuclei)
            clock.append(time.process_time())
            times.append(np.diff(clock))
        unmixing, finding, measuring = np.median(times[1:], axis=0)
        whole = unmixing + finding + measuring
        cells = len(measured.cells)
        print(
            f"{target:>5}: {cells} cells, unmix {1e3 * unmixing:.0f} ms, network {1e3 * finding:.0f} ms, "
            f"measure {1e3 * measuring:.0f} ms, {tiles / whole:.0f} tiles/s per core, {cells / whole:.0f} cells/s"
        )


if __name__ == "__main__":
    main()
