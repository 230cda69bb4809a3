"""CSV manifests: one slide a row, with what the file itself does not say."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import cast, get_args

from wsi_pipeline.errors import UsageError
from wsi_pipeline.flows.batch_inputs import Place, SlideInput, Stain, find_slides
from wsi_pipeline.scoring.rule import Specimen, Tumour
from wsi_pipeline.slide.zarr_images import is_zarr
from wsi_pipeline.storage import Address, RemotePath, is_url, local_path

COLUMNS = ("slide", "mpp", "stain", "roi", "assay", "case", "tumour", "specimen")

STAINS = ("auto", "ihc", "he")

LONGEST_BYTES = 64 << 20
"""Bytes of a manifest at a URL that are read: room for hundreds of thousands of slides."""

SEPARATORS = ",;\t"
"""What spreadsheets put between the columns of a CSV file, by language."""


def read_manifest(path: Place) -> list[SlideInput]:
    """Return the slides of a manifest; paths in it are relative to its folder, empty cells say nothing.

    The manifest, slides and drawn regions may be at URLs. Raises UsageError for what cannot be read, an unknown or
    missing column, and a value that makes no sense; StorageError.
    """
    try:
        content = path.read_bytes() if isinstance(path, Path) else path.head(LONGEST_BYTES)
        lines = content.decode("utf-8-sig").splitlines()
    except OSError as error:
        raise UsageError(str(path), f"cannot be read ({error.strerror or error})", "check the path") from error
    except UnicodeDecodeError as error:
        raise UsageError(str(path), "cannot be read as UTF-8 text", "save the manifest as CSV (UTF-8)") from error
    header = lines[0] if lines else ""
    separator = max(SEPARATORS, key=header.count)
    rows = _rows(path, lines, separator)
    names = [name.strip() for name in rows[0]] if rows else []
    _check_columns(path, names)
    found = []
    for number, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) > len(names):
            raise UsageError(
                str(path), f"line {number} has more cells than the header", "quote cells that hold a comma"
            )
        found.append(_slide(path, number, dict(zip(names, (cell.strip() for cell in row), strict=False))))
    if not found:
        raise UsageError(str(path), "names no slide", f"its columns are {', '.join(COLUMNS)}")
    return found


def _rows(path: Place, lines: list[str], separator: str) -> list[list[str]]:
    """Return the cells of a manifest by row. Raises UsageError for what is no CSV, or holds zero bytes."""
    reader = csv.reader(lines, delimiter=separator)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num}", f"is no CSV ({error})", "save the manifest anew") from error
    for number, row in enumerate(rows, start=1):
        if any("\0" in cell for cell in row):
            raise UsageError(f"{path}, line {number}", "holds a zero byte", "save the manifest as CSV (UTF-8)")
    return rows


def _check_columns(path: Place, names: list[str]) -> None:
    """Raise UsageError unless the header names known columns, each once, and the slide among them."""
    known = f"the columns are {', '.join(COLUMNS)}"
    for name in names:
        if name not in COLUMNS:
            raise UsageError(str(path), f"has an unknown column {name!r}", known)
        if names.count(name) > 1:
            raise UsageError(str(path), f"has the column {name!r} twice", known)
    if "slide" not in names:
        raise UsageError(str(path), "has no column 'slide'", known)


def _slide(path: Place, number: int, cells: dict[str, str]) -> SlideInput:
    """Return the slide of one line. Raises UsageError."""
    where = f"{path}, line {number}"
    if not cells["slide"]:
        raise UsageError(where, "names no slide", "fill in the column slide, or delete the line")
    stain = cells.get("stain", "").lower() or None
    if stain not in (*STAINS, None):
        raise UsageError(where, f"stain {stain!r} is not one of {', '.join(STAINS)}")
    slide = _named_in(path, cells["slide"])
    opened = _one_slide(where, slide)
    roi = _named_in(path, cells["roi"]) if cells.get("roi") else None
    return SlideInput(
        opened,
        slide,
        _mpp(where, cells.get("mpp", "")),
        cast("Stain | None", stain),
        roi,
        _assay(where, path, cells.get("assay") or None),
        cells.get("case", ""),
        *_tumour(where, cells.get("tumour", "").lower(), cells.get("specimen", "").lower()),
    )


def _tumour(where: str, tumour: str, specimen: str) -> tuple[Tumour | None, Specimen | None]:
    """Return the tumour in a row, and of a gastroesophageal one the specimen. Raises UsageError."""
    for name, value, known in (("tumour", tumour, get_args(Tumour)), ("specimen", specimen, get_args(Specimen))):
        if value and value not in known:
            raise UsageError(where, f"{name} {value!r} is not one of {', '.join(known)}")
    if specimen and tumour != "gastroesophageal":
        raise UsageError(where, f"specimen {specimen} only matters for tumour gastroesophageal", "fill in that column")
    return cast("Tumour | None", tumour or None), cast("Specimen | None", specimen or None)


def _named_in(manifest: Place, word: str) -> Place:
    """Return the place that a cell names: a URL, or a path relative to the manifest's folder."""
    if isinstance(manifest, RemotePath):
        return RemotePath.alone(manifest.address.parent.join(word))
    return RemotePath.alone(Address.of(word)) if is_url(word) else manifest.parent / local_path(word)


def _assay(where: str, manifest: Place, word: str | None) -> str | None:
    """Return the assay profile in a cell: a name, or a file relative to the manifest. Raises UsageError for a URL."""
    if not word or Path(word).suffix not in {".yaml", ".yml"}:
        return word
    if isinstance(manifest, RemotePath) or is_url(word):
        raise UsageError(
            where, f"the assay profile {word} would be at a URL", "use --assay, or a name in configs/assays"
        )
    return str(manifest.parent / word)


def _mpp(where: str, text: str) -> float | None:
    """Return the pixel size in a cell, um/px, a decimal comma allowed. Raises UsageError."""
    if not text:
        return None
    try:
        value = float(text.replace(",", "."))
    except ValueError as error:
        raise UsageError(where, f"mpp {text!r} is not a number", "give um per pixel, such as 0.25") from error
    if not (math.isfinite(value) and value > 0):
        raise UsageError(where, f"mpp {text!r} is not a pixel size", "give um per pixel, such as 0.25")
    return value


def _one_slide(where: str, slide: Place) -> Place:
    """Return the file that is opened for a slide: of a folder with a DICOM series, one of its files.

    What lies at a URL is looked up when its turn comes.
    """
    if isinstance(slide, RemotePath) or not slide.is_dir() or is_zarr(slide):
        return slide
    inside = list(find_slides(slide, slide / "nothing"))
    if len(inside) > 1:
        raise UsageError(where, f"{slide.name} is a folder with {len(inside)} slides", "name one slide a line")
    return inside[0].path if inside else slide
