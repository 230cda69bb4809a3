"""What a run leaves behind, written into its folder: tables, GeoJSON, QuPath project, overlay, result.json last."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePath
from typing import Any

from wsi_pipeline.config import settings_hash
from wsi_pipeline.export.atomic import RunFolder
from wsi_pipeline.export.qupath import CLASSES_FILE, PROJECT_FILE, SCRIPT_FILE, QuPathProject, write_qupath_project
from wsi_pipeline.export.tables import write_json
from wsi_pipeline.flows.context import RunContext
from wsi_pipeline.flows.evidence import evidence_records, evidence_warnings
from wsi_pipeline.flows.map_list import listed_maps
from wsi_pipeline.flows.maps import FOLDER
from wsi_pipeline.flows.picture import write_overlay
from wsi_pipeline.flows.public_view import place_of_request
from wsi_pipeline.flows.record import piece_records, score_record
from wsi_pipeline.flows.tables import (
    write_cell_objects,
    write_cells,
    write_model_objects,
    write_model_tiles,
    write_tile_objects,
    write_tiles,
)
from wsi_pipeline.flows.views import Views
from wsi_pipeline.provenance import machine, versions
from wsi_pipeline.results import CellCounts, RegionRecord, Result, SlideRecord, StainRecord
from wsi_pipeline.scoring.moved import score_set

COARSE_MPP = 0.3
"""um/px above which a 1+ membrane (0.64 um, Scheel 2018) is hardly two pixels wide."""

GLASS_NEEDED = "the white balance is a guess, because the slide shows hardly any glass"


def write_outputs(folder: RunFolder, run: RunContext) -> Result:
    """Write all files into the unfinished run folder and return the record.

    The record, the tables and the maps are the result. What only shows it (overlay, objects, QuPath project) is left
    out where it cannot be written, and a warning says so. Raises OutputError, ResourceError (disk full).
    """
    work, sha256, views = folder.work, run.sha256, Views()
    with ThreadPoolExecutor(1) as beside:
        drawing = beside.submit(write_overlay, work, run)  # mostly outside Python's lock, which the tables need
        with run.watch.stage("tables"):
            outputs: dict[str, Any] = {"result": "result.json"}
            outputs["cells"] = write_cells(work, run, sha256)
            outputs["cells_geojson"] = views.attempt("cells.geojson.gz", write_cell_objects, work, run, sha256) or []
            outputs["tiles"] = write_tiles(work, run, sha256)
            outputs["tiles_geojson"] = views.attempt("tiles.geojson.gz", write_tile_objects, work, run, sha256) or []
            if run.gathered.model_tiles:
                outputs["model_tiles"] = write_model_tiles(work, run, sha256)
                objects = views.attempt("model_tiles.geojson.gz", write_model_objects, work, run, sha256)
                outputs["model_tiles_geojson"] = objects or []
            outputs["maps"] = sorted(f"{FOLDER}/{path.name}" for path in (work / FOLDER).iterdir())
        with run.watch.stage("overlay"):
            outputs["overlay"] = views.attempt("overlay.png", drawing.result)
    outputs["qupath_project"] = views.attempt(PROJECT_FILE, _write_project, folder, run, outputs)
    if outputs["qupath_project"] is not None:
        outputs |= {"qupath_script": SCRIPT_FILE, "qupath_classes": CLASSES_FILE}
    outputs = {name: value for name, value in outputs.items() if value is not None}
    result = _result(folder, run, sha256, outputs, views.lost)
    write_json(work / "result.json", result.model_dump(mode="json"))
    return result


def _write_project(folder: RunFolder, run: RunContext, outputs: dict[str, Any]) -> str:
    """Write the QuPath project and return its path relative to the run folder."""
    score = run.verdicts.slide
    rule = run.request.settings.rule
    metadata = {
        "HER2 score": score.score,
        "HER2 category": score.category,
        "HER2 borderline": "yes" if score.borderline else "no",
        "HER2 reason": score.reason,
        "HER2 rule": rule.guideline,
        "Tumour": rule.described,
        "HER2 evidence": run.plan.evidence,
        "HER2 confidence": run.verdicts.confidence,
        "HER2 score set": " or ".join(score_set(run.verdicts.nearest)),
        "Notice": run.notice,
    }
    if score.shares is not None and run.has_score:
        metadata["HER2 H-score"] = f"{score.shares.h_score:.0f}"
    project = QuPathProject(
        slide=run.request.slide_linked,
        reader="openslide" if run.info.openslide else "bioformats",
        mpp=run.info.mpp,
        image_type="BRIGHTFIELD_H_E" if run.survey.stain == "he" else "BRIGHTFIELD_H_DAB",
        metadata=metadata,
        maps=listed_maps(outputs["maps"], run.scales),
        scored=run.has_score,
        cells=tuple(outputs["cells_geojson"]),
        tiles=tuple(outputs["tiles_geojson"]) if run.gathered.tiles else (),
        network_tiles=tuple(outputs.get("model_tiles_geojson", ())),
    )
    return (
        write_qupath_project(folder.work, run.request.linked(folder.final), project).relative_to(folder.work).as_posix()
    )


def _result(folder: RunFolder, run: RunContext, sha256: str, outputs: dict[str, Any], lost: list[str]) -> Result:
    """Return the record of the run; `lost`: warnings of files that could not be written."""
    info, survey = run.info, run.survey
    verdict = score_record(run.verdicts.slide).model_dump(exclude={"tumour_cells"})
    roi = survey.roi.summary() if survey.roi else None
    rule = run.request.settings.rule
    evidence = evidence_records(run.plan, run.gathered, run.verdicts, run.scales)
    return Result(
        notice=run.notice,
        slide=SlideRecord(
            **vars(place_of_request(run.request, folder.final)),
            width=info.size_l0.width,
            height=info.size_l0.height,
            mpp_x=info.mpp.x,
            mpp_y=info.mpp.y,
            mpp_source=info.mpp_source,
            vendor=info.vendor,
            sha256=sha256,
            reader=info.reader,
            bounds_x=info.bounds_origin_l0[0],
            bounds_y=info.bounds_origin_l0[1],
        ),
        stain=survey.stain,
        stain_detail=StainRecord(
            source="detected" if run.request.stain == "auto" else "option",
            confidence=round(survey.guess.confidence, 3) if run.request.stain == "auto" else 1.0,
            evidence={name: round(value, 4) for name, value in survey.guess.evidence.items()},
            white=run.passed.white.rgb,
            white_source=run.passed.white.source,
        ),
        **verdict,
        tumour=rule.tumour,
        specimen=None if rule.tumour == "breast" else rule.specimen,
        rule=rule.guideline,
        cells=CellCounts(
            measured=int(run.gathered.cells["scored"].sum()) if run.gathered.cells else 0,
            tumour=run.verdicts.slide.tumour_cells,
            tumour_rule=_tumour_rule(run),
        ),
        tissue_mm2=round(survey.tissue_mm2, 4),
        scored_region=RegionRecord(source="roi" if roi else "tissue", roi=roi, pieces=run.request.pieces or None),
        pieces=piece_records(survey, run.verdicts),
        **evidence,
        assay=run.plan.assay.name,
        warnings=(*_warnings(run), *lost),
        outputs=outputs,
        provenance=_provenance(run),
    )


def _tumour_rule(run: RunContext) -> str:
    """Say in words which cells are in the denominator."""
    options, assay = run.request.settings.cells, run.plan.assay
    return (
        f"nuclei of at least {options.tumour_min_area_um2:g} um2 that are not longer than "
        f"{options.tumour_max_elongation:g} widths (stroma, vessels) and not both at most "
        f"{options.lymphocyte_max_area_um2:g} um2 and {options.lymphocyte_min_hematoxylin:g} OD or denser "
        "(lymphocytes); "
        f"a membrane complete in {100 * assay.complete:g} % of directions makes a cell tumour whatever its form"
    )


def _warnings(run: RunContext) -> tuple[str, ...]:
    """Return what a reader of the score must know."""
    survey, settings, found = run.survey, run.request.settings, list(run.info.warnings)
    if run.plan.measures_cells and max(run.plan.grid.mpp) > COARSE_MPP:
        found.append(
            f"cells were measured at {max(run.plan.grid.mpp):.3g} um/px; at more than {COARSE_MPP} um/px 0 and 1+ are "
            "hard to tell apart"
        )
    if run.plan.measures_cells and run.plan.networks.cells.fallback:
        found.append(run.plan.networks.cells.fallback)
    if survey.white.source == "fallback":
        found.append(GLASS_NEEDED)
    detected = survey.guess.stain
    if run.request.stain not in ("auto", detected):
        found.append(f"the stain was given as {run.request.stain}, the pixels look like {detected}")
    blurred = run.gathered.tiles["blurred"] if run.gathered.tiles else None
    if blurred is not None and blurred.mean() > 0.1:
        found.append(f"{100 * blurred.mean():.0f} % of the tiles look out of focus")
    if run.passed.spread.get("unreadable_percent"):
        found.append(f"{run.passed.spread['unreadable_percent']} % of the tissue could not be read")
    if skipped := run.passed.spread.get("regions_skipped"):
        found.append(f"regions left out, because they killed the workers that took them: {len(skipped)}")
    if survey.roi is not None:
        found += survey.roi.warnings()
    return (*found, *evidence_warnings(run.plan, run.gathered, run.verdicts, settings.quality), *survey.tissue.reasons)


def _provenance(run: RunContext) -> dict[str, Any]:
    """Return how the result was made."""
    settings = run.request.settings
    return {
        "versions": versions(),
        "machine": machine(),
        "devices": sorted({"cpu", *(chosen.network.runtime.device for chosen in run.plan.networks.chosen().values())}),
        "engine": run.passed.spread,
        "settings": settings.model_dump(mode="json") | {"assay": PurePath(settings.assay).name},
        "settings_sha256": settings_hash(settings, run.plan.assay, run.plan.networks.weights()),
        "cell_finder": run.plan.networks.cells.record() if run.plan.measures_cells else None,
        "assay_profile": run.plan.assay.model_dump(mode="json"),
        "analysis": {
            "level_0_px_per_px": run.plan.grid.ratio,
            "mpp_x": run.plan.grid.mpp.x,
            "mpp_y": run.plan.grid.mpp.y,
            "overview_downsample": run.survey.downsample,
        },
        "seconds": run.watch.rounded(),
    }
