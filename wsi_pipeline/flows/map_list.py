"""The maps of a run as viewers list them: those of most use first, each with its name and its look over the slide."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from wsi_pipeline.export.qupath import MapImage
from wsi_pipeline.export.qupath_script import Shown
from wsi_pipeline.flows.maps import SHARE_MAP, VIRTUAL_IMAGE
from wsi_pipeline.flows.pyramids import CLASS_MAP, COLOUR_MAP, DENSITY_MAP
from wsi_pipeline.flows.tile_maps import (
    CAM_COLOUR_MAP,
    CAM_MAP,
    ENTROPY_MAP,
    QUALITY_MAP,
    TILE_CLASS_MAP,
    TileScales,
    map_name,
)

LOOKS: dict[str, Shown | None] = {
    CLASS_MAP: "classes",
    COLOUR_MAP: "darker is more",
    VIRTUAL_IMAGE: "picture",
    DENSITY_MAP: None,
    SHARE_MAP: None,
    TILE_CLASS_MAP: "classes",
    ENTROPY_MAP: "darker is more",
    CAM_COLOUR_MAP: "colourful is more",
    CAM_MAP: None,
    QUALITY_MAP: "classes",
}
"""File of each map in the order of use, and how its colours are laid over the slide in QuPath; None: it has none."""


def listed_maps(paths: Iterable[str], scales: TileScales | None = None) -> tuple[MapImage, ...]:
    """Return the maps at `paths` (relative to the run folder) in the order of use; `scales` where there is a CAM."""
    order = list(LOOKS)
    files = {PurePosixPath(path).name: path for path in paths}
    return tuple(
        MapImage(name=map_name(file, scales), path=files[file], shown=LOOKS[file])
        for file in sorted(files, key=order.index)
    )
