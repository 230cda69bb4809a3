"""Figures of a study as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from wsi_pipeline.models.manifest import HER2_CLASSES
from wsi_pipeline.scoring.agreement import Estimate
from wsi_pipeline.training.study.filtering import FAILED
from wsi_pipeline.training.study.table import ACCURACY, KAPPA, Table

DPI = 110
COLOURS = {"baseline": "#005a96", "retrained": "#00825a", "direct": "#c85000"}
"""Told apart by colour-blind readers (after Okabe and Ito, darkened for white paper)."""

CHANCE = 0.25
"""Accuracy of guessing among four equally frequent classes."""


def intervals_figure(table: Table) -> bytes:
    """Return accuracy and quadratic kappa of the three classifiers, and the paired differences, with intervals."""
    figure, axes = _figure(1, 3, (12.5, 2.9))
    for ax, name, title in zip(axes, (ACCURACY, KAPPA), ("accuracy", "quadratic kappa"), strict=False):
        for place, row in enumerate(table.rows):
            _interval(ax, place, row.statistics[name], COLOURS[row.method])
        ax.set_yticks(range(len(table.rows)), [row.method for row in table.rows])
        ax.set_title(f"{title} on {table.rows[0].tiles} test tiles")
    axes[0].axvline(CHANCE, color="#999999", linestyle=":")
    axes[0].set_xlim(0, 1.02)
    axes[1].axvline(0, color="#999999", linestyle=":")
    for place, name in enumerate((ACCURACY, KAPPA)):
        _interval(axes[2], place, table.difference[name], COLOURS["retrained"])
    axes[2].set_yticks((0, 1), ("accuracy", "quadratic kappa"))
    axes[2].axvline(0, color="#999999", linestyle=":")
    axes[2].set_title("retrained minus baseline")
    for ax in axes:
        ax.invert_yaxis()
        ax.margins(y=0.3)
        ax.grid(axis="x", alpha=0.3)
    return _png(figure)


def confusion_figure(table: Table) -> bytes:
    """Return the three confusion matrices; each row is coloured by its shares."""
    figure, axes = _figure(1, len(table.rows), (12.5, 4.2))
    for ax, row in zip(axes, table.rows, strict=True):
        shares = [[count / max(sum(counts), 1) for count in counts] for counts in row.confusion]
        ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for label, counts in enumerate(row.confusion):
            for called, count in enumerate(counts):
                ink = "white" if shares[label][called] > 0.55 else "black"
                ax.text(called, label, str(count), ha="center", va="center", color=ink)
        ax.set_xticks(range(4), HER2_CLASSES)
        ax.set_yticks(range(4), HER2_CLASSES)
        ax.set_xlabel("called")
        ax.set_ylabel("label")
        ax.set_title(row.method)
    return _png(figure)


def acceptance_figure(summary: Sequence[Mapping[str, Any]]) -> bytes:
    """Return how many tiles of each class the filter accepted, and how many failed each check, by class."""
    classes = [row for row in summary if row["class"] != "all"]
    figure, axes = _figure(1, 2, (12.5, 3.6))
    for place, row in enumerate(classes):
        axes[0].bar(place, row["tiles"], color="#dddddd")
        axes[0].bar(place, row["accepted"], color=COLOURS["retrained"])
        share = "none" if row["accepted_percent"] is None else f"{row['accepted_percent']:.1f} %"
        axes[0].text(place, row["tiles"], f"{row['accepted']} of {row['tiles']}, {share}", ha="center", va="bottom")
    axes[0].set_xticks(range(len(classes)), [row["class"] for row in classes])
    axes[0].margins(y=0.15)
    axes[0].set_title("accepted virtual tiles, by the H&E's label")
    width = 0.8 / max(len(classes), 1)
    for place, row in enumerate(classes):
        counts = [row[column] for column in FAILED.values()]
        left = [number + (place - 1.5) * width for number in range(len(FAILED))]
        axes[1].bar(left, counts, width, label=row["class"], color=("#9ecae1", "#4292c6", "#c85000", "#7a3300")[place])
    axes[1].set_xticks(range(len(FAILED)), list(FAILED))
    axes[1].set_title("tiles that failed each check (one may fail several)")
    axes[1].legend(title="label")
    return _png(figure)


def _interval(ax: Any, place: int, value: Estimate, colour: str) -> None:
    """Draw an estimate with its interval at height `place`, and in words."""
    if value.value is None:
        return
    low, high = (value.value if bound is None else bound for bound in (value.low, value.high))
    ax.plot([low, high], [place, place], color=colour, linewidth=3, alpha=0.5)
    ax.plot(value.value, place, "o", color=colour)
    ax.annotate(
        f"{value.value:.3f}", (value.value, place), (0, 7), textcoords="offset points", ha="center", color=colour
    )


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    """Return an empty figure and its axes in a row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - optional, and slow to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)[0]


def _png(figure: Any) -> bytes:
    """Return the figure as PNG."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": ""})
    return picture.getvalue()
