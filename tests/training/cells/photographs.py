"""A folder of drawn photographs of nuclei, as `wsi-her2 train cells` reads them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def write_photographs(folder: Path, count: int = 9) -> Path:
    """Write `count` pictures of 131 x 97 px with a dozen dark discs each, and their numbers."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for number in range(count):
        generator = np.random.default_rng(number)
        picture, labels = np.full((97, 131, 3), 235, np.uint8), np.zeros((97, 131), np.uint8)
        for nucleus, (row, column) in enumerate(np.ndindex(3, 4), 1):
            middle = (16 + 32 * column + int(generator.integers(-4, 5)), 16 + 31 * row + int(generator.integers(-4, 5)))
            radius = int(generator.integers(6, 10))
            cv2.circle(picture, middle, radius, (140, 90, 110), -1)
            cv2.circle(labels, middle, radius, nucleus, -1)
        cv2.imwrite(str(folder / "images" / f"p{number}.jpg"), picture)
        cv2.imwrite(str(folder / "labels" / f"p{number}.png"), labels)
    return folder


def write_real(folder: Path) -> Path:
    """Write one picture of real tissue of 243 x 205 px, of whose left part it is said that it is epithelium."""
    folder.mkdir()
    noise = np.random.default_rng(3).integers(90, 240, (205, 243, 3))
    epithelium = np.zeros((205, 243), np.uint8)
    epithelium[:, :120] = 255
    cv2.imwrite(str(folder / "t.png"), noise.astype(np.uint8))
    cv2.imwrite(str(folder / "t.epithelium.png"), epithelium)
    return folder
