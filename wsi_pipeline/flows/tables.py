"""Cells and tiles as tables and as QuPath objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.cells.classify import CELL_CLASSES
from wsi_pipeline.export.geojson import ObjectColumns, write_cells_geojson, write_tiles_geojson
from wsi_pipeline.export.tables import write_parquet
from wsi_pipeline.flows.context import RunContext
from wsi_pipeline.flows.gather import PLACE
from wsi_pipeline.flows.tile_region import Columns
from wsi_pipeline.models.manifest import HER2_CLASSES
from wsi_pipeline.results import SCHEMA_VERSION
from wsi_pipeline.stain.quality import REASONS

CELL_UNITS = {
    "x_l0": "px, level 0 of the shown slide", "y_l0": "px, level 0 of the shown slide",
    "x_absolute_l0": "px, level 0 of the whole file", "y_absolute_l0": "px, level 0 of the whole file",
    "completeness": "share of directions, 0-1", "intensity_od": "OD of DAB", "thickness_um": "um",
    "nucleus_area_um2": "um2", "hematoxylin_od": "OD", "nuclear_dab_od": "OD",
}  # fmt: skip

TILE_UNITS = {
    "x_l0": "px, level 0 of the shown slide", "y_l0": "px, level 0 of the shown slide",
    "width_l0": "px, level 0", "height_l0": "px, level 0", "tissue_share": "share of the tile, 0-1",
    "dab_od": "OD of DAB", "positive_percent": "percent of tumour cells",
    "sharpness": "variance of the Laplacian, grey levels^2",
}  # fmt: skip


def write_cells(work: Path, run: RunContext, sha256: str) -> str:
    """Write `cells.parquet`; return its relative path."""
    import pyarrow as pa  # noqa: PLC0415 - heavy, and only needed here

    cells = run.gathered.cells
    origin_x, origin_y = run.info.bounds_origin_l0
    columns = {name: values for name, values in cells.items() if name not in ("class_index", "outline_l0")}
    if cells:
        columns["class"] = np.array(CELL_CLASSES)[cells["class_index"]]
        columns["x_absolute_l0"] = cells["x_l0"] + origin_x
        columns["y_absolute_l0"] = cells["y_l0"] + origin_y
    units = CELL_UNITS if cells else {}
    write_parquet(work / "cells.parquet", pa.table(columns), _footer(run, sha256), units)
    return "cells.parquet"


def write_cell_objects(work: Path, run: RunContext, sha256: str) -> list[str]:
    """Write the tumour cells as `cells.geojson.gz` where there are not too many; return the files' relative paths."""
    cells = run.gathered.cells
    shown = cells["tumour"] if cells else np.zeros(0, bool)
    if not 0 < shown.sum() <= run.request.settings.output.cells_geojson_limit:
        return []
    named = {
        "Membrane completeness": "completeness",
        "Membrane DAB OD": "intensity_od",
        "Membrane thickness um": "thickness_um",
        "Nucleus area um2": "nucleus_area_um2",
    }
    objects = ObjectColumns(
        classes=[CELL_CLASSES[index] for index in cells["class_index"][shown]],
        measurements={title: cells[name][shown] for title, name in named.items()},
        polygons_l0=cells["outline_l0"][shown],
        scored=run.has_score,
    )
    files = write_cells_geojson(work / "cells.geojson.gz", objects, sha256)
    return [file.name for file in files]


def write_tiles(work: Path, run: RunContext, sha256: str) -> str:
    """Write `tiles.parquet`; return its relative path."""
    import pyarrow as pa  # noqa: PLC0415

    tiles = run.gathered.tiles
    units = TILE_UNITS if tiles else {}
    write_parquet(work / "tiles.parquet", pa.table(dict(tiles)), _footer(run, sha256), units)
    return "tiles.parquet"


def write_tile_objects(work: Path, run: RunContext, sha256: str) -> list[str]:
    """Write the tiles as `tiles.geojson.gz`; return the files' relative paths."""
    tiles = run.gathered.tiles
    objects = ObjectColumns(
        classes=tile_classes(tiles),
        measurements=_tile_measurements(tiles),
        boxes_l0=np.stack([tiles[name] for name in PLACE], axis=1) if tiles else np.zeros((0, 4), np.int64),
        scored=run.has_score,
    )
    files = write_tiles_geojson(work / "tiles.geojson.gz", objects, sha256)
    return [file.name for file in files]


