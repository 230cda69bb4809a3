"""The network that sees cells: where its file lies, whether it can be run here, and how it is asked.

It takes optical density of R, G, B at 0.5 um/px and answers pixel by pixel. Nothing here needs torch.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.errors import WeightsError
from wsi_pipeline.models.registry import weights_folders

NAME = "cellnet"

MPP = 0.5
"""Pixel size that the network was trained at, um/px."""

UNIT_PX = 8
"""Sides and places of windows are multiples of this, px: the network halves its image three times."""

HALO_PX = 96
"""How far a window reaches beyond what is used of it, px: a pixel's answer depends on others up to 94 px away."""

CHANNELS = ("nucleus", "core", "membrane", "epithelium")
"""What the network gives: logit of nucleus, distance to its border (0 outside, 1 at its core), two more logits."""

REMEDY = "name a folder that holds it with --weights, or leave cells.finder at classical"


class CellWeights(NamedTuple):
    """What a worker needs to load the network; small, picklable and hashable, so that it is loaded once per process."""

    path: Path
    sha256: str


class CellNetwork:
    """The network, loaded and tried, on one thread of the processor."""

    def __init__(self, weights: CellWeights) -> None:
        """Read and verify the network. Raises WeightsError when it is another file, or cannot be run here."""
        if file_sha256(weights.path) != weights.sha256:
            raise WeightsError(weights.path, "it was changed while the run went on", "start the run again")
        from wsi_pipeline.models.processor_engine import ProcessorNetwork  # noqa: PLC0415 - 0.1 s, for runs that use it

        try:
            self._engine = ProcessorNetwork(weights.path, 1)
            answer = self(np.zeros((len("RGB"), 2 * UNIT_PX, 3 * UNIT_PX), np.float32))
        except WeightsError:
            raise
        except Exception as error:  # engines raise what they like
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            reason = reason.replace(str(weights.path), weights.path.name)  # records name no place on a disk
            raise WeightsError(weights.path, f"it cannot be run on this machine: {reason}", REMEDY) from error
        if answer.shape != (len(CHANNELS), 2 * UNIT_PX, 3 * UNIT_PX) or not np.isfinite(answer).all():
            raise WeightsError(weights.path, "it does not answer as a network of cells does", REMEDY)

    def __call__(self, density: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return CHANNELS (4, H, W) of optical density (3, H, W); H and W are multiples of UNIT_PX."""
        maps: NDArray[np.float32] = self._engine(np.ascontiguousarray(density[np.newaxis]))[0]
        return maps


def find_cell_weights(named: Path | None = None) -> CellWeights:
    """Return the network of cells; looked for in `named`, the user's folder and the package's own.

    Raises WeightsError when it is not there, or cannot be read.
    """
    for folder in weights_folders(named):
        path = folder / f"{NAME}.onnx"
        if path.is_file():
            return CellWeights(path, file_sha256(path))
    places = ", ".join(str(folder) for folder in weights_folders(named))
    raise WeightsError(f"{NAME}.onnx", "it is in none of the folders of weights", f"looked in {places}; {REMEDY}")


@lru_cache(maxsize=1)
def load_cell_network(weights: CellWeights) -> CellNetwork:
    """Return the network, loaded once per process. Raises WeightsError."""
    return CellNetwork(weights)


def file_sha256(path: Path) -> str:
    """Return the hash of a file's content. Raises WeightsError when it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise WeightsError(path, f"cannot be read: {error.strerror or error}") from error
