"""What a study says of itself: warnings in plain words, and everything that somebody who checks it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from wsi_pipeline.models.manifest import HER2_CLASSES, Manifest
from wsi_pipeline.provenance import machine, versions
from wsi_pipeline.results import NOTICE, VIRTUAL_NOTICE
from wsi_pipeline.training.data.records import Patch
from wsi_pipeline.training.data.splits import of_split
from wsi_pipeline.training.study.data import PHANTOMS
from wsi_pipeline.training.study.options import StudyRequest
from wsi_pipeline.training.study.table import Table, as_json

SCHEMA_VERSION = "1.0"
"""Major number changes when a field changes meaning or goes, minor when one is added."""

FEW_PATIENTS = 20
"""With fewer patients percentile intervals are too narrow, and may even be a point."""

MOST_MPP_RATIO = 1.25
"""Between the tiles' pixel size and that of the filter's limits; sharpness changes with it."""


class Found(NamedTuple):
    """Everything that a finished study found."""

    request: StudyRequest
    facts: Mapping[str, Mapping[str, Any]]
    """Step -> what it said."""
    patches: Sequence[Patch]
    """All real ones."""
    summary: Sequence[Mapping[str, Any]]
    """Acceptance, by class and for all."""
    table: Table
    stainer: Manifest


def warnings(found: Found) -> list[str]:
    """Return what a reader must know before believing the table."""
    notes = [*_data_warnings(found), *_stainer_warnings(found)]
    options = found.request.options
    mpp = options.classifier.patches.mpp_out
    if not 1 / MOST_MPP_RATIO <= mpp / options.quality.mpp <= MOST_MPP_RATIO:
        notes.append(f"The filter's limits hold at {options.quality.mpp:g} um/px, the tiles have {mpp:g} um/px.")
    total = found.summary[-1]
    if not total["accepted"]:
        notes.append("No virtual tile was accepted, so nothing was retrained: the second row repeats the baseline.")
    else:
        empty = [row["class"] for row in found.summary if not row["accepted"] and row["tiles"]]
        if empty:
            notes.append(
                f"No virtual tile of class {', '.join(empty)} was accepted; there the training is on real ones only."
            )
    return notes


def _data_warnings(found: Found) -> list[str]:
    """Return what is to be said of the data."""
    notes = []
    if found.request.data == PHANTOMS:
        notes.append(
            "These are phantoms, drawings of tissue. In their H&E nothing shows the HER2 class, so virtual IHC cannot "
            "know it: direct classification can be no better than chance (0.25), and a tile passes the label check by "
            "luck. Nothing here is a figure about real tissue."
        )
    left_out = found.facts["data"]["unlabelled_left_out"]
    if left_out:
        notes.append(f"{left_out} patches without a label were left out.")
    if len({patch.slide for patch in found.patches}) == len(found.patches):
        notes.append(
            "Every patch counts as a slide of its own: the data set does not say which patches share a slide (BCI does "
            "not). Patches of one slide may then stand on both sides of a split, and the intervals are too narrow."
        )
    patients = found.table.rows[0].patients
    if patients < FEW_PATIENTS:
        notes.append(f"The test split has {patients} patients or slides: intervals from so few are too narrow.")
    test = {patch.label for patch in of_split(found.patches, "test")}
    absent = [name for label, name in enumerate(HER2_CLASSES) if label not in test]
    if absent:
        notes.append(f"The test split has no patch of class {', '.join(absent)}.")
    return notes


def _stainer_warnings(found: Found) -> list[str]:
    """Return what is to be said of the stainer."""
    notes = []
    if found.request.stainer is not None:
        notes.append(
            f"The stainer {found.stainer.name} was given; it was trained on: {found.stainer.training_data}. If the "
            "test patches were among that, direct classification flatters."
        )
    else:
        notes.append(
            "The stainer was trained on the very pairs whose H&E became the synthetic training tiles; on H&E that it "
            "never saw, fewer tiles may pass the filter."
        )
    if not found.stainer.saw_real_tissue and found.request.data != PHANTOMS:
        notes.append(
            "The stainer is not known to have seen real tissue, so its stain is no evidence of the HER2 class."
        )
    return notes


def record(found: Found, steps: Mapping[str, Any]) -> dict[str, Any]:
    """Return study.json as JSON values. `steps`: seconds and hashes of files."""
    request = found.request
    return {
        "schema_version": SCHEMA_VERSION,
        "notice": NOTICE,
        "virtual_notice": VIRTUAL_NOTICE,
        "data": {"source": request.data, **found.facts["data"]},
        "options": request.options.model_dump(mode="json"),
        "results": as_json(found.table),
        "filter": {"by_class": list(found.summary), "order_of_checks": "all are made, all reasons are kept"},
        "retraining": found.facts["retrained"],
        "weights": {
            "baseline": found.facts["baseline"],
            "retrained": found.facts["retrained"]["weights"],
            "stainer": found.facts["stainer"],
        },
        "virtual": {split: found.facts[f"virtual_{split}"] for split in ("train", "test")},
        "leak_checks": {
            "synthetic_images_in_val_or_test": 0,
            "slides_or_patients_in_two_splits": 0,
            "how": "else the study ends with an error: by index, by the mark in each file, by hash, per sample drawn",
        },
        "warnings": warnings(found),
        "steps": dict(steps),
        "versions": versions(),
        "machine": machine(),
    }


def weight_facts(manifest: Manifest, folder: Path | None) -> dict[str, Any]:
    """Return what identifies weights: name, file, hash, data, figures."""
    known = manifest.model_dump(
        mode="json", include={"name", "architecture", "sha256", "licence", "training_data", "mpp", "metrics"}
    )
    return known | {"file": None if folder is None else f"{folder.name}/{manifest.file}"}
