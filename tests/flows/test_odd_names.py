"""Slides and index files whose names or values nobody expects, in the plan of a batch."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wsi_pipeline.errors import CorruptSlideError, RoiError, UsageError
from wsi_pipeline.flows.batch_inputs import SlideInput, find_slides
from wsi_pipeline.flows.batch_plan import BatchSlide, plan_batch
from wsi_pipeline.flows.batch_rows import failed_row

INDEX = {
    "empty value": b"[Virtual Microscope Specimen]\nImageFile=\n",
    "date": b"Date=11/30/2026\nTime=..\nHere=.\nImageFile=a.jpg\n",
    "zero byte": b"ImageFile=a\0b.jpg\n",
    "no lines": b"",
    "no text": bytes(range(256)) * 8,
    "long": b"ImageFile=" + b"x" * 9000 + b"\n",
    "utf-16": "ImageFile=a.jpg\n".encode("utf-16"),
}


@pytest.mark.parametrize("ending", [".vms", ".vmu", ".mrxs", ".scn"])
@pytest.mark.parametrize("kind", INDEX)
def test_an_index_file_with_odd_values_is_one_slide(kind: str, ending: str, tmp_path: Path) -> None:
    (tmp_path / f"odd{ending}").write_bytes(INDEX[kind])
    (tmp_path / "other.svs").touch()
    assert sorted(slide.path.name for slide in find_slides(tmp_path, tmp_path / "out")) == [f"odd{ending}", "other.svs"]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_pictures_are_parts_in_either_encoding(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "slide.vms").write_bytes("ImageFile=Fälle µ.jpg\nMapFile = map.jpg \nMacro=\n".encode(encoding))
    for name in ("Fälle µ.jpg".encode(encoding), "Fälle µ.jpg".encode(), b"map.jpg", b"alone.jpg"):
        (tmp_path / os.fsdecode(name)).touch()
    found = {slide.path.name for slide in find_slides(tmp_path, tmp_path / "out")}
    assert found == {"slide.vms", "alone.jpg"}


def test_names_that_are_no_text_or_too_long_get_folders_of_their_own(tmp_path: Path) -> None:
    raw = [b"\xff" * 100 + b".svs", b"\xfe" * 100 + b".svs", b"y" * 251 + b".svs", b"x" * 250 + b".tif", b"-r\n.svs"]
    names = [os.fsdecode(name) for name in raw]
    for name in names:
        (tmp_path / name).touch()
    plan = plan_batch([str(tmp_path)], tmp_path / "out")
    assert len({slide.id for slide in plan}) == len(names)
    for slide in plan:
        assert len(slide.folder.encode()) <= 240
        assert slide.folder.isprintable()
        assert slide.name.isprintable()
    assert {slide.folder for slide in plan} >= {r"-r\x0a"}


@pytest.mark.parametrize("ending", [".zarr", ".ZARR", ".Zarr"])
def test_no_run_folder_is_called_like_an_image(ending: str, tmp_path: Path) -> None:
    folder = tmp_path / f"a{ending}.old"
    folder.mkdir()
    for name in ("one.svs", "two.svs"):
        (folder / name).touch()
    (tmp_path / "three.svs").touch()
    assert not any(".zarr" in slide.folder.lower() for slide in plan_batch([str(tmp_path)], tmp_path / "out"))


def test_folders_that_vanish_or_lead_in_circles_end_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gone", "shut", "stays"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.svs").touch()
    (tmp_path / "stays" / "circle").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "loop.svs").symlink_to("loop.svs")
    os.mkfifo(tmp_path / "pipe.svs")
    listed = Path.iterdir

    def iterdir(folder: Path) -> object:
        if folder.name == "gone":
            raise FileNotFoundError(folder)
        if folder.name == "shut":
            raise OSError(5, "Input/output error", str(folder))
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    found = {slide.path.name for slide in find_slides(tmp_path, tmp_path / "out")}
    assert found == {"loop.svs", "pipe.svs", "shut", "stays.svs"}
    with pytest.raises(UsageError, match=r"shut: cannot be listed \(Input/output error\)"):
        plan_batch([str(tmp_path / "shut")], tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"slide\n" + b"x" * 200_000 + b"\n", "line 2: is no CSV"),
        (b"slide\na\0.svs\n", "line 2: holds a zero byte"),
        (b"slide\n\xff.svs\n", "cannot be read as UTF-8"),
    ],
)
def test_a_manifest_that_is_none_is_refused_by_line(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "slides.csv").write_bytes(content)
    with pytest.raises(UsageError, match=words):
        plan_batch([str(tmp_path / "slides.csv")], tmp_path / "out")


def test_a_summary_names_no_folder_of_the_machine(tmp_path: Path) -> None:
    slide, roi = tmp_path / "a.svs", tmp_path / "drawn.geojson"
    planned = BatchSlide("a.svs", "a", SlideInput(slide, slide, roi=roi))
    for error in (RoiError(roi, "is empty"), CorruptSlideError(slide, "is cut"), ValueError(f"odd: {slide} at 3")):
        row = failed_row(planned, error, 1.0)
        assert str(tmp_path) not in row.message
        assert "drawn.geojson: is empty" in row.message or isinstance(error, (CorruptSlideError, ValueError))
