"""One chosen tile: where it lies, what the network answers, and which parts of it speak for a margin."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from wsi_pipeline.errors import UsageError
from wsi_pipeline.explain.cam import MarginMaps
from wsi_pipeline.explain.fine import Method, default_layer, fine_cam, layers_of
from wsi_pipeline.explain.uncertainty import entropy_bits, softmax
from wsi_pipeline.geometry import Box
from wsi_pipeline.models.fixture_tiles import glass_tile
from wsi_pipeline.models.ihcnet import TileClassifier
from wsi_pipeline.models.load import LoadedModel
from wsi_pipeline.models.manifest import HER2_CLASSES, Manifest
from wsi_pipeline.models.preprocess import network_input
from wsi_pipeline.slide import SlideInfo
from wsi_pipeline.tiling import Grid, TilingOptions, make_grid_at

MARGIN_NAMES = tuple(f"{upper} against {lower}" for lower, upper in pairwise(HER2_CLASSES))
"""What each margin asks, in order."""

POINT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*,\s*(\d+(?:\.\d+)?)\s*")
"""X,Y."""


class CamChoice(NamedTuple):
    """What to show: `margin` 0 to 2 (None: into the predicted class), `layer` (None: stride 16), and how."""

    margin: int | None = None
    layer: str | None = None
    method: Method = "hirescam"


class Explanation(NamedTuple):
    """What the network says of one tile, and why. Maps are signed, in logits, comparable between tiles."""

    rgb: NDArray[np.uint8]
    """(T, T, 3): the tile at the model's pixel size."""
    probabilities: NDArray[np.float64]
    """(4,)."""
    margins: NDArray[np.float64]
    """(3,): logit k minus logit k - 1."""
    entropy_bits: float
    margin: int
    """Which margin the maps are of."""
    coarse: NDArray[np.float32]
    """(h, w): integrated gradients at the features that are pooled; the mean is the margin (see `cam.MarginMaps`)."""
    glass_margin: float
    """The same margin of a tile of glass, which every value of `coarse` includes."""
    coarse_stride: int
    """Network input px per value of `coarse`."""
    fine: NDArray[np.float32]
    """(h, w), at `layer` by `method`."""
    fine_stride: int
    """Network input px per value of `fine`."""
    layer: str
    method: Method


def tile_grid(info: SlideInfo, manifest: Manifest) -> Grid:
    """Return the grid of the model's tiles, which starts at the slide's upper left corner; a run numbers them alike."""
    options = TilingOptions().model_copy(update={"tile_px": manifest.tile_px})
    return make_grid_at(info.size_l0, info.mpp, manifest.mpp, options)


def tile_at(grid: Grid, text: str) -> Box:
    """Return the tile (model px, whole even at the edge) that holds the point `text`, "X,Y" in level-0 px.

    Raises UsageError for what is no point, or lies outside the slide.
    """
    match = POINT.fullmatch(text)
    if match is None:
        raise UsageError("--at", f"{text!r} is not X,Y", "give level-0 pixels as QuPath shows them, such as 12000,8400")
    x_l0, y_l0 = (float(part) for part in match.groups())
    width, height = grid.size_l0
    if x_l0 >= width or y_l0 >= height:
        raise UsageError("--at", f"{x_l0:g},{y_l0:g} lies outside the slide of {width} x {height} px")
    return tile_numbered(grid, int(grid.tiles_at(np.array([x_l0]), np.array([y_l0]))[0]))


def tile_numbered(grid: Grid, number: int) -> Box:
    """Return the tile (model px, whole even at the edge) of this number, counted row by row. Raises UsageError."""
    side, columns = grid.options.tile_px, grid.tile_columns()
    rows = -(-grid.size_an.height // side)
    if not 0 <= number < rows * columns:
        raise UsageError("--tile", f"{number} is not one of the slide's tiles 0 to {rows * columns - 1}")
    return Box(number % columns * side, number // columns * side, side, side)


def explain_tile(loaded: LoadedModel, rgb: NDArray[np.uint8], choice: CamChoice) -> Explanation:
    """Classify `rgb` (T, T, 3) uint8, T the manifest's tile_px, and map what speaks for and against a margin.

    Raises UsageError for a network that is no tile classifier, or one without the layer.
    """
    network = loaded.network
    if not isinstance(network, TileClassifier):
        raise UsageError(loaded.manifest.name, f"is {loaded.manifest.architecture}, not a tile classifier")
    layer = choice.layer or default_layer(network)
    tile = network_input(torch.from_numpy(np.ascontiguousarray(rgb))[None], loaded.manifest)
    glass = network_input(torch.from_numpy(glass_tile(loaded.manifest)), loaded.manifest)
    with torch.inference_mode():
        features = network.feature_map(tile)
        maps = MarginMaps(network, network.feature_map(glass).mean(dim=(2, 3))[0])
        logits = network.logits(features)[0].double().numpy()
    margin = choice.margin if choice.margin is not None else max(int(logits.argmax()) - 1, 0)
    fine = fine_cam(network, tile, layer, margin, choice.method)
    coarse_stride = tile.shape[-1] // features.shape[-1]
    return Explanation(
        rgb, softmax(logits), np.diff(logits), float(entropy_bits(logits)), margin,
        maps(features)[0, margin], float(maps.glass_margins[margin]), coarse_stride,
        fine, layers_of(network)[layer].stride, layer, choice.method,
    )  # fmt: skip
