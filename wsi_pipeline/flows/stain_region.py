"""One region of a virtual stain: read, stain, lay glass where there is no tissue, write its own chunks.

The counterpart of `flows/region.py` for networks: it takes and returns small values only, and running it again changes
nothing. The network and the slide's statistics are loaded once per worker, from paths.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.export.zarr_map import MapStore
from wsi_pipeline.geometry import Box
from wsi_pipeline.slide import RescaledSlide, SlideSpec

if TYPE_CHECKING:
    from wsi_pipeline.models.pspstain import Generator
    from wsi_pipeline.models.seamless import SeamlessStainer

GLASS = 255
"""Grey level where there is no tissue: no stain is inferred for glass."""

GRID_SPACING_PX = 2048
"""Distance of the anchors of local statistics, model px: about 1 mm."""

MOST_WINDOWS = 24
"""Windows behind one set of statistics, spread evenly over the tissue: a minute of the full generator on a core."""


@dataclass(frozen=True)
class StainPlan:
    """What is the same for all regions; paths, so that it stays small."""

    slide: SlideSpec
    weights: str
    weights_folder: Path | None
    image: Path
    statistics: Path


@dataclass(frozen=True)
class StainTask:
    """One region, model px, and where in it there is tissue: (h, w) bool, one value per `mask_px` model px."""

    plan: StainPlan
    box: Box
    tissue: NDArray[np.bool_]
    mask_px: int


def calibrate(
    plan: StainPlan, view: RescaledSlide, has_tissue: Callable[[Box], bool], kind: Literal["slide", "grid"]
) -> None:
    """Measure the statistics of the slide's normalisation, where the generator needs any, and store them.

    "slide": one set from evenly spread tissue; "grid": local ones, interpolated.
    """
    from wsi_pipeline.models.seamless import save_field  # noqa: PLC0415 - torch is heavy

    stainer = _network(plan.weights, plan.weights_folder)
    if stainer.needs_calibration:
        spacing = GRID_SPACING_PX if kind == "grid" else None
        save_field(stainer.calibrate(view.read, view.size, has_tissue, spacing, MOST_WINDOWS), plan.statistics)


def process_stain_region(task: StainTask) -> int:
    """Stain one region, write its chunks of the image, and return how many px were stained."""
    stained = _stainer(task.plan).stain(_view(task.plan).read, task.box)
    tissue = np.repeat(np.repeat(task.tissue, task.mask_px, axis=0), task.mask_px, axis=1)
    tissue = tissue[: task.box.height, : task.box.width]
    stained = np.where(tissue[..., None], stained, GLASS).astype(np.uint8)
    MapStore.open(task.plan.image).write_block(task.box.x, task.box.y, stained)
    return int(tissue.sum())


@lru_cache(maxsize=2)
def _network(weights: str, folder: Path | None) -> SeamlessStainer:
    """Load and verify the generator once per process."""
    from wsi_pipeline.models.load import load_model  # noqa: PLC0415
    from wsi_pipeline.models.seamless import SeamlessStainer, use_one_thread  # noqa: PLC0415

    use_one_thread()
    loaded = load_model(weights, folder)
    return SeamlessStainer(cast("Generator", loaded.network))


@lru_cache(maxsize=2)
def _stainer(plan: StainPlan) -> SeamlessStainer:
    """Return the generator with this slide's statistics."""
    from wsi_pipeline.models.seamless import load_field  # noqa: PLC0415

    stainer = _network(plan.weights, plan.weights_folder)
    if stainer.needs_calibration:
        stainer.use(load_field(plan.statistics))
    return stainer


@lru_cache(maxsize=2)
def _view(plan: StainPlan) -> RescaledSlide:
    """Keep the slide open between regions, at the generator's pixel size."""
    from wsi_pipeline.models.registry import find_weights  # noqa: PLC0415

    return RescaledSlide(plan.slide.open(), find_weights(plan.weights, plan.weights_folder).manifest.mpp)
