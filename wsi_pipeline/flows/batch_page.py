"""The summary of a batch as a page: no scripts, nothing from the net, links relative to the results' folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from wsi_pipeline.flows.batch_rows import SlideRow
from wsi_pipeline.results import NOTICE

THUMBNAIL = "overlay.png"

STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2em; color: #222; }
table { border-collapse: collapse; margin: 1em 0 2em; }
th, td { border-bottom: 1px solid #ccc; padding: .35em .7em; text-align: left; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
img { width: 160px; height: auto; }
.needs { color: #a40000; font-weight: 600; }
.notice { color: #555; }
"""

HEADINGS = ("", "Slide", "Status", "Score", "Category", "Borderline", "H-score", "Seconds", "Message")


def summary_page(out: Path, rows: Sequence[SlideRow], cases: Sequence[Mapping[str, Any]]) -> str:
    """Return the page; `cases`: as `case_rows` returns them."""
    counts = Counter(row.status for row in rows)
    told = ", ".join(f"{number} {status}" for status, number in counts.most_common())
    body = [
        "<h1>HER2 batch</h1>",
        f'<p class="notice">{escape(NOTICE)}</p>',
        f"<p>{len(rows)} slides: {escape(told)}.</p>",
        _cases(cases) if cases else "",
        _table(HEADINGS, [_cells(out, row) for row in rows]),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>HER2 batch</title>'
        f"<style>{STYLE}</style></head><body>\n{''.join(body)}\n</body></html>\n"
    )


def _cells(out: Path, row: SlideRow) -> list[str]:
    """Return the cells of a slide; thumbnails are loaded when they are scrolled to."""
    folder = str(PurePosixPath(row.result).parent) if row.result else ""
    name, picture = escape(row.slide), ""
    if folder:
        name = f'<a href="{quote(folder)}/">{name}</a>'
        is_elsewhere = not (out / folder).exists()  # done before, and only at the URL that results are sent to
        if is_elsewhere or (out / folder / THUMBNAIL).exists():
            link = f"{quote(folder)}/{THUMBNAIL}"
            picture = f'<a href="{link}"><img loading="lazy" alt="" src="{link}"></a>'
    status = escape(row.status)
    seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
    return [
        f"<td>{picture}</td>",
        f"<td>{name}</td>",
        f"<td>{status}</td>" if row.is_good else f'<td class="needs">{status}</td>',
        f"<td>{escape(row.score)}</td>",
        f"<td>{escape(row.category)}</td>",
        f"<td>{'yes' if row.borderline else ''}</td>",
        f'<td class="number">{"" if row.h_score is None else f"{row.h_score:.0f}"}</td>',
        f'<td class="number">{seconds}</td>',
        f"<td>{escape(row.message)}</td>",
    ]


def _cases(cases: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of cases under words that say what it is."""
    names = ("case", "slides", "scored", "not_evaluable", "other", "highest_score", "highest_category", "highest_slide")
    rows = [[f"<td>{escape(str(case[name]))}</td>" for name in names] for case in cases]
    return (
        "<h2>Cases</h2><p>The highest score among the slides of a case, for display: no rule says how several blocks "
        f"or sections are combined.</p>{_table([name.replace('_', ' ') for name in names], rows)}<h2>Slides</h2>"
    )


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an HTML table of cells that are HTML already."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(row)}</tr>\n" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>\n"
