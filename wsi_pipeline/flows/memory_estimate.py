"""How much memory a slide needs: written from what a run really holds, with constants that were measured.

All figures are resident memory (RSS) of single processes, since that is what a worker's limit is held against;
processes that share libraries count them each, so that all of them together (PSS) hold less. Measured 2026-11-23 with
Python 3.11, dask 2026.8 and torch 2.15 on Linux, and 2026-11-28 with OpenVINO 2026.4 where networks need no torch;
tests/bench/memory.py prints the estimate beside what runs hold.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsi_pipeline.cells.options import CellOptions
from wsi_pipeline.config import Settings
from wsi_pipeline.engine.memory import GB
from wsi_pipeline.flows.memory import MB, SURVEYING, WORKER, Need
from wsi_pipeline.flows.networks import Chosen, Networks
from wsi_pipeline.flows.plan import RunPlan
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.survey import Survey, overview_step
from wsi_pipeline.geometry import Mpp, Size, ceil_div
from wsi_pipeline.models.cell_network import HALO_PX, MPP
from wsi_pipeline.slide.slide import SOURCE_PX
from wsi_pipeline.tiling import Grid, make_grid

DIRECTING = 200 * MB
"""This process while workers have the regions: the same, dask's scheduler and client. Seen: 191."""

FINISHING = 275 * MB
"""This process when it writes the results: pyarrow, shapely, maps in blocks. Seen: 263."""

PER_OVERVIEW_PX_SEEN, PER_OVERVIEW_PX_KEPT = 70, 14
"""Bytes per px of the overview while tissue is sought in it, and afterwards. Seen: 69 and 13 at 9.8 million px."""

PER_REGION_HERE, PER_NETWORK_REGION_HERE = 200_000, 100_000
"""Bytes that a region leaves in this process: its outcome, dask's records of its task (seen: 200 kB); its tiles."""

PER_CELL, PER_CELL_DRAWN = 1500, 2000
"""Bytes per cell in the tables, and more for each that is written as GeoJSON. Seen: 1,400, and 2,900 together."""

CELLS_PER_MM2, MOST_CELLS_PER_MM2 = 6_000, 12_000
"""Cells of a slide's tissue (phantoms have 4,200); and of a single region: noise of the size of nuclei gives 11,400."""

TORCH = 480 * MB
"""What torch and torchvision add to a worker that runs a network with them; processor build. Seen: 370 to 460."""

NETWORK = {
    ("ihcnet-light", "torch"): 150 * MB, ("ihcnet-light", "openvino"): 180 * MB,
    ("ihcnet", "torch"): 360 * MB, ("ihcnet", "openvino"): 370 * MB,
    ("pspstain-light", "torch"): 350 * MB, ("pspstain", "torch"): 1035 * MB,
}  # fmt: skip
"""What a network adds on top: library, weights, and the largest batch or window that it computes on a processor.

With OpenVINO seen: 165, and 337.
"""

LARGEST_NETWORK = max(NETWORK.values())

CELL_NETWORK = 430 * MB
"""What the network of cells adds to a worker: onnxruntime, and its layers over one strip. Seen: 382 for the layers."""

CUDA = 3 * GB
"""What CUDA adds to a worker, outside the GPU. Assumed, with room: it was not measured."""

KEPT = 67 * MB
"""Memory that glibc keeps for the next array: the 64 MiB of engine.fork_server.WORKER_VARIABLES."""

PER_PX, PER_PX_OF_CELLS, PER_CELL_MEASURED = 27, 6, 30_000
"""Bytes per px of a region with its halo while it is unmixed and nuclei are sought; and while cells are measured: per
px, and per cell, with 28 samples in 24 directions in several arrays. Seen: 16 (glass) to 27; 5 and 28,400."""

PER_SOURCE_PX, PER_MODEL_PX = 7, 12
"""Bytes per level px that is resampled at once, at most SOURCE_PX of them; and per px of a region of model tiles.

Counted, not measured alone: RGB, mask and one strip of what is resampled; area, tiles, batches and a mask.
"""


def first_need(grid: Grid, request: ScoreRequest) -> Need:
    """Return what a slide needs at the least, known from its header: no network, hardly any tissue."""
    px = _overview_px(grid)
    seen, kept = PER_OVERVIEW_PX_SEEN * px, PER_OVERVIEW_PX_KEPT * px
    regions = _regions(grid, Networks(), None, request.settings.cells)
    return Need(
        request.slide, request.say, FINISHING, SURVEYING + seen, DIRECTING + kept, FINISHING + kept, kept,
        WORKER, regions[0][1], 0, regions[1:],
    )  # fmt: skip


def example_need(settings: Settings) -> Need:
    """Return what a slide of 100,000 x 100,000 px at 0.25 um/px needs at the least, for people who plan."""
    grid = make_grid(Size(100_000, 100_000), Mpp(0.25, 0.25), settings.tiling)
    return first_need(grid, ScoreRequest(Path("slide"), Path("results"), settings))


