"""Slides on disk open like scans, and the committed samples are what their truth says."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import openslide
import pytest

from wsi_pipeline.geometry import Box
from wsi_pipeline.training.phantom import PRESETS, Phantom, make_phantom, write_slide

SAMPLES = {
    "phantom_null": ("null", "0", "null", "ihc"),
    "phantom_ultralow": ("ultralow", "0", "ultralow", "ihc"),
    "phantom_1plus": ("one_plus", "1+", "low", "ihc"),
    "phantom_2plus": ("two_plus", "2+", "equivocal", "ihc"),
    "phantom_3plus": ("three_plus", "3+", "positive", "ihc"),
    "phantom_heterogeneous": ("heterogeneous", "3+", "positive", "ihc"),
    "phantom_he": ("he", "not evaluable", "not evaluable", "he"),
}


def region(slide: openslide.OpenSlide, box: Box) -> np.ndarray:
    """Return a level-0 box as (h, w, 3)."""
    return np.asarray(slide.read_region((box.x, box.y), 0, (box.width, box.height)).convert("RGB"))


def test_unequal_pixels_become_a_plain_tiff_with_both_sizes(small_phantom: Phantom, tmp_path: Path) -> None:
    path = write_slide(small_phantom, tmp_path / "small.tif")
    with openslide.OpenSlide(path) as slide:
        assert slide.properties["openslide.vendor"] == "generic-tiff"
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.27, rel=1e-4)
        assert float(slide.properties["openslide.mpp-y"]) == pytest.approx(0.25, rel=1e-4)
        assert slide.level_dimensions == ((1907, 1413), (477, 354))
        box = Box(433, 367, 301, 233)
        difference = np.abs(region(slide, box).astype(int) - small_phantom.render_block(box))
    assert difference.mean() < 4


def test_square_pixels_become_an_aperio_slide(small_phantom: Phantom, tmp_path: Path) -> None:
    options = small_phantom.options.model_copy(update={"mpp_x": 0.26, "mpp_y": 0.26, "width": 4400, "height": 1100})
    path = write_slide(make_phantom(options), tmp_path / "square.svs")
    with openslide.OpenSlide(path) as slide:
        assert slide.properties["openslide.vendor"] == "aperio"
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.26)
        assert slide.properties["openslide.objective-power"] == "38"
        assert slide.level_dimensions == ((4400, 1100), (1100, 275), (275, 69))
        assert "phantom" in slide.properties["openslide.comment"]


def test_the_same_options_give_the_same_bytes(small_phantom: Phantom, tmp_path: Path) -> None:
    first = write_slide(small_phantom, tmp_path / "a.tif")
    second = write_slide(make_phantom(small_phantom.options), tmp_path / "b.tif")
    assert first.read_bytes() == second.read_bytes()
    assert first.with_suffix(".json").read_text() == second.with_suffix(".json").read_text()


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_committed_sample_matches_its_truth_and_its_preset(samples: Path, name: str) -> None:
    preset, score, category, stain = SAMPLES[name]
    path = samples / f"{name}.svs"
    assert path.stat().st_size <= 2_000_000
    truth = json.loads(path.with_suffix(".json").read_text())
    assert (truth["score"], truth["category"], truth["stain"]) == (score, category, stain)
    assert 300 <= truth["tumour_cells"] <= 1500
    phantom = make_phantom(PRESETS[preset])
    assert {**phantom.truth(), "cells": None} == {**truth, "cells": None}
    np.testing.assert_allclose(truth["cells"]["x_um"], phantom.cells.xy_um[:, 0], atol=0.02)
    with openslide.OpenSlide(path) as slide:
        assert slide.dimensions == (truth["width"], truth["height"]) == (2710, 1907)
        assert float(slide.properties["openslide.mpp-x"]) == truth["mpp_x"] == 0.25
        assert slide.level_count == 2
        box = Box(int(truth["cells"]["x_l0"][0]) - 90, int(truth["cells"]["y_l0"][0]) - 60, 211, 157)
        difference = np.abs(region(slide, box).astype(int) - phantom.render_block(box))
    assert difference.mean() < 4


def test_h_and_e_is_the_tissue_of_three_plus(samples: Path) -> None:
    he, ihc = (json.loads((samples / f"phantom_{name}.json").read_text())["cells"] for name in ("he", "3plus"))
    assert he == ihc


def test_make_samples_writes_the_chosen_one_only(
    samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("make_samples", samples / "make_samples.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = module.main(["--out", str(tmp_path / "new"), "--only", "null"])
    assert [path.name for path in written] == ["phantom_null.svs"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["phantom_null.json", "phantom_null.svs"]
    assert "phantom_null.svs" in capsys.readouterr().out
