"""Step three: virtual IHC from the H&E of whole patches, cut into tiles that are marked as synthetic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import cv2
import numpy as np

from wsi_pipeline.errors import WeightsError
from wsi_pipeline.export.atomic import plain_disk_errors, write_atomic
from wsi_pipeline.models.load import load_model
from wsi_pipeline.models.manifest import Manifest
from wsi_pipeline.models.options import ModelOptions
from wsi_pipeline.models.pspstain import SIDE_MULTIPLE, Generator
from wsi_pipeline.models.runtime import choose_runtime
from wsi_pipeline.training.data.images import read_rgb
from wsi_pipeline.training.data.records import Patch
from wsi_pipeline.training.stainer.validation import Stain, staining
from wsi_pipeline.training.study.files import read_table, sha256, write_table
from wsi_pipeline.training.study.guard import marked_png
from wsi_pipeline.training.study.judge import Tile, tile_of
from wsi_pipeline.training.study.options import StudyOptions
from wsi_pipeline.training.study.tiles import Pixels, cut_tile, image_size, side_in, tile_boxes

MOST_OFF = 0.05
"""Relative difference of pixel sizes from which H&E is resized for the stainer."""

COLUMNS = (*Tile._fields, "he", "split of its H&E", "synthetic", "sha256")


class Stainer(NamedTuple):
    """A generator that is ready to stain."""

    manifest: Manifest
    stain: Stain


def load_stainer(name: str, folder: Path | None, device: str) -> Stainer:
    """Return the stainer `name`, fp32. Raises WeightsError when there is none, UsageError for an absent device."""
    manifest, network = load_model(name, folder)
    if manifest.is_classifier:
        raise WeightsError(name, "classifies tiles and does not stain", "wsi-her2 models list shows the stainers")
    wish = ModelOptions(device=device, precision="fp32", backend="torch")
    runtime = choose_runtime(manifest.architecture, wish)
    runtime.settle()
    generator = cast("Generator", network.to(runtime.device))
    return Stainer(manifest, staining(generator, runtime.device))


def stain_patches(
    patches: Sequence[Patch], stainer: Stainer, options: StudyOptions, out: Path, show: Callable[[int], None]
) -> Path:
    """Stain the H&E of `patches` (of one split), write tiles below `out`/virtual and return their table.

    Tiles that are there already are kept. Raises UsageError for an unreadable image, OutputError, ResourceError.
    """
    split = patches[0].split or "train"
    folder = out / "virtual" / split
    with plain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    cut, rows = options.classifier.patches, []
    for number, patch in enumerate(patches):
        show(number)
        boxes = tile_boxes(image_size(patch.path), side_in(cut), options.tiles_per_patch)
        files = [folder / f"{number:05d}_{k}.png" for k in range(len(boxes))]
        he = cast("Path", patch.he)
        if not all(file.is_file() for file in files):
            virtual = stained(read_rgb(he), stainer, cut.mpp_in)
            for file, box in zip(files, boxes, strict=True):
                write_atomic(file, marked_png(cut_tile(virtual, box, cut.tile_px)))
        for k, file in enumerate(files):
            tile = tile_of(patch, file.relative_to(out).as_posix(), k)
            rows.append((*tile, str(he), split, "true", sha256(file)))
    table = folder.with_suffix(".csv")
    write_table(table, COLUMNS, rows)
    return table


def stained(he: Pixels, stainer: Stainer, mpp: float) -> Pixels:
    """Return virtual IHC of a whole H&E patch (H, W, 3) at `mpp` um/px, same shape.

    Sides are filled up to a multiple of 4 by reflection; where the stainer expects other pixels, H&E is resized to
    them and the stain back.
    """
    height, width = he.shape[:2]
    ratio = mpp / stainer.manifest.mpp
    if abs(ratio - 1) > MOST_OFF:
        inner = cv2.resize(he, (round(width * ratio), round(height * ratio)), interpolation=cv2.INTER_AREA)
        virtual = _filled(np.asarray(inner, dtype=np.uint8), stainer.stain)
        return np.asarray(cv2.resize(virtual, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    return _filled(he, stainer.stain)


def read_tiles(table: Path) -> list[Tile]:
    """Return the tiles of a table of `stain_patches`. Raises OutputError when it cannot be read."""
    return [
        Tile(row["file"], row["patch"], int(row["number"]), int(row["label"]), row["slide"], row["patient"])
        for row in read_table(table)
    ]


def _filled(he: Pixels, stain: Stain) -> Pixels:
    """Return `he` (H, W, 3) stained, whatever its sides."""
    height, width = he.shape[:2]
    below, right = -height % SIDE_MULTIPLE, -width % SIDE_MULTIPLE
    full = cv2.copyMakeBorder(he, 0, below, 0, right, cv2.BORDER_REFLECT_101) if below or right else he
    return stain(np.asarray(full, dtype=np.uint8))[:height, :width]
