"""Other libraries read the tiles that the product reads, or say in a sentence that they do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsi_pipeline.errors import CorruptSlideError, UnsupportedSlideError
from wsi_pipeline.geometry import Box
from wsi_pipeline.slide import open_slide
from wsi_pipeline.slide.peers import PEER_READERS, tile_reader

LIBRARIES = ["openslide", "tiffslide"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_pixels_are_the_products(svs: Path, library: str) -> None:
    tile = Box(150, 97, 131, 67)
    with open_slide(svs) as slide, tile_reader(library, svs, (0, 0)) as read:
        ours, theirs = slide.read_box(tile, 1).rgb, read(tile)
    assert theirs.shape == (67, 131, 3)
    assert np.abs(theirs.astype(int) - ours).max() <= 1


@pytest.mark.parametrize("library", LIBRARIES)
def test_places_count_from_the_shown_frame(svs: Path, library: str) -> None:
    with tile_reader(library, svs, (0, 0)) as whole, tile_reader(library, svs, (37, 21)) as shifted:
        assert np.array_equal(shifted(Box(100, 50, 33, 44)), whole(Box(137, 71, 33, 44)))


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_a_library_does_not_open_is_said(tmp_path: Path, library: str) -> None:
    path = tmp_path / "notes.svs"
    path.write_bytes(b"no slide at all, but long enough to be looked at")
    with (
        pytest.raises(UnsupportedSlideError, match=f"notes.svs: is not opened by {library}"),
        tile_reader(library, path, (0, 0)),
    ):
        pass


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_a_library_does_not_read_is_said(svs: Path, library: str) -> None:
    with tifffile.TiffFile(svs) as tiff:
        place, count = tiff.pages[0].dataoffsets[10 + 2], tiff.pages[0].databytecounts[10 + 2]
    with svs.open("r+b") as file:
        file.seek(place)
        file.write(bytes(count))
    with (
        tile_reader(library, svs, (0, 0)) as read,
        pytest.raises(CorruptSlideError, match=f"is not read by {library} at 130, 66"),
    ):
        read(Box(130, 66, 30, 30))


@pytest.mark.parametrize("library", LIBRARIES)
def test_versions_are_known(library: str) -> None:
    versions = PEER_READERS[library]()
    assert library in versions
    assert all(version[0].isdigit() for version in versions.values())
