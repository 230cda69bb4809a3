"""Maps of model tiles: class, uncertainty and explanation of each, and what was rejected of a virtual stain."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.explain.pseudocolour import diverging, entropy_colours
from wsi_pipeline.export.ngff import MapSpec
from wsi_pipeline.export.palette import CLASS_KEYS, NO_CLASS, colour_classes
from wsi_pipeline.export.zarr_map import MapStore
from wsi_pipeline.flows.maps import MAP_NAMES
from wsi_pipeline.flows.plan import RunPlan
from wsi_pipeline.flows.record import Verdicts
from wsi_pipeline.flows.tile_region import Columns
from wsi_pipeline.geometry import Mpp, Size, ceil_div, cut
from wsi_pipeline.models.manifest import HER2_CLASSES
from wsi_pipeline.stain.quality import REASONS
from wsi_pipeline.tiling import Grid

TILE_CLASS_MAP = "tile_class.ome.zarr"
ENTROPY_MAP = "tile_entropy.ome.zarr"
CAM_MAP = "cam_margin.ome.zarr"
CAM_COLOUR_MAP = "cam_margin_colour.ome.zarr"
QUALITY_MAP = "virtual_quality.ome.zarr"

CAM_PERCENTILE = 99.0
"""Of the slide's own evidence, without sign: the colours end there, so that single hot spots do not fade all else."""

LEAST_CAM_LIMIT = 0.01
"""Logits: a slide without any evidence is shown white, not as noise."""

QUALITY_COLOURS = {
    "accepted": (102, 166, 97),
    "blurred": (166, 206, 227),
    "brightness": (253, 191, 111),
    "contrast": (202, 178, 214),
    "unsure": (251, 154, 153),
    "label": (177, 89, 40),
}
"""Colour of each tile of a virtual stain: accepted, or the first check that it failed."""

TILE_MAP_NAMES = {
    TILE_CLASS_MAP: "HER2 class of tiles by the network",
    ENTROPY_MAP: "Uncertainty of the network (yellow none to dark blue 2 bits)",
    CAM_COLOUR_MAP: "What spoke for {contrast} (red for, blue against, to {limit:.2f} logits)",
    CAM_MAP: "What spoke for {contrast}, values (logits)",
    QUALITY_MAP: "Quality of the virtual stain (green accepted)",
}
"""File of each map and the name that viewers show; the CAM's says what it explains and where its colours end."""


class TileScales(NamedTuple):
    """What the CAM map explains; where its colours end, and that margin of a tile of glass, logits."""

    contrast: str
    limit: float
    glass: float


def map_name(file: str, scales: TileScales | None) -> str:
    """Return the name that viewers show for the map in `file`."""
    return (MAP_NAMES | TILE_MAP_NAMES)[file].format(**(scales._asdict() if scales else {}))


def write_tile_maps(folder: Path, plan: RunPlan, tiles: Columns, verdicts: Verdicts) -> TileScales | None:
    """Write the maps that the model tiles give; return the scale of the CAM map, where there is one."""
    grid = plan.tile_grid
    if grid is None or not tiles:
        return None
    if "failed" in tiles:
        _write(folder, QUALITY_MAP, grid, 1, _placed(grid, tiles, _quality_colours(tiles), 255))
    if "logits" not in tiles:
        return None
    accepted = {name: column[tiles["accepted"]] for name, column in tiles.items()}
    keys = np.array([CLASS_KEYS.index(key) for key in ("0", "1", "2", "3")], np.uint8)
    classes = _placed(grid, accepted, keys[accepted["class_index"]], NO_CLASS)
    _write(folder, TILE_CLASS_MAP, grid, 1, colour_classes(classes))
    entropy = _placed(grid, accepted, accepted["entropy_bits"].astype(np.float32), np.nan)
    _write(folder, ENTROPY_MAP, grid, 1, entropy_colours(entropy))
    return _write_cam(folder, grid, accepted, _margin(verdicts, accepted))


