"""Small pictures, each unlike the others, in the layouts that data sets have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

Paint = Callable[..., Path]


def picture(seed: int, size: tuple[int, int] = (75, 61)) -> NDArray[np.uint8]:
    """Return (H, W, 3) of random blotches; `size` is width, height."""
    coarse = np.random.default_rng(seed).uniform(40, 250, (5, 6, 3)).astype(np.float32)
    return np.clip(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


@pytest.fixture
def paint(tmp_path: Path) -> Paint:
    """Return a function that paints picture `seed` at a path below the test's folder."""

    def paint_one(name: str, seed: int, size: tuple[int, int] = (75, 61)) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(seed, size)).save(file)
        return file

    return paint_one


@pytest.fixture
def bci(paint: Paint, tmp_path: Path) -> Path:
    """Return a data set of BCI's layout: two pairs of each class in train, one in test."""
    for number, label in enumerate(("0", "1+", "2+", "3+") * 2):
        for stain, seed in (("HE", 100), ("IHC", 200)):
            paint(f"bci/{stain}/train/{number:05d}_train_{label}.png", seed + number)
    for number, label in enumerate(("0", "1+", "2+", "3+")):
        for stain, seed in (("HE", 300), ("IHC", 400)):
            paint(f"bci/{stain}/test/{number:05d}_test_{label}.png", seed + number)
    return tmp_path / "bci"
