"""Of several images in a TIFF the slide is the scan: the largest that is neither label nor macro, in any order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

from wsi_pipeline.errors import UnsupportedSlideError
from wsi_pipeline.geometry import Size
from wsi_pipeline.slide import open_slide
from wsi_pipeline.slide.images import ImageFacts, choose_slide, kind_called

TILED = {"photometric": "rgb", "tile": (64, 64), "compression": "deflate", "metadata": None}
MACRO = np.full((131, 377, 3), 90, np.uint8)
LABEL = np.full((120, 131, 3), 200, np.uint8)


def half(pixels: np.ndarray) -> np.ndarray:
    return cv2.resize(pixels, (pixels.shape[1] // 2, pixels.shape[0] // 2), interpolation=cv2.INTER_AREA)


def write_pages(path: Path, *pages: tuple[np.ndarray, dict[str, Any]], **settings: Any) -> Path:
    with tifffile.TiffWriter(path, **settings) as writer:
        for pixels, options in pages:
            writer.write(pixels, **TILED | options)
    return path


def named(path: Path, **options: Any) -> tuple[np.ndarray, list[tuple[str, tuple[int, int]]], tuple[str, ...]]:
    """Return what is read, what else is named, and the warnings."""
    with open_slide(path, mpp=0.25, **options) as slide:
        others = [(other.name, tuple(other.size)) for other in slide.info.other_images]
        return slide.overview(1).rgb, others, slide.info.warnings


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("label", "label"), ("Label", "label"), ("macro image", "macro"), ("CMU-1.svs [macro image]", "macro"),
        ("slide 7 - overview", "macro"), ("Thumbnail", "thumbnail"), ("label 387x463", "label"), ("barcode", "label"),
        ("label-free scan", ""), ("HER2 label study 3", ""), ("macrophage", ""), ("scan", ""), ("", ""),
    ],
)  # fmt: skip
def test_kinds_are_what_names_end_in(name: str, kind: str) -> None:
    assert kind_called(name) == kind


def facts(width: int, height: int, kind: str = "", **options: Any) -> ImageFacts:
    return ImageFacts("", Size(width, height), kind, **options)


@pytest.mark.parametrize(
    ("images", "place", "warnings"),
    [
        ([facts(275, 225), facts(1100, 900)], 1, 0),
        ([facts(1280, 431, "macro"), facts(700, 500)], 1, 0),
        ([facts(1280, 431, is_tiled=False), facts(700, 500)], 1, 0),
        ([facts(1280, 431), facts(700, 500, levels=3)], 1, 0),
        ([facts(1280, 431)], 0, 0),
        ([facts(20_000, 7_000), facts(900, 700)], 0, 0),
        ([facts(700, 500), facts(700, 500)], 0, 1),
        ([facts(700, 500, is_rgb=False), facts(700, 500)], 1, 0),
        ([facts(700, 500), facts(800, 600)], 1, 1),
        ([facts(700, 500, "macro")], 0, 1),
        ([facts(9_000, 7_000, is_tiled=False), facts(200, 200)], 0, 0),
    ],
)
def test_choice(images: list[ImageFacts], place: int, warnings: int) -> None:
    choice = choose_slide(images)
    assert (choice.place, len(choice.warnings)) == (place, warnings)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("flags", [(0, 1, 1), (0, 0, 0), (1, 1, 0)])
def test_levels_in_any_order(tmp_path: Path, scan: np.ndarray, byteorder: str, flags: tuple[int, ...]) -> None:
    pages = [half(half(scan)), half(scan), scan]
    path = write_pages(
        tmp_path / "a.tif", *((page, {"subfiletype": flag}) for page, flag in zip(pages, flags, strict=True)),
        byteorder=byteorder,
    )  # fmt: skip
    pixels, others, warnings = named(path)
    assert np.array_equal(pixels, scan)
    assert (others, warnings) == ([], ())
    with open_slide(path, mpp=0.25) as slide:
        assert slide.info.level_sizes == ((613, 389), (306, 194), (153, 97))


@pytest.mark.parametrize("tile", [(64, 64), None])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
def test_label_and_macro_by_their_description(tmp_path: Path, scan: np.ndarray, order, tile) -> None:  # type: ignore[no-untyped-def]
    pages = [
        (half(scan), {"description": "Scanner 3\r\n306x194 (64x64)|Patient = 1"}),
        (MACRO, {"description": "Scanner 3\r\nmacro 377x131", "tile": tile}),
        (LABEL, {"description": "Scanner 3\r\nlabel 131x120", "tile": tile}),
    ]
    pixels, others, warnings = named(write_pages(tmp_path / "a.tif", *(pages[place] for place in order)))
    assert np.array_equal(pixels, half(scan))
    assert sorted(others) == [("label", (131, 120)), ("macro", (377, 131))]
    assert warnings == ()


@pytest.mark.parametrize("reader", ["auto", "fast", "tiffslide"])
def test_a_larger_second_scan_is_read_and_the_first_named(tmp_path: Path, scan: np.ndarray, reader: str) -> None:
    other = np.ascontiguousarray(scan[::-1, :500])
    path = write_pages(tmp_path / "a.tif", (other, {}), (scan, {}))
    pixels, others, warnings = named(path, reader=reader)
    assert np.array_equal(pixels, scan)
    assert others == [("image 1", (500, 389))]
    assert "image 1 (500 x 389 px), which is not read" in warnings[0]
    assert "OpenSlide shows an image of 500 x 389 px" in named(path, reader="openslide")[2][0]


def test_of_two_equal_scans_the_first_is_read_and_the_other_named(tmp_path: Path, scan: np.ndarray) -> None:
    path = write_pages(tmp_path / "a.tif", (scan, {}), (scan[::-1], {}))
    pixels, others, (warning,) = named(path)
    assert np.array_equal(pixels, scan)
    assert others == [("image 2", (613, 389))]
    assert "image 2 (613 x 389 px)" in warning
    stack = write_pages(tmp_path / "stack.tif", (scan, {}), (scan[::-1], {}), (scan[:, ::-1], {}))
    with pytest.raises(UnsupportedSlideError, match="3 pages"):
        open_slide(stack, mpp=0.25)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 1, 0)])
def test_series_of_an_ome_tiff_in_any_order(tmp_path: Path, scan: np.ndarray, order: tuple[int, ...]) -> None:
    path = tmp_path / "a.ome.tif"
    images = [("Smith, Jane label", LABEL, 8.0), ("macro", MACRO, 4.0), ("core", scan, 0.25)]
    with tifffile.TiffWriter(path, ome=True) as writer:
        for name, pixels, mpp in (images[place] for place in order):
            size = {"PhysicalSizeX": mpp, "PhysicalSizeY": mpp + 0.01, "PhysicalSizeXUnit": "\u00b5m"}
            writer.write(
                pixels, photometric="rgb", tile=(64, 64), metadata={"axes": "YXS", "Name": name, **size},
                subifds=1 if name == "core" else 0,
            )  # fmt: skip
            if name == "core":
                writer.write(half(pixels), photometric="rgb", tile=(64, 64), subfiletype=1)
    with open_slide(path) as slide:
        assert np.array_equal(slide.overview(1).rgb, scan)
        assert slide.info.mpp == pytest.approx((0.25, 0.26))
        assert slide.info.level_sizes == ((613, 389), (306, 194))
        assert sorted(other.name for other in slide.info.other_images) == ["label", "macro"]
        assert "Smith" not in repr(slide.info)
        assert not slide.info.warnings


def test_a_larger_image_that_is_no_brightfield_scan_is_not_passed_over(tmp_path: Path, scan: np.ndarray) -> None:
    grey = np.zeros((800, 900), np.uint16)
    path = write_pages(tmp_path / "a.tif", (scan, {}), (grey, {"photometric": "minisblack"}))
    with pytest.raises(UnsupportedSlideError, match="not brightfield"):
        open_slide(path, mpp=0.25)
