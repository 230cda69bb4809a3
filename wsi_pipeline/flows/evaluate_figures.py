"""Figures of an evaluation: confusion matrices, and statistics with their intervals on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from wsi_pipeline.flows.evaluate import ALL, Block, Evaluation
from wsi_pipeline.results import NOTICE
from wsi_pipeline.scoring.agreement import STATISTICS, Estimate
from wsi_pipeline.scoring.evidence import SCORES

Rgb = tuple[int, int, int]

INK: Rgb = (30, 30, 30)
PALE: Rgb = (120, 120, 120)
GRID: Rgb = (222, 222, 222)
RIGHT: Rgb = (0, 90, 150)
WRONG: Rgb = (200, 80, 0)
ASIDE: Rgb = (90, 90, 90)
SERIES: tuple[Rgb, ...] = ((0, 90, 150), (200, 80, 0), (0, 130, 90), (150, 60, 140))
"""Told apart by colour-blind readers (after Okabe and Ito, darkened for white paper)."""

TEXT_PX, TITLE_PX, NUMBER_PX = 18, 22, 26
MARGIN_PX, ROW_PX, CELL_PX = 24, 30, 84
LEFT_PX, AXIS_PX, FIGURES_PX = 520, 560, 320

LONGEST_NAME = 32
"""Letters of a scanner's name that fit."""


class Line(NamedTuple):
    """One estimate in a forest plot: which row, which series (colour), and its figures."""

    row: str
    series: str
    estimate: Estimate


class Canvas:
    """A white picture with text and shapes."""

    def __init__(self, width: int, height: int) -> None:
        """Make a picture of `width` x `height` px."""
        self.image = Image.new("RGB", (width, height), (255, 255, 255))
        self.draw = ImageDraw.Draw(self.image)

    def text(self, x: float, y: float, words: str, size: int = TEXT_PX, ink: Rgb = INK, anchor: str = "lm") -> None:
        """Write `words` at (x, y), px; `anchor` as Pillow names it ("lm" left middle)."""
        self.draw.text((x, y), words, ink, ImageFont.load_default(size), anchor)

    def png(self) -> bytes:
        """Return the picture as a PNG file's content."""
        file = BytesIO()
        self.image.save(file, "PNG", optimize=True)
        return file.getvalue()


def confusion_figure(found: Evaluation) -> bytes:
    """Return PNG of the confusion matrix of each kind of evidence, side by side; slides without a score stand apart."""
    blocks = [found.block(kind) for kind in found.kinds]
    panel = 6 * CELL_PX + 110
    canvas = Canvas(MARGIN_PX + panel * len(blocks), 4 * CELL_PX + 170)
    for number, block in enumerate(blocks):
        _matrix(canvas, block, MARGIN_PX + panel * number)
    canvas.text(MARGIN_PX, canvas.image.height - 22, NOTICE, ink=PALE)
    return canvas.png()


def _matrix(canvas: Canvas, block: Block, left: float) -> None:
    """Draw one matrix: rows are labels, columns scores, each row coloured by its shares."""
    canvas.text(left, 26, f"{block.kind}: {block.evaluated} of {block.slides} slides have a score", TITLE_PX)
    canvas.text(left + 70, 62, "score", ink=PALE)
    canvas.text(left, 92, "label", ink=PALE)
    top, start = 110.0, left + 66
    for number, name in enumerate(SCORES):
        canvas.text(start + (number + 0.5) * CELL_PX, 92, name, anchor="mm")
        canvas.text(left + 20, top + (number + 0.5) * CELL_PX, name)
    apart = start + 4.25 * CELL_PX
    canvas.text(apart + 0.5 * CELL_PX, 92, "no score", anchor="mm")
    for row, counts in enumerate(block.confusion):
        total = max(sum(counts) + block.not_evaluable_of[row], 1)
        y = top + row * CELL_PX
        for column, count in enumerate(counts):
            _cell(canvas, (start + column * CELL_PX, y), count, total, RIGHT if row == column else WRONG)
        _cell(canvas, (apart, y), block.not_evaluable_of[row], total, ASIDE)


def _cell(canvas: Canvas, corner: tuple[float, float], count: int, total: int, colour: Rgb) -> None:
    """Draw one count with its share of the row; the fuller, the darker."""
    x, y = corner
    share = count / total
    fill = tuple(round(255 + (channel - 255) * share) for channel in colour)
    canvas.draw.rectangle((x, y, x + CELL_PX - 3, y + CELL_PX - 3), fill, GRID)
    ink = (255, 255, 255) if share > 0.55 else INK
    canvas.text(x + CELL_PX / 2, y + 0.4 * CELL_PX, str(count), NUMBER_PX, ink if count else PALE, "mm")
    if count:
        canvas.text(x + CELL_PX / 2, y + 0.74 * CELL_PX, f"{100 * share:.0f} %", 15, ink, "mm")


