"""The coarser levels of the maps that regions write: made by the workers, block by block, and the coarsest afterwards.

A chunk of level 1 belongs to several regions, so no region can write it alone. Whoever ends the last region of a block
writes what lies in the block: then nothing waits, and little is left to do when all regions are done.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from wsi_pipeline.explain.pseudocolour import colour_density
from wsi_pipeline.export.zarr_map import MapStore, levels_alone
from wsi_pipeline.geometry import Box
from wsi_pipeline.tiling import Grid, Region

CLASS_MAP = "her2_class.ome.zarr"
DENSITY_MAP = "dab_density.ome.zarr"
COLOUR_MAP = "dab_pseudocolour.ome.zarr"

BLOCK_REGIONS = 4
"""Side of a block in regions: of the usual ones, whose map is one chunk, levels 1 and 2 then lie in no other block."""


class Block(NamedTuple):
    """A square of the maps, map px of full size, and the numbers of the regions in it that are measured."""

    box_map: Box
    regions: tuple[int, ...]


def blocks_of(grid: Grid, regions: Sequence[Region]) -> dict[int, Block]:
    """Return region -> its block; of several regions it is the same one."""
    step, side = BLOCK_REGIONS * grid.region_px, _side(grid)
    inside: dict[tuple[int, int], list[int]] = {}
    for region in regions:
        inside.setdefault((region.core_an.x // step, region.core_an.y // step), []).append(region.index)
    blocks = [Block(Box(x * side, y * side, side, side), tuple(found)) for (x, y), found in inside.items()]
    return {number: block for block in blocks for number in block.regions}


def build_block(maps: Path, block: Block) -> None:
    """Write those levels of a block in which no other block has a part; doing it twice changes nothing.

    Raises OutputError, ResourceError.
    """
    _build(maps, range(1, _first_shared(maps, block.box_map.width)), block.box_map)


def build_rest(maps: Path, grid: Grid, missing: Iterable[Block]) -> None:
    """Write the levels of blocks that nobody wrote, and the coarsest of all. Raises OutputError, ResourceError."""
    for block in missing:
        build_block(maps, block)
    store = MapStore.open(maps / DENSITY_MAP)
    _build(maps, range(_first_shared(maps, _side(grid)), len(store.levels)), Box(0, 0, *store.size()))


def _side(grid: Grid) -> int:
    """Return the side of a block, map px."""
    return BLOCK_REGIONS * grid.region_px // grid.options.map_px


def _first_shared(maps: Path, side: int) -> int:
    """Return the first level in whose chunks several blocks of `side` map px have a part."""
    return levels_alone(side, MapStore.open(maps / DENSITY_MAP).chunk)


def _build(maps: Path, levels: range, box_map: Box) -> None:
    """Write these levels of a box of all maps; those of the colours are drawn anew, since colours have no mean."""
    MapStore.open(maps / CLASS_MAP).build_levels("mode", levels, box_map)
    density, coloured = MapStore.open(maps / DENSITY_MAP), MapStore.open(maps / COLOUR_MAP)
    density.build_levels("mean", levels, box_map)
    for level in levels:
        for box in density.blocks(level, box_map):
            if not density.is_untouched(box, level):
                coloured.write_block(box.x, box.y, colour_density(density.read_block(box, level)), level)
