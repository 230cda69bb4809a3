"""The tiny training as a program that can be killed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("tiny.py")


@pytest.fixture
def command() -> Callable[..., list[str]]:
    """Return a function that gives the command line of the program: FOLDER WORKERS PAUSE_S [resume]."""
    return lambda *words: [sys.executable, "-W", "error", str(PROGRAM), *map(str, words)]
