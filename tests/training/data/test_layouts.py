"""Data sets as they lie on disk."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from wsi_pipeline.errors import UsageError
from wsi_pipeline.training.data.layouts import read_dataset, slide_of


def test_bci_pairs_by_name_and_takes_labels_from_names(bci: Path) -> None:
    patches = read_dataset(bci)
    assert Counter((patch.split, patch.label) for patch in patches) == {
        **{("train", label): 2 for label in range(4)},
        **{("test", label): 1 for label in range(4)},
    }
    assert all(patch.he == bci / "HE" / patch.path.relative_to(bci / "IHC") for patch in patches)
    assert len({patch.slide for patch in patches}) == 12, "BCI tells no slide, and test's numbers begin anew"


def test_bci_without_split_folders_reads_the_split_from_the_name(paint, tmp_path: Path) -> None:
    for stain in ("HE", "IHC"):
        paint(f"{stain}/00011_test_3+.png", 1)
        paint(f"{stain}/00012_train_0.png", 2)
    assert [(patch.split, patch.label) for patch in read_dataset(tmp_path)] == [("test", 3), ("train", 0)]


def test_mist_takes_the_slide_from_the_name(paint, tmp_path: Path) -> None:
    for part in ("trainA", "trainB"):
        paint(f"MIST/TrainValAB/{part}/28M2101987_31_31.jpg", 1)
        paint(f"MIST/TrainValAB/{part}/28M2101987_2_17.jpg", 2)
    for part in ("valA", "valB"):
        paint(f"MIST/TrainValAB/{part}/100M2004069_21_13.jpg", 3)
    patches = read_dataset(tmp_path / "MIST")
    assert {(patch.slide, patch.split, patch.label) for patch in patches} == {
        ("28M2101987", "train", None), ("100M2004069", "val", None)
    }  # fmt: skip
    assert all(patch.path.parent.name.endswith("B") and patch.he.parent.name.endswith("A") for patch in patches)


@pytest.mark.parametrize("name", ["2+/train/slide_7/a.png", "train/2/slide_7/b.png", "2/slide_7/c.png"])
def test_class_folders_with_split_above_below_or_none(paint, tmp_path: Path, name: str) -> None:
    file = paint(name, 1)
    paint(f"{name.partition('/')[0]}/.hidden/x.png", 2)
    (patch,) = read_dataset(tmp_path)
    assert (patch.path, patch.label, patch.slide) == (file, 2, "slide_7")
    assert patch.split == ("train" if "train" in name else None)
    assert patch.he is None


def test_slide_is_the_name_where_the_name_tells_of_none() -> None:
    assert slide_of("00640_test_1+") == "bci_test_00640"
    assert slide_of("case_4_12_9") == "case_4"
    assert slide_of("field") == "field"


def _alone(paint) -> str:
    paint("HE/train/00000_train_0.png", 1)
    paint("IHC/train/00000_train_0.png", 1)
    paint("IHC/train/00001_train_0.png", 1)
    return r"IHC.train.00001_train_0\.png: its pair is missing: no H&E image '00001_train_0' in .*HE.train"


def _one_sided(paint) -> str:
    paint("trainA/1M2_1_1.jpg", 1)
    return r"trainA.1M2_1_1\.jpg: its pair is missing: no IHC image"


def _label(paint) -> str:
    for stain in ("HE", "IHC"):
        paint(f"{stain}/00000_train_4+.png", 1)
    return r"00000_train_4\+\.png: its label '4\+' is not known \(labels are 0, 1, 2, 3 or 0, 1\+, 2\+, 3\+\)"


def _folder(paint) -> str:
    paint("0/a.png", 1)
    paint("positive/b.png", 2)
    return r"positive.b\.png: its label 'positive' is not known"


def _nameless(paint) -> str:
    for stain in ("HE", "IHC"):
        paint(f"{stain}/tumour.png", 1)
    return r"IHC.tumour\.png: its name tells neither label nor slide"


def _no_layout(paint) -> str:
    paint("pictures/a.png", 1)
    return "is no data set of a known layout .known are HE and IHC .BCI., trainA"


def _empty(paint) -> str:
    paint("0/a.png", 1).unlink()
    return "it holds no image"


@pytest.mark.parametrize("spoil", [_alone, _one_sided, _label, _folder, _nameless, _no_layout, _empty])
def test_what_is_wrong_is_named_with_the_file(paint, tmp_path: Path, spoil) -> None:
    with pytest.raises(UsageError, match=spoil(paint)):
        read_dataset(tmp_path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such data set"):
        read_dataset(tmp_path / "nowhere")
