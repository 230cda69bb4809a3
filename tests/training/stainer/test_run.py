"""A whole training: what it leaves behind, what it refuses, and the command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `models` is not installed")
pytest.importorskip("torchvision", reason="the extra `models` is not installed")
pytest.importorskip("matplotlib", reason="the extra `train` is not installed")

import typer  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from tests.training.stainer import tiny_pairs  # noqa: E402
from wsi_pipeline.cli.train_stainer import stainer  # noqa: E402
from wsi_pipeline.errors import UsageError, WeightsError  # noqa: E402
from wsi_pipeline.models.load import load_model  # noqa: E402
from wsi_pipeline.models.manifest import ModelCard  # noqa: E402
from wsi_pipeline.models.preprocess import image_pixels, network_input  # noqa: E402
from wsi_pipeline.training.loop.settings import load_options  # noqa: E402
from wsi_pipeline.training.stainer.card import card_text  # noqa: E402
from wsi_pipeline.training.stainer.metrics import MEASURES  # noqa: E402
from wsi_pipeline.training.stainer.options import StainerOptions  # noqa: E402
from wsi_pipeline.training.stainer.run import train_stainer  # noqa: E402
from wsi_pipeline.training.stainer.sources import open_pairs  # noqa: E402
from wsi_pipeline.training.stainer.validation import CELL_PX, write_grid  # noqa: E402

SHORT = tiny_pairs.OPTIONS.model_copy(update={"epochs": 1})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stainer")
    train_stainer(tiny_pairs.request(folder, SHORT))
    return folder


def test_the_weights_load_and_stain(done: Path) -> None:
    manifest, network = load_model("tiny", done)
    tiles = torch.randint(60, 255, (1, 40, 56, 3), dtype=torch.uint8)
    assert image_pixels(network(network_input(tiles, manifest))).shape == tiles.shape
    assert manifest.architecture == "pspstain-light"
    assert {"ssim", "ssim (identity)", "dab_kl (linear)"} <= manifest.metrics.keys()


def test_card_table_and_pictures(done: Path) -> None:
    card = (done / "card.md").read_text(encoding="utf-8")
    assert all(f"| {method} | " in card for method in ("identity", "linear", "virtual"))
    assert "label_accuracy" not in card, "nobody was there to judge"
    assert "blobs; 11 samples per epoch" in card
    lines = (done / "table.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in lines] == ["method", "identity", "linear", "virtual"]
    grid = cv2.imread(str(done / "grids" / "epoch_0001.png"))
    assert grid is not None
    assert len(np.unique(grid)) > 50
    assert cv2.imread(str(done / "curves.png")) is not None
    assert [path.name for path in done.glob("*.json")] == ["tiny.json"], "others would be taken for weights"


def test_a_grid_shows_every_image_in_its_place(tmp_path: Path) -> None:
    rows = [tuple(np.full((40, 300, 3), level + row, np.uint8) for level in (10, 90, 170)) for row in (0, 40)]
    write_grid(tmp_path / "grid.png", rows, ("a", "b", "c"))
    grid = cv2.imread(str(tmp_path / "grid.png"))
    found = [[int(grid[30 + row * 260, 5 + column * 260, 0]) for column in range(3)] for row in range(2)]
    assert found == [[10, 90, 170], [50, 130, 210]]
    assert grid.shape[1] == 3 * 260 - 4
    assert int(grid[30, CELL_PX, 0]) == 255


def test_nothing_is_overwritten(done: Path) -> None:
    with pytest.raises(WeightsError, match="there are weights of this name"):
        train_stainer(tiny_pairs.request(done, SHORT))
    asked = tiny_pairs.request(done, SHORT)
    other = replace(asked, card=asked.card.model_copy(update={"name": "other"}))
    with pytest.raises(UsageError, match="holds a training already"):
        train_stainer(other)


def test_training_can_start_from_weights(done: Path, tmp_path: Path) -> None:
    slow = SHORT.optimiser.model_copy(update={"learning_rate": 1e-9})
    request = tiny_pairs.request(tmp_path, SHORT.model_copy(update={"optimiser": slow}))
    manifest = train_stainer(replace(request, init=done / "tiny.safetensors"))
    _, before = load_model("tiny", done)
    _, after = load_model("tiny", tmp_path)
    window = torch.rand(1, 3, 48, 32) * 2 - 1
    assert float((before(window) - after(window)).abs().mean()) < 0.15
    assert manifest.metrics["ssim (linear)"] == load_model("tiny", done).manifest.metrics["ssim (linear)"]


def test_pairs_are_demanded(tmp_path: Path) -> None:
    request = replace(tiny_pairs.request(tmp_path, SHORT), train=tiny_pairs.Blobs(6, 1, he=False))
    with pytest.raises(UsageError, match="has no H&E"):
        train_stainer(request)


@pytest.mark.parametrize("preset", ["light", "source"])
def test_presets_load(preset: str) -> None:
    options = load_options(StainerOptions, "stainer", preset, {})
    assert all(options.losses.model_dump().values())
    assert options.architecture == ("pspstain-light" if preset == "light" else "pspstain")


def test_the_source_preset_is_the_published_recipe() -> None:
    options = load_options(StainerOptions, "stainer", "source", {})
    assert (options.epochs, options.batch, options.crop_px) == (80, 4, 512)
    assert list(options.losses.model_dump().values()) == [1, 1, 10, 0.05, 1, 2.5]
    assert (options.nce.layers, options.nce.temperature, options.nce.patches) == ((0, 4, 8, 12, 16), 0.07, 256)
    assert (options.optimiser.learning_rate, options.optimiser.discriminator_divisor) == (1e-4, 20)


def test_layers_of_the_decoder_are_refused() -> None:
    for layers in ((0, 18), (4, 0), (3, 3)):
        with pytest.raises(ValueError, match=r"nce\.layers"):
            StainerOptions.model_validate({"nce": {"layers": layers}})


@pytest.fixture(scope="module")
def bci(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set in BCI's layout: seven pairs of noise."""
    root = tmp_path_factory.mktemp("data") / "bci"
    rng = np.random.default_rng(3)
    for index in range(7):
        part, label = ("train", "test")[index > 4], ("0", "1+", "2+", "3+")[index % 4]
        for folder in ("HE", "IHC"):
            (root / folder / part).mkdir(parents=True, exist_ok=True)
            coarse = rng.integers(90, 250, (9, 10, 3), dtype=np.uint8)
            image = cv2.resize(coarse, (276, 260), interpolation=cv2.INTER_CUBIC)
            assert cv2.imwrite(str(root / folder / part / f"{index:05}_{part}_{label}.png"), image)
    return root


