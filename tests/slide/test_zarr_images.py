"""Of several images in an OME-Zarr folder the slide is the scan, and the pixel size is its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.slide.zarr_stores import write_attributes, write_store
from wsi_pipeline.errors import CorruptSlideError
from wsi_pipeline.slide import open_slide


def edit(path: Path, **changes: object) -> None:
    """Change the first multiscale of a store."""
    attributes = json.loads((path / ".zattrs").read_text())
    attributes["multiscales"][0] |= changes
    (path / ".zattrs").write_text(json.dumps(attributes))


def scaled(path: Path, *datasets: tuple[str, float]) -> None:
    """Give a store's datasets in this order, with so many um/px each."""
    edit(
        path,
        datasets=[
            {"path": name, "coordinateTransformations": [{"type": "scale", "scale": [1, mpp, mpp]}]}
            for name, mpp in datasets
        ],
    )


UM = {"x": "micrometer", "y": "micrometer"}


def test_the_pixel_size_is_that_of_the_largest_dataset(tmp_path: Path, scan: np.ndarray, quarter: np.ndarray) -> None:
    path = write_store(tmp_path / "a.zarr", scan, quarter, units=UM)
    scaled(path, ("s1", 1.0), ("s0", 0.25))
    with open_slide(path) as slide:
        assert slide.info.mpp == (0.25, 0.25)
        assert np.array_equal(slide.overview(1).rgb, scan)


@pytest.mark.parametrize("layout", [{"bioformats2raw.layout": 3}, {}])
def test_the_scan_of_a_collection(
    tmp_path: Path, scan: np.ndarray, quarter: np.ndarray, layout: dict[str, int]
) -> None:
    path = tmp_path / "a.zarr"
    write_attributes(path, layout)
    write_store(path / "0", np.vstack([scan, scan]))
    write_store(path / "1", quarter)
    write_store(path / "10", scan[:, :300])
    write_store(path / "2", scan)
    edit(path / "0", name="macro")
    (path / "OME").mkdir()
    names = ["macro image", "Smith label image", "scan", "more"]
    images = "".join(f'<Image Name="{name}"><Pixels PhysicalSizeX="{at}"/></Image>' for at, name in enumerate(names))
    (path / "OME" / "METADATA.ome.xml").write_text(f"<OME>{images}</OME>")
    with open_slide(path) as slide:
        assert np.array_equal(slide.overview(1).rgb, scan)
        assert slide.info.mpp == (2, 2)
        assert [other.name for other in slide.info.other_images] == ["macro", "label", "more"]
        assert any("more (300 x 389 px)" in warning for warning in slide.info.warnings)


def test_the_order_that_the_collection_names(tmp_path: Path, scan: np.ndarray) -> None:
    path = tmp_path / "a.zarr"
    write_attributes(path, {"bioformats2raw.layout": 3})
    write_attributes(path / "OME", {"series": ["b", "a"]})
    write_store(path / "a", scan[::-1])
    write_store(path / "b", scan)
    with open_slide(path) as slide:
        assert np.array_equal(slide.overview(1).rgb, scan)
        assert "image 2 (613 x 389 px)" in slide.info.warnings[0]


def test_several_multiscales_of_one_group(tmp_path: Path, scan: np.ndarray, quarter: np.ndarray) -> None:
    path = write_store(tmp_path / "a.zarr", quarter, scan)
    attributes = json.loads((path / ".zattrs").read_text())
    whole = attributes["multiscales"][0]
    parts = [{**whole, "name": name, "datasets": [part]} for name, part in zip("ab", whole["datasets"], strict=True)]
    (path / ".zattrs").write_text(json.dumps({"multiscales": parts}))
    with open_slide(path) as slide:
        assert np.array_equal(slide.overview(1).rgb, scan)
        assert [other.name for other in slide.info.other_images] == ["a"]


def test_xml_of_another_size_says_nothing_about_the_image(tmp_path: Path, scan: np.ndarray) -> None:
    path = write_store(tmp_path / "a.zarr", scan)
    (path / "OME").mkdir()
    pixels = '<Pixels SizeX="{}" SizeY="389" PhysicalSizeX="{}"/>'
    images = "".join(f"<Image>{pixels.format(*each)}</Image>" for each in [(300, 0.9), (613, 0.4)])
    (path / "OME" / "METADATA.ome.xml").write_text(f"<OME>{images}</OME>")
    with open_slide(path) as slide:
        assert slide.info.mpp == (0.4, 0.4)


def test_entities_in_its_xml_are_refused(tmp_path: Path, scan: np.ndarray) -> None:
    path = write_store(tmp_path / "a.zarr", scan)
    (path / "OME").mkdir()
    (path / "OME" / "METADATA.ome.xml").write_text("<!DOCTYPE a [<!ENTITY b 'c'>]><OME><Image/></OME>")
    with pytest.raises(CorruptSlideError, match="entities"):
        open_slide(path)
