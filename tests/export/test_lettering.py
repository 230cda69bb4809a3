"""Text that the fonts can draw: in full where they can, else in Latin letters; never an error."""

import numpy as np
import pytest

from wsi_pipeline.export.lettering import drawable, shortened, text_width, write_line


@pytest.mark.parametrize(
    ("text", "latin"),
    [
        ("M\u00fcller \u0141\u00f3d\u017a 9\u201311 \u00b5m", "Muller Lodz 9-11 um"),
        ("Stra\u00dfe \u00d8re \u00c6", "Strasse Ore Ae"),
        ("\u041f\u0440\u0438\u043c\u0435\u0440 \u0429", "Primer Shch"),
        ("\u0394\u03c8", "Dps"),
        ("\u73bb.svs", "?.svs"),
        ("a\nb\x00c", "a b c"),
        ("not utf-8 \udce4", "not utf-8 ?"),
    ],
)
def test_latin_letters_where_the_fonts_have_no_others(text: str, latin: str) -> None:
    assert drawable(text, ascii_only=True) == latin


def test_other_scripts_stay_where_the_fonts_have_them() -> None:
    assert drawable("M\u00fcller \u73bb \u041f", ascii_only=False) == "M\u00fcller \u73bb \u041f"
    assert drawable("a\nb \udce4", ascii_only=False) == "a b ?"


@pytest.mark.parametrize("text", ["slide.svs", "M\u00fcller \u73bb\u7247 \u041f", "\udcff\x07", ""])
def test_any_name_is_drawn(text: str) -> None:
    strip = np.full((30, 300, 3), 255, np.uint8)
    write_line(strip, text, 5, 20, 0.55)
    assert (strip < 128).any() == bool(text)


def test_a_long_name_keeps_both_ends() -> None:
    name = "case 4711 " + "x" * 300 + " block B.svs"
    short = shortened(name, 0.55, 240)
    assert text_width(short, 0.55) <= 240
    assert short.startswith("case 4711")
    assert short.endswith("block B.svs")
    assert "..." in short
    assert shortened("slide.svs", 0.55, 240) == "slide.svs"
