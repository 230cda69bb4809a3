"""Tissue, ink and coverslip edges of real overviews, measured against their masks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from wsi_pipeline.geometry import Mpp
from wsi_pipeline.stain.density import optical_density
from wsi_pipeline.stain.white import estimate_white
from wsi_pipeline.tissue.colour import blur, colour_of
from wsi_pipeline.tissue.focus import FocusOptions, sharpness
from wsi_pipeline.tissue.mask import Tissue, TissueOptions, find_tissue

pytestmark = pytest.mark.real


def _picture(path: Path, shrink: int = 1) -> np.ndarray:
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    size = (image.shape[1] // shrink, image.shape[0] // shrink)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _marked(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 127


def _white(image: np.ndarray) -> tuple[float, float, float]:
    return estimate_white(image, np.ones(image.shape[:2], dtype=bool)).rgb


def _find(image: np.ndarray, mpp: float, white: tuple[float, float, float] | None = None) -> Tissue:
    valid = np.ones(image.shape[:2], dtype=bool)
    return find_tissue(image, valid, Mpp(mpp, mpp), white or _white(image), TissueOptions())


def _obvious_tissue(image: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """Return where eosin or hematoxylin is plain to see, away from `ink`."""
    colour = colour_of(blur(optical_density(image, _white(image)), 2.0))
    away = cv2.dilate(ink.astype(np.uint8), np.ones((25, 25), np.uint8)) == 0
    return (colour.chroma > 0.025) & (colour.hue > 110) & (colour.hue < 148) & away


@pytest.mark.parametrize("mpp", [8.0, 12.0, 16.0])
@pytest.mark.parametrize(
    ("name", "most_left_in", "least_found", "tissue_lost"),
    [("green", 0.01, 0.98, 0.01), ("red", 0.10, 0.88, 0.01), ("black", 0.001, 0.98, None)],
)
def test_ink_is_left_out_and_tissue_is_not(
    real_data: Path, name: str, most_left_in: float, least_found: float, tissue_lost: float | None, mpp: float
) -> None:
    image = _picture(real_data / f"artefacts/pen/pen_{name}.png")
    ink = _marked(real_data / f"artefacts/pen/pen_{name}_mask.png")
    found = _find(image, mpp)
    assert (found.mask & ink).sum() <= most_left_in * ink.sum()
    assert (found.pen & ink).sum() >= least_found * ink.sum()
    if tissue_lost is not None:
        obvious = _obvious_tissue(image, ink)
        assert obvious.mean() > 0.08
        assert (obvious & ~found.mask).sum() <= tissue_lost * obvious.sum()


def test_a_red_muscle_is_not_red_ink(real_data: Path) -> None:
    found = _find(_picture(real_data / "artefacts/pen/pen_green.png"), 16.0)
    assert not found.pen[30:160, 790:880].any()


def test_a_slide_with_ink_only_has_hardly_any_tissue(real_data: Path) -> None:
    image = _picture(real_data / "artefacts/pen/pen_black.png")
    assert _find(image, 16.0).mask.mean() < 0.005


@pytest.mark.parametrize("mpp", [8.0, 12.0, 16.0])
def test_the_coverslip_edge_and_the_smear_are_not_tissue(real_data: Path, mpp: float) -> None:
    image = _picture(real_data / "artefacts/edge_ihc/coverslip_edge.png")
    edge = _marked(real_data / "artefacts/edge_ihc/coverslip_edge_mask.png")
    found = _find(image, mpp)
    assert not (found.mask & edge).any()
    assert found.mask[:80].mean() < 0.01, "dirt beyond the edge"
    assert found.mask[250:270, 50:550].mean() < 0.02, "the brown smear"
    assert found.mask[300:360, 700:860].mean() > 0.95, "the tissue"
    assert found.mask[395:440, 580:640].mean() > 0.9, "its pale blue end"


def test_one_small_piece_on_a_dusty_slide_is_found(real_data: Path) -> None:
    image = cv2.cvtColor(cv2.imread(str(real_data / "slides/kidney-48-5.tif")), cv2.COLOR_BGR2RGB)
    found = _find(image, 16.0)
    assert len(found.pieces) == 1
    assert found.pieces[0].centroid_mask == pytest.approx((342, 535), abs=12)


@pytest.mark.parametrize("folder", ["fields/*.png", "pairs_bci/*/*.png", "pairs_mist/*/*.jpg"])
def test_fields_of_tissue_are_tissue_and_have_no_ink(real_data: Path, folder: str) -> None:
    paths = sorted((real_data / "her2").glob(folder))
    assert paths
    for path in paths:
        found = _find(_picture(path, 16), 8.0, _white(_picture(path, 2)))
        assert found.mask.mean() > 0.52, path.name  # half of BCI 00011 is fat, open at the picture's edge
        assert not found.pen.any(), path.name


def test_the_image_out_of_focus_is_told_from_the_sharp_ones(real_data: Path) -> None:
    shares = {}
    for path in sorted((real_data / "her2/pairs_mist").glob("*/*.jpg")):
        grey = cv2.cvtColor(_picture(path), cv2.COLOR_RGB2GRAY)
        shares[f"{path.parent.name}/{path.stem}"] = sharpness(grey, 256).blurred(FocusOptions()).mean()
    assert shares.pop("IHC/28M2101987_31_31") >= 0.7
    assert len(shares) == 15
    assert max(shares.values()) <= 0.13, shares
