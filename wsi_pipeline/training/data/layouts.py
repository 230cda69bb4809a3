"""Data sets as they lie on disk: BCI, MIST, class folders, or an index.

What decides a honest split is which patches share a slide. MIST's file names say so; BCI's do not (its numbers count
images, and the slides they were cut from are not published), so each BCI pair stands alone here and a part cut from
BCI's training images is not independent of the rest. BCI's own test images stay the test.
"""

from __future__ import annotations

import re
from pathlib import Path

from wsi_pipeline.errors import UsageError
from wsi_pipeline.training.data.index import read_index
from wsi_pipeline.training.data.labels import LABELS, SPLITS, parse_label
from wsi_pipeline.training.data.records import Patch, Split

IMAGES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}
INDICES = ("index.csv", "index.parquet")

BCI_NAME = re.compile(r"(?P<number>\d+)_(?P<part>train|val|test)_(?P<label>[^_]+)")
"""00000_train_1+: number within the part, part, and the class of the whole slide."""

GRID_NAME = re.compile(r"(?P<slide>.+)_\d+_\d+")
"""28M2101987_31_31: MIST's slide, then the place on its grid."""


def read_dataset(root: Path) -> list[Patch]:
    """Return the patches of `root`, a folder of a known layout or an index file, sorted by path.

    Raises UsageError, naming the file, where a pair lacks its partner, a label is unknown, or the layout is none.
    """
    if root.is_file():
        return read_index(root)
    if not root.is_dir():
        raise UsageError(root, "there is no such data set", "give a folder or an index (.csv, .parquet)")
    index = next((root / name for name in INDICES if (root / name).is_file()), None)
    if index is not None:
        return read_index(index)
    patches = _read_folder(root / "TrainValAB" if (root / "TrainValAB").is_dir() else root)
    if not patches:
        raise UsageError(root, "it holds no image", f"images end with {', '.join(sorted(IMAGES))}")
    return sorted(patches, key=lambda patch: patch.path)


def _read_folder(root: Path) -> list[Patch]:
    """Recognise the layout by the names of the folders."""
    names = {entry.name for entry in root.iterdir() if entry.is_dir()}
    if names & {"HE", "IHC"}:
        return _bci(root)
    if names & {"trainA", "trainB", "valA", "valB"}:
        return _mist(root)
    inner = {entry.name for name in names & SPLITS.keys() for entry in (root / name).iterdir() if entry.is_dir()}
    if (names | inner) & LABELS.keys():
        return [_of_class(file, root) for file in _images(root, deep=True)]
    raise UsageError(
        root,
        "is no data set of a known layout",
        "known are HE and IHC (BCI), trainA, trainB, valA, valB (MIST), a folder per class (0, 1+, 2+, 3+ or "
        "0, 1, 2, 3), or index.csv with path and slide",
    )


def _bci(root: Path) -> list[Patch]:
    """Read `{HE,IHC}` with or without `{train,val,test}` below."""
    parts = {entry.name for stain in ("HE", "IHC") for entry in _folders(root / stain) if entry.name in SPLITS}
    patches = []
    for part in sorted(parts) or [""]:
        for ihc, he in _pairs(root / "IHC" / part, root / "HE" / part):
            name = BCI_NAME.fullmatch(ihc.stem)
            split = SPLITS[part] if part else SPLITS[name["part"]] if name else None
            patches.append(_of_pair(ihc, he, split))
    return patches


def _mist(root: Path) -> list[Patch]:
    """Read `{train,val}{A,B}`: A is H&E, B is IHC."""
    patches = []
    for part in ("train", "val"):
        if (root / f"{part}A").is_dir() or (root / f"{part}B").is_dir():
            pairs = _pairs(root / f"{part}B", root / f"{part}A")
            patches += [_of_pair(ihc, he, SPLITS[part]) for ihc, he in pairs]
    return patches


def _of_pair(ihc: Path, he: Path, split: Split | None) -> Patch:
    """Return the patch of a pair; label and slide are what its name tells."""
    name = BCI_NAME.fullmatch(ihc.stem)
    if name is None and GRID_NAME.fullmatch(ihc.stem) is None:
        raise UsageError(
            ihc,
            "its name tells neither label nor slide",
            "names are like 00000_train_1+ (BCI) or 28M2101987_31_31 (MIST); list others in an index.csv",
        )
    slide = slide_of(ihc.stem)
    label = parse_label(name["label"], ihc) if name else None
    return Patch(path=ihc, label=label, slide=slide, patient=slide, he=he, split=split)


def _of_class(file: Path, root: Path) -> Patch:
    """Return the patch of an image in `CLASS/[SPLIT/][SLIDE/]` or `SPLIT/CLASS/[SLIDE/]`."""
    folders = list(file.relative_to(root).parts[:-1])
    part = next((name for name in folders[:2] if name in SPLITS), None)
    if part is not None:
        folders.remove(part)
    label = parse_label(folders[0] if folders else "", file)
    slide = folders[1] if len(folders) > 1 else slide_of(file.stem)
    return Patch(path=file, label=label, slide=slide, patient=slide, split=SPLITS[part] if part else None)


def slide_of(stem: str) -> str:
    """Return the slide that a file name without its ending tells of, or the name itself where it tells of none."""
    bci = BCI_NAME.fullmatch(stem)
    if bci:
        return f"bci_{bci['part']}_{bci['number']}"
    grid = GRID_NAME.fullmatch(stem)
    return grid["slide"] if grid else stem


def _pairs(ihc: Path, he: Path) -> list[tuple[Path, Path]]:
    """Return the images of two folders that bear one name. Raises UsageError naming the first that is alone."""
    left = {file.stem: file for file in _images(ihc)}
    right = {file.stem: file for file in _images(he)}
    alone = sorted(left.keys() ^ right.keys())
    if alone:
        stem = alone[0]
        file, other, stain = (left[stem], he, "H&E") if stem in left else (right[stem], ihc, "IHC")
        more = f", nor have {len(alone) - 1} others theirs" if len(alone) > 1 else ""
        raise UsageError(file, f"its pair is missing: no {stain} image {stem!r} in {other}{more}", "remove or add it")
    return [(left[stem], right[stem]) for stem in sorted(left)]


def _folders(folder: Path) -> list[Path]:
    """Return the folders in `folder`; none where it does not exist."""
    return [entry for entry in folder.iterdir() if entry.is_dir()] if folder.is_dir() else []


def _images(folder: Path, deep: bool = False) -> list[Path]:
    """Return the images in `folder`, sorted; hidden files and folders are passed over."""
    if not folder.is_dir():
        return []
    found = folder.rglob("*") if deep else folder.iterdir()
    return sorted(
        file
        for file in found
        if file.suffix.lower() in IMAGES
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and file.is_file()
    )
