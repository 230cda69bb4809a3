"""The one place for the colours and names of HER2 cell classes, in pictures, maps and QuPath.

QuPath's own H-score counts cells and tiles alike whose class ends in exactly Negative, 1+, 2+ or 3+ below one parent
class ("Tumor"). Only the cells of a scored result are named so: a tile is no cell, and a result that is not evaluable
has no H-score, in QuPath's tables as little as in ours. ASCO/CAP's "2i" (incomplete, moderate to intense) weighs 2, so
its QuPath class is "Tumor: 2+" as well; its objects keep their own name and colour, which QuPath shows in place of the
class colour. Class names that end in * are left out of QuPath's counts.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from wsi_pipeline.errors import OutputError


class ClassStyle(NamedTuple):
    """How one class is shown: legend text, RGB, and QuPath's class with that class's own RGB."""

    legend: str
    rgb: tuple[int, int, int]
    qupath_class: str
    qupath_rgb: tuple[int, int, int]


_SEA_GREEN = (0, 180, 120)
"""Of 0: far from haematoxylin, glass and the other classes with all common colour-vision deficiencies (CIELAB 19 and
more at the overlay's transparency), since a cell without stain must be told from a nucleus that was not counted."""
_YELLOW = (255, 221, 113)
_ORANGE = (253, 141, 60)
_PURPLE = (188, 128, 189)
_RED = (189, 0, 38)
_GREY = (150, 150, 150)
_DARK_GREY = (90, 90, 90)

CLASS_STYLES: dict[str, ClassStyle] = {
    "0": ClassStyle("0 none", _SEA_GREEN, "Tumor: Negative", _SEA_GREEN),
    "1": ClassStyle("1+ faint, incomplete", _YELLOW, "Tumor: 1+", _YELLOW),
    "2i": ClassStyle("2+ incomplete", _PURPLE, "Tumor: 2+", _ORANGE),
    "2": ClassStyle("2+ complete, weak-moderate", _ORANGE, "Tumor: 2+", _ORANGE),
    "3": ClassStyle("3+ complete, intense", _RED, "Tumor: 3+", _RED),
    "free": ClassStyle("tumor-free tissue", _GREY, "Tumor-free", _GREY),
    "excluded": ClassStyle("excluded", _DARK_GREY, "Excluded*", _DARK_GREY),
}
"""Class key to style, in the order of the legend; a class map holds positions in this order."""

LATERAL_LEGENDS = {
    "1": "1+ faint or partial",
    "2": "2+ weak-moderate, complete or lateral",
    "3": "3+ strong, complete or lateral",
}
"""Legend text by class key where lateral and basolateral staining counts (gastroesophageal tumours)."""

CLASS_KEYS = tuple(CLASS_STYLES)
"""Keys in the order of `CLASS_STYLES`."""

ObjectKind = Literal["cell", "tile", "network tile"]
"""What an object in QuPath is: a cell, a tile of measured cells, or a tile that a network classified."""

_PARENTS: dict[ObjectKind, str] = {"cell": "Tumor", "tile": "Tile", "network tile": "Network tile"}
_MEASURED: dict[ObjectKind, str] = {"cell": "measured", "tile": "mostly", "network tile": "class"}
"""Words before the grade, so that no name ends in a grade alone where QuPath must not count."""

NO_CLASS = 255
"""Value of a class map's pixel where nothing was classified: glass, or outside the regions looked at."""


def class_style(key: str) -> ClassStyle:
    """Return the style of class `key` ("0", "1", "2i", "2", "3", "free", "excluded"). Raises OutputError."""
    try:
        return CLASS_STYLES[key]
    except KeyError as error:
        raise OutputError(f"class {key!r}", f"has no colour, only {', '.join(CLASS_KEYS)} have") from error


def legend_of(key: str, *, lateral: bool = False) -> str:
    """Return the legend text of class `key`; `lateral`: such staining counts like complete. Raises OutputError."""
    style = class_style(key)
    return LATERAL_LEGENDS.get(key, style.legend) if lateral else style.legend


def qupath_class(key: str, kind: ObjectKind = "cell", *, scored: bool = True) -> str:
    """Return the QuPath class of an object of class `key`; `scored`: the result it belongs to has a score.

    Raises OutputError.
    """
    style = class_style(key)
    if key in ("free", "excluded") or (kind == "cell" and scored):
        return style.qupath_class
    named = f"{_MEASURED[kind]} {style.legend.split()[0]}"
    return f"{_PARENTS[kind]}: {named}" if scored else f"Not scored: {named}"


def qupath_classes(*, scored: bool = True) -> list[tuple[str, tuple[int, int, int]]]:
    """Return each QuPath class that objects may have once, as (name, RGB), those of cells first."""
    styles = CLASS_STYLES.items()
    return list(
        {qupath_class(key, kind, scored=scored): style.qupath_rgb for kind in _PARENTS for key, style in styles}.items()
    )


def colour_classes(class_map: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return class_map: (..., ) uint8, positions in `CLASS_KEYS` or NO_CLASS, as (..., 3) uint8 RGB on white.

    Raises OutputError for a value that is no class.
    """
    table = np.full((256, 3), 255, np.uint8)
    table[: len(CLASS_KEYS)] = [style.rgb for style in CLASS_STYLES.values()]
    unknown = (class_map >= len(CLASS_KEYS)) & (class_map != NO_CLASS)
    if unknown.any():
        raise OutputError("class map", f"holds {int(class_map[unknown][0])}, which is no class")
    return table[class_map]
