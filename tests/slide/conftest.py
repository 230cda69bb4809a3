"""Small slides of every kind: never square, never a multiple of the tile, mpp_x != mpp_y where the format allows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

WIDTH, HEIGHT = 613, 389
TILE = 64
MPP_X, MPP_Y = 0.25, 0.26
SCAN_DESCRIPTION = (
    f"Aperio Image Library v12\r\n{WIDTH}x{HEIGHT} ({TILE}x{TILE}) JPEG/RGB Q=90|AppMag = 40|MPP = {MPP_X}"
)

WriteTiff = Callable[..., Path]


@pytest.fixture(scope="session")
def scan() -> np.ndarray:
    """Return a (389, 613, 3) uint8 image in which no two tiles, rows or columns are alike."""
    noise = np.random.default_rng(7).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    return cv2.addWeighted(cv2.GaussianBlur(noise, (0, 0), 2), 0.5, noise, 0.5, 0)


@pytest.fixture(scope="session")
def quarter(scan: np.ndarray) -> np.ndarray:
    """Return `scan` 4 times smaller, the last partial row and column dropped: 97 x 153, downsample 4.0085."""
    whole = scan[: HEIGHT // 4 * 4, : WIDTH // 4 * 4]
    return cv2.resize(whole, (WIDTH // 4, HEIGHT // 4), interpolation=cv2.INTER_AREA)


@pytest.fixture
def write_tiff(tmp_path: Path) -> WriteTiff:
    """Return a writer of tiled TIFFs: levels from large to small, further options as tifffile names them."""

    def write(name: str, *levels: np.ndarray, description: str | None = None, **options: Any) -> Path:
        path = tmp_path / name
        settings = {"photometric": "rgb", "tile": (TILE, TILE), "metadata": None, **options}
        with tifffile.TiffWriter(path) as writer:
            for index, level in enumerate(levels):
                writer.write(level, description=description, subfiletype=int(index > 0), **settings)
        return path

    return write


@pytest.fixture
def svs(tmp_path: Path, scan: np.ndarray, quarter: np.ndarray) -> Path:
    """Return an Aperio slide: JPEG level, thumbnail, level (page 2), label, macro; space and umlaut in its name."""
    path = tmp_path / "sl\u00efde 1.svs"
    header = f"Aperio Image Library v12\r\n{WIDTH}x{HEIGHT}"
    with tifffile.TiffWriter(path) as writer:
        options = {"photometric": "rgb", "compression": "jpeg", "metadata": None}
        writer.write(scan, tile=(TILE, TILE), description=SCAN_DESCRIPTION, **options)
        writer.write(quarter, description=f"{header} -> 153x97", **options)
        writer.write(quarter, tile=(TILE, TILE), description=SCAN_DESCRIPTION, **options)
        writer.write(quarter[:50, :40], description=f"{header}\r\nlabel 40x50", subfiletype=1, **options)
        writer.write(quarter[:30, :70], description=f"{header}\r\nmacro 70x30", subfiletype=9, **options)
    return path


@pytest.fixture
def ome(tmp_path: Path, scan: np.ndarray, quarter: np.ndarray) -> Path:
    """Return an OME-TIFF of two deflated levels with a physical size per axis."""
    path = tmp_path / "scan.ome.tif"
    metadata = {"axes": "YXS", "PhysicalSizeX": MPP_X, "PhysicalSizeXUnit": "\u00b5m"}
    metadata |= {"PhysicalSizeY": MPP_Y * 1000, "PhysicalSizeYUnit": "nm"}
    with tifffile.TiffWriter(path, ome=True) as writer:
        options = {"photometric": "rgb", "tile": (TILE, TILE), "compression": "deflate"}
        writer.write(scan, subifds=1, metadata=metadata, **options)
        writer.write(quarter, subfiletype=1, **options)
    return path


@pytest.fixture
def break_tile() -> Callable[..., None]:
    """Return what spoils the second half of the tile at a column and row, with noise or with the bytes `fill`."""

    def spoil(path: Path, column: int, row: int, page: int = 0, fill: bytes = b"") -> None:
        with tifffile.TiffFile(path) as tiff:
            index = _tile_index(tiff.pages[page], column, row)
            offset, count = tiff.pages[page].dataoffsets[index], tiff.pages[page].databytecounts[index]
        rest = count - count // 2
        _overwrite(path, offset + count // 2, fill * rest or np.random.default_rng(0).bytes(rest))

    return spoil


@pytest.fixture
def erase_tile() -> Callable[..., None]:
    """Return what makes a tile one that was never written: offset and count zero."""

    def erase(path: Path, column: int, row: int, page: int = 0) -> None:
        with tifffile.TiffFile(path) as tiff:
            index = _tile_index(tiff.pages[page], column, row)
            tags = [tiff.pages[page].tags[name] for name in ("TileOffsets", "TileByteCounts")]
            places = [(tag.valueoffset, {3: 2, 4: 4, 16: 8}[int(tag.dtype)]) for tag in tags]
        for offset, width in places:
            _overwrite(path, offset + index * width, bytes(width))

    return erase


def _tile_index(page: Any, column: int, row: int) -> int:
    """Return a tile's index in the page's tables."""
    return row * -(-page.imagewidth // page.tilewidth) + column


def _overwrite(path: Path, offset: int, data: bytes) -> None:
    """Replace bytes in place."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
