"""Reading through the readers that exist: identity, levels, edges, threads, other processes."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from wsi_pipeline.errors import UsageError
from wsi_pipeline.geometry import Box, Mpp, Size, cut
from wsi_pipeline.slide import Slide, SlideSpec, open_slide
from wsi_pipeline.slide.openslide_reader import shown_bounds

SIZE = Size(613, 389)


def stitched(slide: Slide, step: int, downsample: int = 1) -> np.ndarray:
    """Return the whole slide at `downsample`, put together from boxes of `step` px cut from the padded frame."""
    full = Size(*(-(-side // downsample) for side in slide.info.size_l0))
    out = np.zeros((full.height, full.width, 3), np.uint8)
    for box in cut(full, step):
        out[box.y : box.bottom, box.x : box.right] = slide.read_box(box.scaled(downsample), downsample).rgb
    return out


@pytest.fixture(params=["fast", "openslide", "tiffslide", "ome", "strips", "mapped", "png"])
def identical(request: pytest.FixtureRequest, svs: Path, ome: Path, tmp_path: Path, scan: np.ndarray):  # type: ignore[no-untyped-def]
    """Return a slide by each way of decoding and the pixels its file holds."""
    kind = request.param
    if kind == "png":
        path = tmp_path / "scan.png"
        Image.fromarray(scan).save(path)
    elif kind in {"strips", "mapped"}:
        path = tmp_path / "scan.tif"
        options = {"rowsperstrip": 37, "compression": "lzw"} if kind == "strips" else {}
        tifffile.imwrite(path, scan, photometric="rgb", **options)
    else:
        path = ome if kind == "ome" else svs
    reader = kind if kind in {"fast", "openslide", "tiffslide"} else "auto"
    with open_slide(path, reader=reader, require_mpp=False) as slide:
        yield slide, (scan if kind == "png" else tifffile.imread(path, key=0))


@pytest.mark.parametrize("step", [50, 128, 1000])
def test_identity_for_any_cut(identical: tuple[Slide, np.ndarray], step: int) -> None:
    slide, pixels = identical
    assert slide.info.size_l0 == SIZE
    assert np.array_equal(stitched(slide, step), pixels)


def test_downsampled_stitching_does_not_depend_on_the_cut(identical: tuple[Slide, np.ndarray]) -> None:
    slide, _ = identical
    drawn = slide.info.reader == "openslide"
    for downsample in (2, 3) if drawn else (2, 3, 4, 6):  # OpenSlide interpolates levels that are 4.0085 times smaller
        whole = slide.overview(downsample).rgb
        assert np.array_equal(stitched(slide, 37, downsample), whole)
        assert whole.shape == (-(-389 // downsample), -(-613 // downsample), 3)


@pytest.mark.parametrize("reader", ["fast", "tiffslide"])
def test_a_level_with_fractional_downsample_is_read_pixel_exactly(svs: Path, reader: str) -> None:
    with open_slide(svs, reader=reader) as slide:
        assert slide.info.level_downsamples[1] == pytest.approx(4.0085, abs=1e-3)
        level = tifffile.imread(svs, key=2)
        read = slide.read_box(Box(4 * 100, 4 * 60, 4 * 60, 4 * 40), 4)
    assert np.array_equal(read.rgb[:37, :53], level[60:, 100:])
    assert read.valid[:37, :53].all()
    assert not read.valid[37:].any()
    assert not read.valid[:, 53:].any()
    assert (read.rgb[~read.valid] == 255).all()


def test_a_level_without_whole_factor_is_area_averaged(write_tiff, scan: np.ndarray) -> None:  # type: ignore[no-untyped-def]
    smooth = cv2.GaussianBlur(scan, (0, 0), 6)
    level = cv2.resize(smooth, (245, 155), interpolation=cv2.INTER_AREA)
    path = write_tiff("odd.svs", smooth, level, description="Aperio Image Library v12\r\n|MPP = 0.25")
    with open_slide(path) as slide:
        assert len(slide.info.level_sizes) == 2
        read = slide.read_box(Box(5 * 20, 5 * 10, 5 * 90, 5 * 60), 5)
    expected = cv2.resize(smooth[50:350, 100:550], (90, 60), interpolation=cv2.INTER_AREA)
    assert np.abs(read.rgb.astype(int) - expected).max() <= 3


def test_level_0_is_averaged_where_levels_are_too_coarse(svs: Path) -> None:
    with open_slide(svs) as slide:
        read = slide.read_box(Box(10 * 2, 20 * 2, 30 * 2, 40 * 2), 2)
    source = tifffile.imread(svs, key=0)[40:120, 20:80].astype(int)
    mean = source.reshape(40, 2, 30, 2, 3).mean(axis=(1, 3))
    assert np.array_equal(read.rgb, np.floor(mean + 0.5))


def test_a_box_over_the_edge_is_padded_with_white(svs: Path) -> None:
    with open_slide(svs) as slide:
        read = slide.read_box(Box(-30, -20, 700, 500), 1)
        outside = slide.read_box(Box(6400, -640, 64, 128), 32)
    expected = np.zeros((500, 700), bool)
    expected[20 : 20 + 389, 30 : 30 + 613] = True
    assert np.array_equal(read.valid, expected)
    assert (read.rgb[~expected] == 255).all()
    assert np.array_equal(read.rgb[20:409, 30:643], tifffile.imread(svs, key=0))
    assert outside.rgb.shape == (4, 2, 3)
    assert not outside.valid.any()
    assert read.unreadable == outside.unreadable == 0


@pytest.mark.parametrize("box", [Box(1, 0, 4, 4), Box(0, 0, 6, 4), Box(0, 0, 0, 4), Box(0, 0, -4, 4)])
def test_a_box_off_the_grid_is_refused(svs: Path, box: Box) -> None:
    with open_slide(svs) as slide, pytest.raises(UsageError, match="downsample 4"):
        slide.read_box(box, 4)


def test_a_closed_slide_says_so(svs: Path) -> None:
    slide = open_slide(svs)
    slide.close()
    slide.close()
    with pytest.raises(UsageError, match="closed"):
        slide.read_box(Box(0, 0, 8, 8), 1)


def test_threads_read_the_same(svs: Path) -> None:
    pixels = tifffile.imread(svs, key=0)
    with open_slide(svs) as slide, ThreadPoolExecutor(4) as pool:
        boxes = [Box(x, y, 97, 71) for y in range(0, 300, 40) for x in range(0, 500, 60)]
        for box, read in zip(boxes, pool.map(lambda box: slide.read_box(box, 1), boxes), strict=True):
            assert np.array_equal(read.rgb, pixels[box.y : box.bottom, box.x : box.right])


def test_a_spec_survives_pickling_and_opens_alike(svs: Path) -> None:
    spec = pickle.loads(pickle.dumps(SlideSpec(svs, "tiffslide", mpp=0.5)))  # noqa: S301 - our own bytes
    with spec.open() as slide:
        assert (slide.info.reader, slide.info.mpp, slide.info.mpp_source) == ("tiffslide", (0.5, 0.5), "--mpp")
        assert len(slide.info.warnings) == 1


def test_metadata_by_reader(svs: Path, ome: Path, write_tiff, scan: np.ndarray) -> None:  # type: ignore[no-untyped-def]
    tagged = write_tiff("tagged.tif", scan, resolution=(1e4 / 0.25, 1e4 / 0.26), resolutionunit="CENTIMETER")
    inches = write_tiff("inches.tif", scan, resolution=(25_400 / 0.25, 25_400 / 0.26), resolutionunit="INCH")
    printed = write_tiff("printed.tif", scan, resolution=(72, 72), resolutionunit="INCH")
    found = {}
    for path, reader in [(svs, "auto"), (svs, "tiffslide"), (ome, "auto"), (tagged, "auto"), (inches, "tiffslide")]:
        with open_slide(path, reader=reader) as slide:
            info = slide.info
            found[path.name, reader] = info.reader, info.vendor, info.mpp_source, info.objective_power
            mpp = Mpp(0.25, 0.25) if path == svs else Mpp(0.25, 0.26)
            assert info.mpp == pytest.approx(mpp, rel=1e-4)
            assert info.warnings == ()
            assert (info.full_size_l0, info.bounds_origin_l0) == (SIZE, (0, 0))
    assert found == {
        (svs.name, "auto"): ("fast", "aperio", "metadata:openslide.mpp-x", 40.0),
        (svs.name, "tiffslide"): ("tiffslide", "aperio", "metadata:Aperio MPP", 40.0),
        ("scan.ome.tif", "auto"): ("fast", "ome-tiff", "metadata:OME PhysicalSize", None),
        ("tagged.tif", "auto"): ("fast", "generic-tiff", "TIFF resolution tags", None),
        ("inches.tif", "tiffslide"): ("tiffslide", "generic-tiff", "TIFF resolution tags", None),
    }
    with open_slide(printed, assume_mpp=0.3) as slide:
        assert slide.info.mpp_source == "--assume-mpp"


def test_image_resolution_tags_count_only_when_microscopic(tmp_path: Path, scan: np.ndarray) -> None:
    path = tmp_path / "scan.png"
    for dpi, source in (((25_400 / 0.25, 25_400 / 0.26), "image resolution tags"), ((72, 72), "missing")):
        Image.fromarray(scan).save(path, dpi=dpi)
        with open_slide(path, require_mpp=False) as slide:
            assert slide.info.mpp_source == source
            if source != "missing":
                assert slide.info.mpp == pytest.approx((0.25, 0.26), rel=1e-3)


@pytest.mark.parametrize(
    ("bounds", "shown"),
    [
        ((10, 20, 500, 300), Box(10, 20, 500, 300)),
        ((0, 20, 613, 300), Box(0, 0, 613, 389)),  # only one side differs: QuPath shows the full frame
        ((200, 20, 500, 300), Box(0, 0, 613, 389)),  # reaches beyond the file
        (None, Box(0, 0, 613, 389)),
        (("x", 0, 1, 1), Box(0, 0, 613, 389)),
    ],
)
def test_bounds_follow_the_viewers_rule(bounds: tuple[object, ...] | None, shown: Box) -> None:
    names = ("x", "y", "width", "height")
    properties = {f"openslide.bounds-{name}": str(value) for name, value in zip(names, bounds or (), strict=False)}
    assert shown_bounds(SIZE, properties) == shown
