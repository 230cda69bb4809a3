"""Strong membrane as a pixel map, against manual masks, each field judged by thresholds set on the others.

The map is made of the product's own pieces: white, unmixing, the DAB density smoothed as for its rays, and the height
of a DAB ridge over both its sides. Printed by real_fields.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from scipy.stats import spearmanr

from wsi_pipeline.cells.membrane import solid_dab
from wsi_pipeline.cells.nuclei import smooth
from wsi_pipeline.cells.options import AssayProfile, CellOptions
from wsi_pipeline.config import load_assay, load_settings
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.survey import survey_slide
from wsi_pipeline.geometry import Box, Mpp
from wsi_pipeline.slide import open_slide
from wsi_pipeline.stain.density import unmix
from wsi_pipeline.tiling import make_grid

FIELD_MPP = 0.36
"""Pixel size of the fields, um/px: an estimate, because they were published without one and resampled."""

INSERT_PX = 128
INSERTS = {
    "1plus_c": ((2, 4), (4, 3)),
    "2plus_1": ((0, 2), (3, 4)),
    "2plus_8": ((1, 0), (3, 2)),
    "3plus_a": ((1, 2), (1, 3), (1, 4), (2, 3)),
    "3plus_b": ((0, 3), (1, 0)),
    "3plus_c": ((0, 4),),
}
"""Squares (row, column) that somebody painted white, blurred or filled with noise; seen by eye and by their local
contrast, which is below 1.0 or above 10 grey levels there and 1.4-6 elsewhere (one grey square was seen by eye)."""

DIRECTIONS = ((1, 0), (0, 1), (1, 1), (1, -1), (2, 1), (1, 2), (2, -1), (1, -2))

REFERENCES = (0.75, 0.9, 0.99)
"""Quantiles of a field's own ridge pixels that its relative thresholds may be multiples of."""

ABSOLUTE = [(dab, ridge) for dab in np.arange(0.1, 1.81, 0.05) for ridge in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)]
RELATIVE = [
    (quantile, dab, ridge)
    for quantile in REFERENCES
    for dab in np.arange(0.0, 1.41, 0.1)
    for ridge in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
]


class Field(NamedTuple):
    """One field: manual mask, pixels to be judged, and the product's DAB measures, all (H, W)."""

    name: str
    mask: np.ndarray
    keep: np.ndarray
    dab: np.ndarray
    ridge: np.ndarray
    solid: np.ndarray
    faint: float
    solid_share: float


class Counts(NamedTuple):
    """Pixels: found and marked, found, marked, found within 1 px of marked, marked within 1 px of found, judged."""

    both: int
    found: int
    marked: int
    found_near: int
    marked_near: int
    judged: int

    def strict(self) -> tuple[float, float, float]:
        """Return precision, recall and Dice, pixel for pixel."""
        precision, recall = self.both / max(self.found, 1), self.both / max(self.marked, 1)
        return precision, recall, harmonic(precision, recall)

    def tolerant(self) -> tuple[float, float, float]:
        """Return precision, recall and their F1 where a distance of 1 px is no error."""
        precision, recall = self.found_near / max(self.found, 1), self.marked_near / max(self.marked, 1)
        return precision, recall, harmonic(precision, recall)


def harmonic(precision: float, recall: float) -> float:
    """Return the F1 of precision and recall, which is the Dice coefficient."""
    return 2 * precision * recall / max(precision + recall, 1e-9)


def total(counts: Iterable[Counts]) -> Counts:
    """Return the sums."""
    return Counts(*(sum(column) for column in zip(*counts, strict=True)))


