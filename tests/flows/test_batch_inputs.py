"""Which files of a folder are slides, and which belong to one."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsi_pipeline.errors import UsageError
from wsi_pipeline.flows.batch_inputs import SlideInput, find_slides, has_pattern, match_slides


def names(folder: Path, leave_out: str = "none") -> list[str]:
    return [slide.shown.relative_to(folder).as_posix() for slide in find_slides(folder, folder / leave_out)]


def put(folder: Path, *files: str) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def dicom(path: Path, series: str, size: int = 10) -> None:
    uid = series.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    element = b"\x20\x00\x0e\x00UI" + len(uid).to_bytes(2, "little") + uid
    path.write_bytes(bytes(128) + b"DICM" + element + bytes(size))


def test_slides_are_found_at_any_depth_and_other_files_are_not(tmp_path: Path) -> None:
    put(
        tmp_path, "b.svs", "a.NDPI", "sub 1/Ä/c.tif", "sub 1/d.ome.tiff", "sub 1/notes.txt", "list.csv", "page.html",
        ".hidden.svs", ".cache/e.svs", "old.vsi",
    )  # fmt: skip
    assert names(tmp_path) == ["a.NDPI", "b.svs", "old.vsi", "sub 1/d.ome.tiff", "sub 1/Ä/c.tif"]


def test_mirax_is_one_slide_with_its_folder(tmp_path: Path) -> None:
    put(tmp_path, "m.mrxs", "m/Slidedat.ini", "m/preview.jpg", "n/alone.svs", "bare.mrxs")
    assert names(tmp_path) == ["bare.mrxs", "m.mrxs", "n/alone.svs"]


def test_hamamatsu_vms_is_one_slide_with_the_pictures_that_it_names(tmp_path: Path) -> None:
    put(tmp_path, "s(0,0).jpg", "s_map2.jpg", "other.jpg")
    (tmp_path / "s.vms").write_text("[Virtual Microscope Specimen]\nImageFile=s(0,0).jpg\nMapFile = s_map2.jpg\n")
    assert names(tmp_path) == ["other.jpg", "s.vms"]


def test_ome_zarr_is_one_slide_and_not_looked_into(tmp_path: Path) -> None:
    put(tmp_path, "z.ome.zarr/.zattrs", "z.ome.zarr/0/preview.png", "plain/zarr.json", "broken.zarr/readme.png")
    assert names(tmp_path) == ["broken.zarr", "plain", "z.ome.zarr"]


def test_dicom_is_one_slide_per_series(tmp_path: Path) -> None:
    dicom(tmp_path / "one" / "1.dcm", "1.2.3", 10)
    dicom(tmp_path / "one" / "2.dcm", "1.2.3", 99)
    dicom(tmp_path / "two" / "1.2.840.7", "1.2.4")
    dicom(tmp_path / "two" / "noending", "1.2.5", 20)
    dicom(tmp_path / "two" / "noending2", "1.2.5", 30)
    put(tmp_path, "two/plain", "two/also.7")
    slides = list(find_slides(tmp_path, tmp_path / "none"))
    assert [slide.shown.relative_to(tmp_path).as_posix() for slide in slides] == [
        "one",
        "two/1.2.840.7",
        "two/noending2",
    ]
    assert slides[0].path == tmp_path / "one" / "2.dcm", "the largest: level 0"


def test_a_folder_called_like_a_slide_is_a_broken_one_unless_slides_are_in_it(tmp_path: Path) -> None:
    put(tmp_path, "x.svs/notes.txt", "y.svs/inside.svs")
    assert names(tmp_path) == ["x.svs", "y.svs/inside.svs"]


def test_what_runs_wrote_is_passed_over(tmp_path: Path) -> None:
    put(
        tmp_path, "a.svs", "run/result.json", "run/overlay.png", "stained/stain.json", "stained/x.png",
        "other batch/.work/began", "other batch/a/overlay.png", "results/loose.png",
    )  # fmt: skip
    assert names(tmp_path, "results") == ["a.svs"]
    assert names(tmp_path / "run") == []
    put(tmp_path, ".work/began")
    assert names(tmp_path, ".") == ["a.svs", "results/loose.png"], "results may lie among the slides"


def test_links_are_followed_once_and_broken_ones_are_named(tmp_path: Path) -> None:
    put(tmp_path, "real/a.svs")
    (tmp_path / "real" / "circle").symlink_to(tmp_path)
    (tmp_path / "gone.svs").symlink_to(tmp_path / "nowhere.svs")
    assert sorted(names(tmp_path)) == ["gone.svs", "real/a.svs"]


def test_patterns(tmp_path: Path) -> None:
    put(tmp_path, "p/a.svs", "p/q/b.svs", "p/notes.txt", "p/[1].svs")
    fixed, found = match_slides(f"{tmp_path}/p/**/*.svs", tmp_path / "none")
    assert fixed == tmp_path / "p"
    assert {slide.path.name for slide in found} == {"a.svs", "b.svs", "[1].svs"}
    _, found = match_slides(f"{tmp_path}/p/*", tmp_path / "none")
    assert {slide.path.name for slide in found} == {"a.svs", "b.svs", "[1].svs"}, "a folder counts with all below it"
    assert not has_pattern(f"{tmp_path}/p/[1].svs"), "a file that is called so"
    with pytest.raises(UsageError, match=r"\*\.ndpi: matches no slide"):
        match_slides(f"{tmp_path}/p/*.ndpi", tmp_path / "none")


def test_a_mere_place_is_plain() -> None:
    assert SlideInput(Path("a"), Path("a")).is_plain
    assert not SlideInput(Path("a"), Path("a"), case="7").is_plain
