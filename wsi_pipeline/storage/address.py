"""What a URL names, and how it is shown without what nobody should read."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

URL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")

WEB = ("http", "https")
"""Protocols whose URLs name single files only: nothing lists a folder there."""

CONTAINER_AT_ACCOUNT = ("abfs", "abfss", "az", "adl", "wasb", "wasbs")
"""Protocols in which `container@account` is a place and no user."""

QUERY = re.compile(r"\?[^/?]*=.*$", re.DOTALL)
"""A query: a question mark in a key is followed by no `=`."""


def is_url(word: str) -> bool:
    """Tell whether a word is a URL of storage that is reached through fsspec; `file://` is a path like any other."""
    found = URL.match(word)
    return found is not None and found[1].lower() not in {"file", "local"}


def local_path(word: str) -> Path:
    """Return the path that a word stands for, also one that is written as `file://`."""
    found = URL.match(word)
    if found is None or is_url(word):
        return Path(word)
    rest = word[found.end() :]
    return Path(url2pathname("/" + rest.lstrip("/")))


@dataclass(frozen=True)
class Address:
    """A file or folder at a URL. `url` may hold keys: people see `shown`, which is what the object prints as."""

    url: str = field(repr=False)

    @classmethod
    def of(cls, word: str) -> Address:
        """Return the address that a word of a user names."""
        return cls(word if word.partition("://")[0].lower() in WEB else word.rstrip("/"))

    def __str__(self) -> str:
        """Return what may be shown."""
        return self.shown

    @property
    def protocol(self) -> str:
        """What comes before `://`, in small letters."""
        return self.url.partition("://")[0].lower()

    @property
    def is_web(self) -> bool:
        """Whether the URL names one file and nothing can be listed."""
        return self.protocol in WEB

    @property
    def parts(self) -> tuple[str, ...]:
        """Host or bucket and the parts of the path, without user, query and empty parts."""
        path = self.shown.partition("://")[2]
        words = (unquote(part) for part in path.split("/")) if self.is_web else path.split("/")
        return tuple(part for part in words if part)

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.parts[-1] if self.parts else ""

    @property
    def shown(self) -> str:
        """The URL without user, password and query."""
        protocol, _, rest = self.url.partition("://")
        rest = rest.partition("#")[0].partition("?")[0] if self.is_web else QUERY.sub("", rest)
        host, slash, path = rest.partition("/")
        user, at, machine = host.rpartition("@")
        if at and (self.protocol not in CONTAINER_AT_ACCOUNT or ":" in user):
            host = machine
        return f"{protocol}://{host}{slash}{path}"

    @property
    def parent(self) -> Address:
        """The folder above; of a web address without its query, which belonged to the file."""
        url = self.url.partition("?")[0] if self.is_web else self.url
        return Address(url.rstrip("/").rpartition("/")[0])

    def child(self, relative: str) -> Address:
        """Return what lies at a relative path in the folder."""
        return Address(f"{self.url.rstrip('/')}/{relative}")

    def join(self, word: str) -> Address:
        """Return the address that a word in a file of this folder names: one of its own, or a relative path."""
        if is_url(word):
            return Address(word)
        parts = self.url.rstrip("/").split("/")
        least = 3  # the protocol, nothing, and the bucket
        for part in word.split("/"):
            if part == ".." and len(parts) > least:
                parts.pop()
            elif part not in {"", ".", ".."}:
                parts.append(part)
        return Address("/".join(parts))


def redact(text: str) -> str:
    """Return a library's words in one line of decent length, with the keys taken out of the URLs in them."""
    text = re.sub(r"[^\s'\"/@]+:[^\s'\"/@]+@", "", text)
    found = re.sub(r"[A-Za-z][A-Za-z0-9+.\-]*://[^\s'\"<>)]+", lambda url: _plain(url[0]), text)
    return " ".join(found.split())[:200]


def _plain(url: str) -> str:
    """Return a URL in a text without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
