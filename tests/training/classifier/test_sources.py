"""Tiles from disk and from paint, split honestly and described for the card."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import typer

REASON = "needs the train extra: pip install '.[train]'"
torch = pytest.importorskip("torch", reason=REASON)
for package in ("torchvision", "safetensors", "matplotlib"):
    pytest.importorskip(package, reason=REASON)

from wsi_pipeline.cli.train import app  # noqa: E402
from wsi_pipeline.errors import UsageError  # noqa: E402
from wsi_pipeline.models.load import load_model  # noqa: E402
from wsi_pipeline.training.classifier.options import ClassifierTraining  # noqa: E402
from wsi_pipeline.training.classifier.sources import described_card, open_sources  # noqa: E402
from wsi_pipeline.training.data.patches import PatchSource  # noqa: E402
from wsi_pipeline.training.data.phantoms import PhantomSource  # noqa: E402

FAST = ("--set", "epochs=1", "--set", "batch_size=8", "--set", "patches.crops=1", "--device", "cpu")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return class folders of brownish noise, 271 x 263 px: four slides of two patches in each class."""
    rng = np.random.default_rng(3)
    for label, name in enumerate(("0", "1+", "2+", "3+")):
        folder = tmp_path / "lab" / name
        folder.mkdir(parents=True)
        for number in range(8):
            coarse = np.kron(rng.normal(0, 25, (17, 17, 3)), np.ones((16, 16, 1)))[:263, :271]
            rgb = np.array([235, 225, 215]) - label * np.array([30, 45, 55]) + coarse
            file = folder / f"s{label}{number // 2}_{number}_{number % 2}.png"
            cv2.imwrite(str(file), np.clip(rgb, 0, 255).astype(np.uint8)[..., ::-1])
    return tmp_path / "lab"


def test_patches_of_a_slide_stay_together(data: Path, tmp_path: Path) -> None:
    found = open_sources(str(data), ClassifierTraining(val_share=0.25, test_share=0.25), tmp_path)
    train, val = found.sources
    assert isinstance(train, PatchSource)
    assert isinstance(val, PatchSource)
    slides = [{patch.slide for patch in source.patches} for source in (train, val)]
    assert slides[0]
    assert slides[1]
    assert not slides[0] & slides[1]
    assert train.options.augment is not None
    assert val.options.augment is None
    assert found.words.startswith(f"lab: {len(train.patches)} patches (")
    assert str(data.parent) not in found.words


def test_the_source_preset_changes_no_pixel(data: Path, tmp_path: Path) -> None:
    train = open_sources(str(data), ClassifierTraining(augment=False), tmp_path).sources.train
    first, later = (train.sample(5, epoch).rgb for epoch in (0, 3))
    assert np.array_equal(first, later)


def test_phantoms_of_training_and_validation_are_others(tmp_path: Path) -> None:
    found = open_sources("phantoms", ClassifierTraining(val_tiles=40), tmp_path)
    train, val = found.sources
    assert isinstance(train, PhantomSource)
    assert isinstance(val, PhantomSource)
    assert (train.options.split, val.options.split, len(val)) == ("train", "val", 40)
    assert val.options.augment is None
    assert "no real image" in found.words
    assert not described_card(found, "painted", "none", None).saw_real_tissue


def test_a_broken_image_is_named(data: Path, tmp_path: Path) -> None:
    broken = data / "2+" / "s20_0_0.png"
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(UsageError, match=r"s20_0_0\.png"):
        open_sources(str(data), ClassifierTraining(), tmp_path)


def test_an_impossible_name_is_refused(data: Path, tmp_path: Path) -> None:
    found = open_sources(str(data), ClassifierTraining(), tmp_path)
    with pytest.raises(UsageError, match=r"--name: '\.\./x'"):
        described_card(found, "../x", "CC0-1.0", None)


def test_the_command_trains_and_goes_on(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["classifier", "--data", str(data), "--out", str(tmp_path / "out"), *FAST, "--licence", "CC0-1.0"]
    app([*words, "--name", "lab-light"], standalone_mode=False)
    manifest = load_model("lab-light", tmp_path / "out").manifest
    assert manifest.architecture == "ihcnet-light"
    assert "from" in manifest.training_data
    assert f"validation accuracy: {manifest.metrics['validation accuracy']}" in capsys.readouterr().err
    app([*words, "--name", "again", "--resume"], standalone_mode=False)
    assert load_model("again", tmp_path / "out").manifest.sha256 == manifest.sha256
    with pytest.raises(UsageError, match="was trained with learning_rate"):
        app([*words, "--name", "third", "--resume", "--set", "learning_rate=0.1"], standalone_mode=False)


def test_a_network_that_does_not_exist_is_refused() -> None:
    usage_mistake = typer.BadParameter.__bases__[0]
    with pytest.raises(usage_mistake, match="ihcnet-light"):
        app(["classifier", "--data", "x", "--out", "y", "--name", "z", "--architecture", "vgg"], standalone_mode=False)
