"""Tiles to logits and features with torch, on processors and accelerators."""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsi_pipeline.models.fixture_tiles import glass_tile
from wsi_pipeline.models.ihcnet import TileClassifier
from wsi_pipeline.models.lane import Returning, device_lane, send
from wsi_pipeline.models.load import LoadedModel
from wsi_pipeline.models.prepared import prepared_trunk
from wsi_pipeline.models.preprocess import network_input
from wsi_pipeline.models.runtime import PROCESSOR_BATCH, Runtime


class TileAnswers(NamedTuple):
    """What a classifier says about B tiles: `logits` (B, 4), and `features` (B, C, h, w) before pooling, float32.

    The features stay on the device that computed them.
    """

    logits: NDArray[np.float32]
    features: Tensor


class TileRunner:
    """A classifier on its device, asked in batches of one size; the answer for a tile does not depend on the others.

    The trunk runs in the runtime's precision, the head in fp32 whatever that is.
    """

    def __init__(self, loaded: LoadedModel, runtime: Runtime, batch_tiles: int) -> None:
        """Prepare `loaded` (a classifier) for `runtime`, whose backend is torch.

        `batch_tiles`: tiles in a batch, at most PROCESSOR_BATCH on processors.
        """
        runtime.settle()
        self.network = cast("TileClassifier", loaded.network)
        """The plain network in fp32 on the runtime's device; its head explains the features."""
        self._manifest = loaded.manifest
        self._runtime = runtime
        self._batch_tiles = min(batch_tiles, PROCESSOR_BATCH) if runtime.device == "cpu" else batch_tiles
        self._trunk = prepared_trunk(self.network.backbone, runtime)
        self.network.to(runtime.device)

    def answer(self, tiles: NDArray[np.uint8]) -> TileAnswers:
        """Return logits and features of `tiles`, (B, tile_px, tile_px, 3) uint8 RGB; B may be anything.

        Raises UsageError for tiles of another shape than the manifest's.
        """
        step = self._batch_tiles
        parts = [self._batch(tiles[start : start + step]) for start in range(0, max(len(tiles), 1), step)]
        logits = np.concatenate([returning.array() for returning, _features in parts])[: len(tiles)]
        return TileAnswers(logits, torch.cat([features for _returning, features in parts])[: len(tiles)])

    def glass(self) -> Tensor:
        """Return the pooled features (C,) of a tile of glass, on the device."""
        return self.answer(glass_tile(self._manifest)).features.mean(dim=(2, 3))[0]

    def _batch(self, tiles: NDArray[np.uint8]) -> tuple[Returning, Tensor]:
        """Return logits and features of one batch, filled up with black tiles to its fixed size."""
        missing = self._batch_tiles - len(tiles)
        full = np.concatenate([tiles, np.zeros((missing, *tiles.shape[1:]), np.uint8)]) if missing else tiles
        with device_lane(self._runtime.device), torch.inference_mode():
            inputs = network_input(send(full, self._runtime.device), self._manifest)
            features = self._trunk(inputs.to(self._runtime.dtype))
            features = torch.relu(features.float()) if self.network.features_relu else features.float()
            return Returning(self.network.logits(features)), features
