"""One small phantom for all tests: not square, no multiple of a tile or chunk, pixels of unequal sides."""

from __future__ import annotations

import pytest

from wsi_pipeline.training.phantom import Phantom, PhantomOptions, make_phantom
from wsi_pipeline.training.phantom.options import ArtefactOptions, OpticsOptions

SMALL = PhantomOptions(
    name="small",
    seed=3,
    width=1907,
    height=1413,
    mpp_x=0.27,
    mpp_y=0.25,
    mix={"0": 0.30, "1": 0.20, "2": 0.20, "2i": 0.05, "3": 0.25},
    arrangement="patchy",
    patch_um=60.0,
    artefacts=ArtefactOptions(dust=3),
    optics=OpticsOptions(shot_noise=0.8, illumination=0.003),
)


@pytest.fixture(scope="session")
def small_options() -> PhantomOptions:
    """Return the options of `small_phantom`."""
    return SMALL


@pytest.fixture(scope="session")
def small_phantom() -> Phantom:
    """Return a phantom of a mixed tumour, 515 x 353 um."""
    return make_phantom(SMALL)
