"""Windows to train with: a step's windows follow from the seed and the step alone, so that a training can go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from wsi_pipeline.errors import UsageError
from wsi_pipeline.training.cells.options import CellTraining
from wsi_pipeline.training.cells.recolour import Photograph, recoloured
from wsi_pipeline.training.cells.scenes import Scene

Density = NDArray[np.float32]

LEAST_WALL = 0.06
"""Amount of DAB in a wall from which a pixel is wall."""

LEAST_RADIUS_PX = 1.5
"""Distances inside a nucleus are divided by its largest one, or by this."""


class Real(NamedTuple):
    """Real IHC as OD (H, W, 3) at 0.5 um/px, and how likely each px is epithelium (H, W), by whoever said so."""

    density: Density
    epithelium: Density


class Window(NamedTuple):
    """One window: its picture as OD (H, W, 3), and what is known of it, (H, W)."""

    density: Density
    nuclei: NDArray[np.int32]
    wall: Density
    epithelium: Density
    knows_cells: bool
    knows_epithelium: bool


class Batch(NamedTuple):
    """B windows as tensors: (B, 3, H, W), targets (B, H, W), and what is known of each (B,)."""

    density: Tensor
    nucleus: Tensor
    core: Tensor
    wall: Tensor
    epithelium: Tensor
    knows_cells: Tensor
    knows_epithelium: Tensor


class Material(NamedTuple):
    """What windows are cut from; `real` may be empty."""

    scenes: list[Scene]
    photographs: list[Photograph]
    real: list[Real]


def read_real(folder: Path | None) -> list[Real]:
    """Return real tissue: NAME.png, RGB at 0.5 um/px, beside NAME.epithelium.png, grey, 255 for sure epithelium.

    Raises UsageError for a folder without such pairs.
    """
    if folder is None:
        return []
    found = []
    for path in sorted(folder.glob("*.epithelium.png")):
        epithelium = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        picture = cv2.imread(str(path.with_name(path.name.replace(".epithelium", ""))))
        if epithelium is None or picture is None or picture.shape[:2] != epithelium.shape:
            raise UsageError(path, "has no picture of its size beside it", "put NAME.png beside NAME.epithelium.png")
        white = np.maximum(np.percentile(cv2.blur(picture, (3, 3)).reshape(-1, 3), 99.5, axis=0), 1)[::-1]
        rgb = np.asarray(picture[..., ::-1], np.uint8)
        found.append(Real(_density(rgb, white), np.asarray(epithelium, np.float32) / np.float32(255)))
    if not found:
        raise UsageError(folder, "holds no real tissue", "put NAME.png and NAME.epithelium.png there")
    return found


def draw_batch(material: Material, options: CellTraining, step: int) -> Batch:
    """Return the windows of a step."""
    windows = [
        draw_window(material, options, np.random.default_rng([options.seed, step, number]))
        for number in range(options.batch_size)
    ]
    return as_batch(windows)


def as_batch(windows: list[Window]) -> Batch:
    """Return windows of one size as tensors."""
    nuclei = np.stack([window.nuclei for window in windows])
    return Batch(
        torch.from_numpy(np.stack([window.density for window in windows]).transpose(0, 3, 1, 2).copy()),
        torch.from_numpy((nuclei > 0).astype(np.float32)),
        torch.from_numpy(np.stack([core_of(labels) for labels in nuclei])),
        torch.from_numpy(np.stack([window.wall > LEAST_WALL for window in windows]).astype(np.float32)),
        torch.from_numpy(np.stack([window.epithelium for window in windows])),
        torch.tensor([window.knows_cells for window in windows]),
        torch.tensor([window.knows_epithelium for window in windows]),
    )


def draw_window(material: Material, options: CellTraining, generator: np.random.Generator) -> Window:
    """Return a window of a random kind, spoiled as cameras and files spoil pictures."""
    real_share = options.real_share if material.real else 0.0
    kind = generator.random()
    if kind < real_share:
        window = _real(material.real, options.window_px, generator)
    elif kind < real_share + options.drawn_share:
        window = _drawn(material.scenes, options.window_px, generator)
    else:
        window = _recoloured(material.photographs, options.window_px, generator)
    return window._replace(density=spoiled(window.density, generator))


def _drawn(scenes: list[Scene], side: int, generator: np.random.Generator) -> Window:
    """Return a window of a phantom that holds a nucleus, if one of a few does."""
    scene = scenes[generator.integers(len(scenes))]
    size = int(side / generator.uniform(0.8, 1.25)) if generator.random() < 0.5 else side
    planes: list[NDArray[Any]] = [scene.rgb, scene.nuclei, scene.wall, scene.nest.astype(np.float32)]
    for _ in range(4):
        rgb, nuclei, wall, nest = _cut(planes, size, generator)
        if nuclei.any():
            break
    density = _density(rgb, np.array(scene.white))
    sized = [_sized(plane, side) for plane in (density, nuclei, wall, nest)]
    return Window(sized[0], sized[1], sized[2], sized[3], knows_cells=True, knows_epithelium=True)


def _recoloured(photographs: list[Photograph], side: int, generator: np.random.Generator) -> Window:
    """Return a window of recoloured nuclei."""
    photograph = photographs[generator.integers(len(photographs))]
    size = int(side / generator.uniform(0.75, 1.35))
    density, nuclei = _cut([photograph.density, photograph.nuclei], size, generator)
    density, nuclei = _sized(density, side), _numbered(_sized(nuclei, side))
    picture, wall = recoloured(Photograph(photograph.name, density, nuclei), generator)
    return Window(picture, nuclei, wall, np.zeros_like(wall), knows_cells=True, knows_epithelium=False)


def _real(pictures: list[Real], side: int, generator: np.random.Generator) -> Window:
    """Return a window of real tissue in other strengths and colours; large pictures are drawn as often as they hold."""
    area = np.sqrt([picture.epithelium.size for picture in pictures])
    picture = pictures[generator.choice(len(pictures), p=area / area.sum())]
    size = int(side * generator.uniform(0.8, 1.25))
    for _ in range(6):
        density, epithelium = _cut([picture.density, picture.epithelium], size, generator)
        if density.mean() > 0.03:
            break
    density, epithelium = _sized(density, side), _sized(epithelium, side)
    if generator.random() < 0.5:
        density = density * np.float32(generator.uniform(0.6, 1.6))
    if generator.random() < 0.3:
        mixed = np.clip(np.eye(3) + generator.normal(0, 0.06, (3, 3)), -0.1, 1.2)
        density = np.maximum(density @ mixed.astype(np.float32), 0)
    nothing = np.zeros((side, side), np.float32)
    nuclei = np.zeros((side, side), np.int32)
    return Window(density, nuclei, nothing, epithelium, knows_cells=False, knows_epithelium=True)


def spoiled(density: Density, generator: np.random.Generator) -> Density:
    """Return OD (H, W, 3) after blur, noise, a JPEG and a white that was guessed a little wrong."""
    if generator.random() < 0.6:
        density = np.asarray(cv2.GaussianBlur(density, (0, 0), generator.uniform(0.3, 1.2)), np.float32)
    light = 255 * 10**-density + generator.standard_normal(density.shape) * generator.uniform(0.5, 4)
    grey = np.clip(light, 1, 255).astype(np.uint8)
    if generator.random() < 0.5:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(generator.integers(40, 95))]
        grey = np.asarray(cv2.imdecode(cv2.imencode(".jpg", grey, quality)[1], cv2.IMREAD_COLOR), np.uint8)
    return _density(grey, np.full(3, 255 * generator.uniform(0.96, 1.0)))


def core_of(nuclei: NDArray[np.int32]) -> Density:
    """Return the distance to each nucleus' border over its largest (H, W), 0 outside."""
    core = np.zeros(nuclei.shape, np.float32)
    for number, place in enumerate(ndimage.find_objects(nuclei), 1):
        if place is not None:
            body = np.pad(nuclei[place] == number, 1).astype(np.uint8)
            distance = cv2.distanceTransform(body, cv2.DIST_L2, 5)[1:-1, 1:-1]
            core[place] = np.maximum(core[place], distance / max(float(distance.max()), LEAST_RADIUS_PX))
    return core


