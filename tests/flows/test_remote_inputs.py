"""Slides at URLs are found, named and completed by the rules that hold for folders of the disk."""

from __future__ import annotations

import glob
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_pipeline.config import load_settings
from wsi_pipeline.errors import CorruptSlideError, ResourceError, UnsupportedSlideError, UsageError
from wsi_pipeline.flows import at_hand as at_hand_module
from wsi_pipeline.flows.at_hand import at_hand
from wsi_pipeline.flows.batch_plan import plan_batch
from wsi_pipeline.flows.batch_request import BatchRequest, request_for
from wsi_pipeline.flows.remote_slide import remote_fingerprint, slide_files
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.wildcards import fixed_part, matches
from wsi_pipeline.storage import Address, RemotePath, look


def dicom(series: str, size: int) -> bytes:
    uid = series.encode()
    return bytes(128) + b"DICM" + b"\x20\x00\x0e\x00UI" + len(uid).to_bytes(2, "little") + uid + bytes(size)


ARCHIVE = {
    "b.svs": b"x", "a.NDPI": b"x", "sub 1/Ä/c.tif": b"x", "sub 1/d.ome.tiff": b"x", "sub 1/notes.txt": b"x",
    ".hidden.svs": b"x", ".cache/e.svs": b"x", "old.vsi": b"x", "empty.svs": b"",
    "mirax/m.mrxs": b"x", "mirax/m/Slidedat.ini": b"x", "mirax/m/sub/preview.jpg": b"yy", "mirax/n/alone.svs": b"x",
    "vms/s(0,0).jpg": b"x", "vms/s.vms": b"[Virtual]\nImageFile=s(0,0).jpg\nMapFile = gone.jpg\n",
    "vms/other.jpg": b"x",
    "z.ome.zarr/.zattrs": b"{}", "z.ome.zarr/0/0/1": b"12", "plain/zarr.json": b"{}", "broken.zarr/readme.png": b"x",
    "one/1.dcm": dicom("1.2.3", 10), "one/2.dcm": dicom("1.2.3", 99), "one/3.dcm": dicom("1.2.3", 9),
    "two/1.2.840.7": dicom("1.2.4", 3), "two/noending": dicom("1.2.5", 20), "two/noending2": dicom("1.2.5", 30),
    "two/plain": b"x", "two/nothing": b"", "run/result.json": b"{}", "run/overlay.png": b"x",
    "results/.work/began": b"", "results/x/a.png": b"x",
}  # fmt: skip


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[tuple[Path, Address]]:
    """Return the same files in a folder of the disk and at a URL."""
    root = Address.of(f"memory://bucket-{uuid.uuid4().hex}/arch iv")
    memory = fsspec.filesystem("memory")
    for name, content in ARCHIVE.items():
        (tmp_path / "arch iv" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "arch iv" / name).write_bytes(content)
        memory.pipe_file(root.child(name).url, content)
    yield tmp_path / "arch iv", root
    for path in memory.find(root.parent.url):
        memory.rm_file(path)


def planned(word: object, out: Path) -> list[tuple[str, str]]:
    return [(slide.name, slide.folder) for slide in plan_batch([str(word)], out)]


def url_of(word: str, archive: tuple[Path, Address]) -> str:
    return archive[1].child(word).url if word else archive[1].url


@pytest.mark.parametrize(
    "word",
    ["", "sub 1", "mirax", "two", "one", "z.ome.zarr", "b.svs", "*.svs", "**/*.svs", "*", "**", "[a-n]*/*", "*/?.dcm",
     "two/noending*", "*.zarr", "mirax/m*", ".hid*"],
)  # fmt: skip
def test_a_url_holds_the_slides_of_the_same_folder(word: str, archive: tuple[Path, Address], tmp_path: Path) -> None:
    out = tmp_path / "out"
    here, there = planned(archive[0] / word, out), planned(url_of(word, archive), out)
    assert here == there
    assert here


@pytest.mark.parametrize("word", ["run", "results/x", "*.ndpi", "two/also*", "missing", "two/plain/x"])
def test_what_holds_no_slide_is_refused(word: str, archive: tuple[Path, Address], tmp_path: Path) -> None:
    with pytest.raises(UsageError) as here:
        planned(archive[0] / "run" if word == "results/x" else archive[0] / word, tmp_path / "out")
    if word == "results/x":
        return  # only a folder of the disk knows what is above it
    with pytest.raises(UsageError) as there:
        planned(url_of(word, archive), tmp_path / "out")
    assert here.value.exit_code == there.value.exit_code


