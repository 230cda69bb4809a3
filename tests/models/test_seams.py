"""No seam between windows of the sizes people use: grey levels, and steps across borders, against the whole image."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra: pip install '.[models]'")

from wsi_pipeline.geometry import Box, Size  # noqa: E402
from wsi_pipeline.models.pspstain import LIGHT_WIDTH  # noqa: E402

SIZE = Size(1087, 331)
NARROW_WIDTH = 6
SIDES = (256, 512, 1024)
SPACING = 270
CUTS = [(side, place) for side in SIDES for place in (0, 1)]


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    """Return the benchmark as a module: its measures are those that the tables in the documentation come from."""
    path = Path(__file__).resolve().parents[1] / "bench" / "seams.py"
    spec = importlib.util.spec_from_file_location("seams_bench", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def image(bench: ModuleType) -> np.ndarray:
    return bench.he_image(SIZE, None)


@pytest.fixture(scope="module", params=["light", "narrow by one set", "narrow by a grid"])
def stained(request: pytest.FixtureRequest, bench: ModuleType, image: np.ndarray):  # type: ignore[no-untyped-def]
    """Return what stains without seams, and the image that it stains in one window."""
    torch.set_num_threads(1)
    if request.param == "light":
        stain = bench.prepared(bench.random_generator(LIGHT_WIDTH, "folded", image), "fixed", image, SPACING)
    else:
        way = "grid" if "grid" in request.param else "slide"
        stain = bench.prepared(bench.random_generator(NARROW_WIDTH, "instance", image), way, image, SPACING)
    return stain, stain(bench.reader(image), Box(0, 0, *SIZE))


@pytest.mark.parametrize(("side", "place"), CUTS)
def test_windows_leave_no_seam(bench: ModuleType, image: np.ndarray, stained, side: int, place: int) -> None:  # type: ignore[no-untyped-def]
    stain, whole = stained
    assert whole.std() > 30
    assert ((whole < 5) | (whole > 250)).mean() < 0.3
    offset = bench.offsets(side)[place]
    found = bench.compare(bench.in_windows(stain, image, side, offset), whole, side, offset)
    assert found["largest"] <= 1
    assert found["seam"] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("width", "norm", "way"), [(NARROW_WIDTH, "instance", "window"), (LIGHT_WIDTH, "folded", "alone")]
)
@pytest.mark.parametrize("side", [256, 512])
def test_the_naive_ways_are_caught(
    bench: ModuleType, image: np.ndarray, width: int, norm: str, way: str, side: int
) -> None:
    stain = bench.prepared(bench.random_generator(width, norm, image), way, image, SPACING)
    whole = stain(bench.reader(image), Box(0, 0, *SIZE))
    offset = bench.offsets(side)[1]
    found = bench.compare(bench.in_windows(stain, image, side, offset, way), whole, side, offset)
    assert found["largest"] > 20
    assert found["seam"] > 1.2


def test_the_measure_sees_a_faint_step_at_the_windows_borders_and_nowhere_else(bench: ModuleType) -> None:
    noise = np.random.default_rng(2).integers(100, 120, (331, 487, 3)).astype(np.uint8)
    side, offset = 128, (37, 51)
    stepped = noise.copy()
    for index, box in enumerate(bench.windows(Size(487, 331), side, offset)):
        stepped[box.y : box.bottom, box.x : box.right] += np.uint8(3 * (index % 2))
    found = bench.compare(stepped, noise, side, offset)
    assert (found["largest"], found["whole"]) == (3, pytest.approx(1, abs=0.03))
    assert found["seam"] > 1.02
    assert bench.compare(stepped, noise, side, (36, 50))["seam"] < 1


@pytest.mark.parametrize("side", SIDES)
def test_windows_cover_every_pixel_once(bench: ModuleType, side: int) -> None:
    for offset in bench.offsets(side):
        seen = np.zeros(SIZE[::-1], int)
        for box in bench.windows(SIZE, side, offset):
            seen[box.y : box.bottom, box.x : box.right] += 1
        assert (seen == 1).all()