def intervals_figure(found: Evaluation) -> bytes:
    """Return PNG of all statistics of every kind of evidence, with intervals."""
    lines = [
        Line(name, kind, found.block(kind).statistics[name]) for name in STATISTICS for kind in found.kinds
    ]  # fmt: skip
    coverage = found.request.options.interval_percent
    return _forest(f"Agreement with the labels, {coverage:g} % intervals by patient", lines)


def strata_figure(found: Evaluation) -> bytes | None:
    """Return PNG of kappa and accuracy of the reported score by scanner, or None where there is one stratum only."""
    names = [block.stratum for block in found.blocks if block.kind == "reported" and block.stratum != ALL]
    if len(names) < 2:
        return None
    lines = [
        Line(statistic, f"{name[:LONGEST_NAME]} ({block.evaluated})", block.statistics[statistic])
        for statistic in ("quadratic kappa", "accuracy, four classes")
        for name in (ALL, *names)
        for block in (found.block("reported", name),)
    ]
    return _forest("Reported score by stratum (slides with a score)", lines)


class Scale:
    """The horizontal axis of a forest plot: from `low` to 1, px from LEFT_PX on."""

    def __init__(self, estimates: Sequence[Estimate]) -> None:
        """Start at 0, or lower where a kappa does."""
        least = min([0.0, *(value for found in estimates for value in (found.value, found.low) if value is not None)])
        self.low = next(low for low in (0.0, -0.5, -1.0) if least >= low)

    def x(self, value: float) -> float:
        """Return where `value` lies, px."""
        return LEFT_PX + AXIS_PX * (value - self.low) / (1.0 - self.low)

    def draw(self, canvas: Canvas, top: float, bottom: float) -> None:
        """Draw the grid and its numbers."""
        for step in range(round((1.0 - self.low) / 0.25) + 1):
            value = self.low + 0.25 * step
            canvas.draw.line((self.x(value), top, self.x(value), bottom), PALE if value == 0 else GRID)
            canvas.text(self.x(value), bottom + 14, f"{value:g}", ink=PALE, anchor="mm")


def _forest(title: str, lines: Sequence[Line]) -> bytes:
    """Return PNG of estimates as points with intervals, grouped by row, coloured by series."""
    series = list(dict.fromkeys(line.series for line in lines))
    rows = list(dict.fromkeys(line.row for line in lines))
    canvas = Canvas(LEFT_PX + AXIS_PX + FIGURES_PX, 152 + len(lines) * ROW_PX + 12 * len(rows))
    scale = Scale([line.estimate for line in lines])
    canvas.text(MARGIN_PX, 28, title, TITLE_PX)
    scale.draw(canvas, 60, canvas.image.height - 64)
    y = 82.0
    for row in rows:
        canvas.text(MARGIN_PX, y, row)
        for line in (line for line in lines if line.row == row):
            colour = SERIES[series.index(line.series) % len(SERIES)]
            if len(series) > 1:
                canvas.text(LEFT_PX - 16, y, line.series, ink=colour, anchor="rm")
            _interval(canvas, y, scale, line.estimate, colour)
            canvas.text(LEFT_PX + AXIS_PX + 24, y, words(line.estimate), ink=colour)
            y += ROW_PX
        y += 12
    canvas.text(MARGIN_PX, canvas.image.height - 22, NOTICE, ink=PALE)
    return canvas.png()


def _interval(canvas: Canvas, y: float, scale: Scale, estimate: Estimate, colour: Rgb) -> None:
    """Draw an interval as a line and its estimate as a point; nothing where it is not defined."""
    if estimate.value is None:
        return
    if estimate.low is not None and estimate.high is not None:
        canvas.draw.line((scale.x(estimate.low), y, scale.x(estimate.high), y), colour, 3)
    x = scale.x(estimate.value)
    canvas.draw.ellipse((x - 6, y - 6, x + 6, y + 6), colour)


def words(estimate: Estimate, digits: int = 2) -> str:
    """Return an estimate as text: "0.83 (0.71 to 0.92), n 40"."""
    if estimate.value is None:
        return f"not defined, n {estimate.slides}"
    if estimate.low is None:
        return f"{estimate.value:.{digits}f} (no interval), n {estimate.slides}"
    return f"{estimate.value:.{digits}f} ({estimate.low:.{digits}f} to {estimate.high:.{digits}f}), n {estimate.slides}"
