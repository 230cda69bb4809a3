"""The fast reader on real slides: every px of every level is what OpenSlide draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide
import pytest

from wsi_pipeline.geometry import Box
from wsi_pipeline.slide import open_slide

pytestmark = pytest.mark.real

CMU, TCGA = "slides/CMU-1-Small-Region.svs", "slides/TCGA-CR-7395-01A-01-TS1.svs"
SLACK = {CMU: 0, TCGA: 1}
"""Grey levels between two builds of the codec: none of libjpeg-turbo, one of OpenJPEG."""


@pytest.mark.parametrize("name", SLACK)
def test_whole_levels(real_data: Path, name: str) -> None:
    with openslide.OpenSlide(real_data / name) as oracle, open_slide(real_data / name, require_mpp=False) as slide:
        assert (slide.info.reader, slide.info.warnings, slide.info.openslide) == ("fast", (), True)
        assert [tuple(size) for size in slide.info.level_sizes] == list(oracle.level_dimensions)
        reader = slide._reader
        assert reader is not None
        for level, size in enumerate(oracle.level_dimensions):
            ours = reader.read_level(level, Box(0, 0, *size))
            theirs = np.asarray(oracle.read_region((0, 0), level, size))
            assert np.abs(ours.rgb.astype(np.int16) - theirs[..., :3]).max() <= SLACK[name]
            assert ours.valid is None
            assert theirs[..., 3].min() == 255


@pytest.mark.parametrize("name", SLACK)
def test_random_boxes_over_the_edges_too(real_data: Path, name: str) -> None:
    generator = np.random.default_rng(5)
    with openslide.OpenSlide(real_data / name) as oracle, open_slide(real_data / name, require_mpp=False) as slide:
        width, height = slide.info.size_l0
        for _ in range(25):
            x, y = int(generator.integers(-300, width)), int(generator.integers(-300, height))
            box = Box(x, y, *(int(side) for side in generator.integers(1, 900, 2)))
            ours = slide.read_box(box, 1)
            theirs = np.asarray(oracle.read_region((x, y), 0, box.size))
            inside = theirs[..., 3] > 0
            assert np.array_equal(ours.valid, inside)
            assert (ours.rgb[~inside] == 255).all()
            assert np.abs(ours.rgb.astype(np.int16) - theirs[..., :3])[inside].max(initial=0) <= SLACK[name]


def test_readers_agree_at_the_resolutions_of_the_analysis(real_data: Path) -> None:
    with open_slide(real_data / CMU) as fast, open_slide(real_data / CMU, reader="openslide") as oracle:
        for downsample in (2, 3, 8):
            ours, theirs = fast.overview(downsample), oracle.overview(downsample)
            assert np.array_equal(ours.rgb, theirs.rgb)
            assert np.array_equal(ours.valid, theirs.valid)
