"""Slides and results at URLs (s3://, gs://, https:// and the like, through fsspec): looked up, fetched, sent."""

from wsi_pipeline.storage.address import Address, is_url, local_path
from wsi_pipeline.storage.fetching import fetch, forget
from wsi_pipeline.storage.listing import RemoteFile, fingerprint, list_below, look
from wsi_pipeline.storage.remote_path import RemotePath
from wsi_pipeline.storage.target import Target

__all__ = [
    "Address",
    "RemoteFile",
    "RemotePath",
    "Target",
    "fetch",
    "fingerprint",
    "forget",
    "is_url",
    "list_below",
    "local_path",
    "look",
]
