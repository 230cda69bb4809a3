"""Files and run folders exist whole or not at all, and a full disk is said in plain words."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from wsi_pipeline.errors import OutputError, ResourceError
from wsi_pipeline.export import atomic
from wsi_pipeline.export.atomic import (
    DISCARD_PAUSE_S,
    RunFolder,
    free_bytes,
    plain_disk_errors,
    refuse_zarr_parent,
    require_space,
    write_atomic,
)
from wsi_pipeline.export.run_place import require_place


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_write_replaces_whole(tmp_path: Path) -> None:
    path = tmp_path / "table.bin"
    write_atomic(path, b"old")
    write_atomic(path, lambda file: file.write(b"new") and None)
    assert path.read_bytes() == b"new"
    assert everything(tmp_path) == ["table.bin"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ValueError])
def test_write_keeps_the_old_file_when_the_callback_fails(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "table.bin"
    write_atomic(path, b"old")

    def half(file: BinaryIO) -> None:
        file.write(b"ne")
        raise failure

    with pytest.raises(failure):
        write_atomic(path, half)
    assert path.read_bytes() == b"old"
    assert everything(tmp_path) == ["table.bin"]


def test_written_files_obey_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "a", b"1")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_a_resource_error(tmp_path: Path, code: int) -> None:
    def full(file: BinaryIO) -> None:
        raise OSError(code, os.strerror(code))

    with pytest.raises(ResourceError, match=r"the disk is full \([\d,]+ bytes are free\)"):
        write_atomic(tmp_path / "a", full)
    assert everything(tmp_path) == []


def test_other_refusals_are_output_errors(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file or directory"):
        write_atomic(tmp_path / "absent" / "a", b"1")
    with pytest.raises(OutputError, match="Permission denied"), plain_disk_errors(tmp_path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def test_space_is_asked_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    far = tmp_path / "not" / "yet"
    assert abs(free_bytes(far) - shutil.disk_usage(tmp_path).free) < 50_000_000
    require_space(far, 1)


def test_too_little_space_names_both_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 7, 1234567))
    require_space(tmp_path, 1234567)
    with pytest.raises(ResourceError, match=r"about 1,234,568 bytes of disk and 1,234,567 are free"):
        require_space(tmp_path, 1234568)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 256 kB, where that is permitted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=256k", "none", str(disk)]
    if mount is None or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_really_full_disk_leaves_nothing(tiny_disk: Path) -> None:
    def run_out_of_space() -> None:
        with RunFolder.create(tiny_disk / "out") as run:
            write_atomic(run.work / "fits", bytes(100_000))
            write_atomic(run.work / "does not", bytes(300_000))

    with pytest.raises(ResourceError, match="the disk is full"):
        run_out_of_space()
    assert everything(tiny_disk) == []


def test_an_empty_mounted_disk_takes_a_run_and_a_used_one_refuses(tiny_disk: Path) -> None:
    with RunFolder.create(tiny_disk) as run:
        write_atomic(run.work / "result.json", b"{}")
    assert everything(tiny_disk) == ["result.json"]
    with pytest.raises(OutputError, match="mounted disk that holds files already"):
        RunFolder.create(tiny_disk)


def test_new_folder_appears_only_when_finished(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "new run"
    with RunFolder.create(out) as run:
        (run.work / "maps").mkdir()
        write_atomic(run.work / "result.json", b"{}")
        assert not out.exists()
        assert run.work.parent == out.parent
        assert run.work.name.startswith(".run-new run.partial-")
        assert run.final == out
    assert not run.renamed
    assert everything(tmp_path) == ["deep", "deep/new run", "deep/new run/maps", "deep/new run/result.json"]


def test_empty_folder_is_kept_and_filled(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir(mode=0o770)
    inode = out.stat().st_ino
    with RunFolder.create(out) as run:
        write_atomic(run.work / "result.json", b"{}")
        assert not (out / "result.json").exists()
    assert out.stat().st_ino == inode
    assert everything(tmp_path) == ["out", "out/result.json"]
    assert run.final == out
    assert not run.renamed


def test_used_folder_is_never_touched(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for number in range(3):
        with RunFolder.create(out) as run:
            write_atomic(run.work / "result.json", str(number).encode())
        assert run.renamed == (number > 0)
    assert [(tmp_path / name / "result.json").read_text() for name in ("out", "out-2", "out-3")] == ["0", "1", "2"]


def test_two_runs_at_once_get_two_folders(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "out") as first, RunFolder.create(tmp_path / "out") as second:
        write_atomic(first.work / "result.json", b"1")
        write_atomic(second.work / "result.json", b"2")
    assert (first.final.name, second.final.name) == ("out", "out-2")
    assert second.renamed
    assert (tmp_path / "out" / "result.json").read_text() == "1"


def test_a_folder_filled_meanwhile_is_not_overwritten_and_the_run_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = RunFolder.create(out)
    write_atomic(run.work / "result.json", b"mine")
    out.mkdir()
    (out / "result.json").write_text("theirs")
    with pytest.raises(OutputError, match=r"finished run is in .*partial"):
        run.publish()
    assert (out / "result.json").read_text() == "theirs"
    assert (run.work / "result.json").read_text() == "mine"


@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.parametrize("failure", [KeyboardInterrupt, OutputError])
def test_failure_deletes_everything_partial(tmp_path: Path, failure: type[BaseException], existing: bool) -> None:
    out = tmp_path / "a" / "b"
    if existing:
        out.mkdir(parents=True)
    before = everything(tmp_path)

    def fail() -> None:
        with RunFolder.create(out) as run:
            (run.work / "map.zarr" / "0").mkdir(parents=True)
            raise failure("x", "y")

    with pytest.raises(failure):
        fail()
    assert everything(tmp_path) == before


def test_control_c_in_a_real_process_leaves_nothing(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom wsi_pipeline.export.atomic import RunFolder\n"
        "with RunFolder.create(Path(sys.argv[1])) as run:\n"
        "    (run.work / 'half').write_text('x'); print('ready', flush=True); time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "out")],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert len(everything(tmp_path)) == 2
        process.send_signal(signal.SIGINT)
        assert process.wait(20) != 0
    assert everything(tmp_path) == []


def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    killed = subprocess.Popen([sys.executable, "-c", "pass"])
    killed.wait(20)
    with RunFolder.create(tmp_path / "out") as run:
        name = run.work.name
    left = tmp_path / f"{name.rpartition('-')[0]}-{killed.pid}"
    shutil.rmtree(tmp_path / "out")
    left.mkdir()
    (left / "half").write_text("x")
    with RunFolder.create(tmp_path / "out") as run:
        assert not left.exists()
    assert not run.renamed
    shutil.rmtree(tmp_path / "out")
    left.mkdir()
    (left / "result.json").write_text("finished, never published")
    with RunFolder.create(tmp_path / "out") as run:
        assert (left / "result.json").is_file()
    assert run.renamed


@pytest.mark.parametrize("name", ["maps.zarr/run", "maps.zarr", "old.zarr.bak/run", "M.ZARR/run"])
def test_zarr_in_a_parent_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"a parent folder has \.zarr in its name"):
        RunFolder.create(tmp_path / name)
    assert everything(tmp_path) == []
    with pytest.raises(OutputError, match=r"a parent folder has \.zarr in its name"):
        refuse_zarr_parent(tmp_path / name / "map.zarr")


def test_out_that_is_a_file_or_below_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        RunFolder.create(tmp_path / "file")
    with pytest.raises(OutputError, match="below file, which is no folder"):
        RunFolder.create(tmp_path / "file" / "run")


def test_read_only_parent_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OutputError, match="Permission denied"):
        RunFolder.create(tmp_path / "out")


def test_what_comes_late_is_deleted_too(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "out" / "run")
    late = threading.Timer(DISCARD_PAUSE_S / 2, lambda: (run.work / "maps").mkdir(parents=True))
    late.start()
    run.discard()
    late.join()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["y" * 255, "病" * 80, os.fsdecode(b"\xff" * 200), "-r", " $@ 'x' \n", "a" * 121])
def test_a_name_that_the_disk_takes_is_a_name_for_a_run(tmp_path: Path, name: str) -> None:
    with RunFolder.create(tmp_path / name) as folder:
        (folder.work / "result.json").touch()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["y" * 256, "a/" + "病" * 86, "/".join(["x" * 200] * 20)])
def test_a_name_that_the_disk_refuses_is_refused_at_once(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"too long|more than"):
        RunFolder.create(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_place_below_a_file_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(OutputError, match="below out, which is no folder"):
        require_place(work, tmp_path / "out" / "a" / "b")
    with pytest.raises(OSError, match="too long"):
        require_place(work, tmp_path / "new" / ("x" * 256))
    assert list(work.iterdir()) == []
    with pytest.raises(OutputError, match="below out, which is no folder"):
        RunFolder.create(tmp_path / "out" / "a")


def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_words: False)
    with pytest.raises(OutputError, match="may not be written"):
        RunFolder.create(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
