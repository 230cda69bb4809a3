"""What a first look says of a slide: nothing that hangs over its edge, and the area that it has."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from wsi_pipeline.config import load_settings
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.survey import Survey, survey_slide
from wsi_pipeline.geometry import Box
from wsi_pipeline.slide import open_slide
from wsi_pipeline.tiling import make_grid


def _survey(folder: Path, width: int, height: int) -> Survey:
    """Return the survey of a picture of `width` x `height` px that speckled tissue fills, at 0.25 um/px."""
    rng = np.random.default_rng(5)
    coarse = rng.random((height // 12 + 1, width // 12 + 1, 1)).astype(np.float32)
    speckle = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    rgb = np.clip(240 * 10 ** (-0.5 * speckle * np.array([0.72, 0.55, 0.30])), 0, 255).astype(np.uint8)
    cv2.imwrite(str(folder / "field.png"), rgb[..., ::-1])
    settings = load_settings("serial", {})
    with open_slide(folder / "field.png", mpp=0.25) as slide:
        grid = make_grid(slide.info.size_l0, slide.info.mpp, settings.tiling)
        return survey_slide(slide, grid, ScoreRequest(folder / "field.png", folder / "run", settings, mpp=0.25))


@pytest.mark.parametrize(("width", "height"), [(330, 490), (345, 463), (641, 353)])
def test_what_hangs_over_the_edge_was_not_left_unscanned(tmp_path: Path, width: int, height: int) -> None:
    survey = _survey(tmp_path, width, height)
    assert survey.tissue.reasons == ()
    assert survey.tissue_mm2 == pytest.approx(width * height * 0.25**2 / 1e6, rel=1e-6)
    assert survey.tissue.area_mm2 == pytest.approx(survey.tissue_mm2)


def test_tissue_counts_up_to_the_last_px_of_the_slide(tmp_path: Path) -> None:
    survey = _survey(tmp_path, 330, 490)  # 10.3 x 15.3 px of the overview
    grid = make_grid(
        survey.size_l0, open_slide(tmp_path / "field.png", mpp=0.25).info.mpp, load_settings("serial", {}).tiling
    )
    allowed, piece = survey.at(grid, Box(0, 0, *grid.size_an))
    assert allowed.all()
    assert (piece == 1).all()
