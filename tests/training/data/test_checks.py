"""What can be wrong with the files of a data set."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsi_pipeline.errors import UsageError
from wsi_pipeline.training.data.checks import check_patches, problems_of
from wsi_pipeline.training.data.layouts import read_dataset

LEAST_PX = 61


def _texts(folder: Path) -> list[str]:
    return [str(problem) for problem in problems_of(read_dataset(folder), LEAST_PX)]


def test_a_sound_data_set_passes(bci: Path) -> None:
    check_patches(read_dataset(bci), LEAST_PX)


def test_an_unreadable_image_is_named(bci: Path) -> None:
    file = bci / "IHC" / "train" / "00003_train_3+.png"
    file.write_bytes(file.read_bytes()[:-400])
    (text,) = _texts(bci)
    assert text.startswith(f"{file}: cannot be read as an image")


def test_a_file_that_is_no_image_is_named(bci: Path) -> None:
    file = bci / "HE" / "test" / "00001_test_1+.png"
    file.write_text("no picture")
    (text,) = _texts(bci)
    assert text.startswith(f"{file}: cannot be read as an image")


def test_a_grey_image_is_named(bci: Path) -> None:
    file = bci / "IHC" / "train" / "00002_train_2+.png"
    Image.open(file).convert("L").save(file)
    assert any("00002_train_2+.png: is not an 8-bit colour image" in text for text in _texts(bci))


def test_small_and_unequal_images_are_named(bci: Path, paint) -> None:
    paint("bci/IHC/train/00000_train_0.png", 1, (75, 60))
    paint("bci/HE/train/00000_train_0.png", 1, (75, 60))
    paint("bci/HE/train/00001_train_1+.png", 2, (76, 61))
    small, unequal = _texts(bci)
    assert "00000_train_0.png: is 75 x 60 px (at least 61 px are needed)" in small
    assert "00001_train_1+.png: is 75 x 61 px, its pair" in unequal
    assert "is 76 x 61 px" in unequal


def test_missing_files_are_named(bci: Path) -> None:
    patches = read_dataset(bci)
    patches[0].path.unlink()
    patches[1].he.unlink()
    first, second = (str(problem) for problem in problems_of(patches, LEAST_PX))
    assert first == f"{patches[0].path}: the image is missing"
    assert second == f"{patches[1].path}: its pair {patches[1].he} is missing"


def test_an_empty_class_is_named(bci: Path) -> None:
    patches = [patch for patch in read_dataset(bci) if patch.label != 2]
    (problem,) = problems_of(patches, LEAST_PX)
    assert str(problem) == f"{bci / 'IHC'}: class 2+ is empty (a classifier needs patches of all four)"


def test_a_class_that_only_the_test_has_is_named(bci: Path) -> None:
    patches = [patch for patch in read_dataset(bci) if patch.label != 3 or patch.split == "test"]
    (problem,) = problems_of(patches, LEAST_PX)
    assert "class 3+ is empty in train" in str(problem)


def test_an_impossible_label_is_named(bci: Path) -> None:
    patches = read_dataset(bci)
    patches[0] = replace(patches[0], label=7)
    assert f"{patches[0].path}: its label 7 is not known" in str(problems_of(patches, LEAST_PX)[0])


def test_a_patch_listed_twice_is_named(bci: Path) -> None:
    patches = read_dataset(bci)
    assert [str(problem) for problem in problems_of([*patches, patches[3]], LEAST_PX)] == [
        f"{patches[3].path}: is listed twice (list it once)"
    ]


def test_a_duplicate_in_another_split_is_found_after_compression(bci: Path) -> None:
    twin = bci / "IHC" / "test" / "00002_test_2+.png"
    original = bci / "IHC" / "train" / "00006_train_2+.png"
    Image.open(original).save(bci / "x.jpg", quality=60)
    Image.open(bci / "x.jpg").save(twin)
    (text,) = _texts(bci)
    assert text == f"{twin}: in test shows the same as {original} in train (remove one of them)"


def test_a_duplicate_within_a_split_and_bare_glass_are_no_leak(bci: Path, paint) -> None:
    paint("bci/IHC/train/00007_train_3+.png", 203)
    for part, name in (("train", "00001_train_1+"), ("test", "00001_test_1+")):
        glass = np.full((61, 75, 3), 240, dtype=np.uint8)
        Image.fromarray(glass).save(bci / "IHC" / part / f"{name}.png")
    assert _texts(bci) == []


def test_the_first_problem_says_how_many_there_are(bci: Path) -> None:
    patches = read_dataset(bci)
    for patch in patches[:3]:
        patch.path.unlink()
    with pytest.raises(UsageError, match=rf"{re.escape(patches[0].path.name)}: the image is missing \(2 more problems"):
        check_patches(patches, LEAST_PX)


def test_an_empty_data_set_is_told() -> None:
    with pytest.raises(UsageError, match="it has no patch"):
        check_patches([])
