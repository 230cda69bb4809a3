"""A folder at a URL that runs are sent to: what marks a run as finished goes last, and nothing there is touched."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path

from wsi_pipeline.errors import OutputError, StorageError, UsageError
from wsi_pipeline.storage.address import Address
from wsi_pipeline.storage.listing import list_below, look
from wsi_pipeline.storage.store import store_of
from wsi_pipeline.storage.trouble import patiently, plain_storage_errors

SENDING = ".sending-"
"""Beginning of the name of a file that lies in a folder while a run is sent there; the rest tells which run."""

FILES_AT_ONCE = 8
"""Files under way: most of a run are small."""

Progress = Callable[[int, int], None]
"""Is told the files that were sent, and how many there are."""


class Target:
    """A folder for results at a URL."""

    def __init__(self, address: Address) -> None:
        """Touch nothing yet. Raises OutputError for an address that cannot be written to."""
        if address.is_web or len(address.parts) < 1:
            raise OutputError(
                address.shown, "cannot be written to", "name a folder in a bucket, such as s3://bucket/results"
            )
        self.address = address

    @property
    def shown(self) -> str:
        """The URL as people may see it."""
        return self.address.shown

    def at(self, relative: str) -> Address:
        """Return what lies at a relative path; "" is the folder itself."""
        return self.address.child(relative) if relative else self.address

    def check(self) -> None:
        """Write a small file and delete it, before hours of work. Raises OutputError, StorageError, UsageError."""
        store, path = store_of(self.at(f".wsi-her2-{uuid.uuid4().hex}"))
        with plain_storage_errors(self.address, writing=True):
            patiently(lambda: store.pipe_file(path, b"whether results can be written here\n"))
            patiently(lambda: store.rm_file(path))

    def free_name(self, name: str) -> str:
        """Return `name`, or `name-2`, `name-3` and so on: the first at which nothing lies. Raises StorageError."""
        numbered = (f"{name}-{number}" for number in count(2))
        while self.is_taken(name):
            name = next(numbered)
        return name

    def is_taken(self, relative: str) -> bool:
        """Tell whether anything lies in a folder. Raises OutputError, StorageError."""
        return bool(self._listed(relative)) or self.exists(relative)

    def exists(self, relative: str) -> bool:
        """Tell whether there is such a file. Raises StorageError."""
        try:
            return look(self.at(relative)) is not None
        except UsageError:
            return False

    def read(self, relative: str) -> bytes | None:
        """Return the content of a file, None where there is none. Raises StorageError."""
        address = self.at(relative)
        store, path = store_of(address)
        try:
            with plain_storage_errors(address):
                return bytes(patiently(lambda: store.cat_file(path)))
        except UsageError:
            return None

    def write(self, relative: str, content: bytes) -> None:
        """Write a file, in place of one that lies there. Raises OutputError, StorageError."""
        address = self.at(relative)
        store, path = store_of(address)
        with plain_storage_errors(address, writing=True):
            patiently(lambda: store.pipe_file(path, content))

    def delete(self, relative: str) -> None:
        """Delete a file, if it is there. Raises OutputError, StorageError."""
        address = self.at(relative)
        store, path = store_of(address)
        with plain_storage_errors(address, writing=True), suppress(FileNotFoundError):
            patiently(lambda: store.rm_file(path))

    def send(self, folder: Path, relative: str, last: str, progress: Progress) -> None:
        """Send all files of a finished run to the folder `relative`; the file `last` follows when the others are there.

        Sent again after a break, it goes on in the same folder. Raises OutputError when anything of somebody else lies
        there, StorageError.
        """
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        mark = f"{relative}/{SENDING}{hashlib.sha256((folder / last).read_bytes()).hexdigest()[:16]}"
        if not self._claim(relative, mark):
            raise OutputError(
                self.at(relative).shown, "was filled by somebody else", f"the finished run is in {folder}"
            )
        self._send_all(folder, relative, [name for name in files if name != last], progress)
        self._check_arrived(folder, relative, [name for name in files if name != last])
        self._put(folder / last, f"{relative}/{last}")
        self.delete(mark)

    def _claim(self, relative: str, mark: str) -> bool:
        """Mark a folder as ours; tell whether nothing of anybody else lies there."""
        known = set(self._listed(relative))
        own = mark.rpartition("/")[2]
        if known and own not in known:
            return False
        self.write(mark, b"a run is being sent here\n")
        others = {name for name in self._listed(relative) if name.startswith(SENDING)} - {own}
        if others and own not in known:  # two came at the same moment: both go
            self.delete(mark)
            return False
        return True

    def _listed(self, relative: str) -> list[str]:
        """Return the names of all files in a folder. Raises OutputError for a bucket that is not there."""
        try:
            return list(list_below(self.at(relative)))
        except UsageError as error:
            raise OutputError(self.shown, error.problem, "make it, or name another with -o") from error

    def _send_all(self, folder: Path, relative: str, names: list[str], progress: Progress) -> None:
        """Send files, several at once."""
        pool = ThreadPoolExecutor(FILES_AT_ONCE, "send")
        try:
            jobs = [pool.submit(self._put, folder / name, f"{relative}/{name}") for name in names]
            for done, job in enumerate(jobs):
                progress(done, len(names) + 1)
                job.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _put(self, path: Path, relative: str) -> None:
        """Send one file."""
        address = self.at(relative)
        store, remote = store_of(address)
        with plain_storage_errors(address, writing=True):
            patiently(lambda: store.put_file(str(path), remote))

    def _check_arrived(self, folder: Path, relative: str, names: list[str]) -> None:
        """Raise StorageError unless every file lies there with its size."""
        found = list_below(self.at(relative))
        for name in names:
            sent, size = found.get(name), (folder / name).stat().st_size
            if sent is None or sent.size not in {None, size}:
                raise StorageError(self.at(f"{relative}/{name}").shown, "did not arrive whole", "send the run again")
