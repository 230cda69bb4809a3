"""From tiles to weights that load, with a card that says what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

REASON = "needs the train extra: pip install '.[train]'"
torch = pytest.importorskip("torch", reason=REASON)
for package in ("torchvision", "safetensors", "matplotlib"):
    pytest.importorskip(package, reason=REASON)

from tests.training.classifier import tiny  # noqa: E402
from wsi_pipeline.errors import UsageError, WeightsError  # noqa: E402
from wsi_pipeline.models.architectures import build  # noqa: E402
from wsi_pipeline.models.load import load_model  # noqa: E402
from wsi_pipeline.models.manifest import ModelCard  # noqa: E402
from wsi_pipeline.models.preprocess import network_input  # noqa: E402
from wsi_pipeline.training.classifier.network import trainee  # noqa: E402
from wsi_pipeline.training.classifier.options import ClassifierTraining  # noqa: E402
from wsi_pipeline.training.classifier.run import ClassifierRequest, train_classifier  # noqa: E402
from wsi_pipeline.training.classifier.trainer import Sources  # noqa: E402
from wsi_pipeline.training.loop.settings import load_options  # noqa: E402

CARD = ModelCard(name="noise", mpp=0.48, licence="CC0-1.0", training_data="coloured noise")
SHORT = ClassifierTraining(epochs=2, batch_size=4, warmup_epochs=0.5, ema_decay=0.5)


def request(folder: Path, **changes: object) -> ClassifierRequest:
    sources = Sources(tiny.Noise([0, 1, 2, 3] * 2, 1, 256), tiny.Noise([3, 2, 1, 0, 1], 2, 256))
    asked = ClassifierRequest(sources, CARD, "ihcnet-light", SHORT, folder, device="cpu")
    return asked._replace(**changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a short training."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("trained")
    train_classifier(request(folder))
    torch.set_num_threads(threads)
    return folder


def test_weights_load_and_are_what_was_measured(trained: Path) -> None:
    manifest, network = load_model("noise", trained)
    assert (manifest.architecture, manifest.licence, manifest.mpp) == ("ihcnet-light", "CC0-1.0", 0.48)
    val = request(trained).sources.val
    samples = [val.sample(index, 0) for index in range(5)]
    with torch.inference_mode():
        tiles = torch.from_numpy(np.stack([sample.rgb for sample in samples]))
        named = network(network_input(tiles, manifest)).argmax(dim=1)
    right = float((named == torch.tensor([sample.label for sample in samples])).float().mean())
    assert manifest.metrics["validation accuracy"] == pytest.approx(right, abs=1e-3)
    assert manifest.metrics["validation tiles"] == 5
    assert (trained / "noise.safetensors").stat().st_size < 9e6, "half precision"


def test_the_card_names_data_figures_and_limits(trained: Path) -> None:
    text = (trained / "card.md").read_text(encoding="utf-8")
    for words in ("coloured noise", "CC0-1.0", "Research use only", "recall of 2+", "they flatter"):
        assert words in text
    assert load_options(ClassifierTraining, "classifier", str(trained / "settings.yaml"), {}) == SHORT
    metrics = json.loads((trained / "noise.json").read_text(encoding="utf-8"))["metrics"]
    assert metrics.keys() >= {
        "validation quadratic kappa",
        "validation calibration error before the temperature",
        "validation calibration error",
        "temperature in the last layer",
        "validation confusion, true class: answers",
    }


def test_curves_have_every_step_and_epoch(trained: Path) -> None:
    assert len((trained / "steps.csv").read_text().splitlines()) == 1 + 2 * 2
    assert len((trained / "curves.csv").read_text().splitlines()) == 1 + 2
    assert (trained / "curves.png").stat().st_size > 5000


def test_nothing_is_overwritten(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there are weights of this name"):
        train_classifier(request(trained))
    other = request(trained, card=CARD.model_copy(update={"name": "second"}))
    with pytest.raises(UsageError, match="holds a training already"):
        train_classifier(other)
    again = train_classifier(other._replace(resume=True))
    assert again.fixture == load_model("noise", trained).manifest.fixture


def test_a_class_without_tiles_is_named(tmp_path: Path) -> None:
    lacking = Sources(tiny.Noise([0, 1, 3, 0], 1, 256), tiny.Noise([0], 2, 256))
    with pytest.raises(UsageError, match=r"has no tile of class 2\+"):
        train_classifier(request(tmp_path, sources=lacking))


def test_training_starts_from_a_whole_checkpoint_or_a_published_trunk(tmp_path: Path) -> None:
    torch.manual_seed(8)
    network = build("ihcnet-light")
    torch.save(network.state_dict(), tmp_path / "whole.pth")
    begun = trainee("ihcnet-light", CARD, tmp_path / "whole.pth", 1).network.state_dict()
    assert all(torch.equal(begun[key], tensor) for key, tensor in network.state_dict().items())
    trunk = network.backbone.state_dict()
    published = {f"_layer{number}": tensor for number, tensor in enumerate(trunk.values())}
    torch.save(published | {"_fc.weight": torch.zeros(1000, 1280)}, tmp_path / "trunk.pth")
    begun = trainee("ihcnet-light", CARD, tmp_path / "trunk.pth", 1).network.state_dict()
    assert all(torch.equal(begun[f"backbone.{key}"], tensor) for key, tensor in trunk.items())
    assert not torch.equal(begun["classifier.8.weight"], network.state_dict()["classifier.8.weight"])


def test_the_full_network_starts_from_an_old_torchvision_file(tmp_path: Path) -> None:
    torch.manual_seed(8)
    trunk = build("ihcnet").backbone.state_dict()
    old = {
        f"features.{key}".replace("norm1", "norm.1").replace("conv2", "conv.2")
        if "denselayer" in key
        else f"features.{key}": tensor
        for key, tensor in trunk.items()
    }
    assert any(".norm.1." in key for key in old)
    torch.save(old | {"classifier.weight": torch.zeros(1000, 1920)}, tmp_path / "old.pth")
    begun = trainee("ihcnet", CARD, tmp_path / "old.pth", 1).network.backbone.state_dict()
    assert all(torch.equal(begun[key], tensor) for key, tensor in trunk.items())


def test_an_unfit_start_is_named(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    for architecture in ("ihcnet-light", "ihcnet"):
        with pytest.raises(WeightsError):
            trainee(architecture, CARD, tmp_path / "other.pth", 1)


def test_the_presets_are_what_they_say() -> None:
    source = load_options(ClassifierTraining, "classifier", "source", {})
    assert (source.epochs, source.batch_size, source.learning_rate, source.weight_decay) == (17, 128, 3e-4, 1e-4)
    assert (source.ordinal_weight, source.balance, source.augment, source.ema_decay, source.seed) == (
        0,
        0,
        False,
        0,
        42,
    )
    quick = load_options(ClassifierTraining, "classifier", "quick", {"ordinal_weight": 2})
    assert (quick.epochs, quick.ordinal_weight, quick.balance) == (4, 2.0, 1.0)
