"""Text in pictures: letters that the fonts of the installed OpenCV have, at a width that fits."""

from __future__ import annotations

import unicodedata
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
"""(H, W, 3) uint8, RGB."""

INK = (25, 25, 25)
FONT = cv2.FONT_HERSHEY_SIMPLEX

_ASCII_ONLY = int(cv2.__version__.split(".", maxsplit=1)[0]) < 5
"""The built-in fonts of OpenCV 4 hold ASCII only; those of OpenCV 5 draw UTF-8, Chinese too."""

_LETTERS = """
α a β b γ g δ d ε e ζ z η i θ th ι i κ k λ l μ u ν n ξ x ο o π p ρ r σ s ς s τ t υ y φ f χ ch ψ ps ω o
а a б b в v г g д d е e ж zh з z и i к k л l м m н n о o п p р r с s т t у u ф f х kh ц ts ч ch ш sh щ shch ъ ' ы y ь '
э e ю yu я ya ß ss æ ae ø o đ d ł l þ th ð d œ oe
"""  # noqa: RUF001 - they are meant
"""Letters that are no ASCII letter with an accent, and how they are written; the Greek mu stands for micro."""

_WORDS = _LETTERS.split()
_SMALL = dict(zip(_WORDS[::2], _WORDS[1::2], strict=True))
_PLAIN = str.maketrans(
    _SMALL
    | {small.upper(): plain.capitalize() for small, plain in _SMALL.items() if len(small.upper()) == 1}
    | {"\u00b5": "u", "\u2013": "-", "\u2014": "-", "\u2026": "...", "\u2019": "'"}
)


def drawable(text: str, *, ascii_only: bool = _ASCII_ONLY) -> str:
    """Return `text` in letters that can be drawn: one line, and without other scripts where the fonts have none."""
    line = "".join(" " if unicodedata.category(letter) == "Cc" else letter for letter in text)
    if not ascii_only:
        return line.encode("utf-8", "replace").decode()  # a name that is not UTF-8 holds what no font has
    letters = unicodedata.normalize("NFKD", line.translate(_PLAIN)).translate(_PLAIN)
    return (
        "".join(letter for letter in letters if not unicodedata.combining(letter)).encode("ascii", "replace").decode()
    )


def write_line(strip: Image, text: str, left: int, baseline: int, scale: float) -> None:
    """Write one line of dark `text` on `strip`."""
    cv2.putText(strip, drawable(text), (left, baseline), FONT, scale, INK, 1, cv2.LINE_AA)


def text_width(text: str, scale: float) -> int:
    """Return the width of `text`, px."""
    size: Any = cv2.getTextSize(drawable(text), FONT, scale, 1)
    return int(size[0][0])


def shortened(text: str, scale: float, room: int) -> str:
    """Return `text`, with dots for its middle where it is wider than `room` px."""
    text = drawable(text)
    kept, short = len(text), text
    while kept > 1 and text_width(short, scale) > room:
        kept -= 1
        short = f"{text[: kept - kept // 2]}...{text[len(text) - kept // 2 :]}"
    return short
