"""Pieces are numbered by their area, and areas end where the slide ends."""

from __future__ import annotations

import numpy as np
import pytest

from wsi_pipeline.geometry import Box
from wsi_pipeline.tissue.pieces import area_px, number_pieces


def test_an_area_ends_where_the_slide_ends() -> None:
    whole = np.ones((7, 11), bool)
    assert area_px(whole, (11, 7)) == 77
    assert area_px(whole, (10.625, 7.375)) == pytest.approx(10.625 * 7.375)
    part = np.zeros((7, 11), bool)
    part[2:5, 3:6] = True
    assert area_px(part, (10.625, 7.375)) == 9
    part[6, 10] = True
    assert area_px(part, (10.625, 7.375)) == pytest.approx(9 + 0.625 * 1.375)


def test_parts_that_the_coarse_mask_joins_are_one_piece() -> None:
    mask, coarse = np.zeros((30, 50), bool), np.zeros((30, 50), bool)
    mask[3:7, 4:9] = mask[3:6, 12:15] = mask[20:30, 30:50] = True
    coarse[2:8, 3:16] = coarse[18:30, 28:50] = True
    coarse[12:14, 40:42] = True
    labels, pieces = number_pieces(mask, coarse, (49.5, 30.0), 0.25, 10.0)
    assert [piece.number for piece in pieces] == [1, 2]
    assert pieces[0].area_mm2 == pytest.approx(10 * 19.5 * 0.25)
    assert pieces[1].area_mm2 == pytest.approx((20 + 9) * 0.25)
    assert pieces[1].bbox_mask == Box(4, 3, 11, 4)
    assert pieces[1].centroid_mask == pytest.approx(((20 * 6 + 9 * 13) / 29, (20 * 4.5 + 9 * 4) / 29))
    assert (labels[mask] > 0).all()
    assert not labels[~mask].any()


def test_a_piece_is_as_large_as_its_coarse_mask_to_count() -> None:
    mask, coarse = np.zeros((30, 50), bool), np.zeros((30, 50), bool)
    mask[3:7, 4:9] = True
    coarse[2:8, 3:10] = True
    assert len(number_pieces(mask, coarse, (50.0, 30.0), 1.0, 42.0)[1]) == 1
    assert number_pieces(mask, coarse, (50.0, 30.0), 1.0, 43.0)[1] == []
