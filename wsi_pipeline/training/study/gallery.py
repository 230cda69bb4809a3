"""Tiles to look at: H&E, real IHC and virtual IHC side by side, accepted and rejected ones of every class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from wsi_pipeline.models.manifest import HER2_CLASSES
from wsi_pipeline.training.data.images import read_rgb
from wsi_pipeline.training.stainer.pairs import spread
from wsi_pipeline.training.study.filtering import FAILED
from wsi_pipeline.training.study.judge import PROBABILITIES
from wsi_pipeline.training.study.options import StudyOptions
from wsi_pipeline.training.study.tiles import cut_tile, image_size, side_in, tile_boxes

SHOWN_PX = 192
JPEG_QUALITY = 88
GAP_PX = 4


class Shown(NamedTuple):
    """One picture of a tile, and what is said under it."""

    accepted: bool
    label: int
    caption: str
    jpeg: bytes


def gallery(rows: Sequence[Mapping[str, str]], he: Mapping[str, str], out: Path, options: StudyOptions) -> list[Shown]:
    """Return some accepted and rejected tiles of each class, evenly spread over the filter's `rows`.

    `he`: patch -> its H&E image. Raises UsageError where an image is gone.
    """
    found = []
    for accepted in (True, False):
        for label in range(len(HER2_CLASSES)):
            verdict = "yes" if accepted else "no"
            chosen = [row for row in rows if row["accepted"] == verdict and int(row["label"]) == label]
            found += [
                Shown(accepted, label, caption(chosen[k]), _picture(chosen[k], he[chosen[k]["patch"]], out, options))
                for k in spread(len(chosen), options.pictures)
                if chosen
            ]
    return found


def caption(row: Mapping[str, str]) -> str:
    """Return what the filter found: label, answer and confidence, and the checks that failed."""
    called = int(row["called"])
    confidence = 100.0 * float(row[PROBABILITIES[called]])
    reasons = ", ".join(name for name, column in FAILED.items() if row[column] == "yes")
    end = f"; failed: {reasons}" if reasons else ""
    return f"label {HER2_CLASSES[int(row['label'])]}, called {HER2_CLASSES[called]} ({confidence:.0f} %){end}"


def _picture(row: Mapping[str, str], he: str, out: Path, options: StudyOptions) -> bytes:
    """Return H&E, real IHC and virtual IHC of one tile in a row, as JPEG."""
    cut, patch = options.classifier.patches, Path(row["patch"])
    boxes = tile_boxes(image_size(patch), side_in(cut), options.tiles_per_patch)
    box = boxes[int(row["number"])]
    tiles = [cut_tile(read_rgb(Path(file)), box, cut.tile_px) for file in (he, patch)]
    tiles.append(read_rgb(out / row["file"]))
    canvas = np.full((SHOWN_PX, 3 * SHOWN_PX + 2 * GAP_PX, 3), 255, np.uint8)
    for place, tile in enumerate(tiles):
        small = Image.fromarray(tile).resize((SHOWN_PX, SHOWN_PX), Image.Resampling.LANCZOS)
        left = place * (SHOWN_PX + GAP_PX)
        canvas[:, left : left + SHOWN_PX] = np.asarray(small)
    file = BytesIO()
    Image.fromarray(canvas).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()
