"""Photographed nuclei with outlines (any stain) as H-DAB: their density becomes haematoxylin, walls are invented.

For the CC0 set BBBC038 (Caicedo et al. 2019, Nat Methods 16:1247): pictures in `images`, numbered outlines in `labels`.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsi_pipeline.errors import UsageError

Density = NDArray[np.float32]
Labels = NDArray[np.int32]

DIAMETER_PX = 15.0
"""Nuclei are brought to this median diameter, px at 0.5 um: 7.5 um."""

LARGEST_GROWTH = 1.5
LEAST_AREA_PX, LEAST_NUCLEI = 20, 3
"""Smaller specks are no nuclei; pictures with fewer nuclei are passed over."""

HELD_OUT = 7
"""Every so many pictures, by name, are held out."""

HEMATOXYLIN = np.array(
    [(0.65, 0.70, 0.29), (0.45, 0.84, 0.30), (0.78, 0.55, 0.30), (0.60, 0.62, 0.50), (0.55, 0.72, 0.42)]
)
DAB = np.array([(0.27, 0.57, 0.78), (0.55, 0.52, 0.65), (0.22, 0.45, 0.87), (0.30, 0.68, 0.67)])
"""Colours in OD of R, G, B between which stains are drawn: Ruifrok's, and what laboratories and scanners make of it."""


class Photograph(NamedTuple):
    """Mean OD of a picture and its numbered nuclei (0 elsewhere), both (H, W), at about 0.5 um/px."""

    name: str
    density: Density
    nuclei: Labels


def read_photographs(folder: Path) -> tuple[list[Photograph], list[Photograph]]:
    """Return the pictures to train with and those held out. Raises UsageError where there are too few."""
    found = [_read(path, folder / "images") for path in sorted((folder / "labels").glob("*.png"))]
    usable = [photograph for photograph in found if photograph is not None]
    if len(usable) < HELD_OUT + 1:
        raise UsageError(folder, "holds too few pictures of nuclei", "it needs images/NAME.* and labels/NAME.png")
    held_out = usable[::HELD_OUT]
    return [photograph for index, photograph in enumerate(usable) if index % HELD_OUT], held_out


def _read(labels: Path, images: Path) -> Photograph | None:
    """Return one picture at its training size; None where it cannot be used."""
    numbered = cv2.imread(str(labels), cv2.IMREAD_UNCHANGED)
    path = next(iter(sorted(images.glob(f"{labels.stem}.*"))), None)
    picture = None if path is None else cv2.imread(str(path))
    if numbered is None or picture is None or numbered.ndim != 2 or picture.shape[:2] != numbered.shape:
        raise UsageError(labels, "has no picture of its size in images", "put both there, or remove the labels")
    nuclei = numbered.astype(np.int32)
    areas = np.bincount(nuclei.ravel())[1:]
    areas = areas[areas > LEAST_AREA_PX]
    if len(areas) < LEAST_NUCLEI:
        return None
    scale = min(DIAMETER_PX / float(np.sqrt(np.median(areas) * 4 / np.pi)), LARGEST_GROWTH)
    size = (max(int(nuclei.shape[1] * scale), 64), max(int(nuclei.shape[0] * scale), 64))
    picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    nuclei = cv2.resize(nuclei.astype(np.float32), size, interpolation=cv2.INTER_NEAREST).astype(np.int32)
    white = np.maximum(np.percentile(picture.reshape(-1, 3), 99, axis=0), 1)
    density = np.maximum(-np.log10(np.maximum(picture, 1) / white), 0).mean(axis=2).astype(np.float32)
    return Photograph(labels.stem, density, nuclei)


