"""From a path to an open slide: which reader fits, and which error says why none does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from openslide import OpenSlide, OpenSlideError

from wsi_pipeline.errors import CorruptSlideError, UnsupportedSlideError, UsageError
from wsi_pipeline.slide.agreement import settle
from wsi_pipeline.slide.border import BROKEN_REMEDY, library_errors
from wsi_pipeline.slide.deadline import OPEN_SECONDS, within
from wsi_pipeline.slide.fast_reader import FastTiffReader
from wsi_pipeline.slide.first_look import first_look
from wsi_pipeline.slide.image_reader import JPEG_MAGIC, PNG_MAGIC, ImageReader
from wsi_pipeline.slide.model import FileFacts, Level, Reader, SlideInfo
from wsi_pipeline.slide.mpp import MppDecision, resolve_mpp
from wsi_pipeline.slide.openslide_reader import OpenSlideReader
from wsi_pipeline.slide.placing import with_levels
from wsi_pipeline.slide.slide import Slide
from wsi_pipeline.slide.tiff_header import open_tiff
from wsi_pipeline.slide.tiff_structure import SIDE_MAX, check_structure
from wsi_pipeline.slide.tiffslide_reader import TiffSlideReader
from wsi_pipeline.slide.zarr_images import is_zarr
from wsi_pipeline.slide.zarr_reader import ZarrReader

READERS = ("auto", "fast", "openslide", "tiffslide", "image", "zarr")

TIFF_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""Classic TIFF and BigTIFF, either byte order."""

FOREIGN_MAGICS = {
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"RIFF": "WebP",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"%PDF": "PDF",
    b"PK\x03\x04": "ZIP",
    b"\x89HDF": "HDF5",
}
"""Sound formats that no reader here takes."""

HEAD_BYTES = 16

OpenReader = Callable[[], Reader]


@dataclass(frozen=True)
class SlideSpec:
    """What another process needs to open the same slide alike; small and picklable. The frame is always the bounds."""

    path: Path
    reader: str = "auto"
    mpp: float | None = None
    """Override of the pixel size, um/px."""
    assume_mpp: float | None = None
    """Pixel size where the file states none, um/px."""
    require_mpp: bool = True
    threads: int = 1
    """How many threads decode the tiles of one read, for the fast reader."""
    open_seconds: float = OPEN_SECONDS
    """How long opening may take, s."""
    levels: tuple[Level, ...] = ()
    """The levels as the process placed them that opened the slide first; empty: they are placed anew."""
    openslide: bool | None = None
    """Whether OpenSlide shows the slide alike, as an earlier opening found; None where that is to be found out."""

    def open(self) -> Slide:
        """Open the slide; raises what open_slide raises."""
        if self.reader not in READERS:
            raise UsageError("--reader", f"{self.reader!r} is not a reader", f"choose one of {', '.join(READERS)}")
        opened, reopen = within(self.open_seconds, self.path, partial(_open, self))
        facts = opened.facts
        pixel_size = resolve_mpp(self.path, facts.mpp_candidates, self.mpp, self.assume_mpp, required=self.require_mpp)
        return Slide(_info(self.path, facts, pixel_size), opened, reopen)


def open_slide(
    path: str | Path,
    *,
    mpp: float | None = None,
    assume_mpp: float | None = None,
    reader: str = "auto",
    require_mpp: bool = True,
    threads: int = 1,
    open_seconds: float = OPEN_SECONDS,
) -> Slide:
    """Open a slide: tiled TIFFs with the fast reader, others with OpenSlide, else tiffslide, else as a plain image.

    OME-Zarr folders are opened as they are. The fast reader is compared with OpenSlide on a few tiles; where they
    differ, the picture that the TIFF standard defines is shown, with a warning. `mpp` and `assume_mpp` in um/px;
    `threads` decode the tiles of one read of the fast reader. Levels are compared with level 0, and what does not line
    up is left out with a warning.

    Raises:
        UsageError: no such file, impossible option.
        CorruptSlideError: no image, truncated, not opened within `open_seconds`.
        UnsupportedSlideError: other folder, foreign format, not 8-bit RGB.
        MissingMppError: nothing says how large a pixel is (without `require_mpp` it is NaN).
        ResourceError: memory does not suffice.
    """
    spec = SlideSpec(Path(path), reader, mpp, assume_mpp, require_mpp, threads, open_seconds)
    return spec.open()


