"""The report of an evaluation as files: figures, tables, one page of HTML that needs nothing else, and JSON."""

from __future__ import annotations

import base64
import csv
import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from io import StringIO
from pathlib import Path
from typing import Any

from wsi_pipeline.errors import UsageError, printable
from wsi_pipeline.export.atomic import RunFolder, write_atomic
from wsi_pipeline.export.tables import write_json
from wsi_pipeline.flows.evaluate import ALL, Block, Case, Evaluation
from wsi_pipeline.flows.evaluate_figures import confusion_figure, intervals_figure, strata_figure, words
from wsi_pipeline.flows.matching import Run
from wsi_pipeline.flows.public_view import seen_from
from wsi_pipeline.provenance import versions
from wsi_pipeline.results import NOTICE
from wsi_pipeline.scoring.agreement import Estimate
from wsi_pipeline.scoring.evidence import SCORES
from wsi_pipeline.storage import is_url

SCHEMA_VERSION = "1.0"

Row = Sequence[object]

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;color:#1e1e1e;max-width:76em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:.6em 0 1.6em}td,th{border:1px solid #ddd;padding:.25em .7em;text-align:left}"
    "th{background:#f3f3f3}img{max-width:100%;border:1px solid #eee}.notice{background:#fff3d6;padding:.6em 1em}"
    ".wrong td{background:#fde8dc}.aside td{background:#eee}"
)

READING = (
    "Agreement counts slides with a score only; slides that were not evaluable are counted apart. Kappas allow for "
    "chance; quadratic weights count an error of two categories four times. Accuracy 1+ | 2+ is the share on the right "
    "side of that cut-off. Intervals are percentiles over resampled patients. A figure on few slides says little, and "
    "labels differ between pathologists too."
)

BOTH = "By both: the score on which cells and tile classifier agree; where they differ there is none."


def write_evaluation(found: Evaluation) -> Path:
    """Write all files into a fresh folder and return it. Raises OutputError, ResourceError."""
    with RunFolder.create(found.request.out) as folder:
        figures = {"confusion.png": confusion_figure(found), "intervals.png": intervals_figure(found)}
        strata = strata_figure(found)
        if strata is not None:
            figures["strata.png"] = strata
        for name, content in figures.items():
            write_atomic(folder.work / name, content)
        write_atomic(folder.work / "agreement.csv", _csv([AGREEMENT_COLUMNS, *agreement_rows(found)]))
        write_atomic(folder.work / "slides.csv", _csv([SLIDE_COLUMNS, *slide_rows(found)]))
        write_atomic(folder.work / "report.html", page(found, figures).encode())
        write_json(folder.work / "evaluation.json", record(found))
    return folder.final


AGREEMENT_COLUMNS = ("evidence", "stratum", "statistic", "value", "low", "high", "slides")


def agreement_rows(found: Evaluation) -> list[Row]:
    """Return one row for each statistic of each kind of evidence on each stratum."""
    rows: list[Row] = []
    for block in found.blocks:
        figures = block.statistics | {"not evaluable": block.not_evaluable}
        rows += [(block.kind, block.stratum, name, *_figures(value)) for name, value in figures.items()]
    rows += [("reported", name, "accuracy, four classes", *_figures(value)) for name, value in found.confidence.items()]
    for name, (absolute, signed) in found.shares.items():
        rows.append(("reported", ALL, f"share of {name}, mean absolute error, points", *_figures(absolute)))
        rows.append(("reported", ALL, f"share of {name}, found minus true, points", *_figures(signed)))
    return rows


SLIDE_COLUMNS = (
    "slide", "label", "reported", "cells", "tiles", "both", "confidence", "borderline", "patient", "scanner", "remark",
    "scored file", "run",
)  # fmt: skip


