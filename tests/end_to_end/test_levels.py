"""A pyramid whose levels are padded to whole tiles gets the score of the slide that it was made from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile


def pad(pixels: np.ndarray, tile: int = 256) -> np.ndarray:
    down, right = -pixels.shape[0] % tile, -pixels.shape[1] % tile
    return cv2.copyMakeBorder(pixels, 0, down, 0, right, cv2.BORDER_CONSTANT, value=(240, 240, 240))


@pytest.mark.slow
def test_levels_padded_to_whole_tiles_change_no_score(
    tmp_path: Path, samples: Path, sample_run: Callable[[str], Any], score: Callable[..., Any]
) -> None:
    with tifffile.TiffFile(samples / "phantom_3plus.svs") as tiff:
        level = tiff.pages[0].asarray()
    path = tmp_path / "padded.tif"
    with tifffile.TiffWriter(path) as writer:
        for power in range(5):
            writer.write(
                pad(level), tile=(256, 256), photometric="rgb", compression="deflate", subfiletype=int(power > 0),
                metadata=None, resolution=(40_000, 40_000), resolutionunit="CENTIMETER",
            )  # fmt: skip
            height, width = (-(-side // 2) for side in level.shape[:2])
            level = cv2.resize(level, (width, height), interpolation=cv2.INTER_AREA)
    outcome = score(path, tmp_path / "out", "--json")
    assert outcome.code == 0, outcome.stderr
    expected = sample_run("3plus").result
    tumour = expected["cells"]["tumour"]  # the overview comes from a level, whose rounding may tip a cell at the edge
    assert outcome.result["cells"]["tumour"] == pytest.approx(tumour, abs=2)
    assert outcome.result["tissue_mm2"] == pytest.approx(expected["tissue_mm2"], rel=0.03)
    assert outcome.result["score"] == expected["score"]
