"""What regions leave is added up: hand-made cells of two pieces in three tiles, and every number that follows."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from wsi_pipeline.cells.options import AssayProfile
from wsi_pipeline.config import load_settings
from wsi_pipeline.flows.gather import Gathered, gather, gather_model_tiles, gather_stained
from wsi_pipeline.flows.networks import Networks
from wsi_pipeline.flows.plan import RunPlan
from wsi_pipeline.flows.record import score_all, score_record
from wsi_pipeline.flows.region import PART_NAME, RegionOutcome
from wsi_pipeline.flows.survey import Survey
from wsi_pipeline.flows.tables import tile_classes
from wsi_pipeline.flows.tile_region import TileOutcome
from wsi_pipeline.geometry import Mpp, Size
from wsi_pipeline.scoring.slide_score import SlideScore, shares_of
from wsi_pipeline.tiling import TilingOptions, make_grid

PLAIN = {"unreadable_px": 0, "scored_px": 1, "seconds": {}, "ended_block": False}


def leave(parts: Path, index: int, cells: list[tuple[int, int, bool, int]], tiles: list[int]) -> RegionOutcome:
    """Leave the part of a region whose cells are (tile, piece, tumour, class), and return its outcome."""
    kinds = [("tile", int), ("piece", int), ("tumour", bool), ("class_index", int)]
    np.save(parts / PART_NAME.format(index), np.array(cells, kinds))
    columns = {name: np.zeros(len(tiles)) for name in ("x_l0", "y_l0", "width_l0", "height_l0")}
    stained = {name: np.array([index + 1.0]) for name in ("piece", "bodies", "body_um2", "stained_um2")}
    table = {"tile": np.array(tiles, float), **columns}
    return RegionOutcome(index=index, tiles=table, stained=stained, cells=len(cells), **cast(Any, PLAIN))


@pytest.fixture
def outcomes(tmp_path: Path) -> list[RegionOutcome]:
    """Return two regions, the later one first: tile 4 lies in piece 1, tile 7 in both, tile 9 in piece 2."""
    late = leave(tmp_path, 1, [(9, 2, True, 4), (9, 2, True, 4), (7, 2, True, 2), (7, 2, False, 3)], [9, 7])
    early = leave(tmp_path, 0, [(4, 1, True, 0), (4, 1, True, 3), (4, 1, False, 4), (4, 1, True, 1)], [4])
    return [late, early]


def test_cells_are_counted_by_tile_class_and_piece(tmp_path: Path, outcomes: list[RegionOutcome]) -> None:
    cells, tiles = gather(outcomes, tmp_path, (1,))
    assert cells["tile"].tolist() == [4, 4, 4, 4, 9, 9, 7, 7]
    assert cells["scored"].tolist() == [True] * 4 + [False] * 4
    assert tiles["tile"].tolist() == [4, 7, 9]
    assert tiles["cells"].tolist() == [4, 2, 2]
    assert tiles["tumour_cells"].tolist() == [3, 1, 2]
    assert tiles["scored_tumour_cells"].tolist() == [3, 0, 0]
    counted = [tiles[f"class_{name}"].tolist() for name in ("0", "1", "2i", "2", "3")]
    assert counted == [[1, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 2]]
    assert tiles["positive_percent"].tolist() == pytest.approx([200 / 3, 100, 100])
    gathered = Gathered(cells, tiles, {}, {})
    assert gathered.counts(cells["piece"] == 2).tolist() == [[0, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 2]]
    assert gather_stained(outcomes)["piece"].tolist() == [1.0, 2.0]


def test_a_tile_has_the_class_of_most_of_its_cells_and_the_stronger_when_equal() -> None:
    counts = np.array([[3, 2, 0, 0, 0], [2, 0, 0, 2, 0], [0, 0, 0, 0, 0], [0, 1, 1, 0, 1]])
    tiles = {f"class_{name}": counts[:, index] for index, name in enumerate(("0", "1", "2i", "2", "3"))}
    assert tile_classes(tiles) == ["0", "2", "free", "3"]


def test_model_tiles_count_tumour_cells_of_scored_pieces() -> None:
    grid = make_grid(Size(1000, 700), Mpp(0.25, 0.25), TilingOptions())
    columns = {"tile": np.array([5, 0]), "piece": np.array([2, 1]), "failed": np.array([[False, False], [True, False]])}
    outcome = TileOutcome(0, columns, 0, 0, {})
    cells = {
        "x_l0": np.array([10.0, 255.9, 300.0, 400.0, 20.0, 260.0]),
        "y_l0": np.array([10.0, 255.9, 300.0, 400.0, 20.0, 270.0]),
        "tumour": np.array([True, True, True, False, True, True]),
        "scored": np.array([True, True, True, True, False, False]),
    }
    found = gather_model_tiles([outcome], grid, cells, (2,))
    assert found["tile"].tolist() == [0, 5]
    assert found["tumour_cells"].tolist() == [2, 1]
    assert found["accepted"].tolist() == [False, True]
    assert found["scored"].tolist() == [False, True]


def test_a_record_names_each_share_for_what_it_is() -> None:
    score = SlideScore("2+", "equivocal", "why", True, shares_of(np.array([40, 20, 12, 18, 10])), None, 100)
    record = score_record(score)
    assert record.shares == {"0": 40.0, "1+": 20.0, "2i": 12.0, "2+": 18.0, "3+": 10.0}
    assert record.h_score == 20 + 2 * 30 + 3 * 10


def two_pieces(stained: list[tuple[float, float, float, float]]) -> Gathered:
    """Return 400 tumour cells, 300 of class 2 in piece 1 and 100 of class 0 in piece 2, and what is stained."""
    piece = np.repeat([1, 2], [300, 100])
    cells = {
        "piece": piece, "scored": np.ones(400, bool), "tumour": np.ones(400, bool),
        "class_index": np.where(piece == 1, 3, 0), "tile": piece, "x_l0": 40.0 * np.arange(400), "y_l0": np.zeros(400),
        "completeness": np.where(piece == 1, 0.9, 0).astype(np.float32),
        "intensity_od": np.where(piece == 1, 0.4, 0).astype(np.float32),
        "hematoxylin_od": np.full(400, 0.2, np.float32),
    }  # fmt: skip
    names = ("piece", "bodies", "body_um2", "stained_um2")
    return Gathered(cells, {"tile": np.array([1, 2])}, {}, dict(zip(names, np.array(stained).T, strict=True)))


@pytest.mark.parametrize(
    ("stained", "nuclear"),
    [
        ([(1, 4, 100, 9000), (2, 1, 30, 40)], []),
        ([(1, 4, 100, 9000), (2, 30, 900, 1000)], [2]),  # the second alone
        ([(1, 4, 100, 900), (2, 300, 9000, 10000)], [0, 1, 2]),  # most of the slide, so the whole slide
    ],
)
def test_a_nuclear_stain_withholds_the_score_of_slide_and_pieces(
    stained: list[tuple[float, float, float, float]], nuclear: list[int]
) -> None:
    pieces = [SimpleNamespace(number=number, area_mm2=1.0) for number in (1, 2)]
    survey = SimpleNamespace(tissue=SimpleNamespace(pieces=pieces), pieces=(1, 2), tissue_mm2=2.0)
    plan = SimpleNamespace(
        measures_cells=True, blind=False, virtual=False, refusal="", networks=Networks(),
        assay=AssayProfile(name="default"), grid=SimpleNamespace(mpp_l0=Mpp(0.25, 0.25)),
    )  # fmt: skip
    found = score_all(cast(RunPlan, plan), two_pieces(stained), cast(Survey, survey), load_settings(None, {}))
    scores = {0: found.slide, **found.pieces}
    for number, score in scores.items():
        assert (score.score == "not evaluable") is (number in nuclear), number
        assert score.reason.startswith("the stain is nuclear: ") is (number in nuclear), number
    assert found.doubt == ""
    assert (found.confidence == "none") is (0 in nuclear)