def slide_rows(found: Evaluation) -> list[Row]:
    """Return one row for each label, then one for each result without a label; "" where there is nothing to say."""
    by_name = {case.label.name: case for case in found.cases}
    rows = [
        _slide_row(found, by_name[label.name])
        if run is not None
        else (label.name, SCORES[label.label], *[""] * 6, label.patient, label.scanner, "no result", "", "")
        for label, run in found.matched.pairs
    ]
    for run in found.matched.unlabelled:
        rows.append(
            ("", "", run.result.score, *[""] * 7, "no label", _slide_shown(found, run), _shown(found, run.path))
        )
    return rows


def _slide_row(found: Evaluation, case: Case) -> Row:
    """Return the row of a slide with label and result."""
    result, label = case.run.result, case.label
    answers = [case.answers[kind] or "" for kind in ("reported", "cells", "tiles", "both")]
    remark = result.reason if result.score == "not evaluable" else ""
    if not remark and result.score != SCORES[label.label]:
        apart = abs(SCORES.index(result.score) - label.label)
        remark = f"{apart} {'category' if apart == 1 else 'categories'} apart"
    return (
        label.name, SCORES[label.label], *answers, result.confidence, "yes" if result.borderline else "no",
        label.patient, case.scanner, remark, _slide_shown(found, case.run), _shown(found, case.run.path),
    )  # fmt: skip


def _shown(found: Evaluation, path: Path) -> str:
    """Return a path as a report may show it: relative to its folder, else its last two parts."""
    return seen_from(path, found.request.out.resolve()) or printable("/".join(path.parts[-2:]))


def _slide_shown(found: Evaluation, run: Run) -> str:
    """Return where the slide of a run lies, as a report may show it: its URL, or its path as above."""
    return run.slide if is_url(run.slide) else _shown(found, Path(run.slide))


def record(found: Evaluation) -> dict[str, Any]:
    """Return everything as JSON values."""
    matched = found.matched
    return {
        "schema_version": SCHEMA_VERSION,
        "notice": NOTICE,
        "date": datetime.now(UTC).date().isoformat(),
        "versions": versions(),
        "truth": {"path": _shown(found, found.request.truth), "sha256": _sha256(found.request.truth)},
        "options": found.request.options.model_dump(),
        "slides": {
            "labelled": len(matched.pairs),
            "with_result": len(found.cases),
            "without_result": [label.name for label, run in matched.pairs if run is None],
            "results_without_label": [_shown(found, run.path) for run in matched.unlabelled],
        },
        "warnings": found.warnings,
        "agreement": [_block_record(block) for block in found.blocks],
        "accuracy_by_confidence": {name: value._asdict() for name, value in found.confidence.items()},
        "share_error_points": {
            name: {"mean_absolute": absolute._asdict(), "found_minus_true": signed._asdict()}
            for name, (absolute, signed) in found.shares.items()
        },
        "table": [dict(zip(SLIDE_COLUMNS, row, strict=True)) for row in slide_rows(found)],
    }


def _block_record(block: Block) -> dict[str, Any]:
    """Return one block as JSON values."""
    return {
        "evidence": block.kind,
        "stratum": block.stratum,
        "slides": block.slides,
        "without_this_evidence": block.without_evidence,
        "evaluated": block.evaluated,
        "not_evaluable": block.not_evaluable._asdict(),
        "not_evaluable_by_label": dict(zip(SCORES, block.not_evaluable_of, strict=True)),
        "confusion": {"rows": "label", "columns": "score", "order": SCORES, "slides": block.confusion},
        "statistics": {name: value._asdict() for name, value in block.statistics.items()},
    }


