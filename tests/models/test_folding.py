"""Folding changes how weights are written, not what the network answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

REASON = "the extra `models` is not installed"
torch = pytest.importorskip("torch", reason=REASON)
pytest.importorskip("torchvision", reason=REASON)
pytest.importorskip("safetensors", reason=REASON)

from torch import nn  # noqa: E402

from wsi_pipeline.models.architectures import network_from  # noqa: E402
from wsi_pipeline.models.folding import fold_batch_norm, fold_spectral_norm  # noqa: E402
from wsi_pipeline.models.importing import import_checkpoint  # noqa: E402
from wsi_pipeline.models.load import load_model  # noqa: E402
from wsi_pipeline.models.manifest import ModelCard  # noqa: E402
from wsi_pipeline.models.pspstain import LIGHT_WIDTH, Generator  # noqa: E402


def test_spectral_norm_folds_to_the_bit(spectral_generator: nn.Module) -> None:
    image = torch.rand(2, 3, 36, 52, generator=torch.Generator().manual_seed(5)) * 2 - 1
    folded = fold_spectral_norm(spectral_generator.state_dict())
    assert not any(key.endswith(("_orig", "_u", "_v")) for key in folded)
    with torch.inference_mode():
        assert torch.equal(network_from(folded, "pspstain")(image), spectral_generator(image))


def test_spectral_checkpoint_stays_equal_to_the_bit_through_import(
    spectral_generator: nn.Module, tmp_path: Path
) -> None:
    image = torch.rand(1, 3, 36, 52, generator=torch.Generator().manual_seed(6)) * 2 - 1
    torch.save(spectral_generator.state_dict(), tmp_path / "net_G.pth")
    card = ModelCard(name="stainer", mpp=0.46, licence="CC0-1.0", marker="HER2")
    manifest = import_checkpoint(tmp_path / "net_G.pth", card, tmp_path)
    assert manifest.architecture == "pspstain"
    with torch.inference_mode():
        assert torch.equal(load_model("stainer", tmp_path).network(image), spectral_generator(image))


def test_batch_norm_folds_into_the_convolutions(randomise: Callable[[nn.Module, int], nn.Module]) -> None:
    torch.manual_seed(7)
    trained = randomise(Generator(LIGHT_WIDTH, "batch"), 8)
    folded = network_from(fold_batch_norm(trained.state_dict()), "pspstain-light")
    image = torch.rand(1, 3, 36, 52, generator=torch.Generator().manual_seed(9), dtype=torch.float64) * 2 - 1
    with torch.inference_mode():
        # In double precision: what is left is the rounding of the folded weights, not that of a processor's kernels.
        expected = trained.double()(image)
        assert expected.std() > 0.05
        assert torch.allclose(folded.double()(image), expected, atol=1e-5)
    assert len(folded.state_dict()) == 40


def test_light_generator_is_a_function_of_position() -> None:
    """A window with a halo of 72 px gives the pixels of the whole image, whatever lies beyond."""
    torch.manual_seed(10)
    generator = Generator(LIGHT_WIDTH, "folded").eval()
    image = torch.rand(1, 3, 208, 260) * 2 - 1
    with torch.inference_mode():
        whole = generator(image)
        window = generator(image[:, :, 16:192, 48:220])
    core = whole[:, :, 88:120, 120:148]
    assert core.std() > 0.05
    assert torch.allclose(window[:, :, 72:104, 72:100], core, atol=1e-5)
