"""Whatever runs a classifier, a tile gets the same logits and the same map."""

from __future__ import annotations

import numpy as np
import pytest

REASON = "needs the models extra: pip install '.[models]'"
pytest.importorskip("torch", reason=REASON)
pytest.importorskip("torchvision", reason=REASON)
pytest.importorskip("safetensors", reason=REASON)

from wsi_pipeline.explain.looking import look_through  # noqa: E402
from wsi_pipeline.models.fixture_tiles import fixture_tiles  # noqa: E402
from wsi_pipeline.models.registry import shipped_folder  # noqa: E402
from wsi_pipeline.models.runtime import Runtime  # noqa: E402

NAME = "ihcnet-light-phantoms"
TILES = np.concatenate([fixture_tiles(seed, 256, 256) for seed in (1, 2, 3)])[:7]


def test_openvino_sees_what_torch_sees() -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    by_torch = look_through(NAME, shipped_folder(), Runtime(), 64)(TILES)
    by_openvino = look_through(NAME, shipped_folder(), Runtime("cpu", "fp32", "openvino"), 64)(TILES)
    assert by_torch.maps.dtype == by_openvino.maps.dtype == np.float32
    assert np.ptp(by_torch.logits, axis=0).min() > 0.1
    np.testing.assert_allclose(by_openvino.logits, by_torch.logits, atol=1e-3)
    np.testing.assert_allclose(by_openvino.maps, by_torch.maps, atol=4e-3 * float(np.abs(by_torch.maps).max()))


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_no_tiles_are_no_answers(backend: str) -> None:
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    seen = look_through(NAME, shipped_folder(), Runtime("cpu", "fp32", backend), 3)(TILES[:0])  # type: ignore[arg-type]
    assert (seen.logits.shape, seen.maps.shape) == ((0, 4), (0, 3, 7, 7))
