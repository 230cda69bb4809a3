"""The virtual stain of a whole slide, with networks of random weights: what is tested is everything but the network."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra: pip install '.[models]'")
pytest.importorskip("torchvision", reason="needs the models extra: pip install '.[models]'")
pytest.importorskip("safetensors", reason="needs the models extra: pip install '.[models]'")

from wsi_pipeline.config import load_settings  # noqa: E402
from wsi_pipeline.errors import UnsupportedSlideError, UsageError, WeightsError  # noqa: E402
from wsi_pipeline.export.zarr_map import MapStore  # noqa: E402
from wsi_pipeline.flows import stain_region  # noqa: E402
from wsi_pipeline.flows.stain import IMAGE, StainRequest, stain_slide  # noqa: E402
from wsi_pipeline.geometry import Box  # noqa: E402
from wsi_pipeline.models.ihcnet import IHCNet  # noqa: E402
from wsi_pipeline.models.manifest import ModelCard  # noqa: E402
from wsi_pipeline.models.pspstain import LIGHT_WIDTH, Generator  # noqa: E402
from wsi_pipeline.models.save import save_weights  # noqa: E402
from wsi_pipeline.training.phantom import PhantomOptions, make_phantom, write_slide  # noqa: E402


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(5)
    card = {"mpp": 0.46, "licence": "none"}
    light = Generator(width=LIGHT_WIDTH, norm="folded")
    save_weights(light.state_dict(), "pspstain-light", ModelCard(name="light", **card), folder)
    save_weights(Generator().state_dict(), "pspstain", ModelCard(name="full", **card), folder)
    return folder


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = PhantomOptions(seed=4, width=1507, height=1109, stain="he")
    return write_slide(make_phantom(options), tmp_path_factory.mktemp("slide") / "small.svs", "he")


def request(slide: Path, out: Path, weights: Path, name: str = "light", executor: str = "serial") -> StainRequest:
    settings = load_settings(None, {"engine.executor": executor, "models.stainer": name, "models.precision": "fp32"})
    return StainRequest(slide, out, settings, weights)


def image_of(folder: Path) -> np.ndarray:
    store = MapStore.open(folder / IMAGE)
    return store.read_block(Box(0, 0, *store.size()))


def test_a_slide_becomes_a_pyramid_in_its_place(slide: Path, weights: Path, tmp_path: Path) -> None:
    record, folder = stain_slide(request(slide, tmp_path / "out", weights))
    image = image_of(folder)
    assert image.shape == (603, 820, 3)  # 1109 and 1507 px of 0.25 um at 0.46 um
    assert (image[:8, -8:] == 255).all(), "glass stays glass"
    assert (image == 255).all(axis=-1).mean() > 0.01
    assert (image[250:350, 350:450] != 255).any(axis=-1).mean() > 0.9
    assert "inferred from H&E" in record["notice"]
    assert record["provenance"]["engine"]["unreadable_px"] == 0
    assert record["model"]["sha256"]
    assert json.loads((folder / "stain.json").read_text()) == record
    assert {path.name for path in folder.iterdir()} == {
        "maps",
        "project.qpproj",
        "classifiers",
        "scripts",
        "stain.json",
    }
    xml = (folder / IMAGE / "OME" / "METADATA.ome.xml").read_text(encoding="utf-8")
    assert "inferred from H&amp;E, research use only" in xml
    assert 'PhysicalSizeX="0.46"' in xml


@pytest.mark.slow
def test_dask_equals_serial(slide: Path, weights: Path, tmp_path: Path) -> None:
    _, serial = stain_slide(request(slide, tmp_path / "serial", weights))
    _, dask = stain_slide(request(slide, tmp_path / "dask", weights, executor="dask"))
    np.testing.assert_array_equal(image_of(serial), image_of(dask))


@pytest.mark.slow
def test_slides_stained_at_once_in_one_process_are_each_as_alone(weights: Path, tmp_path: Path) -> None:
    """With the full generator, whose statistics belong to a slide: one after another, and in two threads."""
    slides = []
    for name, seed, width, height in (("one", 6, 707, 511), ("two", 9, 533, 659)):
        options = PhantomOptions(seed=seed, width=width, height=height, stain="he")
        slides.append(write_slide(make_phantom(options), tmp_path / f"{name}.svs", "he"))
    alone = []
    for slide in slides:
        stain_region._network.cache_clear()
        alone.append(image_of(stain_slide(request(slide, tmp_path / "alone" / slide.stem, weights, "full"))[1]))
    for slide, wanted in zip(slides, alone, strict=True):
        _, folder = stain_slide(request(slide, tmp_path / "then" / slide.stem, weights, "full"))
        np.testing.assert_array_equal(image_of(folder), wanted)
    requests = [request(slide, tmp_path / "at once" / slide.stem, weights, "full") for slide in slides]
    with ThreadPoolExecutor(2) as pool:
        folders = [folder for _, folder in pool.map(stain_slide, requests)]
    for folder, wanted in zip(folders, alone, strict=True):
        np.testing.assert_array_equal(image_of(folder), wanted)


def test_wrong_weights_and_wrong_slides_are_refused(slide: Path, weights: Path, samples: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such weights"):
        stain_slide(request(slide, tmp_path / "out", weights, "absent"))
    save_weights(IHCNet().state_dict(), "ihcnet", ModelCard(name="tiles", mpp=0.5, licence="none"), weights)
    with pytest.raises(UsageError, match="is a classifier of IHC tiles"):
        stain_slide(request(slide, tmp_path / "out", weights, "tiles"))
    with pytest.raises(UnsupportedSlideError, match="not H&E"):
        stain_slide(request(samples / "phantom_2plus.svs", tmp_path / "out", weights))
    assert not (tmp_path / "out").exists()
