"""Copies of remote files on a local disk: whole and checked, or not there at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections import deque
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from wsi_pipeline.errors import StorageError
from wsi_pipeline.storage.listing import RemoteFile, look
from wsi_pipeline.storage.store import store_of
from wsi_pipeline.storage.trouble import is_passing, patiently, plain_storage_errors, storage_errors

BLOCK_BYTES = 8 << 20
"""Bytes that one request asks for."""

BLOCKS_AHEAD, FILES_AT_ONCE = 4, 4
"""Requests of one file under way, and files of one slide: at most 16 blocks are in memory."""

ATTEMPTS = 3
"""How often a file is fetched whole when it arrives damaged, or changes meanwhile."""

Progress = Callable[[int, int], None]
"""Is told the bytes that have come, and those of all files."""


def fetch(files: Mapping[str, RemoteFile], folder: Path, progress: Progress) -> None:
    """Copy files into `folder` under their relative paths, or find that all of them are there already, unchanged.

    Each is written beside and renamed when its size, its md5 (where the store tells it) and its tag are right. Raises
    UsageError (one is gone), StorageError (unreachable, refused, damaged), OSError of the local disk.
    """
    note = folder.with_name(f"{folder.name}.json")
    told = {name: [file.address.shown, file.size, file.tag] for name, file in files.items()}
    if _is_there(files, folder, note, told):
        return
    note.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    count = _Count(progress, sum(file.size or 0 for file in files.values()))
    blocks = ThreadPoolExecutor(BLOCKS_AHEAD, "fetch-blocks")
    pool = ThreadPoolExecutor(min(FILES_AT_ONCE, len(files)), "fetch-files")
    try:
        jobs = [pool.submit(_fetch_one, file, folder / name, blocks, count) for name, file in files.items()]
        for job in jobs:
            job.result()
    finally:
        count.end.set()
        pool.shutdown(cancel_futures=True)
        blocks.shutdown(cancel_futures=True)
    note.write_text(json.dumps(told), encoding="utf-8")


def forget(folder: Path) -> None:
    """Delete the copies in `folder`, and what was noted of them; never raises."""
    folder.with_name(f"{folder.name}.json").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


class _Count:
    """Adds up the bytes that threads bring."""

    def __init__(self, progress: Progress, total: int) -> None:
        """Begin with nothing."""
        self.end = threading.Event()
        self._progress = progress
        self._total = total
        self._done = 0
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        """Count bytes; a negative number takes them back."""
        with self._lock:
            self._done += size
            self._progress(self._done, max(self._total, self._done))


def _is_there(files: Mapping[str, RemoteFile], folder: Path, note: Path, told: Any) -> bool:
    """Tell whether an earlier fetch left just these files."""
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        return known == told and all(
            file.tag and (folder / name).stat().st_size == file.size for name, file in files.items()
        )
    except (OSError, ValueError):
        return False


def _fetch_one(file: RemoteFile, path: Path, blocks: ThreadPoolExecutor, count: _Count) -> None:
    """Copy one file. Raises UsageError, StorageError, OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name[:200]}.partial")
    seen: set[str] = set()
    try:
        for attempt in range(1, ATTEMPTS + 1):
            problem, md5 = _copy(file, beside, blocks, count)
            # the tag of an encrypted file looks like an md5 and is none: two copies that agree are right
            if not problem or (problem == DAMAGED and md5 in seen):
                os.replace(beside, path)  # noqa: PTH105 - Path.replace is the same
                return
            seen.add(md5)
            count.add(-beside.stat().st_size)
            if attempt < ATTEMPTS and problem == CHANGED:
                file = look(file.address) or file
    finally:
        beside.unlink(missing_ok=True)
    raise StorageError(file.address.shown, f"{problem} ({ATTEMPTS} attempts)", "try again")


DAMAGED = "arrives damaged: its md5 is not the one that the store states"
CHANGED = "changes while it is fetched"
SHORT = "arrives cut short"


def _copy(file: RemoteFile, beside: Path, blocks: ThreadPoolExecutor, count: _Count) -> tuple[str, str]:
    """Write the content to `beside`; return what is wrong with it, if anything, and its md5."""
    digest, size = hashlib.md5(usedforsecurity=False), 0
    content = _stream(file) if file.address.is_web or file.size is None else _blocks(file, file.size, blocks, count.end)
    with beside.open("wb") as out, closing(content):
        for block in content:
            out.write(block)
            digest.update(block)
            size += len(block)
            count.add(len(block))
        out.flush()
        os.fsync(out.fileno())
    md5 = digest.hexdigest()
    if file.size is not None and size != file.size:
        return SHORT, md5
    if size > BLOCK_BYTES:
        now = look(file.address)
        if now is None or (now.size, now.tag) != (file.size, file.tag):
            return CHANGED, md5
    return (DAMAGED if file.md5 not in {None, md5} else ""), md5


def _blocks(file: RemoteFile, size: int, pool: ThreadPoolExecutor, end: threading.Event) -> Generator[bytes]:
    """Yield the content in order, a few blocks being asked for ahead; each is tried again by itself."""
    store, path = store_of(file.address)

    def read(start: int) -> bytes:
        if end.is_set():
            return b""
        stop = min(start + BLOCK_BYTES, size)
        with plain_storage_errors(file.address):
            return bytes(patiently(lambda: store.cat_file(path, start=start, end=stop)))

    ahead: deque[Future[bytes]] = deque()
    try:
        for start in range(0, size, BLOCK_BYTES):
            ahead.append(pool.submit(read, start))
            if len(ahead) >= BLOCKS_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        for future in ahead:
            future.cancel()


def _stream(file: RemoteFile) -> Generator[bytes]:
    """Yield the content of a file whose server may not give parts; one that breaks off ends early."""
    store, path = store_of(file.address)
    with plain_storage_errors(file.address):
        opened = patiently(lambda: store.open(path, "rb", block_size=0))
        try:
            while block := opened.read(BLOCK_BYTES):
                yield bytes(block)
        except storage_errors() as error:
            if not is_passing(error):
                raise
        finally:
            opened.close()
