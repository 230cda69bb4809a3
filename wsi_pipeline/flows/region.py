"""One region, from pixels to a table: read, unmix, measure, write its own chunks of the maps.

This is the function that every executor runs; it takes and returns small values only, so no pixel passes through the
scheduler, and it touches only files of its own region, so running it again after a crash changes nothing.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from math import lcm
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.cells.classify import classify_lateral
from wsi_pipeline.cells.measure import Cells, Measurement, measure_cells
from wsi_pipeline.cells.network_finder import find_nuclei_by_network, view_of
from wsi_pipeline.cells.nuclei import grid_step
from wsi_pipeline.cells.options import AssayProfile, CellOptions
from wsi_pipeline.cells.paint import paint_classes
from wsi_pipeline.explain.pseudocolour import colour_density
from wsi_pipeline.export.atomic import plain_disk_errors
from wsi_pipeline.export.palette import colour_classes
from wsi_pipeline.export.zarr_map import MapStore
from wsi_pipeline.flows.nuclear_dab import stained_by_piece
from wsi_pipeline.flows.packed import PackedTask
from wsi_pipeline.flows.pyramids import CLASS_MAP, COLOUR_MAP, DENSITY_MAP, Block, build_block
from wsi_pipeline.geometry import Box, Mpp, ceil_div
from wsi_pipeline.holding import one_opencv_thread
from wsi_pipeline.models.cell_network import CellWeights, load_cell_network
from wsi_pipeline.slide import Pixels, Slide, SlideSpec
from wsi_pipeline.stain.compartment import NuclearStainOptions
from wsi_pipeline.stain.density import Stains, unmix
from wsi_pipeline.tiling import Grid, Region
from wsi_pipeline.tissue.focus import FocusOptions, sharpness

DENSITY_PER_OD = 100
"""Grey levels per OD in the DAB density map: a fixed scale, 2.55 OD and more are 255, and 0 was not measured."""

PART_NAME = "cells-{:06d}.npy"
"""File of a region's cells: one record each, read back many times as quickly as one array per column."""


@dataclass(frozen=True)
class RegionPlan:
    """What is the same for all regions of a slide; travels to every worker once per task, so it stays small.

    `slide`: whose pixels are measured, `step` of them per analysis px. `network`: what finds nuclei; None where
    the classical finder does.
    """

    slide: SlideSpec
    step: int
    grid: Grid
    white: tuple[float, float, float]
    assay: AssayProfile
    cells: CellOptions
    nuclear: NuclearStainOptions
    maps: Path
    parts: Path
    lateral: bool = False
    """Whether lateral and basolateral staining counts like complete staining (gastroesophageal tumours)."""
    network: CellWeights | None = None


@dataclass(frozen=True)
class RegionTask(PackedTask):
    """One region; `allowed` (h, w) bool, map px, says where cells count, `piece` (h, w) uint16 in which piece.

    `block`: the regions whose maps have their coarser levels in common.
    """

    plan: RegionPlan
    region: Region
    block: Block
    allowed: NDArray[np.bool_]
    piece: NDArray[np.uint16]


@dataclass(frozen=True)
class RegionOutcome:
    """What comes back: a row per tile, the number of cells in the part file, and how long each stage took.

    `tiles`: column name -> (T,) array. `stained`: how much DAB lies in nuclei, one row per piece of tissue.
    `unreadable_px`, `scored_px`: analysis px. `seconds`: stage -> s.
    `ended_block`: whether it was the last region of its block, whose coarser levels it then wrote.
    """

    index: int
    tiles: dict[str, NDArray[np.float64]]
    stained: dict[str, NDArray[np.float64]]
    cells: int
    unreadable_px: int
    scored_px: int
    seconds: dict[str, float]
    ended_block: bool


def opened(spec: SlideSpec) -> Slide:
    """Return the slide, kept open in a worker between its regions; opened anew when another file lies there."""
    return _opened(spec, file_identity(spec.path))


@lru_cache(maxsize=4)
def _opened(spec: SlideSpec, _identity: tuple[int, ...]) -> Slide:
    """Open the slide that is there now."""
    return spec.open()


def file_identity(path: Path) -> tuple[int, ...]:
    """Return what tells a file or folder from another one that came in its place; nothing for what is not there.

    Workers of a cluster outlive runs, and the work folder of a batch's slide has one name in all attempts.
    """
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns


