"""The tiny training as a program that can be killed; one thread, so that numbers are equal to the bit."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("tiny_pairs.py")


@pytest.fixture
def command() -> Callable[..., list[str]]:
    """Return a function that gives the command line of the program: FOLDER PAUSE_S [resume]."""
    return lambda *words: [sys.executable, "-W", "error", str(PROGRAM), *map(str, words)]