def test_results_at_a_url_are_passed_over(archive: tuple[Path, Address], tmp_path: Path) -> None:
    target = archive[1].child("sub 1")
    names = [slide.name for slide in plan_batch([archive[1].url], tmp_path, target=target)]
    assert "b.svs" in names
    assert not any(name.startswith("sub 1/") for name in names)


def test_urls_and_paths_share_a_batch(archive: tuple[Path, Address], tmp_path: Path) -> None:
    slides = plan_batch([str(archive[0] / "b.svs"), archive[1].child("b.svs").url], tmp_path / "out")
    bucket = archive[1].parent.name
    assert [slide.name for slide in slides] == [
        f"memory:/{bucket}/arch iv/b.svs", (archive[0] / "b.svs").as_posix().lstrip("/"),
    ]  # fmt: skip
    assert slides[0].folder == f"memory_/{bucket}/arch iv/b"
    assert isinstance(slides[0].source.path, RemotePath)


@pytest.mark.parametrize(
    ("word", "opened", "files"),
    [
        ("b.svs", "b.svs", {"b.svs"}),
        ("mirax/m.mrxs", "m.mrxs", {"m.mrxs", "m/Slidedat.ini", "m/sub/preview.jpg"}),
        ("vms/s.vms", "s.vms", {"s.vms", "s(0,0).jpg"}),
        ("one/3.dcm", "3.dcm", {"1.dcm", "2.dcm", "3.dcm"}),
        ("one", "2.dcm", {"1.dcm", "2.dcm", "3.dcm"}),
        ("two/noending", "noending", {"noending", "noending2"}),
        ("two/plain", "plain", {"plain"}),
        ("z.ome.zarr", "z.ome.zarr", {"z.ome.zarr/.zattrs", "z.ome.zarr/0/0/1"}),
    ],
)
def test_a_slide_comes_with_the_files_that_belong_to_it(
    word: str, opened: str, files: set[str], archive: tuple[Path, Address], tmp_path: Path
) -> None:
    place = RemotePath.alone(archive[1].child(word))
    name, found = slide_files(place)
    assert (name, set(found)) == (opened, files)
    request = ScoreRequest(Path(), tmp_path / "out", load_settings(None, {}), origin=place)
    with at_hand(request, tmp_path / "copies") as here:
        assert here.slide == tmp_path / "copies" / "slide" / opened
        assert here.slide_shown == archive[1].child(word).shown
        copied = {
            path.relative_to(here.slide.parent).as_posix() for path in here.slide.parent.rglob("*") if path.is_file()
        }
        assert copied == files
    assert not (tmp_path / "copies").exists()


def test_a_folder_of_several_slides_is_none(archive: tuple[Path, Address]) -> None:
    for word in ("two", "sub 1", "mirax/m/sub"):
        if word == "mirax/m/sub":
            assert slide_files(RemotePath.alone(archive[1].child(word)))[0] == "preview.jpg"
            continue
        with pytest.raises(UnsupportedSlideError, match="is a folder, not a slide"):
            slide_files(RemotePath.alone(archive[1].child(word)))


def test_fingerprints_follow_every_file(archive: tuple[Path, Address], tmp_path: Path) -> None:
    place = RemotePath.alone(archive[1].child("mirax/m.mrxs"))
    before = remote_fingerprint(place)
    assert remote_fingerprint(place) == before
    assert before.startswith("3 files, 4 bytes, tags ")
    fsspec.filesystem("memory").pipe_file(archive[1].child("mirax/m/Slidedat.ini").url, b"z")
    assert remote_fingerprint(place) != before
    svs = RemotePath.alone(archive[1].child("b.svs"))
    listed = next(slide for slide in plan_batch([archive[1].url], tmp_path) if slide.name == "b.svs").source.path
    assert isinstance(listed, RemotePath)
    assert remote_fingerprint(listed) == remote_fingerprint(svs), "listed or asked for, it is the same"