def whole_need(plan: RunPlan, survey: Survey, request: ScoreRequest) -> Need:
    """Return what a slide needs, once it was looked at."""
    networks, settings = plan.networks, request.settings
    chosen = list(networks.chosen().values())
    kept = PER_OVERVIEW_PX_KEPT * survey.tissue.mask.size
    outcomes = _filled(plan.grid, survey) * (PER_REGION_HERE + (PER_NETWORK_REGION_HERE if chosen else 0))
    tissue_mm2 = float(survey.within.sum()) * survey.downsample**2 * plan.grid.mpp_l0.x * plan.grid.mpp_l0.y / 1e6
    cells = int(tissue_mm2 * CELLS_PER_MM2) if plan.measures_cells else 0
    drawn = min(cells, settings.output.cells_geojson_limit)
    tables = PER_CELL * cells + PER_CELL_DRAWN * drawn
    regions = _regions(plan.grid, networks, plan.tile_grid, settings.cells)
    return Need(
        request.slide, request.say,
        FINISHING,
        SURVEYING + PER_OVERVIEW_PX_SEEN * survey.tissue.mask.size,
        DIRECTING + kept + outcomes,
        FINISHING + kept + outcomes + tables,
        kept,
        WORKER + _networks(chosen),
        regions[0][1],
        CUDA if networks.gpus else 0,
        regions[1:],
    )  # fmt: skip


def stain_need(grid: Grid, chosen: Chosen, request: ScoreRequest) -> Need:
    """Return what the virtual stain of a slide needs, `grid` in px of the generator; no cells are measured."""
    first = first_need(grid, request)
    region = KEPT + _model_pass(grid)
    return Need(
        request.slide, request.say, first.base, first.surveying, first.directing, first.finishing, first.kept,
        WORKER + _networks([chosen]), region, CUDA if chosen.gpus else 0, (),
    )  # fmt: skip


def _networks(chosen: list[Chosen]) -> int:
    """Return what networks add to a worker; on a GPU their batches are there."""
    pairs = [(each.manifest.architecture, each.network.runtime.backend) for each in chosen]
    needs_torch = any(backend == "torch" for _, backend in pairs)
    return (TORCH if needs_torch else 0) + sum(NETWORK.get(pair, LARGEST_NETWORK) for pair in pairs)


def _overview_px(grid: Grid) -> int:
    """Return how many px the overview of a slide has."""
    step = overview_step(grid)
    return ceil_div(grid.size_l0.width, step) * ceil_div(grid.size_l0.height, step)


def _filled(grid: Grid, survey: Survey) -> int:
    """Return how many regions hold tissue, as the overview shows it."""
    height, width = survey.within.shape
    columns, rows = (
        np.unique((np.arange(0, side, grid.region_px) * ratio / survey.downsample).astype(int).clip(0, most - 1))
        for side, ratio, most in zip(grid.size_an, grid.ratio, (width, height), strict=True)
    )
    across = np.logical_or.reduceat(survey.within, columns, axis=1)
    return int(np.logical_or.reduceat(across, rows, axis=0).sum())


def _regions(grid: Grid, networks: Networks, tile_grid: Grid | None, cells: CellOptions) -> tuple[tuple[int, int], ...]:
    """Return tiles per side -> bytes of one region, for regions of this size and halved again and again."""
    found, tiles = [], grid.options.region_tiles
    while tiles:
        passes = [_cell_pass(_cut(grid, tiles), cells)]
        if tile_grid is not None:
            passes.append(_model_pass(_cut(tile_grid, tiles)))
        if networks.stainer is not None:
            passes.append(_model_pass(_cut(grid, tiles)))
        found.append((tiles, KEPT + max(passes)))
        tiles //= 2
    return tuple(found)


def _cut(grid: Grid, region_tiles: int) -> Grid:
    """Return the grid with regions of another size."""
    return Grid(grid.size_l0, grid.mpp_l0, grid.ratio, grid.options.model_copy(update={"region_tiles": region_tiles}))


def _region_size(grid: Grid) -> Size:
    """Return the size of the largest region, px of the grid."""
    return Size(*(min(grid.region_px, side) for side in grid.size_an))


def _cell_pass(grid: Grid, options: CellOptions) -> int:
    """Return what measuring the cells of a region holds at its largest, bytes."""
    halo, size = options.halo_px(grid.mpp), _region_size(grid)
    if options.finder == "network":
        halo += round(HALO_PX * MPP / min(grid.mpp))
    px = (size.width + 2 * halo) * (size.height + 2 * halo)
    cells = int(px * grid.mpp.x * grid.mpp.y / 1e6 * MOST_CELLS_PER_MM2)
    found = max(PER_PX * px, PER_PX_OF_CELLS * px + PER_CELL_MEASURED * cells, _source(grid, px))
    return found + (CELL_NETWORK if options.finder == "network" else 0)


def _model_pass(grid: Grid) -> int:
    """Return what a region of model tiles, or of a virtual stain, holds beside its network, bytes."""
    size = _region_size(grid)
    px = size.width * size.height
    return PER_MODEL_PX * px + _source(grid, px)


def _source(grid: Grid, px: int) -> int:
    """Return what reading `px` from a finer level holds at once, bytes."""
    source = int(px * grid.ratio[0] * grid.ratio[1])
    return PER_SOURCE_PX * min(source, SOURCE_PX) + 4 * px if source > px else 4 * px
