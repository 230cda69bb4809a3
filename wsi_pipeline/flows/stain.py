"""Virtually stain an H&E slide to HER2 IHC and write it as a full-resolution pyramid beside the H&E."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from wsi_pipeline.config import Settings
from wsi_pipeline.errors import ClusterError, UnsupportedSlideError
from wsi_pipeline.export.atomic import RunFolder, require_space
from wsi_pipeline.export.ome_tiff import write_ome_tiff
from wsi_pipeline.export.qupath import QuPathProject, write_qupath_project
from wsi_pipeline.export.tables import write_json
from wsi_pipeline.export.zarr_map import MapStore
from wsi_pipeline.flows.driver import Driver
from wsi_pipeline.flows.map_list import listed_maps
from wsi_pipeline.flows.maps import FOLDER, VIRTUAL_IMAGE, create_image, estimate_bytes
from wsi_pipeline.flows.memory_estimate import stain_need
from wsi_pipeline.flows.networks import Chosen, find_network
from wsi_pipeline.flows.pool import OnePool
from wsi_pipeline.flows.public_view import place_of
from wsi_pipeline.flows.request import Progress, Say, ScoreRequest, silent
from wsi_pipeline.flows.stain_pass import run_stain_pass
from wsi_pipeline.flows.stain_region import StainPlan
from wsi_pipeline.flows.survey import survey_slide
from wsi_pipeline.provenance import Stopwatch, machine, versions
from wsi_pipeline.results import SCHEMA_VERSION, VIRTUAL_NOTICE
from wsi_pipeline.slide import SlideInfo, SlideSpec, open_slide, sha256_of
from wsi_pipeline.tiling import make_grid, make_grid_at

IMAGE = f"{FOLDER}/{VIRTUAL_IMAGE}"
IMAGE_TIFF = "virtual_ihc.ome.tif"


@dataclass(frozen=True)
class StainRequest:
    """One H&E slide to stain, and where to. `mpp`, `assume_mpp` in um/px; `ome_tiff`: write one beside the OME-Zarr."""

    slide: Path
    out: Path
    settings: Settings
    weights_folder: Path | None = None
    mpp: float | None = None
    assume_mpp: float | None = None
    stain: Literal["auto", "he"] = "auto"
    ome_tiff: bool = False
    scheduler: str | None = None
    progress: Progress = field(default=silent, compare=False)
    say: Say = field(default=silent, compare=False)


def stain_slide(request: StainRequest) -> tuple[dict[str, Any], Path]:
    """Stain the slide and return its record and the folder it was written to.

    Raises WeightsError, UnsupportedSlideError (not H&E), CorruptSlideError, and what opening and writing raise.
    """
    watch = Stopwatch()
    chosen = find_network("stainer", request.settings, request.weights_folder)
    request.say(chosen.sentence("stainer"))
    seconds = request.settings.engine.open_seconds
    with (
        open_slide(request.slide, mpp=request.mpp, assume_mpp=request.assume_mpp, open_seconds=seconds) as slide,
        RunFolder.create(request.out) as folder,
    ):
        info, settings = slide.info, request.settings
        grid = make_grid_at(info.size_l0, info.mpp, chosen.manifest.mpp, settings.tiling)
        require_space(folder.work, estimate_bytes(grid, virtual=True))
        looked = ScoreRequest(
            request.slide, request.out, settings, stain=request.stain, progress=request.progress, say=request.say
        )
        survey = survey_slide(slide, make_grid(info.size_l0, info.mpp, settings.tiling), looked)
        if survey.stain != "he":
            raise UnsupportedSlideError(request.slide, f"looks like {survey.stain}, not H&E", "say --stain he if it is")
        spec = SlideSpec(
            request.slide.resolve(), info.reader, request.mpp, request.assume_mpp, open_seconds=seconds,
            levels=info.levels, openslide=info.openslide,
        )  # fmt: skip
        plan = StainPlan(spec, grid, chosen.network, folder.work / IMAGE, folder.work / "statistics.npz")
        (folder.work / FOLDER).mkdir()
        create_image(plan.image, grid)
        need = stain_need(grid, chosen, looked)
        with OnePool(settings, request.scheduler).lend(chosen.gpus, need) as executor:
            spread = dict(executor.describe())
            driver = Driver(executor, request.progress, watch)
            outcomes = run_stain_pass(plan, survey, settings.models.statistics, driver)
        if driver.skipped:
            problem = f"{len(driver.skipped)} of its regions killed the workers that took them, twice"
            raise ClusterError(request.slide, problem, "give each worker more memory: --set engine.workers=1")
        plan.statistics.unlink(missing_ok=True)
        files = {"image": IMAGE}
        if request.ome_tiff:
            with watch.stage("ome_tiff"):
                write_ome_tiff(MapStore.open(plan.image), folder.work / IMAGE_TIFF)
            files["ome_tiff"] = IMAGE_TIFF
        spread |= {"regions": len(outcomes), "unreadable_px": sum(outcome.unreadable_px for outcome in outcomes)}
        record = _record(folder.final, request, info, chosen, spread, watch) | {"outputs": files}
        record["outputs"]["qupath_project"] = _write_project(folder, request, info, chosen)
        write_json(folder.work / "stain.json", record)
    return record, folder.final


def _record(
    final: Path, request: StainRequest, info: SlideInfo, chosen: Chosen, spread: dict[str, Any], watch: Stopwatch
) -> dict[str, Any]:
    """Return what `stain.json` says."""
    with watch.stage("hash"):
        sha256 = sha256_of(info.path)
    statistics = request.settings.models.statistics
    return {
        "schema_version": SCHEMA_VERSION,
        "notice": VIRTUAL_NOTICE,
        "slide": {
            **vars(place_of(info.path, final)),
            "width": info.size_l0.width,
            "height": info.size_l0.height,
            "mpp_x": info.mpp.x,
            "mpp_y": info.mpp.y,
            "mpp_source": info.mpp_source,
            "sha256": sha256,
        },
        "model": chosen.record(),
        "statistics": statistics if chosen.manifest.architecture == "pspstain" else "fixed in the network",
        "warnings": list(info.warnings),
        "provenance": {
            "versions": versions(),
            "machine": machine(),
            "engine": spread,
            "seconds": watch.rounded(),
        },
    }


def _write_project(folder: RunFolder, request: StainRequest, info: SlideInfo, chosen: Chosen) -> str:
    """Write a QuPath project with the H&E and its virtual stain side by side; return its path in the run folder."""
    project = QuPathProject(
        slide=request.slide.resolve(),
        reader="openslide" if info.openslide else "bioformats",
        mpp=info.mpp,
        image_type="BRIGHTFIELD_H_E",
        metadata={"Virtual stain": chosen.manifest.name, "Notice": VIRTUAL_NOTICE},
        maps=listed_maps([IMAGE]),
    )
    return write_qupath_project(folder.work, folder.final, project).relative_to(folder.work).as_posix()