@one_opencv_thread()
def process_region(task: RegionTask) -> RegionOutcome:
    """Measure one region, write its map chunks and its part of the cell table, and return its tiles."""
    plan, core = task.plan, task.region.core_an
    clock = [time.perf_counter()]
    window = measured_window(core, plan.grid.mpp, plan.cells)
    read = view_of(plan.grid.mpp, plan.cells).needed(window) if plan.network else window
    wide = opened(plan.slide).read_box(read.scaled(plan.step), plan.step)
    part = window.slices_in(read)
    pixels = Pixels(wide.rgb[part], wide.valid[part], wide.unreadable)
    clock.append(time.perf_counter())
    stains = unmix(pixels.rgb, plan.white, plan.assay.vectors)
    clock.append(time.perf_counter())
    inner = Box(core.x - window.x, core.y - window.y, core.width, core.height)
    nuclei = None
    if plan.network is not None:
        network = load_cell_network(plan.network)
        nuclei = find_nuclei_by_network(network, wide.rgb, window, plan.white, stains, plan.grid.mpp, plan.cells)
    measured = measure_cells(stains, inner, plan.grid.mpp, plan.assay, plan.cells, nuclei)
    if plan.lateral:
        classes = classify_lateral(measured.cells.completeness, measured.cells.intensity, plan.assay)
        measured = replace(measured, cells=replace(measured.cells, class_index=classes))
    counted = _allowed_at(task, measured.cells, inner)
    piece = np.where(task.allowed, task.piece, 0).astype(np.uint16)
    stained = stained_by_piece(measured.nuclei, inner, piece, plan.grid.options.map_px, plan.nuclear)
    clock.append(time.perf_counter())
    _write_maps(task, measured, counted, stains, inner)
    cells = measured.cells.chosen(counted)
    columns = _cell_columns(task, cells, inner)
    _write_part(plan.parts / PART_NAME.format(task.region.index), columns)
    ended = all((plan.parts / PART_NAME.format(index)).exists() for index in task.block.regions)
    if ended:  # the last two of a block may both find it whole, and write the same
        build_block(plan.maps, task.block)
    clock.append(time.perf_counter())
    tiles = _tile_columns(task, stains, inner)
    tiles["sharpness"], tiles["blurred"] = _focus(task, pixels.rgb, inner, tiles)
    seconds = dict(zip(("read", "unmix", "measure", "write"), np.diff(clock).tolist(), strict=True))
    inside = pixels.valid[inner.y : inner.bottom, inner.x : inner.right]
    scored = int(task.allowed.sum()) * plan.grid.options.map_px**2
    unreadable = min(pixels.unreadable, int((~inside).sum()))
    return RegionOutcome(task.region.index, tiles, stained, len(cells), unreadable, scored, seconds, ended)


def measured_window(core: Box, mpp: Mpp, options: CellOptions) -> Box:
    """Return what is read to measure `core`: with its halo, on the slide's one grid of nuclei whatever the region."""
    unit = lcm(8, grid_step(mpp, options))
    around = core.padded(options.halo_px(mpp))
    x, y = around.x // unit * unit, around.y // unit * unit
    return Box(x, y, unit * ceil_div(around.right - x, unit), unit * ceil_div(around.bottom - y, unit))