def write_model_tiles(work: Path, run: RunContext, sha256: str) -> str:
    """Write `model_tiles.parquet`; return its relative path."""
    import pyarrow as pa  # noqa: PLC0415

    tiles = run.gathered.model_tiles
    columns = {name: tiles[name] for name in ("tile", *PLACE, "piece", "tissue_share", "tumour_cells", "accepted")}
    if "failed" in tiles:
        columns |= {f"rejected_{name}": tiles["failed"][:, index] for index, name in enumerate(REASONS)}
    units = {name: unit for name, unit in TILE_UNITS.items() if name in columns}
    if "logits" in tiles:
        names = np.array(HER2_CLASSES)
        columns |= {"class": names[tiles["class_index"]], "entropy_bits": tiles["entropy_bits"]}
        columns |= {f"probability_{name}": tiles["probabilities"][:, index] for index, name in enumerate(names)}
        columns |= {f"logit_{name}": tiles["logits"][:, index] for index, name in enumerate(names)}
        units |= {"entropy_bits": "bits, 0-2"}
    write_parquet(work / "model_tiles.parquet", pa.table(columns), _footer(run, sha256), units)
    return "model_tiles.parquet"


def write_model_objects(work: Path, run: RunContext, sha256: str) -> list[str]:
    """Write the classified tiles as `model_tiles.geojson.gz`; return the files' relative paths."""
    tiles = run.gathered.model_tiles
    if "logits" not in tiles:
        return []
    objects = _model_objects(tiles, scored=run.has_score)
    files = write_tiles_geojson(work / "model_tiles.geojson.gz", objects, sha256, kind="network tile")
    return [file.name for file in files]


def _model_objects(tiles: Columns, *, scored: bool) -> ObjectColumns:
    """Return the classified tiles as QuPath shows them; rejected ones are excluded."""
    keys = np.array(["0", "1", "2", "3"])
    measurements = {
        f"Probability {name}": tiles["probabilities"][:, index] for index, name in enumerate(HER2_CLASSES)
    } | {"Entropy bits": tiles["entropy_bits"], "Tumour cells": tiles["tumour_cells"]}
    return ObjectColumns(
        classes=np.where(tiles["accepted"], keys[tiles["class_index"]], "excluded").tolist(),
        measurements=measurements,
        boxes_l0=np.stack([tiles[name] for name in PLACE], axis=1),
        scored=scored,
    )


def tile_classes(tiles: Columns) -> list[str]:
    """Return each tile's class: that of most of its tumour cells (the stronger when equal), or "free" without any."""
    if not tiles:
        return []
    counts: NDArray[np.int64] = np.stack([tiles[f"class_{name}"] for name in CELL_CLASSES], axis=1)
    most = len(CELL_CLASSES) - 1 - counts[:, ::-1].argmax(axis=1)
    return [
        CELL_CLASSES[index] if filled else "free" for index, filled in zip(most, counts.sum(axis=1) > 0, strict=True)
    ]


def _tile_measurements(tiles: Columns) -> dict[str, NDArray[Any]]:
    """Return what QuPath can colour tiles by."""
    if not tiles:
        return {}
    total = np.maximum(tiles["tumour_cells"], 1)
    named = {
        "Tumour cells": tiles["tumour_cells"],
        "Positive %": tiles["positive_percent"],
        "DAB OD mean": tiles["dab_od"],
    }
    titles = {"0": "0 %", "1": "1+ %", "2i": "2+ incomplete %", "2": "2+ %", "3": "3+ %"}
    for name in CELL_CLASSES:
        named[titles[name]] = np.where(tiles["tumour_cells"] > 0, 100.0 * tiles[f"class_{name}"] / total, np.nan)
    return named


def _footer(run: RunContext, sha256: str) -> dict[str, str]:
    """Return what the tables say about themselves."""
    rule = run.request.settings.rule
    return {
        "schema_version": SCHEMA_VERSION,
        "notice": run.notice,
        "rule": rule.guideline,
        "tumour": rule.described,
        "slide_sha256": sha256,
        "mpp_x": repr(run.info.mpp.x),
        "mpp_y": repr(run.info.mpp.y),
        "analysis_ratio_x": repr(run.plan.grid.ratio[0]),
        "analysis_ratio_y": repr(run.plan.grid.ratio[1]),
    }
