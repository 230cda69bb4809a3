"""Bio-Formats itself, QuPath's reader of maps, understands our OME-XML; needs Java and a Bio-Formats jar."""

import subprocess
from pathlib import Path
from typing import Literal

import pytest

from wsi_pipeline.export.ngff import MapSpec
from wsi_pipeline.export.zarr_map import MapStore
from wsi_pipeline.geometry import Mpp, Size

PROGRAM = Path(__file__).with_name("OmeXml.java")


@pytest.mark.parametrize("channels", ["rgb", "gray"])
def test_ome_xml_is_valid_and_understood(tmp_path: Path, jar: Path, channels: Literal["rgb", "gray"]) -> None:
    store = MapStore.create(
        tmp_path / "m.zarr",
        MapSpec(size_map=Size(613, 389), channels=channels, mpp_map=Mpp(1.0, 1.04), name='Klassen "2+" é & µ'),
    )
    result = subprocess.run(
        ["java", "-cp", str(jar), str(PROGRAM), str(store.path / "OME" / "METADATA.ome.xml")],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    lines = result.stdout.splitlines()
    assert "valid true" in lines
    assert "x 1.0" in lines
    assert "y 1.04" in lines
    colours = [line for line in lines if line.startswith("channel")]
    if channels == "rgb":
        assert colours == ["channel Red 255 0 0 255", "channel Green 0 255 0 255", "channel Blue 0 0 255 255"]
    else:
        assert colours == ["channel Gray 255 255 255 255"]
