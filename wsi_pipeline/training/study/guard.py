"""What keeps synthetic images in training: a mark inside every file, and checks on the very samples that are used."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from wsi_pipeline.errors import UsageError
from wsi_pipeline.training.data.records import Patch, Split

MARK = "wsi-her2-synthetic"
"""Name of the text inside the PNG of every virtual tile: it says what the file is, wherever it is copied to."""

WORDS = "virtual IHC, inferred from H&E; never for validation or test"


def marked_png(rgb: NDArray[np.uint8]) -> bytes:
    """Return `rgb` (H, W, 3) as PNG that says of itself that it is synthetic."""
    info = PngImagePlugin.PngInfo()
    info.add_text(MARK, WORDS)
    return png(rgb, info)


def png(rgb: NDArray[np.uint8], info: PngImagePlugin.PngInfo | None = None) -> bytes:
    """Return `rgb` (H, W, 3) as PNG, with `info` inside."""
    file = BytesIO()
    Image.fromarray(rgb).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def is_marked(path: Path) -> bool:
    """Return whether a file says of itself that it is synthetic; only its head is read."""
    try:
        with Image.open(path) as image:
            return MARK in image.info
    except (OSError, SyntaxError, ValueError) as error:
        raise UsageError(path, f"cannot be read as an image: {error}", "replace or remove it") from error


def require_real(patches: Iterable[Patch]) -> None:
    """Raise UsageError naming the first patch that is synthetic, by its index or by the mark in one of its files.

    Files that are missing are passed over; others say so better.
    """
    for patch in patches:
        files = [file for file in (patch.path, patch.he) if file is not None and file.is_file()]
        marked = next((file for file in files if is_marked(file)), None)
        if patch.synthetic or marked is not None:
            raise UsageError(
                marked or patch.path,
                "is a synthetic image",
                "a study starts from real images and makes its synthetic ones itself; leave this one out",
            )


def require_place(patch: Patch, role: Split) -> None:
    """Raise UsageError naming the image when `patch` may not be used as `role`: of another split, or synthetic."""
    if role != "train" and (patch.synthetic or is_marked(patch.path)):
        raise UsageError(patch.path, f"a synthetic image was about to be used for {role}", "they belong in train only")
    if patch.split != role:
        raise UsageError(patch.path, f"belongs to {patch.split}, and was about to be used for {role}")
