"""Crops of patches on disk as a source of samples."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from wsi_pipeline.errors import UsageError
from wsi_pipeline.geometry import Box
from wsi_pipeline.training.data.augment import DAB, EOSIN, AugmentOptions, Pixels, changed, turned
from wsi_pipeline.training.data.images import kept_rgb
from wsi_pipeline.training.data.records import Patch, Sample

_GRID = 0.5
"""Where a single crop without chance lies: in the middle."""


class PatchOptions(BaseModel):
    """How patches are cut. BCI has about 0.46, MIST 0.466 um/px; class folders say nothing of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tile_px: int = Field(256, ge=8, description="side of a sample, px")
    mpp_in: float = Field(0.46, gt=0, description="pixel size of the patches, um/px")
    mpp_out: float = Field(0.46, gt=0, description="pixel size of the samples (the network's), um/px")
    crops: int = Field(4, ge=1, description="samples per patch and epoch")
    scale: tuple[float, float] = Field((0.93, 1.07), description="further magnification, drawn when augmenting")
    augment: AugmentOptions | None = Field(
        AugmentOptions(), description="changes to the pixels; null: fixed crops, spread evenly, equal in every epoch"
    )
    seed: int = Field(0, ge=0, description="root of all chance")


class PatchSource:
    """Implements `Source`: sample `i` is a crop of patch `i // crops`; chance depends on (seed, epoch, i) only."""

    def __init__(self, patches: Sequence[Patch], options: PatchOptions) -> None:
        """Take the patches of one split; images are read when asked for."""
        if not patches:
            raise UsageError("data set", "there is no patch to train on or to judge by", "check the splits")
        self.patches = list(patches)
        self.options = options

    def __len__(self) -> int:
        """Return how many samples an epoch has."""
        return len(self.patches) * self.options.crops

    @property
    def block(self) -> int:
        """Neighbouring indices that share a decoded file (see `reading_order`)."""
        return self.options.crops

    def labels(self) -> NDArray[np.int64]:
        """Label of every index, -1 where unknown: int64 (len(self),)."""
        codes = [-1 if patch.label is None else patch.label for patch in self.patches]
        return np.repeat(np.array(codes, dtype=np.int64), self.options.crops)

    def sample(self, index: int, epoch: int) -> Sample:
        """Return a crop, cut, turned and changed as (seed, epoch, index) say. Raises UsageError naming a bad file."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        options, patch = self.options, self.patches[index // self.options.crops]
        augment = options.augment
        rng = np.random.default_rng([options.seed, epoch, index])
        scale = float(rng.uniform(*options.scale)) if augment else 1.0
        place = tuple(rng.random(2)) if augment else _spread(index % options.crops, options.crops)
        turn = int(rng.integers(8)) if augment and augment.turn else 0
        box = self._box(patch, scale, (float(place[0]), float(place[1])))
        rgb = self._cut(kept_rgb(patch.path), box, turn)
        he = self._cut(kept_rgb(patch.he), box, turn) if patch.he else None
        if augment and augment.ihc:
            rgb = changed(rgb, DAB, augment.dab_gain, rng, augment)
        if augment and augment.he and he is not None:
            he = changed(he, EOSIN, augment.eosin_gain, rng, augment)
        return Sample(rgb, -1 if patch.label is None else patch.label, he, patch.slide)

    def _box(self, patch: Patch, scale: float, place: tuple[float, float]) -> Box:
        """Return the square of the patch to cut, px of the patch; `place` is 0-1 of the room along x and y."""
        height, width = kept_rgb(patch.path).shape[:2]
        whole = self.options.tile_px * self.options.mpp_out / self.options.mpp_in
        side = round(whole / scale)
        if side > min(width, height) >= round(whole):
            side = min(width, height)
        if side > min(width, height):
            raise UsageError(
                patch.path,
                f"is {width} x {height} px, less than the {side} px that a tile of {self.options.tile_px} px needs",
                "choose smaller tiles or check the pixel sizes",
            )
        if patch.he is not None and kept_rgb(patch.he).shape != kept_rgb(patch.path).shape:
            raise UsageError(patch.path, f"its pair {patch.he} has another size", "both must show the same pixels")
        return Box(round((width - side) * place[0]), round((height - side) * place[1]), side, side)

    def _cut(self, image: Pixels, box: Box, turn: int) -> Pixels:
        """Return the square at the size of a sample, turned."""
        part = np.array(image[box.y : box.bottom, box.x : box.right])  # a copy: the kept image is not for writing
        side = self.options.tile_px
        if box.width != side:
            method = cv2.INTER_AREA if box.width > side else cv2.INTER_LINEAR
            part = np.asarray(cv2.resize(part, (side, side), interpolation=method), dtype=np.uint8)
        return turned(part, turn)


def _spread(number: int, count: int) -> tuple[float, float]:
    """Return where crop `number` of `count` lies when nothing is left to chance: on a grid, 0-1 along x and y."""
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    x = (number % columns) / (columns - 1) if columns > 1 else _GRID
    y = (number // columns) / (rows - 1) if rows > 1 else _GRID
    return x, y
