"""Seeded random weights: no trained ones are needed to prove the machinery."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wsi_pipeline.cli.main import main
from wsi_pipeline.models.manifest import Architecture, ModelCard

if TYPE_CHECKING:
    from torch import Tensor, nn

    from wsi_pipeline.models.load import LoadedModel

CARD = {"mpp": 0.46, "licence": "CC-BY-4.0", "training_data": "made up", "intended_use": "Tests only."}
Make = Callable[..., "LoadedModel"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def randomise() -> Callable[[nn.Module, int], nn.Module]:
    """Return a function that gives every BatchNorm of a network statistics as training would, and puts it in eval."""
    return _randomise


def _randomise(network: nn.Module, seed: int) -> nn.Module:
    torch = sys.modules["torch"]
    random = torch.Generator().manual_seed(seed)

    def between(like: Tensor, low: float, high: float) -> Tensor:
        return torch.rand(like.shape, generator=random) * (high - low) + low

    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            layer.running_mean.copy_(between(layer.running_mean, -0.2, 0.2))
            layer.running_var.copy_(between(layer.running_var, 0.5, 1.5))
            layer.weight.data.copy_(between(layer.weight, 0.7, 1.3))
            layer.bias.data.copy_(between(layer.bias, -0.2, 0.2))
    return network.eval()


@pytest.fixture(scope="session")
def spectral_generator() -> nn.Module:
    """Return PSPStain's generator wrapped by torch's own spectral norm, u and v settled, in eval."""
    torch = pytest.importorskip("torch", reason="the extra `models` is not installed")
    pytest.importorskip("torchvision", reason="the extra `models` is not installed")
    from wsi_pipeline.models.pspstain import Generator  # noqa: PLC0415 - needs torch

    torch.manual_seed(11)
    network = Generator()
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.utils.spectral_norm(layer)
    with torch.inference_mode():
        network.train()(torch.rand(1, 3, 12, 20) * 2 - 1)
    return network.eval()


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, randomise: Callable[..., nn.Module]) -> Make:
    """Return a function that returns seeded random weights of an architecture, saved and loaded."""
    torch = pytest.importorskip("torch", reason="the extra `models` is not installed")
    from wsi_pipeline.models.architectures import build  # noqa: PLC0415 - needs torch
    from wsi_pipeline.models.load import load_model  # noqa: PLC0415
    from wsi_pipeline.models.save import save_weights  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("weights")

    def made(architecture: Architecture) -> LoadedModel:
        name = f"toy-{architecture}"
        if not (folder / f"{name}.json").exists():
            torch.manual_seed(57)
            network = randomise(build(architecture), 58)
            save_weights(network.state_dict(), architecture, ModelCard(name=name, **CARD), folder)
        return load_model(name, folder)

    made.folder = folder
    return made


@pytest.fixture
def wsi_her2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a command line and returns exit code, stdout and stderr."""

    def run(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["wsi-her2", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # the command ends its process, and leaves it deaf
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    return run
