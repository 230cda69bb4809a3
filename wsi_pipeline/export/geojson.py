"""Tiles and cells as QuPath's GeoJSON, streamed and gzipped; one bad feature would make QuPath reject a whole file."""

from __future__ import annotations

import gzip
import json
import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt
import shapely

from wsi_pipeline.errors import OutputError
from wsi_pipeline.export.atomic import write_atomic
from wsi_pipeline.export.palette import ObjectKind, class_style, qupath_class
from wsi_pipeline.geometry import ceil_div

TILES_A_FILE = 50_000
"""QuPath needs 2 GB for 200,000 objects; this many a file opens on an ordinary laptop."""

CELLS_A_FILE = 50_000
"""Cells a file; the same limit as for tiles."""

DECIMALS = 2
"""Coordinates are rounded to 0.01 px."""

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "wsi-her2")
"""Root of the objects' UUIDs, so that the same slide and place always give the same id."""

_BATCH = 4096
"""Objects turned into text at a time."""


@dataclass(frozen=True)
class ObjectColumns:
    """N objects as columns.

    classes: N keys of `palette.CLASS_STYLES`; measurements: name to (N,) numbers, NaN and infinity where unmeasured;
    scored: whether their result has a score, else QuPath must make no H-score of them;
    exactly one of boxes_l0: (N, 4) int, x, y, width, height, level-0 px; polygons_l0: (N, K, 2) float, x, y, level-0
    px, open rings of K >= 3 points.
    """

    classes: Sequence[str]
    measurements: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    boxes_l0: npt.NDArray[np.integer[Any]] | None = None
    polygons_l0: npt.NDArray[np.floating[Any]] | None = None
    scored: bool = True

    def rings(self, start: int, stop: int) -> list[list[list[float]]]:
        """Return the closed rings of objects start to stop - 1, rounded and valid. Raises OutputError."""
        if self.boxes_l0 is not None:
            return _box_rings(self.boxes_l0[start:stop])
        if self.polygons_l0 is not None:
            return _polygon_rings(self.polygons_l0[start:stop])
        raise OutputError("GeoJSON", "objects have neither boxes nor polygons")

    def check(self) -> None:
        """Raise OutputError when the columns differ in length, or do not say where the objects are."""
        places = [column for column in (self.boxes_l0, self.polygons_l0) if column is not None]
        if len(places) != 1:
            raise OutputError("GeoJSON", "objects need either boxes or polygons")
        expected = (len(places[0]), 4) if self.polygons_l0 is None else (len(places[0]), max(places[0].shape[1], 3), 2)
        if places[0].shape != expected:
            raise OutputError(
                "GeoJSON", f"objects have shape {places[0].shape} instead of (N, 4) boxes or (N, K >= 3, 2)"
            )
        lengths = {"place": len(places[0])} | {name: len(column) for name, column in self.measurements.items()}
        wrong = {name: length for name, length in lengths.items() if length != len(self.classes)}
        if wrong:
            raise OutputError("GeoJSON", f"{len(self.classes)} objects, but columns of other lengths: {wrong}")


def write_tiles_geojson(
    path: Path,
    tiles: ObjectColumns,
    slide_sha256: str,
    limit: int = TILES_A_FILE,
    kind: Literal["tile", "network tile"] = "tile",
) -> list[Path]:
    """Write tiles as QuPath "tile" objects to `path` (`*.geojson.gz`), and return the files.

    More than `limit` tiles go to `*-001.geojson.gz`, `*-002.geojson.gz` and so on instead. Raises OutputError,
    ResourceError.
    """
    return _write(path, tiles, (kind, slide_sha256), limit)


def write_cells_geojson(path: Path, cells: ObjectColumns, slide_sha256: str, limit: int = CELLS_A_FILE) -> list[Path]:
    """Write cells as QuPath "detection" objects to `path`, split like tiles, and return the files.

    A polygon that crosses itself after rounding is replaced by its convex hull, and one without area by a square of
    1 px. Raises OutputError, ResourceError.
    """
    return _write(path, cells, ("cell", slide_sha256), limit)


def _write(path: Path, objects: ObjectColumns, kind_and_slide: tuple[ObjectKind, str], limit: int) -> list[Path]:
    """Write `objects` in files of at most `limit`, and return them."""
    objects.check()
    if not path.name.endswith(".geojson.gz"):
        raise OutputError(path, "must end in .geojson.gz")
    total = len(objects.classes)
    parts = max(ceil_div(total, limit), 1)
    stem = path.name.removesuffix(".geojson.gz")
    paths = [path] if parts == 1 else [path.with_name(f"{stem}-{part + 1:03d}.geojson.gz") for part in range(parts)]
    for part, part_path in enumerate(paths):
        bounds = (part * limit, min((part + 1) * limit, total))
        write_atomic(part_path, _FileWriter(objects, kind_and_slide, bounds))
    return paths


