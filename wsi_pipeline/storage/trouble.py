"""What stores and networks answer, as the errors of this product; and trying again what may pass."""

from __future__ import annotations

import errno
import random
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from wsi_pipeline.errors import OutputError, StorageError, UsageError, WsiHer2Error
from wsi_pipeline.storage.address import Address, redact

PAUSES_S = (0.5, 1.5, 4.0)
"""Seconds, give or take a third, before the second, third and fourth attempt."""

FOREIGN = (
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("aiohttp", "ClientError"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("azure.core.exceptions", "AzureError"),
)
"""Modules and the bases of what they raise; one that was never imported raises nothing."""

PASSING = frozenset({
    "ConnectionError", "TimeoutError", "gaierror", "HTTPClientError", "ResponseParserError", "IncompleteRead",
    "IncompleteReadError", "ClientConnectionError", "ClientPayloadError", "ServiceRequestError",
    "ServiceResponseError", "TransportError",
})  # fmt: skip
"""Names of error classes that mean: the connection, or the other side, failed for now."""

PASSING_ERRNO = frozenset({errno.EBUSY, errno.EREMOTEIO if hasattr(errno, "EREMOTEIO") else errno.EIO, errno.EPIPE})
"""In these s3fs puts "slow down", "service unavailable" and "internal error"."""

NO_KEYS = frozenset({
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError",
    "ProfileNotFound", "DefaultCredentialsError",
})  # fmt: skip
"""Names of error classes that mean: there is nothing to sign in with."""

REFUSED = ("401", "403")

NO_BUCKET = re.compile(r"specified (bucket|container) does not exist|NoSuchBucket|ContainerNotFound")
"""What stores say when there is not even the bucket; no key is called so."""

Answer = TypeVar("Answer")


def storage_errors() -> tuple[type[BaseException], ...]:
    """Return what the libraries in use raise when a store or the network refuses something."""
    known = ((sys.modules.get(module), name) for module, name in FOREIGN)
    return (OSError, ValueError, *(getattr(module, name) for module, name in known if module is not None))


def is_passing(error: BaseException) -> bool:
    """Tell whether an error may be gone in a moment."""
    error = _cause(error)
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & PASSING) or getattr(error, "errno", None) in PASSING_ERRNO or _status(error).startswith("5")


def patiently(call: Callable[[], Answer]) -> Answer:
    """Return what `call` returns; what may pass is tried again a few times."""
    for pause in PAUSES_S:
        try:
            return call()
        except storage_errors() as error:
            if not is_passing(error):
                raise
        time.sleep(pause * random.uniform(0.67, 1.33))
    return call()


@contextmanager
def plain_storage_errors(address: Address, *, writing: bool = False) -> Iterator[None]:
    """Turn what a store or the network raises about `address` into one plain sentence without keys.

    Raises UsageError (reading what is not there), OutputError (writing where no bucket is), StorageError (the rest).
    """
    try:
        yield
    except storage_errors() as error:
        raise _plain(error, address, writing=writing) from error


def _plain(error: BaseException, address: Address, *, writing: bool) -> WsiHer2Error:
    """Return the error of this product that says the same."""
    error = _cause(error)
    names = {kind.__name__ for kind in type(error).__mro__}
    bucket = NO_BUCKET.search(str(error))
    if isinstance(error, FileNotFoundError) or _status(error) == "404":
        if writing:
            return OutputError(address.shown, "there is no such bucket", "make it, or name another with -o")
        return UsageError(address.shown, "no such bucket" if bucket else "no such file", "check the address")
    if names & NO_KEYS:
        remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or configure a profile"
        if not address.protocol.startswith("s3"):
            remedy = "sign in as that store's own tools do"
        return StorageError(address.shown, "there are no keys to sign in with", remedy)
    if isinstance(error, PermissionError) or _status(error) in REFUSED:
        doing = "writing" if writing else "reading"
        return StorageError(address.shown, f"the store refuses {doing}", "check the keys and what they allow")
    if is_passing(error):
        remedy = "check the network and the endpoint (AWS_ENDPOINT_URL)" if address.protocol.startswith("s3") else ""
        return StorageError(address.shown, "the store cannot be reached", remedy or "check the network and the address")
    return StorageError(address.shown, f"the store answers: {redact(str(error)) or type(error).__name__}")


def _cause(error: BaseException) -> BaseException:
    """Return what is behind a "not found": fsspec says so too when a web server cannot be reached, or refuses."""
    cause = error.__cause__
    return cause if isinstance(error, FileNotFoundError) and isinstance(cause, storage_errors()) else error


def _status(error: BaseException) -> str:
    """Return the HTTP status that an error carries, or an empty word."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    return str(getattr(error, "status", None) or getattr(error, "code", None) or "")
