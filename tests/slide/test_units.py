"""Units of length in micrometres, as the OME schema, NGFF, ImageJ and the wild write them."""

from __future__ import annotations

import math

import pytest

from wsi_pipeline.slide.units import um_per


@pytest.mark.parametrize(
    ("unit", "um"),
    [
        ("\u00b5m", 1), ("\u03bcm", 1), ("um", 1), ("micron", 1), ("Microns", 1), ("micrometer", 1), ("micrometres", 1),
        ("\\u00B5m", 1), ("&#181;m", 1), ("&#xb5;m", 1), ("\ufffdm", 1), ("?m", 1), ("\u00c2\u00b5m", 1), (" um ", 1),
        ("nm", 1e-3), ("mm", 1e3), ("Mm", 1e12), ("pm", 1e-6), ("Pm", 1e21), ("cm", 1e4), ("m", 1e6), ("dam", 1e7),
        ("\u00c5", 1e-4), ("\u212b", 1e-4), ("angstrom", 1e-4), ("in", 25_400), ("inch", 25_400), ("Inches", 25_400),
        ("thou", 25.4), ("li", 2116.6666667), ("pt", 352.7777778), ("ft", 304_800), ("yd", 914_400), ("mi", 1.609344e9),
        ("ly", 9.4607304725808e21), ("ua", 1.495978707e17), ("pc", 3.0856775814913673e22), ("Nanometer", 1e-3),
    ],
)  # fmt: skip
def test_lengths(unit: str, um: float) -> None:
    assert um_per(unit) == pytest.approx(um)


@pytest.mark.parametrize("unit", [None, "", "pixel", "pixels", "reference frame", "furlong", "s", "degree"])
def test_what_is_no_length(unit: str | None) -> None:
    assert math.isnan(um_per(unit))
