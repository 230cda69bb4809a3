"""The report: one page of HTML that needs nothing else, pictures inside, no scripts."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from wsi_pipeline.results import NOTICE, VIRTUAL_NOTICE
from wsi_pipeline.stain.quality import REASONS
from wsi_pipeline.training.data.splits import ORDER
from wsi_pipeline.training.study.gallery import Shown
from wsi_pipeline.training.study.record import Found, warnings
from wsi_pipeline.training.study.table import ACCURACY, KAPPA, METHODS, STATISTICS, words

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;color:#1e1e1e;max-width:80em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:.6em 0 1.6em}td,th{border:1px solid #ddd;padding:.25em .7em;text-align:left}"
    "th{background:#f3f3f3}img{max-width:100%}.notice{background:#fff3d6;padding:.6em 1em}"
    "figure{display:inline-block;margin:.3em 1em .8em 0}figcaption{font-size:13px;color:#444}"
)

READING = (
    "Accuracy counts tiles; every tile carries the label of its patch, and often that is the label of the whole slide. "
    "Intervals are percentiles over resampled patients, so tiles of one patient are not counted as independent. Both "
    "classifiers took the same number of steps from the same start with the same mix of classes; what differs is the "
    "material. The difference is computed on the same tiles, with the same patients drawn for both; where its interval "
    "holds 0, the study does not show that retraining changed anything."
)

FILTER = (
    "All five checks are made on every virtual tile of the training H&amp;E, and every reason is kept. The last two "
    "ask the baseline itself: is it sure, and does it say the label? Tiles that pass are therefore those that the "
    "baseline finds easy, and what it is mistaken about stays out."
)


def page(found: Found, figures: Mapping[str, bytes], shown: Sequence[Shown]) -> str:
    """Return the report; `figures`: title -> PNG, for intervals, confusion and acceptance."""
    intervals, confusion, acceptance = (_picture(title, content) for title, content in figures.items())
    parts = [
        "<h1>Virtual IHC as training material, and by itself</h1>",
        f"<p class='notice'>{escape(NOTICE)}</p><p class='notice'>Virtual IHC: {escape(VIRTUAL_NOTICE)}</p>",
        f"<p>Data: {escape(found.request.data)}.</p>",
        "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in warnings(found)) + "</ul>",
        "<h2>Three accuracies</h2>" + _results(found) + intervals + f"<p>{READING}</p>" + _pairs(found) + confusion,
        "<h2>Data and splits</h2>" + _splits(found),
        "<h2>What the filter accepted</h2>" + f"<p>{FILTER}</p>" + _filter(found) + acceptance,
        _gallery(shown),
        "<h2>Networks</h2>" + _weights(found),
        f"<p class='notice'>{escape(NOTICE)}</p>",
    ]
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Virtual IHC study</title>"
        f"<style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _results(found: Found) -> str:
    """Return the table of the three classifiers and the difference."""
    rows: list[Sequence[object]] = [
        (
            row.method,
            METHODS[row.method],
            row.tiles,
            row.patients,
            *(words(row.statistics[name]) for name in STATISTICS),
        )
        for row in found.table.rows
    ]
    differences = (words(found.table.difference[name]) for name in STATISTICS)
    first = found.table.rows[0]
    rows.append(("retrained - baseline", "paired difference", first.tiles, first.patients, *differences))
    names = (
        ACCURACY,
        "quadratic kappa",
        *(name.replace("_", " of ") for name in STATISTICS if name not in {ACCURACY, KAPPA}),
    )
    return _table(("classifier", "", "tiles", "patients", *names), rows)


def _pairs(found: Found) -> str:
    """Return how the two classifiers agree about the same tiles."""
    counts = ", ".join(f"{name}: {count}" for name, count in found.table.pairs.items())
    return f"<p>Of the same tiles, {escape(counts)}.</p>"


def _splits(found: Found) -> str:
    """Return patches, slides and patients of each split."""
    splits = found.facts["data"]["splits"]
    rows = [
        (name, facts["patches"], len(facts["slides"]), facts["patients"], *facts["by_class"].values())
        for name, facts in ((name, splits[name]) for name in ORDER)
    ]
    classes = splits["train"]["by_class"]
    trained = found.facts["retrained"]
    text = "Nothing was retrained."
    if trained["synthetic_tiles"]:
        text = (
            f"Retrained on {trained['real_patches']} real patches and {trained['synthetic_tiles']} accepted virtual "
            f"tiles, {trained['steps']} steps; the baseline took {found.facts['baseline']['steps']}."
        )
    return _table(("split", "patches", "slides", "patients", *classes), rows) + f"<p>{text}</p>"


def _filter(found: Found) -> str:
    """Return acceptance and reasons by class."""
    rows = [["" if value is None else value for value in row.values()] for row in found.summary]
    return _table(("label", "tiles", "accepted", "accepted, %", *(f"failed: {name}" for name in REASONS)), rows)


def _gallery(shown: Sequence[Shown]) -> str:
    """Return sample tiles, accepted ones first."""
    parts = []
    for accepted, title in ((True, "Accepted"), (False, "Rejected")):
        chosen = [one for one in shown if one.accepted is accepted]
        figures = "".join(
            f"<figure><img alt='{escape(one.caption)}' src='{_data('jpeg', one.jpeg)}'>"
            f"<figcaption>{escape(one.caption)}</figcaption></figure>"
            for one in chosen
        )
        head = f"<h3>{title} tiles: H&amp;E, real IHC, virtual IHC (inferred from H&amp;E)</h3>"
        parts.append(head + (figures or "<p>None.</p>"))
    return "".join(parts)


def _weights(found: Found) -> str:
    """Return the networks by hash."""
    facts: Mapping[str, Any] = {
        "baseline": found.facts["baseline"], "retrained": found.facts["retrained"]["weights"],
        "stainer": found.facts["stainer"],
    }  # fmt: skip
    rows = [
        (name, one["name"], one["architecture"], one["training_data"], one["sha256"]) for name, one in facts.items()
    ]
    return _table(("network", "weights", "architecture", "trained on", "sha256"), rows)


def _table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as HTML."""
    lines = ["".join(f"<th>{escape(str(value))}</th>" for value in head)]
    lines += ["".join(f"<td>{escape(str(value))}</td>" for value in row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _picture(title: str, content: bytes) -> str:
    """Return a figure inside the page."""
    return f"<p><img alt='{escape(title)}' src='{_data('png', content)}'></p>"


def _data(kind: str, content: bytes) -> str:
    """Return a picture as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
