"""A slide's map of what spoke for its class is, tile by tile, what `explain` shows of the same tile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra: pip install '.[models]'")
pytest.importorskip("captum", reason="needs the explain extra: pip install '.[explain]'")

from wsi_pipeline.config import load_settings  # noqa: E402
from wsi_pipeline.explain.tile import MARGIN_NAMES, CamChoice, explain_tile, tile_grid, tile_numbered  # noqa: E402
from wsi_pipeline.export.zarr_map import MapStore  # noqa: E402
from wsi_pipeline.flows.request import ScoreRequest  # noqa: E402
from wsi_pipeline.flows.score import score_slide  # noqa: E402
from wsi_pipeline.geometry import Box  # noqa: E402
from wsi_pipeline.models.load import load_model  # noqa: E402
from wsi_pipeline.slide import RescaledSlide, open_slide  # noqa: E402

NAME = "ihcnet-light-phantoms"
POSITIONS = 7
"""Values of a tile's map along each axis."""


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_the_slides_map_equals_explain_at_the_same_tile(samples: Path, tmp_path: Path, backend: str) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
    slide = samples / "phantom_2plus.svs"
    settings = load_settings(
        "serial",
        {
            "evidence": "tiles", "models.classifier": NAME, "models.backend": backend, "models.device": "cpu",
            "models.precision": "fp32", "rule.min_tiles": 1,
        },
    )  # fmt: skip
    result, folder = score_slide(ScoreRequest(slide, tmp_path / "out", settings))
    assert result.tiles is not None
    margin = MARGIN_NAMES.index(str(result.tiles.cam_contrast))
    table = pq.read_table(folder / "model_tiles.parquet")
    store = MapStore.open(folder / "maps" / "cam_margin.ome.zarr")
    shown = store.read_block(Box(0, 0, *store.size()))
    loaded = load_model(NAME)
    with open_slide(slide) as opened:
        grid = tile_grid(opened.info, loaded.manifest)
        numbers = table["tile"].to_pylist()
        assert len(numbers) >= 6
        for row in range(0, len(numbers), len(numbers) // 3):
            box = tile_numbered(grid, numbers[row])
            found = explain_tile(loaded, RescaledSlide(opened, loaded.manifest.mpp).read(box), CamChoice(margin=margin))
            y, x = (start // 256 * POSITIONS for start in (box.y, box.x))
            there = shown[y : y + POSITIONS, x : x + POSITIONS]
            np.testing.assert_allclose(there, found.coarse, atol=2e-3)
            upper, lower = MARGIN_NAMES[margin].split(" against ")
            logits = table[f"logit_{upper}"][row].as_py() - table[f"logit_{lower}"][row].as_py()
            assert there.mean() == pytest.approx(logits, abs=1e-3)
            assert result.tiles.cam_glass == pytest.approx(found.glass_margin, abs=2e-3)