def _info(path: Path, facts: FileFacts, pixel_size: MppDecision) -> SlideInfo:
    """Return what is known about a slide before a pixel is read."""
    used = [level for level in facts.levels if level.used]
    return SlideInfo(
        path=path,
        reader=facts.reader,
        vendor=facts.vendor,
        size_l0=facts.bounds_l0.size,
        level_downsamples=tuple(level.downsample for level in used),
        level_sizes=tuple(level.size for level in used),
        mpp=pixel_size.mpp,
        mpp_source=pixel_size.source,
        bounds_origin_l0=(facts.bounds_l0.x, facts.bounds_l0.y),
        full_size_l0=facts.levels[0].size,
        objective_power=facts.objective_power,
        warnings=(*facts.warnings, *pixel_size.warnings),
        openslide=facts.openslide,
        other_images=facts.other_images,
        levels=facts.levels,
    )


def _open(spec: SlideSpec) -> tuple[Reader, OpenReader]:
    """Return an open reader that could decode something, its levels placed, and what opens another one."""
    path = spec.path
    with library_errors(path, "cannot be opened"):
        found = _open_folder(path, spec.reader) if path.is_dir() else _open_reader(spec)
        _check_sides(path, found)
        reopen = _reopener(path, found)
        seen = with_levels(first_look(path, found, reopen), reopen, spec.levels)
        return seen, _reopener(path, seen)


def _reopener(path: Path, opened: Reader) -> OpenReader:
    """Return what opens the same file the same way, without looking again for what is known."""
    if isinstance(opened, FastTiffReader):
        return partial(FastTiffReader, path, opened.facts, opened.pages, opened.threads)
    if isinstance(opened, OpenSlideReader):
        return partial(OpenSlideReader, path, opened.facts)
    if isinstance(opened, ZarrReader):
        return partial(ZarrReader, path)
    return partial(TiffSlideReader if isinstance(opened, TiffSlideReader) else ImageReader, path)


def _open_folder(path: Path, reader: str) -> Reader:
    """Open a folder that is an OME-Zarr image; raises the error that fits for any other."""
    if not is_zarr(path):
        raise UnsupportedSlideError(path, "is a folder, not a slide", "name the slide file itself")
    if reader not in {"auto", "zarr"}:
        raise _refused_by_name(path, reader)
    return ZarrReader(path)


def _check_sides(path: Path, opened: Reader) -> None:
    """Raise CorruptSlideError unless every level has a size that a slide can have."""
    for level in opened.facts.levels:
        if min(*level.size, *level.tile) < 1 or max(level.size) > SIDE_MAX:
            problem = f"states a level of {level.size.width} x {level.size.height} px, which no slide has"
            raise CorruptSlideError(path, problem, BROKEN_REMEDY)


def _head(path: Path) -> bytes:
    """Return the first bytes of the file, of a TIFF once its structure is found sound; else raise what fits."""
    try:
        if path.exists() and not path.is_file():  # reading a pipe or a device may wait for ever
            raise UnsupportedSlideError(path, "is no file but a pipe or a device", "name the slide file itself")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError as error:
        raise UsageError(path, "no such file", "check the path") from error
    except OSError as error:
        raise UsageError(path, f"cannot be read: {error.strerror}", "check the file's permissions") from error
    if not head:
        raise CorruptSlideError(path, "is empty", BROKEN_REMEDY)
    if head.startswith(TIFF_MAGICS):
        check_structure(path)
    return head


