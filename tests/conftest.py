"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real images, or skip where there is none."""
    folder = Path(os.environ.get("WSI_HER2_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}: set WSI_HER2_DATA to the folder that holds them")
    return folder


@pytest.fixture(scope="session")
def samples() -> Path:
    """Return the folder of the committed sample slides."""
    return REPOSITORY / "sample_slides"
