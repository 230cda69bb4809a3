"""Score a sparse slide of 100,000 x 100,000 px, with a pyramid and flat, and print the peak memory of all processes.

Usage: python tests/bench/sparse_slide.py [--side 100000] [--islands 40] [--workers 2] [--flat]

A scanner's sparse slide: islands of tissue, everything else never scanned (tiles without bytes). Without a pyramid a
reader that wants an overview has only level 0.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import tifffile
from large_slide import BLOCK, TILE, PeakMemory

from wsi_pipeline.geometry import Box
from wsi_pipeline.training.phantom import make_phantom
from wsi_pipeline.training.phantom.presets import random_options

FACTORS = (1, 4, 16, 64)
SPACING = (4 * BLOCK[0], 4 * BLOCK[1])
"""Islands lie on a lattice this wide, px, so that each begins on a whole tile of the coarsest level but one."""


def make_sparse_slide(path: Path, side: int, islands: int, *, flat: bool) -> None:
    """Write a JPEG slide of side x side px at 0.25 um/px with this many islands of one phantom."""
    phantom = make_phantom(random_options(3, "2+", BLOCK))
    level = phantom.render_block(Box(0, 0, *BLOCK))
    places = [(x, y) for y in range(0, side - BLOCK[1], SPACING[1]) for x in range(0, side - BLOCK[0], SPACING[0])]
    chosen = sorted(random.Random(3).sample(places, min(islands, len(places))))
    description = (
        f"Aperio Image Library (synthetic phantom of wsi-her2)\r\n{side}x{side} (256x256)|AppMag = 40|MPP = 0.25"
    )
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for factor in FACTORS[:1] if flat else FACTORS:
            size = side // factor
            small = cv2.resize(level, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
            tiles = _tiles(small, size, [(x // factor, y // factor) for x, y in chosen])
            tiff.write(
                tiles, shape=(size, size, 3), dtype=np.uint8, tile=(TILE, TILE), photometric="rgb", compression="jpeg",
                description=description, metadata=None,
                subfiletype=1 if factor > 1 else 0,
            )  # fmt: skip


def _tiles(island: np.ndarray, size: int, places: list[tuple[int, int]]) -> Iterator[bytes]:
    """Yield the encoded tiles of a level row by row, without a byte where nothing was scanned."""
    height, width = island.shape[:2]
    for top in range(0, size, TILE):
        row = [(x, y) for x, y in places if y < top + TILE and top < y + height]
        for left in range(0, size, TILE):
            here = [(x, y) for x, y in row if x < left + TILE and left < x + width]
            if not here:
                yield b""
                continue
            tile = np.full((TILE, TILE, 3), 240, np.uint8)
            for x, y in here:
                ys, xs = (
                    slice(max(y, top), min(y + height, top + TILE)),
                    slice(max(x, left), min(x + width, left + TILE)),
                )
                tile[ys.start - top : ys.stop - top, xs.start - left : xs.stop - left] = island[
                    ys.start - y : ys.stop - y, xs.start - x : xs.stop - x
                ]
            yield imagecodecs.jpeg_encode(tile, level=85, colorspace="rgb", outcolorspace="ycbcr")


def main() -> None:
    """Make the slide, score it with the command line, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=100_000)
    parser.add_argument("--islands", type=int, default=40)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--flat", action="store_true", help="no pyramid")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        slide = Path(folder) / "sparse.svs"
        make_sparse_slide(slide, chosen.side, chosen.islands, flat=chosen.flat)
        print(f"{slide.name}: {slide.stat().st_size / 1e6:.0f} MB, flat: {chosen.flat}")
        command = [sys.executable, "-m", "wsi_pipeline.cli.main", "run", str(slide), "-o", f"{folder}/run", "--json"]
        command += ["--set", f"engine.workers={chosen.workers}", "--stain", "ihc"]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        memory = PeakMemory(process.pid)
        output, _ = process.communicate()
        seconds, peak = time.perf_counter() - start, memory.stop()
        result = json.loads(output)
    record, engine = result["slide"], result["provenance"]["engine"]
    print(f"slide {record['width']} x {record['height']} px, {engine}")
    print(f"{result['cells']['tumour']} tumour cells, score {result['score']}, tissue {result['tissue_mm2']} mm2")
    print(f"{seconds:.1f} s; peak memory of all processes (PSS): {peak / 1e9:.2f} GB")
    print(json.dumps(result["provenance"]["seconds"]))


if __name__ == "__main__":
    main()
