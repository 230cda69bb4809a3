"""What lies at an address: one file, or all files below a folder, with what tells that they changed."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from wsi_pipeline.storage.address import Address
from wsi_pipeline.storage.store import store_of
from wsi_pipeline.storage.trouble import patiently, plain_storage_errors

TAGS = (
    "ETag", "etag", "md5Hash", "content_md5", "Content-MD5", "Digest", "generation", "LastModified", "last_modified",
    "Last-Modified", "mtime", "updated", "created",
)  # fmt: skip
"""What stores call that which changes with a file, the best first."""

MD5_TAG = re.compile(r'"?([0-9a-f]{32})"?')
"""An ETag that is, of files sent at one go and not encrypted with a key of one's own, the md5 of the content."""


@dataclass(frozen=True)
class RemoteFile:
    """A file at a URL. `size` in bytes, None where the store does not say; `tag` changes when the file does."""

    address: Address
    size: int | None
    tag: str

    @property
    def md5(self) -> str | None:
        """What is probably the md5 of the content, 32 hex digits."""
        found = MD5_TAG.fullmatch(self.tag)
        if found:
            return found[1]
        try:
            raw = base64.b64decode(self.tag, validate=True)
        except (binascii.Error, ValueError):
            return None
        return raw.hex() if len(raw) == 16 and len(self.tag) == 24 else None


def look(address: Address) -> RemoteFile | None:
    """Return the file at an address, or None where that is a folder. Raises UsageError for nothing, StorageError."""
    store, path = store_of(address)
    with plain_storage_errors(address):
        store.invalidate_cache()
        known = patiently(lambda: store.info(path))
        return None if known["type"] == "directory" else _file(address, known)


def list_below(folder: Address) -> dict[str, RemoteFile]:
    """Return all files below a folder by their path in it, with /; none for a folder that is not there.

    Keys with empty parts or dots for parts (`a//b`, `a/../b`), which no disk can hold, are left out.
    Raises UsageError for a bucket that is not there, StorageError.
    """
    store, path = store_of(folder)
    with plain_storage_errors(folder):
        store.invalidate_cache()
        known = patiently(lambda: store.find(path, detail=True))
    root = path.rstrip("/") + "/"
    found = {}
    for name, facts in known.items():
        relative = name.removeprefix(root)
        if name.startswith(root) and facts["type"] != "directory" and _is_sound(relative):
            found[relative] = _file(folder.child(relative), facts)
    return found


def head(address: Address, size: int) -> bytes:
    """Return the first bytes of a file. Raises UsageError, StorageError."""
    store, path = store_of(address)
    with plain_storage_errors(address):
        return bytes(patiently(lambda: store.cat_file(path, start=0, end=size)))[:size]


def fingerprint(files: Iterable[tuple[str, RemoteFile]]) -> str:
    """Return what changes when one of the files (name, file) does: how many, their bytes, and their names and tags."""
    known = sorted((name, file.size, file.tag) for name, file in files)
    digest = hashlib.sha256(repr(known).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{len(known)} files, {sum(size or 0 for _, size, _ in known)} bytes, tags {digest[:32]}"


def _file(address: Address, facts: Mapping[str, Any]) -> RemoteFile:
    """Return what a store's words say of a file."""
    size = facts.get("size")
    tag = next((_text(facts[name]) for name in TAGS if facts.get(name)), "")
    return RemoteFile(address, None if size is None else int(size), tag)


def _text(value: Any) -> str:
    """Return a tag as text; a time, which a listing may give in another form than a question for one file, in s."""
    if isinstance(value, datetime):
        value = value.timestamp()
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _is_sound(relative: str) -> bool:
    """Tell whether a key can be a path on a disk."""
    return not any(part in {"", ".", ".."} or "\0" in part for part in relative.split("/"))
