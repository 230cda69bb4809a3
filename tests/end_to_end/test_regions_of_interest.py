"""Drawn regions and chosen pieces restrict the score, and the result says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from shapely import Point, Polygon, contains_xy

pytestmark = pytest.mark.slow

TUMOUR = [(700, 350), (1800, 300), (2050, 900), (1500, 1450), (820, 1330)]
"""An uneven polygon inside the sample's tissue, level-0 px."""
HOLE = [(1150, 600), (1500, 580), (1560, 1010), (1120, 960)]
MAP_PX_L0 = 8
"""One map pixel of the sample slides is 8 level-0 px wide."""


def feature(ring: list[tuple[int, int]], name: str | None) -> dict[str, Any]:
    """Return an annotation as QuPath exports it."""
    properties: dict[str, Any] = {"objectType": "annotation"}
    if name:
        properties["classification"] = {"name": name, "color": [180, 180, 180]}
    return {
        "type": "Feature", "id": "3f5c8a1e-0000-4000-8000-000000000001",
        "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}, "properties": properties,
    }  # fmt: skip


def write(path: Path, *features: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}), encoding="utf-8")
    return path


def inside(polygon: Polygon, table: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(contains_xy(polygon, table["x_l0"], table["y_l0"]))


def test_a_drawn_region_restricts_and_an_ignored_one_excludes(
    sample_run: Callable[[str], Any], samples: Path, score: Callable[..., Any], tmp_path: Path
) -> None:
    roi = write(tmp_path / "drawn.geojson", feature(TUMOUR, "Tumor"), feature(HOLE, "Ignore*"))
    outcome = score(samples / "phantom_2plus.svs", tmp_path / "out", "--roi", roi)
    assert outcome.code == 0, outcome.stderr
    whole, restricted = sample_run("2plus").table("cells.parquet"), outcome.table("cells.parquet")
    drawn = Polygon(TUMOUR).difference(Polygon(HOLE))
    assert inside(drawn.buffer(2 * MAP_PX_L0), restricted).all()
    sure = drawn.buffer(-2 * MAP_PX_L0)
    places = {(x, y) for x, y in zip(restricted["x_l0"], restricted["y_l0"], strict=True)}
    expected = inside(sure, whole)
    assert expected.sum() > 100
    missing = [p for p in zip(whole["x_l0"][expected], whole["y_l0"][expected], strict=True) if p not in places]
    assert missing == [], "every cell well inside the drawn region is there, at the same place"
    region = outcome.result["scored_region"]
    assert (region["source"], region["pieces"]) == ("roi", None)
    assert (region["roi"]["drawn"], region["roi"]["ignored"], region["roi"]["skipped"]) == (1, 1, 0)
    assert region["roi"]["area_px2_l0"] == pytest.approx(drawn.area)
    assert outcome.result["tissue_mm2"] == pytest.approx(drawn.area * 0.25**2 / 1e6, rel=0.05)
    assert sample_run("2plus").result["scored_region"] == {"source": "tissue", "roi": None, "pieces": None}


def test_an_ignored_region_alone_leaves_the_rest(
    sample_run: Callable[[str], Any], samples: Path, score: Callable[..., Any], tmp_path: Path
) -> None:
    roi = write(tmp_path / "ignored.geojson", feature(HOLE, "Ignore*"))
    outcome = score(samples / "phantom_2plus.svs", tmp_path / "out", "--roi", roi)
    whole, restricted = sample_run("2plus").table("cells.parquet"), outcome.table("cells.parquet")
    hole = Polygon(HOLE)
    assert not inside(hole.buffer(-2 * MAP_PX_L0), restricted).any()
    outside = (~inside(hole.buffer(2 * MAP_PX_L0), table) for table in (whole, restricted))
    assert len({int(mask.sum()) for mask in outside}) == 1
    maps = outcome.levels("her2_class")[0]
    rows, columns = np.mgrid[: maps.shape[0], : maps.shape[1]]
    core = contains_xy(hole.buffer(-8 * MAP_PX_L0), (columns + 0.5) * MAP_PX_L0, (rows + 0.5) * MAP_PX_L0)
    assert core.any()
    assert (maps[core] == 255).all(), "the class map is empty there"
    assert (outcome.levels("dab_density")[0][core] == 0).all()


def test_a_region_without_tissue_is_not_evaluable(samples: Path, score: Callable[..., Any], tmp_path: Path) -> None:
    roi = write(tmp_path / "glass.geojson", feature([(4, 4), (90, 6), (80, 60)], None))
    outcome = score(samples / "phantom_2plus.svs", tmp_path / "out", "--roi", roi, "--stain", "ihc")
    assert outcome.code == 3
    assert outcome.result["reason"] == "the drawn region holds no tissue"


@pytest.fixture(scope="module")
def both(two_piece_slide: Path, score: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the run over both pieces."""
    outcome = score(two_piece_slide, tmp_path_factory.mktemp("both") / "out")
    assert outcome.code == 0, outcome.stderr
    return outcome


def test_pieces_are_reported_one_by_one(both: Any, two_piece_slide: Path) -> None:
    truth = json.loads(two_piece_slide.with_suffix(".json").read_text(encoding="utf-8"))
    pieces = both.result["pieces"]
    assert [piece["number"] for piece in pieces] == [1, 2]
    assert pieces[0]["tissue_mm2"] >= pieces[1]["tissue_mm2"]
    assert sum(piece["tumour_cells"] for piece in pieces) == both.result["cells"]["tumour"]
    assert sum(piece["tissue_mm2"] for piece in pieces) == pytest.approx(both.result["tissue_mm2"], abs=1e-3)
    for true in truth["pieces"]:
        middle = (true["x_um"] / 0.25, true["y_um"] / 0.25)
        holding = [
            piece for piece in pieces
            if piece["box_l0"][0] <= middle[0] < piece["box_l0"][0] + piece["box_l0"][2]
            and piece["box_l0"][1] <= middle[1] < piece["box_l0"][1] + piece["box_l0"][3]
        ]  # fmt: skip
        assert len(holding) == 1
        assert holding[0]["scored"] is True
        assert holding[0]["shares"]["3+"] == pytest.approx(true["shares"]["3+"], abs=10)
        assert holding[0]["tumour_cells"] == pytest.approx(true["tumour_cells"], rel=0.15)
    assert {piece["score"] for piece in pieces} == {"3+", "1+"}


@pytest.mark.parametrize("number", [1, 2])
def test_chosen_pieces_make_the_score(
    number: int, both: Any, two_piece_slide: Path, score: Callable[..., Any], tmp_path: Path
) -> None:
    outcome = score(two_piece_slide, tmp_path / "out", "--pieces", number)
    assert outcome.code == 0, outcome.stderr
    piece, other = (next(p for p in both.result["pieces"] if p["number"] == n) for n in (number, 3 - number))
    result = outcome.result
    for key in ("score", "category", "shares", "h_score"):
        assert result[key] == piece[key], key
    assert result["cells"]["tumour"] == piece["tumour_cells"]
    assert result["tissue_mm2"] == pytest.approx(piece["tissue_mm2"], abs=1e-3)
    assert result["scored_region"] == {"source": "tissue", "roi": None, "pieces": [number]}
    told = {p["number"]: p for p in result["pieces"]}
    assert told[number]["scored"] is True
    assert told[3 - number] == other | {"scored": False}, "the other piece is still reported"
    cells = outcome.table("cells.parquet")
    assert np.array_equal(cells["scored"], cells["piece"] == number)


def test_the_overlay_shows_the_numbers(both: Any, two_piece_slide: Path) -> None:
    picture = cv2.imread(str(both.out / "overlay.png"))
    slide_height = round(1511 * 1600 / 3630)
    assert picture.shape[1] == 1600
    assert slide_height < picture.shape[0] < slide_height + 300
    strip = next(n for n in range(300) if (picture[n] != picture[0, 0]).any(axis=-1).mean() > 0.9 or n == 299)
    for piece in both.result["pieces"]:
        x, y, width, height = piece["box_l0"]
        middle = Point(x + width / 2, y + height / 2)
        column, row = int(middle.x * 1600 / 3630), int(middle.y * 1600 / 3630)
        around = picture[row : row + 2 * 60 + strip, max(column - 60, 0) : column + 60]
        ink = (around.max(axis=-1) < 45).sum()
        assert ink > 40, "dark digits stand in the middle of the piece"
