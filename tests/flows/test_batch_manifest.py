"""Manifests: what they say, and in which words they are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsi_pipeline.config import load_settings
from wsi_pipeline.errors import UsageError
from wsi_pipeline.flows.batch_inputs import SlideInput
from wsi_pipeline.flows.batch_manifest import read_manifest
from wsi_pipeline.flows.batch_plan import BatchSlide
from wsi_pipeline.flows.batch_request import BatchRequest, request_for
from wsi_pipeline.flows.request import ScoreRequest


def manifest(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "list.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_all_columns(tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        "case,slide,mpp,stain,roi,assay\n"
        "7,sub/Ä b.svs,0.25,IHC,drawn.geojson,hercep\n"
        "\n"
        '"8, left",plain.tif,,,,own.yaml\n',
    )
    assert read_manifest(path) == [
        SlideInput(
            tmp_path / "sub/Ä b.svs", tmp_path / "sub/Ä b.svs", 0.25, "ihc", tmp_path / "drawn.geojson", "hercep", "7"
        ),
        SlideInput(
            tmp_path / "plain.tif", tmp_path / "plain.tif", assay=str(tmp_path / "own.yaml"), case="8, left"
        ),
    ]  # fmt: skip


def test_each_slide_has_its_own_rule(tmp_path: Path) -> None:
    """Empty cells leave it to the command, and a resection is what nobody calls a biopsy."""
    text = "slide,tumour,specimen\na.svs,Gastroesophageal,biopsy\nb.svs,gastroesophageal,\nc.svs,breast,\nd.svs,,\n"
    slides = read_manifest(manifest(tmp_path, text))
    assert [(slide.tumour, slide.specimen) for slide in slides] == [
        ("gastroesophageal", "biopsy"), ("gastroesophageal", None), ("breast", None), (None, None),
    ]  # fmt: skip
    asked = load_settings(None, {"rule.tumour": "gastroesophageal", "rule.specimen": "biopsy", "rule.min_cells": 77})
    request = BatchRequest([], tmp_path, ScoreRequest(Path(), tmp_path, asked))
    rules = [request_for(request, BatchSlide("x", "x", slide), tmp_path).settings.rule for slide in slides]
    assert [(rule.tumour, rule.specimen, rule.min_cells) for rule in rules] == [
        ("gastroesophageal", "biopsy", 77), ("gastroesophageal", "resection", 77), ("breast", "resection", 77),
        ("gastroesophageal", "biopsy", 77),
    ]  # fmt: skip


@pytest.mark.parametrize("separator", [";", "\t"])
def test_as_spreadsheets_of_other_languages_save_it(separator: str, tmp_path: Path) -> None:
    rows = [["slide", "mpp"], ["a.svs", "0,25"]]
    text = "\r\n".join(separator.join(row) for row in rows)
    (slide,) = read_manifest(manifest(tmp_path, text, "utf-8-sig"))
    assert (slide.path, slide.mpp) == (tmp_path / "a.svs", 0.25)


def test_a_dicom_folder_is_opened_by_one_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    for name in ("1.dcm", "2.dcm"):
        (tmp_path / "series" / name).write_bytes(bytes(128) + b"DICM" + b"\x20\x00\x0e\x00UI\x03\x001.2")
    (slide,) = read_manifest(manifest(tmp_path, "slide\nseries\n"))
    assert (slide.shown, slide.path.parent) == (tmp_path / "series", tmp_path / "series")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("slide,patient\na.svs,1\n", "unknown column 'patient'"),
        ("slide,Slide\na.svs,1\n", "unknown column 'Slide'"),
        ("slide,mpp,mpp\na.svs,1,1\n", "column 'mpp' twice"),
        ("mpp\n0.25\n", "no column 'slide'"),
        ("", "no column 'slide'"),
        ("slide\n", "names no slide"),
        ("slide,mpp\n,0.25\n", "line 2: names no slide"),
        ("slide,mpp\na.svs,0.25\nb.svs,small\n", "line 3: mpp 'small' is not a number"),
        ("slide,mpp\na.svs,-1\n", "line 2: mpp '-1' is not a pixel size"),
        ("slide,mpp\na.svs,nan\n", "line 2: mpp 'nan' is not a pixel size"),
        ("slide,stain\na.svs,pas\n", "line 2: stain 'pas' is not one of auto, ihc, he"),
        ("slide,mpp\na.svs,0.25,x\n", "line 2 has more cells"),
        ("slide,tumour\na.svs,lung\n", "line 2: tumour 'lung' is not one of breast, gastroesophageal"),
        ("slide,tumour,specimen\na.svs,gastroesophageal,core\n", "specimen 'core' is not one of resection, biopsy"),
        ("slide,tumour,specimen\na.svs,breast,biopsy\n", "specimen biopsy only matters for tumour gastroesophageal"),
    ],
)
def test_refusals_name_what_is_wrong(text: str, words: str, tmp_path: Path) -> None:
    path = manifest(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read_manifest(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_what_is_no_text_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read as UTF-8"):
        read_manifest(manifest(tmp_path, "slide\nÄ.svs", "latin-1"))
    with pytest.raises(UsageError, match="No such file"):
        read_manifest(tmp_path / "none.csv")


def test_a_folder_of_several_slides_is_refused(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for name in ("a.svs", "b.svs"):
        (tmp_path / "many" / name).touch()
    with pytest.raises(UsageError, match="many is a folder with 2 slides"):
        read_manifest(manifest(tmp_path, "slide\nmany\n"))
