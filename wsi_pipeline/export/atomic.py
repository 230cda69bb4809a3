"""Files and run folders that exist only when they are whole, and plain words for what a disk refuses."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from wsi_pipeline.errors import OutputError, ResourceError
from wsi_pipeline.export.run_place import folder_above, require_place

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
"""The two ways in which POSIX says that nothing more fits: the disk is full, or the user's share of it."""

DISCARD_PASSES, DISCARD_PAUSE_S = 20, 0.05
"""How often, and how many seconds apart, an unfinished folder is deleted until it is gone."""

LONGEST_LABEL = 120
"""Letters of a run folder's name that go into that of its hidden work folder, which has more to say."""

PRIVATE = ".parts"
"""Folder inside an unfinished run folder for what only the run itself reads; gone before it is published."""

LAST_PUBLISHED = "result.json"
"""The file that says "finished"; moved last when a run is published file by file."""


@contextmanager
def plain_disk_errors(path: Path) -> Iterator[None]:
    """Turn an OSError raised while writing `path` into ResourceError (disk or quota full) or OutputError (the rest)."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL_DISK:
            raise ResourceError(
                path, f"the disk is full ({free_bytes(path):,} bytes are free)", "free some space or choose another -o"
            ) from error
        reason = error.strerror or str(error)
        raise OutputError(path, f"cannot be written: {reason}", "choose another folder with -o") from error


def write_atomic(path: Path, content: bytes | Callable[[BinaryIO], None]) -> None:
    """Write `content` (bytes, or a callback given the open binary file) beside `path`, fsync, and rename it to `path`.

    Whatever happens, `path` is either absent or old, or new and whole. Raises OutputError, ResourceError.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with plain_disk_errors(path):
        try:
            with beside.open("wb") as file:
                if isinstance(content, bytes):
                    file.write(content)
                else:
                    content(file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        sync_folder(path.parent)


def free_bytes(path: Path) -> int:
    """Return the bytes free for this user on the disk that holds, or would hold, `path`."""
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free


def require_space(path: Path, needed_bytes: int) -> None:
    """Raise ResourceError with both numbers when fewer than `needed_bytes` are free where `path` will be written."""
    free = free_bytes(path)
    if free < needed_bytes:
        raise ResourceError(
            path,
            f"the run needs about {needed_bytes:,} bytes of disk and {free:,} are free",
            "free some space or choose another -o",
        )


def refuse_zarr_parent(path: Path) -> None:
    """Raise OutputError when a folder above `path` has `.zarr` in its name.

    Bio-Formats, and so QuPath, takes the first `.zarr` of a path for the image and finds nothing there.
    """
    for folder in path.parents:
        if ".zarr" in folder.name.lower():
            raise OutputError(
                path, f"a parent folder has .zarr in its name ({folder.name}), so QuPath cannot open maps below it",
                "choose another folder with -o",
            )  # fmt: skip


class RunFolder:
    """A run's folder: written under a hidden name, published when finished, deleted when anything fails.

    Use as a context manager: write into `work`, refer to `final` in absolute links. An `out` that does not exist
    appears whole in one rename. An existing empty `out` (a mount, a shared folder) is kept and filled at the end,
    `result.json` last. An `out` that holds anything is never touched: the run goes to `out-2`, `out-3` and so on,
    and `renamed` says so.
    """

    def __init__(self, work: Path, final: Path, requested: Path, made_parents: list[Path]) -> None:
        """Hold the paths; call `create` instead, which makes the folders."""
        self.work = work
        self.final = final
        self._requested = requested
        self._made_parents = made_parents

    @property
    def renamed(self) -> bool:
        """True when the requested folder was taken and `final` is a numbered one beside it."""
        return self.final != self._requested

    @property
    def private(self) -> Path:
        """Folder of what only the run itself reads."""
        return self.work / PRIVATE

    def take_up(self, key: Mapping[str, Any]) -> bool:  # noqa: ARG002
        """Tell whether an earlier run that `key` describes left its work here: never, in a fresh folder."""
        return False

    def keep(self, key: Mapping[str, Any]) -> None:
        """Let a later run take up, under `key`, what is written from now on: it cannot, in a fresh folder."""

    @classmethod
    def create(cls, out: Path) -> RunFolder:
        """Make a fresh folder for a run that is to end in `out`. Raises OutputError, ResourceError."""
        with plain_disk_errors(out):
            requested = out.expanduser().resolve()
            refuse_zarr_parent(requested / "map.zarr")
            if requested.exists() and not requested.is_dir():
                raise OutputError(out, "is a file, not a folder", "name a new or empty folder with -o")
            folder_above(requested)
            made_parents = [folder for folder in requested.parents if not folder.exists()]
            try:
                final, work = cls._claimed(requested)
            except BaseException:
                _remove_empty(made_parents)
                raise
        return cls(work, final, requested, made_parents)

    @staticmethod
    def _claimed(requested: Path) -> tuple[Path, Path]:
        """Return the folder that a run is to end in, `requested` or a numbered one, and its new work folder."""
        requested.parent.mkdir(parents=True, exist_ok=True)
        numbered = (requested.with_name(f"{requested.name}-{number}") for number in count(2))
        final, work = requested, _claim(requested)
        while work is None:
            if requested.is_mount():
                raise OutputError(requested, "is a mounted disk that holds files already", "name a new folder in it")
            final = next(numbered)
            work = _claim(final)
        try:
            require_place(work, final)
        except BaseException:
            work.rmdir()
            raise
        return final, work

    def publish(self) -> Path:
        """Move the finished run to `final` and return it.

        Raises OutputError when something lies there by now; the finished run then stays in `work`, as the error says.
        """
        content = (entry for entry in self.work.iterdir() if entry.name != PRIVATE)
        entries = sorted(content, key=lambda entry: entry.name == LAST_PUBLISHED)
        inside = self.work.parent == self.final
        taken = any((self.final / entry.name).exists() for entry in entries) if inside else _is_taken(self.final)
        if taken:
            raise OutputError(
                self.final, "was filled by somebody else during the run", f"the finished run is in {self.work}"
            )
        with plain_disk_errors(self.final):
            shutil.rmtree(self.private, ignore_errors=True)
            if inside:
                for entry in entries:
                    entry.rename(self.final / entry.name)
                self.work.rmdir()
            else:
                self.work.rename(self.final)
            sync_folder(self.final.parent)
        return self.final

    def discard(self) -> None:
        """Delete everything that this run made, parents included where they are empty; never raises.

        What comes late, such as a file of a worker being stopped, is deleted too.
        """
        for _ in range(DISCARD_PASSES):
            shutil.rmtree(self.work, ignore_errors=True)
            time.sleep(DISCARD_PAUSE_S)
            if not self.work.exists():
                break
        _remove_empty(self._made_parents)

    def __enter__(self) -> RunFolder:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Publish after success; delete after any error, Ctrl-C included, and let it pass."""
        if kind is None:
            self.publish()
        else:
            self.discard()


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders, the deepest first, up to one that somebody else uses by now."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def _is_taken(final: Path) -> bool:
    """Tell whether `final` holds anything, or is anything but a folder."""
    return final.is_symlink() or (final.exists() and (not final.is_dir() or any(final.iterdir())))


def _claim(final: Path) -> Path | None:
    """Make and return the hidden work folder for `final`, or None when `final` is taken."""
    inside = final.is_dir()
    home = final if inside else final.parent
    label = _label(final.name)
    prefix = f".run-{label}.partial-{socket.gethostname().replace('.zarr', '')}-"
    for old in home.glob(f"{escape(prefix)}*"):
        pid = old.name.removeprefix(prefix)
        if not (pid.isdecimal() and is_running(int(pid))) and not (old / LAST_PUBLISHED).exists():
            shutil.rmtree(old, ignore_errors=True)  # left by a killed run of this machine
    if _is_taken(final):
        return None
    if not inside and any(home.glob(f"{escape(f'.run-{label}.partial-')}*")):
        return None  # another run is on its way to this folder
    work = home / f"{prefix}{os.getpid()}"
    work.mkdir()
    return work


def _label(name: str) -> str:
    """Return the name of a run folder, or its beginning and a digest where it is long."""
    raw = os.fsencode(name)
    return name if len(raw) <= LONGEST_LABEL else f"{name[:20]}-{hashlib.sha256(raw).hexdigest()[:16]}"


def is_running(pid: int) -> bool:
    """Tell whether a process of this machine has the number `pid`."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut, where the system can (not all network disks)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
