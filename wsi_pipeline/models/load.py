"""From a name to a network that is proved to be the one its manifest describes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from wsi_pipeline.errors import WeightsError
from wsi_pipeline.models.architectures import first_problem, network_from, plain_specs
from wsi_pipeline.models.fixture import fixture_problem
from wsi_pipeline.models.manifest import Manifest
from wsi_pipeline.models.registry import Weights, find_weights
from wsi_pipeline.models.save import in_float32


class LoadedModel(NamedTuple):
    """A network on the CPU in float32, in eval and without gradients, and its manifest."""

    manifest: Manifest
    network: nn.Module


def load_model(name: str, folder: Path | None = None) -> LoadedModel:
    """Return the weights called `name`, looked for in `folder`, the user's and the package's folder, and verified.

    Raises WeightsError when they are missing, changed, of another shape, or do not give the fixture outputs.
    """
    return load_weights(find_weights(name, folder))


def load_weights(weights: Weights) -> LoadedModel:
    """Return the network of `weights`: hash, keys, shapes and fixture outputs checked, in this order.

    Raises WeightsError.
    """
    manifest = weights.manifest
    try:
        state = load(weights.read())
    except SafetensorError as error:
        raise WeightsError(manifest.name, f"{weights.tensors} is not a safetensors file") from error
    problem = first_problem(state, plain_specs(manifest.architecture))
    if problem:
        raise WeightsError(manifest.name, f"{weights.tensors} is not {manifest.architecture}: {problem}")
    network = network_from(in_float32(state), manifest.architecture, features_relu=manifest.features_relu)
    problem = fixture_problem(network, manifest)
    if problem:
        raise WeightsError(manifest.name, problem, "import the checkpoint again, and check its preparation")
    return LoadedModel(manifest, network)
