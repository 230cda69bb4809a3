"""What the trainings that are killed share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def environment() -> dict[str, str]:
    """Return the environment of the program: this package, one thread."""
    package = str(Path(__file__).resolve().parents[2])
    return os.environ | {"PYTHONPATH": package, "OMP_NUM_THREADS": "1"}
