"""Do maps of evidence add up: print the error of their sums on real IHC tiles, and how many have the wrong sign.

Usage: python tests/bench/explanations.py [--data FOLDER] [--classifier NAME] [--weights DIR] [--tiles 60]

Of each tile and each ordinal margin: the mean of the map by integrated gradients (the product's), and of Grad-CAM,
which was shown before. The folder is that of the real data (WSI_HER2_DATA, else ../shared/data). Ends with 1 when a sum
is off by more than 0.001 logits or a sign is wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from wsi_pipeline.explain.cam import MARGINS, MarginMaps
from wsi_pipeline.explain.tile import MARGIN_NAMES
from wsi_pipeline.models.fixture_tiles import glass_tile
from wsi_pipeline.models.ihcnet import TileClassifier
from wsi_pipeline.models.load import load_model
from wsi_pipeline.models.preprocess import network_input

SOURCES = (
    ("her2/fields/*.png", 0.36), ("her2/pairs_bci/IHC/**/*.png", 0.46), ("her2/pairs_mist/IHC/**/*.*g", 0.466),
    ("her2/ezeher/*.jpg", 0.25), ("her2/cores/*.jpg", 0.25),
)  # fmt: skip
"""Pictures of real HER2 IHC, and their um/px."""

PER_PICTURE = 3
LEAST_TISSUE, TISSUE_BELOW = 0.5, 200
"""Share of a tile's pixels that have a colour darker than this grey level."""

MOST_ERROR = 1e-3
"""Logits."""


def real_tiles(data: Path, side: int, mpp: float) -> Iterator[NDArray[np.uint8]]:
    """Yield tiles of tissue, (side, side, 3) uint8 RGB at `mpp`, at most PER_PICTURE of each picture, by turns."""
    for place in range(PER_PICTURE):
        for pattern, picture_mpp in SOURCES:
            for file in sorted(data.glob(pattern)):
                found = _tiles_of(file, side, picture_mpp / mpp)
                if place < len(found):
                    yield found[place]


def _tiles_of(file: Path, side: int, scale: float) -> list[NDArray[np.uint8]]:
    """Return the tiles of a picture that hold tissue, evenly spread."""
    picture = cv2.resize(cv2.imread(str(file)), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[..., ::-1]
    rows, columns = (range(0, length - side + 1, side) for length in picture.shape[:2])
    cut = [picture[y : y + side, x : x + side] for y in rows for x in columns]
    kept = [tile for tile in cut if (tile.min(axis=2) < TISSUE_BELOW).mean() > LEAST_TISSUE]
    chosen = np.unique(np.linspace(0, len(kept) - 1, min(PER_PICTURE, len(kept))).astype(int))
    return [np.ascontiguousarray(kept[number]) for number in chosen]


def grad_cam_means(network: TileClassifier, features: torch.Tensor) -> NDArray[np.float32]:
    """Return the means of Grad-CAM's maps, (B, 3): the gradient at the tile alone, times what was pooled."""
    pooled = features.clone().mean(dim=(2, 3)).requires_grad_()
    logits = network.classifier(pooled)
    means = [
        (torch.autograd.grad((logits[:, k + 1] - logits[:, k]).sum(), pooled, retain_graph=True)[0] * pooled).sum(dim=1)
        for k in range(MARGINS)
    ]
    return torch.stack(means, dim=1).detach().numpy()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.environ.get("WSI_HER2_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(here))
    parser.add_argument("--classifier", default="ihcnet-light-phantoms")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--tiles", type=int, default=60)
    options = parser.parse_args()
    manifest, module = load_model(options.classifier, options.weights)
    network = cast("TileClassifier", module)
    tiles = list(islice(real_tiles(options.data, manifest.tile_px, manifest.mpp), options.tiles))
    if len(tiles) < options.tiles:
        sys.exit(f"{options.data} holds {len(tiles)} tiles, not {options.tiles}")
    start = time.perf_counter()
    with torch.no_grad():
        inputs = network_input(torch.from_numpy(np.stack(tiles)), manifest)
        features = torch.cat([network.feature_map(inputs[first : first + 4]) for first in range(0, len(tiles), 4)])
        margins = torch.diff(network.logits(features)).numpy()
        glass = network.feature_map(network_input(torch.from_numpy(glass_tile(manifest)), manifest))
    middle = time.perf_counter()
    maps = MarginMaps(network, glass.mean(dim=(2, 3))[0])
    means = maps(features).mean(axis=(2, 3))
    end = time.perf_counter()
    before = grad_cam_means(network, features)
    print(
        f"{len(tiles)} real tiles, {manifest.name}; maps take {(end - middle) / (middle - start):.1%} of classifying\n"
    )
    print(
        "| margin | negative | of glass | Grad-CAM: wrong sign | error | maps now: wrong sign | error |\n"
        + "|---" * 7
        + "|"
    )
    failed = False
    for k in range(MARGINS):
        wrong = [(np.sign(each[:, k]) != np.sign(margins[:, k])).sum() for each in (before, means)]
        error = [np.abs(each[:, k] - margins[:, k]).max() for each in (before, means)]
        failed |= bool(wrong[1]) or error[1] > MOST_ERROR
        figures = f"{wrong[0]} | {error[0]:.2f} | {wrong[1]} | {error[1]:.6f}"
        print(f"| {MARGIN_NAMES[k]} | {(margins[:, k] < 0).sum()} | {maps.glass_margins[k]:+.2f} | {figures} |")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
