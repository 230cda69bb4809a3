"""Loading proves that weights are what their manifest says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

REASON = "the extra `models` is not installed"
torch = pytest.importorskip("torch", reason=REASON)
pytest.importorskip("torchvision", reason=REASON)
safetensors_torch = pytest.importorskip("safetensors.torch", reason=REASON)

from torch import nn  # noqa: E402

from wsi_pipeline.errors import WeightsError  # noqa: E402
from wsi_pipeline.models.architectures import build  # noqa: E402
from wsi_pipeline.models.load import load_model  # noqa: E402
from wsi_pipeline.models.manifest import Architecture, ModelCard  # noqa: E402
from wsi_pipeline.models.save import save_weights  # noqa: E402


def make(folder: Path, architecture: Architecture, seed: int = 31, *, features_relu: bool = False) -> nn.Module:
    torch.manual_seed(seed)
    network = build(architecture, features_relu=features_relu).eval()
    card = ModelCard(name="toy", mpp=0.5, licence="CC0-1.0", features_relu=features_relu)
    save_weights(network.state_dict(), architecture, card, folder)
    return network


def edit(folder: Path, **changes: Any) -> None:
    """Change fields of the manifest."""
    path = folder / "toy.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def replace_tensors(folder: Path, content: bytes) -> None:
    """Put other tensors in place and make the manifest's hash agree."""
    (folder / "toy.safetensors").write_bytes(content)
    edit(folder, sha256=hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("architecture", ["ihcnet", "ihcnet-light", "pspstain", "pspstain-light"])
def test_a_network_comes_back_as_it_was_saved(architecture: Architecture, tmp_path: Path) -> None:
    network = make(tmp_path, architecture)
    loaded = load_model("toy", tmp_path)
    assert loaded.manifest.architecture == architecture
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        assert torch.equal(loaded.network(image), network(image))


def test_fixture_tells_glass_from_stain(tmp_path: Path) -> None:
    make(tmp_path, "ihcnet-light")
    glass, nuclei, dab = load_model("toy", tmp_path).manifest.fixture.expected
    assert len(glass) == 4
    assert max(abs(a - b) for a, b in zip(glass, nuclei, strict=True)) > 0.01
    assert max(abs(a - b) for a, b in zip(nuclei, dab, strict=True)) > 0.01


def test_changed_bytes_are_noticed(tmp_path: Path) -> None:
    make(tmp_path, "pspstain-light")
    path = tmp_path / "toy.safetensors"
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="was changed: its sha256 is"):
        load_model("toy", tmp_path)


def test_other_weights_of_the_same_shape_are_noticed(tmp_path: Path) -> None:
    make(tmp_path / "other", "pspstain-light", seed=32)
    make(tmp_path, "pspstain-light")
    replace_tensors(tmp_path, (tmp_path / "other" / "toy.safetensors").read_bytes())
    with pytest.raises(WeightsError, match="its fixture outputs differ by"):
        load_model("toy", tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"normalisation": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}},
        {"input_px": 256},
    ],
)
def test_another_preparation_is_noticed(changes: dict[str, Any], tmp_path: Path) -> None:
    make(tmp_path, "ihcnet-light")
    load_model("toy", tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(WeightsError, match="its fixture outputs differ by"):
        load_model("toy", tmp_path)


def test_a_forgotten_relu_is_noticed(tmp_path: Path) -> None:
    make(tmp_path, "ihcnet", features_relu=True)
    load_model("toy", tmp_path)
    edit(tmp_path, features_relu=False)
    with pytest.raises(WeightsError, match="its fixture outputs differ by"):
        load_model("toy", tmp_path)


def test_a_fixture_of_another_form_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "pspstain-light")
    fixture = json.loads((tmp_path / "toy.json").read_text(encoding="utf-8"))["fixture"]
    edit(tmp_path, fixture=fixture | {"expected": [[0.0, 1.0]]})
    with pytest.raises(WeightsError, match=r"lists \[2\] outputs, not \[3, 72\]"):
        load_model("toy", tmp_path)


def test_tensors_of_another_network_are_refused_by_key(tmp_path: Path) -> None:
    make(tmp_path, "pspstain-light")
    replace_tensors(tmp_path, safetensors_torch.save({"weight": torch.zeros(2, 3)}))
    with pytest.raises(WeightsError, match=r"is not pspstain-light: 'model.1.weight' is missing"):
        load_model("toy", tmp_path)


def test_a_file_that_is_not_safetensors_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "pspstain-light")
    replace_tensors(tmp_path, b"these are no tensors")
    with pytest.raises(WeightsError, match="is not a safetensors file"):
        load_model("toy", tmp_path)


def test_saving_refuses_tensors_of_another_network(tmp_path: Path) -> None:
    state = build("pspstain-light").state_dict()
    with pytest.raises(WeightsError, match=r"is not pspstain: 'model.1.weight' has shape"):
        save_weights(state, "pspstain", ModelCard(name="toy", mpp=0.5, licence="CC0-1.0"), tmp_path)
    assert not list(tmp_path.glob("toy*"))
