"""One region of a virtual stain: read, stain, lay glass where there is no tissue, write its own chunks.

The counterpart of `flows/region.py` for the generator: it takes and returns small values only, and running it again
changes nothing. The network and the slide's statistics are loaded once per worker, from paths.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.export.zarr_map import MapStore, levels_alone
from wsi_pipeline.flows.networks import Network
from wsi_pipeline.flows.packed import PackedTask
from wsi_pipeline.flows.region import file_identity, opened
from wsi_pipeline.geometry import Box, cut
from wsi_pipeline.holding import one_torch_thread
from wsi_pipeline.slide import RescaledSlide, SlideSpec
from wsi_pipeline.tiling import Grid, Region

if TYPE_CHECKING:
    from wsi_pipeline.models.norm_field import NormField
    from wsi_pipeline.models.pspstain import Generator
    from wsi_pipeline.models.seamless import SeamlessStainer

GLASS = 255
"""Grey level where there is no tissue: no stain is inferred for glass."""

WINDOW_PX = 1024
"""Side of what is stained at once, px: the halo of 72 px then costs 30 %, and the full generator fits 2 GB."""

GRID_SPACING_PX = 2048
"""Distance of the anchors of local statistics, model px: about 1 mm."""

TISSUE_PX = 64
"""Px per value of the tissue mask by which calibration windows are chosen."""

MOST_WINDOWS = 24
"""Windows behind one set of statistics, spread evenly over the tissue: a minute of the full generator on a core."""


_LOADING = threading.Lock()


@dataclass(frozen=True)
class StainPlan:
    """What is the same for all regions; paths, so that it stays small. `grid`: px of the generator."""

    slide: SlideSpec
    grid: Grid
    network: Network
    image: Path
    statistics: Path


@dataclass(frozen=True)
class StainTask(PackedTask):
    """One region; `allowed` (h, w) bool, one value per `map_px` of the grid, says where there is tissue."""

    plan: StainPlan
    region: Region
    allowed: NDArray[np.bool_]


class StainOutcome(NamedTuple):
    """What comes back, px of the grid: tissue that was to be stained, and how much of it could not be read."""

    scored_px: int
    unreadable_px: int
    seconds: dict[str, float]


@dataclass(frozen=True)
class CalibrationTask:
    """The measurement of a slide's normalisation.

    `tissue` (H, W) bool, one value per TISSUE_PX px of the grid over the whole slide; `kind`: "slide" takes one set
    from evenly spread tissue, "grid" local ones.
    """

    plan: StainPlan
    tissue: NDArray[np.bool_]
    kind: Literal["slide", "grid"]


class Calibrated(NamedTuple):
    """How long it took."""

    seconds: dict[str, float]


def calibrate(task: CalibrationTask) -> Calibrated:
    """Measure the statistics of the slide's normalisation, where the generator needs any, and store them."""
    from wsi_pipeline.models.seamless import save_field  # noqa: PLC0415 - torch is heavy

    start = time.perf_counter()
    stainer, plan = _stainer(task.plan.network), task.plan
    if stainer.needs_calibration:

        def has_tissue(box: Box) -> bool:
            rows, columns = (
                slice(max(first // TISSUE_PX, 0), max(-(-end // TISSUE_PX), 0))
                for first, end in ((box.y, box.bottom), (box.x, box.right))
            )
            return bool(task.tissue[rows, columns].any())

        spacing = GRID_SPACING_PX if task.kind == "grid" else None
        with one_torch_thread():
            field = stainer.calibrate(_view(plan).read, plan.grid.size_an, has_tissue, spacing, MOST_WINDOWS)
        save_field(field, plan.statistics)
    return Calibrated({"calibrate": time.perf_counter() - start})


def process_stain_region(task: StainTask) -> StainOutcome:
    """Stain one region, and write its chunks of the image and of the lower levels that it fills alone."""
    plan, core = task.plan, task.region.core_an
    start = time.perf_counter()
    image = np.full((core.height, core.width, 3), GLASS, np.uint8)
    unreadable = sum(_stain_part(task, part, image) for part in cut(core.size, WINDOW_PX))
    middle = time.perf_counter()
    store = MapStore.open(plan.image)
    store.write_levels(core.x, core.y, image, levels_alone(plan.grid.region_px, store.chunk))
    seconds = {"stain": middle - start, "stain_write": time.perf_counter() - middle}
    return StainOutcome(int(task.allowed.sum()) * plan.grid.options.map_px**2, unreadable, seconds)


def _stain_part(task: StainTask, part: Box, image: NDArray[np.uint8]) -> int:
    """Stain one window of the region into its `image`, and return how many of its px could not be read."""
    core, map_px = task.region.core_an, task.plan.grid.options.map_px
    rows, columns = (np.arange(start, end) // map_px for start, end in ((part.y, part.bottom), (part.x, part.right)))
    tissue = task.allowed[np.ix_(rows, columns)]
    if not tissue.any():
        return 0
    lost = 0

    def read(box: Box) -> NDArray[np.uint8]:
        nonlocal lost, tissue
        pixels = _view(task.plan).read_pixels(box)
        x, y = core.x + part.x - box.x, core.y + part.y - box.y
        valid = pixels.valid[y : y + part.height, x : x + part.width]
        lost = min(pixels.unreadable, int((~valid & tissue).sum()))
        tissue = tissue & valid
        return pixels.rgb

    stainer = _stainer(task.plan.network)
    field = _statistics(task.plan.statistics) if stainer.needs_calibration else None
    with one_torch_thread():
        stained = stainer.stain(read, Box(core.x + part.x, core.y + part.y, part.width, part.height), field)
    image[part.y : part.bottom, part.x : part.right][tissue] = stained[tissue]
    return lost


@lru_cache(maxsize=1)
def _network(network: Network) -> SeamlessStainer:
    """Load and verify the generator once per process."""
    from wsi_pipeline.models.load import load_model  # noqa: PLC0415
    from wsi_pipeline.models.seamless import SeamlessStainer  # noqa: PLC0415

    with one_torch_thread():
        loaded = load_model(network.name, network.folder)
        return SeamlessStainer(cast("Generator", loaded.network), network.runtime)


def _stainer(network: Network) -> SeamlessStainer:
    """Return the generator, which threads and slides share."""
    with _LOADING:
        return _network(network)


def _statistics(path: Path) -> NormField:
    """Return a slide's statistics, read again when others lie there."""
    return _field(path, file_identity(path))


@lru_cache(maxsize=4)  # as many as slides are kept open
def _field(path: Path, _identity: tuple[int, ...]) -> NormField:
    """Read the statistics that are there now."""
    from wsi_pipeline.models.seamless import load_field  # noqa: PLC0415

    return load_field(path)


def _view(plan: StainPlan) -> RescaledSlide:
    """Return the slide, kept open between regions, at the generator's pixel size."""
    return RescaledSlide(opened(plan.slide), plan.grid.mpp.x)
