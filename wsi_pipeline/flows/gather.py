"""From the regions' parts to tables of cells and tiles, and to the counts that the score rests on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.cells.classify import CELL_CLASSES
from wsi_pipeline.explain.uncertainty import entropy_bits, softmax
from wsi_pipeline.flows.region import PART_NAME, RegionOutcome, read_part
from wsi_pipeline.flows.tile_region import Columns, TileOutcome
from wsi_pipeline.tiling import Grid

PLACE = ("x_l0", "y_l0", "width_l0", "height_l0")


@dataclass(frozen=True)
class Gathered:
    """The slide's cells (one row each, with `scored`) and tiles (one row per tile with tissue), in region order.

    `model_tiles`: one row per tile of the classifier's grid (or of the virtual stain's) with enough tissue. `stained`:
    how much DAB lies in nuclei, rows by piece.
    """

    cells: Columns
    tiles: Columns
    model_tiles: Columns
    stained: Columns

    def counts(self, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return tumour cells per tile and class, (T, 5) int64, of the cells where `chosen` (N,) is true."""
        counted = chosen & self.cells["tumour"]
        row = np.searchsorted(self.tiles["tile"], self.cells["tile"][counted])
        flat = row * len(CELL_CLASSES) + self.cells["class_index"][counted]
        total = len(self.tiles["tile"]) * len(CELL_CLASSES)
        return np.bincount(flat, minlength=total).reshape(-1, len(CELL_CLASSES)).astype(np.int64)


def gather(outcomes: list[RegionOutcome], parts: Path, pieces: tuple[int, ...]) -> tuple[Columns, Columns]:
    """Read the parts of all regions, in the order of the regions so that nothing depends on who came first.

    `pieces`: numbers of the tissue pieces that count towards the slide score. Returns cells and tiles.
    """
    ordered = sorted(outcomes, key=lambda outcome: outcome.index)
    cells = _joined([read_part(parts / PART_NAME.format(outcome.index)) for outcome in ordered])
    tiles = _joined([outcome.tiles for outcome in ordered])
    if not tiles or len(tiles["tile"]) == 0:
        return {}, {}
    order = np.argsort(tiles["tile"], kind="stable")
    tiles = {name: column[order] for name, column in tiles.items()}
    for name in ("tile", *PLACE):
        tiles[name] = tiles[name].astype(np.int64)
    cells["scored"] = np.isin(cells["piece"], pieces)
    gathered = Gathered(cells, tiles, {}, {})
    counts = gathered.counts(np.ones(len(cells["tumour"]), bool))
    row = np.searchsorted(tiles["tile"], cells["tile"])
    tiles["cells"] = np.bincount(row, minlength=len(tiles["tile"])).astype(np.int64)
    tiles["tumour_cells"] = counts.sum(axis=1)
    tiles["scored_tumour_cells"] = gathered.counts(cells["scored"]).sum(axis=1)
    tiles |= {f"class_{name}": counts[:, index] for index, name in enumerate(CELL_CLASSES)}
    with np.errstate(invalid="ignore"):
        tiles["positive_percent"] = 100.0 * counts[:, 1:].sum(axis=1) / counts.sum(axis=1)
    return cells, tiles


def gather_model_tiles(
    outcomes: list[TileOutcome], grid: Grid | None, cells: Columns, pieces: tuple[int, ...]
) -> Columns:
    """Return one row per model tile, by tile number: place, answers, quality, and the tumour cells inside.

    `accepted`: passes every quality check that was made; `scored`: accepted, and its piece counts.
    """
    tiles = _joined([outcome.tiles for outcome in sorted(outcomes, key=lambda outcome: outcome.region)])
    if not tiles or grid is None or len(tiles["tile"]) == 0:
        return {}
    order = np.argsort(tiles["tile"], kind="stable")
    tiles = {name: column[order] for name, column in tiles.items()}
    if "logits" in tiles:
        tiles["probabilities"] = softmax(tiles["logits"])
        tiles["class_index"] = tiles["logits"].argmax(axis=1).astype(np.int64)
        tiles["entropy_bits"] = entropy_bits(tiles["logits"])
    tiles["accepted"] = np.ones(len(order), bool)
    if "failed" in tiles:
        tiles["accepted"] &= ~tiles["failed"].any(axis=1)
    tiles["scored"] = tiles["accepted"] & np.isin(tiles["piece"], pieces)
    tiles["tumour_cells"] = np.zeros(len(order), np.int64)
    if cells:
        counted = cells["tumour"] & cells["scored"]
        where = grid.tiles_at(cells["x_l0"][counted], cells["y_l0"][counted])
        present = where[np.isin(where, tiles["tile"])]
        tiles["tumour_cells"] = np.bincount(np.searchsorted(tiles["tile"], present), minlength=len(order)).astype(
            np.int64
        )
    return tiles


def gather_stained(outcomes: list[RegionOutcome]) -> Columns:
    """Return how much DAB lies in nuclei, one row per piece and region, in region order."""
    return _joined([outcome.stained for outcome in sorted(outcomes, key=lambda outcome: outcome.index)])


def _joined(parts: list[Columns]) -> Columns:
    """Return the columns of all parts, one after another."""
    if not parts:
        return {}
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
