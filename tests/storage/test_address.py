"""URLs: which words are some, what is shown of them, and what they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsi_pipeline.storage import Address, is_url, local_path
from wsi_pipeline.storage.address import redact


@pytest.mark.parametrize(
    ("word", "remote", "path"),
    [
        ("s3://bucket/a.svs", True, None),
        ("https://host/a.svs", True, None),
        ("archive/a.svs", False, "archive/a.svs"),
        ("/a:b//c.svs", False, "/a:b/c.svs"),
        ("s3:/bucket/a.svs", False, "s3:/bucket/a.svs"),
        ("C:\\slides\\a.svs", False, "C:\\slides\\a.svs"),
        ("file:///data/a%20b/c.svs", False, "/data/a b/c.svs"),
        ("FILE:///data/c.svs", False, "/data/c.svs"),
    ],
)
def test_urls_are_told_from_paths(word: str, remote: bool, path: str | None) -> None:
    assert is_url(word) == remote
    if path is not None:
        assert local_path(word) == Path(path)


@pytest.mark.parametrize(
    ("url", "shown", "name"),
    [
        ("s3://bucket/fälle/a b.svs", "s3://bucket/fälle/a b.svs", "a b.svs"),
        ("s3://key:secret@bucket/a.svs", "s3://bucket/a.svs", "a.svs"),
        ("s3://bucket/a.svs?versionId=77", "s3://bucket/a.svs", "a.svs"),
        ("s3://bucket/is it?/a?.svs", "s3://bucket/is it?/a?.svs", "a?.svs"),
        ("https://u:p@host:99/x/a%20b.svs?X-Amz-Signature=1/2&k=v#top", "https://host:99/x/a%20b.svs", "a b.svs"),
        ("https://host/a.svs?token", "https://host/a.svs", "a.svs"),
        ("abfs://box@account.net/a.svs", "abfs://box@account.net/a.svs", "a.svs"),
        ("abfs://u:p@account/a.svs?sv=1&sig=2", "abfs://account/a.svs", "a.svs"),
    ],
)  # fmt: skip
def test_keys_are_not_shown(url: str, shown: str, name: str) -> None:
    address = Address.of(url)
    assert (address.shown, address.name) == (shown, name)
    assert str(address) == shown
    for secret in ("secret", "Signature", "versionId", "token", "sig=", "u:p"):
        assert secret not in f"{address!r}"


def test_what_libraries_say_is_shown_without_keys() -> None:
    said = "403, message='Forbidden',\n url='https://u:p@host/a/b.svs?X-Amz-Signature=abc' of s3://k:s@bucket/c (k:s@x)"
    assert redact(said) == "403, message='Forbidden', url='https://host/a/b.svs' of s3://bucket/c x)"


def test_places_beside_and_below() -> None:
    file = Address.of("s3://bucket/lists/slides.csv")
    assert file.parent == Address("s3://bucket/lists")
    assert file.parent.child("x/y").url == "s3://bucket/lists/x/y"
    assert file.parent.join("../a/./b.svs").url == "s3://bucket/a/b.svs"
    assert file.parent.join("../../../etc/x").url == "s3://bucket/etc/x"
    assert file.parent.join("gs://other/b.svs").url == "gs://other/b.svs"
    assert Address.of("s3://bucket/results/").url == "s3://bucket/results"
    assert Address.of("https://host/a.svs?k=v").parent.url == "https://host"
