"""From an address to the fsspec file system that reaches it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from wsi_pipeline.errors import UsageError
from wsi_pipeline.installation import install_line
from wsi_pipeline.storage.address import Address

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

S3 = {"config_kwargs": {"retries": {"mode": "standard", "total_max_attempts": 2}, "read_timeout": 60}}
"""What is asked of botocore: few attempts of its own, since this product makes its own; seconds."""

OPTIONS: dict[str, dict[str, Any]] = {"s3": S3, "s3a": S3}

BUCKETS = ("s3", "s3a", "gs", "gcs")
"""Protocols whose URLs begin with a bucket, and hold no user."""

WITH_EXTRA = ("s3", "s3a", "http", "https")
"""Protocols whose packages come with the extra `remote`."""


def store_of(address: Address) -> tuple[AbstractFileSystem, str]:
    """Return the file system that holds an address, and what it is called there.

    Raises UsageError for a protocol that nobody knows or whose package is not installed, and for a bucket with a key.
    """
    if address.protocol in BUCKETS and "@" in address.url.split("/")[2]:
        remedy = "give keys in the environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        raise UsageError(address.shown, "was given with a user or a key in the URL, which is not read there", remedy)
    system = _file_system(address.protocol)
    return system, address.url if address.is_web else system._strip_protocol(address.url)


@cache
def _file_system(protocol: str) -> AbstractFileSystem:
    """Return the file system of a protocol; it is one for all threads, and remembers no listing."""
    remedy = f"type: {install_line('remote')}"
    try:
        import fsspec  # noqa: PLC0415 - only what lies at a URL needs it
        from fsspec.registry import known_implementations  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(f"{protocol}://", "needs fsspec, which is not installed", remedy) from error
    try:
        return fsspec.filesystem(protocol, use_listings_cache=False, **OPTIONS.get(protocol, {}))
    except ImportError as error:
        if protocol not in WITH_EXTRA:
            remedy = str(known_implementations.get(protocol, {}).get("err", "install its fsspec package"))
        raise UsageError(f"{protocol}://", "needs a package that is not installed", remedy) from error
    except ValueError as error:
        raise UsageError(
            f"{protocol}://", "is no storage that is known here", "use s3://, gs://, az://, https:// or a path"
        ) from error
