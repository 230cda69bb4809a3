"""What a run is going to do, decided once the slide was looked at: which pixels, which networks, which evidence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wsi_pipeline.cells.options import AssayProfile
from wsi_pipeline.config import load_assay
from wsi_pipeline.export.atomic import PRIVATE
from wsi_pipeline.flows.networks import Networks, choose_networks
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.survey import Survey
from wsi_pipeline.slide import SlideInfo, SlideSpec
from wsi_pipeline.tiling import Grid, make_grid_at

Evidence = Literal["cells", "tiles", "cells and tiles", "none"]

TILE_MASK_PX = 4
"""Model px per value of the tissue mask of model tiles: divides every tile that a manifest may ask for."""

STATISTICS = "statistics.npz"

REFUSALS = {
    "he": "the slide is H&E, and HER2 is measured on IHC or on a virtual stain",
    "unknown": "the stain is neither H&E nor hematoxylin with DAB; say --stain ihc to measure it all the same",
}


@dataclass(frozen=True)
class RunPlan:
    """What a run does, and where it works.

    `grid`: px in which cells are measured (those of the virtual stain on an H&E slide); `tile_grid`: px of the
    classifier; `refusal`: why nothing is measured, or empty.
    """

    work: Path
    slide: SlideSpec
    grid: Grid
    tile_grid: Grid | None
    networks: Networks
    evidence: Evidence
    refusal: str
    assay: AssayProfile

    @property
    def virtual(self) -> bool:
        """Whether everything is measured on a virtual stain."""
        return self.networks.stainer is not None

    @property
    def measures_cells(self) -> bool:
        """Whether cells are measured."""
        return self.evidence in {"cells", "cells and tiles"}

    @property
    def parts(self) -> Path:
        """Folder of the regions' parts."""
        return self.work / PRIVATE


def plan_run(request: ScoreRequest, info: SlideInfo, survey: Survey, grid: Grid, work: Path) -> RunPlan:
    """Decide what is done with a slide, cut into `grid` at its own pixels.

    Raises WeightsError, UsageError for networks that cannot be had.
    """
    settings = request.settings
    seconds = settings.engine.open_seconds
    spec = SlideSpec(
        request.slide.resolve(), info.reader, request.mpp, request.assume_mpp, open_seconds=seconds,
        levels=info.levels, openslide=info.openslide,
    )  # fmt: skip
    refusal = _refusal(survey)
    networks = Networks() if refusal else choose_networks(settings, request.weights_folder, survey.stain)
    if not refusal and survey.stain != "ihc" and networks.stainer is None:
        refusal = networks.missing[0] if networks.missing else REFUSALS[survey.stain]
    if networks.stainer is not None:
        grid = make_grid_at(grid.size_l0, grid.mpp_l0, networks.stainer.manifest.mpp, settings.tiling)
    for kind, chosen in networks.chosen().items():
        request.say(chosen.sentence(kind))
    if networks.cells.sentence:
        request.say(networks.cells.sentence)
    tile_grid = _tile_grid(networks, grid)
    evidence = "none" if refusal else _evidence(settings.evidence, networks)
    return RunPlan(work, spec, grid, tile_grid, networks, evidence, refusal, load_assay(settings.assay))


def _refusal(survey: Survey) -> str:
    """Return why there is nothing to measure, or nothing."""
    if not survey.tissue.mask.any():
        return "no tissue was found"
    if not survey.scored.any():
        return "the drawn region holds no tissue"
    return REFUSALS["unknown"] if survey.stain == "unknown" else ""


def _tile_grid(networks: Networks, grid: Grid) -> Grid | None:
    """Return the grid of the classifier's tiles; a virtual stain without one is judged in its own px."""
    if networks.classifier is None:
        return grid if networks.stainer is not None else None
    manifest = networks.classifier.manifest
    options = grid.options.model_copy(update={"tile_px": manifest.tile_px, "map_px": TILE_MASK_PX})
    return make_grid_at(grid.size_l0, grid.mpp_l0, manifest.mpp, options)


def _evidence(wanted: str, networks: Networks) -> Evidence:
    """Return what the score rests on: both where there is a classifier, unless one of them was asked for."""
    if wanted == "tiles":
        return "tiles"
    return "cells and tiles" if networks.classifier is not None else "cells"
