"""One picture of the result: the thumbnail with classes, tissue, pieces, title, slide, date, scale bar and legend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from wsi_pipeline.errors import OutputError
from wsi_pipeline.export.atomic import write_atomic
from wsi_pipeline.export.lettering import FONT, INK, Image, shortened, text_width, write_line
from wsi_pipeline.export.palette import CLASS_KEYS, CLASS_STYLES, NO_CLASS, colour_classes, legend_of

NOTICE = "Research use only"
"""Words in every title strip."""

PNG_COMPRESSION = 3
"""zlib's level: OpenCV's default is as slow and leaves six times the bytes of an overlay."""

MIN_WIDTH = 640
"""Width of the narrowest picture, px, so that title and legend stay readable."""

_OUTLINE = (25, 45, 120)
_EXCLUDED = CLASS_STYLES["excluded"].rgb
_TEXT_SCALE = 0.55
_PIECE_SCALE = 1.1
_ROOMY = 6
"""Heights of a number that a piece measures at least where its number stands on it."""
_LINE_PX = 24
_MARGIN_PX = 10
_HATCH_PX = 14
_HATCH_WEIGHT = 0.6
_BAR_SHARE = 0.25
_HALO_ROOM_PX = 16
"""Around the letters of a number, px: their halo and what reaches below the line."""

DISC_WEIGHT, RING_WEIGHT = 0.65, 0.9
"""Share of the class colour where it covers the tissue, and where it goes round a cell that is seen inside."""


class Caption(NamedTuple):
    """What stands round the picture: the result, the slide's name, the day of scoring (UTC), um per px along x."""

    title: str
    slide: str
    day: str
    um_per_px: float


class PieceMark(NamedTuple):
    """Number, middle (x, y) and bounding box (x, y, width, height) of a piece of tissue, thumbnail px."""

    number: int
    middle: tuple[float, float]
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class OverlayLayers:
    """What is drawn over the thumbnail; all in thumbnail pixels but the class map, which has its own.

    class_map: (h, w) uint8, positions in `palette.CLASS_KEYS` or NO_CLASS; map_px_per_thumbnail_px: along x and y;
    class_weight: share of the class colour, 0-1; tissue, excluded: (H, W) bool or None; pieces: those of
    tissue; lateral: whether the legend is that of classes in which lateral staining counts.
    """

    class_map: npt.NDArray[np.uint8]
    map_px_per_thumbnail_px: tuple[float, float]
    class_weight: float = DISC_WEIGHT
    tissue: npt.NDArray[np.bool_] | None = None
    excluded: npt.NDArray[np.bool_] | None = None
    pieces: Sequence[PieceMark] = field(default_factory=tuple)
    lateral: bool = False


def draw_overlay(thumbnail: Image, layers: OverlayLayers, caption: Caption) -> Image:
    """Return thumbnail: (H, W, 3) uint8 RGB with the layers between two white strips, at least 640 px wide.

    Above stand title, slide, day and "Research use only", below a scale bar and the legend. Raises OutputError when a
    mask has not the thumbnail's size.
    """
    picture = thumbnail.copy()
    for name, mask in (("tissue", layers.tissue), ("excluded", layers.excluded)):
        if mask is not None and mask.shape != thumbnail.shape[:2]:
            raise OutputError(f"{name} mask", f"has shape {mask.shape}, the thumbnail {thumbnail.shape[:2]}")
    _blend_classes(picture, layers)
    if layers.excluded is not None:
        _hatch(picture, layers.excluded)
    if layers.tissue is not None:
        _outline(picture, layers.tissue, _OUTLINE)
    for piece in layers.pieces:
        _number(picture, piece)
    return _frame(picture, caption, _legend_entries(layers))


def write_png(path: Path, picture: Image) -> None:
    """Write picture: (H, W, 3) uint8 RGB as PNG. Raises OutputError, ResourceError."""
    _, encoded = cv2.imencode(".png", picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION])
    write_atomic(path, encoded.tobytes())


