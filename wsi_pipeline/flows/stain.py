"""Virtually stain an H&E slide to HER2 IHC and write it as a full-resolution pyramid beside the H&E."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.config import Settings
from wsi_pipeline.engine.executors import make_executor
from wsi_pipeline.errors import UnsupportedSlideError, UsageError
from wsi_pipeline.export.atomic import RunFolder, require_space
from wsi_pipeline.export.ngff import MapSpec
from wsi_pipeline.export.qupath import MapImage, QuPathProject, write_qupath_project
from wsi_pipeline.export.tables import write_json
from wsi_pipeline.export.zarr_map import MapStore
from wsi_pipeline.flows.request import Progress, ScoreRequest, silent
from wsi_pipeline.flows.stain_region import StainPlan, StainTask, calibrate, process_stain_region
from wsi_pipeline.flows.survey import Survey, survey_slide
from wsi_pipeline.geometry import Box, Mpp, ceil_div, cut
from wsi_pipeline.models.manifest import Manifest
from wsi_pipeline.models.registry import find_weights
from wsi_pipeline.provenance import Stopwatch, machine, versions
from wsi_pipeline.results import SCHEMA_VERSION
from wsi_pipeline.slide import RescaledSlide, SlideInfo, SlideSpec, open_slide, sha256_of
from wsi_pipeline.tiling import make_grid

NOTICE = "Virtual stain, inferred from H&E. Research use only; not for diagnosis."

IMAGE = "maps/virtual_ihc.ome.zarr"
IMAGE_NAME = "Virtual HER2 IHC, inferred from H&E, research use only"

REGION_PX = 1024
"""Side of a region, model px: the halo of 72 px then costs 30 %, and a window of the full generator fits 2 GB."""

MASK_PX = 16
"""Model px per value of a region's tissue mask: about the overview's 8 um."""

BYTES_PER_PX = 3
"""Uncompressed RGB; blosc-zstd leaves about half of a stained image."""


@dataclass(frozen=True)
class StainRequest:
    """One H&E slide to stain, and where to. `mpp`, `assume_mpp` in um/px; `statistics`: one set a slide, or a grid."""

    slide: Path
    out: Path
    settings: Settings
    weights: str
    weights_folder: Path | None = None
    mpp: float | None = None
    assume_mpp: float | None = None
    stain: Literal["auto", "he"] = "auto"
    statistics: Literal["slide", "grid"] = "slide"
    scheduler: str | None = None
    progress: Progress = field(default=silent, compare=False)


def stain_slide(request: StainRequest) -> tuple[dict[str, Any], Path]:
    """Stain the slide and return its record and the folder it was written to.

    Raises WeightsError, UnsupportedSlideError (not H&E), and what opening and writing raise.
    """
    watch = Stopwatch()
    manifest = find_weights(request.weights, request.weights_folder).manifest
    if manifest.is_classifier:
        raise UsageError(f"--weights {manifest.name}", f"is {manifest.architecture}, a classifier, not a stainer")
    with (
        open_slide(request.slide, mpp=request.mpp, assume_mpp=request.assume_mpp) as slide,
        RunFolder.create(request.out) as folder,
    ):
        view = RescaledSlide(slide, manifest.mpp)
        require_space(folder.work, BYTES_PER_PX * view.size.width * view.size.height)
        grid = make_grid(slide.info.size_l0, slide.info.mpp, request.settings.tiling)
        survey = survey_slide(slide, grid, _survey_request(request))
        if survey.stain != "he":
            raise UnsupportedSlideError(request.slide, f"looks like {survey.stain}, not H&E", "say --stain he if it is")
        spec = SlideSpec(request.slide.resolve(), slide.info.reader, request.mpp, request.assume_mpp)
        plan = StainPlan(
            spec, request.weights, request.weights_folder, folder.work / IMAGE, folder.work / "statistics.npz"
        )
        (folder.work / "maps").mkdir()
        MapStore.create(plan.image, MapSpec(size_map=view.size, channels="rgb", mpp_map=view.mpp, name=IMAGE_NAME))
        with watch.stage("calibrate"):
            calibrate(
                plan, view, lambda box: bool(_tissue(survey, view, slide.info.mpp, box).any()), request.statistics
            )
        tasks = list(_tasks(plan, survey, view, slide.info.mpp))
        with watch.stage("stain"), closing(make_executor(request.settings.engine, request.scheduler)) as executor:
            spread = executor.describe()
            for done, _ in enumerate(executor.run(process_stain_region, tasks), start=1):
                request.progress("staining", done, len(tasks))
        with watch.stage("pyramid"):
            MapStore.open(plan.image).build_pyramid("mean")
        plan.statistics.unlink(missing_ok=True)
        record = _record(request, slide.info, manifest, spread | {"regions": len(tasks)}, watch)
        _write_project(folder, request, slide.info.reader, manifest)
        write_json(folder.work / "stain.json", record)
    return record, folder.final


def _survey_request(request: StainRequest) -> ScoreRequest:
    """Return what the survey of the slide needs to know."""
    return ScoreRequest(request.slide, request.out, request.settings, stain=request.stain)


def _tissue(survey: Survey, view: RescaledSlide, mpp_l0: Mpp, box: Box, step: int = MASK_PX) -> NDArray[np.bool_]:
    """Return where `box` (model px) holds tissue, one value per `step` model px, False outside the slide."""
    x_l0 = (box.x + (np.arange(ceil_div(box.width, step)) + 0.5) * step) * view.mpp.x / mpp_l0.x
    y_l0 = (box.y + (np.arange(ceil_div(box.height, step)) + 0.5) * step) * view.mpp.y / mpp_l0.y
    columns, rows = (np.floor(place / survey.downsample).astype(int) for place in (x_l0, y_l0))
    height, width = survey.tissue.mask.shape
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))[None]
    found = survey.tissue.mask[np.ix_(rows.clip(0, height - 1), columns.clip(0, width - 1))]
    return np.asarray(found & inside)


def _tasks(plan: StainPlan, survey: Survey, view: RescaledSlide, mpp_l0: Mpp) -> Iterator[StainTask]:
    """Yield a task for every region with tissue."""
    for box in cut(view.size, REGION_PX):
        tissue = _tissue(survey, view, mpp_l0, box)
        if tissue.any():
            yield StainTask(plan, box, tissue, MASK_PX)


def _record(
    request: StainRequest, info: SlideInfo, manifest: Manifest, spread: dict[str, Any], watch: Stopwatch
) -> dict[str, Any]:
    """Return what `stain.json` says."""
    with watch.stage("hash"):
        sha256 = sha256_of(info.path)
    return {
        "schema_version": SCHEMA_VERSION,
        "notice": NOTICE,
        "slide": {
            "path": str(info.path),
            "width": info.size_l0.width,
            "height": info.size_l0.height,
            "mpp_x": info.mpp.x,
            "mpp_y": info.mpp.y,
            "mpp_source": info.mpp_source,
            "sha256": sha256,
        },
        "model": manifest.model_dump(mode="json", exclude={"fixture"}),
        "statistics": request.statistics if manifest.architecture == "pspstain" else "fixed in the network",
        "outputs": {"image": IMAGE, "qupath_project": "qupath/project.qpproj"},
        "warnings": list(info.warnings),
        "provenance": {
            "versions": versions(),
            "machine": machine(),
            "device": "cpu",
            "engine": spread,
            "seconds": watch.rounded(),
        },
    }


def _write_project(folder: RunFolder, request: StainRequest, reader: str, manifest: Manifest) -> None:
    """Write a QuPath project with the H&E and its virtual stain side by side."""
    project = QuPathProject(
        slide=request.slide.resolve(),
        reader="openslide" if reader == "openslide" else "bioformats",
        image_type="BRIGHTFIELD_H_E",
        metadata={"Virtual stain": manifest.name, "Notice": NOTICE},
        maps=(MapImage(name=IMAGE_NAME, path=IMAGE),),
    )
    write_qupath_project(folder.work, folder.final, project)
