"""A place at a URL that answers like a path of the disk, from a listing that was made once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from wsi_pipeline.storage.address import Address
from wsi_pipeline.storage.listing import RemoteFile, head, list_below


class Listing:
    """All files below an address, as they were at one moment."""

    def __init__(self, root: Address, files: Mapping[str, RemoteFile]) -> None:
        """Hold `files`, relative path -> file."""
        self.root = root
        self.files = files
        self.folders: dict[str, dict[str, None]] = {"": {}}
        """Folder -> what lies in it, by the same relative paths."""
        for name in sorted(files):
            self._enter(name)

    def _enter(self, name: str) -> None:
        """Note a path, and every folder above it, in the folder that holds it."""
        while name:
            above = name.rpartition("/")[0]
            is_new = above not in self.folders
            self.folders.setdefault(above, {})[name] = None
            if not is_new:
                return
            name = above


class RemotePath:
    """A file or folder at a URL; two are equal when their URLs are. Folders are those that hold something."""

    def __init__(self, listing: Listing, inside: str = "", address: Address | None = None) -> None:
        """Stand for the path `inside` the listed folder, "" for that itself; `address`: where it is not just that."""
        self._listing = listing
        self._inside = inside
        self._address = address

    @classmethod
    def below(cls, folder: Address) -> RemotePath:
        """Return a folder with all that is below it. Raises UsageError, StorageError."""
        return cls(Listing(folder, list_below(folder)))

    @classmethod
    def alone(cls, address: Address, file: RemoteFile | None = None) -> RemotePath:
        """Return a single place of which no more is known than `file`."""
        return cls(Listing(address.parent, {} if file is None else {address.name: file}), address.name, address)

    @property
    def address(self) -> Address:
        """Where that is."""
        if self._address is not None:
            return self._address
        return self._listing.root.child(self._inside) if self._inside else self._listing.root

    @property
    def file(self) -> RemoteFile | None:
        """What the listing knows of a file."""
        return self._listing.files.get(self._inside)

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.address.name

    @property
    def suffix(self) -> str:
        """Ending of the name with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> RemotePath:
        """The folder above, as far as it was listed."""
        if self._inside:
            return RemotePath(self._listing, self._inside.rpartition("/")[0])
        return RemotePath.alone(self.address.parent)

    @property
    def as_local(self) -> Path:
        """A path from the root that stands for the address among other paths: `/s3:/bucket/key`."""
        return Path("/", f"{self.address.protocol}:", *(part for part in self.address.parts if part not in {".", ".."}))

    def __str__(self) -> str:
        """Return the URL as it may be shown."""
        return self.address.shown

    def __repr__(self) -> str:
        """Return the URL as it may be shown."""
        return f"RemotePath({self.address.shown!r})"

    def __eq__(self, other: object) -> bool:
        """Tell whether both are the same URL."""
        return isinstance(other, RemotePath) and other.address == self.address

    def __hash__(self) -> int:
        """Return what is equal for equal URLs."""
        return hash(self.address)

    def __truediv__(self, name: str) -> RemotePath:
        """Return what is called `name` in this folder."""
        return RemotePath(self._listing, f"{self._inside}/{name}" if self._inside else name)

    def with_name(self, name: str) -> RemotePath:
        """Return what is called `name` beside this."""
        return self.parent / name

    def with_suffix(self, suffix: str) -> RemotePath:
        """Return what has another ending beside this."""
        return self.with_name(PurePosixPath(self.name).stem + suffix)

    def resolve(self) -> RemotePath:
        """Return itself: there are no links."""
        return self

    def is_dir(self) -> bool:
        """Tell whether something lies below."""
        return self._inside in self._listing.folders

    def is_file(self) -> bool:
        """Tell whether it is a file."""
        return self._inside in self._listing.files

    def exists(self) -> bool:
        """Tell whether there is anything."""
        return self.is_file() or self.is_dir()

    def iterdir(self) -> Iterator[RemotePath]:
        """Yield what lies in the folder."""
        return (RemotePath(self._listing, name) for name in self._listing.folders.get(self._inside, {}))

    def walk(self) -> Iterator[tuple[str, RemotePath]]:
        """Yield all files and folders below with their path relative to this folder."""
        start = f"{self._inside}/" if self._inside else ""
        names = {*self._listing.files, *self._listing.folders} - {"", self._inside}
        return (
            (name[len(start) :], RemotePath(self._listing, name)) for name in sorted(names) if name.startswith(start)
        )

    def files_below(self) -> dict[str, RemoteFile]:
        """Return the files below by their path relative to this folder."""
        return {name: place.file for name, place in self.walk() if place.file is not None}

    def size(self) -> int:
        """Return the bytes of the file, 0 where they are not known."""
        return (self.file.size or 0) if self.file is not None else 0

    def head(self, size: int) -> bytes:
        """Return the first bytes of the file. Raises UsageError, StorageError."""
        if self.file is not None and self.file.size is not None:
            size = min(size, self.file.size)
        return head(self.address, size) if size else b""
