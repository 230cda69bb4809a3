"""Drawn regions: GeoJSON as QuPath exports it, in level-0 pixels.

Only annotations are drawn by people; cells, detections and tiles are left out. An annotation of which any part of the
class is "Ignore*" (QuPath's own name) is cut out; every other polygon is the drawn tumour. Where only "Ignore*" is
drawn, everything else is scored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wsi_pipeline.errors import RoiError
from wsi_pipeline.geometry import Box, Size
from wsi_pipeline.tissue.drawings import ANNOTATION, EXPORT_ANEW, WHERE_FROM, Feature, polygon_rings, read_features

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry


@dataclass(frozen=True, eq=False)
class Roi:
    """The region to score, as an area of the slide in level-0 pixels."""

    geometry_l0: BaseGeometry
    """Drawn polygons (or the whole slide) less the ignored ones, cut to the slide."""
    edges_l0: npt.NDArray[np.float64]
    """Its edges (E, 4): x0, y0, x1, y1 with y0 < y1."""
    drawn: int
    """Number of polygons drawn as tumour; 0 when only ignored ones were."""
    ignored: int
    """Number of polygons classified Ignore*."""
    skipped: int
    """Number of annotations that are points, lines or empty, and so have no area."""
    repaired: int
    """Number of polygons that crossed themselves."""
    flat: int
    """Number of polygons without area: fewer than three different points, or all on one line."""
    left_out: Mapping[str, int]
    """Kind of object, such as "cell" -> number of those that are no annotations."""

    @property
    def area_l0(self) -> float:
        """Area in level-0 px2."""
        return float(self.geometry_l0.area)

    def summary(self) -> dict[str, Any]:
        """Return the counts and the area for the result record."""
        names = ("drawn", "ignored", "skipped", "repaired", "flat")
        counts = {name: getattr(self, name) for name in names}
        return {**counts, "left_out": dict(self.left_out), "area_px2_l0": self.area_l0}

    def warnings(self) -> list[str]:
        """Return what of the file did not count, in sentences."""
        found = []
        if self.left_out:
            found.append(f"{_counted(self.left_out)} in the drawn region's file were left out: only annotations count")
        if self.skipped:
            found.append(f"{self.skipped} points, lines or empty features of the drawn region were left out")
        if self.flat:
            found.append(f"polygons of the drawn region without any area, left out: {self.flat}")
        if self.repaired:
            found.append(f"{self.repaired} drawn polygons crossed themselves and were repaired")
        return found

    def contains(self, x_l0: npt.NDArray[np.float64], y_l0: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Return which of the points (N,) lie inside, (N,) bool."""
        inside: npt.NDArray[np.bool_] = _shapes().contains(self.geometry_l0, x_l0, y_l0)
        return inside

    def rasterize(self, box_l0: Box, downsample: float) -> npt.NDArray[np.bool_]:
        """Return which pixels of `box_l0` at `downsample` have their centre inside, (h, w) bool.

        h and w are the box's sides divided by `downsample`, rounded up. Only the place of the centre decides, so a
        mask made in parts equals the mask made at once.
        """
        size = Size(int(np.ceil(box_l0.width / downsample)), int(np.ceil(box_l0.height / downsample)))
        return self.rasterize_px((box_l0.x, box_l0.y), (downsample, downsample), size)

    def rasterize_px(
        self, origin_l0: tuple[float, float], step_l0: tuple[float, float], size: Size
    ) -> npt.NDArray[np.bool_]:
        """Return which px of a picture have their centre inside, (h, w) bool of `size`.

        `origin_l0`: its upper-left corner; `step_l0`: level-0 px per px of it; both along x and y.
        """
        width, height = size
        row, x_cross = _crossings(self.edges_l0, origin_l0[1], step_l0[1], height)
        column = np.clip(np.ceil((x_cross - origin_l0[0]) / step_l0[0] - 0.5), 0, width).astype(np.int64)
        flips = np.zeros((height, width + 1), dtype=np.uint8)
        np.bitwise_xor.at(flips, (row, column), 1)
        filled = np.bitwise_xor.accumulate(flips, axis=1)
        return np.asarray(filled[:, :width], dtype=bool)


