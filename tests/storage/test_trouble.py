"""What stores and networks answer, in one plain sentence without keys."""

from __future__ import annotations

import errno
import sys
from types import ModuleType

import pytest

from wsi_pipeline.errors import OutputError, StorageError, UsageError, WsiHer2Error
from wsi_pipeline.storage import Address, look, store, trouble
from wsi_pipeline.storage.trouble import is_passing, patiently, plain_storage_errors

SLIDE = Address.of("s3://key:secret@bucket/a.svs")


class BotoCoreError(Exception):
    """Base of what botocore raises."""


class EndpointConnectionError(BotoCoreError, ConnectionError):
    """What it raises when nobody answers."""


class NoCredentialsError(BotoCoreError):
    """What it raises without keys."""


class ClientError(Exception):
    """What it raises for an answer that is a refusal."""

    def __init__(self, status: int) -> None:
        super().__init__("https://bucket.host/a.svs?X-Amz-Signature=abc answers nonsense")
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


@pytest.fixture(autouse=True)
def _botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the classes above be those of botocore."""
    module = ModuleType("botocore.exceptions")
    module.__dict__.update(BotoCoreError=BotoCoreError, ClientError=ClientError)
    monkeypatch.setitem(sys.modules, "botocore.exceptions", module)


def behind(cause: BaseException) -> FileNotFoundError:
    error = FileNotFoundError("https://u:p@host/a")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind", "said", "passing"),
    [
        (FileNotFoundError("bucket/a.svs"), UsageError, "no such file", False),
        (FileNotFoundError("The specified bucket does not exist"), UsageError, "no such bucket", False),
        (behind(ClientError(404)), UsageError, "no such file", False),
        (behind(ConnectionRefusedError()), StorageError, "cannot be reached", True),
        (PermissionError("Access Denied"), StorageError, "refuses reading", False),
        (ClientError(403), StorageError, "refuses reading", False),
        (NoCredentialsError(), StorageError, "no keys to sign in with", False),
        (EndpointConnectionError(), StorageError, "cannot be reached", True),
        (TimeoutError(), StorageError, "cannot be reached", True),
        (OSError(errno.EBUSY, "slow down"), StorageError, "cannot be reached", True),
        (ClientError(503), StorageError, "cannot be reached", True),
        (ClientError(418), StorageError, "answers: https://bucket.host/a.svs answers nonsense", False),
        (ValueError("Invalid bucket name"), StorageError, "answers: Invalid bucket name", False),
    ],
)
def test_errors_become_sentences(error: Exception, kind: type[WsiHer2Error], said: str, passing: bool) -> None:
    assert is_passing(error) == passing
    with pytest.raises(kind, match=said) as caught, plain_storage_errors(SLIDE):
        raise error
    assert str(caught.value).startswith("s3://bucket/a.svs: ")
    assert "secret" not in str(caught.value)
    assert "Signature" not in str(caught.value)


def test_writing_where_no_bucket_is_concerns_the_output() -> None:
    with pytest.raises(OutputError, match="there is no such bucket"), plain_storage_errors(SLIDE, writing=True):
        raise FileNotFoundError("bucket")


def test_only_what_may_pass_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trouble, "PAUSES_S", (0.0, 0.0))
    tried: list[Exception] = []

    def fail(error: Exception) -> None:
        tried.append(error)
        raise error

    for error, times in ((ConnectionResetError(), 3), (PermissionError(), 1), (KeyError(), 1)):
        tried.clear()
        with pytest.raises(type(error)):
            patiently(lambda error=error: fail(error))
        assert len(tried) == times


def test_protocols_that_cannot_be_used_are_named() -> None:
    with pytest.raises(UsageError, match=r"^nonsense://: is no storage that is known here"):
        look(Address.of("nonsense://bucket/a"))


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    store._file_system.cache_clear()
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(
        UsageError, match=r'^s3://: needs a package that is not installed \(type: pip install .*\[remote\]"\)$'
    ):
        look(Address.of("s3://bucket/a"))
    store._file_system.cache_clear()
