"""From verified weights to what OpenVINO runs: a program of its own, so that whoever classifies needs no torch.

Only the trunk is converted. The small head is written down as plain matrices and works in float32 whatever the trunk
computes in, so that logits and class activation maps come from the same numbers.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from wsi_pipeline.errors import WsiHer2Error
from wsi_pipeline.models.converted import HEAD, REFUSED, TRUNK
from wsi_pipeline.models.head import Head
from wsi_pipeline.models.ihcnet import TileClassifier
from wsi_pipeline.models.load import load_model
from wsi_pipeline.models.openvino_backend import openvino_module


def main(arguments: list[str]) -> None:
    """Convert the weights NAME in FOLDER, for batches of BATCH tiles, into the folder TARGET."""
    name, folder, batch, target = arguments
    try:
        write_converted(name, Path(folder), int(batch), Path(target))
    except WsiHer2Error as error:
        sys.stdout.write("\n" + json.dumps([error.subject, error.problem, error.remedy]) + "\n")
        raise SystemExit(REFUSED) from error


def write_converted(name: str, folder: Path, batch: int, target: Path) -> None:
    """Write the classifier `name` (in `folder`) to `target`: the trunk for batches of `batch`, the head's matrices.

    Raises WeightsError for weights that are not what their manifest says.
    """
    loaded = load_model(name, folder)
    network, side = cast("TileClassifier", loaded.network), loaded.manifest.input_px
    model = converted(_Features(network), (batch, 3, side, side))
    openvino_module().save_model(model, target / TRUNK, compress_to_fp16=False)
    head = plain_head(network.classifier)
    arrays = {f"weight_{number}": weight for number, weight in enumerate(head.weights)}
    arrays |= {f"bias_{number}": bias for number, bias in enumerate(head.biases)}
    np.savez(target / HEAD, **cast("dict[str, Any]", arrays))


def converted(network: nn.Module, shape: tuple[int, ...]) -> Any:
    """Return `network` (eval, fp32, CPU) as OpenVINO's model for inputs of `shape`."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # torch's notes on tracing, by which OpenVINO reads networks
        jit: Any = torch.jit  # its functions have no types
        # traced here, since OpenVINO has torch run the network three times to see that it traced it well
        traced = jit.trace(network, torch.zeros(1, *shape[1:]), check_trace=False)
        return openvino_module().convert_model(traced, input=list(shape))


def plain_head(layers: nn.Sequential) -> Head:
    """Return the matrices of a head (eval): each linear layer with the normalisation behind it, folded in float64."""
    weights, biases = [], []
    kept = list(layers)
    for layer, following in zip(kept, [*kept[1:], None], strict=True):
        if not isinstance(layer, nn.Linear):
            continue
        weight, bias = layer.weight.double(), layer.bias.double()
        if isinstance(following, nn.BatchNorm1d):
            scale = following.weight.double() / (cast("Tensor", following.running_var).double() + following.eps).sqrt()
            weight = weight * scale[:, None]
            bias = (bias - cast("Tensor", following.running_mean).double()) * scale + following.bias.double()
        weights.append(weight.detach().cpu().numpy().astype(np.float32))
        biases.append(bias.detach().cpu().numpy().astype(np.float32))
    return Head(tuple(weights), tuple(biases))


class _Features(nn.Module):
    """A classifier up to the features that are pooled."""

    def __init__(self, network: TileClassifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, tiles: Tensor) -> Tensor:
        """Return the features (B, C, h, w) of prepared tiles."""
        return self.network.feature_map(tiles)


if __name__ == "__main__":
    main(sys.argv[1:])
