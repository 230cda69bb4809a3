"""The real HER2 images with a label, by site: which file, which case, how large its pixels are, what to leave out."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import NamedTuple

from wsi_pipeline.models.manifest import HER2_CLASSES

FIELD_MPP, CORE_MPP, PHOTOGRAPH_MPP, BCI_MPP, WARWICK_MPP = 0.36, 0.25, 0.25, 0.46, 0.5
"""um/px. All but BCI's are estimates: fields were resampled, cores are taken as 1.2 mm wide, others state nothing."""

BLOCK_PX = 128
"""Side of the squares that somebody planted in six of the fields."""

WITHOUT_TUMOUR = {
    "00011_test_3+": "unstained fat", "00640_test_1+": "fat",
    "00118_test_0": "stroma with a few ducts", "00249_test_2+": "stroma with a few ducts",
}  # fmt: skip
"""BCI patches that show hardly any tumour, seen by eye; their label is that of the whole slide."""


class Labelled(NamedTuple):
    """One picture whose score somebody gave; pictures of one `case` count as one together."""

    site: str
    case: str
    path: Path
    mpp: float
    label: int
    """0 to 3."""
    doubt: str = ""
    """Why the label may not be that of the picture; such pictures are reported beside the figures."""
    blocks: tuple[tuple[int, int], ...] = ()
    """Upper-left corners (x, y), px, of squares that are no tissue."""
    status: int | None = None
    """HER2 status of the patient, 1 positive, where it is known."""
    tumour: str = "breast"
    """Whose rule is the right one."""


def labelled_images(data: Path) -> list[Labelled]:
    """Return every labelled picture below `data`, site by site."""
    return [*_fields(data), *_cores(data), *_photographs(data), *_bci(data), *_warwick(data)]


def write_region(image: Labelled, size: tuple[int, int], path: Path) -> Path | None:
    """Write GeoJSON that leaves the picture's blocks out and return its path; None where there are none."""
    if not image.blocks:
        return None
    squares = []
    for x, y in image.blocks:
        right, bottom = min(x + BLOCK_PX, size[0]), min(y + BLOCK_PX, size[1])
        squares.append([[[x, y], [right, y], [right, bottom], [x, bottom], [x, y]]])
    feature = {
        "type": "Feature",
        "geometry": {"type": "MultiPolygon", "coordinates": squares},
        "properties": {"objectType": "annotation", "classification": {"name": "Ignore*", "color": [180, 180, 180]}},
    }
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}), encoding="utf-8")
    return path


def _fields(data: Path) -> list[Labelled]:
    """Return the nine fields with their planted squares."""
    folder = data / "her2/fields"
    blocks = json.loads((folder / "blocks.json").read_text(encoding="utf-8"))
    return [
        Labelled(
            "fields", path.stem, path, FIELD_MPP, int(path.stem[0]),
            blocks=tuple((x, y) for x, y, _ in blocks.get(path.name, ())),
        )
        for path in sorted(folder.glob("*.png"))
    ]  # fmt: skip


def _cores(data: Path) -> list[Labelled]:
    """Return the whole cores, resected oesophageal adenocarcinoma, each of a case of its own."""
    folder = data / "her2/cores"
    return [
        Labelled(
            "cores", row["file"], folder / row["file"], CORE_MPP, int(row["ihc_score"]),
            doubt=row["remark"].partition(":")[0], status=int(row["her2_status"]), tumour="gastroesophageal",
        )
        for row in _rows(folder / "labels.csv")
    ]  # fmt: skip


def _photographs(data: Path) -> list[Labelled]:
    """Return the photographs; a file's name begins with its case."""
    folder = data / "her2/ezeher"
    return [
        Labelled(
            "photographs", row["file"].split("_")[0], folder / row["file"], PHOTOGRAPH_MPP, int(row["ihc_score"])
        )
        for row in _rows(folder / "labels.csv")
    ]  # fmt: skip


def _bci(data: Path) -> list[Labelled]:
    """Return the BCI patches; the label in the name is the whole slide's."""
    return [
        Labelled(
            "BCI", path.stem, path, BCI_MPP, HER2_CLASSES.index(path.stem.split("_")[2]),
            WITHOUT_TUMOUR.get(path.stem, ""),
        )
        for path in sorted((data / "her2/pairs_bci/IHC").glob("*.png"))
    ]  # fmt: skip


def _warwick(data: Path) -> list[Labelled]:
    """Return the Warwick patches."""
    return [
        Labelled("Warwick", path.stem.split("-")[0], path, WARWICK_MPP, int(path.stem.split("Score_")[1][0]))
        for path in sorted((data / "her2/warwick").glob("*.png"))
    ]


def _rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
