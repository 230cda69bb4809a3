"""What a GeoJSON file of QuPath (0.2 to 0.7), or of anybody else, draws: annotations, and what is no drawing."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsi_pipeline.errors import RoiError

GZIP_MAGIC = b"\x1f\x8b"
WHERE_FROM = "in QuPath: File > Export objects as GeoJSON"
EXPORT_ANEW = f"export it anew, {WHERE_FROM}"

LARGEST = 2_000_000_000
"""Bytes of JSON that are read: a million cells as QuPath exports them. Packed files are not unpacked any further."""

IGNORED_CLASSES = frozenset({"ignore", "ignore*"})
"""QuPath's own name of what is to be left out, with and without its mark."""

ANNOTATION = "annotation"
KINDS = {
    "PathAnnotationObject": ANNOTATION, "PathDetectionObject": "detection", "PathCellObject": "cell",
    "PathTileObject": "tile", "TMACoreObject": "tma_core", "PathRootObject": "root",
}  # fmt: skip
"""Feature id of QuPath 0.2 -> `objectType` of the later ones."""


@dataclass(frozen=True)
class Feature:
    """One object of a file: its GeoJSON geometry ({} for none), what QuPath calls it, whether it is to be left out."""

    geometry: dict[str, Any]
    kind: str = ANNOTATION
    ignored: bool = False


def read_features(path: str | Path) -> list[Feature]:
    """Return the objects in a GeoJSON file, gzipped or not, in any of the encodings of JSON. Raises RoiError."""
    try:
        return list(_features(path, _load(path)))
    except RecursionError as error:
        raise RoiError(path, "is nested too deeply to be GeoJSON", EXPORT_ANEW) from error


def polygon_rings(path: str | Path, geometry: dict[str, Any]) -> Iterator[list[Any]]:
    """Yield the rings of each polygon in a GeoJSON `geometry`, none for an empty one; points and lines yield nothing.

    Raises RoiError when the geometry is not built as GeoJSON says.
    """
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind == "GeometryCollection":
        members = geometry.get("geometries")
        for member in members if isinstance(members, list) else ():
            if isinstance(member, dict):
                yield from polygon_rings(path, member)
    elif kind in ("Polygon", "MultiPolygon"):
        polygons = [coordinates] if kind == "Polygon" else coordinates
        if not isinstance(polygons, list) or not all(isinstance(rings, list) for rings in polygons):
            raise RoiError(path, f"has a {kind} without coordinates", EXPORT_ANEW)
        yield from polygons


def _load(path: str | Path) -> Any:
    """Return the JSON in `path`, gzipped or not."""
    if Path(path).exists() and not Path(path).is_file():
        raise RoiError(path, "is no file", "name a GeoJSON file; pipes can be read once only")
    try:
        raw = Path(path).read_bytes()
        if raw.startswith(GZIP_MAGIC):
            with gzip.GzipFile(fileobj=io.BytesIO(raw)) as packed:
                raw = packed.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise RoiError(path, f"holds more than {LARGEST:,} bytes of JSON", "export annotations only")
        if not raw.removeprefix(BOM_UTF8).strip():
            raise RoiError(path, "is empty", EXPORT_ANEW)
        return json.loads(raw)
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RoiError(path, f"is not JSON ({error})", EXPORT_ANEW) from error
    except OSError as error:
        raise RoiError(path, f"cannot be read ({error.strerror or error})", "check the path") from error


def _features(path: str | Path, document: Any) -> Iterator[Feature]:
    """Yield what a FeatureCollection, a list of features, a Feature or a bare geometry holds."""
    if isinstance(document, list):
        for member in document:
            yield from _features(path, member)
        return
    kind = document.get("type") if isinstance(document, dict) else None
    if kind == "FeatureCollection" and isinstance(document.get("features"), list):
        yield from _features(path, document["features"])
    elif kind == "Feature":
        geometry, properties = document.get("geometry"), document.get("properties")
        known = properties if isinstance(properties, dict) else {}
        ignored = any(part in IGNORED_CLASSES for part in _class_parts(known.get("classification")))
        yield Feature(geometry if isinstance(geometry, dict) else {}, _kind(document.get("id"), known), ignored)
    elif isinstance(kind, str) and ("coordinates" in document or "geometries" in document):
        yield Feature(document)
    else:
        raise RoiError(path, f"is JSON but not GeoJSON (type {kind!r})", EXPORT_ANEW)


def _kind(name: Any, properties: dict[str, Any]) -> str:
    """Return what QuPath calls the object of a feature; what other programs write is an annotation."""
    told = properties.get("objectType", properties.get("object_type"))
    if told is None:
        return KINDS.get(name, ANNOTATION) if isinstance(name, str) else ANNOTATION
    return str(told).strip().lower()


def _class_parts(classification: Any) -> Iterator[str]:
    """Yield each part of a classification, in small letters: "Tumor: 2+" has two, and so may each of its `names`."""
    if isinstance(classification, str):
        yield from (part.strip().lower() for part in classification.split(":"))
    elif isinstance(classification, list):
        for name in classification:
            yield from _class_parts(name)
    elif isinstance(classification, dict):
        yield from _class_parts([classification.get("name"), classification.get("names")])