def page(found: Evaluation, figures: dict[str, bytes]) -> str:
    """Return the report as one page of HTML, pictures inside, without scripts."""
    slides = f"{len(found.matched.pairs)} labelled slides, {len(found.cases)} of them with a result"
    parts = [
        f"<h1>Scores against labels</h1><p class='notice'>{escape(NOTICE)}</p>",
        f"<p>{slides}. Labels: {escape(str(found.request.truth))}.</p>",
        f"<p>{READING} {BOTH if 'both' in found.kinds else ''}</p>",
        "".join(f"<p>Note: {escape(warning)}.</p>" for warning in found.warnings),
        "<h2>Agreement</h2>" + _statistics_table(found),
        *(_picture(name, content) for name, content in figures.items()),
        "<h2>By scanner and stain</h2>" + _strata_table(found),
        "<h2>Does the confidence hold?</h2><p>Accuracy of the reported score, four classes.</p>",
        _table(("slides with", "accuracy"), [(name, words(value)) for name, value in found.confidence.items()]),
        _shares_table(found),
        "<h2>Slide by slide</h2>" + _slides_table(found),
        f"<p class='notice'>{escape(NOTICE)}</p>",
    ]
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Scores against labels</title>"
        f"<style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _statistics_table(found: Evaluation) -> str:
    """Return the statistics of all slides, a column for each kind of evidence."""
    blocks = [found.block(kind) for kind in found.kinds]
    rows: list[Row] = [
        (name, *(words(block.statistics[name]) for block in blocks)) for name in blocks[0].statistics
    ]  # fmt: skip
    rows.append(("not evaluable, share", *(words(block.not_evaluable) for block in blocks)))
    rows.append(("without this evidence, slides", *(block.without_evidence for block in blocks)))
    return _table(("statistic", *(f"by {kind}" for kind in found.kinds)), rows)


def _strata_table(found: Evaluation) -> str:
    """Return kappa and accuracies of every stratum, with its counts."""
    shown = ("quadratic kappa", "accuracy, four classes", "3+ sensitivity", "3+ specificity")
    rows: list[Row] = [
        (block.kind, block.stratum, block.slides, block.evaluated, *(words(block.statistics[name]) for name in shown))
        for block in found.blocks
    ]
    return _table(("by", "stratum", "slides", "with a score", *shown), rows)


def _shares_table(found: Evaluation) -> str:
    """Return the errors of the shares, or nothing where the labels have none."""
    rows: list[Row] = [
        (name, words(absolute, 1), words(signed, 1)) for name, (absolute, signed) in found.shares.items()
    ]
    title = "<h2>Shares of tumour cells</h2><p>Points of percent.</p>"
    return title + _table(("share", "mean absolute error", "found minus true"), rows) if rows else ""


def _slides_table(found: Evaluation) -> str:
    """Return all slides; errors and slides without a score are coloured."""
    cells = ["".join(f"<th>{escape(name)}</th>" for name in SLIDE_COLUMNS[:11])]
    classes = [""]
    for row in slide_rows(found):
        cells.append("".join(f"<td>{escape(str(value))}</td>" for value in row[:11]))
        remark = str(row[10])
        classes.append("wrong" if remark.endswith("apart") else "aside" if remark else "")
    rows = zip(classes, cells, strict=True)
    return "<table>" + "".join(f"<tr class='{name}'>{cell}</tr>" for name, cell in rows) + "</table>"


def _table(head: Row, rows: Iterable[Row]) -> str:
    """Return a table as HTML."""
    lines = ["".join(f"<th>{escape(str(value))}</th>" for value in head)]
    lines += ["".join(f"<td>{escape(str(value))}</td>" for value in row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _picture(name: str, content: bytes) -> str:
    """Return a picture inside the page."""
    return f"<p><img alt='{escape(name)}' src='data:image/png;base64,{base64.b64encode(content).decode()}'></p>"


def _figures(value: Estimate) -> tuple[object, ...]:
    """Return an estimate as CSV values; empty where not defined."""
    numbers = ["" if number is None else round(number, 6) for number in value[:3]]
    return (*numbers, value.slides)


def _csv(rows: Iterable[Row]) -> bytes:
    """Return rows as CSV; the first line under the head is not needed to read it, so the notice is a last column."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for number, row in enumerate(rows):
        writer.writerow([*row, "notice" if number == 0 else NOTICE])
    return text.getvalue().encode()


def _sha256(path: Path) -> str:
    """Return the hash of the labels. Raises UsageError when they went away meanwhile."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(path, "cannot be read") from error
