"""A real H&E slide, stained by a network of random weights: the path, not the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra: pip install '.[models]'")
pytest.importorskip("torchvision", reason="needs the models extra: pip install '.[models]'")
pytest.importorskip("safetensors", reason="needs the models extra: pip install '.[models]'")

from wsi_pipeline.config import load_settings  # noqa: E402
from wsi_pipeline.export.zarr_map import MapStore  # noqa: E402
from wsi_pipeline.flows.request import ScoreRequest  # noqa: E402
from wsi_pipeline.flows.score import score_slide  # noqa: E402
from wsi_pipeline.geometry import Box  # noqa: E402
from wsi_pipeline.models.light_ihcnet import LightIHCNet  # noqa: E402
from wsi_pipeline.models.manifest import ModelCard  # noqa: E402
from wsi_pipeline.models.pspstain import LIGHT_WIDTH, Generator  # noqa: E402
from wsi_pipeline.models.save import save_weights  # noqa: E402

pytestmark = [pytest.mark.real, pytest.mark.slow]


def test_a_real_slide_runs_from_end_to_end(real_data: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    weights = tmp_path / "weights"
    weights.mkdir()
    light = Generator(width=LIGHT_WIDTH, norm="folded").state_dict()
    save_weights(light, "pspstain-light", ModelCard(name="stainer", mpp=0.46, licence="none"), weights)
    tiles = LightIHCNet().eval().state_dict()
    save_weights(tiles, "ihcnet-light", ModelCard(name="tiles", mpp=0.46, licence="none"), weights)
    settings = load_settings("serial", {"models.precision": "fp32"})
    slide = real_data / "slides" / "CMU-1-Small-Region.svs"
    result, folder = score_slide(ScoreRequest(slide, tmp_path / "out", settings, weights_folder=weights))
    assert (result.stain, result.virtual_stain, result.slide.mpp_x) == ("he", True, pytest.approx(0.499))
    assert result.confidence in {"low", "none"}
    assert result.quality is not None
    assert result.quality.judged > 50
    image = MapStore.open(folder / "maps" / "virtual_ihc.ome.zarr")
    assert image.size() == (2409, 3219)  # 2220 x 2967 px of 0.499 um at 0.46 um
    pixels = image.read_block(Box(0, 0, *image.size()))
    stained = (pixels != 255).any(axis=-1)
    assert 0.3 < stained.mean() < 0.9, "tissue is stained, glass is left as glass"
    assert np.asarray(pixels[stained]).std() > 5
