"""A slide of a nuclear marker is not evaluable, be few nuclei stained or all; HER2 of every score stays what it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wsi_pipeline.cells.nuclei import Nuclei
from wsi_pipeline.config import load_settings
from wsi_pipeline.flows.nuclear_dab import ANYWHERE, joined_area, stained_by_piece
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.score import score_slide
from wsi_pipeline.geometry import Box, Mpp
from wsi_pipeline.results import Result
from wsi_pipeline.stain.compartment import NuclearStainOptions
from wsi_pipeline.training.phantom import make_phantom, random_options, write_slide
from wsi_pipeline.training.phantom.presets import Target


def test_bodies_and_stained_area_are_those_of_their_piece() -> None:
    """Three nuclei: in piece 1, in piece 2, and outside the core; px of the grid are two of the image."""
    dab = np.zeros((150, 190), np.float32)
    rows, columns = np.mgrid[:150, :190]
    for x, y in ((40, 50), (110, 80), (170, 130)):
        dab[np.hypot(columns - x, rows - y) < 8] = 0.8
    empty = np.zeros(0, np.int64)
    nuclei = Nuclei(empty, empty, dab, dab, dab, dab, dab, 2, Mpp(0.5, 0.5))
    core = Box(24, 16, 281, 230)  # image px: grid px 12 to 152 and 8 to 123
    piece = np.ones((29, 36), np.uint16)
    piece[:, (2 * 80 - 24) // 8 :] = 2
    piece[25:, :] = 0
    table = stained_by_piece(nuclei, core, piece, 8, NuclearStainOptions())
    assert table["piece"].tolist() == [1, 2]
    assert table["bodies"].tolist() == [1, 1]
    np.testing.assert_allclose(table["body_um2"], np.pi * 16, rtol=0.06)
    np.testing.assert_allclose(table["stained_um2"], np.pi * 16, rtol=0.12)
    assert joined_area(table, (1, 2)).bodies == 2
    assert joined_area(table, (2,)).stained_um2 == table["stained_um2"][1]
    assert joined_area({}, (1,)).bodies == 0
    assert joined_area(table | {"piece": np.array([ANYWHERE, 2.0])}, (1,)).bodies == 1


def scored(
    folder: Path, target: Target, share: float, od: tuple[float, float] = (0.4, 0.9), *, large: bool = False
) -> Result:
    """Score a phantom of `target` in which DAB stains a share of the tumour nuclei."""
    options = random_options(74, target) if large else random_options(71, target, (1610, 1207))
    staining = options.staining.model_copy(update={"nuclear_dab_share": share, "nuclear_dab_od": od})
    slide = write_slide(make_phantom(options.model_copy(update={"staining": staining})), folder / "slide.tif")
    settings = load_settings("serial", {"rule.min_cells": 20, "evidence": "cells"})
    return score_slide(ScoreRequest(slide, folder / "run", settings))[0]


@pytest.mark.parametrize(
    ("share", "od", "large"), [(0.03, (0.4, 0.9), True), (0.4, (0.4, 0.9), False), (0.95, (0.25, 0.5), False)]
)
def test_a_phantom_with_stained_nuclei_is_not_evaluable(
    tmp_path: Path, share: float, od: tuple[float, float], *, large: bool
) -> None:
    result = scored(tmp_path, "null", share, od, large=large)
    assert (result.score, result.category, result.confidence) == ("not evaluable", "not evaluable", "none")
    assert result.reason.startswith("the stain is nuclear: ")
    assert {piece.score for piece in result.pieces} == {"not evaluable"}
    assert all(piece.reason == result.reason for piece in result.pieces)


@pytest.mark.parametrize("target", ["null", "1+", "2+", "3+", "9% 3+"])
def test_her2_of_any_score_is_not_nuclear(tmp_path: Path, target: Target) -> None:
    result = scored(tmp_path, target, 0.0)
    assert "nuclear" not in result.reason
    assert not any("stained nuclei" in warning for warning in result.warnings)
    assert result.score != "not evaluable"


def test_a_few_stained_nuclei_are_a_warning(tmp_path: Path) -> None:
    result = scored(tmp_path, "null", 0.15)
    assert result.score == "0"
    assert any("what is stained may be nuclei" in warning for warning in result.warnings)