def _density(rgb: NDArray[np.uint8], white: NDArray[np.float64]) -> Density:
    """Return OD (H, W, 3) of grey levels over a white."""
    return np.maximum(-np.log10(np.maximum(rgb, 1) / white), 0).astype(np.float32)


def _cut(planes: list[NDArray[Any]], size: int, generator: np.random.Generator) -> list[NDArray[Any]]:
    """Return the same random square of all planes, turned and mirrored; what is too small is continued by mirroring."""
    height, width = planes[0].shape[:2]
    down, right = max(size - height, 0), max(size - width, 0)
    if down or right:
        planes = [np.pad(plane, ((0, down), (0, right), (0, 0))[: plane.ndim], mode="symmetric") for plane in planes]
        height, width = height + down, width + right
    y, x = int(generator.integers(height - size + 1)), int(generator.integers(width - size + 1))
    turns, mirror = int(generator.integers(4)), generator.random() < 0.5
    found = [np.rot90(plane[y : y + size, x : x + size], turns) for plane in planes]
    return [np.ascontiguousarray(plane[:, ::-1] if mirror else plane) for plane in found]


def _sized(plane: NDArray[Any], side: int) -> NDArray[Any]:
    """Return a square at `side` px; numbers are not mixed."""
    if plane.shape[0] == side:
        return plane
    if plane.dtype == np.int32:
        return cv2.resize(plane.astype(np.float32), (side, side), interpolation=cv2.INTER_NEAREST).astype(np.int32)
    return np.asarray(cv2.resize(plane, (side, side), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _numbered(nuclei: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the nuclei numbered from 1 on without gaps, so that tables by number are small."""
    numbers, again = np.unique(nuclei, return_inverse=True)
    return np.asarray(again.reshape(nuclei.shape) + (numbers[0] != 0), dtype=np.int32)