def read_roi(path: str | Path, size_l0: Size) -> Roi:
    """Return the region drawn in the GeoJSON file `path` (.geojson, .json, .gz) for a slide of `size_l0`.

    Raises RoiError when the file is not GeoJSON, draws no area, or lies wholly outside the slide.
    """
    features = read_features(path)
    annotations = [feature for feature in features if feature.kind == ANNOTATION]
    left_out = Counter(feature.kind for feature in features if feature.kind != ANNOTATION)
    areas: dict[bool, list[BaseGeometry]] = {False: [], True: []}
    skipped = repaired = flat = 0
    for feature in annotations:
        found = _areas(path, feature)
        skipped += not found
        flat += sum(area is None for area, _ in found)
        repaired += sum(was_repaired for area, was_repaired in found if area is not None)
        areas[feature.ignored].extend(area for area, _ in found if area is not None)
    drawn, ignored = areas[False], areas[True]
    if not drawn and not ignored:
        raise _nothing_drawn(path, flat, left_out)
    region = _region(path, drawn, ignored, size_l0)
    edges = _shapes().edges_of(region)
    return Roi(region, edges, len(drawn), len(ignored), skipped, repaired, flat, dict(sorted(left_out.items())))


def _nothing_drawn(path: str | Path, flat: int, left_out: Mapping[str, int]) -> RoiError:
    """Return the error of a file that draws no area at all."""
    remedy = f"draw the tumour as a closed area and export it, {WHERE_FROM}"
    if flat:
        problem = "has no area: its polygons have fewer than three different points, or all of them on one line"
        return RoiError(path, problem, remedy)
    if left_out:
        return RoiError(path, f"has no drawn area, only {_counted(left_out)}", remedy.replace("area", "annotation"))
    return RoiError(path, "has no polygon", remedy)


def _counted(left_out: Mapping[str, int]) -> str:
    """Return "3 cells, 1 tile"."""
    words = ((number, kind.replace("_", " ")) for kind, number in sorted(left_out.items()))
    return ", ".join(f"{number} {kind}{'s' if number > 1 else ''}" for number, kind in words)


def _shapes() -> ModuleType:
    """Return the module that needs shapely, imported at first use."""
    from wsi_pipeline.tissue import shapes as module  # noqa: PLC0415 - shapely is heavy

    return module


def _region(path: str | Path, drawn: list[BaseGeometry], ignored: list[BaseGeometry], size_l0: Size) -> BaseGeometry:
    """Return what is drawn (or the slide of `size_l0`) less what is ignored; RoiError where nothing is left."""
    left_out = _shapes().union(ignored)
    region = _shapes().cut_to_slide(_shapes().union(drawn) if drawn else None, size_l0)
    if region.area == 0 or (not drawn and _shapes().cut_to_slide(left_out, size_l0).area == 0):
        raise RoiError(
            path,
            f"lies wholly outside the slide, which is {size_l0.width} x {size_l0.height} px",
            "give the regions that belong to this slide, in pixels of its full resolution",
        )
    region = region.difference(left_out)
    if region.area == 0:
        raise RoiError(path, "leaves nothing to score: the Ignore* regions cover all of it", "redraw them")
    return region


def _areas(path: str | Path, feature: Feature) -> list[tuple[BaseGeometry | None, bool]]:
    """Return the area of each polygon of a feature, None for one that has none, and whether it had to be repaired."""
    found = []
    for rings in polygon_rings(path, feature.geometry):
        try:
            polygon = _shapes().polygon_of(rings)
        except ValueError as error:
            raise RoiError(path, f"has a polygon with broken coordinates ({error})", EXPORT_ANEW) from error
        area = None if polygon is None else _shapes().area_of(polygon)
        found.append((area, area is not None and not polygon.is_valid))
    return found


def _crossings(
    edges: npt.NDArray[np.float64], top_l0: float, downsample: float, height: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return (row, x_l0) wherever an edge crosses the middle of one of `height` pixel rows that start at `top_l0`."""
    bounds = np.ceil((edges[:, [1, 3]] - top_l0) / downsample - 0.5)
    first, last = np.clip(bounds, 0, height).astype(np.int64).T
    counts = last - first
    edge = np.repeat(np.arange(len(edges)), counts)
    row = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    x0, y0, x1, y1 = edges[edge].T
    return row, x0 + (top_l0 + (row + 0.5) * downsample - y0) * (x1 - x0) / (y1 - y0)
