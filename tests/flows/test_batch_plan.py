"""Names of slides and their run folders: distinct, stable, and none inside another."""

from __future__ import annotations

import unicodedata
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_pipeline.errors import UsageError
from wsi_pipeline.flows.batch_plan import RESERVED, plan_batch, run_folders


def put(folder: Path, *files: str) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def planned(*words: object, out: str = "none", limit: int | None = None) -> dict[str, str]:
    return {slide.name: slide.folder for slide in plan_batch([str(word) for word in words], Path(out), limit)}


def test_names_mirror_the_folder(tmp_path: Path) -> None:
    put(tmp_path, "a.svs", "sub/a.svs", "sub/Ä ö/a.ome.tif", "z.zarr/.zattrs")
    assert planned(tmp_path) == {
        "a.svs": "a", "sub/a.svs": "sub/a", "sub/Ä ö/a.ome.tif": "sub/Ä ö/a", "z.zarr": "z"
    }  # fmt: skip
    assert list(planned(tmp_path, limit=2)) == ["a.svs", "sub/a.svs"]


def test_several_inputs_share_the_folder_above_them(tmp_path: Path) -> None:
    put(tmp_path, "one/a.svs", "two/b/a.svs", "two/c.svs")
    assert list(planned(tmp_path / "one", tmp_path / "two" / "b" / "a.svs")) == ["one/a.svs", "two/b/a.svs"]
    assert list(planned(tmp_path / "one" / "a.svs")) == ["a.svs"]
    assert list(planned(f"{tmp_path}/t*/**/*.svs")) == ["two/b/a.svs", "two/c.svs"]


def test_a_slide_named_twice_is_one_and_the_manifest_wins(tmp_path: Path) -> None:
    put(tmp_path, "a.svs", "b.svs")
    (tmp_path / "list.csv").write_text("slide,mpp,case\na.svs,0.3,7\na.svs,0.3,7\n")
    slides = plan_batch([str(tmp_path), str(tmp_path / "list.csv"), f"{tmp_path}/./b.svs"], Path("none"))
    assert [(slide.name, slide.source.mpp, slide.source.case) for slide in slides] == [
        ("a.svs", 0.3, "7"), ("b.svs", None, ""),
    ]  # fmt: skip


def test_one_slide_with_two_regions_gets_two_folders(tmp_path: Path) -> None:
    put(tmp_path, "a.svs")
    (tmp_path / "list.csv").write_text("slide,roi\na.svs,1.geojson\na.svs,2.geojson\n")
    slides = plan_batch([str(tmp_path / "list.csv")], Path("none"))
    assert [slide.folder for slide in slides] == ["a_svs", "a_svs-2"]
    assert len({slide.id for slide in slides}) == 2


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (["a.svs", "a.tif"], ["a_svs", "a_tif"]),
        (["A.svs", "a.svs"], ["A_svs", "a_svs-2"]),
        (["a.svs", "a/b.svs"], ["a_svs", "a/b"]),
        (["a.svs", "a.tif", "a_svs/x.svs"], ["a_svs-2", "a_tif", "a_svs/x"]),
        (["summary.csv.svs", "case.1"], ["summary.csv-2", "case.1"]),
        (["x.zarr.d/a.svs"], ["x_zarr.d/a"]),
        ([unicodedata.normalize("NFC", "Ä.svs"), unicodedata.normalize("NFD", "Ä.svs")], None),
    ],
)
def test_names_that_collide(names: list[str], folders: list[str] | None) -> None:
    found = run_folders(names)
    assert folders is None or found == folders
    assert len(set(found)) == len(names)


PART = st.text(alphabet="aAÄß.s1-", min_size=1, max_size=4).filter(lambda part: set(part) != {"."})
NAME = st.tuples(st.lists(PART, max_size=2), PART, st.sampled_from([".svs", ".tif", ".ome.tif", ".zarr", ""])).map(
    lambda parts: "/".join([*parts[0], parts[1] + parts[2]])
)


@given(st.lists(NAME, min_size=1, max_size=12, unique=True))
def test_no_folder_is_another_or_lies_in_it(names: list[str]) -> None:
    def same(folder: str) -> str:
        return unicodedata.normalize("NFC", folder).casefold()

    found = [same(folder) for folder in run_folders(names)]
    above = {parent.as_posix() for folder in found for parent in PurePosixPath(folder).parents}
    assert len(set(found)) == len(names)
    assert not set(found) & (above | set(RESERVED))
    assert not any(".zarr" in folder for folder in found)


@pytest.mark.parametrize("word", ["nothing.svs", "none/*.svs"])
def test_a_word_that_names_nothing_is_refused(word: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file|matches no slide"):
        plan_batch([str(tmp_path / word)], tmp_path / "out")


def test_a_folder_without_slides_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "notes.txt")
    with pytest.raises(UsageError, match="holds no slide"):
        plan_batch([str(tmp_path)], tmp_path / "out")
