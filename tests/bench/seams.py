"""Stain one image whole and in windows, and print whether the windows' borders can be seen.

Usage: python tests/bench/seams.py [--generator light|full] [--windows 256,512,1024] [--size 3000x2000] [--image FILE]
       [--weights NAME --weights-folder DIR] [--ways slide,grid,window] [--spacing 384] [--rows FILE.jsonl]

Without weights the generators hold seeded random ones, without an image a phantom in H&E is stained. One window of the
whole image sets the memory: in fp32 the full generator takes 1.4 KB per pixel, with a grid of statistics 7.2 KB.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wsi_pipeline.geometry import Box, Size, cut
from wsi_pipeline.models.load import load_model
from wsi_pipeline.models.pspstain import LIGHT_WIDTH, WIDTH, Generator, Norm
from wsi_pipeline.models.seamless import SeamlessStainer, to_tensor
from wsi_pipeline.slide import open_slide
from wsi_pipeline.training.phantom import make_phantom, random_options

Image = NDArray[np.uint8]
"""(H, W, 3) RGB."""

Read = Callable[[Box], Image]

Stain = Callable[[Read, Box], Image]

MPP = 0.46
"""um/px that the published generator was trained at."""

SIZES = {"slide": "1500x1100", "grid": "1100x850", "window": "1500x1100", "fixed": "3000x2000", "alone": "3000x2000"}
"""Image of each way, px, so that one window of all of it stays below 10 GB and each way takes a few minutes."""

WAYS = {"full": ("slide", "grid", "window"), "light": ("fixed", "alone")}
"""How a pixel is normalised, and what it sees. slide, grid: statistics that follow the place. window: each window by
its own statistics, as InstanceNorm does. fixed: no norms at all. alone: the same, but windows see no halo."""

NAIVE = ("window", "alone")
COLUMNS = ("generator", "way", "image", "window", "offset", "largest", "mean", "borders", "borders, whole", "seam")

SAMPLE_PX = (400, 320)
"""Width and height that random weights are scaled on, multiples of 4."""

TISSUE_BELOW, TISSUE_SHARE = 215, 0.1
"""A calibration window counts when this share of it has a colour darker than this grey level."""


def reader(image: Image) -> Read:
    """Return what reads boxes of `image`, white outside it."""

    def read(box: Box) -> Image:
        out = np.full((box.height, box.width, 3), 255, np.uint8)
        inside = box.intersection(Box(0, 0, image.shape[1], image.shape[0]))
        y, x = inside.y - box.y, inside.x - box.x
        out[y : y + inside.height, x : x + inside.width] = image[inside.y : inside.bottom, inside.x : inside.right]
        return out

    return read


def alone(image: Image, box: Box) -> Read:
    """Return what reads around `box` as if nothing but its own pixels existed: its border is reflected."""

    def read(window: Box) -> Image:
        before, after = (box.y - window.y, box.x - window.x), (window.bottom - box.bottom, window.right - box.right)
        own = image[box.y : box.bottom, box.x : box.right]
        return np.pad(own, ((before[0], after[0]), (before[1], after[1]), (0, 0)), mode="symmetric")

    return read


def windows(size: Size, side: int, offset: tuple[int, int]) -> Iterator[Box]:
    """Yield the windows of `side` px, moved up and left by `offset`, that cover an image of `size`."""
    for part in cut(Size(size.width + side, size.height + side), side):
        box = Box(part.x - offset[0], part.y - offset[1], side, side).intersection(Box(0, 0, *size))
        if box.area:
            yield box


def in_windows(stain: Stain, image: Image, side: int, offset: tuple[int, int], way: str = "") -> Image:
    """Return `image` stained window by window."""
    out, read = np.zeros_like(image), reader(image)
    for box in windows(Size(image.shape[1], image.shape[0]), side, offset):
        source = alone(image, box) if way == "alone" else read
        out[box.y : box.bottom, box.x : box.right] = stain(source, box)
    return out


def border_ratio(image: Image, side: int, offset: tuple[int, int]) -> float:
    """Return the mean absolute step between pixels on both sides of a window's border, over the mean of all others."""
    across, elsewhere = [], []
    for axis in (0, 1):
        step = np.abs(np.diff(image.astype(np.int16), axis=axis)).mean(axis=(1 - axis, 2))
        first = np.arange(1, image.shape[axis])  # the second px of each pair
        straddles = (first + offset[1 - axis]) % side == 0
        weight = image.shape[1 - axis]
        across += [(float(step[straddles].sum()) * weight, int(straddles.sum()) * weight)]
        elsewhere += [(float(step[~straddles].sum()) * weight, int((~straddles).sum()) * weight)]
    return _mean(across) / _mean(elsewhere)


def _mean(sums: list[tuple[float, int]]) -> float:
    """Return the mean of what (sum, count) pairs add up to, NaN of nothing."""
    count = sum(count for _, count in sums)
    return sum(part for part, _ in sums) / count if count else math.nan


def compare(parts: Image, whole: Image, side: int, offset: tuple[int, int]) -> dict[str, float]:
    """Return what tells the windowed image from the whole one: grey levels, and the seam metric (1: none)."""
    off = np.abs(parts.astype(np.int16) - whole)
    here, there = border_ratio(parts, side, offset), border_ratio(whole, side, offset)
    seam = here / there if there else math.nan
    return {"largest": int(off.max()), "mean": float(off.mean()), "borders": here, "whole": there, "seam": seam}


