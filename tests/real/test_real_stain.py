"""White and stain of real images: what the eye sees in them is the expected answer."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from wsi_pipeline.flows.passes import PAINTED_GLASS
from wsi_pipeline.stain.detect import detect_stain, why_not_dab
from wsi_pipeline.stain.white import correct_white, estimate_white

pytestmark = pytest.mark.real

IHC = [
    "her2/fields/*.png",
    "her2/warwick/*.png",
    "ki67/OS-2*.tif",
    "nuclei/images/*.png",
    "her2/pairs_bci/IHC/*.png",
    "her2/pairs_mist/IHC/*.jpg",
    "artefacts/edge_ihc/coverslip_edge.png",
]
HE = [
    "ki67/OS-1*.tif",
    "her2/pairs_bci/HE/*.png",
    "her2/pairs_mist/HE/*.jpg",
    "slides/CMU-1-Small-Region.svs",
    "slides/HE_example.tif",
    "artefacts/pen/pen_red.png",
    "artefacts/pen/pen_green.png",
]
FEWEST = {"ihc": 34, "he": 21}


def picture(path: Path, shrink: int = 1) -> np.ndarray:
    """Return `path` as (H, W, 3) uint8 RGB, averaged down `shrink` times."""
    if path.suffix in {".tif", ".svs"}:
        tifffile = pytest.importorskip("tifffile")
        image = np.asarray(tifffile.imread(path, key=0 if path.suffix == ".svs" else None))
        image = image if image.shape[-1] == 3 else np.moveaxis(image, 0, -1)
    else:
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    size = (image.shape[1] // shrink, image.shape[0] // shrink)
    return np.ascontiguousarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def white_of(image: np.ndarray) -> tuple[float, float, float]:
    """Return the white of `image`, all of which was scanned."""
    return estimate_white(image, np.ones(image.shape[:2], dtype=bool)).rgb


@pytest.mark.parametrize(("expected", "patterns"), [("ihc", IHC), ("he", HE)])
def test_the_stain_of_every_image_is_told(real_data: Path, expected: str, patterns: list[str]) -> None:
    paths = [path for pattern in patterns for path in sorted(real_data.glob(pattern))]
    assert len(paths) >= FEWEST[expected]
    wrong = {}
    for path in paths:
        image = picture(path, 2)
        guess = detect_stain([image], white_of(image))
        if guess.stain != expected:
            wrong[path.name] = guess
    assert not wrong


def test_real_ihc_has_the_colours_asked_of_a_virtual_stain(real_data: Path) -> None:
    found = {
        kind: {
            path.name: why_not_dab([picture(path)], correct_white(PAINTED_GLASS, [picture(path)]).rgb)
            for pattern in patterns
            for path in sorted(real_data.glob(pattern))
        }
        for kind, patterns in (("ihc", [*IHC, "her2/ezeher/*.jpg"]), ("he", HE[1:3]))
    }
    assert len(found["ihc"]) >= FEWEST["ihc"]
    assert not {name: doubt for name, doubt in found["ihc"].items() if doubt}
    assert len(found["he"]) == 16
    assert all(found["he"].values())


def test_fluorescence_is_unknown(real_data: Path) -> None:
    image = picture(real_data / "slides/small_vectra.qptiff", 2)
    assert detect_stain([image], white_of(image)).stain == "unknown"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("her2/pairs_bci/IHC/00011_test_3+.png", (173, 172, 169)),
        ("her2/pairs_bci/IHC/00249_test_2+.png", (175, 176, 176)),
        ("her2/fields/1plus_c.png", (235, 233, 236)),
        ("ki67/OS-2-vsi.ome.tif", (214, 214, 214)),
        ("slides/CMU-1-Small-Region.svs", (245, 243, 243)),
        ("slides/kidney-48-5.tif", (252, 252, 252)),
        ("artefacts/edge_ihc/coverslip_edge.png", (221, 222, 217)),
    ],
)
def test_the_glass_is_the_glass_of_the_image(real_data: Path, name: str, expected: tuple[int, int, int]) -> None:
    image = picture(real_data / name)
    white = estimate_white(image, np.ones(image.shape[:2], dtype=bool))
    assert white.source == "glass"
    assert white.rgb == pytest.approx(expected, abs=4)


def test_tiles_that_were_never_scanned_are_not_the_glass(real_data: Path) -> None:
    image = picture(real_data / "slides/TCGA-CR-7395-01A-01-TS1.svs", 4)
    assert (image == 255).all(axis=2).mean() > 0.15
    assert white_of(image) == pytest.approx((241, 236, 239), abs=2)


def test_a_field_without_glass_falls_back(real_data: Path) -> None:
    image = picture(real_data / "her2/fields/2plus_1.png")
    white = estimate_white(image, np.ones(image.shape[:2], dtype=bool))
    assert white.source == "fallback"
    assert min(white.rgb) > 220
    assert max(white.rgb) < 240
