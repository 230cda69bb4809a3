"""The tiny training as a program that can be killed; one thread, so that numbers are equal to the bit."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("tiny_pairs.py")


@pytest.fixture
def command() -> Callable[..., list[str]]:
    """Return a function that gives the command line of the program: FOLDER PAUSE_S [resume]."""
    return lambda *words: [sys.executable, "-W", "error", str(PROGRAM), *map(str, words)]


@pytest.fixture
def environment() -> dict[str, str]:
    """Return the environment of the program: this package, one thread."""
    package = str(Path(__file__).resolve().parents[3])
    return os.environ | {"PYTHONPATH": package, "OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
