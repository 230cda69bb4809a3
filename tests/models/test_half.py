"""Weights in half precision: half the space, the same checks, computed with in float32."""

from __future__ import annotations

from pathlib import Path

import pytest

REASON = "the extra `models` is not installed"
torch = pytest.importorskip("torch", reason=REASON)
pytest.importorskip("torchvision", reason=REASON)
pytest.importorskip("safetensors", reason=REASON)

from wsi_pipeline.errors import WeightsError  # noqa: E402
from wsi_pipeline.models.architectures import build  # noqa: E402
from wsi_pipeline.models.load import load_model  # noqa: E402
from wsi_pipeline.models.manifest import Architecture, ModelCard  # noqa: E402
from wsi_pipeline.models.save import rounded, save_weights  # noqa: E402

CARD = ModelCard(name="toy", mpp=0.5, licence="CC0-1.0")


@pytest.mark.parametrize("architecture", ["ihcnet-light", "pspstain-light"])
def test_half_weights_load_in_float32_with_the_rounded_values(architecture: Architecture, tmp_path: Path) -> None:
    torch.manual_seed(5)
    state = build(architecture).state_dict()
    save_weights(state, architecture, CARD, tmp_path / "full")
    save_weights(state, architecture, CARD, tmp_path / "half", half=True)
    sizes = [(tmp_path / kind / "toy.safetensors").stat().st_size for kind in ("half", "full")]
    assert sizes[0] < 0.55 * sizes[1]
    loaded = load_model("toy", tmp_path / "half").network.state_dict()
    expected = rounded(state, half=True)
    assert {tensor.dtype for tensor in loaded.values()} <= {torch.float32, torch.int64}
    assert all(torch.equal(loaded[key], expected[key]) for key in expected)
    assert any(not torch.equal(loaded[key], state[key]) for key in expected)


def test_statistics_are_not_rounded(tmp_path: Path) -> None:
    state = build("ihcnet-light").state_dict()
    key = next(key for key in state if key.endswith(".running_var"))
    state[key] = torch.full_like(state[key], 1e6)
    save_weights(state, "ihcnet-light", CARD, tmp_path, half=True)
    assert float(load_model("toy", tmp_path).network.state_dict()[key][0]) == 1e6


def test_weights_too_large_for_half_are_refused(tmp_path: Path) -> None:
    state = build("pspstain-light").state_dict()
    key = next(key for key, tensor in state.items() if tensor.ndim == 4)
    state[key] = torch.full_like(state[key], 1e5)
    with pytest.raises(WeightsError, match="does not fit into float16"):
        save_weights(state, "pspstain-light", CARD, tmp_path, half=True)
