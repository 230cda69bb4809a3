"""The one error tree: what can go wrong, the exit code it ends with, and whom it names.

Every error carries its subject (a file, an option) and a remedy in one plain sentence, so that the command line
can print a single line and a service can answer without a traceback.
"""

from __future__ import annotations

import re
from pathlib import Path

NO_TEXT = re.compile("[\ud800-\udfff]")
"""Half letters, as which Python holds the bytes of a file name that are not UTF-8; no file or stream takes them."""

NO_NAME = re.compile("[\ud800-\udfff\x00-\x1f\x7f-\x9f]")
"""Those, and control characters, such as a line's end."""


def printable(name: str | Path) -> str:
    """Return a file name or path as it is written everywhere: what is no text as bytes in hexadecimal digits."""
    return NO_NAME.sub(_in_digits, str(name))


def _in_digits(found: re.Match[str]) -> str:
    """Return a byte that is no text, a control character or half a letter in hexadecimal digits."""
    code = ord(found[0])
    return f"\\u{code:04x}" if 0xD800 <= code < 0xDC80 or code > 0xDCFF else f"\\x{code & 0xFF:02x}"


class WsiHer2Error(Exception):
    """Base of all expected failures; `exit_code` is what the command line ends with."""

    exit_code: int = 1

    def __init__(self, subject: str | Path, problem: str, remedy: str = "") -> None:
        """Say that `subject` (file or option) has `problem`, and what to do about it (`remedy`)."""
        self.subject = printable(subject)
        self.problem, self.remedy = (NO_TEXT.sub(_in_digits, words) for words in (problem, remedy))
        super().__init__(self.subject, self.problem, self.remedy)

    def __str__(self) -> str:
        """Return the one plain sentence that people read."""
        sentence = f"{self.subject}: {self.problem}"
        return f"{sentence} ({self.remedy})" if self.remedy else sentence


class UsageError(WsiHer2Error):
    """An option, a setting or a preset that makes no sense."""

    exit_code = 2


class CorruptSlideError(WsiHer2Error):
    """The file cannot be read as an image: not an image, truncated, or too many unreadable tiles."""

    exit_code = 4


class UnsupportedSlideError(WsiHer2Error):
    """The file is sound but not for us: unknown format, fluorescence, not brightfield."""

    exit_code = 5


class MissingMppError(WsiHer2Error):
    """Nothing says how large a pixel is."""

    exit_code = 6


class ResourceError(WsiHer2Error):
    """Disk or memory does not suffice."""

    exit_code = 7


class OutputError(WsiHer2Error):
    """The output folder cannot be used (it is a file, or it may not be written)."""

    exit_code = 8


class RoiError(WsiHer2Error):
    """The region-of-interest file is not GeoJSON, has no polygon, or lies outside the slide."""

    exit_code = 9


class ClusterError(WsiHer2Error):
    """The dask scheduler cannot be reached, or lost its workers for good."""

    exit_code = 10


class WeightsError(WsiHer2Error):
    """Model weights are missing, damaged, of another network, or do not give the outputs that they are known for."""

    exit_code = 11


class StorageError(WsiHer2Error):
    """A store at a URL cannot be reached, refuses, or gives what is not whole."""

    exit_code = 13


EXIT_SCORED = 0
EXIT_NOT_EVALUABLE = 3
EXIT_NOT_ALL = 12
"""A batch ended in which a slide was neither scored nor found to be not evaluable; its summary says which."""
EXIT_INTERRUPTED = 130
"""128 + SIGINT, the shell's convention."""


class StoppedError(WsiHer2Error):
    """Ctrl-C ended a batch; what was done is kept."""

    exit_code = EXIT_INTERRUPTED


class NothingToMeasureError(WsiHer2Error):
    """A slide that a run would call not evaluable before it measures anything."""

    exit_code = EXIT_NOT_EVALUABLE
