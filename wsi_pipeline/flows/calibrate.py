"""Fit the cut-offs of an assay profile to a few labelled images, and say how well that does on images left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from wsi_pipeline import __version__
from wsi_pipeline.cells.options import AssayProfile
from wsi_pipeline.config import Settings, load_assay
from wsi_pipeline.errors import OutputError, UsageError, printable
from wsi_pipeline.export.atomic import plain_disk_errors, write_atomic
from wsi_pipeline.export.tables import write_json
from wsi_pipeline.flows.calibrate_fit import Cutoffs, FitOptions, Search
from wsi_pipeline.flows.calibrate_measure import CellPool, Image, find_image, measure, reuse
from wsi_pipeline.flows.labels import Label, read_labels
from wsi_pipeline.flows.matching import RECORD
from wsi_pipeline.flows.request import Progress, Say, silent
from wsi_pipeline.results import NOTICE
from wsi_pipeline.scoring.agreement import AgreementOptions, Estimate, agreement, confusion_by_patient
from wsi_pipeline.scoring.evidence import SCORES

LEAST_IMAGES = 6
"""Fewer labels say nothing about five cut-offs, not even against a prior."""

MPP_SPREAD = 1.1
"""Pixel sizes that differ by more than this factor give walls of different width; a warning says so."""

REPORTED = ("accuracy, four classes", "quadratic kappa")


@dataclass(frozen=True)
class CalibrateRequest:
    """Labelled images or runs, the profile to start from (`settings.assay`), and the YAML file to write."""

    labels: Path
    out: Path
    settings: Settings
    name: str = ""
    antibody: str = "unspecified"
    scanner: str = "unspecified"
    faint: tuple[float, ...] = ()
    """Heights of a membrane ridge to try beside the start's, OD; empty means those of `fit`."""
    fit: FitOptions = field(default_factory=FitOptions)
    intervals: AgreementOptions = field(default_factory=AgreementOptions)
    progress: Progress = field(default=silent, compare=False)
    say: Say = field(default=silent, compare=False)


