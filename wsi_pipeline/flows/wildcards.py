"""Patterns of paths at URLs, read as `glob` reads those of the disk."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from fnmatch import fnmatchcase


def fixed_part(url: str) -> tuple[str, list[str]]:
    """Return the leading part of a URL without wildcards, and the parts of the rest."""
    protocol, _, path = url.partition("://")
    parts = path.split("/")
    first = next((number for number, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return f"{protocol}://{'/'.join(parts[:first])}", parts[first:]


def matches(name: str, pattern: Sequence[str], *, is_folder: bool) -> bool:
    """Tell whether a relative path ("" for the folder itself) matches the parts of a pattern.

    `**` is any number of folders, also none; names that begin with a dot are matched by parts that do so too.
    """
    return _match(name.split("/") if name else [], pattern, is_folder)


def _match(names: Sequence[str], pattern: Sequence[str], is_folder: bool) -> bool:
    """Tell whether the parts of a path match those of a pattern."""
    if not names:
        return not pattern or (is_folder and all(part == "**" for part in pattern))
    if not pattern:
        return False
    rest, hidden = pattern[1:], names[0].startswith(".")
    if pattern[0] == "**":
        more = not hidden and (_match(names[1:], rest, is_folder) or _match(names[1:], pattern, is_folder))
        return more or _match(names, rest, is_folder)
    if hidden and not pattern[0].startswith("."):
        return False
    return fnmatchcase(names[0], pattern[0]) and _match(names[1:], rest, is_folder)