def _blend_classes(picture: Image, layers: OverlayLayers) -> None:
    """Lay the class colours over the picture where there is a class; each pixel takes the map pixel at its centre."""
    height, width = picture.shape[:2]
    ratio_x, ratio_y = layers.map_px_per_thumbnail_px
    columns = ((np.arange(width) + 0.5) * ratio_x).astype(int)
    rows = ((np.arange(height) + 0.5) * ratio_y).astype(int)
    padded = np.pad(layers.class_map, ((0, 1), (0, 1)), constant_values=NO_CLASS)  # beyond the map there is no class
    columns = np.minimum(columns, padded.shape[1] - 1)
    rows = np.minimum(rows, padded.shape[0] - 1)
    classes = padded[rows[:, np.newaxis], columns]
    weight = layers.class_weight
    mixed = cv2.addWeighted(colour_classes(classes), weight, picture, 1 - weight, 0.0)
    np.copyto(picture, mixed, where=(classes != NO_CLASS)[..., np.newaxis])


def _hatch(picture: Image, mask: npt.NDArray[np.bool_]) -> None:
    """Hatch and outline `mask` in the colour of excluded tissue, by thin lines through which tissue is seen."""
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    lines = mask & ((rows + columns) % _HATCH_PX == 0)
    picture[lines] = np.rint((1 - _HATCH_WEIGHT) * picture[lines] + _HATCH_WEIGHT * np.array(_EXCLUDED)).astype(
        np.uint8
    )
    _outline(picture, mask, _EXCLUDED)


