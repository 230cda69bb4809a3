"""H&E through the command line, with networks of random weights: everything but what the networks say."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ome_zarr_models import open_ome_zarr

torch = pytest.importorskip("torch", reason="needs the models extra: pip install '.[models]'")
pytest.importorskip("torchvision", reason="needs the models extra: pip install '.[models]'")
pytest.importorskip("safetensors", reason="needs the models extra: pip install '.[models]'")

from wsi_pipeline.geometry import Box  # noqa: E402
from wsi_pipeline.models.light_ihcnet import LightIHCNet  # noqa: E402
from wsi_pipeline.models.manifest import ModelCard  # noqa: E402
from wsi_pipeline.models.pspstain import LIGHT_WIDTH, Generator  # noqa: E402
from wsi_pipeline.models.save import save_weights  # noqa: E402
from wsi_pipeline.slide import open_slide  # noqa: E402
from wsi_pipeline.training.phantom import make_phantom, random_options, write_slide  # noqa: E402

pytestmark = pytest.mark.slow

LENIENT = (
    "--set", "quality.least_confidence=0", "--set", "quality.least_brightness=0", "--set", "quality.most_brightness=1",
    "--set", "quality.least_contrast=0", "--set", "quality.most_contrast=0.5", "--set", "quality.least_sharpness=0",
    "--precision", "fp32",
)  # fmt: skip
"""Random networks paint no tissue, so nothing they paint is rejected."""

ONE_PX = {
    "virtual_ihc": 1, "her2_class": 8, "dab_density": 8, "dab_pseudocolour": 8, "positive_share": 256,
    "virtual_quality": 256 * 0.5 / 0.46, "tile_class": 256 * 0.5 / 0.46, "tile_entropy": 256 * 0.5 / 0.46,
    "cam_margin": 256 * 0.5 / 0.46 / 7, "cam_margin_colour": 256 * 0.5 / 0.46 / 7,
}  # fmt: skip
"""Map -> px of the virtual stain (0.46 um) per px; the classifier has tiles of 256 px of 0.5 um, and 7 x 7 features."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(6)
    light = Generator(width=LIGHT_WIDTH, norm="folded").state_dict()
    save_weights(light, "pspstain-light", ModelCard(name="stainer", mpp=0.46, licence="none"), folder)
    save_weights(Generator().state_dict(), "pspstain", ModelCard(name="full", mpp=0.46, licence="none"), folder)
    tiles = LightIHCNet().eval().state_dict()
    save_weights(tiles, "ihcnet-light", ModelCard(name="tiles", mpp=0.5, licence="none"), folder)
    return folder


