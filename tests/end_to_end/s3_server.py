"""A real S3 server on this machine, as a process that can be killed, and a wire to it that can be cut."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

KEYS = {"AWS_ACCESS_KEY_ID": "who-may", "AWS_SECRET_ACCESS_KEY": "top-secret", "AWS_DEFAULT_REGION": "us-east-1"}

PATIENCE_S = 60.0


class S3Server:
    """moto's server: S3 over HTTP, in memory."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *buckets: str) -> None:
        """Start with empty buckets."""
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < until
                assert self._process.poll() is None
                time.sleep(0.05)
        for bucket in buckets:
            self.client.create_bucket(Bucket=bucket)

    def kill(self) -> None:
        """End it as a power cut would; everything in it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def client(self) -> Any:
        return boto3.client(
            "s3", endpoint_url=self.endpoint, aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"], region_name=KEYS["AWS_DEFAULT_REGION"],
            config=Config(retries={"total_max_attempts": 2}),
        )  # fmt: skip

    def check_keys(self, *, wanted: bool) -> None:
        """Let the server refuse keys that it does not know, which are all."""
        request = urllib.request.Request(  # noqa: S310 - a server of our own
            f"{self.endpoint}/moto-api/reset-auth", data=b"0" if wanted else b"inf",
            headers={"Content-Type": "text/plain"}, method="POST",
        )  # fmt: skip
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310

    def put(self, bucket: str, contents: Mapping[str, bytes | Path]) -> None:
        for key, content in contents.items():
            body = content.read_bytes() if isinstance(content, Path) else content
            self.client.put_object(Bucket=bucket, Key=key, Body=body)

    def listed(self, bucket: str, prefix: str = "") -> dict[str, tuple[str, Any]]:
        """Return key -> (tag, time of the last change)."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        found = [entry for page in pages for entry in page.get("Contents", [])]
        return {entry["Key"]: (entry["ETag"], entry["LastModified"]) for entry in found}

    def read(self, bucket: str, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=bucket, Key=key)["Body"].read())

    def fetch(self, bucket: str, prefix: str, folder: Path) -> Path:
        """Copy all that lies below `prefix` into `folder`."""
        for key in self.listed(bucket, prefix):
            path = folder / key.removeprefix(prefix)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.read(bucket, key))
        return folder


class CutWire:
    """Forwards connections to a server, and cuts the first ones that carry many bytes back."""

    def __init__(self, port: int, cuts: int, after_bytes: int) -> None:
        self._target = port
        self._left = cuts
        self._after = after_bytes
        self.cut = 0
        self._sockets: list[socket.socket] = [socket.create_server(("127.0.0.1", 0))]
        self.port = self._sockets[0].getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._begin(self._accept)

    def close(self) -> None:
        """Cut everything, and wait until nobody uses it."""
        for each in self._sockets:
            _cut(each)
        for thread in list(self._threads):
            thread.join(PATIENCE_S)
        for each in self._sockets:
            each.close()

    def _begin(self, work: Callable[..., None], *words: Any) -> None:
        self._threads.append(threading.Thread(target=work, args=words, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._sockets[0].accept()
            except OSError:
                return
            there = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [here, there]
            self._begin(self._carry, here, there, False)
            self._begin(self._carry, there, here, True)

    def _carry(self, source: socket.socket, sink: socket.socket, back: bool) -> None:
        carried = 0
        try:
            while data := source.recv(1 << 14):
                sink.sendall(data)
                carried += len(data)
                if back and carried > self._after and self._left > 0:
                    self._left -= 1
                    self.cut += 1
                    break
        except OSError:
            pass
        _cut(source)
        _cut(sink)


def _cut(end: socket.socket) -> None:
    """Let nothing pass any more."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
