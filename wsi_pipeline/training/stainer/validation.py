"""Validation: the averaged generator beside its baselines on pairs that it never saw, in numbers and pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import torch

from wsi_pipeline.errors import OutputError
from wsi_pipeline.export.atomic import write_atomic
from wsi_pipeline.models.ihcnet import TileClassifier
from wsi_pipeline.models.load import load_model
from wsi_pipeline.models.preprocess import image_pixels, network_input
from wsi_pipeline.models.pspstain import Generator
from wsi_pipeline.training.data.records import Source
from wsi_pipeline.training.stainer.metrics import Classify, StainScores
from wsi_pipeline.training.stainer.options import ValidationOptions
from wsi_pipeline.training.stainer.pairs import Pixels, pairs, spread

Stain = Callable[[Pixels], Pixels]
"""Turns H&E (H, W, 3) into virtual IHC of the same shape."""

Row = tuple[Pixels, ...]
"""H&E, real IHC and then the virtual IHC of every method."""

CELL_PX = 256
"""Side of a picture in the sample grid, px."""

CAPTION_PX = 22
GAP_PX = 4


def staining(generator: Generator, device: str) -> Stain:
    """Return the function that stains with `generator`, in fp32."""

    def stain(he: Pixels) -> Pixels:
        image = torch.from_numpy(np.ascontiguousarray(he)).permute(2, 0, 1)[None].to(device)
        with torch.inference_mode():
            return np.asarray(image_pixels(generator(image.float() / 127.5 - 1))[0].cpu().numpy())

    return stain


def measure(
    source: Source, methods: dict[str, Stain], options: ValidationOptions, classify: Classify | None = None
) -> tuple[dict[str, dict[str, float]], list[Row]]:
    """Return the measures of every method, by name, and the rows of the sample grid.

    Raises UsageError for samples that are no pairs.
    """
    scores = {name: StainScores(options.tile_px, classify) for name in methods}
    chosen = spread(len(source), options.most)
    shown = spread(len(chosen), options.grid)
    rows = []
    for index, pair in enumerate(pairs(source, chosen)):
        made = {name: stain(pair.he) for name, stain in methods.items()}
        for name, virtual in made.items():
            scores[name].add(virtual, pair)
        if index in shown:
            different = (virtual for name, virtual in made.items() if name != "identity")
            rows.append((pair.he, pair.ihc, *different))
    return {name: found.result() for name, found in scores.items()}, rows


def classifier(name: str, folder: Path | None, device: str) -> Classify:
    """Return what tells the class of an IHC image from the tile in its middle. Raises WeightsError."""
    manifest, network = load_model(name, folder)
    network = cast("TileClassifier", network.to(device))
    side = manifest.tile_px

    def classify(rgb: Pixels) -> int | None:
        top, left = ((length - side) // 2 for length in rgb.shape[:2])
        if min(top, left) < 0:
            return None
        tile = torch.from_numpy(np.ascontiguousarray(rgb[top : top + side, left : left + side]))[None]
        with torch.inference_mode():
            return int(network(network_input(tile.to(device), manifest)).argmax())

    return classify


def write_grid(path: Path, rows: Sequence[Row], titles: Sequence[str]) -> None:
    """Write a picture of `rows` under `titles`; images are cut to their upper left 256 px.

    Raises OutputError, ResourceError.
    """
    step = CELL_PX + GAP_PX
    canvas = np.full((CAPTION_PX + step * len(rows), step * len(titles) - GAP_PX, 3), 255, np.uint8)
    for column, title in enumerate(titles):
        place = (column * step + GAP_PX, CAPTION_PX - 7)
        cv2.putText(canvas, title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        for row, images in enumerate(rows):
            part = images[column][:CELL_PX, :CELL_PX]
            top, left = CAPTION_PX + row * step, column * step
            canvas[top : top + part.shape[0], left : left + part.shape[1]] = part
    done, content = cv2.imencode(".png", canvas[..., ::-1])
    if not done:
        raise OutputError(path, "cannot be encoded as PNG")
    write_atomic(path, content.tobytes())
