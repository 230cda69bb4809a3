"""What a network of cells is worth on pictures that it did not see: nuclei as objects, the rest by pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.cells.network_finder import find_peaks
from wsi_pipeline.cells.nuclei import territories
from wsi_pipeline.geometry import Mpp
from wsi_pipeline.models.cell_network import CHANNELS, MPP, UNIT_PX
from wsi_pipeline.training.cells.recolour import Photograph, recoloured
from wsi_pipeline.training.cells.samples import LEAST_WALL, spoiled
from wsi_pipeline.training.cells.scenes import Scene

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Optical density (3, H, W) -> CHANNELS (4, H, W)."""

SAME_NUCLEUS = 0.5
"""Intersection over union from which on two outlines are one nucleus (PASCAL's rule, usual for nuclei)."""


def evaluate(network: Network, photographs: Sequence[Photograph], scenes: Sequence[Scene]) -> dict[str, float]:
    """Return F1 of nuclei on recoloured photographs and on phantoms, and F1 of walls and epithelium on phantoms."""
    generator = np.random.default_rng(0)
    pairs = []
    for photograph in photographs:
        density, _ = recoloured(photograph, generator)
        answer = _asked(network, spoiled(density, generator))
        pairs.append((labels_of(answer), photograph.nuclei))
    drawn, walls, epithelium = [], np.zeros(3), np.zeros(3)
    for scene in scenes:
        density = np.maximum(-np.log10(np.maximum(scene.rgb, 1) / np.array(scene.white)), 0).astype(np.float32)
        answer = _asked(network, spoiled(density, generator))
        drawn.append((labels_of(answer), scene.nuclei))
        walls += _counts(answer[CHANNELS.index("membrane")] > 0, scene.wall > LEAST_WALL)
        epithelium += _counts(answer[CHANNELS.index("epithelium")] > 0, scene.nest)
    return {
        "nuclei F1 at IoU .5, held-out photographs": f1_of_nuclei(pairs),
        "nuclei F1 at IoU .5, unseen phantoms": f1_of_nuclei(drawn),
        "walls F1, unseen phantoms, pixels": _f1(*walls),
        "epithelium F1, unseen phantoms, pixels": _f1(*epithelium),
    }


def labels_of(answer: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return the nuclei (H, W), numbered from 1, of CHANNELS (4, H, W)."""
    likely = 1 / (1 + np.exp(-answer[CHANNELS.index("nucleus")]))
    row, column = find_peaks(answer[CHANNELS.index("core")], likely, Mpp(MPP, MPP))
    owner, _ = territories(row, column, likely.shape)
    return np.asarray(owner * (likely > 0.5), dtype=np.int32)


def f1_of_nuclei(pairs: Sequence[tuple[NDArray[np.int32], NDArray[np.int32]]]) -> float:
    """Return the F1 over pictures (found, true), each numbered from 1; a nucleus is found if the overlap is large."""
    same = found = true = 0
    for ours, theirs in pairs:
        both = np.zeros((int(ours.max()) + 1, int(theirs.max()) + 1))
        np.add.at(both, (ours.ravel(), theirs.ravel()), 1)
        areas_found, areas_true = both.sum(axis=1)[1:], both.sum(axis=0)[1:]
        overlap = both[1:, 1:]
        union = areas_found[:, None] + areas_true[None] - overlap
        same += int((overlap > SAME_NUCLEUS * np.maximum(union, 1)).sum())
        found += int((areas_found > 0).sum())
        true += int((areas_true > 0).sum())
    return _f1(same, found - same, true - same)


def _asked(network: Network, density: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return CHANNELS (4, H, W) of OD (H, W, 3) of any size."""
    height, width = density.shape[:2]
    padded = np.pad(density, ((0, -height % UNIT_PX), (0, -width % UNIT_PX), (0, 0)), mode="symmetric")
    return network(np.ascontiguousarray(padded.transpose(2, 0, 1)))[:, :height, :width]


def _counts(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return true positives, false positives and false negatives."""
    return np.array([(found & true).sum(), (found & ~true).sum(), (~found & true).sum()], float)


def _f1(right: float, wrong: float, missed: float) -> float:
    """Return 2 right / (2 right + wrong + missed), rounded; 0 where there is nothing."""
    return round(float(2 * right / max(2 * right + wrong + missed, 1)), 3)
