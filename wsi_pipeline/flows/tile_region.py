"""One region of model tiles: read, judge a virtual stain's quality, classify, explain.

Tiles are cut at the classifier's own pixel size, so their grid is not that of the cells.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.explain.looking import Look, look_through
from wsi_pipeline.explain.uncertainty import softmax
from wsi_pipeline.flows.networks import Network
from wsi_pipeline.flows.packed import PackedTask
from wsi_pipeline.flows.region import opened
from wsi_pipeline.geometry import Box
from wsi_pipeline.holding import one_opencv_thread
from wsi_pipeline.slide import RescaledSlide, SlideSpec
from wsi_pipeline.stain.quality import QualityOptions, check_tiles
from wsi_pipeline.tiling import Grid, Region

_LOADING = threading.Lock()

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class TilePlan:
    """What is the same for all regions. Without `network` only quality is judged, without `quality` nothing is."""

    slide: SlideSpec
    grid: Grid
    network: Network | None
    batch_tiles: int
    quality: QualityOptions | None


@dataclass(frozen=True)
class TileTask(PackedTask):
    """One region; `allowed` (h, w) bool and `piece` (h, w) uint16, one value per map px of the grid."""

    plan: TilePlan
    region: Region
    allowed: NDArray[np.bool_]
    piece: NDArray[np.uint16]


class TileOutcome(NamedTuple):
    """One row per tile with enough tissue: column name -> (T, ...) array; `seconds`: stage -> s.

    `scored_px`, `unreadable_px`: model px of tissue that was to be looked at, and how many could not be read.
    """

    region: int
    tiles: Columns
    scored_px: int
    unreadable_px: int
    seconds: dict[str, float]


@one_opencv_thread()
def process_tile_region(task: TileTask) -> TileOutcome:
    """Look at every tile of a region that holds enough tissue."""
    clock = [time.perf_counter()]
    boxes, columns = chosen_tiles(task)
    pixels, unreadable = _read(task.plan, boxes)
    clock.append(time.perf_counter())
    if task.plan.network is not None:
        columns |= _answers(task.plan, task.plan.network, pixels)
    clock.append(time.perf_counter())
    if task.plan.quality is not None:
        tissue, probabilities = _tissue(task, boxes), softmax(columns["logits"]) if "logits" in columns else None
        columns["failed"] = check_tiles(pixels, probabilities, None, task.plan.quality, tissue).failed
    clock.append(time.perf_counter())
    seconds = dict(zip(("read", "classify", "quality"), np.diff(clock).tolist(), strict=True))
    scored = int(task.allowed.sum()) * task.plan.grid.options.map_px**2
    return TileOutcome(task.region.index, columns, scored, min(unreadable, scored), seconds)


def chosen_tiles(task: TileTask) -> tuple[list[Box], Columns]:
    """Return the tiles with enough tissue, analysis px of the slide, and their columns of place, share and piece."""
    grid, options = task.plan.grid, task.plan.grid.options
    boxes, rows = [], []
    for tile in grid.tiles(task.region):
        window = grid.map_window(task.region, tile)
        allowed = task.allowed[window]
        share = float(allowed.sum()) * options.map_px**2 / options.tile_px**2  # of the whole tile, also at the edge
        if share == 0.0 or share < options.min_tissue_share:
            continue
        boxes.append(tile)
        piece = int(np.bincount(task.piece[window][allowed]).argmax())
        rows.append((grid.tile_number(tile), *grid.shown(tile), min(share, 1.0), piece))
    names = ("tile", "x_l0", "y_l0", "width_l0", "height_l0", "tissue_share", "piece")
    table = np.array(rows, np.float64).reshape(-1, len(names))
    columns: Columns = dict(zip(names, table.T, strict=True))
    for name in names:
        if name != "tissue_share":
            columns[name] = columns[name].astype(np.int64)
    return boxes, columns


def _read(plan: TilePlan, boxes: list[Box]) -> tuple[NDArray[np.uint8], int]:
    """Return the pixels of whole tiles (T, H, W, 3), and how many of the area that they lie in could not be read.

    White beyond the slide's edge.
    """
    side = plan.grid.options.tile_px
    if not boxes:
        return np.zeros((0, side, side, 3), np.uint8), 0
    pixels = RescaledSlide(opened(plan.slide), plan.grid.mpp.x).read_boxes([Box(*box[:2], side, side) for box in boxes])
    return np.stack([tile.rgb for tile in pixels]), sum(tile.unreadable for tile in pixels)


def _answers(plan: TilePlan, network: Network, pixels: NDArray[np.uint8]) -> Columns:
    """Return logits (T, 4), what spoke for each margin at each position (T, 3, h, w), and glass's margins (T, 3)."""
    with _LOADING:  # threads that share a GPU share the network too
        look = _look(network, plan.batch_tiles)
    starts = range(0, max(len(pixels), 1), plan.batch_tiles)  # features of a whole region would not fit
    seen = [look(pixels[start : start + plan.batch_tiles]) for start in starts]
    return {
        "logits": np.concatenate([part.logits for part in seen]),
        "cam": np.concatenate([part.maps for part in seen]),
        "glass_margins": np.repeat(seen[0].glass_margins[np.newaxis], len(pixels), axis=0),
    }


def _tissue(task: TileTask, boxes: list[Box]) -> NDArray[np.bool_]:
    """Return where the tiles hold tissue, (T, H, W) bool; none beyond the slide's edge."""
    core, side, map_px = task.region.core_an, task.plan.grid.options.tile_px, task.plan.grid.options.map_px
    tissue = np.zeros((len(boxes), side, side), bool)
    for shown, tile in zip(tissue, boxes, strict=True):
        rows = np.arange(tile.y - core.y, tile.bottom - core.y) // map_px
        across = np.arange(tile.x - core.x, tile.right - core.x) // map_px
        shown[: tile.height, : tile.width] = task.allowed[np.ix_(rows, across)]
    return tissue


@lru_cache(maxsize=1)
def _look(network: Network, batch_tiles: int) -> Look:
    """Load and verify the classifier once per process."""
    return look_through(network.name, network.folder, network.runtime, batch_tiles)
