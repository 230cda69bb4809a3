"""What a classifier says about tiles, tile by tile, kept as a table that everything else is computed from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.models.classify import TileRunner
from wsi_pipeline.models.load import load_model
from wsi_pipeline.models.manifest import HER2_CLASSES
from wsi_pipeline.models.options import ModelOptions
from wsi_pipeline.models.runtime import choose_runtime
from wsi_pipeline.training.classifier.calibration import log_probabilities
from wsi_pipeline.training.data.images import read_rgb
from wsi_pipeline.training.data.records import Patch
from wsi_pipeline.training.study.files import read_table, write_table
from wsi_pipeline.training.study.guard import require_place
from wsi_pipeline.training.study.options import StudyOptions
from wsi_pipeline.training.study.tiles import Pixels, cut_tile, image_size, side_in, tile_boxes

CHUNK = 64
"""Tiles asked for at once."""


class Tile(NamedTuple):
    """One tile that is judged."""

    file: str
    """Image that its pixels come from: the real patch, or the virtual tile (relative to the study's folder)."""
    patch: str
    """IHC image of the patch that it lies in."""
    number: int
    """Which of the patch's tiles, from 0."""
    label: int
    slide: str
    patient: str


class Judged(NamedTuple):
    """Some tiles, their pixels (B, H, W, 3) uint8 and the classifier's probabilities (B, 4) float64."""

    tiles: list[Tile]
    pixels: NDArray[np.uint8]
    probabilities: NDArray[np.float64]


PROBABILITIES = tuple(f"probability {name}" for name in HER2_CLASSES)
COLUMNS = (*Tile._fields, "called", *PROBABILITIES)


class Judge:
    """A classifier of tiles in fp32, whose answers do not depend on how tiles are grouped."""

    def __init__(self, name: str, folder: Path, device: str) -> None:
        """Load the weights `name` in `folder`. Raises WeightsError, UsageError for a device that is not there."""
        loaded = load_model(name, folder)
        wish = ModelOptions(device=device, precision="fp32", backend="torch")
        self._runner = TileRunner(loaded, choose_runtime(loaded.manifest.architecture, wish), CHUNK)

    def judge(self, tiles: Iterable[tuple[Tile, Pixels]]) -> Iterator[Judged]:
        """Yield the tiles, some at a time, with their probabilities."""
        waiting: list[tuple[Tile, Pixels]] = []
        for tile in tiles:
            waiting.append(tile)
            if len(waiting) == CHUNK:
                yield self._answered(waiting)
                waiting = []
        if waiting:
            yield self._answered(waiting)

    def _answered(self, waiting: Sequence[tuple[Tile, Pixels]]) -> Judged:
        """Return what is said about some tiles."""
        pixels = np.stack([image for _, image in waiting])
        logits = self._runner.answer(pixels).logits.astype(np.float64)
        return Judged([tile for tile, _ in waiting], pixels, np.exp(log_probabilities(logits)))


def count_tiles(patches: Sequence[Patch], options: StudyOptions) -> int:
    """Return how many tiles are measured of `patches`; images are not decoded."""
    side, most = side_in(options.classifier.patches), options.tiles_per_patch
    return sum(len(tile_boxes(image_size(patch.path), side, most)) for patch in patches)


def real_test_tiles(patches: Sequence[Patch], options: StudyOptions) -> Iterator[tuple[Tile, Pixels]]:
    """Yield the measured tiles of real test IHC. Raises UsageError naming a patch that is no such thing."""
    cut = options.classifier.patches
    for patch in patches:
        require_place(patch, "test")
        image = read_rgb(patch.path)
        boxes = tile_boxes(image_size(patch.path), side_in(cut), options.tiles_per_patch)
        for number, box in enumerate(boxes):
            yield tile_of(patch, str(patch.path), number), cut_tile(image, box, cut.tile_px)


def stored_tiles(tiles: Iterable[Tile], folder: Path) -> Iterator[tuple[Tile, Pixels]]:
    """Yield tiles whose files lie below `folder`."""
    for tile in tiles:
        yield tile, read_rgb(folder / tile.file)


def tile_of(patch: Patch, file: str, number: int) -> Tile:
    """Return the tile `number` of a labelled patch."""
    return Tile(file, str(patch.path), number, -1 if patch.label is None else patch.label, patch.slide, patch.patient)


def shown(tiles: Iterable[tuple[Tile, Pixels]], show: Callable[[int], None]) -> Iterator[tuple[Tile, Pixels]]:
    """Yield `tiles` and tell how many were asked for so far."""
    for number, tile in enumerate(tiles):
        show(number)
        yield tile


def write_predictions(path: Path, judged: Iterable[Judged]) -> None:
    """Write one row for each tile; probabilities read back to the bit. Raises OutputError, ResourceError."""
    rows = [
        (*tile, int(found.argmax()), *map(repr, found.tolist()))
        for part in judged
        for tile, found in zip(part.tiles, part.probabilities, strict=True)
    ]
    write_table(path, COLUMNS, rows)


class Predictions(NamedTuple):
    """A table of predictions, N tiles."""

    labels: NDArray[np.int64]
    called: NDArray[np.int64]
    patients: list[str]
    slides: list[str]
    places: list[tuple[str, int]]
    """Patch and tile number: the same tile in tables of different classifiers."""


def read_predictions(path: Path) -> Predictions:
    """Return what `write_predictions` wrote. Raises OutputError when it cannot be read."""
    rows = read_table(path)
    return Predictions(
        np.array([int(row["label"]) for row in rows], np.int64),
        np.array([int(row["called"]) for row in rows], np.int64),
        [row["patient"] for row in rows],
        [row["slide"] for row in rows],
        [(row["patch"], int(row["number"])) for row in rows],
    )
