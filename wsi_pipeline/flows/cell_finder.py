"""What finds nuclei in a run: the classical finder, or the network of cells where it was asked for and can be had."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from wsi_pipeline.config import Settings
from wsi_pipeline.errors import WeightsError
from wsi_pipeline.models.cell_network import MPP, NAME, CellWeights, find_cell_weights, load_cell_network


class CellFinder(NamedTuple):
    """`weights`: the network's, None for the classical finder; `fallback`: why that one steps in, or empty."""

    weights: CellWeights | None = None
    fallback: str = ""
    remedy: str = ""

    @property
    def sentence(self) -> str:
        """What the run says of it before it begins; empty where the classical finder was asked for."""
        if self.weights is not None:
            return f"cells: found by the network {NAME} ({self.weights.sha256[:12]})"
        return f"{self.fallback} ({self.remedy})" if self.fallback else ""

    def record(self) -> dict[str, Any]:
        """Return what the result's provenance says about it."""
        if self.weights is not None:
            return {"finder": "network", "network": NAME, "sha256": self.weights.sha256, "mpp": MPP}
        return {"finder": "classical"} | ({"instead_of": "network", "why": self.fallback} if self.fallback else {})


CLASSICAL = CellFinder()


def choose_cell_finder(settings: Settings, folder: Path | None) -> CellFinder:
    """Return what finds nuclei; weights are looked for in `folder` first.

    The network is loaded here, so that a run knows from its first region to its last what finds its nuclei.
    Raises WeightsError when `folder` is none.
    """
    if settings.cells.finder == "classical" or settings.evidence == "tiles":
        return CLASSICAL
    try:
        weights = find_cell_weights(folder)
        load_cell_network(weights)
    except WeightsError as error:
        why = f"nuclei were found by the classical finder, because the network of cells cannot be used: {error.problem}"
        return CellFinder(None, why, error.remedy)
    return CellFinder(weights)
