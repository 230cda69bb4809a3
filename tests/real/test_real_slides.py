"""Every real slide opens with the size and pixel size it has, or fails with the error that says why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsi_pipeline.errors import CorruptSlideError, MissingMppError, UnsupportedSlideError, WsiHer2Error
from wsi_pipeline.geometry import Box, Size
from wsi_pipeline.slide import SlideInfo, open_slide, sha256_of

pytestmark = pytest.mark.real

CMU, TCGA = "slides/CMU-1-Small-Region.svs", "slides/TCGA-CR-7395-01A-01-TS1.svs"
SCANNER, OME = "metadata:openslide.mpp-x", "metadata:OME PhysicalSize"


@pytest.mark.parametrize(
    ("name", "reader", "size", "mpp", "source"),
    [
        (CMU, "fast", (2220, 2967), (0.499, 0.499), SCANNER),
        ("slides/HE_example.tif", "fast", (1380, 1484), (0.50008, 0.50008), OME),
        ("ki67/OS-1-detail.ome.tif", "fast", (1101, 1101), (0.227097, 0.227102), OME),
        ("ki67/OS-2-ndpi.ome.tif", "fast", (2202, 2202), (0.227097, 0.227102), OME),
        ("ki67/OS-2-vsi.ome.tif", "fast", (1445, 1445), (0.346053, 0.346056), OME),
    ],
)
def test_slides_with_a_pixel_size(
    real_data: Path, name: str, reader: str, size: tuple[int, int], mpp: tuple[float, float], source: str
) -> None:
    with open_slide(real_data / name) as slide:
        info = slide.info
        overview = slide.overview(8)
    assert (info.reader, info.size_l0, info.full_size_l0, info.bounds_origin_l0) == (reader, size, size, (0, 0))
    assert info.mpp == pytest.approx(mpp, abs=1e-6)
    assert (info.mpp_source, info.warnings) == (source, ())
    assert overview.unreadable == 0
    assert overview.rgb[overview.valid].std() > 5


@pytest.mark.parametrize(
    ("name", "reader", "size"),
    [
        (TCGA, "fast", (4443, 3567)),
        ("slides/kidney-48-5.tif", "tiffslide", (1493, 901)),
        ("her2/fields/1plus_c.png", "image", (640, 640)),
        ("her2/pairs_mist/IHC/15M2102762_18_18.jpg", "image", (1024, 1024)),
    ],
)
def test_slides_without_a_pixel_size_need_one(real_data: Path, name: str, reader: str, size: tuple[int, int]) -> None:
    with pytest.raises(MissingMppError, match="--mpp"):
        open_slide(real_data / name)
    with open_slide(real_data / name, mpp=0.25) as slide:
        assert (slide.info.reader, slide.info.size_l0, slide.info.mpp_source) == (reader, size, "--mpp")
        assert slide.read_box(Box(0, 0, 64, 64), 1).valid.all()


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("slides/small_vectra.qptiff", UnsupportedSlideError, "not brightfield"),
        ("slides/small_dicom.dcm", UnsupportedSlideError, "image flavor"),
        ("INDEX.md", CorruptSlideError, "not an image"),
        ("slides", UnsupportedSlideError, "folder"),
    ],
)
def test_what_is_no_brightfield_slide_says_why(
    real_data: Path, name: str, kind: type[WsiHer2Error], words: str
) -> None:
    with pytest.raises(kind, match=words):
        open_slide(real_data / name, mpp=0.25)


def test_fluorescence_is_refused_by_name_of_the_reader_too(real_data: Path) -> None:
    with pytest.raises(UnsupportedSlideError, match="not brightfield"):
        open_slide(real_data / "slides/small_vectra.qptiff", mpp=0.25, reader="tiffslide")


@pytest.mark.parametrize("name", [CMU, "slides/HE_example.tif", "ki67/OS-2-vsi.ome.tif"])
def test_the_stored_pixels_are_shown(real_data: Path, name: str) -> None:
    stored = tifffile.imread(real_data / name, key=0)
    for reader in ("auto", "tiffslide"):
        with open_slide(real_data / name, reader=reader) as slide:
            assert np.array_equal(slide.overview(1).rgb, stored)


def test_the_second_level_is_read_on_its_own_grid(real_data: Path) -> None:
    with tifffile.TiffFile(real_data / TCGA) as tiff:
        level = next(page for page in tiff.pages if page.imagewidth == 2221).asarray()
    with open_slide(real_data / TCGA, mpp=0.25) as slide:
        assert slide.info.level_downsamples[1] == pytest.approx(2.0005, abs=1e-4)
        read = slide.read_box(Box(2 * 1999, 2 * 1501, 2 * 200, 2 * 100), 2)
    assert np.array_equal(read.rgb, level[1501:1601, 1999:2199])


def test_label_macro_and_raw_properties_stay_in_the_file(real_data: Path) -> None:
    with open_slide(real_data / CMU) as slide:
        info = slide.info
    others = [(other.name, other.size) for other in info.other_images]
    assert others == [("thumbnail", Size(574, 768)), ("label", Size(387, 463)), ("macro", Size(1280, 431))]
    text = repr(replace(info, other_images=())).replace(str(real_data), "").lower()
    for secret in ("label", "macro", "b414003d", "scanscope", "12/29/09", "cpaperiocs", "1004486", "parmset"):
        assert secret not in text
    allowed = {"path", "reader", "vendor", "size_l0", "level_downsamples", "level_sizes", "mpp", "mpp_source"}
    allowed |= {
        "bounds_origin_l0",
        "full_size_l0",
        "objective_power",
        "warnings",
        "openslide",
        "other_images",
        "levels",
    }
    assert set(SlideInfo.__dataclass_fields__) == allowed
    assert info.size_l0 == Size(2220, 2967)


def test_sha256_is_that_of_the_published_file(real_data: Path) -> None:
    published = "ed92d5a9f2e86df67640d6f92ce3e231419ce127131697fbbce42ad5e002c8a7"
    assert sha256_of(real_data / CMU) == published
