"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # how long an example takes says how busy the machine is
settings.load_profile("untimed")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a suite in the background; its children would too
    signal.signal(signal.SIGINT, signal.default_int_handler)

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


@pytest.fixture(scope="session", autouse=True)
def _converted_networks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep networks that are converted for OpenVINO in one folder for all tests, and none in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WSI_HER2_CACHE", str(tmp_path_factory.mktemp("converted")))
        yield


@pytest.fixture(autouse=True)
def _no_weights_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for weights in an empty folder, whatever lies on this machine."""
    monkeypatch.setenv("WSI_HER2_WEIGHTS", str(tmp_path / "user"))


@pytest.fixture(autouse=True)
def _few_threads() -> Iterator[None]:
    """Keep torch to one thread, so that tests neither crowd the machine nor depend on its size."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
