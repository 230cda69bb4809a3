"""Units of length as image files write them, and numbers as they state them."""

from __future__ import annotations

import html
import math

SYMBOLS = {
    "Ym": 1e30, "Zm": 1e27, "Em": 1e24, "Pm": 1e21, "Tm": 1e18, "Gm": 1e15, "Mm": 1e12, "km": 1e9, "hm": 1e8,
    "dam": 1e7, "m": 1e6, "dm": 1e5, "cm": 1e4, "mm": 1e3, "\u00b5m": 1.0, "nm": 1e-3, "pm": 1e-6, "fm": 1e-9,
    "am": 1e-12, "zm": 1e-15, "ym": 1e-18, "\u00c5": 1e-4, "thou": 25.4, "li": 25_400 / 12, "in": 25_400.0,
    "ft": 304_800.0, "yd": 914_400.0, "mi": 1_609_344e3, "ua": 1.495978707e17, "ly": 9.4607304725808e21,
    "pc": 3.0856775814913673e22, "pt": 25_400 / 72,
}  # fmt: skip
"""Micrometres per symbol (OME 2016-06, UnitsLength). "pixel" and "reference frame" are none. They tell Mm from mm."""

LOST_SIGN = ("?m", "\ufffdm", "\u00c2\u00b5m")
"""The micrometre whose sign was lost: no other unit of the schema has a letter outside ASCII before its "m"."""

VARIANTS = dict.fromkeys(("um", "\u03bcm", "\\u00b5m", "\\u00B5m", *LOST_SIGN), 1.0) | {
    "A": 1e-4, "\u212b": 1e-4, "A\u030a": 1e-4, '"': 25_400.0,
}  # fmt: skip
"""Symbols as other writers put them: the Greek letter, ImageJ's escape, the sign for angstrom."""

PREFIXES = {
    "yotta": 1e24, "zetta": 1e21, "exa": 1e18, "peta": 1e15, "tera": 1e12, "giga": 1e9, "mega": 1e6, "kilo": 1e3,
    "hecto": 1e2, "deca": 10.0, "deka": 10.0, "": 1.0, "deci": 1e-1, "centi": 1e-2, "milli": 1e-3, "micro": 1e-6,
    "nano": 1e-9, "pico": 1e-12, "femto": 1e-15, "atto": 1e-18, "zepto": 1e-21, "yocto": 1e-24,
}  # fmt: skip

WORDS = {f"{prefix}{word}": factor * 1e6 for prefix, factor in PREFIXES.items() for word in ("meter", "metre")} | {
    "micron": 1.0, "angstrom": 1e-4, "\u00e5ngstr\u00f6m": 1e-4, "inch": 25_400.0, "inche": 25_400.0, "mil": 25.4,
    "foot": 304_800.0, "feet": 304_800.0, "yard": 914_400.0, "mile": 1_609_344e3, "parsec": 3.0856775814913673e22,
}  # fmt: skip
"""Micrometres per unit whose name is spelt out (UDUNITS-2, which NGFF takes its names from, and ImageJ)."""


def um_per(unit: str | None) -> float:
    """Return the micrometres in a unit of length, NaN for what is none, such as "pixel"."""
    if unit is None:
        return math.nan
    name = html.unescape(unit).strip()  # writers that escape twice leave an entity behind
    word = name.lower()
    for table, key in ((SYMBOLS, name), (VARIANTS, name), (WORDS, word), (WORDS, word.removesuffix("s"))):
        if key in table:
            return table[key]
    return math.nan


def to_float(text: object) -> float:
    """Return the number that a metadata value states, NaN when it states none."""
    try:
        return float(str(text))
    except ValueError:
        return math.nan
