"""Score a large slide made of a repeated phantom and print time, rate and peak memory of all processes together.

Usage: python tests/bench/large_slide.py [--side 20000] [--workers 2]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
import tifffile

from wsi_pipeline.geometry import Box
from wsi_pipeline.training.phantom import make_phantom
from wsi_pipeline.training.phantom.presets import random_options

TILE = 256
BLOCK = (2560, 2048)
"""Width and height of the repeated phantom, px: whole tiles at all three levels."""


def make_large_slide(path: Path, side: int) -> None:
    """Write a pyramidal JPEG slide of about side x side px at 0.25 um/px by repeating one phantom's tiles."""
    phantom = make_phantom(random_options(3, "2+", BLOCK))
    level = phantom.render_block(Box(0, 0, *BLOCK))
    width, height = (-(-side // step) * step for step in BLOCK)
    description = "Aperio Image Library (synthetic phantom of wsi-her2)\r\n{}x{} (256x256)|AppMag = 40|MPP = 0.25"
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for index, factor in enumerate((1, 4)):
            small = level if factor == 1 else cv2.resize(level, None, fx=1 / 4, fy=1 / 4, interpolation=cv2.INTER_AREA)
            w, h = width // factor, height // factor

            def tiles(source=small, w=w, h=h):
                for y in range(0, h, TILE):
                    for x in range(0, w, TILE):
                        rows = np.arange(y, y + TILE) % source.shape[0]
                        columns = np.arange(x, x + TILE) % source.shape[1]
                        yield source[np.ix_(rows, columns)]

            tiff.write(
                tiles(), shape=(h, w, 3), dtype=np.uint8, tile=(TILE, TILE), photometric="rgb", compression="jpeg",
                compressionargs={"level": 85}, description=description.format(w, h), metadata=None,
                subfiletype=1 if index else 0,
            )  # fmt: skip


class PeakMemory:
    """Largest proportional memory of a process and its children, sampled."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._process = psutil.Process(pid)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            try:
                family = [self._process, *self._process.children(recursive=True)]
                sizes = [member.memory_full_info().pss for member in family]
            except psutil.Error:
                continue
            self.peak = max(self.peak, sum(sizes))

    def stop(self) -> int:
        self._stop.set()
        self._thread.join()
        return self.peak


def main() -> None:
    """Make the slide, score it with the command line, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        slide = Path(folder) / "large.svs"
        make_large_slide(slide, chosen.side)
        command = [sys.executable, "-m", "wsi_pipeline.cli.main", "run", str(slide), "-o", f"{folder}/run", "--json"]
        command += ["--set", f"engine.workers={chosen.workers}"]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        memory = PeakMemory(process.pid)
        output, _ = process.communicate()
        seconds, peak = time.perf_counter() - start, memory.stop()
        result = json.loads(output)
        written = sum(file.stat().st_size for file in Path(folder, "run").rglob("*") if file.is_file())
    slide_record, engine = result["slide"], result["provenance"]["engine"]
    tiles = engine["regions"] * 64
    print(f"slide {slide_record['width']} x {slide_record['height']} px, {engine}")
    print(f"{result['cells']['tumour']} tumour cells, score {result['score']}, tissue {result['tissue_mm2']} mm2")
    print(f"{seconds:.1f} s, about {tiles / seconds:.0f} tiles of 256 px per second, {written / 1e6:.0f} MB written")
    print(f"peak memory of all processes (PSS): {peak / 1e9:.2f} GB")
    print(json.dumps(result["provenance"]["seconds"]))


if __name__ == "__main__":
    main()
