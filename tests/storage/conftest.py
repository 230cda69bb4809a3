"""A store in memory: what fsspec gives without any server."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import fsspec
import pytest

from wsi_pipeline.storage import Address

Put = Callable[[str, bytes], Address]


@pytest.fixture
def root() -> Iterator[Address]:
    """Return an empty folder at a URL, which is deleted afterwards."""
    address = Address.of(f"memory://bucket-{uuid.uuid4().hex}/Ärchiv 1")
    yield address
    memory = fsspec.filesystem("memory")
    for path in memory.find(address.parent.url):
        memory.rm_file(path)


@pytest.fixture
def put(root: Address) -> Put:
    """Return what writes a file below `root`."""

    def write(name: str, content: bytes) -> Address:
        fsspec.filesystem("memory").pipe_file(root.child(name).url, content)
        return root.child(name)

    return write