@pytest.fixture(scope="module")
def run(samples: Path, weights: Path, score: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a serial run of the H&E sample, cut small."""
    out = tmp_path_factory.mktemp("he") / "serial"
    words = ("--weights", weights, "--stainer", "stainer", *LENIENT, "--set", "tiling.region_tiles=2")
    return score(samples / "phantom_he.svs", out, *words)


def test_the_record_says_what_it_rests_on(run: Any) -> None:
    assert run.code in {0, 3}, run.stderr
    result = run.result
    assert (result["stain"], result["virtual_stain"], result["evidence"] in {"cells and tiles", "none"}) == (
        "he", True, True,
    )  # fmt: skip
    assert "inferred from H&E" in result["notice"]
    assert "Research use only" in result["notice"]
    assert "inferred from H&E" in run.stderr
    assert "stainer: stainer (pspstain-light; torch, cpu, fp32" in run.stderr
    assert "classifier: tiles (ihcnet-light; " in run.stderr
    assert result["confidence"] in {"low", "none"}
    assert result["quality"]["rejected"] == 0
    assert result["networks"]["stainer"]["sha256"]
    assert result["networks"]["classifier"]["runtime"]["precision"] == "fp32"
    project = json.loads((run.out / "project.qpproj").read_text(encoding="utf-8"))
    names = [image["imageName"] for image in project["images"]]
    assert "Virtual HER2 IHC, inferred from H&E, research use only" in names
    assert any(
        re.fullmatch(r"What spoke for (1\+ against 0|2\+ against 1\+|3\+ against 2\+), values \(logits\)", name)
        for name in names
    )
    assert "inferred from H&E" in project["images"][0]["metadata"]["Notice"]


@pytest.mark.parametrize("name", ONE_PX)
def test_maps_open_in_qupath_and_lie_over_the_slide(run: Any, name: str) -> None:
    import zarr  # noqa: PLC0415

    store = run.out / "maps" / f"{name}.ome.zarr"
    assert open_ome_zarr(zarr.open_group(store, mode="r", zarr_format=2)).ome_zarr_version == "0.4"
    for path in store.rglob(".zarray"):
        array = json.loads(path.read_text())
        assert (array["compressor"]["id"], array["filters"], array["order"]) == ("blosc", None, "C")
        assert array["dtype"] in {"|u1", "<f4"}
        assert array["chunks"][0] == 1
    xml = (store / "OME" / "METADATA.ome.xml").read_text(encoding="utf-8")
    mpp = [float(re.search(rf'PhysicalSize{axis}="([\d.]+)"', xml).group(1)) for axis in "XY"]
    assert mpp == pytest.approx([0.46 * ONE_PX[name]] * 2)
    slide, height_width = run.result["slide"], run.levels(name)[0].shape[:2]
    covered = [size * um for size, um in zip(height_width, mpp[::-1], strict=True)]
    whole = [slide["height"] * slide["mpp_y"], slide["width"] * slide["mpp_x"]]
    tile = 256 * 0.5 if "tile" in name or "cam" in name or "quality" in name else mpp[0]
    assert all(0 <= done - wanted < tile + 1e-6 for done, wanted in zip(covered, whole, strict=True))


def test_levels_that_regions_wrote_are_those_of_the_whole_image(run: Any) -> None:
    levels = run.levels("virtual_ihc")
    assert len(levels) > 2
    for finer, coarser in itertools.pairwise(levels):
        height, width = coarser.shape[:2]
        even = finer[: height * 2 - finer.shape[0] % 2, : width * 2 - finer.shape[1] % 2].astype(int)
        even = np.pad(even, ((0, height * 2 - even.shape[0]), (0, width * 2 - even.shape[1]), (0, 0)), mode="edge")
        mean = even.reshape(height, 2, width, 2, 3).sum(axis=(1, 3)) + 2 >> 2
        np.testing.assert_array_equal(coarser, mean)


def test_tiles_are_where_their_table_says(run: Any) -> None:
    tiles = run.table("model_tiles.parquet")
    side = 256 * 0.5 / run.result["slide"]["mpp_x"]
    np.testing.assert_allclose(tiles["x_l0"] % side, 0, atol=1)
    classes = run.levels("tile_class")[0]
    columns = classes.shape[1]
    painted = (classes != 255).any(axis=-1)
    assert painted.sum() == len(tiles["tile"])
    assert painted[tiles["tile"] // columns, tiles["tile"] % columns].all()
    assert (tiles["tissue_share"] >= 0.25).all()
    entropy = -sum(
        tiles[f"probability_{name}"] * np.log2(tiles[f"probability_{name}"]) for name in ("0", "1+", "2+", "3+")
    )
    np.testing.assert_allclose(tiles["entropy_bits"], entropy, atol=1e-6)


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_gives_the_same(
    workers: int, run: Any, samples: Path, weights: Path, score: Callable[..., Any], assert_same: Callable[..., None],
    tmp_path: Path,
) -> None:  # fmt: skip
    words = ("--weights", weights, "--stainer", "stainer", *LENIENT, "--set", "tiling.region_tiles=2")
    words = (*words, "--set", f"engine.workers={workers}")
    outcome = score(samples / "phantom_he.svs", tmp_path / "dask", *words, serial=False)
    assert outcome.code == run.code, outcome.stderr
    assert outcome.result["provenance"]["engine"]["workers"] == workers
    assert_same(run, outcome)


def test_the_published_generator_runs_on_dask(weights: Path, score: Callable[..., Any], tmp_path: Path) -> None:
    # small: the full generator takes a second for 20,000 px on a processor without AVX-512
    slide = write_slide(make_phantom(random_options(7, "2+", (1330, 910))), tmp_path / "small.svs", stain="he")
    words = ("--stain", "he", "--weights", weights, "--stainer", "full", "--classifier", "none", *LENIENT)
    outcome = score(slide, tmp_path / "out", *words, serial=False)
    assert outcome.code in {0, 3}, outcome.stderr
    assert outcome.result["evidence"] in {"cells", "none"}
    image = outcome.levels("virtual_ihc")[0]
    assert image.std() > 5
    assert not (outcome.out / "maps" / "tile_class.ome.zarr").exists()


def test_stain_alone_writes_an_ome_tiff_too(samples: Path, weights: Path, wsi_her2: Any, tmp_path: Path) -> None:
    words = ("--weights", weights, "--stainer", "stainer", "--ome-tiff", "--precision", "fp32")
    outcome = wsi_her2("stain", samples / "phantom_he.svs", "-o", tmp_path / "out", *words, out=tmp_path / "out")
    assert outcome.code == 0, outcome.stderr
    zarr_image = outcome.levels("virtual_ihc")[0]
    with open_slide(outcome.out / "virtual_ihc.ome.tif") as slide:
        height, width = zarr_image.shape[:2]
        assert slide.info.size_l0 == (width, height)
        assert slide.info.mpp == pytest.approx((0.46, 0.46))
        pixels = slide.read_box(Box(0, 0, width, height), 1).rgb
    assert np.abs(pixels.astype(int) - zarr_image).mean() < 6
    record = json.loads((outcome.out / "stain.json").read_text(encoding="utf-8"))
    assert record["outputs"]["ome_tiff"] == "virtual_ihc.ome.tif"


@pytest.mark.parametrize(
    ("name", "words"),
    [("virtual_ihc", "is a virtual stain, inferred from an H&E slide"), ("her2_class", "is a map of a run")],
)
def test_what_a_run_made_is_never_scored_as_a_slide(
    name: str, words: str, run: Any, score: Callable[..., Any], tmp_path: Path
) -> None:
    outcome = score(run.out / "maps" / f"{name}.ome.zarr", tmp_path / "again", "--stain", "ihc")
    assert outcome.code == 5
    assert words in outcome.stderr
    assert not (tmp_path / "again").exists()


def test_missing_weights_are_named_in_one_line(samples: Path, score: Callable[..., Any], tmp_path: Path) -> None:
    outcome = score(samples / "phantom_he.svs", tmp_path / "out", "--stainer", "absent")
    assert outcome.code == 11
    assert "absent: no such weights" in outcome.stderr
    assert not (tmp_path / "out").exists()
    silent = score(samples / "phantom_he.svs", tmp_path / "none", "--stainer", "none")
    assert silent.code == 3
    assert "HER2 is measured on IHC or on a virtual stain" in silent.stderr