def _open_reader(spec: SlideSpec) -> Reader:
    """Open the file with the wanted reader, or with the first that fits."""
    path, reader = spec.path, spec.reader
    head = _head(path)
    is_tiff = head.startswith(TIFF_MAGICS)
    # A MIRAX slide is a JPEG with a data folder: without the folder, only the label and macro photograph is left.
    is_image = head.startswith((PNG_MAGIC, JPEG_MAGIC)) and path.suffix.lower() != ".mrxs"
    if is_image and reader in {"auto", "image"}:
        return ImageReader(path)
    vendor = _openslide_vendor(path) if reader in {"auto", "fast", "openslide"} else None
    is_partial = bool(vendor == "generic-tiff" and reader != "openslide" and _is_ome(path))
    if vendor and not is_partial:
        try:
            found = OpenSlideReader(path)
        except OpenSlideError as error:
            if not (is_tiff and reader in {"auto", "fast"}):
                raise _refusal(path, error) from error
        else:
            if reader == "openslide" or not found.beside:
                return _faster(spec, found, found)
    if is_tiff:
        tiff_reader = TiffSlideReader(path)  # a damaged file says so, whichever reader was wanted
        if reader == "tiffslide":
            return tiff_reader
        if reader in {"auto", "fast"}:
            return _faster(spec, tiff_reader, _openslide(path) if is_partial else None)
    raise _rejection(path, reader, head, readable=is_tiff or is_image)


def _faster(spec: SlideSpec, found: OpenSlideReader | TiffSlideReader, oracle: OpenSlideReader | None) -> Reader:
    """Return the fast reader where it can take the place of `found`, else that, or what `settle` makes of the two.

    Raises UnsupportedSlideError where the wanted reader cannot read the file, or not as the standard says.
    """
    if not found.pages or not all(page.is_tiled for page in found.pages):
        if spec.reader == "fast":
            raise _refused_by_name(found.path, spec.reader)
        return found
    fast = FastTiffReader(found.path, found.facts, found.pages, spec.threads)
    if spec.openslide is None:
        return settle(fast, oracle, spec.reader)
    if spec.reader == "openslide":
        return found
    return fast if spec.openslide else fast.without_openslide()


def _openslide_vendor(path: Path) -> str | None:
    """Return the format that OpenSlide recognises, whatever it then makes of the file, or None."""
    try:
        return OpenSlide.detect_format(path)
    except OpenSlideError:
        return None


def _openslide(path: Path) -> OpenSlideReader | None:
    """Return OpenSlide's reader of a file, or None where it refuses it or shows another image."""
    try:
        found = OpenSlideReader(path)
    except OpenSlideError:
        return None
    return None if found.beside else found


def _is_ome(path: Path) -> bool:
    """Return whether a TIFF is an OME-TIFF: OpenSlide would miss its pyramid, which is in SubIFDs."""
    with open_tiff(path) as tiff:
        return bool(tiff.is_ome)


def _refused_by_name(path: Path, reader: str) -> UnsupportedSlideError:
    """Return the error for a sound file that is none for the wanted reader."""
    return UnsupportedSlideError(path, f"cannot be read with --reader {reader}", "leave the choice to auto")


def _refusal(path: Path, error: OpenSlideError) -> CorruptSlideError | UnsupportedSlideError:
    """Return the error for a file of a format that OpenSlide knows but does not open."""
    if "Couldn't get" in str(error):  # OpenSlide's words for a DICOM attribute that is absent, such as ImageType
        return UnsupportedSlideError(
            path, f"lacks what OpenSlide needs: {error}", "export it again as a VL whole slide"
        )
    return CorruptSlideError(path, f"cannot be opened: {error}", BROKEN_REMEDY)


def _rejection(path: Path, reader: str, head: bytes, *, readable: bool) -> CorruptSlideError | UnsupportedSlideError:
    """Return the error for a file that no reader, or not the wanted one, takes."""
    if readable:
        return _refused_by_name(path, reader)
    foreign = next((name for magic, name in FOREIGN_MAGICS.items() if head.startswith(magic)), None)
    if foreign:
        return UnsupportedSlideError(path, f"is of format {foreign}", "convert it to a tiled pyramidal TIFF")
    if path.suffix.lower() == ".mrxs":
        problem = f"has no readable data folder {path.stem} beside it"
        return CorruptSlideError(path, problem, "copy the folder together with the .mrxs file")
    return CorruptSlideError(path, "is not an image", "remove it from the folder or name a slide file")