def run(*words: str) -> object:
    app = typer.Typer()
    app.command()(stainer)
    return CliRunner().invoke(app, list(words), catch_exceptions=True)


def test_the_command(bci: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    small = ("epochs=1", "crop_px=32", "batch=2", "validation.settle_batches=1", "validation.most=1")
    settings = [word for pair in small for word in ("--set", pair)]
    result = run(
        "--data", str(bci), "--name", "own", "-o", str(out), "--licence", "CC0-1.0", "--device", "cpu", *settings
    )
    assert result.exit_code == 0, result.output
    manifest = load_model("own", out).manifest
    assert manifest.licence == "CC0-1.0"
    assert manifest.mpp == 0.46
    assert manifest.training_data.startswith("bci: ")
    assert manifest.saw_real_tissue
    assert "Nothing in the H&E" not in (out / "card.md").read_text(encoding="utf-8")


def test_phantoms_are_known_to_hide_the_class(done: Path) -> None:
    assert not open_pairs("phantoms", StainerOptions()).saw_real_tissue
    card = ModelCard(name="blind", mpp=0.48, licence="none", saw_real_tissue=False)
    manifest = load_model("tiny", done).manifest.model_copy(update=card.model_dump())
    table = {"virtual": dict.fromkeys(MEASURES, 0.5)}
    text = card_text(manifest, table, StainerOptions(), (4, 4)).decode()
    assert "no slide is scored on it" in text


def test_the_command_names_what_is_wrong(bci: Path, tmp_path: Path) -> None:
    def problem(*words: str) -> str:
        result = run("--out", str(tmp_path / "out"), "--device", "cpu", *words)
        assert isinstance(result.exception, UsageError)
        return str(result.exception)

    assert "no such data set" in problem("--data", str(tmp_path / "absent"), "--name", "a")
    assert "--name: '../a'" in problem("--data", str(bci), "--name", "../a", "--set", "crop_px=32")
    assert "crop_px" in problem("--data", str(bci), "--name", "a", "--set", "crop_px=33")
    assert "is no preset" in problem("--data", str(bci), "--name", "a", "--config", "heavy")
    missing = bci / "HE" / "train" / "00001_train_1+.png"
    kept = missing.read_bytes()
    missing.unlink()
    try:
        assert "00001_train_1+" in problem("--data", str(bci), "--name", "a", "--set", "crop_px=32")
    finally:
        missing.write_bytes(kept)