def test_a_manifest_may_name_urls_and_be_at_one(archive: tuple[Path, Address], tmp_path: Path) -> None:
    rows = f"slide;roi;mpp\nb.svs;rois/b.geojson;0,25\n{archive[1].child('a.NDPI').url};;\n../arch iv/one;;\n"
    listed = archive[1].child("list.csv")
    fsspec.filesystem("memory").pipe_file(listed.url, rows.encode())
    slides = {slide.name: slide.source for slide in plan_batch([listed.url], tmp_path)}
    assert list(slides) == ["a.NDPI", "b.svs", "one"]
    assert str(slides["b.svs"].roi) == archive[1].child("rois/b.geojson").shown
    assert slides["b.svs"].mpp == 0.25
    local = tmp_path / "list.csv"
    local.write_text(f"slide\n{archive[1].child('b.svs').url}\n", encoding="utf-8")
    assert isinstance(plan_batch([str(local)], tmp_path)[0].source.path, RemotePath)
    fsspec.filesystem("memory").pipe_file(listed.url, b"slide,assay\nb.svs,mine.yaml\n")
    with pytest.raises(UsageError, match=r"list.csv, line 2: the assay profile mine.yaml would be at a URL"):
        plan_batch([listed.url], tmp_path)
    fsspec.filesystem("memory").pipe_file(listed.url, b"slide\n\xff\n")
    with pytest.raises(UsageError, match=r"list.csv: cannot be read as UTF-8 text"):
        plan_batch([listed.url], tmp_path)


def test_errors_inside_name_the_url_and_a_copy_that_others_took_stays(
    archive: tuple[Path, Address], tmp_path: Path
) -> None:
    slide = next(slide for slide in plan_batch([archive[1].url], tmp_path) if slide.name == "b.svs")
    batch = BatchRequest([slide], tmp_path, ScoreRequest(Path(), tmp_path, load_settings(None, {})))
    request = request_for(batch, slide, tmp_path)
    copies = tmp_path / "copies"
    with (
        pytest.raises(CorruptSlideError, match=rf"^{archive[1].child('b.svs').shown}: is broken in {archive[1].shown}"),
        at_hand(request, copies, lambda: False) as here,
    ):
        raise CorruptSlideError(here.slide, f"is broken in {here.slide}")
    assert (copies / "slide" / "b.svs").exists()
    with at_hand(replace(request, roi_origin=RemotePath.alone(archive[1].child("a.NDPI"))), copies) as here:
        assert here.roi is not None
        assert here.roi.read_bytes() == b"x"
    assert not copies.exists()


def test_a_disk_without_room_is_refused_with_both_numbers(
    archive: tuple[Path, Address], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(at_hand_module, "free_bytes", lambda _: 3)
    place = RemotePath.alone(archive[1].child("mirax/m.mrxs"))
    request = ScoreRequest(Path(), tmp_path, load_settings(None, {}), origin=place)
    with (
        pytest.raises(ResourceError, match=r"m.mrxs: its copy needs 4 bytes of disk and 3 are free"),
        at_hand(request, tmp_path / "copies"),
    ):
        pytest.fail("there is no room")


def test_only_urls_of_folders_are_listed(archive: tuple[Path, Address]) -> None:
    assert look(archive[1].child("mirax")) is None
    with pytest.raises(UsageError, match="no such file"):
        look(archive[1].child("mirax/nothing"))


def test_patterns_are_read_as_glob_reads_them() -> None:
    assert fixed_part("s3://bucket/a b/*/x?.svs") == ("s3://bucket/a b", ["*", "x?.svs"])
    assert fixed_part("s3://bucket/**") == ("s3://bucket", ["**"])


@given(
    name=st.lists(st.sampled_from(["a", "b.svs", ".h", "ab"]), min_size=1, max_size=4),
    pattern=st.lists(st.sampled_from(["a", "*", "**", "?", "*.svs", ".*", "[ab]*"]), min_size=1, max_size=4),
)
def test_patterns_match_what_glob_matches(
    name: list[str], pattern: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("glob")
    path = folder.joinpath(*name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    found = glob.glob(str(folder.joinpath(*pattern)), recursive=True)  # noqa: PTH207
    # glob says "a/" of a file a for the pattern a/**, which opens nothing
    assert (str(path) in found) == matches("/".join(name), pattern, is_folder=False)
    assert (path.parent in map(Path, found)) == matches("/".join(name[:-1]), pattern, is_folder=True)
