"""How a slide is cut: the analysis downsample, tiles of 256 px, and regions of tiles that are one task each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from wsi_pipeline.geometry import Box, Mpp, Size, ceil_div, cut


class TilingOptions(BaseModel):
    """Tile and region sizes, in analysis px."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    coarsest_mpp: float = Field(
        0.275, gt=0, description="a finer slide is halved while it stays at or below this pixel size, um/px"
    )
    tile_px: int = Field(256, ge=64, description="side of a tile, analysis px")
    region_tiles: int = Field(8, ge=1, le=32, description="side of a region, tiles")
    map_px: int = Field(8, ge=2, description="side of a class-map and density-map px, analysis px")
    min_tissue_share: float = Field(
        0.25, ge=0, le=1, description="a network is not asked about tiles with a smaller share of tissue, 0-1"
    )


@dataclass(frozen=True)
class Region:
    """One task: `core_an` is counted, and belongs to no other region. `index` counts row by row."""

    index: int
    core_an: Box


@dataclass(frozen=True)
class Grid:
    """The cut of one slide into tiles and regions of an analysis frame, whose origin is that of level 0.

    `ratio`: level-0 px per analysis px along x and y; whole numbers where the slide's own pixels are analysed, any
    number where a network wants its own pixel size. Sizes in analysis px.
    """

    size_l0: Size
    mpp_l0: Mpp
    ratio: tuple[float, float]
    options: TilingOptions

    @property
    def mpp(self) -> Mpp:
        """Pixel size of the analysis frame, um/px."""
        return Mpp(self.mpp_l0.x * self.ratio[0], self.mpp_l0.y * self.ratio[1])

    @property
    def size_an(self) -> Size:
        """Size of the analysis frame; a last incomplete px counts, and is padded with glass."""
        return Size(math.ceil(self.size_l0.width / self.ratio[0]), math.ceil(self.size_l0.height / self.ratio[1]))

    @property
    def region_px(self) -> int:
        """Side of a region, analysis px."""
        return self.options.tile_px * self.options.region_tiles

    def regions(self) -> list[Region]:
        """Return all regions, row by row; those at the right and lower edge are cropped."""
        return [Region(index, box) for index, box in enumerate(cut(self.size_an, self.region_px))]

    def tiles(self, region: Region) -> list[Box]:
        """Return the tiles of a region in analysis px of the slide, row by row, cropped at the slide's edge."""
        core = region.core_an
        return [
            Box(core.x + box.x, core.y + box.y, box.width, box.height) for box in cut(core.size, self.options.tile_px)
        ]

    def shown(self, box_an: Box) -> Box:
        """Return the level-0 px of `box_an` that the slide has: to the nearest px, and cut at the slide's edge."""
        left, right = (round(x * self.ratio[0]) for x in (box_an.x, box_an.right))
        top, bottom = (round(y * self.ratio[1]) for y in (box_an.y, box_an.bottom))
        return Box(left, top, right - left, bottom - top).intersection(Box(0, 0, *self.size_l0))

    def tile_columns(self) -> int:
        """Return how many tiles stand side by side on the slide."""
        return ceil_div(self.size_an.width, self.options.tile_px)

    def map_window(self, region: Region, tile: Box) -> tuple[slice, slice]:
        """Return rows and columns, of an array with one value per map px of `region`, that one of its tiles covers."""
        core, step = region.core_an, self.options.map_px
        left, top = (tile.x - core.x) // step, (tile.y - core.y) // step
        return slice(top, top + ceil_div(tile.height, step)), slice(left, left + ceil_div(tile.width, step))

    def tile_number(self, tile: Box) -> int:
        """Return the number of a tile, counted row by row over the whole slide."""
        return tile.y // self.options.tile_px * self.tile_columns() + tile.x // self.options.tile_px

    def tiles_at(self, x_l0: NDArray[np.float64], y_l0: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the numbers (N,) of the tiles that hold the points (N,), level-0 px."""
        tile, size = self.options.tile_px, self.size_an
        column = np.clip(x_l0 / self.ratio[0], 0, size.width - 1).astype(np.int64) // tile
        row = np.clip(y_l0 / self.ratio[1], 0, size.height - 1).astype(np.int64) // tile
        return np.asarray(row * self.tile_columns() + column)


def make_grid(size_l0: Size, mpp_l0: Mpp, options: TilingOptions) -> Grid:
    """Cut a slide of `size_l0` px: level 0 halved as often as the pixel size stays at most `coarsest_mpp`.

    Halving keeps every analysis pixel on whole level-0 pixels; a slide coarser than that is analysed as it is.
    """
    downsample = 1
    while max(mpp_l0) * downsample * 2 <= options.coarsest_mpp:
        downsample *= 2
    return Grid(size_l0, mpp_l0, (downsample, downsample), options)


def make_grid_at(size_l0: Size, mpp_l0: Mpp, mpp: float, options: TilingOptions) -> Grid:
    """Cut a slide into square analysis px of `mpp` um, as a network was trained on them."""
    return Grid(size_l0, mpp_l0, (mpp / mpp_l0.x, mpp / mpp_l0.y), options)