@dataclass(frozen=True)
class _FileWriter:
    """Callback that streams one file's features, gzipped, without a time stamp so that equal runs give equal bytes."""

    objects: ObjectColumns
    kind_and_slide: tuple[ObjectKind, str]
    bounds: tuple[int, int]

    def __call__(self, file: BinaryIO) -> None:
        """Write the feature collection to the open `file`."""
        with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0) as packed:
            packed.write(b'{"type": "FeatureCollection", "features": [')
            separator = "\n"
            for start in range(*self.bounds, _BATCH):
                stop = min(start + _BATCH, self.bounds[1])
                text = ",\n".join(_features(self.objects, self.kind_and_slide, start, stop))
                packed.write((separator + text).encode())
                separator = ",\n"
            packed.write(b"\n]}\n")


def _features(objects: ObjectColumns, kind_and_slide: tuple[ObjectKind, str], start: int, stop: int) -> Iterator[str]:
    """Yield the features of objects start to stop - 1 as JSON."""
    kind, slide_sha256 = kind_and_slide
    columns = {name: _numbers(column[start:stop]) for name, column in objects.measurements.items()}
    for offset, ring in enumerate(objects.rings(start, stop)):
        style = class_style(objects.classes[start + offset])
        properties: dict[str, Any] = {
            "objectType": "detection" if kind == "cell" else "tile",
            "classification": {
                "name": qupath_class(objects.classes[start + offset], kind, scored=objects.scored),
                "color": list(style.qupath_rgb),
            },
        }
        if style.rgb != style.qupath_rgb:
            properties |= {"name": style.legend, "color": list(style.rgb)}
        measured = {name: column[offset] for name, column in columns.items() if math.isfinite(column[offset])}
        if measured:
            properties["measurements"] = measured
        number = "" if objects.polygons_l0 is None else start + offset  # two cells may share a place, tiles never do
        place = f"{slide_sha256}:{kind}:{number}:{ring[0]}:{ring[2]}"  # the two grids of tiles may share boxes
        feature = {
            "type": "Feature",
            "id": str(uuid.uuid5(NAMESPACE, place)),
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": properties,
        }
        yield json.dumps(feature, ensure_ascii=False, allow_nan=False)


def _numbers(column: npt.NDArray[Any]) -> list[float]:
    """Return `column` as Python numbers with at most 7 significant digits, which is all that float32 holds."""
    if column.dtype.kind == "f":
        return [float(f"{value:.7g}") for value in column.tolist()]
    return [int(value) for value in column.tolist()]


def _box_rings(boxes_l0: npt.NDArray[np.integer[Any]]) -> list[list[list[float]]]:
    """Return boxes_l0: (N, 4), x, y, width, height, as closed rings of 5 points."""
    if len(boxes_l0) and boxes_l0[:, 2:].min() < 1:
        raise OutputError("GeoJSON", f"a tile has no area: {boxes_l0[boxes_l0[:, 2:].min(axis=1) < 1][0].tolist()}")
    x, y, width, height = boxes_l0.reshape(-1, 4).T
    right, bottom = x + width, y + height
    corners = [(x, y), (right, y), (right, bottom), (x, bottom), (x, y)]
    rings: list[list[list[float]]] = np.stack([np.stack(corner, -1) for corner in corners], 1).tolist()
    return rings


def _polygon_rings(polygons_l0: npt.NDArray[np.floating[Any]]) -> list[list[list[float]]]:
    """Return polygons_l0: (N, K, 2) as closed rings, valid after rounding."""
    if not np.isfinite(polygons_l0).all():
        raise OutputError("GeoJSON", "a cell has a coordinate that is not a number")
    rounded = np.round(polygons_l0.astype(np.float64), DECIMALS)
    closed = np.concatenate([rounded, rounded[:, :1]], axis=1)
    rings: list[list[list[float]]] = closed.tolist()
    for index in np.flatnonzero(~shapely.is_valid(shapely.polygons(closed))):
        hull = shapely.convex_hull(shapely.multipoints(rounded[index]))
        if hull.geom_type != "Polygon":
            x, y = rounded[index].mean(axis=0)
            hull = shapely.box(x - 0.5, y - 0.5, x + 0.5, y + 0.5)
        rings[index] = np.round(shapely.get_coordinates(hull), DECIMALS).tolist()
    return rings
