"""OME-XML is read as XML, whatever its prefixes, order and entities, and does no harm."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsi_pipeline.errors import CorruptSlideError
from wsi_pipeline.geometry import Size
from wsi_pipeline.slide import open_slide
from wsi_pipeline.slide.ome_xml import parse_ome

PATH = Path("scan.ome.tif")
NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"

ENTITIES = ('<!ENTITY {} "{}">'.format(new, f"&{old};" * 20) for old, new in zip("abcdefgh", "bcdefghi", strict=True))
BOMB = '<!DOCTYPE OME [<!ENTITY a "aaaaaaaaaaaaaaaa">' + "".join(ENTITIES) + "]><OME><Image Name='&i;'/></OME>"

ONE = "PhysicalSizeX='0.25'"
BOTH = "PhysicalSizeX='0.25' PhysicalSizeY='0.26'"
TURNED = "PhysicalSizeYUnit='&#181;m' PhysicalSizeX='250' PhysicalSizeY='0.26' PhysicalSizeXUnit='nm'"


def image(pixels: str, name: str = "scan") -> str:
    return f'<Image ID="Image:0" Name="{name}"><Pixels SizeX="613" SizeY="389" {pixels}/></Image>'


@pytest.mark.parametrize(
    ("xml", "mpp"),
    [
        (f'<OME xmlns="{NAMESPACE}">{image(BOTH)}</OME>', (0.25, 0.26)),
        (f"<OME>{image(TURNED)}</OME>", (0.25, 0.26)),
        (f'<o:OME xmlns:o="{NAMESPACE}"><o:Image Name="a"><o:Pixels {ONE} /></o:Image></o:OME>', (0.25, 0.25)),
        (f"<OME><!-- <Pixels PhysicalSizeX='9'/> -->{image(ONE)}</OME>", (0.25, 0.25)),
        (f"<?xml version='1.0' encoding='UTF-16'?><OME>{image(ONE)}</OME>", (0.25, 0.25)),
        (f"<OME>{image(ONE)}<Image Name='Smith & Sons'></OME>", (0.25, 0.25)),
        (f"<!DOCTYPE OME SYSTEM 'file:///etc/passwd'><OME>{image(ONE)}</OME>", (0.25, 0.25)),
    ],
)
def test_pixel_sizes(xml: str, mpp: tuple[float, float]) -> None:
    (candidate,) = parse_ome(PATH, xml)[0].candidates()
    assert (candidate.x, candidate.y) == pytest.approx(mpp)


@pytest.mark.parametrize("unit", ["pixel", "reference frame", "furlong"])
def test_units_that_are_no_length_state_nothing(unit: str) -> None:
    (found,) = parse_ome(PATH, "<OME>" + image(f"PhysicalSizeX='3' PhysicalSizeXUnit='{unit}'") + "</OME>")
    assert not found.candidates()


@pytest.mark.parametrize("xml", ["", "no XML", "<OME/>", "<OME><Image/></OME>", "<Pixels PhysicalSizeX='1'/>"])
def test_xml_without_pixels_states_nothing(xml: str) -> None:
    assert not any(found.candidates() for found in parse_ome(PATH, xml))


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "<!DOCTYPE OME [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><OME><Image Name='a'>&x;</Image></OME>",
    ],
)
def test_entities_are_refused_at_once(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bomb.ome.tif"
    tifffile.imwrite(path, np.zeros((90, 130, 3), np.uint8), photometric="rgb", description=text, metadata=None)
    start = time.monotonic()
    with pytest.raises(CorruptSlideError, match="entities"):
        open_slide(path, mpp=0.25)
    assert time.monotonic() - start < 5


def test_images_keep_their_order_names_and_sizes() -> None:
    found = parse_ome(PATH, f"<OME>{image('', 'macro')}<Instrument/>{image('', 'scan')}<Image/></OME>")
    assert [(each.name, each.size) for each in found] == [
        ("macro", Size(613, 389)), ("scan", Size(613, 389)), ("", None),
    ]  # fmt: skip
