"""The cells behind a calibration: images measured at each `faint` cut-off, or runs that are there already."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from wsi_pipeline.cells.classify import CELL_CLASSES, classify_lateral, classify_membrane, is_tumour
from wsi_pipeline.cells.membrane import Membrane, Nucleus
from wsi_pipeline.cells.options import AssayProfile, CellOptions
from wsi_pipeline.config import Settings
from wsi_pipeline.errors import UsageError
from wsi_pipeline.flows.labels import Label
from wsi_pipeline.flows.matching import RECORD, Run, read_run
from wsi_pipeline.flows.request import Progress, ScoreRequest
from wsi_pipeline.flows.score import score_slide

MOST_CELLS = 3000
"""Of each image: its shares are then known to a point of percent, and a search over many slides stays quick."""

SAMPLE_SEED = 7

COLUMNS = ("completeness", "intensity_od", "thickness_um", "nucleus_area_um2", "nucleus_elongation", "hematoxylin_od")


@dataclass(frozen=True)
class CellTable:
    """The scored cells of one image, (N,) float32 each, in the order of COLUMNS."""

    columns: tuple[NDArray[np.float32], ...]


@dataclass(frozen=True)
class Image:
    """A labelled image: its cells at each `faint` cut-off, its analysis pixel size (um/px), and why it is left out."""

    label: Label
    cells: dict[float, CellTable]
    mpp: float
    refusal: str = ""


class CellPool:
    """The cells of several images, measured at one `faint`, side by side, to be classified again and again."""

    def __init__(self, tables: Sequence[CellTable], options: CellOptions, *, lateral: bool = False) -> None:
        """Join the cells of M images; `lateral`: such staining counts like complete staining."""
        joined = [np.concatenate(parts) for parts in zip(*(table.columns for table in tables), strict=True)]
        completeness, intensity, thickness, area, elongation, self._hematoxylin = joined
        rays = np.zeros((len(completeness), 0))  # single directions are not kept, and not needed to classify
        self._membrane = Membrane(
            completeness, intensity, thickness, rays.astype(bool), rays.astype(np.float32), rays.astype(np.int64)
        )
        self._nucleus = Nucleus(rays.astype(np.float32), area, elongation)
        self._image = np.repeat(np.arange(len(tables)), [len(table.columns[0]) for table in tables])
        self._images, self._options, self._lateral = len(tables), options, lateral

    def counts(self, assay: AssayProfile) -> NDArray[np.int64]:
        """Return tumour cells by image and class under the cut-offs of `assay`, (M, 5)."""
        membrane = self._membrane
        if self._lateral:
            classes = classify_lateral(membrane.completeness, membrane.intensity, assay)
        else:
            classes = classify_membrane(membrane, assay)
        tumour = is_tumour(self._nucleus, self._hematoxylin, membrane, assay, self._options)
        flat = self._image[tumour] * len(CELL_CLASSES) + classes[tumour]
        counted = np.bincount(flat, minlength=self._images * len(CELL_CLASSES))
        return counted.reshape(self._images, len(CELL_CLASSES)).astype(np.int64)


def find_image(path: Path, name: str) -> Path:
    """Return the image or run that a table of labels names, relative to the table or to here. Raises UsageError."""
    for place in (path.parent / name, Path(name)):
        if place.exists():
            return place / RECORD if (place / RECORD).is_file() else place
    raise UsageError(path, f"names {name}, which does not exist", "paths are relative to the table")


def reuse(label: Label, path: Path, settings: Settings, start: AssayProfile) -> tuple[Image, float]:
    """Return the cells of a run that is there already, and the `faint` that they were measured with.

    Raises UsageError for a run on a virtual stain, or one measured in another way than `settings` and `start` say.
    """
    run = read_run(path)
    if run.result.virtual_stain:
        raise UsageError(path, "was measured on a virtual stain", "an assay is calibrated on its own stain")
    made = run.result.provenance
    profile = AssayProfile(**made["assay_profile"])
    if made["settings"]["cells"] != settings.cells.model_dump(mode="json"):
        raise UsageError(path, "was measured with other cell settings", "name the image instead, to measure it again")
    if profile.vectors != start.vectors:
        raise UsageError(path, "was measured with other stain vectors than the profile to start from", "name the image")
    return _image(label, {profile.faint: run}), profile.faint


def measure(
    label: Label, path: Path, profiles: Iterable[AssayProfile], settings: Settings, progress: Progress
) -> Image:
    """Measure the cells of one image once with each profile (they differ in `faint`). Raises any WsiHer2Error."""
    runs = {}
    with tempfile.TemporaryDirectory(prefix="wsi-her2-calibrate-") as folder:
        for number, profile in enumerate(profiles):
            assay = Path(folder) / f"{number}.yaml"
            assay.write_text(yaml.safe_dump(profile.model_dump(mode="json")), encoding="utf-8")
            engine = settings.engine.model_copy(update={"executor": "serial"})
            chosen = settings.model_copy(update={"assay": str(assay), "evidence": "cells", "engine": engine})
            out = Path(folder) / f"run-{number}"
            result, made = score_slide(ScoreRequest(path, out, chosen, mpp=label.mpp, progress=progress))
            runs[profile.faint] = Run(made / RECORD, result)
        return _image(label, runs)


def _image(label: Label, runs: dict[float, Run]) -> Image:
    """Return the cells in the tables of one image's runs; the first run says whether it can be scored."""
    first = next(iter(runs.values())).result
    refusal = first.reason if first.score == "not evaluable" else ""
    cells = {} if refusal else {faint: _cells(run) for faint, run in runs.items()}
    return Image(label, cells, float(first.provenance["analysis"]["mpp_x"]), refusal)


def _cells(run: Run) -> CellTable:
    """Return the scored cells of a run, or an even sample of many. Raises UsageError."""
    import pyarrow as pa  # noqa: PLC0415 - heavy
    import pyarrow.parquet as pq  # noqa: PLC0415

    path = run.path.parent / str(run.result.outputs["cells"])
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise UsageError(path, "cannot be read", "score the slide again, or name the image") from error
    if table.num_columns == 0:
        return CellTable(tuple(np.zeros(0, np.float32) for _ in COLUMNS))
    rows = np.flatnonzero(table["scored"].to_numpy())
    if len(rows) > MOST_CELLS:
        rows = np.random.default_rng(SAMPLE_SEED).choice(rows, MOST_CELLS, replace=False)
    return CellTable(tuple(table[name].to_numpy()[rows].astype(np.float32) for name in COLUMNS))