def offsets(side: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return two places of the lattice, the second a multiple of nothing."""
    return (0, 0), (side * 3 // 8 + 1, side // 5 + 2)


def he_image(size: Size, file: Path | None, seed: int = 7) -> Image:
    """Return `size` px of `file`, or of a phantom in H&E."""
    if file is not None:
        with open_slide(file, require_mpp=False) as slide:
            shown = Box(0, 0, *size).intersection(Box(0, 0, *slide.info.size_l0))
            return slide.read_box(shown, 1).rgb
    options = random_options(seed, "3+", size).model_copy(update={"mpp_x": MPP, "mpp_y": MPP, "stain": "he"})
    return make_phantom(options).render_block(Box(0, 0, *size))


def random_generator(width: int, norm: Norm, image: Image, seed: int = 7) -> Generator:
    """Return a generator with random weights whose output spans the grey levels, neither flat nor saturated."""
    torch.manual_seed(seed)
    generator = Generator(width, norm).eval().requires_grad_(requires_grad=False)
    last = generator.model[-2]
    assert isinstance(last, torch.nn.Conv2d)
    with torch.inference_mode():
        sample = generator.model[:-1](to_tensor(image[: SAMPLE_PX[1], : SAMPLE_PX[0]]))
    mean, deviation = sample.mean(dim=(0, 2, 3)).clone(), sample.std(dim=(0, 2, 3)).clone()
    last.weight /= deviation[:, None, None, None]
    last.bias = torch.nn.Parameter((last.bias - mean) / deviation)
    return generator


def generator_of(kind: str, image: Image, weights: str | None, folder: Path | None) -> Generator:
    """Return the network called `weights`, or one of `kind` with random weights."""
    if weights is None:
        return (
            random_generator(WIDTH, "instance", image)
            if kind == "full"
            else random_generator(LIGHT_WIDTH, "folded", image)
        )
    network = load_model(weights, folder).network
    assert isinstance(network, Generator), f"{weights} is no stainer"
    return network


def prepared(generator: Generator, way: str, image: Image, spacing: int) -> Stain:
    """Return what stains boxes of `image`, with its statistics when the way asks for them."""
    stainer, field = SeamlessStainer(generator), None
    if way in {"slide", "grid"}:
        read = reader(image)

        def has_tissue(box: Box) -> bool:
            return bool((read(box).min(axis=-1) < TISSUE_BELOW).mean() > TISSUE_SHARE)

        size = Size(image.shape[1], image.shape[0])
        field = stainer.calibrate(read, size, has_tissue, spacing if way == "grid" else None)
    return partial(stainer.stain, field=field)


def rows(options: argparse.Namespace, kind: str) -> Iterator[dict[str, Any]]:
    """Yield one measurement after the other."""
    for way in WAYS[kind]:
        if options.ways and way not in options.ways.split(","):
            continue
        size = Size(*(int(side) for side in (options.size or SIZES[way]).split("x")))
        image = he_image(size, options.image)
        read, size = reader(image), Size(image.shape[1], image.shape[0])
        generator = generator_of(kind, image, options.weights, options.weights_folder)
        stain = prepared(generator, way, image, options.spacing)
        start = time.perf_counter()
        whole = stain(read, Box(0, 0, *size))
        print(
            f"# {kind}, {way}: {size.width} x {size.height} px whole, {time.perf_counter() - start:.0f} s", flush=True
        )
        for side in (int(side) for side in options.windows.split(",")):
            for offset in offsets(side):
                start = time.perf_counter()
                parts = in_windows(stain, image, side, offset, way)
                seconds = time.perf_counter() - start
                found = compare(parts, whole, side, offset)
                row = {"generator": kind, "size": f"{size.width} x {size.height}", "way": way, "window": side}
                yield row | {"offset": f"{offset[0]}, {offset[1]}"} | found | {"seconds": round(seconds, 1)}


def line(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    names = [str(row[key]) for key in ("generator", "way", "size", "window", "offset", "largest")]
    figures = [f"{row[key]:.4f}" for key in ("mean", "borders", "whole", "seam")]
    return f"| {' | '.join(names + figures)} |"


def main() -> None:
    """Measure, write every row as it comes, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", choices=("light", "full"), help="one of them only")
    parser.add_argument("--windows", default="256,512,1024", help="sides of the windows, model px")
    parser.add_argument("--size", help=f"image, px; by default {SIZES}")
    parser.add_argument("--image", type=Path, help="slide or image whose upper left corner is stained")
    parser.add_argument("--weights", help="name of imported weights; then name the --generator as well")
    parser.add_argument("--weights-folder", type=Path)
    parser.add_argument("--ways", help=f"some of {WAYS}")
    parser.add_argument("--spacing", type=int, default=384, help="distance of the grid's anchors, model px")
    parser.add_argument("--rows", type=Path, help="file that every row is appended to as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    failed = 0
    for kind in (options.generator,) if options.generator else ("light", "full"):
        for row in rows(options, kind):
            print(line(row), flush=True)
            good = row["largest"] <= 1 and abs(row["seam"] - 1) <= 0.01
            failed += not good and row["way"] not in NAIVE
            if options.rows:
                with options.rows.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
    print(f"# {failed or 'no'} rows beyond 1 grey level or 1 %, naive ways ({', '.join(NAIVE)}) not counted")


if __name__ == "__main__":
    main()
