"""OME-Zarr stores for tests: as this product writes them, and as the zarr library does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs import Blosc

from wsi_pipeline.export.ngff import MapSpec
from wsi_pipeline.export.zarr_map import MapStore
from wsi_pipeline.geometry import Mpp, Size

WIDTH, HEIGHT = 613, 389
CHUNK = 64
MPP = Mpp(0.25, 0.26)
UNITS = {"x": "nanometer", "y": "micrometer"}
SCALES = {"x": 250.0, "y": 0.26}


def write_map(path: Path, pixels: np.ndarray) -> Path:
    """Write `pixels` as this product writes images."""
    size = Size(pixels.shape[1], pixels.shape[0])
    spec = MapSpec(size_map=size, channels="rgb", mpp_map=MPP, name="scan", chunk=CHUNK, kind="scan")
    store = MapStore.create(path, spec)
    store.write_block(0, 0, pixels)
    store.build_pyramid("mean")
    return path


def write_store(
    path: Path, *levels: np.ndarray, axes: str = "cyx", version: int = 2, chunks: dict[str, int] | None = None,
    separator: str = "/", units: dict[str, str] | None = UNITS, **options: Any,
) -> Path:  # fmt: skip
    """Write (H, W, C) `levels` with the zarr library; `options` are those of zarr.create_array."""
    side = {"c": 1, "y": CHUNK, "x": CHUNK - 11, **(chunks or {})}
    default = {"compressors": Blosc("lz4"), "filters": None} if version == 2 else {}
    settings = {"fill_value": 255, "zarr_format": version, **default, **options}
    for index, colours in enumerate(levels):
        level = colours if "c" in axes else colours[..., 0]
        planes = level.transpose(["yxc".index(axis) for axis in axes if axis in "yxc"])
        shape = [level.shape["yxc".index(axis)] if axis in "yxc" else 1 for axis in axes]
        encoding = {"name": "v2" if version == 2 or separator == "." else "default", "separator": separator}
        array = zarr.create_array(
            str(path / f"s{index}"), shape=shape, chunks=[side.get(axis, 1) for axis in axes], dtype=level.dtype,
            chunk_key_encoding=encoding, **settings,
        )  # fmt: skip
        array[:] = planes.reshape(shape)
    write_attributes(path, ngff(axes, len(levels), units), version)
    return path


def ngff(axes: str, levels: int, units: dict[str, str] | None) -> dict[str, Any]:
    """Return NGFF attributes of so many levels."""
    kinds = {"t": "time", "c": "channel"}
    described = [{"name": axis, "type": kinds.get(axis, "space")} for axis in axes]
    for axis in described:
        if axis["name"] in (units or {}):
            axis["unit"] = units[axis["name"]]
    scale = [SCALES.get(axis, 1.0) for axis in axes]
    datasets = [
        {"path": f"s{index}", "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        for index in range(levels)
    ]
    return {"multiscales": [{"version": "0.4", "axes": described, "datasets": datasets}]}


def write_attributes(path: Path, attributes: dict[str, Any], version: int = 2) -> None:
    """Write a group's metadata."""
    path.mkdir(exist_ok=True)
    if version == 3:
        group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.5"} | attributes}}
        (path / "zarr.json").write_text(json.dumps(group))
        return
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    (path / ".zattrs").write_text(json.dumps(attributes))


def write_xml(path: Path, pixels: str, channels: str = "") -> None:
    (path / "OME").mkdir()
    image = f'<Image ID="Image:0"><Pixels ID="P" Type="uint8" {pixels}>{channels}</Pixels></Image>'
    (path / "OME" / "METADATA.ome.xml").write_text(f"<OME>{image}<Image><Pixels/></Image></OME>", encoding="utf-8")
