"""Cells of real tissue do not depend on where it is cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cells.test_halo import OPTIONS, assert_same_cells, cells_of, seen
from wsi_pipeline.geometry import Box, Mpp
from wsi_pipeline.slide import open_slide
from wsi_pipeline.stain.density import StainVectors, unmix

pytestmark = pytest.mark.real


@pytest.mark.parametrize(
    ("name", "mpp"),
    [
        ("her2/fields/3plus_a.png", 0.36), ("her2/fields/2plus_1.png", 0.36), ("her2/fields/1plus_20.png", 0.36),
        ("her2/ezeher/case010_a_2+.jpg", 0.25), ("her2/pairs_mist/IHC/19M2102438_31_28.jpg", 0.46),
        ("her2/cores/2_0123a214-85b7-4804-86db-474b05a4ae57.jpg", 0.25), ("ki67/OS-2-vsi.ome.tif", 0.346),
    ],
)  # fmt: skip
def test_cells_at_the_halo_are_those_at_twice_the_halo(real_data: Path, name: str, mpp: float) -> None:
    with open_slide(real_data / name, mpp=mpp) as slide:
        image = slide.overview(1).rgb
    middle = [max(side // 2 - 700, 0) for side in image.shape[:2]]
    rgb = np.ascontiguousarray(image[middle[0] : middle[0] + 1400, middle[1] : middle[1] + 1400])
    stains = unmix(rgb[: rgb.shape[0] // 8 * 8, : rgb.shape[1] // 8 * 8], (240.0, 240.0, 240.0), StainVectors())
    height, width = stains.dab.shape
    pixel, halo = Mpp(mpp, mpp), OPTIONS.halo_px(Mpp(mpp, mpp))
    generator, cells = np.random.default_rng(7), 0
    for _ in range(8):
        core = Box(*(8 * int(generator.integers(0, side // 16)) for side in (width, height)), 176, 136)
        found = cells_of(stains, pixel, core, seen(stains, core, halo))
        assert_same_cells(found, cells_of(stains, pixel, core, seen(stains, core, 2 * halo)))
        cells += len(found)
    assert cells > 15
