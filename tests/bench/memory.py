"""Score slides and print the memory that was foreseen beside what all processes together held at most (PSS).

Usage: python tests/bench/memory.py [SLIDE ...] [--workers 1 2] [--evidence cells] [--side 10240]

Without slides it scores a small phantom, a slide of `side` x `side` px made of one, and one of 100,000 x 100,000 px
that is mostly unscanned. `--evidence both` needs the extra `models`. The estimate should be above what was held, not
above twice that. PSS shares common libraries out, so run it while nothing else on the machine uses torch.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from large_slide import PeakMemory, make_large_slide
from sparse_slide import make_sparse_slide

from wsi_pipeline.training.phantom import make_phantom, write_slide
from wsi_pipeline.training.phantom.presets import random_options

SMALL = (2710, 1907)
LARGE_SIDE, ISLANDS = 100_000, 40


def made(folder: Path, side: int) -> list[Path]:
    """Write the three slides and return their paths."""
    small = write_slide(make_phantom(random_options(4, "2+", SMALL)), folder / "small.svs")
    large, sparse = folder / "large.svs", folder / "sparse.svs"
    make_large_slide(large, side)
    make_sparse_slide(sparse, LARGE_SIDE, ISLANDS, flat=False)
    return [small, large, sparse]


def measured(slide: Path, workers: int, evidence: str, options: list[str]) -> str:
    """Score a slide and return a line: what was foreseen, what was held, GB, and the first over the second."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "wsi_pipeline.cli.main", "run", str(slide), "-o", f"{folder}/run", "--json"]
        command += ["--stain", "ihc", "--evidence", evidence, "--set", f"engine.workers={workers}"]
        command += [word for option in options for word in ("--set", option)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        memory = PeakMemory(process.pid)
        output, _ = process.communicate()
        held = memory.stop() / 1e9
    if process.returncode not in {0, 3}:
        return f"| {slide.name} | {workers} | exit code {process.returncode} | | |"
    result = json.loads(output)
    size, foreseen = result["slide"], result["provenance"]["engine"]["memory_estimate_gb"]
    name = f"{slide.name}, {size['width']} x {size['height']} px, {result['tissue_mm2']:.1f} mm2"
    return f"| {name} | {workers} | {foreseen:.2f} | {held:.2f} | {foreseen / held:.2f} |"


def main() -> None:
    """Score all slides with each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slides", nargs="*", type=Path)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--evidence", default="cells")
    parser.add_argument("--side", type=int, default=10_240)
    parser.add_argument("--set", action="append", default=[], dest="options", metavar="NAME=VALUE")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print("| slide | workers | foreseen, GB | held, GB | foreseen / held |\n|---|---|---|---|---|")
        for slide in chosen.slides or made(Path(folder), chosen.side):
            for workers in chosen.workers:
                print(measured(slide, workers, chosen.evidence, chosen.options), flush=True)


if __name__ == "__main__":
    main()
