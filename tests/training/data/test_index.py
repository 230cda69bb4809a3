"""An index of patches."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wsi_pipeline.errors import UsageError
from wsi_pipeline.training.data.index import read_index, write_index
from wsi_pipeline.training.data.layouts import read_dataset


def test_columns_mean_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text(
        "path,pair,label,slide,patient,split,synthetic\na.png,he/a.png,2+,s1,p1,train,true\nb.png,,,s2,,,\n",
        encoding="utf-8-sig",
    )
    first, second = read_dataset(tmp_path)
    assert (first.path, first.he) == (tmp_path / "a.png", tmp_path / "he" / "a.png")
    assert (first.label, first.slide, first.patient, first.split, first.synthetic) == (2, "s1", "p1", "train", True)
    assert (second.he, second.label, second.patient, second.split, second.synthetic) == (None, None, "s2", None, False)


def test_parquet_with_gaps_reads_like_csv(tmp_path: Path) -> None:
    file = tmp_path / "index.parquet"
    table = {"path": ["a.png", "b.png"], "slide": ["s1", "s2"], "label": [3.0, float("nan")], "synthetic": [True, None]}
    pq.write_table(pa.table(table), file)
    first, second = read_index(file)
    assert (first.label, first.synthetic, second.label, second.synthetic) == (3, True, None, False)


def test_what_is_written_is_read_back(bci: Path, tmp_path: Path) -> None:
    patches = read_dataset(bci)
    write_index(patches, tmp_path / "splits.csv")
    assert read_index(tmp_path / "splits.csv") == patches


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("path,label\na.png,1\n", "it has no column 'slide'"),
        ("path,slide,lable\na.png,s,1\n", "its column 'lable' is not known"),
        ("path,slide\na.png,\n", "row 1: it has no slide"),
        ("path,slide,label\na.png,s,5\n", r"a\.png: its label '5' is not known"),
        ("path,slide,split\na.png,s,trian\n", r"a\.png: its split 'trian' is not known"),
        ("path,slide,synthetic\na.png,s,maybe\n", r"a\.png: synthetic is 'maybe'"),
        ("path,slide\na.png,s,7\n", "row 1 has more values"),
        ("path,slide\n", "it lists no patch"),
    ],
)
def test_a_bad_index_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "index.csv").write_text(text)
    with pytest.raises(UsageError, match=complaint):
        read_dataset(tmp_path)


@pytest.mark.parametrize("name", ["index.parquet", "index.txt"])
def test_a_file_that_is_no_index(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xff\xfe nothing")
    with pytest.raises(UsageError, match=name):
        read_dataset(tmp_path / name)