def ridge_height(dab: np.ndarray, reach_px: int) -> np.ndarray:
    """Return how far `dab` (H, W) rises above both its sides, the best of 8 directions.

    This is what the product asks of a membrane along a ray: the lowest value on either side within a membrane's width,
    the higher of the two taken off the peak.
    """
    best = np.full(dab.shape, -np.inf, np.float32)
    for x, y in DIRECTIONS:
        sides = []
        for step in (1 / np.hypot(x, y), -1 / np.hypot(x, y)):
            low = dab
            for k in range(1, reach_px + 1):
                shift = np.array([[1, 0, step * k * x], [0, 1, step * k * y]], np.float32)
                flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
                moved = cv2.warpAffine(dab, shift, dab.shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
                low = np.minimum(low, moved)
            sides.append(low)
        best = np.maximum(best, dab - np.maximum(*sides))
    return best


def load_field(path: Path, mask: Path, *, with_inserts: bool = False) -> Field:
    """Read a field as the product does: white from its own survey, unmixed, smoothed as for the rays."""
    settings, options = load_settings("serial", {}), CellOptions()
    assay: AssayProfile = load_assay(settings.assay)
    with open_slide(path, mpp=FIELD_MPP) as slide:
        grid = make_grid(slide.info.size_l0, slide.info.mpp, settings.tiling)
        white = survey_slide(slide, grid, ScoreRequest(path, path.parent, settings, mpp=FIELD_MPP)).white.rgb
        rgb = slide.read_box(Box(0, 0, *slide.info.size_l0), 1).rgb
    mpp = Mpp(FIELD_MPP, FIELD_MPP)
    stains = unmix(rgb, white, assay.vectors)
    dab = smooth(stains.dab, 0.25, mpp)
    keep = np.ones(dab.shape, bool)
    for row, column in () if with_inserts else INSERTS.get(path.stem, ()):
        keep[row * INSERT_PX : (row + 1) * INSERT_PX, column * INSERT_PX : (column + 1) * INSERT_PX] = False
    marked = cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE) > 127
    ridge = ridge_height(dab, round(options.membrane_width_um / FIELD_MPP))
    solid = solid_dab(stains.dab, mpp, options)
    return Field(path.stem, marked, keep, dab, ridge, solid, assay.faint, options.solid_share)


def load_fields(data: Path, *, with_inserts: bool = False) -> list[Field]:
    """Return the fields that have a manual mask, by name."""
    paths = sorted((data / "her2/fields").glob("*.png"))
    return [load_field(path, data / "her2/membrane_masks" / path.name, with_inserts=with_inserts) for path in paths]


def absolute(field: Field, chosen: tuple[float, ...]) -> np.ndarray:
    """Return ridges at least `chosen` (DAB OD, ridge height OD)."""
    return (field.dab >= chosen[0]) & (field.ridge >= max(chosen[1], field.faint))


def without_solid(field: Field, chosen: tuple[float, ...]) -> np.ndarray:
    """Return the same, less what the product takes for a solid body."""
    return absolute(field, chosen) & (field.solid < field.solid_share * field.dab)


def relative(field: Field, chosen: tuple[float, ...]) -> np.ndarray:
    """Return ridges at least `chosen` (quantile, share, share) of that quantile of the field's own ridge pixels."""
    on = (field.ridge >= field.faint) & field.keep
    dab, ridge = np.quantile(field.dab[on], chosen[0]), np.quantile(field.ridge[on], chosen[0])
    return absolute(field, (chosen[1] * dab, chosen[2] * ridge))


def count(field: Field, found: np.ndarray) -> Counts:
    """Compare `found` (H, W) with the manual mask where the field is to be judged."""
    found, marked = found & field.keep, field.mask & field.keep
    near = np.ones((3, 3), np.uint8)
    around_found, around_marked = (cv2.dilate(image.astype(np.uint8), near) > 0 for image in (found, marked))
    pairs = (found & marked, found, marked, found & around_marked, marked & around_found, field.keep)
    return Counts(*(int(np.count_nonzero(image)) for image in pairs))


def pooled_f1(others: list[Counts]) -> float:
    """Return F1 (1 px) of the pooled pixels."""
    return total(others).tolerant()[2]


def mean_f1(others: list[Counts]) -> float:
    """Return the mean over fields of F1 (1 px), so that a field with little membrane weighs as much as another."""
    return float(np.mean([counts.tolerant()[2] for counts in others]))


class Held(NamedTuple):
    """A field judged with the thresholds that were best on the others."""

    name: str
    chosen: tuple[float, ...]
    counts: Counts


