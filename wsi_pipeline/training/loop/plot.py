"""Curves as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from wsi_pipeline.export.atomic import write_atomic

PANEL_INCHES = (5.0, 3.4)
DPI = 110

Line = tuple[Sequence[float], Sequence[float]]
"""Steps and values."""


def draw_curves(path: Path, panels: Mapping[str, Mapping[str, Line]]) -> None:
    """Write `panels` (title -> name of a line -> steps and values) side by side as PNG. Raises OutputError."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - optional, and slow to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    width, height = PANEL_INCHES
    figure = Figure(figsize=(width * len(panels), height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, (title, lines) in zip(axes, panels.items(), strict=True):
        for name, (steps, values) in lines.items():
            ax.plot(steps, values, label=name, linewidth=1, marker="." if len(steps) < 100 else "")
        ax.set_title(title)
        ax.set_xlabel("step")
        ax.grid(alpha=0.3)
        if len(lines) > 1:
            ax.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": ""})
    write_atomic(path, picture.getvalue())
