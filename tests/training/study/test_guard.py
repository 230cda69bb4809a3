"""Synthetic images are known wherever they lie, and refused by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra: pip install '.[train]'")

from wsi_pipeline.errors import UsageError
from wsi_pipeline.training.data.records import Patch
from wsi_pipeline.training.study.audit import audit
from wsi_pipeline.training.study.guard import is_marked, marked_png, png, require_place, require_real
from wsi_pipeline.training.study.judge import Predictions

PIXELS = np.random.default_rng(2).integers(0, 255, (19, 31, 3), dtype=np.uint8)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Return a virtual tile that somebody copied and renamed."""
    (tmp_path / "tile.png").write_bytes(marked_png(PIXELS))
    return Path(shutil.copy(tmp_path / "tile.png", tmp_path / "00007_test_2+.png"))


@pytest.fixture
def real(tmp_path: Path) -> Path:
    file = tmp_path / "real.png"
    file.write_bytes(png(PIXELS))
    return file


def test_the_mark_is_in_the_file_itself(made: Path, real: Path) -> None:
    assert is_marked(made)
    assert not is_marked(real)


def test_a_study_starts_from_real_images(made: Path, real: Path) -> None:
    fine = Patch(real, 2, "s", "s", split="train")
    require_real([fine])
    with pytest.raises(UsageError, match=r"real\.png: is a synthetic image"):
        require_real([fine, Patch(real, 2, "s", "s", split="test", synthetic=True)])
    with pytest.raises(UsageError, match=r"00007_test_2\+\.png: is a synthetic image"):
        require_real([fine, Patch(made, 2, "s", "s", split="train")])
    with pytest.raises(UsageError, match=r"00007_test_2\+\.png: is a synthetic image"):
        require_real([Patch(real, 2, "s", "s", he=made)])


def test_no_sample_is_used_where_it_does_not_belong(made: Path, real: Path) -> None:
    require_place(Patch(made, 1, "s", "s", split="train", synthetic=True), "train")
    require_place(Patch(real, 1, "s", "s", split="test"), "test")
    for patch in (Patch(real, 1, "s", "s", split="val", synthetic=True), Patch(made, 1, "s", "s", split="val")):
        with pytest.raises(UsageError, match="synthetic image was about to be used for val"):
            require_place(patch, "val")
    with pytest.raises(UsageError, match="belongs to test, and was about to be used for train"):
        require_place(Patch(real, 1, "s", "s", split="test"), "train")


def test_the_last_check_names_what_is_out_of_place(made: Path, real: Path, tmp_path: Path) -> None:
    index = [Patch(real, 1, "a", "a", split="test"), Patch(made, 1, "b", "b", split="train", synthetic=True)]
    none = np.zeros(1, np.int64)
    measured = Predictions(none, none, ["a"], ["a"], [(str(real), 0)])
    audit(index, measured, {str(real): "11"}, {"22": "virtual/train/x.png"})
    with pytest.raises(UsageError, match=r"real\.png: in test is a copy of the synthetic image virtual/train/x\.png"):
        audit(index, measured, {str(real): "22"}, {"22": "virtual/train/x.png"})
    with pytest.raises(UsageError, match=r"a synthetic image is in test"):
        audit([index[0], Patch(made, 1, "b", "b", split="test", synthetic=True)], measured, {}, {})
    with pytest.raises(UsageError, match=r"slide 'a' is in train here and in test"):
        audit([index[0], Patch(made, 1, "a", "a", split="train", synthetic=True)], measured, {}, {})
    with pytest.raises(UsageError, match=r"00007_test_2\+\.png: was measured as test"):
        audit(index, measured._replace(places=[(str(made), 0)]), {}, {})
