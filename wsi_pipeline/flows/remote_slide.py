"""The files at a URL that make up one slide."""

from __future__ import annotations

from pathlib import PurePosixPath

from wsi_pipeline.errors import UnsupportedSlideError, UsageError
from wsi_pipeline.flows.batch_inputs import find_slides, group_series, is_dicom, is_zarr_folder, parts_of_slides
from wsi_pipeline.storage import RemoteFile, RemotePath, fingerprint, look


def slide_files(place: RemotePath) -> tuple[str, dict[str, RemoteFile]]:
    """Return what is to be opened, and all files that belong to it, by their paths relative to the folder above.

    Raises UsageError (not there), UnsupportedSlideError (a folder that is no slide), StorageError.
    """
    found = look(place.address)
    if found is None:
        return _folder(RemotePath.below(place.address))
    name = place.name
    if name in {"", ".", ".."}:
        raise UsageError(place.address.shown, "is no name for a file", "copy it to another key")
    alone = {name: found}
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".mrxs":
        data = PurePosixPath(name).stem
        below = RemotePath.below(place.address.parent.child(data)).files_below()
        return name, alone | {f"{data}/{inside}": file for inside, file in below.items()}
    if place.address.is_web or not (suffix in {".vms", ".vmu"} or _may_be_dicom(suffix)):
        return name, alone
    beside = RemotePath.below(place.address.parent)
    return name, alone | _belonging(beside, beside / name)


def remote_fingerprint(place: RemotePath) -> str:
    """Return what changes when the slide does, as far as sizes and tags tell; asks the store only where it must.

    Raises UsageError (not there), UnsupportedSlideError, StorageError.
    """
    if place.file is not None and not _may_be_more(place):
        return fingerprint([(place.name, place.file)])
    return fingerprint(slide_files(place)[1].items())


def _folder(folder: RemotePath) -> tuple[str, dict[str, RemoteFile]]:
    """Return the files of a slide that is a folder: an OME-Zarr image, or one DICOM series."""
    name = folder.name
    if is_zarr_folder(folder) or folder.suffix.lower() == ".zarr":
        return name, {f"{name}/{inside}": file for inside, file in folder.files_below().items()}
    slides = [slide.path for slide in find_slides(folder, folder / "nothing")]
    if len(slides) != 1 or not isinstance(slides[0], RemotePath):
        raise UnsupportedSlideError(folder.address.shown, "is a folder, not a slide", "name the slide file itself")
    return slide_files(slides[0])


def _belonging(folder: RemotePath, named: RemotePath) -> dict[str, RemoteFile]:
    """Return the files beside a slide that belong to it: the pictures of a .vms, the other files of a DICOM series."""
    if not is_dicom(named):
        parts = parts_of_slides([named])
    else:
        dicom = [entry for entry in folder.iterdir() if not entry.is_dir() and is_dicom(entry)]
        parts = next(set(group) for group in group_series(dicom) if named in group)
    return {part.name: part.file for part in parts if isinstance(part, RemotePath) and part.file is not None}


def _may_be_dicom(suffix: str) -> bool:
    """Tell whether a file with this ending may be DICOM: exports are called by their UIDs, 1.2.840.1 ends in ".1"."""
    return suffix in {".dcm", ""} or suffix[1:].isdecimal()


def _may_be_more(place: RemotePath) -> bool:
    """Tell whether a slide may be more than the one file that is named."""
    suffix = place.suffix.lower()
    return suffix in {".mrxs", ".vms", ".vmu"} or _may_be_dicom(suffix)