@dataclass(frozen=True)
class Calibration:
    """What was found. Scores are classes 0 to 3 of `images`, in their order."""

    profile: AssayProfile
    images: list[Image]
    left_out: list[Image]
    start: NDArray[np.int64]
    """Under the start profile."""
    fitted: NDArray[np.int64]
    """Under the fitted profile, by images that it was fitted to."""
    held_out: NDArray[np.int64]
    """Of each image under a profile fitted without its patient."""
    agreement: dict[str, dict[str, Estimate]]
    """start, fitted and held_out -> statistic -> estimate."""
    warnings: list[str]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Return the labels, classes 0 to 3."""
        return np.array([image.label.label for image in self.images], dtype=np.int64)


def calibrate(request: CalibrateRequest) -> Calibration:
    """Measure, fit, and hold out one patient after another. Raises UsageError, and what scoring an image raises."""
    if request.out.exists():
        raise OutputError(request.out, "is there already", "name a new file with -o")
    if request.out.suffix not in {".yaml", ".yml"}:
        raise UsageError(request.out, "is not a .yaml file", "--assay takes profiles by that ending")
    rule = request.settings.rule
    if rule.by_clusters:
        raise UsageError("rule.specimen", "is biopsy, which no share decides", "calibrate on resections or cores")
    labels = read_labels(request.labels, "path")
    _require_enough(request.labels, labels)
    start = load_assay(request.settings.assay)
    images, faints = _measured(request, labels, start)
    left_out = [image for image in images if image.refusal]
    images = [image for image in images if not image.refusal]
    _require_enough(request.labels, [image.label for image in images])
    start = start.model_copy(update={"faint": faints[0]}) if start.faint not in faints else start
    pools = {
        faint: CellPool([image.cells[faint] for image in images], request.settings.cells, lateral=rule.counts_lateral)
        for faint in faints
    }
    classes = np.array([image.label.label for image in images], dtype=np.int64)
    search = Search(start, pools, classes, rule, request.fit)
    request.say(f"fitting cut-offs to {len(images)} images")
    best = search.fit(np.ones(len(images), bool))
    scores = {
        "start": search.scores(Cutoffs.of(start)),
        "fitted": search.scores(best),
        "held_out": _held_out(search, images, request.progress),
    }
    found = {name: _agreement(images, given, request.intervals) for name, given in scores.items()}
    warnings = _warnings(images, left_out, classes, scores)
    profile = _profile(search.assay(best), request, images, found)
    return Calibration(profile, images, left_out, **scores, agreement=found, warnings=warnings)


def _require_enough(path: Path, labels: list[Label]) -> None:
    """Refuse what no cut-off can be learnt from. Raises UsageError."""
    if len(labels) < LEAST_IMAGES:
        raise UsageError(
            path, f"has {len(labels)} labelled images that can be scored, and a calibration needs {LEAST_IMAGES}",
            "label more images, of every score",
        )  # fmt: skip
    classes = {label.label for label in labels}
    if len(classes) == 1:
        raise UsageError(
            path, f"all images that can be scored are labelled {SCORES[classes.pop()]}", "label images of other scores"
        )


def _measured(
    request: CalibrateRequest, labels: list[Label], start: AssayProfile
) -> tuple[list[Image], tuple[float, ...]]:
    """Return the images with their cells, and the values of `faint` that all of them were measured with."""
    places = [find_image(request.labels, label.name) for label in labels]
    named = Counter(place.resolve() for place in places)
    if max(named.values()) > 1:
        raise UsageError(request.labels, f"{named.most_common(1)[0][0]} is named twice", "keep one row for each image")
    reused = {
        label.name: reuse(label, place, request.settings, start)
        for label, place in zip(labels, places, strict=True)
        if place.name == RECORD
    }
    of_runs = sorted({faint for _, faint in reused.values()})
    if len(of_runs) > 1:
        listed = " and ".join(f"{faint:g}" for faint in of_runs)
        raise UsageError(
            request.labels, f"names runs measured with different faint cut-offs, {listed} OD", "name images"
        )
    faints = tuple(of_runs) or _tried(request, start)
    profiles = [start.model_copy(update={"faint": faint}) for faint in faints]
    images = []
    for number, (label, place) in enumerate(zip(labels, places, strict=True)):
        request.progress("calibrating", number, len(labels))
        known = reused.get(label.name)
        images.append(known[0] if known else measure(label, place, profiles, request.settings, silent))
    return images, faints


def _tried(request: CalibrateRequest, start: AssayProfile) -> tuple[float, ...]:
    """Return the values of `faint` to measure with, that of the start profile first. Raises UsageError."""
    given = request.faint or tuple(round(start.faint * factor, 3) for factor in request.fit.faint_factors)
    wrong = [faint for faint in given if not 0 < faint < start.intense]
    if wrong:
        raise UsageError("--faint", f"{wrong[0]:g} OD is not between 0 and the start's intense ({start.intense:g} OD)")
    return tuple(dict.fromkeys((start.faint, *given)))


def _held_out(search: Search, images: list[Image], progress: Progress) -> NDArray[np.int64]:
    """Return the score of each image under cut-offs fitted to the images of all other patients."""
    patients = np.array([_patient(image) for image in images])
    scores = np.zeros(len(images), np.int64)
    everybody = sorted(set(patients.tolist()))
    for number, patient in enumerate(everybody):
        progress("holding out", number, len(everybody))
        own = patients == patient
        scores[own] = search.scores(search.fit(~own))[own]
    return scores


def _patient(image: Image) -> str:
    """Return who an image is of: the patient, or the image where nothing is known of the patient."""
    return f"patient {image.label.patient}" if image.label.patient else f"image {image.label.name}"


def _agreement(images: list[Image], scores: NDArray[np.int64], options: AgreementOptions) -> dict[str, Estimate]:
    """Return the agreement of scores with the labels."""
    labels = np.array([image.label.label for image in images], dtype=np.int64)
    return agreement(confusion_by_patient(labels, scores, [_patient(image) for image in images]), options)


def _warnings(
    images: list[Image], left_out: list[Image], labels: NDArray[np.int64], scores: dict[str, NDArray[np.int64]]
) -> list[str]:
    """Return what a reader of the profile must know."""
    said = [f"{image.label.name} is left out, since it is not evaluable: {image.refusal}" for image in left_out]
    missing = [name for number, name in enumerate(SCORES) if number not in labels]
    if missing:
        said.append(f"no image is labelled {' or '.join(missing)}, so nothing was learnt about the cut-off there")
    error = {name: int(np.abs(given - labels).sum()) for name, given in scores.items()}
    if error["held_out"] >= error["start"]:
        said.append(
            f"on images left out the fit is {error['held_out']} categories off in all, the start profile "
            f"{error['start']}: the labels do not show that the new profile is better, so keep the old one"
        )
    sizes = [image.mpp for image in images]
    if max(sizes) > MPP_SPREAD * min(sizes):
        said.append(f"the images were measured at {min(sizes):.3g} to {max(sizes):.3g} um/px; a profile holds for one")
    return said


def _profile(
    assay: AssayProfile, request: CalibrateRequest, images: list[Image], found: dict[str, dict[str, Estimate]]
) -> AssayProfile:
    """Return the fitted profile with its name and how it was set."""
    counts = Counter(SCORES[image.label.label] for image in images)
    labelled = ", ".join(f"{counts[name]} of {name}" for name in SCORES if counts[name])
    held = "; ".join(f"{name} {_words(found['held_out'][name])}" for name in REPORTED)
    before = "; ".join(f"{name} {_words(found['start'][name])}" for name in REPORTED)
    patients = len({_patient(image) for image in images})
    how = (
        f"Fitted by wsi-her2 {__version__} on {datetime.now(UTC).date().isoformat()} to {len(images)} labelled images "
        f"({labelled}; {patients} patients or images of unknown patients), starting from profile {assay.name}. "
        f"With each patient left out in turn: {held}. The start profile on the same images: {before}. {NOTICE}"
    )
    return assay.model_copy(
        update={
            "name": request.name or request.out.stem,
            "antibody": request.antibody if request.antibody != "unspecified" else assay.antibody,
            "scanner": request.scanner if request.scanner != "unspecified" else assay.scanner,
            "pixel_size_um": round(median(image.mpp for image in images), 4),
            "how_set": how,
        }
    )


def _words(estimate: Estimate) -> str:
    """Return an estimate as text."""
    if estimate.value is None:
        return "not defined"
    if estimate.low is None:
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def write_profile(found: Calibration, request: CalibrateRequest) -> tuple[Path, Path]:
    """Write the profile as YAML and `NAME.report.json` beside it; return both paths. Raises OutputError."""
    report = request.out.with_suffix(".report.json")
    with plain_disk_errors(request.out):
        request.out.parent.mkdir(parents=True, exist_ok=True)
    head = f"# Assay profile for wsi-her2 run --assay {request.out.name}\n# {NOTICE}\n"
    text = yaml.safe_dump(found.profile.model_dump(mode="json"), sort_keys=False, width=110)
    write_json(report, record(found, request))
    write_atomic(request.out, (head + text).encode())
    return request.out, report


def record(found: Calibration, request: CalibrateRequest) -> dict[str, Any]:
    """Return the calibration as JSON values: each image with its scores, and the agreement."""
    rows = zip(found.images, found.start, found.fitted, found.held_out, strict=True)
    return {
        "notice": NOTICE,
        "labels": printable(request.labels.name),
        "start": load_assay(request.settings.assay).model_dump(mode="json"),
        "profile": found.profile.model_dump(mode="json"),
        "options": request.fit.model_dump(mode="json"),
        "agreement": {
            name: {statistic: value._asdict() for statistic, value in given.items()}
            for name, given in found.agreement.items()
        },
        "images": [
            {
                "path": image.label.name, "patient": image.label.patient, "label": SCORES[image.label.label],
                "start": SCORES[start], "fitted": SCORES[fitted], "held_out": SCORES[held],
            }
            for image, start, fitted, held in rows
        ],
        "left_out": {image.label.name: image.refusal for image in found.left_out},
        "warnings": found.warnings,
    }  # fmt: skip
