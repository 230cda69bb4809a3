"""Exports answer as the networks do: ONNX in onnxruntime, TorchScript as WSInfer and QuPath prepare tiles for it."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

REASON = "the extra `models` is not installed"
torch = pytest.importorskip("torch", reason=REASON)
pytest.importorskip("torchvision", reason=REASON)
pytest.importorskip("safetensors", reason=REASON)

from PIL import Image  # noqa: E402
from torchvision import transforms  # noqa: E402

from wsi_pipeline.errors import OutputError, UsageError, WeightsError  # noqa: E402
from wsi_pipeline.models.export_output import write_new  # noqa: E402
from wsi_pipeline.models.export_wsinfer import export_wsinfer, wsinfer_config  # noqa: E402
from wsi_pipeline.models.fixture_tiles import fixture_tiles  # noqa: E402
from wsi_pipeline.models.load import LoadedModel  # noqa: E402
from wsi_pipeline.models.manifest import Architecture  # noqa: E402
from wsi_pipeline.models.preprocess import image_pixels, network_input  # noqa: E402

if TYPE_CHECKING:
    pass

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.load")

ONNX_TOLERANCE = 1e-4
"""Of the largest output; onnxruntime sums in another order than torch."""

CARD = {"mpp": 0.46, "licence": "CC-BY-4.0", "training_data": "made up", "intended_use": "Tests only."}
Make = Callable[..., LoadedModel]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def exported(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Architecture], Any]:
    """Return a function that exports an architecture to ONNX once and returns its onnxruntime session."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="the extra `onnx` is not installed")
    pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
    from wsi_pipeline.models.export_onnx import export_onnx  # noqa: PLC0415 - after the skips

    folder = tmp_path_factory.mktemp("onnx")

    def session(architecture: Architecture) -> Any:
        path = folder / f"{architecture}.onnx"
        if not path.exists():
            export_onnx(make(architecture), path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    session.folder = folder
    return session


def difference(found: np.ndarray[Any, Any], expected: torch.Tensor) -> float:
    """Return the largest difference as a share of the largest expected value."""
    assert found.shape == tuple(expected.shape)
    return float(np.abs(found - expected.numpy()).max() / expected.abs().max())


@pytest.mark.parametrize("architecture", [pytest.param("ihcnet", marks=pytest.mark.slow), "ihcnet-light"])
def test_onnx_classifier_equals_torch_for_other_batches(
    architecture: Architecture, make: Make, exported: Callable[[Architecture], Any]
) -> None:
    manifest, network = make(architecture)
    session = exported(architecture)
    assert [(i.name, i.shape) for i in session.get_inputs()] == [("image", ["batch", 3, 224, 224])]
    assert [(o.name, o.shape) for o in session.get_outputs()] == [("logits", ["batch", 4])]
    random = torch.Generator().manual_seed(3)
    mean, std = (
        torch.tensor(values)[:, None, None] for values in (manifest.normalisation.mean, manifest.normalisation.std)
    )
    for batch in (1, 3):
        image = torch.rand(batch, 3, 224, 224, generator=random)
        with torch.inference_mode():
            expected = network((image - mean) / std)
        assert difference(session.run(None, {"image": image.numpy()})[0], expected) < ONNX_TOLERANCE


@pytest.mark.parametrize("architecture", ["pspstain", "pspstain-light"])
def test_onnx_generator_equals_torch_for_other_batches_and_windows(
    architecture: Architecture, make: Make, exported: Callable[[Architecture], Any]
) -> None:
    _, network = make(architecture)
    session = exported(architecture)
    random = torch.Generator().manual_seed(4)
    for batch, height, width in ((1, 64, 96), (3, 44, 28), (1, 8, 132)):
        image = torch.rand(batch, 3, height, width, generator=random)
        with torch.inference_mode():
            expected = (network(image * 2 - 1) + 1) / 2
        found = session.run(["stained"], {"image": image.numpy()})[0]
        assert difference(found, expected) < ONNX_TOLERANCE


@pytest.mark.parametrize("architecture", ["ihcnet-light", "pspstain"])
def test_onnx_takes_rgb_of_a_tile_and_gives_the_fixture_outputs(
    architecture: Architecture, make: Make, exported: Callable[[Architecture], Any]
) -> None:
    manifest, network = make(architecture)
    fixture = manifest.fixture
    tiles = fixture_tiles(fixture.seed, fixture.height_px, fixture.width_px)
    image = torch.from_numpy(tiles).permute(0, 3, 1, 2).float() / 255
    if manifest.is_classifier:
        image = torch.nn.functional.interpolate(image, size=(224, 224), mode="bilinear", antialias=True)
    found = exported(architecture).run(None, {"image": image.numpy()})[0]
    if manifest.is_classifier:
        assert np.abs(found - np.array(fixture.expected)).max() <= fixture.tolerance
    else:
        with torch.inference_mode():
            expected = image_pixels(network(network_input(torch.from_numpy(tiles), manifest))).numpy()
        pixels = np.rint(found * 255).transpose(0, 2, 3, 1)
        assert np.abs(pixels - expected).max() <= 1, "rounding at half a grey level"


def test_onnx_metadata_says_what_people_must_know(make: Make, exported: Callable[[Architecture], Any]) -> None:
    manifest = make("ihcnet-light").manifest
    facts = exported("ihcnet-light").get_modelmeta().custom_metadata_map
    assert facts["notice"].startswith("Research use only")
    assert (facts["licence"], facts["intended_use"]) == ("CC-BY-4.0", "Tests only.")
    assert float(facts["mpp"]) == 0.46
    assert json.loads(facts["class_names"]) == ["0", "1+", "2+", "3+"]
    normalisation = json.loads(facts["normalisation"])
    assert normalisation == {
        "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "applied": "inside the file"
    }  # fmt: skip
    assert facts["input"].startswith("RGB float32 0-1, (B, 3, 224, 224); tiles of 256 x 256 px")
    assert type(manifest).model_validate_json(facts["manifest"]) == manifest
    assert "windows" not in facts


def test_onnx_of_instance_norm_says_that_windows_leave_seams(exported: Callable[[Architecture], Any]) -> None:
    assert "seams" in exported("pspstain").get_modelmeta().custom_metadata_map["windows"]
    assert "windows" not in exported("pspstain-light").get_modelmeta().custom_metadata_map


def test_onnx_is_valid_of_the_stated_opset_and_tells_nothing_of_this_machine(
    exported: Callable[[Architecture], Any],
) -> None:
    import onnx  # noqa: PLC0415 - after the fixture's skips

    exported("pspstain-light")
    path = exported.folder / "pspstain-light.onnx"
    onnx.checker.check_model(path, full_check=True)
    assert [(entry.domain, entry.version) for entry in onnx.load(path).opset_import] == [("", 18)]
    content = path.read_bytes()
    for word in (str(Path(__file__).parents[2]), sys.prefix, ".py"):
        assert word.encode() not in content


def test_wsinfer_folder_has_the_schema_that_zoo_and_qupath_read(make: Make, tmp_path: Path) -> None:
    model = make("ihcnet-light")
    export_wsinfer(model, tmp_path / "deep" / "her2")
    files = sorted(path.name for path in (tmp_path / "deep" / "her2").iterdir())
    assert files == ["README.md", "config.json", "torchscript_model.pt"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["her2"]
    config = json.loads((tmp_path / "deep" / "her2" / "config.json").read_text(encoding="utf-8"))
    assert config == {
        "spec_version": "1.0",
        "architecture": "tf_efficientnet_lite0",
        "num_classes": 4,
        "class_names": ["0", "1+", "2+", "3+"],
        "patch_size_pixels": 256,
        "spacing_um_px": 0.46,
        "transform": [
            {"name": "Resize", "arguments": {"size": 224}},
            {"name": "ToTensor"},
            {"name": "Normalize", "arguments": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}},
        ],
    }
    card = (tmp_path / "deep" / "her2" / "README.md").read_text(encoding="utf-8")
    assert card.startswith("# toy-ihcnet-light\n\nResearch use only")
    assert "CC-BY-4.0" in card
    assert "Tests only." in card


def test_wsinfer_zoo_itself_accepts_the_configuration(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # it makes a folder there when it is imported
    client = pytest.importorskip("wsinfer_zoo.client", reason="wsinfer-zoo is not installed")
    for architecture in ("ihcnet", "ihcnet-light"):
        found = client.ModelConfiguration.from_dict(wsinfer_config(make(architecture).manifest))
        assert found.get_slide_patch_size(slide_spacing_um_px=0.23) == 512
        assert [step.name for step in found.transform] == ["Resize", "ToTensor", "Normalize"]


@pytest.mark.parametrize("architecture", ["ihcnet", "ihcnet-light"])
def test_traced_classifier_equals_eager(architecture: Architecture, make: Make, tmp_path: Path) -> None:
    model = make(architecture)
    export_wsinfer(model, tmp_path / "her2")
    traced = torch.jit.load(tmp_path / "her2" / "torchscript_model.pt", map_location="cpu")
    assert next(traced.parameters()).device.type == "cpu", "WSInfer asks the parameters for their device"
    for batch in (1, 3):
        tiles = torch.randn(batch, 3, 224, 224, generator=torch.Generator().manual_seed(batch))
        with torch.no_grad():
            assert torch.allclose(traced(tiles), model.network(tiles), rtol=1e-5, atol=1e-6)


def test_tiles_prepared_as_wsinfer_does_get_our_probabilities(make: Make, tmp_path: Path) -> None:
    manifest, network = make("ihcnet-light")
    export_wsinfer(make("ihcnet-light"), tmp_path / "her2")
    traced = torch.jit.load(tmp_path / "her2" / "torchscript_model.pt")
    config = json.loads((tmp_path / "her2" / "config.json").read_text(encoding="utf-8"))
    steps = [getattr(transforms, step["name"])(**step.get("arguments", {})) for step in config["transform"]]
    prepare = transforms.Compose(steps)
    tiles = fixture_tiles(9, 256, 256)
    theirs = torch.stack([prepare(Image.fromarray(tile)) for tile in tiles])
    ours = network_input(torch.from_numpy(tiles), manifest)
    grey_levels = (theirs - ours).abs().amax(dim=(0, 2, 3)) * torch.tensor(manifest.normalisation.std) * 255
    assert float(grey_levels.max()) < 1.01, "Pillow rounds to 8 bits"
    with torch.no_grad():
        shares = traced(theirs).softmax(dim=1), network(ours).softmax(dim=1)
    assert float((shares[0] - shares[1]).abs().max()) < 0.01


def test_torchscript_tells_nothing_of_this_machine(make: Make, tmp_path: Path) -> None:
    export_wsinfer(make("ihcnet-light"), tmp_path / "her2")
    content = (tmp_path / "her2" / "torchscript_model.pt").read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert any(name.endswith(".py") for name in archive.namelist())
    for word in (str(Path(__file__).parents[2]), sys.prefix):
        assert word.encode() not in content


def test_a_generator_is_refused_for_wsinfer(make: Make, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a generator \(pspstain-light\), and WSInfer runs classifiers only"):
        export_wsinfer(make("pspstain-light"), tmp_path / "her2")
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_and_failures_leave_nothing(make: Make, tmp_path: Path) -> None:
    (tmp_path / "her2").mkdir()
    (tmp_path / "her2.onnx").write_text("mine")
    with pytest.raises(UsageError, match="exists already, and nothing is overwritten"):
        export_wsinfer(make("ihcnet-light"), tmp_path / "her2")
    for content in (b"new", {"a": b"new"}):
        with pytest.raises(UsageError, match="exists already"):
            write_new(tmp_path / "her2.onnx", content)
        with pytest.raises(OutputError, match="cannot be written"):
            write_new(tmp_path / "her2.onnx" / "below", content)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["her2", "her2.onnx"]
    assert (tmp_path / "her2.onnx").read_text() == "mine"


@pytest.mark.parametrize("content", [b"whole", {"first": b"1", "second": b"2"}])
def test_a_full_disk_leaves_nothing(
    content: bytes | dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="cannot be written: No space left on device"):
        write_new(tmp_path / "out", content)
    assert not list(tmp_path.iterdir())


def test_onnx_needs_its_ending_and_its_extra(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
    from wsi_pipeline.models.export_onnx import export_onnx  # noqa: PLC0415 - after the skip

    model = make("pspstain-light")
    with pytest.raises(UsageError, match=r"must end in \.onnx"):
        export_onnx(model, tmp_path / "out.pb")
    (tmp_path / "out.onnx").touch()
    with pytest.raises(UsageError, match="exists already"):
        export_onnx(model, tmp_path / "out.onnx")
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(WeightsError, match=r'onnx, onnxscript: are not installed \(type: pip install .*\[onnx\]"'):
        export_onnx(model, tmp_path / "other.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["out.onnx"]
