"""Places: one ring of DAB drawn at a known level-0 px is reported there, whatever the region, downsample and bounds."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from wsi_pipeline.config import load_assay, load_settings
from wsi_pipeline.engine.executors import make_executor
from wsi_pipeline.engine.interface import EngineOptions
from wsi_pipeline.export.zarr_map import MapStore
from wsi_pipeline.flows.maps import chunk_px, create_maps
from wsi_pipeline.flows.pyramids import CLASS_MAP, DENSITY_MAP, blocks_of
from wsi_pipeline.flows.region import RegionPlan, RegionTask, process_region, read_part
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.score import score_slide
from wsi_pipeline.geometry import Box, Mpp, Size
from wsi_pipeline.slide import Slide, SlideInfo, SlideSpec, open_slide
from wsi_pipeline.slide.levels import make_levels
from wsi_pipeline.slide.model import FileFacts, LevelPixels, Reader
from wsi_pipeline.tiling import TilingOptions, make_grid

WHITE = (244.0, 243.0, 240.0)
HEMATOXYLIN, DAB = np.array([0.65, 0.70, 0.29]), np.array([0.27, 0.57, 0.78])
SIZE = Size(1391, 947)
"""Not square, no multiple of the tile."""


def cell_picture(size: Size, places: list[tuple[float, float]], mpp: Mpp) -> np.ndarray:
    """Return (H, W, 3) uint8: 3+ cells of 12 um centred at `places` (x, y), px with corners at whole numbers."""
    nucleus, membrane = np.zeros((size.height, size.width)), np.zeros((size.height, size.width))
    reach = round(14 / min(mpp))
    for place_x, place_y in places:
        top, left = max(int(place_y) - reach, 0), max(int(place_x) - reach, 0)
        window = slice(top, int(place_y) + reach), slice(left, int(place_x) + reach)
        y, x = np.indices(nucleus[window].shape) + 0.5
        away_um = np.hypot((x + left - place_x) * mpp.x, (y + top - place_y) * mpp.y)
        nucleus[window] += 0.45 / (1 + np.exp((away_um - 3.2) / 0.2))
        membrane[window] += 1.2 * np.exp(-0.5 * ((away_um - 6.0) / 0.85) ** 2)
    density = nucleus[..., None] * HEMATOXYLIN + membrane[..., None] * DAB
    noise = np.random.default_rng(5).normal(0, 1.0, density.shape)  # as any scanner has; without it maxima may tie
    return np.rint(np.array(WHITE) * 10.0**-density + noise).clip(0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Case:
    """A slide of one cell and how it is cut."""

    place: tuple[float, float]
    mpp: float = 0.25
    region_tiles: int = 1


def run_regions(folder: Path, case: Case) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Run all regions of a slide of one cell; return the cell columns and the full-size maps."""
    slide = folder / "cell.png"
    cv2.imwrite(str(slide), cell_picture(SIZE, [case.place], Mpp(case.mpp, case.mpp))[..., ::-1])
    grid = make_grid(SIZE, Mpp(case.mpp, case.mpp), TilingOptions(region_tiles=case.region_tiles))
    maps = folder / "maps"
    create_maps(folder, grid, cells=True, virtual=False)
    (folder / "parts").mkdir()
    settings = load_settings(None, {})
    spec = SlideSpec(slide, require_mpp=False)
    plan = RegionPlan(
        slide=spec,
        step=round(0.25 / case.mpp),
        grid=grid,
        white=WHITE,
        assay=load_assay("default"),
        cells=settings.cells,
        nuclear=settings.nuclear_stain,
        maps=maps,
        parts=folder / "parts",
    )
    tasks = []
    blocks = blocks_of(grid, grid.regions())
    for region in grid.regions():
        shape = (-(-region.core_an.height // 8), -(-region.core_an.width // 8))
        tasks.append(RegionTask(plan, region, blocks[region.index], np.ones(shape, bool), np.ones(shape, np.uint16)))
    outcomes = list(make_executor(EngineOptions(executor="serial"), None).run(process_region, tasks))
    assert {blocks[outcome.index] for outcome in outcomes if outcome.ended_block} == set(blocks.values())
    parts = [read_part(path) for path in sorted((folder / "parts").glob("*.npy"))]
    assert [outcome.cells for outcome in outcomes] == [len(part["x_l0"]) for part in parts]
    cells = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    whole = Box(0, 0, 10_000, 10_000)
    return cells, {name: MapStore.open(maps / name).read_block(whole) for name in (CLASS_MAP, DENSITY_MAP)}


@pytest.mark.parametrize(
    "case",
    [
        Case((421.0, 333.0)),
        Case((421.5, 333.5), region_tiles=2),
        Case((256.3, 512.2)),  # a corner of four regions
        Case((1279.6, 700.0)),  # on a seam
        Case((1330.0, 905.0), region_tiles=8),  # in the cropped last tiles
        Case((842.0, 667.0), mpp=0.125),  # two level-0 px an analysis px
        Case((513.0, 255.0), mpp=0.125),
    ],
)
def test_one_cell_is_reported_once_and_where_it_is(case: Case, tmp_path: Path) -> None:
    cells, maps = run_regions(tmp_path, case)
    assert len(cells["x_l0"]) == 1, "once, also where regions meet"
    assert (cells["x_l0"][0], cells["y_l0"][0]) == pytest.approx(case.place, abs=1.0 * max(0.25 / case.mpp, 1))
    assert cells["class_index"][0] == 4
    outline = cells["outline_l0"][0]
    assert outline.mean(axis=0) == pytest.approx(case.place, abs=1.5 * max(0.25 / case.mpp, 1))
    assert 2 < np.hypot(*(outline - case.place).T).mean() * case.mpp < 5, "it lies inside the membrane"
    downsample = round(0.25 / case.mpp)
    map_px_l0 = 8 * downsample
    red = (maps[CLASS_MAP] == (189, 0, 38)).all(axis=-1)
    rows, columns = np.nonzero(red)
    middle = ((columns.mean() + 0.5) * map_px_l0, (rows.mean() + 0.5) * map_px_l0)
    seam = [case.place[axis] / (256 * downsample * case.region_tiles) % 1 for axis in (0, 1)]
    if all(0.08 < part < 0.92 for part in seam):  # a cell is painted in the region of its centre only
        assert middle == pytest.approx(case.place, abs=map_px_l0 / 2)
    density = maps[DENSITY_MAP] - 1.0  # 1 is measured, and nothing found
    y, x = np.mgrid[: density.shape[0], : density.shape[1]] + 0.5
    found = ((density * x).sum() / density.sum() * map_px_l0, (density * y).sum() / density.sum() * map_px_l0)
    assert found == pytest.approx(case.place, abs=map_px_l0 / 4)


class ArrayReader(Reader):
    """One level from an array, with bounds."""

    def __init__(self, pixels: np.ndarray, bounds: Box) -> None:
        size = Size(pixels.shape[1], pixels.shape[0])
        self.pixels = pixels
        self.facts = FileFacts("fake", "fake", make_levels([size], [1.0], [Size(256, 256)]), bounds, None, ())

    def read_level(self, level: int, box_lv: Box) -> LevelPixels:  # noqa: ARG002 - there is one level
        """See Reader.read_level."""
        return LevelPixels(self.pixels[box_lv.y : box_lv.bottom, box_lv.x : box_lv.right], None)

    def close(self) -> None:
        """Nothing is open."""


def bounded_slide(path: Path, pixels: np.ndarray, bounds: Box) -> Slide:
    """Return a slide that shows `bounds` of `pixels`, as OpenSlide's bounds make it."""
    full = Size(pixels.shape[1], pixels.shape[0])
    info = SlideInfo(
        path, "fake", "fake", bounds.size, (1.0,), (full,), Mpp(0.25, 0.26), "fake", (bounds.x, bounds.y), full, None
    )
    return Slide(info, ArrayReader(pixels, bounds), lambda: ArrayReader(pixels, bounds))


def test_a_slide_with_bounds_reports_the_shown_frame_and_the_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds = Box(311, 127, 1391, 947)
    places = [(300.0 + 52 * column + 7 * row, 260.0 + 47 * row) for row in range(9) for column in range(14)]
    full = cell_picture(Size(1907, 1203), [(x + bounds.x, y + bounds.y) for x, y in places], Mpp(0.25, 0.26))
    path = tmp_path / "bounded.mrxs"
    path.write_bytes(b"stands for a slide")
    slide = bounded_slide(path, full, bounds)
    monkeypatch.setattr("wsi_pipeline.flows.score.open_request", lambda *_args: slide)
    monkeypatch.setattr("wsi_pipeline.flows.region.opened", lambda _spec: bounded_slide(path, full, bounds))
    settings = load_settings("serial", {"tiling.region_tiles": 2, "models.classifier": "none"})
    result, folder = score_slide(ScoreRequest(path, tmp_path / "out", settings, stain="ihc"))
    assert result.cells.tumour >= 0.9 * len(places), result.reason
    assert (result.score, result.slide.bounds_x, result.slide.bounds_y) == ("3+", 311, 127)
    assert (result.slide.width, result.slide.height) == (1391, 947)
    table = pq.read_table(folder / "cells.parquet")
    x, y = table["x_l0"].to_numpy(), table["y_l0"].to_numpy()
    found = np.stack([x, y], axis=1)
    away = np.abs(found[:, None] - np.array(places)[None]).max(axis=2).min(axis=1)
    assert np.percentile(away, 95) <= 1.0
    assert away.max() <= 2.0, "neighbours pull a little"
    np.testing.assert_array_equal(table["x_absolute_l0"].to_numpy(), x + 311)
    np.testing.assert_array_equal(table["y_absolute_l0"].to_numpy(), y + 127)
    assert json.loads((folder / "result.json").read_text())["slide"]["bounds_x"] == 311


def test_chunks_divide_regions() -> None:
    for tiles in range(1, 33):
        for map_px in (2, 4, 8, 16):
            grid = make_grid(SIZE, Mpp(0.25, 0.26), TilingOptions(region_tiles=tiles, map_px=map_px))
            chunk = chunk_px(grid, map_px)
            assert grid.region_px // map_px % chunk == 0
            assert 16 <= chunk <= 1024
    assert chunk_px(make_grid(SIZE, Mpp(0.25, 0.26), TilingOptions()), 8) == 256


def test_a_request_for_a_piece_that_is_not_there_leaves_nothing(tmp_path: Path) -> None:
    from wsi_pipeline.errors import UsageError  # noqa: PLC0415

    path = tmp_path / "white.png"
    cv2.imwrite(str(path), np.full((SIZE.height, SIZE.width, 3), 244, np.uint8))
    request = ScoreRequest(path, tmp_path / "out", load_settings("serial", {}), mpp=0.25, pieces=(2,))
    with pytest.raises(UsageError, match="no tissue piece 2"):
        score_slide(request)
    assert list(tmp_path.iterdir()) == [path]
    with open_slide(path, mpp=0.25) as slide:
        assert slide.info.size_l0 == SIZE
    result, _ = score_slide(replace(request, pieces=()))
    assert result.score == "not evaluable"


def test_progress_counts_regions(tmp_path: Path) -> None:
    path = tmp_path / "cells.png"
    places = [(300.0 + 52 * column + 7 * row, 260.0 + 47 * row) for row in range(9) for column in range(14)]
    cv2.imwrite(str(path), cell_picture(SIZE, places, Mpp(0.25, 0.25))[..., ::-1])
    seen: list[tuple[str, int, int]] = []

    def note(*step: Any) -> None:
        seen.append(step)

    settings = load_settings("serial", {"tiling.region_tiles": 2})
    score_slide(ScoreRequest(path, tmp_path / "out", settings, mpp=0.25, stain="ihc", progress=note))
    measured = [step for step in seen if step[0] == "measuring"]
    assert [step[1] for step in measured] == list(range(measured[-1][2] + 1))
    assert measured[-1][2] > 1
