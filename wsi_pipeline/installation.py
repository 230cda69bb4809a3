"""How this copy was installed, and the line to type that adds an optional extra to it.

The package is on no registry, so its bare name would fetch nothing, or what somebody else publishes under that name.
"""

from __future__ import annotations

import json
import re
import shlex
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

NAME = "wsi-her2"
CLONE = "pyproject.toml"
NEEDS_SINGLE_QUOTES = re.compile(r'["$`\\!]')
"""What a shell reads inside double quotes, which are the only ones that all shells know."""


def install_line(extra: str) -> str:
    """Return the words to type that install what `extra` needs beside this copy."""
    try:
        installed = distribution(NAME)
    except PackageNotFoundError:
        return _from_clone(Path(__file__).parents[1], extra) or f'pip install ".[{extra}]" in a clone of {NAME}'
    return _from_origin(installed, extra) or _packages(installed, extra)


def _from_origin(installed: Distribution, extra: str) -> str | None:
    """Return the line that names where `installed` came from (PEP 610), None where that is unknown or gone."""
    try:
        origin = json.loads(installed.read_text("direct_url.json") or "{}")
        url = urlsplit(origin["url"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if url.scheme == "file":
        path = Path(url2pathname(url.path))
        if "dir_info" in origin:
            return _from_clone(path, extra, editable=bool(origin["dir_info"].get("editable")))
        return f"pip install {_quoted(f'{path}[{extra}]')}" if path.is_file() else None
    if url.password is not None:
        url = url._replace(netloc=url.netloc.rpartition("@")[2])
    place, source = url.geturl(), origin.get("vcs_info")
    if source is not None:
        place = f"{source['vcs']}+{place}@{source['commit_id']}"
    if "subdirectory" in origin:
        place += f"#subdirectory={origin['subdirectory']}"
    return f"pip install {_quoted(f'{NAME}[{extra}] @ {place}')}"


def _from_clone(folder: Path, extra: str, *, editable: bool = False) -> str | None:
    """Return the line that names the clone in `folder`, None where it is none (any more)."""
    if not (folder / CLONE).is_file():
        return None
    return f"pip install {'-e ' if editable else ''}{_quoted(f'{folder}[{extra}]')}"


def _packages(installed: Distribution, extra: str) -> str:
    """Return the line that names the packages of `extra` themselves."""
    parts = (text.partition(";") for text in installed.requires or ())
    wanted = re.compile(rf"""\bextra\s*==\s*["']{re.escape(extra)}["']""")
    return " ".join(["pip install", *(_quoted(name.strip()) for name, _, marker in parts if wanted.search(marker))])


def _quoted(word: str) -> str:
    """Return one word of a command line in quotes."""
    return shlex.quote(word) if NEEDS_SINGLE_QUOTES.search(word) else f'"{word}"'