def _margin(verdicts: Verdicts, tiles: Columns) -> int:
    """Return which margin is explained, 0 to 2: that of the tiles' score against the one below it (1+ against 0)."""
    score = verdicts.tiles.score if verdicts.tiles is not None else "not evaluable"
    if score == "not evaluable":
        classes = tiles["class_index"]
        return max(int(np.bincount(classes, minlength=1).argmax()) - 1, 0) if len(classes) else 0
    return max(HER2_CLASSES.index(score) - 1, 0)


def _write_cam(folder: Path, grid: Grid, tiles: Columns, margin: int) -> TileScales:
    """Write what spoke for one ordinal margin in logits and in colours, on one scale for the whole slide.

    The mean of a tile's values is its margin (`explain.cam.MarginMaps`).
    """
    cam, glass = tiles["cam"][:, margin], tiles["glass_margins"][:, margin]
    steps = cam.shape[-1]
    limit = max(float(np.percentile(np.abs(cam), CAM_PERCENTILE)) if cam.size else 0.0, LEAST_CAM_LIMIT)
    scales = TileScales(
        f"{HER2_CLASSES[margin + 1]} against {HER2_CLASSES[margin]}", limit, float(glass[0]) if glass.size else 0.0
    )
    raw = _placed(grid, tiles, cam, np.nan)
    _write(folder, CAM_MAP, grid, steps, np.nan_to_num(raw), scales)
    _write(folder, CAM_COLOUR_MAP, grid, steps, diverging(raw, limit), scales)
    return scales


def _quality_colours(tiles: Columns) -> NDArray[np.uint8]:
    """Return the colour of each tile, (T, 3) uint8 RGB."""
    first = np.where(tiles["accepted"], 0, tiles["failed"].argmax(axis=1) + 1)
    return np.array([QUALITY_COLOURS[name] for name in ("accepted", *REASONS)], np.uint8)[first]


def _placed(grid: Grid, tiles: Columns, values: NDArray[Any], empty: float) -> NDArray[Any]:
    """Return a picture of the slide with the `values` of its tiles in place.

    `values` (T,) and (T, 3) uint8 give one px a tile, (T, n, n) float n x n px; `empty` elsewhere.
    """
    rows, columns = ceil_div(grid.size_an.height, grid.options.tile_px), grid.tile_columns()
    flat = np.full((rows * columns, *values.shape[1:]), empty, values.dtype)
    flat[tiles["tile"]] = values
    picture = flat.reshape(rows, columns, *values.shape[1:])
    if values.ndim < 3:
        return picture
    height, width = values.shape[1:]
    return picture.transpose(0, 2, 1, 3).reshape(rows * height, columns * width)


def _write(
    folder: Path, name: str, grid: Grid, steps: int, picture: NDArray[Any], scales: TileScales | None = None
) -> None:
    """Write a picture with `steps` px per tile along each axis as a map pyramid."""
    rgb = picture.ndim == 3
    limit = scales.limit if scales else 1.0
    tile_um = Mpp(grid.mpp.x * grid.options.tile_px, grid.mpp.y * grid.options.tile_px)
    spec = MapSpec(
        size_map=Size(picture.shape[1], picture.shape[0]),
        channels="rgb" if rgb else "gray",
        mpp_map=tile_um.scaled(1 / steps),
        mpp_slide=grid.mpp_l0,
        name=map_name(name, scales),
        dtype="uint8" if rgb else "float32",
        display_range=(0.0, 255.0) if rgb else (-limit, limit),
    )
    store = MapStore.create(folder / name, spec)
    for box in cut(spec.size_map, store.chunk):
        store.write_block(box.x, box.y, picture[box.y : box.bottom, box.x : box.right])
    store.build_pyramid("mode" if name in {TILE_CLASS_MAP, QUALITY_MAP} else "mean")
