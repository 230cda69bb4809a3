"""Real pairs in the layouts of BCI and MIST."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wsi_pipeline.stain.density import StainVectors, unmix
from wsi_pipeline.training.data.checks import check_patches, problems_of
from wsi_pipeline.training.data.layouts import read_dataset
from wsi_pipeline.training.data.patches import PatchOptions, PatchSource

pytestmark = pytest.mark.real


@pytest.fixture
def bci(real_data: Path) -> Path:
    return real_data / "her2" / "pairs_bci"


def test_bci_pairs(bci: Path) -> None:
    patches = read_dataset(bci)
    assert sorted(patch.label for patch in patches) == [0, 1, 1, 2, 2, 3, 3, 3]
    assert {patch.split for patch in patches} == {"test"}
    check_patches(patches, 1024)


def test_mist_pairs(real_data: Path) -> None:
    patches = read_dataset(real_data / "her2" / "pairs_mist")
    assert len(patches) == 8
    assert {patch.slide for patch in patches} == {
        "28M2101987", "19M2102438", "100M2004069", "31M2101871", "15M2102762"
    }  # fmt: skip
    assert problems_of(patches, 1024) == []


def test_augmentation_keeps_the_order_of_dab(bci: Path) -> None:
    """The strongest and the weakest crop of real tissue stay that, whatever is drawn."""
    patches = [patch for patch in read_dataset(bci) if patch.path.stem in ("00118_test_0", "00057_test_3+")]
    source = PatchSource(patches, PatchOptions(crops=12))
    dab = [unmix(source.sample(k, 0).rgb, (255.0, 255.0, 255.0), StainVectors()).dab.mean() for k in range(24)]
    weak, strong = (np.array(dab)[source.labels() == label] for label in (0, 3))
    assert weak.max() < strong.min()
    assert source.sample(3, 0).he.shape == (256, 256, 3)