def _focus(
    task: RegionTask, rgb: NDArray[np.uint8], inner: Box, tiles: dict[str, NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the sharpness (T,) of the tiles in the table, and 1 where a tile is out of focus, else 0."""
    grid, core, options = task.plan.grid, task.region.core_an, FocusOptions()
    step = max(1, round(options.mpp / max(grid.mpp)))
    grey = cv2.cvtColor(rgb[inner.y : inner.bottom, inner.x : inner.right], cv2.COLOR_RGB2GRAY)
    if step > 1:
        size = (ceil_div(core.width, step), ceil_div(core.height, step))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    found = sharpness(np.asarray(grey, dtype=np.uint8), grid.options.tile_px // step)
    number = tiles["tile"].astype(np.int64)
    row = number // grid.tile_columns() - core.y // grid.options.tile_px
    column = number % grid.tile_columns() - core.x // grid.options.tile_px
    blurred = found.blurred(options)[row, column]
    return found.laplacian[row, column].astype(np.float64), blurred.astype(np.float64)


def _allowed_at(task: RegionTask, cells: Cells, inner: Box) -> NDArray[np.bool_]:
    """Say which cells (N,) lie in tissue that is to be scored."""
    row, column = _map_index(task, cells, inner)
    return np.asarray(task.allowed[row, column])


def _map_index(task: RegionTask, cells: Cells, inner: Box) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the map px (row, column) of each cell inside the region."""
    map_px = task.plan.grid.options.map_px
    row = ((cells.y - inner.y) // map_px).astype(np.int64)
    column = ((cells.x - inner.x) // map_px).astype(np.int64)
    return np.minimum(row, task.allowed.shape[0] - 1), np.minimum(column, task.allowed.shape[1] - 1)


def _write_maps(
    task: RegionTask, measured: Measurement, counted: NDArray[np.bool_], stains: Stains, inner: Box
) -> None:
    """Write this region's chunks of the class map and of the density, in numbers and in colours."""
    map_px, core = task.plan.grid.options.map_px, task.region.core_an
    left, top = core.x // map_px, core.y // map_px
    classes = paint_classes(measured, counted & measured.cells.tumour, inner, map_px)
    MapStore.open(task.plan.maps / CLASS_MAP).write_block(left, top, colour_classes(classes))
    size = (ceil_div(core.width, map_px), ceil_div(core.height, map_px))
    whole = stains.dab[inner.y : inner.y + size[1] * map_px, inner.x : inner.x + size[0] * map_px]
    mean = cv2.resize(np.maximum(whole, 0), size, interpolation=cv2.INTER_AREA)
    grey = np.where(task.allowed, np.clip(np.rint(mean * DENSITY_PER_OD), 1, 255), 0).astype(np.uint8)
    MapStore.open(task.plan.maps / DENSITY_MAP).write_block(left, top, grey)
    MapStore.open(task.plan.maps / COLOUR_MAP).write_block(left, top, colour_density(grey))


def _cell_columns(task: RegionTask, cells: Cells, inner: Box) -> dict[str, NDArray[np.generic]]:
    """Return the columns of the cell table; places in level-0 px of the shown slide, pixel corners at whole numbers."""
    grid, core = task.plan.grid, task.region.core_an
    ratio_x, ratio_y = grid.ratio
    shift_x, shift_y = core.x - inner.x + 0.5, core.y - inner.y + 0.5
    row, column = _map_index(task, cells, inner)
    tile = grid.options.tile_px
    tile_row = (core.y + (cells.y - inner.y).astype(np.int64)) // tile
    tile_column = (core.x + (cells.x - inner.x).astype(np.int64)) // tile
    return {
        "x_l0": ((cells.x + shift_x) * ratio_x).astype(np.float64),
        "y_l0": ((cells.y + shift_y) * ratio_y).astype(np.float64),
        "tile": (tile_row * grid.tile_columns() + tile_column).astype(np.int64),
        "piece": task.piece[row, column].astype(np.int32),
        "tumour": cells.tumour,
        "class_index": cells.class_index,
        "completeness": cells.completeness,
        "intensity_od": cells.intensity,
        "thickness_um": cells.thickness_um,
        "nucleus_area_um2": cells.area_um2,
        "nucleus_elongation": cells.elongation,
        "hematoxylin_od": cells.hematoxylin,
        "nuclear_dab_od": cells.nuclear_dab,
        "outline_l0": ((cells.outline + np.array([shift_x, shift_y])) * np.array(grid.ratio)).astype(np.float32),
    }


def _write_part(path: Path, columns: dict[str, NDArray[np.generic]]) -> None:
    """Write the region's cells where the aggregator finds them, whole or not at all. Raises ResourceError, OutputError.

    Without fsync, since the part only lives as long as the run.
    """
    kinds = [(name, column.dtype, column.shape[1:]) for name, column in columns.items()]
    records = np.empty(len(columns["tile"]), kinds)
    for name, column in columns.items():
        records[name] = column
    beside = path.with_suffix(f".{socket.gethostname()}-{os.getpid()}.tmp.npy")
    with plain_disk_errors(path.parent):
        np.save(beside, records)
        beside.replace(path)


def read_part(path: Path) -> dict[str, NDArray[np.generic]]:
    """Return the columns that a region left; views of one array."""
    records = np.load(path)
    return {name: records[name] for name in records.dtype.names}


def _tile_columns(task: RegionTask, stains: Stains, inner: Box) -> dict[str, NDArray[np.float64]]:
    """Return one row per tile of the region that holds any tissue to be measured."""
    grid, core = task.plan.grid, task.region.core_an
    rows = []
    for tile in grid.tiles(task.region):
        allowed = task.allowed[grid.map_window(task.region, tile)]
        if not allowed.any():
            continue
        x, y = tile.x - core.x + inner.x, tile.y - core.y + inner.y
        dab = np.maximum(stains.dab[y : y + tile.height, x : x + tile.width], 0)
        place = grid.shown(tile)
        rows.append((grid.tile_number(tile), *place, float(allowed.mean()), float(dab.mean())))
    names = ("tile", "x_l0", "y_l0", "width_l0", "height_l0", "tissue_share", "dab_od")
    table = np.array(rows, dtype=np.float64).reshape(-1, len(names))
    return dict(zip(names, table.T, strict=True))
