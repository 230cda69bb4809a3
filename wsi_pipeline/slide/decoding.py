"""What reading can be measured against: the native tiles of an area decoded, and nothing done with them."""

from __future__ import annotations

import math

from wsi_pipeline.geometry import Box
from wsi_pipeline.slide.fast_reader import FastTiffReader, is_sparse
from wsi_pipeline.slide.levels import pick_level
from wsi_pipeline.slide.slide import Slide


def decode_only(slide: Slide, box_l0: Box, downsample: int) -> int | None:
    """Read and decode each native tile that `Slide.read_box` shows some of, once, and return how many.

    None where that is not known, because another library reads the slide. Raises CorruptSlideError for a broken tile.
    """
    reader = slide.reader
    if not isinstance(reader, FastTiffReader):
        return None
    levels = reader.facts.levels
    index = pick_level(levels, downsample)
    level, page = levels[index], reader.pages[index]
    holes = page.holes if is_sparse(reader.pages[0]) else reader.patched[index]
    shown_l0 = box_l0.intersection(Box(0, 0, *slide.info.size_l0))
    if not shown_l0.area:
        return 0
    x, y = slide.info.bounds_origin_l0
    left, top = math.floor((x + shown_l0.x) / level.factor_x), math.floor((y + shown_l0.y) / level.factor_y)
    right, bottom = math.ceil((x + shown_l0.right) / level.factor_x), math.ceil((y + shown_l0.bottom) / level.factor_y)
    box_lv = Box(left, top, right - left, bottom - top).intersection(Box(0, 0, *level.size))
    written = [number for number in page.touched(box_lv) if number not in holes]
    with slide.info.path.open("rb") as file:
        for number in written:
            pieces = []
            for offset, count in page.pieces(number):
                file.seek(offset)
                pieces.append(file.read(count))
            page.decode(pieces, number)
    return len(written)