def _outline(picture: Image, mask: npt.NDArray[np.bool_], rgb: tuple[int, int, int]) -> None:
    """Draw the outline of `mask`, holes included."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, rgb, 1, cv2.LINE_AA)


def _number(picture: Image, piece: PieceMark) -> None:
    """Write the number of a piece in its middle, or beside its upper right corner where it would hide what it names."""
    text, (left, top, width, height) = str(piece.number), piece.box
    (wide, high), _ = cv2.getTextSize(text, FONT, _PIECE_SCALE, 2)
    beside = (left + width + wide / 2 + _MARGIN_PX / 2, top + high / 2)
    _halo_text(picture, text, beside if min(width, height) < _ROOMY * high else piece.middle)


def _halo_text(picture: Image, text: str, middle: tuple[float, float]) -> None:
    """Write dark `text` with a white halo around the point `middle` (x, y), kept inside the picture."""
    (width, height), _ = cv2.getTextSize(text, FONT, _PIECE_SCALE, 2)
    x = int(np.clip(middle[0] - width / 2, 2, max(picture.shape[1] - width - 2, 2)))
    y = int(np.clip(middle[1] + height / 2, height + 2, max(picture.shape[0] - 2, height + 2)))
    # Through a mask: OpenCV 5 draws the same letters at any thickness, so a thicker copy below is no halo there.
    letters = np.zeros(picture.shape[:2], np.uint8)
    cv2.putText(letters, text, (x, y), FONT, _PIECE_SCALE, 255, 2, cv2.LINE_AA)
    rows = slice(max(y - height - _HALO_ROOM_PX, 0), y + _HALO_ROOM_PX)
    columns = slice(max(x - _HALO_ROOM_PX, 0), x + width + _HALO_ROOM_PX)
    letters, part = letters[rows, columns], picture[rows, columns]
    halo = cv2.dilate(letters, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9)))
    for mask, rgb in ((halo, (255, 255, 255)), (letters, INK)):
        weight = mask[..., np.newaxis].astype(np.float32) / 255
        part[:] = np.rint(part + weight * (np.array(rgb, np.float32) - part)).astype(np.uint8)


def _legend_entries(layers: OverlayLayers) -> list[tuple[str, tuple[int, int, int]]]:
    """Return (text, RGB) of the classes that the map holds, of excluded parts, and of the tissue outline."""
    present = set(np.flatnonzero(np.bincount(layers.class_map.ravel())).tolist()) - {NO_CLASS}
    if layers.excluded is not None and layers.excluded.any():
        present.add(CLASS_KEYS.index("excluded"))
    entries = [
        (legend_of(key, lateral=layers.lateral), style.rgb)
        for index, (key, style) in enumerate(CLASS_STYLES.items())
        if index in present
    ]
    return [*entries, ("tissue outline", _OUTLINE)] if layers.tissue is not None else entries


def _frame(picture: Image, caption: Caption, entries: list[tuple[str, tuple[int, int, int]]]) -> Image:
    """Return the picture between a title strip above and a scale bar and a legend below, all white."""
    width = max(picture.shape[1], MIN_WIDTH)
    body = np.full((picture.shape[0], width, 3), 255, np.uint8)
    body[:, : picture.shape[1]] = picture
    bar = _bar_strip(caption.um_per_px, picture.shape[1], width)
    return np.concatenate([_title_strip(caption, width), body, bar, _legend_strip(entries, width)])


def _title_strip(caption: Caption, width: int) -> Image:
    """Return three lines on white: title and slide, shrunk or shortened to fit, and the notice with the day."""
    strip = np.full((3 * _LINE_PX + _MARGIN_PX, width, 3), 255, np.uint8)
    room = width - 2 * _MARGIN_PX
    scale = min(0.7, max(0.45, 0.7 * room / max(text_width(caption.title, 0.7), 1)))
    write_line(strip, shortened(caption.title, scale, room), _MARGIN_PX, _LINE_PX, scale)
    write_line(strip, shortened(caption.slide, _TEXT_SCALE, room), _MARGIN_PX, 2 * _LINE_PX, _TEXT_SCALE)
    write_line(strip, f"Scored {caption.day} UTC. {NOTICE}", _MARGIN_PX, 3 * _LINE_PX, _TEXT_SCALE)
    return strip


def round_length(longest_um: float) -> float:
    """Return the longest length of 1, 2 or 5 times a power of ten that is not above `longest_um`, um."""
    power = 10.0 ** math.floor(math.log10(longest_um))
    return max(step * power for step in (1, 2, 5) if step * power <= longest_um)


def _bar_strip(um_per_px: float, picture_width: int, width: int) -> Image:
    """Return a scale bar on white, at most a quarter of the picture long, with its length."""
    length = round_length(max(_BAR_SHARE * picture_width, 1.0) * um_per_px)
    px = max(round(length / um_per_px), 1)
    strip = np.full((_LINE_PX, width, 3), 255, np.uint8)
    strip[14:18, _MARGIN_PX : _MARGIN_PX + px] = INK
    for end in (_MARGIN_PX, _MARGIN_PX + px - 1):
        strip[10:22, end] = INK
    text = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} um"
    write_line(strip, text, 2 * _MARGIN_PX + px, 21, _TEXT_SCALE)
    return strip


def _legend_strip(entries: list[tuple[str, tuple[int, int, int]]], width: int) -> Image:
    """Return the swatches and their texts on white, wrapped to `width`."""
    places, x, row = [], _MARGIN_PX, 0
    for text, _ in entries:
        needed = _LINE_PX + text_width(text, _TEXT_SCALE) + _MARGIN_PX
        if x > _MARGIN_PX and x + needed > width:
            x, row = _MARGIN_PX, row + 1
        places.append((x, row))
        x += needed + _MARGIN_PX
    strip = np.full(((row + 1) * _LINE_PX + _MARGIN_PX, width, 3), 255, np.uint8)
    for (text, rgb), (left, line) in zip(entries, places, strict=True):
        top = line * _LINE_PX + 7
        strip[top : top + 14, left : left + 16] = rgb
        cv2.rectangle(strip, (left, top), (left + 15, top + 13), INK, 1)
        write_line(strip, text, left + _LINE_PX, top + 12, _TEXT_SCALE)
    return strip
