"""Hold scored slides against labels: kappas, accuracies, calibration and share errors, by kind of evidence and scanner.

Slides without a result, results without a label and slides that were not evaluable are named and counted apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from wsi_pipeline.errors import UsageError
from wsi_pipeline.flows.labels import SHARE_NAMES, Label, read_labels
from wsi_pipeline.flows.matching import Matched, Run, find_runs, match
from wsi_pipeline.results import Result
from wsi_pipeline.scoring.agreement import (
    AgreementOptions,
    Estimate,
    Floats,
    accuracy_of,
    agreement,
    confusion_by_patient,
    mean_of,
)
from wsi_pipeline.scoring.evidence import SCORES

ALL = "all"
NOT_EVALUABLE = "not evaluable"
FEW_SLIDES = 30
"""Below this many evaluable slides percentile intervals are known to be too narrow; a warning says so."""

Answer = str | None
"""A score, "not evaluable", or None where a run has no such evidence."""


@dataclass(frozen=True)
class EvaluateRequest:
    """Labels, results, and where the report goes to."""

    truth: Path
    results: tuple[Path, ...]
    out: Path
    options: AgreementOptions = field(default_factory=AgreementOptions)


@dataclass(frozen=True)
class Case:
    """A labelled slide with its result."""

    label: Label
    run: Run
    answers: dict[str, Answer]
    """By kind of evidence."""
    scanner: str

    @property
    def patient(self) -> str:
        """Who is resampled: the patient, or the slide where nothing is known of the patient."""
        return f"patient {self.label.patient}" if self.label.patient else f"slide {self.label.name}"


@dataclass(frozen=True)
class Block:
    """One kind of evidence on one stratum. `confusion` and `not_evaluable_of` have a row for each label 0 to 3+."""

    kind: str
    stratum: str
    slides: int
    without_evidence: int
    not_evaluable_of: list[int]
    not_evaluable: Estimate
    confusion: list[list[int]]
    statistics: dict[str, Estimate]

    @property
    def evaluated(self) -> int:
        """Slides with a score: those that the statistics count."""
        return sum(map(sum, self.confusion))


@dataclass(frozen=True)
class Evaluation:
    """Everything that a report says."""

    request: EvaluateRequest
    matched: Matched
    cases: list[Case]
    blocks: list[Block]
    confidence: dict[str, Estimate]
    """Accuracy of the reported score by confidence, and by the borderline flag."""
    shares: dict[str, tuple[Estimate, Estimate]]
    """Share -> (mean absolute error, mean of found minus true), points of percent."""
    warnings: list[str] = field(default_factory=list)

    @property
    def kinds(self) -> list[str]:
        """Kinds of evidence, in the order of the report."""
        return list(dict.fromkeys(block.kind for block in self.blocks))

    def block(self, kind: str, stratum: str = ALL) -> Block:
        """Return the block of one kind and stratum."""
        return next(block for block in self.blocks if (block.kind, block.stratum) == (kind, stratum))


def evaluate(request: EvaluateRequest) -> Evaluation:
    """Read labels and results and compare them. Raises UsageError, also when not one slide has both."""
    labels = read_labels(request.truth, "slide")
    matched = match(labels, find_runs(request.results))
    cases = [_case(label, run) for label, run in matched.pairs if run is not None]
    if not cases:
        raise UsageError(
            request.truth, f"not one of its {len(labels)} slides has a result",
            "the column slide holds file names, stems or paths of the slides that were scored",
        )  # fmt: skip
    kinds = _kinds(cases)
    strata = _strata(cases)
    blocks = [_block(kind, name, chosen, request.options) for kind in kinds for name, chosen in strata.items()]
    found = Evaluation(request, matched, cases, blocks, _confidence(cases, request), _shares(cases, request))
    found.warnings.extend(_warnings(found))
    return found


def _case(label: Label, run: Run) -> Case:
    """Return a slide with what each kind of evidence says of it."""
    vendor = run.result.slide.vendor
    return Case(label, run, _answers(run.result), label.scanner or f"{vendor or 'unknown'} (vendor of the file)")


def _answers(result: Result) -> dict[str, Answer]:
    """Return the reported score, that of the cells, that of the tile classifier, and the one on which both agree."""
    cells = None if result.evidence == "tiles" else result.score
    tiles = None if result.tiles is None else result.tiles.score
    both = None if cells is None or tiles is None else cells if cells == tiles else NOT_EVALUABLE
    return {"reported": result.score, "cells": cells, "tiles": tiles, "both": both}


def _kinds(cases: Sequence[Case]) -> list[str]:
    """Return the kinds to report: only the reported score where no run has classified tiles."""
    if all(case.answers["tiles"] is None for case in cases):
        return ["reported"]
    present = [kind for kind in ("cells", "tiles", "both") if any(case.answers[kind] is not None for case in cases)]
    return ["reported", *present]


def _strata(cases: Sequence[Case]) -> dict[str, list[Case]]:
    """Return all slides, those of each scanner, and virtual and measured stain where there are both."""
    strata = {ALL: list(cases)}
    for name in sorted({case.scanner for case in cases}):
        strata[f"scanner {name}"] = [case for case in cases if case.scanner == name]
    virtual = [case for case in cases if case.run.result.virtual_stain]
    if 0 < len(virtual) < len(cases):
        strata["virtual stain"] = virtual
        strata["measured stain"] = [case for case in cases if not case.run.result.virtual_stain]
    return strata


def _block(kind: str, stratum: str, cases: Sequence[Case], options: AgreementOptions) -> Block:
    """Return counts and statistics of one kind on one stratum."""
    present = [case for case in cases if case.answers[kind] is not None]
    refused = [case for case in present if case.answers[kind] == NOT_EVALUABLE]
    by_patient = _by_patient(present, kind)
    flags = np.array([case.answers[kind] == NOT_EVALUABLE for case in present], dtype=np.float64)
    return Block(
        kind,
        stratum,
        slides=len(cases),
        without_evidence=len(cases) - len(present),
        not_evaluable_of=[sum(case.label.label == number for case in refused) for number in range(len(SCORES))],
        not_evaluable=mean_of(flags, [case.patient for case in present], options),
        confusion=by_patient.sum(axis=0).astype(int).tolist(),
        statistics=agreement(by_patient, options),
    )


def _by_patient(cases: Sequence[Case], kind: str) -> Floats:
    """Return confusion matrices by patient, (P, 4, 4), of the slides that have a score."""
    scored = [(case, answer) for case in cases if (answer := case.answers[kind]) in SCORES]
    label = np.array([case.label.label for case, _ in scored], dtype=np.int64)
    score = np.array([SCORES.index(str(answer)) for _, answer in scored], dtype=np.int64)
    return confusion_by_patient(label, score, [case.patient for case, _ in scored])


def _confidence(cases: Sequence[Case], request: EvaluateRequest) -> dict[str, Estimate]:
    """Return the accuracy of the reported score at each confidence, and with and without the borderline flag."""
    groups: dict[str, Callable[[Result], bool]] = {
        "confidence high": lambda result: result.confidence == "high",
        "confidence moderate": lambda result: result.confidence == "moderate",
        "confidence low": lambda result: result.confidence == "low",
        "not borderline": lambda result: not result.borderline,
        "borderline": lambda result: result.borderline,
    }
    return {
        name: accuracy_of(_by_patient([case for case in cases if holds(case.run.result)], "reported"), request.options)
        for name, holds in groups.items()
    }


def _shares(cases: Sequence[Case], request: EvaluateRequest) -> dict[str, tuple[Estimate, Estimate]]:
    """Return the error of each share where the label has shares and the slide was scored, points of percent."""
    known = [
        (case.patient, case.run.result.shares, case.label.shares)
        for case in cases
        if case.label.shares is not None and case.run.result.shares is not None and case.answers["reported"] in SCORES
    ]
    if not known:
        return {}
    patients = [patient for patient, _, _ in known]
    found = np.array([[shares[name] for name in SHARE_NAMES] for _, shares, _ in known])
    error = found - np.array([[shares[name] for name in SHARE_NAMES] for _, _, shares in known])
    return {
        name: (
            mean_of(np.abs(error[:, column]), patients, request.options),
            mean_of(error[:, column], patients, request.options),
        )
        for column, name in enumerate(SHARE_NAMES)
    }


def _warnings(found: Evaluation) -> list[str]:
    """Return what a reader of the figures must know."""
    cases, block, said = found.cases, found.block("reported"), []
    results = [case.run.result for case in cases]
    without = [label.name for label, run in found.matched.pairs if run is None]
    if without:
        said.append(f"{len(without)} labelled slides have no result and are in no figure: {_some(without)}")
    if found.matched.unlabelled:
        names = [run.result.slide.name or run.result.slide.path for run in found.matched.unlabelled]
        said.append(f"{len(names)} results have no label and are in no figure: {_some(names)}")
    if found.matched.elsewhere:
        said.append(f"matched by file name although the folder differs: {_some(found.matched.elsewhere)}")
    if sum(block.not_evaluable_of):
        count, share = sum(block.not_evaluable_of), 100 * (block.not_evaluable.value or 0)
        said.append(f"{count} of {block.slides} slides ({share:.0f} %) were not evaluable; agreement leaves them out")
    if not any(case.label.patient for case in cases):
        said.append("no patients are given, so every slide counts as a patient of its own")
    if block.evaluated < FEW_SLIDES:
        said.append(
            f"{block.evaluated} slides with a score are few: intervals are too narrow, and a share of 0 or 1 has an "
            "interval of no width"
        )
    settings = {result.provenance.get("settings_sha256") for result in results}
    if len(settings) > 1:
        said.append(f"the results were made with {len(settings)} different settings or assay profiles")
    virtual = sum(result.virtual_stain for result in results)
    if virtual:
        said.append(f"{virtual} of {len(results)} results rest on a virtual stain, inferred from H&E")
    return said


def _some(names: Sequence[str]) -> str:
    """Return the first few of many names."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
