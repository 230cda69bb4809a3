"""A tile classifier that also says what each position counted for, on whatever runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.holding import one_torch_thread
from wsi_pipeline.models.registry import find_weights
from wsi_pipeline.models.runtime import OPENVINO_BATCH, Runtime


class Seen(NamedTuple):
    """What is said about B tiles, float32: `logits` (B, 4), and `maps` (B, 3, h, w) of the margins (`cam.MarginMaps`).

    `glass_margins` (3,): those of a tile of glass, which every value of a map includes.
    """

    logits: NDArray[np.float32]
    maps: NDArray[np.float32]
    glass_margins: NDArray[np.float32]


Look = Callable[[NDArray[np.uint8]], Seen]
"""Takes tiles, (B, tile_px, tile_px, 3) uint8 RGB."""


def look_through(name: str, folder: Path, runtime: Runtime, batch_tiles: int) -> Look:
    """Return what looks at tiles through the weights `name` in `folder`, loaded and verified. Raises WeightsError."""
    return (_through_openvino if runtime.backend == "openvino" else _through_torch)(name, folder, runtime, batch_tiles)


def _through_openvino(name: str, folder: Path, runtime: Runtime, batch_tiles: int) -> Look:
    """Return what looks with OpenVINO, without torch."""
    from wsi_pipeline.models.converted import ConvertedClassifier  # noqa: PLC0415 - OpenVINO is optional

    classifier = ConvertedClassifier(find_weights(name, folder), runtime, min(batch_tiles, OPENVINO_BATCH))

    def look(tiles: NDArray[np.uint8]) -> Seen:
        answers = classifier.answer(tiles)
        return Seen(answers.logits, classifier.maps(answers.features), classifier.glass_margins)

    return look


def _through_torch(name: str, folder: Path, runtime: Runtime, batch_tiles: int) -> Look:
    """Return what looks with torch."""
    from wsi_pipeline.explain.cam import MarginMaps  # noqa: PLC0415 - torch is heavy
    from wsi_pipeline.models.classify import TileRunner  # noqa: PLC0415
    from wsi_pipeline.models.load import load_model  # noqa: PLC0415

    with one_torch_thread():
        runner = TileRunner(load_model(name, folder), runtime, batch_tiles)
        maps = MarginMaps(runner.network, runner.glass())

    def look(tiles: NDArray[np.uint8]) -> Seen:
        with one_torch_thread():
            answers = runner.answer(tiles)
            return Seen(answers.logits, maps(answers.features), maps.glass_margins)

    return look
