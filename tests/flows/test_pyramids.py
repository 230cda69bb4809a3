"""The coarser levels of the maps: made block by block, in any order and twice, they are those of the whole map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_pipeline.explain.pseudocolour import colour_density
from wsi_pipeline.export.palette import colour_classes
from wsi_pipeline.export.zarr_map import MapStore, halve_by_mean, halve_by_mode
from wsi_pipeline.flows.maps import FOLDER, create_maps
from wsi_pipeline.flows.pyramids import (
    BLOCK_REGIONS,
    CLASS_MAP,
    COLOUR_MAP,
    DENSITY_MAP,
    Block,
    blocks_of,
    build_block,
    build_rest,
)
from wsi_pipeline.geometry import Box, Mpp, Size, cut
from wsi_pipeline.tiling import Grid, TilingOptions, make_grid

SIZE = Size(6391, 3947)
"""Not square, no multiple of the tile: 25 x 16 regions of one tile, 7 x 4 blocks."""


def grid_of(size: Size = SIZE, region_tiles: int = 1) -> Grid:
    return make_grid(size, Mpp(0.25, 0.26), TilingOptions(region_tiles=region_tiles))


def fill_maps(work: Path, grid: Grid) -> tuple[Path, np.ndarray, np.ndarray]:
    """Write the finest level of the three maps as regions do; return their folder, density and classes."""
    create_maps(work, grid, cells=True, virtual=False)
    random = np.random.default_rng(11)
    density_map, classes_map, colour_map = (
        MapStore.open(work / FOLDER / name) for name in (DENSITY_MAP, CLASS_MAP, COLOUR_MAP)
    )
    height, width = density_map.levels[0].shape[1:]
    density = random.integers(0, 256, (height, width), dtype=np.uint8)
    classes = random.integers(0, 5, (height, width), dtype=np.uint8)
    density[: height // 3, : width // 2] = 0  # glass: no chunk there
    for box in cut(Size(width, height), density_map.chunk):
        part = np.s_[box.y : box.bottom, box.x : box.right]
        density_map.write_block(box.x, box.y, density[part])
        classes_map.write_block(box.x, box.y, colour_classes(classes[part]))
        colour_map.write_block(box.x, box.y, colour_density(density[part]))
    return work / FOLDER, density, colour_classes(classes)


@pytest.mark.parametrize("region_tiles", [1, 3])
@pytest.mark.parametrize("left", [0, 5])
def test_blocks_and_the_rest_make_the_levels_of_the_whole_map(region_tiles: int, left: int, tmp_path: Path) -> None:
    grid = grid_of(region_tiles=region_tiles)
    maps, density, classes = fill_maps(tmp_path, grid)
    blocks = sorted(set(blocks_of(grid, grid.regions()).values()), reverse=True)
    left = min(left, len(blocks) - 1)
    for block in [*blocks[left:], blocks[-1]]:
        build_block(maps, block)
    build_rest(maps, grid, blocks[:left])
    stores = {name: MapStore.open(maps / name) for name in (DENSITY_MAP, CLASS_MAP, COLOUR_MAP)}
    levels = len(stores[DENSITY_MAP].levels)
    assert levels > 3
    for level in range(1, levels):
        density, classes = halve_by_mean(density), halve_by_mode(classes, 255)
        whole = Box(0, 0, *stores[DENSITY_MAP].size(level))
        np.testing.assert_array_equal(stores[DENSITY_MAP].read_block(whole, level), density)
        np.testing.assert_array_equal(stores[CLASS_MAP].read_block(whole, level), classes)
        np.testing.assert_array_equal(stores[COLOUR_MAP].read_block(whole, level), colour_density(density))


def test_a_block_writes_nothing_outside_itself(tmp_path: Path) -> None:
    grid = grid_of()
    maps, *_ = fill_maps(tmp_path, grid)
    block = blocks_of(grid, grid.regions())[grid.regions()[-1].index]
    build_block(maps, block)
    store = MapStore.open(maps / DENSITY_MAP)
    for level in (1, 2):
        inside = Box(block.box_map.x >> level, block.box_map.y >> level, *store.size(level))
        assert not store.is_untouched(inside, level)
        assert store.is_untouched(Box(0, 0, store.size(level).width, inside.y), level)
        assert store.is_untouched(Box(0, 0, inside.x, store.size(level).height), level)
    assert store.is_untouched(Box(0, 0, *store.size(3)), 3)


@given(
    st.integers(300, 30_000), st.integers(300, 30_000), st.sampled_from([1, 2, 3, 8]),
    st.sets(st.integers(0, 2_000)),
)  # fmt: skip
def test_every_region_lies_in_its_block_and_in_no_other(
    width: int, height: int, region_tiles: int, chosen: set[int]
) -> None:
    grid = grid_of(Size(width, height), region_tiles)
    regions = [region for region in grid.regions() if not chosen or region.index in chosen]
    blocks = blocks_of(grid, regions)
    assert sorted(blocks) == [region.index for region in regions]
    for region in regions:
        block = blocks[region.index]
        px = grid.options.map_px
        core_map = Box(*(value // px for value in region.core_an))
        assert core_map.intersection(block.box_map) == core_map
        assert region.index in block.regions
    assert sorted(index for block in set(blocks.values()) for index in block.regions) == sorted(blocks)
    assert all(isinstance(block, Block) and len(block.regions) <= BLOCK_REGIONS**2 for block in blocks.values())
