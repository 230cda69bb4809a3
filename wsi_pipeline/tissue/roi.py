"""Drawn regions: GeoJSON as QuPath exports it, in level-0 pixels.

A feature classified "Ignore*" (QuPath's own name) is left out; every other polygon is the drawn tumour. Where only
"Ignore*" is drawn, everything else is scored.
"""

from __future__ import annotations

import gzip
import json
import logging
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wsi_pipeline.errors import RoiError
from wsi_pipeline.geometry import Box, Size

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

IGNORED_CLASSES = frozenset({"ignore", "ignore*"})
GZIP_MAGIC = b"\x1f\x8b"
WHERE_FROM = "in QuPath: File > Export objects as GeoJSON"
_LOG = logging.getLogger(__name__)


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
    """Number of points, lines and empty features, which have no area."""
    repaired: int
    """Number of polygons that crossed themselves."""

    @property
    def area_l0(self) -> float:
        """Area in level-0 px2."""
        return float(self.geometry_l0.area)

    def summary(self) -> dict[str, float]:
        """Return the counts and the area for the result record."""
        counts = {"drawn": self.drawn, "ignored": self.ignored, "skipped": self.skipped, "repaired": self.repaired}
        return {**counts, "area_px2_l0": self.area_l0}

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

    Raises RoiError when the file is not GeoJSON, has no polygon, or lies wholly outside the slide.
    """
    drawn: list[BaseGeometry] = []
    ignored: list[BaseGeometry] = []
    skipped = repaired = 0
    for geometry, class_name in _features(path, _load(path)):
        areas = [_area(path, rings) for rings in _polygon_rings(path, geometry)]
        skipped += not areas
        repaired += sum(was_repaired for _, was_repaired in areas)
        if areas:
            (ignored if class_name.strip().lower() in IGNORED_CLASSES else drawn).extend([area for area, _ in areas])
    if skipped:
        _LOG.warning("%s: %d points, lines or empty features were left out, because they have no area", path, skipped)
    region = _region(path, drawn, ignored, size_l0)
    return Roi(region, _shapes().edges_of(region), len(drawn), len(ignored), skipped, repaired)


def _shapes() -> ModuleType:
    """Return the module that needs shapely, imported at first use."""
    from wsi_pipeline.tissue import shapes as module  # noqa: PLC0415 - shapely is heavy

    return module


def _region(path: str | Path, drawn: list[BaseGeometry], ignored: list[BaseGeometry], size_l0: Size) -> BaseGeometry:
    """Return what is drawn (or the slide of `size_l0`) less what is ignored; RoiError where nothing is left."""
    if not drawn and not ignored:
        raise RoiError(path, "has no polygon", f"draw the tumour as a closed area and export it, {WHERE_FROM}")
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


def _load(path: str | Path) -> Any:
    """Return the JSON in `path`, gzipped or not."""
    try:
        raw = Path(path).read_bytes()
        return json.loads(gzip.decompress(raw) if raw.startswith(GZIP_MAGIC) else raw)
    except OSError as error:
        raise RoiError(path, f"cannot be read ({error.strerror or error})", "check the path") from error
    except (ValueError, EOFError, zlib.error, RecursionError) as error:
        raise RoiError(path, f"is not JSON ({error})", f"export it anew, {WHERE_FROM}") from error


def _features(path: str | Path, document: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield (geometry, class name) of a FeatureCollection, a list of features, a Feature or a bare geometry."""
    if isinstance(document, list):
        for member in document:
            yield from _features(path, member)
        return
    kind = document.get("type") if isinstance(document, dict) else None
    if kind == "FeatureCollection" and isinstance(document.get("features"), list):
        yield from _features(path, document["features"])
    elif kind == "Feature":
        if isinstance(document.get("geometry"), dict):
            yield document["geometry"], _class_name(document.get("properties"))
    elif isinstance(kind, str) and ("coordinates" in document or "geometries" in document):
        yield document, ""
    else:
        raise RoiError(path, f"is JSON but not GeoJSON (type {kind!r})", f"export it anew, {WHERE_FROM}")


def _class_name(properties: Any) -> str:
    """Return the name of QuPath's classification in a feature's `properties`, "" where there is none."""
    classification = properties.get("classification") if isinstance(properties, dict) else None
    if not isinstance(classification, dict):
        return classification if isinstance(classification, str) else ""
    names = classification.get("names")
    name = classification.get("name") or (names[0] if isinstance(names, list) and names else "")
    return name if isinstance(name, str) else ""


def _polygon_rings(path: str | Path, geometry: dict[str, Any]) -> Iterator[list[Any]]:
    """Yield the rings of each polygon in a GeoJSON `geometry`; points and lines yield none."""
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind == "GeometryCollection":
        for member in geometry.get("geometries") or []:
            yield from _polygon_rings(path, member)
    elif kind in {"Polygon", "MultiPolygon"}:
        polygons = [coordinates] if kind == "Polygon" else coordinates
        if not isinstance(polygons, list) or not all(isinstance(rings, list) and rings for rings in polygons):
            raise RoiError(path, f"has a {kind} without coordinates", f"export it anew, {WHERE_FROM}")
        yield from polygons


def _area(path: str | Path, rings: list[list[Any]]) -> tuple[BaseGeometry, bool]:
    """Return the area of one polygon's GeoJSON `rings`, and whether it had to be repaired."""
    try:
        polygon = _shapes().polygon_of(rings)
    except ValueError as error:
        raise RoiError(
            path, f"has a polygon with broken coordinates ({error})", f"export it anew, {WHERE_FROM}"
        ) from error
    return _shapes().area_of(polygon), not polygon.is_valid


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