Detector = Callable[[Field, tuple[float, ...]], np.ndarray]


def tabulate(fields: list[Field], detector: Detector, candidates: list[tuple[float, ...]]) -> list[list[Counts]]:
    """Return the counts of every field (outer) at every candidate (inner)."""
    return [[count(field, detector(field, chosen)) for chosen in candidates] for field in fields]


def leave_one_out(
    names: list[str],
    candidates: list[tuple[float, ...]],
    table: list[list[Counts]],
    criterion: Callable[[list[Counts]], float],
) -> list[Held]:
    """Judge each field with the candidate that maximises `criterion` on the others."""
    held = []
    for left, name in enumerate(names):
        others = [row for index, row in enumerate(table) if index != left]
        best = int(np.argmax([criterion(list(column)) for column in zip(*others, strict=True)]))
        held.append(Held(name, candidates[best], table[left][best]))
    return held


def correlation(held: list[Held]) -> float:
    """Return Spearman's rank correlation of found and marked area over the fields."""
    areas = [(one.counts.found / one.counts.judged, one.counts.marked / one.counts.judged) for one in held]
    return float(spearmanr(*zip(*areas, strict=True)).statistic)


def summary(held: list[Held]) -> str:
    """Return pooled Dice and F1, their means over fields, and the rank correlation as table cells."""
    pooled = total(one.counts for one in held)
    means = np.mean([(one.counts.strict()[2], one.counts.tolerant()[2]) for one in held], axis=0)
    figures = (pooled.strict()[2], pooled.tolerant()[2], *means, correlation(held))
    return " | ".join(f"{value:.2f}" for value in figures)


def print_membranes(data: Path) -> None:
    """Print the pixel detection of strong membrane against the manual masks."""
    fields = load_fields(data)
    names = [field.name for field in fields]
    ways = {
        "absolute": (absolute, ABSOLUTE),
        "absolute, solid bodies left out": (without_solid, ABSOLUTE),
        "relative to the field": (relative, RELATIVE),
    }
    print("| detector | thresholds from | pooled Dice | pooled F1 | mean Dice | mean F1 | rank r |")
    shown: dict[str, list[Held]] = {}
    for way, (detector, candidates) in ways.items():
        table = tabulate(fields, detector, candidates)
        for criterion in (pooled_f1, mean_f1):
            held = leave_one_out(names, candidates, table, criterion)
            shown[f"{way} | {criterion.__name__}"] = held
            print(f"| {way} | {criterion.__name__} | {summary(held)} |")
        best = [
            Held(name, (), max(row, key=lambda counts: counts.tolerant()[2]))
            for name, row in zip(names, table, strict=True)
        ]
        print(f"| {way} | each field's own best (not held out) | {summary(best)} |")
    own = (load_assay("default").intense, load_assay("default").faint)
    fixed = [Held(field.name, own, count(field, absolute(field, own))) for field in fields]
    print(f"| absolute | the product's own {own} | {summary(fixed)} |")
    whole = load_fields(data, with_inserts=True)
    held = leave_one_out(names, ABSOLUTE, tabulate(whole, absolute, ABSOLUTE), pooled_f1)
    print(f"| absolute, inserts counted | pooled_f1 | {summary(held)} |")
    for title, held in shown.items():
        print_held(title, held)


def print_held(title: str, held: list[Held]) -> None:
    """Print one line per field."""
    print(
        f"\n{title}\n| field | thresholds | precision | recall | Dice | precision 1 px | recall 1 px | F1 1 px ", end=""
    )
    print("| found % | marked % |")
    for one in (*held, Held("pooled", (), total(row.counts for row in held))):
        chosen = ", ".join(f"{value:.2f}" for value in one.chosen)
        measures = " | ".join(f"{value:.2f}" for value in (*one.counts.strict(), *one.counts.tolerant()))
        area = " | ".join(f"{100 * side / one.counts.judged:.2f}" for side in (one.counts.found, one.counts.marked))
        print(f"| {one.name} | {chosen} | {measures} | {area} |")
