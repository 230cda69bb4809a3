"""The slide's maps: made empty before the regions write their chunks, and finished afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from math import gcd
from pathlib import Path

import numpy as np

from wsi_pipeline.explain.pseudocolour import LEVELS_PER_OD, MOST_DAB_OD
from wsi_pipeline.export.ngff import MapSpec
from wsi_pipeline.export.zarr_map import MapStore, levels_alone
from wsi_pipeline.flows.gather import Gathered
from wsi_pipeline.flows.pyramids import CLASS_MAP, COLOUR_MAP, DENSITY_MAP, Block, build_rest
from wsi_pipeline.geometry import Size, ceil_div, cut
from wsi_pipeline.tiling import Grid

FOLDER = "maps"

VIRTUAL_IMAGE = "virtual_ihc.ome.zarr"

SHARE_MAP = "positive_share.ome.zarr"

CHUNK_PX, LARGEST_CHUNK_PX = 256, 1024
"""Sides of chunks that QuPath reads well, px."""

MAP_NAMES = {
    VIRTUAL_IMAGE: "Virtual HER2 IHC, inferred from H&E, research use only",
    CLASS_MAP: "HER2 class of tumour cells",
    COLOUR_MAP: "DAB density in colours (yellow 0 to violet 1.5 OD)",
    DENSITY_MAP: "DAB density, values (OD x 100, 0 not measured)",
    SHARE_MAP: "Stained tumour cells per tile, values (1 + 2 x percent, 0 no tumour cells)",
}
"""File of each map and the name that viewers show, which says how to read it; no "/", after which napari cuts."""

DISPLAY_RANGES = {DENSITY_MAP: (0.0, MOST_DAB_OD * LEVELS_PER_OD), SHARE_MAP: (0.0, 201.0)}
"""File of a grey map and its values that viewers show black and white; density as far as its pseudo-colours, 1.5 OD."""

BYTES_PER_MAP_PX = 4
"""Measured on dense tissue: RGB, density and pseudo-colours together take 2-3 bytes per map px after blosc-zstd."""

BYTES_PER_IMAGE_PX = 3
"""Uncompressed RGB of a virtual stain; blosc-zstd leaves about half of it."""

BYTES_AT_LEAST = 20_000_000
"""Tables, GeoJSON and project of a small slide."""


def estimate_bytes(grid: Grid, *, virtual: bool) -> int:
    """Return about how many bytes a run may write at most: every part of the slide filled with cells."""
    size = grid.size_an.width * grid.size_an.height
    image = BYTES_PER_IMAGE_PX * size if virtual else 0
    return BYTES_AT_LEAST + 2 * BYTES_PER_MAP_PX * size // grid.options.map_px**2 + image


def create_maps(work: Path, grid: Grid, *, cells: bool, virtual: bool) -> None:
    """Make the empty maps in the unfinished run folder `work`."""
    folder = work / FOLDER
    folder.mkdir()
    if virtual:
        create_image(folder / VIRTUAL_IMAGE, grid)
    if cells:
        fine, coarse = grid.options.map_px, grid.options.tile_px
        chunk = chunk_px(grid, fine)
        MapStore.create(folder / CLASS_MAP, _spec(grid, CLASS_MAP, fine, chunk, rgb=True))
        MapStore.create(folder / DENSITY_MAP, _spec(grid, DENSITY_MAP, fine, chunk))
        MapStore.create(folder / COLOUR_MAP, _spec(grid, COLOUR_MAP, fine, chunk, rgb=True))
        MapStore.create(folder / SHARE_MAP, _spec(grid, SHARE_MAP, coarse))


def create_image(path: Path, grid: Grid) -> None:
    """Make the empty image of a virtual stain, one px per px of `grid`."""
    MapStore.create(path, _spec(grid, VIRTUAL_IMAGE, 1, chunk_px(grid, 1), rgb=True))


def finish_image(path: Path, grid: Grid) -> None:
    """Build the levels of a virtual stain that regions could not write alone."""
    store = MapStore.open(path)
    store.build_pyramid("mean", levels_alone(grid.region_px, store.chunk))


def chunk_px(grid: Grid, step: int) -> int:
    """Return the side of the chunks of a map with one px per `step` analysis px.

    Regions are made of whole chunks, so that no two ever share one. Small regions, which are for debugging, have
    chunks smaller than QuPath likes.
    """
    side = grid.region_px // step
    if side % CHUNK_PX == 0:
        return CHUNK_PX
    return side if side <= LARGEST_CHUNK_PX else gcd(side, LARGEST_CHUNK_PX)


def finish_maps(folder: Path, grid: Grid, gathered: Gathered, unfinished: Iterable[Block]) -> None:
    """Write the map of positive shares, and the levels of the others that are still missing.

    `unfinished`: blocks whose levels no region wrote.
    """
    if not (folder / CLASS_MAP).exists():
        return
    _write_shares(MapStore.open(folder / SHARE_MAP), grid, gathered)
    MapStore.open(folder / SHARE_MAP).build_pyramid("mean")
    build_rest(folder, grid, unfinished)


def _write_shares(store: MapStore, grid: Grid, gathered: Gathered) -> None:
    """Write one pixel per tile: 0 without tumour cells, else 1 + 2 * percent of them that are stained at all."""
    rows = ceil_div(grid.size_an.height, grid.options.tile_px)
    image = np.zeros((rows, grid.tile_columns()), np.uint8)
    if gathered.tiles:
        filled = gathered.tiles["tumour_cells"] > 0
        values = 1 + np.rint(2 * gathered.tiles["positive_percent"][filled])
        image.ravel()[gathered.tiles["tile"][filled]] = values.astype(np.uint8)
    for box in cut(Size(grid.tile_columns(), rows), store.chunk):
        store.write_block(box.x, box.y, image[box.y : box.bottom, box.x : box.right])


def _spec(grid: Grid, name: str, step: int, chunk: int = CHUNK_PX, *, rgb: bool = False) -> MapSpec:
    """Describe a map with one pixel per `step` analysis px."""
    size = Size(ceil_div(grid.size_an.width, step), ceil_div(grid.size_an.height, step))
    return MapSpec(
        size_map=size,
        channels="rgb" if rgb else "gray",
        mpp_map=grid.mpp.scaled(step),
        mpp_slide=grid.mpp_l0,
        name=MAP_NAMES[name],
        chunk=chunk,
        kind="virtual stain" if name == VIRTUAL_IMAGE else "map",
        display_range=DISPLAY_RANGES.get(name, (0.0, 255.0)),
    )
