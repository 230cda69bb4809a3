"""A run folder that outlives its process: what is taken up, what is thrown away, and a publishing cut short."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsi_pipeline.errors import ClusterError, CorruptSlideError, OutputError, ResourceError
from wsi_pipeline.export import kept_folder as module
from wsi_pipeline.export.kept_folder import KeptFolder

KEY = {"slide": "ab", "mpp": 0.25, "pieces": []}


def opened(tmp_path: Path, name: str = "out", *, ours: bool = True) -> KeptFolder:
    return KeptFolder.open(
        tmp_path / ".work" / "runs" / "0123", tmp_path / name, {"asked": 1},
        is_free=lambda path: not path.exists(), is_ours=lambda: ours,
    )  # fmt: skip


def begin(folder: KeptFolder) -> None:
    """Do what a run does before its regions, and a region's work."""
    assert not folder.take_up(KEY)
    folder.private.mkdir()
    (folder.work / "maps" / "class.zarr" / "0").mkdir(parents=True)
    folder.keep(KEY)
    (folder.work / "maps" / "class.zarr" / "0" / "chunk").write_text("of a region")
    (folder.private / "journal").mkdir()
    (folder.private / "journal" / "000001.npz").write_text("outcome")
    (folder.private / "cells-000001.npy").write_text("cells")


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


REGION = {"maps/class.zarr/0/chunk", ".parts/journal/000001.npz", ".parts/cells-000001.npy", ".parts/key.json"}


def test_the_same_key_takes_up_what_regions_left_and_nothing_else(tmp_path: Path) -> None:
    begin(opened(tmp_path))
    work = opened(tmp_path).work
    (work / "maps" / "made-later.zarr").mkdir()
    (work / "maps" / "made-later.zarr" / "x").touch()
    (work / "cells.parquet").touch()
    (work / "maps" / "class.zarr" / "0" / "half.0123.partial").touch()
    (work / ".parts" / "journal" / ".000002.npz.8-9.tmp").touch()
    again = opened(tmp_path)
    assert again.take_up(KEY)
    assert not again.finished
    assert names(work) == REGION
    assert opened(tmp_path).take_up(KEY), "as often as it takes"


@pytest.mark.parametrize("change", [{"slide": "cd"}, {"mpp": 0.26}, {"pieces": [1]}, {"new": 1}])
def test_another_key_starts_anew(change: dict[str, object], tmp_path: Path) -> None:
    begin(opened(tmp_path))
    again = opened(tmp_path)
    assert not again.take_up(KEY | change)
    assert list(again.work.iterdir()) == []


def test_what_was_killed_before_it_could_be_kept_starts_anew(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    folder.private.mkdir()
    (folder.work / "maps").mkdir()
    assert not opened(tmp_path).take_up(KEY)
    assert list(folder.work.iterdir()) == []


def test_after_a_power_cut_nothing_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(opened(tmp_path))
    monkeypatch.setattr(module, "this_boot", lambda: ("elsewhere", "1"))
    assert opened(tmp_path).take_up(KEY), "what another machine closed is on the shared disk"
    monkeypatch.setattr(module, "this_boot", lambda: ("elsewhere", "2"))
    assert not opened(tmp_path).take_up(KEY)


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (CorruptSlideError("a.svs", "is broken"), False),
        (ClusterError("dask", "was lost"), True),
        (ResourceError("disk", "is full"), True),
        (KeyboardInterrupt(), True),
    ],
)
def test_what_an_error_leaves(error: BaseException, kept: bool, tmp_path: Path) -> None:
    folder = opened(tmp_path)
    with pytest.raises(type(error)), folder:  # noqa: PT012 - the run is the body
        begin(folder)
        raise error
    assert folder.work.exists() == kept
    assert not (tmp_path / "out").exists()


def test_a_finished_run_is_published_without_its_private_parts(tmp_path: Path) -> None:
    with opened(tmp_path) as folder:
        begin(folder)
        (folder.work / "result.json").write_text("{}")
    assert names(tmp_path / "out") == {"maps/class.zarr/0/chunk", "result.json"}
    assert not folder.work.exists()
    assert KeptFolder.published(folder.work) == (tmp_path / "out", {"asked": 1})
    KeptFolder.settle(folder.work)
    assert KeptFolder.published(folder.work) is None


@pytest.mark.parametrize("blow", ["before the private parts go", "before the rename"])
def test_a_publishing_cut_short_is_completed(blow: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = opened(tmp_path)
    begin(folder)
    (folder.work / "result.json").write_text("{}")

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if blow == "before the rename":
            patch.setattr(Path, "rename", die)
        else:
            patch.setattr(module.shutil, "rmtree", die)
        with pytest.raises(KeyboardInterrupt):
            folder.publish()
    assert not (tmp_path / "out").exists()
    assert KeptFolder.published(folder.work) == (tmp_path / "out", {"asked": 1})
    assert names(tmp_path / "out") == {"maps/class.zarr/0/chunk", "result.json"}


def test_a_whole_run_that_was_not_published_is_whole_in_the_next_attempt(tmp_path: Path) -> None:
    begin(opened(tmp_path))
    work = opened(tmp_path).work
    for name in ("result.json", "cells.parquet"):
        (work / name).touch()
    again = opened(tmp_path)
    assert again.take_up(KEY)
    assert again.finished
    assert names(work) == REGION | {"result.json", "cells.parquet"}
    (tmp_path / "out").mkdir()
    moved = opened(tmp_path)
    assert moved.final == tmp_path / "out-2"
    assert not moved.take_up(KEY), "its project links to the folder where it was to end"


def test_what_somebody_else_took_over_is_not_published(tmp_path: Path) -> None:
    folder = opened(tmp_path, ours=False)
    begin(folder)
    with pytest.raises(OutputError, match="somebody else"):
        folder.publish()
    assert not (tmp_path / "out").exists()