def recoloured(photograph: Photograph, generator: np.random.Generator) -> tuple[Density, Density]:
    """Return an invented H-DAB picture as OD (H, W, 3), and its walls (H, W)."""
    density, nuclei = photograph.density, photograph.nuclei
    inside = nuclei > 0
    typical, ground = _median(density[inside], 0.5), _median(density[~inside], 0.1)
    blue = np.clip((density - ground) / max(typical - ground, 0.08), -0.3, 1.8)
    soft = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 1)
    hematoxylin = generator.uniform(0.06, 0.5) * blue * (0.35 + 0.65 * soft)
    hematoxylin += generator.uniform(0.0, 0.12) * np.clip(density / max(ground, 0.05), 0, 2)
    away, nearest = ndimage.distance_transform_edt(~inside, return_indices=True)
    owner = nuclei[nearest[0], nearest[1]]
    wall = _walls(inside, away.astype(np.float32), owner, generator)
    dab = wall + np.float32(generator.uniform(0, 0.03))
    if generator.random() < 0.5:
        dab = dab + _cytoplasm(inside, away.astype(np.float32), generator)
    if generator.random() < 0.25:  # a nuclear marker, or nuclei that took the stain
        brown = _per_nucleus(owner, generator.uniform(0.05, 0.6), generator)
        dab = dab + np.where(inside, brown[nuclei], 0) * (0.6 + 0.4 * np.clip(blue, 0, 1.5))
        hematoxylin = np.where(inside & (brown[nuclei] > 0), 0.5 * hematoxylin, hematoxylin)
    if generator.random() < 0.2:  # pale holes in saturated surroundings
        hematoxylin = hematoxylin * generator.uniform(0, 0.3)
        dab = dab + ~inside * generator.uniform(0.1, 0.5)
    hematoxylin = hematoxylin * np.clip(1 + 0.1 * _noise(density.shape, 1, generator), 0, 2)
    amounts = np.maximum(hematoxylin, 0)[..., None] * _colour(HEMATOXYLIN, generator)
    amounts = amounts + np.maximum(dab, 0)[..., None] * _colour(DAB, generator)
    return amounts.astype(np.float32), wall


def _walls(inside: NDArray[np.bool_], away: Density, owner: Labels, generator: np.random.Generator) -> Density:
    """Return the DAB of walls (H, W) between cells, each cell's in its own strength, where there are any."""
    wall = np.zeros(inside.shape, np.float32)
    if not inside.any() or generator.random() >= 0.6:
        return wall
    edge = (owner != np.roll(owner, 1, 0)) | (owner != np.roll(owner, 1, 1))
    edge |= (away > generator.uniform(5, 9)) & (away < generator.uniform(9.5, 11))
    strength = generator.uniform(0.1, 1, int(owner.max()) + 1) * generator.choice([0.3, 0.8, 1.6])
    strength *= generator.random(len(strength)) < generator.uniform(0.2, 1)
    drawn = (edge & ~inside) * strength[owner]
    wall = cv2.GaussianBlur(drawn.astype(np.float32), (0, 0), generator.uniform(0.7, 1.6)) * generator.uniform(1.5, 3)
    return np.asarray(wall * np.clip(1 + 0.4 * _noise(inside.shape, 4, generator), 0, 2), dtype=np.float32)


def _cytoplasm(inside: NDArray[np.bool_], away: Density, generator: np.random.Generator) -> Density:
    """Return brown cytoplasm (H, W), grainy and patchy, which is no wall."""
    body = cv2.GaussianBlur((np.exp(-away / generator.uniform(4, 12)) * ~inside).astype(np.float32), (0, 0), 1)
    grain = np.clip(1 + 0.5 * _noise(inside.shape, generator.uniform(0.7, 3), generator), 0, 3)
    patch = np.clip(0.6 + 0.8 * _noise(inside.shape, 25, generator), 0, 2)
    return np.asarray(body * generator.uniform(0.02, 0.5) * grain * patch, dtype=np.float32)


def _per_nucleus(owner: Labels, share: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """Return a DAB density for each number, 0 for most."""
    count = int(owner.max()) + 1
    return (generator.random(count) < share) * generator.uniform(0.2, 1.0, count)


def _colour(between: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """Return a unit colour between two of these, a little off."""
    first, second = between[generator.integers(len(between))], between[generator.integers(len(between))]
    colour = np.maximum(first + generator.random() * (second - first) + generator.uniform(-0.05, 0.05, 3), 0.02)
    return np.asarray(colour / np.linalg.norm(colour))


def _noise(shape: tuple[int, ...], sigma: float, generator: np.random.Generator) -> Density:
    """Return smooth noise of standard deviation 1."""
    noise = cv2.GaussianBlur(generator.standard_normal(shape).astype(np.float32), (0, 0), sigma)
    return np.asarray(noise / (noise.std() + 1e-6), dtype=np.float32)


def _median(values: Density, otherwise: float) -> float:
    """Return the median, or something usual where there is nothing."""
    return float(np.median(values)) if values.size else otherwise
